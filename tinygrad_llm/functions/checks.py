"""What a function checks before it computes: tensors, their dtypes, their shapes."""

from __future__ import annotations

from typing import Any

from ..arrays.devices import device_of
from ..tensor import Tensor
from ..tensor.numbers import number, real


def need_tensor(name: str, value: Any, argument: str = "input") -> None:
    """Raises: TypeError if the value is not a tensor."""
    if not isinstance(value, Tensor):
        raise TypeError(
            f"{name}(): argument '{argument}' must be Tensor, not {type(value).__name__}"
        )


def need_floating(name: str, *tensors: Any) -> None:
    """Check that all are floating tensors.

    Raises: TypeError for a value that is not a tensor, NotImplementedError for a tensor of integers
    or booleans.
    """
    for x in tensors:
        if not isinstance(x, Tensor):
            need_tensor(name, x)
        if x.array.dtype.kind in "iub":
            kind = str(x.dtype).removeprefix("torch.")
            raise NotImplementedError(f'"{name}" not implemented for {kind!r}: call .float() first')


def real_number(name: str, argument: str, value: Any) -> float:
    """The value as a float.

    Raises: TypeError if it is not a real number.
    """
    if type(value) is float:
        return value
    value = real(number(value))
    if not isinstance(value, (int, float)):
        kind = type(value).__name__
        raise TypeError(f"{name}(): argument '{argument}' must be float, not {kind}")
    return float(value)


def need_order(name: str, array: Any) -> None:
    """Raises: NotImplementedError for an array of complex numbers."""
    if array.dtype.kind == "c":
        raise NotImplementedError(
            f"{name} is not implemented for complex numbers: they have no order"
        )


def need_same_dtype(name: str, **tensors: Any) -> None:
    """Raises: RuntimeError if the tensors (None is skipped) have different dtypes."""
    given = {k: t for k, t in tensors.items() if t is not None}
    if len({t.array.dtype for t in given.values()}) > 1:
        got = ", ".join(f"{k}: {str(t.dtype).removeprefix('torch.')}" for k, t in given.items())
        raise RuntimeError(f"{name}: expected one dtype for all, but got {got}")


def broadcasts(a: Any, b: Any) -> None:
    """Check that two arrays broadcast together and are on the same device.

    Raises: RuntimeError in PyTorch's words if not.
    """
    for i in range(1, min(a.ndim, b.ndim) + 1):
        n, m = a.shape[-i], b.shape[-i]
        if n != m and 1 not in (n, m):
            raise RuntimeError(
                f"The size of tensor a ({n}) must match the size of tensor b ({m}) at "
                f"non-singleton dimension {max(a.ndim, b.ndim) - i}"
            )
    places = device_of(a), device_of(b)
    if places[0] != places[1]:
        names = [kind if kind != "cuda" else f"cuda:{i}" for kind, i in places]
        raise RuntimeError(
            f"Expected all tensors to be on the same device, but found {names[0]} and {names[1]}: "
            "move one with .to(device)"
        )
