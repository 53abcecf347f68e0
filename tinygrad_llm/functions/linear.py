"""The linear layer's function."""

from __future__ import annotations

from .. import ops
from ..tensor import Tensor
from .autocast import mixed
from .checks import need_same_dtype, need_tensor


@mixed
def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x·weightᵀ + bias: (..., in) times (out, in), plus (out); returns (..., out).

    For a weight of shape (in) it returns (...).
    Raises: RuntimeError if shapes or dtypes disagree.
    """
    need_tensor("linear", input)
    need_tensor("linear", weight, "weight")
    need_same_dtype("linear", input=input, weight=weight, bias=bias)
    if input.array.ndim == 0 or weight.array.ndim not in (1, 2):
        raise RuntimeError(
            f"linear: input needs at least 1 dimension and weight 1 or 2, got "
            f"{list(input.shape)} and {list(weight.shape)}"
        )
    if weight.array.ndim == 1 or input.array.dtype.kind in "iub":
        y = input @ weight.t()
        return y if bias is None else y + bias
    x, w = input.array.shape, weight.array.shape
    if x[-1] != w[1]:
        rows = input.array.size // max(x[-1], 1)
        raise RuntimeError(
            f"linear: mat1 and mat2 shapes cannot be multiplied ({rows}x{x[-1]} and {w[1]}x{w[0]})"
            f": weight is {list(w)}, input is {list(x)}, whose last dimension should be {w[1]}"
        )
    if bias is None or bias.array.shape == w[:1]:
        return ops.Linear.apply(input, weight, bias)
    return ops.Linear.apply(input, weight, None) + bias
