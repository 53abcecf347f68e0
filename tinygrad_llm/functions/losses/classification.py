"""Losses of classes and of probabilities: cross-entropies, their relatives, divergence."""

from __future__ import annotations

from typing import Any

from ... import ops
from ...arrays.ids import INT64, UINT8
from ...arrays.memory import as_array
from ...arrays.reductions import is_few
from ...arrays.silence import is_silent, silent
from ...autograd.half_precision import is_half
from ...tensor import Tensor, wrap
from ..autocast import mixed
from ..checks import need_floating, need_same_dtype, need_tensor, real_number
from ..linear import linear
from ..method import function
from ..operands import promote
from ..printed_names import printed_as
from ..softmax import log_softmax
from ..unrecorded import recorded
from .reduction import reduced, reduction_name


def _check_classes(name: str, input: Tensor, target: Tensor, weight: Tensor | None) -> None:
    """Check that input is (C), (N, C) or (N, C, d₁, …), and target () or (N, d₁, …) of int64."""
    x, t = input.array.shape, target.array.shape
    if len(x) == 2 and t == x[:1] and target.array.dtype is INT64 and weight is None:
        return  # as nearly always
    if not x:
        raise RuntimeError(f"{name}: input needs a dimension of classes, got a 0-d tensor")
    if len(x) > 1 and len(t) and x[0] != t[0]:
        raise ValueError(f"Expected input batch_size ({x[0]}) to match target batch_size ({t[0]}).")
    expected = x[:1] + x[2:] if len(x) > 1 else ()
    if t != expected and not (len(x) == 1 and t == (1,)):
        if t == x:
            raise RuntimeError(
                "Expected floating point type for target with class probabilities, "
                f"got {target.dtype}"
            )
        hint = ""
        if t == x[:-1]:
            hint = ": the classes are dimension 1, so flatten both, as in input.flatten(0, -2), "
            hint += "target.flatten()"
        raise RuntimeError(f"Expected target size {list(expected)}, got {list(t)}{hint}")
    if target.array.dtype not in (INT64, UINT8):
        raise RuntimeError(f"expected target dtype to be Long or Byte, but got {target.dtype}")
    n_classes = x[1] if len(x) > 1 else x[0]
    if weight is not None:
        if weight.array.shape != (n_classes,):
            raise RuntimeError(
                f"weight tensor should be defined either for all {n_classes} classes or no classes "
                f"but got weight tensor of shape: {list(weight.shape)}"
            )
        need_same_dtype(name, input=input, weight=weight)


def _usual(input: Any, target: Any) -> bool:
    """Whether these are logits (N, C) and targets (N), as nearly always: nothing else to check."""
    if not (isinstance(input, Tensor) and isinstance(target, Tensor)):
        return False
    x, t = input.array, target.array
    return x.ndim == 2 and t.shape == x.shape[:1] and t.dtype is INT64 and x.dtype.char in "fd"


def _of_few(input: Tensor, target: Tensor) -> Tensor | None:
    """The mean of a few rows (N, C) that nobody records, past the engine; else None."""
    op, x = ops.CrossEntropy, input.array
    if not is_few(x) or recorded(input, target) or op.forward is not op._written[0]:
        return None
    of_few = op().of_few
    loss = of_few(x, target.array) if is_silent() else silent.run(of_few, x, target.array)
    return None if loss is None else wrap(as_array(loss))


def _classes_last(input: Tensor, target: Tensor) -> tuple[Tensor, Any]:
    """(N, C, d₁, …) -> (N, d₁, …, C); a target (1) of an input (C) -> ()."""
    if input.array.ndim == 2:
        return input, target.array
    if input.array.ndim > 2:
        return input.movedim(1, -1), target.array
    return input, target.array.reshape(()) if input.array.ndim == 1 else target.array


def _constant(t: Tensor | None) -> Any:
    return None if t is None else t.array


class divided_classes:
    """The loss of logits whose classes are divided among ranks, within loss_parallel; else None.

    loss(input, target, weight, ignore_index, reduction, label_smoothing) returns None for others.
    """

    loss: Any = None


@function
@mixed
def cross_entropy(
    input: Tensor, target: Tensor, weight: Tensor | None = None, size_average: bool | None = None,
    ignore_index: int = -100, reduce: bool | None = None, reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:  # fmt: skip
    """−log softmax(input) at the target: logits (C), (N, C) or (N, C, d₁, …), in nats.

    target: class indices () or (N, d₁, …) of int64; or probabilities of input's shape.
    weight (C): a factor for each class. label_smoothing ε: the target is 1 − ε, and ε/C everywhere.
    reduction "mean" divides by the sum of the targets' weights, ignored ones not counted (NaN if
    all are ignored), and by N·d₁… for probabilities; "sum"; "none" returns (N, d₁, …).
    Raises: IndexError for a class outside [0, C) that is not ignore_index, ValueError for different
    batch sizes, RuntimeError for other shapes or dtypes.
    """
    if divided_classes.loss is not None and isinstance(input, Tensor):
        name = reduction_name(size_average, reduce, reduction)
        loss = divided_classes.loss(input, target, weight, ignore_index, name, label_smoothing)
        if loss is not None:
            return loss
    if weight is size_average is reduce is None and reduction == "mean" and not label_smoothing:
        if _usual(input, target):
            if ignore_index == -100:
                few = None if input._needs else _of_few(input, target)
                return ops.CrossEntropy.apply(input, target.array) if few is None else few
            return ops.CrossEntropy.apply(input, target.array, ignore_index=ignore_index)
    reduction = reduction_name(size_average, reduce, reduction)
    need_floating("cross_entropy", input)
    need_tensor("cross_entropy", target, "target")
    if not 0.0 <= real_number("cross_entropy", "label_smoothing", label_smoothing) <= 1.0:
        raise RuntimeError(f"label_smoothing must be between 0.0 and 1.0. Got: {label_smoothing}")
    if target.array.dtype.kind in "fV" and target.array.shape == input.array.shape:
        return _soft_cross_entropy(input, target, weight, ignore_index, reduction, label_smoothing)
    _check_classes("cross_entropy", input, target, weight)
    if is_half(input.array.dtype) and not input.is_cuda:
        return _half_cross_entropy(input, target, weight, ignore_index, reduction, label_smoothing)
    x, t = _classes_last(input, target)
    return ops.CrossEntropy.apply(
        x, t, _constant(weight), ignore_index=ignore_index,
        label_smoothing=label_smoothing, reduction=reduction,
    )  # fmt: skip


def _half_cross_entropy(
    input: Tensor, target: Tensor, weight: Tensor | None, ignore_index: int, reduction: str,
    label_smoothing: float,
) -> Tensor:  # fmt: skip
    """cross_entropy in half precision: PyTorch's CPU rounds log-probabilities and every sum."""
    dim = 1 if input.array.ndim > 1 else 0
    log_p = log_softmax(input, dim)
    hard = nll_loss(log_p, target, weight, None, ignore_index, None, reduction)
    if not label_smoothing:
        return hard
    n_classes, ignored = input.array.shape[dim], target.eq(ignore_index)
    w = None if weight is None else weight.reshape(n_classes, *[1] * (input.array.ndim - dim - 1))
    soft = -(log_p if w is None else log_p * w).sum(dim).masked_fill(ignored, 0.0)
    if reduction == "mean":
        kept = (~ignored).sum() if weight is None else weight[target[~ignored]].sum()
        soft = soft.sum() / kept
    elif reduction == "sum":
        soft = soft.sum()
    return hard * (1.0 - label_smoothing) + soft * (label_smoothing / n_classes)


def _soft_cross_entropy(
    input: Tensor, target: Tensor, weight: Tensor | None, ignore_index: int, reduction: str,
    label_smoothing: float,
) -> Tensor:  # fmt: skip
    """−Σ q·log softmax(x) for probabilities q, which may require a gradient too."""
    if ignore_index >= 0:
        raise RuntimeError("ignore_index is not supported for floating point target")
    dim = 1 if input.array.ndim > 1 else 0
    n_classes = input.array.shape[dim]
    if label_smoothing:
        target = target * (1.0 - label_smoothing) + label_smoothing / n_classes
    if weight is not None:
        target = target * weight.reshape(n_classes, *[1] * (input.array.ndim - dim - 1))
    loss = reduced(-(log_softmax(input, dim) * target).sum(dim), reduction)
    return printed_as("DivBackward1" if reduction == "mean" else "NegBackward0", loss)


@function
@mixed
def linear_cross_entropy(
    input: Tensor, linear_weight: Tensor, target: Tensor, *, linear_bias: Tensor | None = None,
    weight: Tensor | None = None, reduction: str = "mean", ignore_index: int | None = None,
    label_smoothing: float = 0.0, options: Any = None,
) -> Tensor:  # fmt: skip
    """cross_entropy(linear(input, linear_weight, linear_bias), target), without storing all logits.

    input (..., in), linear_weight (C, in), target (...) of class indices: the logits of some rows
    exist at a time, in forward, which computes the gradients too. Other arguments as in
    cross_entropy. With reduction "none" or probabilities as targets it is the two functions one
    after the other.
    Raises: RuntimeError if label_smoothing is outside [0, 1].
    """
    name = "linear_cross_entropy"
    reduction = reduction_name(None, None, reduction)
    need_floating(name, input, linear_weight)
    need_same_dtype(name, input=input, weight=linear_weight, bias=linear_bias)
    ignore_index = -100 if ignore_index is None else ignore_index
    chunked = linear_weight.array.ndim == 2 and input.array.shape[-1:] == linear_weight.shape[1:]
    chunked &= target.array.shape == input.array.shape[:-1] and target.array.dtype.kind in "iu"
    if not chunked or reduction == "none":
        return cross_entropy(
            linear(input, linear_weight, linear_bias), target, weight, None, ignore_index, None,
            reduction, label_smoothing,
        )  # fmt: skip
    if not 0.0 <= label_smoothing <= 1.0:
        raise RuntimeError(f"label_smoothing must be between 0.0 and 1.0. Got: {label_smoothing}")
    return ops.LinearCrossEntropy.apply(
        input, linear_weight, target.array, linear_bias, _constant(weight),
        ignore_index=ignore_index, label_smoothing=label_smoothing, reduction=reduction,
    )  # fmt: skip


@function
@mixed
def nll_loss(
    input: Tensor, target: Tensor, weight: Tensor | None = None, size_average: bool | None = None,
    ignore_index: int = -100, reduce: bool | None = None, reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """−input at the target, for log-probabilities (C), (N, C) or (N, C, d₁, …).

    cross_entropy(x, t) is nll_loss(log_softmax(x, 1), t): shapes, reductions and errors are as
    there.
    """
    reduction = reduction_name(size_average, reduce, reduction)
    need_floating("nll_loss", input)
    need_tensor("nll_loss", target, "target")
    _check_classes("nll_loss", input, target, weight)
    x, t = _classes_last(input, target)
    return ops.NllLoss.apply(
        x, t, _constant(weight), ignore_index=ignore_index, reduction=reduction
    )  # fmt: skip


@function
def binary_cross_entropy(
    input: Tensor, target: Tensor, weight: Tensor | None = None, size_average: bool | None = None,
    reduce: bool | None = None, reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """−t·log x − (1 − t)·log(1 − x) for probabilities x, times weight, reduced.

    Logarithms are at least −100. binary_cross_entropy_with_logits is more exact.
    Raises: ValueError if shapes differ, RuntimeError if x is outside [0, 1].
    """
    reduction = reduction_name(size_average, reduce, reduction)
    need_floating("binary_cross_entropy", input, target)
    if input.array.shape != target.array.shape:
        raise ValueError(
            f"Using a target size ({target.shape}) that is different to the input size "
            f"({input.shape}) is deprecated. Please ensure they have the same size."
        )
    need_same_dtype("binary_cross_entropy", input=input, target=target)
    for which, x in (("input", input.array), ("target", target.array)):
        if x.size and not (bool((x >= 0).all()) and bool((x <= 1).all())):
            raise RuntimeError(f"all elements of {which} should be between 0 and 1")
    losses = ops.BinaryCrossEntropy.apply(input, target)
    return reduced(losses if weight is None else losses * weight, reduction)


@function
@mixed
def binary_cross_entropy_with_logits(
    input: Tensor, target: Tensor, weight: Tensor | None = None, size_average: bool | None = None,
    reduce: bool | None = None, reduction: str = "mean", pos_weight: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """binary_cross_entropy(sigmoid(input), target) without overflow, times weight, reduced.

    pos_weight, which broadcasts, is a factor on the positive half: −pos_weight·t·log σ(x).
    Raises: ValueError if shapes differ.
    """
    name = "binary_cross_entropy_with_logits"
    reduction = reduction_name(size_average, reduce, reduction)
    need_floating(name, input, target)
    if input.array.shape != target.array.shape:
        raise ValueError(
            f"Target size ({target.shape}) must be the same as input size ({input.shape})"
        )
    need_same_dtype(name, input=input, target=target, pos_weight=pos_weight)
    w = 1.0 if pos_weight is None else pos_weight.array
    losses = ops.BinaryCrossEntropyWithLogits.apply(input, target, w)
    return reduced(losses if weight is None else losses * weight, reduction)


@function
@mixed
def kl_div(
    input: Tensor, target: Tensor, size_average: bool | None = None, reduce: bool | None = None,
    reduction: str = "mean", log_target: bool = False,
) -> Tensor:  # fmt: skip
    """target·(log target − input), for log-probabilities input and probabilities target, reduced.

    log_target: the target is given as log-probabilities too. reduction "batchmean" divides by the
    first dimension, which is what the divergence means; "mean" divides by all elements.
    """
    reduction = reduction_name(size_average, reduce, reduction, batchmean=True)
    input, target = promote(input, target)
    need_floating("kl_div", input, target)
    losses = ops.KlDiv.apply(input, target, log_target=log_target)
    if reduction == "batchmean":
        return losses.sum() / max(input.array.shape[0] if input.array.ndim else 1, 1)
    return reduced(losses, reduction)
