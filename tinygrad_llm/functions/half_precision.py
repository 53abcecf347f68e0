"""Fused ops in half precision: computed in float32, stored in their own dtype."""

from __future__ import annotations

from typing import Any

from ..arrays.twins import twins
from ..tensor import Tensor
from .operands import cast, rounded


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
    result = cast(op.apply(*wide, **options), dtype)
    return rounded(result) if isinstance(result, Tensor) else result
