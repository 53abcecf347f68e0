"""What all functions over fused ops share: their checks, and half precision."""

from __future__ import annotations

from typing import Any

from ..arrays.twins import twins
from ..tensor import Tensor
from .elementwise import cast


def run(op: Any, *inputs: Any, **options: Any) -> Any:
    """op.apply; float16 and bfloat16 are computed in float32 and stored in their own dtype.

    PyTorch does the same on a CPU: sums over thousands of elements need the digits. On a GPU some
    ops take bfloat16 as it is, and add up in float32 inside.
    """
    dtype = inputs[0].array.dtype
    if dtype.itemsize != 2:
        return op.apply(*inputs, **options)
    if twins.gpu is not None and dtype.name == "bfloat16" and inputs[0].is_cuda:
        arrays = [x.array if isinstance(x, Tensor) else x for x in inputs]
        if twins.gpu.narrow(op, arrays, options):
            return op.apply(*inputs, **options)
    wide = [
        cast(x, "float32") if isinstance(x, Tensor) and x.array.dtype == dtype else x
        for x in inputs
    ]
    return cast(op.apply(*wide, **options), dtype)


def need_tensor(name: str, value: Any, argument: str = "input") -> None:
    """TypeError unless the value is a tensor."""
    if not isinstance(value, Tensor):
        raise TypeError(
            f"{name}(): argument '{argument}' must be Tensor, not {type(value).__name__}"
        )


def need_floating(name: str, *tensors: Any) -> None:
    """TypeError for what is no tensor, NotImplementedError for a tensor of integers or booleans."""
    for x in tensors:
        need_tensor(name, x)
        if x.array.dtype.kind in "iub":
            kind = str(x.dtype).removeprefix("torch.")
            raise NotImplementedError(f'"{name}" not implemented for {kind!r}: call .float() first')


def need_same_dtype(name: str, **tensors: Any) -> None:
    """RuntimeError unless the tensors (None is passed over) all have the first one's dtype."""
    given = {k: t for k, t in tensors.items() if t is not None}
    if len({t.array.dtype for t in given.values()}) > 1:
        got = ", ".join(f"{k}: {str(t.dtype).removeprefix('torch.')}" for k, t in given.items())
        raise RuntimeError(f"{name}: expected one dtype for all, but got {got}")
