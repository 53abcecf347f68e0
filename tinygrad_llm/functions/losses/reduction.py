"""How the losses of the elements become one number: "none", "mean" or "sum"."""

from __future__ import annotations

from typing import Any

from ...tensor import Tensor


def reduction_from_flags(size_average: bool | None, reduce: bool | None) -> str:
    """The reduction's name from PyTorch's older flags, of which at least one is given."""
    if reduce is False:
        return "none"
    return "sum" if size_average is False else "mean"


def reduction_name(
    size_average: Any, reduce: Any, reduction: str, *, batchmean: bool = False
) -> str:
    """The reduction's name, checked; the older flags take precedence where they are given.

    Raises: ValueError for an unknown name.
    """
    if size_average is not None or reduce is not None:
        return reduction_from_flags(size_average, reduce)
    if reduction not in ("none", "mean", "sum") and not (batchmean and reduction == "batchmean"):
        raise ValueError(f"{reduction} is not a valid value for reduction")
    return reduction


def reduced(losses: Tensor, reduction: str) -> Tensor:
    """The losses themselves for "none", else their mean or their sum."""
    return losses if reduction == "none" else getattr(losses, reduction)()


def reduced_weighted(losses: Tensor, weight: Tensor | None, reduction: str) -> Tensor:
    """Reduced; the mean of weighted losses is divided by the sum of the weights.

    Raises: ValueError if the weights' shape differs from the losses'.
    """
    if weight is None:
        return reduced(losses, reduction)
    if weight.array.shape != losses.array.shape:
        raise ValueError("Weights and input must have the same size.")
    losses = losses * weight
    return losses.sum() / weight.sum() if reduction == "mean" else reduced(losses, reduction)
