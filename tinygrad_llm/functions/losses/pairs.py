"""Losses that compare pairs and triplets, for rewards and embeddings."""

from __future__ import annotations

from ...tensor import Tensor
from ..method import function
from ..selection import where
from .reduction import reduced, reduction_name

__all__ = [
    "cosine_embedding_loss",
    "hinge_embedding_loss",
    "margin_ranking_loss",
    "pairwise_distance",
    "triplet_margin_loss",
]


@function
def pairwise_distance(
    x1: Tensor, x2: Tensor, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False
) -> Tensor:
    """The p-norm of x1 − x2 + eps along the last dimension: (..., D), (..., D) -> (...)."""
    return (x1 - x2 + eps).norm(p, -1, keepdim)


@function
def margin_ranking_loss(
    input1: Tensor, input2: Tensor, target: Tensor, margin: float = 0.0,
    size_average: bool | None = None, reduce: bool | None = None, reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """max(0, margin − y·(x1 − x2)), reduced: x1 should exceed x2 if y = 1, and x2 x1 if y = −1.

    Raises: RuntimeError unless all three have the same number of dimensions.
    """
    reduction = reduction_name(size_average, reduce, reduction)
    if not input1.array.ndim == input2.array.ndim == target.array.ndim:
        raise RuntimeError(
            "margin_ranking_loss : All input tensors should have same dimension but got sizes: "
            f"input1: {input1.shape}, input2: {input2.shape}, target: {target.shape} "
        )
    return reduced((margin - target * (input1 - input2)).clamp_min(0.0), reduction)


@function
def cosine_embedding_loss(
    input1: Tensor, input2: Tensor, target: Tensor, margin: float = 0.0,
    size_average: bool | None = None, reduce: bool | None = None, reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """1 − cos for pairs with y = 1, max(0, cos − margin) for those with y = −1, reduced.

    cos is the cosine between x1 and x2: (N, D), (N, D), y (N), or (D), (D), y ().
    Raises: RuntimeError for other shapes.
    """
    reduction = reduction_name(size_average, reduce, reduction)
    ranks = input1.array.ndim, input2.array.ndim, target.array.ndim
    if ranks not in ((1, 1, 0), (2, 2, 1)):
        raise RuntimeError(
            f"cosine_embedding_loss: expects (N, D), (N, D) and a target (N), or one pair, got "
            f"{list(input1.shape)}, {list(input2.shape)} and {list(target.shape)}"
        )
    tiny = 1e-12
    product = (input1 * input2).sum(-1)
    cosine = (
        product / (((input1 * input1).sum(-1) + tiny) * ((input2 * input2).sum(-1) + tiny)).sqrt()
    )
    losses = where(target.eq(1), 1.0 - cosine, 0.0 * cosine)
    losses = where(target.eq(-1), (cosine - margin).clamp_min(0.0), losses)
    return reduced(losses, reduction)


@function
def hinge_embedding_loss(
    input: Tensor, target: Tensor, margin: float = 1.0, size_average: bool | None = None,
    reduce: bool | None = None, reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """x where y = 1, max(0, margin − x) where y = −1, reduced: x is a distance of a pair."""
    reduction = reduction_name(size_average, reduce, reduction)
    near = where(target == -1, 0.0, input)
    far = where(target == 1, 0.0, (margin - input).clamp_min(0.0))
    return reduced(near + far, reduction)


@function
def triplet_margin_loss(
    anchor: Tensor, positive: Tensor, negative: Tensor, margin: float = 1.0, p: float = 2.0,
    eps: float = 1e-6, swap: bool = False, size_average: bool | None = None,
    reduce: bool | None = None, reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """max(0, d(a, p) − d(a, n) + margin), reduced: the anchor belongs to the positive.

    d is pairwise_distance with norm p. swap takes d(p, n) where it is less than d(a, n).
    Raises: ValueError unless margin > 0.
    Balntas, Riba, Ponsa, Mikolajczyk (2016).
    """
    reduction = reduction_name(size_average, reduce, reduction)
    if margin <= 0:
        raise ValueError(f"margin must be greater than 0, got {margin}")
    near = pairwise_distance(anchor, positive, p, eps)
    far = pairwise_distance(anchor, negative, p, eps)
    if swap:
        far = far.minimum(pairwise_distance(positive, negative, p, eps))
    return reduced((margin + near - far).clamp_min(0.0), reduction)
