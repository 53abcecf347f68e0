"""loss_parallel: cross-entropy of logits whose classes are divided among the ranks.

The head of a language model is its widest layer. A column-parallel head leaves each rank V/R of the
V logits of every token, and no rank ever has all of them: the ranks exchange three numbers for each
token, the largest logit, Σ exp, and the target's logit, which one of them has.
Source: Shoeybi et al. 2019, "Megatron-LM", section 3.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from ....arrays.devices import xp_of
from ....autograd.engine import Op
from ....autograd.half_precision import is_half
from ....functions.losses.classification import divided_classes
from ....tensor import Tensor
from ...parts import own_slice, summed
from ...reductions import ReduceOp

__all__ = ["loss_parallel", "note_columns"]


class Columns(NamedTuple):
    """The group whose ranks have the columns of a tensor, and how many there are in all."""

    group: Any
    length: int


def check_targets(t: Any, kept: Any, length: int, ignore_index: int) -> None:
    """Raises: IndexError for a target outside of the classes that is not ignored."""
    wrong = kept & ((t < 0) | (t >= length))
    if bool(wrong.any()):
        raise IndexError(
            f"cross_entropy: Target {int(t[wrong][0])} is out of bounds: expected 0 <= target < "
            f"{length}, or ignore_index={ignore_index}"
        )


class CrossEntropyOverRanks(Op, listed=False):
    """Lᵢ = −Σ_c q_ic·log p_ic, p = softmax(x) over the columns of all ranks; then as CrossEntropy.

    Rank r has the columns x_r. m = max over the ranks of max x_r, and over the ranks are summed
    s = Σ_c exp(x_c − m), and Σ_c q_c·(x_c − m), to which the target's rank contributes. Then
        L = Σ q·(m + log s) − Σ q·x
    Backward, on each rank for its own columns:   ∂Lᵢ/∂x_ic = p_ic·Σ q − q_ic
    The loss is equal on all ranks. Saves z = exp(x − m), as wide as this rank's columns.
    """

    def forward(
        self, x: Any, t: Any, w: Any = None, *, columns: Columns, ignore_index: int = -100,
        label_smoothing: float = 0.0, reduction: str = "mean",
    ) -> Any:  # fmt: skip
        xp, (group, length) = xp_of(x), columns
        self.dtype, self.reduction = x.dtype, reduction
        x = x.astype("float32") if is_half(x.dtype) else x  # (N, V_r)
        kept = t != ignore_index
        check_targets(t, kept, length, ignore_index)
        mine = own_slice(group, length)
        n = mine.stop - mine.start
        largest = x.max(-1) if n else xp.full(len(x), -xp.inf, x.dtype)
        m = summed(group, largest, ReduceOp.MAX)[:, None]  # (N, 1)
        shifted = x - m
        here = kept & (t >= mine.start) & (t < mine.stop)
        rows, at = xp.nonzero(here)[0], (t - mine.start)[here]
        factor = kept.astype(x.dtype) if w is None else xp.where(kept, w.take(t * kept), 0.0)
        factor = factor.astype(x.dtype)  # of the target, (N)
        soft = label_smoothing / length
        classes = xp.ones(length, x.dtype) if w is None else w.astype(x.dtype)
        score = xp.zeros(len(x), x.dtype)
        score[rows] = (factor[rows] * (1.0 - label_smoothing)) * shifted[rows, at]
        if soft:
            score += xp.where(kept, (shifted @ classes[mine]) * soft, 0.0)
        z = xp.exp(shifted)
        total, score = summed(group, xp.stack([z.sum(-1), score]))  # (2, N)
        weight = factor * (1.0 - label_smoothing)
        if soft:
            weight = weight + kept * (soft * float(classes.sum()))  # Σ q
        losses = xp.where(kept, weight * xp.log(total) - score, 0.0)
        count = float(factor.sum())
        self.scale = 1.0 if reduction != "mean" else 1.0 / count if count else float("nan")
        self.soft = soft * classes[mine] if soft else None
        self.hard, self.rows, self.at = factor * (1.0 - label_smoothing), rows, at
        self.saved = (z, total, weight, kept)
        if reduction != "none":
            losses = losses.sum() * self.scale
        return losses.astype(self.dtype)

    def backward(self, g: Any) -> Any:
        z, total, weight, kept = self.saved
        xp = xp_of(z)
        gx = z * (weight / total)[:, None]  # (N, V_r)
        gx[self.rows, self.at] -= self.hard[self.rows]
        if self.soft is not None:
            gx -= self.soft
        scale = 0.0 if self.scale != self.scale else self.scale
        arriving = (g.astype(z.dtype) * scale).reshape(-1, 1)  # (1, 1), or (N, 1) for "none"
        return xp.where(kept[:, None], gx * arriving, 0.0).astype(self.dtype), None, None


def note_columns(y: Tensor, group: Any, length: int) -> Tensor:
    """Note that y has this rank's columns, along its last dimension; returns y.

    Of one rank alone nothing is noted: it has all columns, and the usual loss.
    """
    if group.size() == 1:
        return y
    y.__dict__["_columns"] = Columns(group, length)
    _widths[y.shape[-1]] = length
    return y


_widths: dict[int, int] = {}  # of columns that were noted: how many there are in all


def _columns_of(x: Tensor) -> Columns | None:
    """What note_columns has noted of x, or of the tensor that it is a view of."""
    base = x if x._view_of is None else x._view_of
    return x.__dict__.get("_columns") or base.__dict__.get("_columns")


def _over_ranks(
    x: Tensor, t: Tensor, w: Any, ignore_index: int, reduction: str, label_smoothing: float
) -> Tensor | None:
    """The loss of logits that are divided; None for others.

    Raises: RuntimeError for targets that are not classes, and for logits that have a part's width
    and went through an op.
    """
    columns = _columns_of(x)
    dim = 1 if x.ndim > 1 else 0
    if columns is None:
        if x.ndim and x.shape[dim] in _widths:
            raise RuntimeError(
                f"cross_entropy within loss_parallel: the logits have {x.shape[dim]} columns, as a "
                f"part of {_widths[x.shape[dim]]} has, and are not the output of a ColwiseParallel "
                "layer with Shard(-1), nor a view of it: call cross_entropy on that"
            )
        return None
    mine = own_slice(*columns)
    if x.shape[dim] != mine.stop - mine.start or t.array.dtype.kind not in "iu":
        raise RuntimeError(
            "cross_entropy within loss_parallel: expected class indices, and logits whose classes "
            f"are divided, {mine.stop - mine.start} on this rank, got shapes {tuple(t.shape)} and "
            f"{tuple(x.shape)}"
        )
    last = x.movedim(dim, -1)  # (N, C, d₁, …) -> (N, d₁, …, C)
    if last.shape[:-1] != t.shape:
        raise ValueError(
            f"Expected input batch_size ({last.shape[:-1]}) to match target batch_size ({t.shape})."
        )
    rows, targets = last.reshape(-1, last.shape[-1]), t.array.reshape(-1)  # (..., C) -> (N, C)
    loss = CrossEntropyOverRanks.apply(
        rows, targets, None if w is None else w.array, columns=columns, ignore_index=ignore_index,
        label_smoothing=label_smoothing, reduction=reduction,
    )  # fmt: skip
    return loss.view(t.shape) if reduction == "none" else loss  # (N) -> (...)


@contextmanager
def loss_parallel() -> Iterator[None]:
    """A block in which F.cross_entropy takes logits whose classes are divided among the ranks.

    The logits are the output of a ColwiseParallel layer whose output_layouts is Shard(-1), or a
    view of it, such as logits.flatten(0, 1). All ranks have the same targets, and get the same
    loss. Other logits have the usual loss. Call backward() in the block or after it.
    Raises: as cross_entropy; RuntimeError for probabilities as targets.
    """
    before, divided_classes.loss = divided_classes.loss, _over_ranks
    try:
        yield
    finally:
        divided_classes.loss = before
