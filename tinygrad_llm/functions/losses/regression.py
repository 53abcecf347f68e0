"""Losses between numbers: squared, absolute, Huber's."""

from __future__ import annotations

import warnings

from ... import ops
from ...autograd.half_precision import is_half
from ...tensor import Tensor
from ..autocast import mixed
from ..checks import need_floating, need_tensor, real_number
from ..half_precision import rounded_once
from ..method import function
from ..operands import differentiated, promote
from ..printed_names import printed_as
from ..selection import clamp
from .reduction import reduced_weighted, reduction_name


def _alike(name: str, input: Tensor, target: Tensor) -> list[Tensor]:
    """Both in their common dtype; a warning if one of them will be broadcast."""
    need_tensor(name, input)
    need_tensor(name, target, "target")
    if input.array.shape != target.array.shape:
        warnings.warn(
            f"{name}: Using a target size ({target.shape}) that is different to the input size "
            f"({input.shape}). This will likely lead to incorrect results due to broadcasting. "
            "Please ensure they have the same size.",
            stacklevel=3,
        )
    both = promote(input, target)
    need_floating(name, *both)
    return both


@function
@mixed
def mse_loss(
    input: Tensor, target: Tensor, size_average: bool | None = None, reduce: bool | None = None,
    reduction: str = "mean", weight: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """(input − target)², reduced. With weights the mean is divided by their sum."""
    reduction = reduction_name(size_average, reduce, reduction)
    x, t = _alike("mse_loss", input, target)
    if reduction == "mean" and weight is None and is_half(x.array.dtype):
        return printed_as("MseLossBackward0", _mse_mean(x, t))
    return reduced_weighted(ops.MseLoss.apply(x, t), weight, reduction)


@rounded_once(gradient="mse_mean")
def _mse_mean(x: Tensor, t: Tensor) -> Tensor:
    return reduced_weighted(ops.MseLoss.apply(x, t), None, "mean")


@function
@mixed
def l1_loss(
    input: Tensor, target: Tensor, size_average: bool | None = None, reduce: bool | None = None,
    reduction: str = "mean", weight: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """|input − target|, reduced. With weights the mean is divided by their sum."""
    reduction = reduction_name(size_average, reduce, reduction)
    x, t = _alike("l1_loss", input, target)
    return reduced_weighted((x - t).abs(), weight, reduction)


@function
@mixed
def huber_loss(
    input: Tensor, target: Tensor, reduction: str = "mean", delta: float = 1.0,
    weight: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """d²/2 where |d| < delta, else delta·(|d| − delta/2), d = input − target, reduced.

    That is m·(d − m/2) with m = d clamped to [−delta, delta], which is the derivative too. Huber
    (1964).
    Raises: RuntimeError if delta <= 0.
    """
    reduction = reduction_name(None, None, reduction)
    delta = real_number("huber_loss", "delta", delta)
    if delta <= 0:
        raise RuntimeError("huber_loss does not support non-positive values for delta.")
    x, t = _alike("huber_loss", input, target)
    if weight is None:
        return _huber(x, t, delta, reduction)
    losses = _huber(x, t, delta, "none")
    if reduction == "mean":  # divided by the elements, as PyTorch does here
        return reduced_weighted(losses, weight, "none").mean()
    return reduced_weighted(losses, weight, reduction)


@rounded_once(gradient="huber")
def _huber(x: Tensor, t: Tensor, delta: float, reduction: str) -> Tensor:
    d = x - t
    m = clamp(d.detach(), -delta, delta)  # the derivative of m·(d − m/2)
    losses = differentiated((m * (d.detach() - m * 0.5)).array, (d, lambda: m.array))
    return reduced_weighted(losses, None, reduction)


@rounded_once(gradient="smooth_l1")
def _smooth_l1(x: Tensor, t: Tensor, beta: float, reduction: str) -> Tensor:
    return _huber(x, t, beta, reduction) / beta


@function
@mixed
def smooth_l1_loss(
    input: Tensor, target: Tensor, size_average: bool | None = None, reduce: bool | None = None,
    reduction: str = "mean", beta: float = 1.0,
) -> Tensor:  # fmt: skip
    """huber_loss(delta=beta)/beta; with beta = 0 it is l1_loss.

    Raises: RuntimeError if beta < 0.
    """
    reduction = reduction_name(size_average, reduce, reduction)
    if beta < 0:
        raise RuntimeError("smooth_l1_loss does not support negative values for beta.")
    if beta == 0:
        return l1_loss(input, target, reduction=reduction)
    x, t = _alike("smooth_l1_loss", input, target)
    return _smooth_l1(x, t, beta, reduction)
