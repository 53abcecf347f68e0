"""What may become a tensor's .grad: nothing that an optimizer would use wrongly."""

from __future__ import annotations

from typing import Any

from ..arrays.devices import device_of
from . import dtypes

_C_NAMES = {
    **{"float32": "float", "float64": "double", "float16": "c10::Half"},
    **{"bfloat16": "c10::BFloat16", "bool": "bool", "uint8": "unsigned char"},
    **{"int8": "signed char", "int16": "short int", "int32": "int", "int64": "long int"},
}


def refused_type(value: Any) -> TypeError:
    """The error for a gradient that is neither a tensor nor None, in PyTorch's words."""
    kind = type(value)
    name = kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__name__}"
    return TypeError(f"assigned grad expected to be a Tensor or None but got grad of type {name}")


def check_gradient(tensor: Any, grad: Any) -> None:
    """Check that a tensor may be another's gradient: another one of its shape, dtype and device.

    Raises: RuntimeError in PyTorch's words if not.
    """
    if grad is tensor:
        raise RuntimeError("can't assign Variable as its own grad")
    a, g = tensor.array, grad.array
    if g.dtype != a.dtype:
        name = grad.dtype.name
        raise RuntimeError(
            f"attempting to assign a gradient with dtype '{_C_NAMES.get(name, name)}' to a tensor "
            f"with grad_dtype '{dtypes.title(tensor.dtype)}'. The gradient must match the tensor's "
            "grad_dtype (defaults to the tensor's dtype): convert it with .to(tensor.dtype)"
        )
    if device_of(g) != device_of(a):
        raise RuntimeError(
            f"attempting to assign a gradient with device type '{device_of(g)[0]}' to a tensor "
            f"with device type '{device_of(a)[0]}'. Please ensure that the gradient and the tensor "
            "are on the same device"
        )
    if g.shape != a.shape:
        raise RuntimeError(
            f"attempting to assign a gradient of size '{list(g.shape)}' to a tensor of size "
            f"'{list(a.shape)}'. Please ensure that the gradient and the tensor are the same size"
        )
