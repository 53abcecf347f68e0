"""Distances between all rows of two matrices."""

from __future__ import annotations

import math

from ..tensor import Tensor
from .checks import need_floating, need_same_dtype
from .method import function
from .operands import differentiated
from .selection import where


@function
def cdist(
    x1: Tensor, x2: Tensor, p: float = 2.0,
    compute_mode: str = "use_mm_for_euclid_dist_if_necessary",
) -> Tensor:  # fmt: skip
    """The p-norm of the difference of each row of x1 and each of x2: (..., P, M), (..., R, M) ->
    (..., P, R). Leading dimensions broadcast.

    The gradient of a distance of 0 is 0; with p = ∞ each of the largest differences gets all of g
    (norm divides it among them). A NaN makes its distances NaN, which PyTorch's loop for p = ∞
    mostly drops. compute_mode is accepted and has no effect: differences
    are always computed, since PyTorch's matrix product loses digits where rows lie close together.
    Raises: RuntimeError if the sizes differ or p is negative.
    """
    need_floating("cdist", x1, x2)
    need_same_dtype("cdist", x1=x1, x2=x2)
    for name, x in (("X1", x1), ("X2", x2)):
        if x.array.ndim < 2:
            raise RuntimeError(f"cdist only supports at least 2D tensors, {name} got: "
                               f"{x.array.ndim}D")  # fmt: skip
    if x1.array.shape[-1] != x2.array.shape[-1]:
        raise RuntimeError(
            "X1 and X2 must have the same number of columns. X1: "
            f"{x1.array.shape[-1]} X2: {x2.array.shape[-1]}"
        )
    if not p >= 0:
        raise RuntimeError(f"cdist only supports non-negative p values, got {p}")
    difference = x1.unsqueeze(-2) - x2.unsqueeze(-3)  # (..., P, 1, M), (..., 1, R, M)
    if p in (1, 2) or not difference.array.shape[-1]:
        return difference.norm(p if difference.array.shape[-1] else 1, -1)  # (..., P, R)
    if p == 0:
        some_nan = difference.isnan().any(-1)
        return difference.norm(0, -1).masked_fill(some_nan, math.nan)
    if p == math.inf:
        size = difference.abs()
        largest = size.detach().amax(-1)  # (..., P, R)
        chosen = where(size.eq(largest.unsqueeze(-1)), size, 0.0)
        return differentiated(largest.array, (chosen.sum(-1), None))
    same = difference == 0  # |0|ᵖ has no finite derivative for p < 1: these elements add nothing
    total = (difference.abs().masked_fill(same, 1.0) ** p).masked_fill(same, 0.0).sum(-1)
    equal = total == 0
    return (total.masked_fill(equal, 1.0) ** (1.0 / p)).masked_fill(equal, 0.0)
