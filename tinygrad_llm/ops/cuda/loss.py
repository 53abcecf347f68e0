"""Cross-entropy, alone and with the output layer before it."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...arrays.ids import ids_in_range
from ..loss import CrossEntropy, LinearCrossEntropy
from ..matmul import rows as as_rows
from . import launch
from .elementwise import scaled
from .launch import FLOAT32, SHORT, Twin, dense, empty, float32, kernel, null
from .products import affine, product, same_dtype
from .rows import sum_rows

LOGITS_BYTES = 1 << 29  # of the logits, counted in float32, that exist at one time


def plain_targets(t: Any, n: int, w: Any, ignore_index: int, smoothing: float) -> bool:
    """Whether the targets are known to be in range or ignored, without waiting for the GPU."""
    return (
        w is None and smoothing == 0.0 and t.dtype == np.int64 and t.flags.c_contiguous
        and ids_in_range(t, n, ignore_index)
    )  # fmt: skip


def loss_scale(t: Any, ignore_index: int, reduction: str) -> Any:
    """1, or for "mean" 1/(number of targets that count), as a float32 number on the GPU."""
    if reduction != "mean":
        return launch.xp.ones((), np.float32)
    scale = empty((), FLOAT32)
    kernel("rows", "count_targets")((1,), (1024,), (t, t.size, ignore_index, scale))
    return scale


def total(losses: Any, scale: Any) -> Any:
    """Σ losses·scale, always in the same order, as a float32 number on the GPU."""
    loss = empty((), FLOAT32)
    kernel("rows", "sum_losses")((1,), (1024,), (losses, losses.size, scale, loss))
    return loss


def cross_entropy(
    x: Any, gx: Any, t: Any, losses: Any, scale: Any, ignore_index: int, back: bool,
    log_sum: Any = None,
) -> None:  # fmt: skip
    """Fill losses (N) of the rows x (N, C), and if `back` gx = (p − onehot)·scale; gx may be x."""
    args = x, gx, t, losses, null(log_sum), scale, x.shape[1], ignore_index, int(back)
    kernel("rows", f"cross_entropy_{SHORT[x.dtype]}")((len(x),), (256,), args)


class CudaCrossEntropy(Twin, CrossEntropy):
    """Saves x, t and the factor of the mean; backward computes p = softmax(x) again."""

    @classmethod
    def takes(cls, x, t, w=None, ignore_index=-100, label_smoothing=0.0, reduction="mean"):
        known = plain_targets(t, x.shape[-1], w, ignore_index, label_smoothing)
        return known and reduction != "none" and x.size > 0 and float32(x)

    def forward_fast(self, x, t, w=None, ignore_index=-100, label_smoothing=0.0, reduction="mean"):
        self.ignore_index, rows = ignore_index, as_rows(x)
        losses, scale = empty(len(rows), x.dtype), loss_scale(t, ignore_index, reduction)
        cross_entropy(rows, rows, t, losses, scale, ignore_index, False)
        self.saved = x, t, scale
        return total(losses, scale)

    def backward_fast(self, g):
        x, t, scale = self.saved
        rows, gx = as_rows(x), empty(x.shape, x.dtype)
        losses = empty(len(rows), x.dtype)
        cross_entropy(rows, as_rows(gx), t, losses, scale * g, self.ignore_index, True)
        return gx, None, None


class CudaLinearCrossEntropy(Twin, LinearCrossEntropy):
    """Saves the gradients, those of W and b in float32 also where x is bfloat16."""

    @classmethod
    def takes(
        cls, x, w, t, b=None, class_weight=None, ignore_index=-100, label_smoothing=0.0,
        reduction="mean",
    ):  # fmt: skip
        known = plain_targets(t, len(w), class_weight, ignore_index, label_smoothing)
        return known and x.size > 0 and dense(x, w) and same_dtype(x, w, b)

    def forward_fast(
        self, x, w, t, b=None, class_weight=None, ignore_index=-100, label_smoothing=0.0,
        reduction="mean",
    ):  # fmt: skip
        needs, inputs, targets = [*self.needs, False, False], as_rows(x), t.reshape(-1)
        back, (n, v) = True in needs, (len(inputs), len(w))
        scale = loss_scale(t, ignore_index, reduction)
        step = LOGITS_BYTES // (4 * v)
        step = max(128, step // 1024 * 1024 or step // 128 * 128)
        losses, logits = empty(n, np.float32), empty((min(step, n), v), x.dtype)
        gx: Any = empty(inputs.shape, x.dtype) if needs[0] else None
        gw = empty(w.shape, np.float32) if needs[1] else None
        gb = launch.xp.zeros(v, np.float32) if needs[3] else None
        for start in range(0, n, step):
            some = slice(start, start + step)
            z = affine(inputs[some], w, b, logits[: len(inputs[some])])  # (n, C)
            cross_entropy(z, z, targets[some], losses[some], scale, ignore_index, back)
            if needs[0]:
                product(z, w, gx[some])  # (n, I)
            if needs[1]:
                product(z.T, inputs[some], gw, add=start > 0)  # (C, n) @ (n, I)
            if needs[3]:
                gb += sum_rows(z, FLOAT32)
        gx = None if gx is None else gx.reshape(x.shape)
        self.saved, self.dtype = (gx, gw, gb), x.dtype
        return total(losses, scale)

    def backward_fast(self, g):
        gx, gw, gb = (None if a is None else scaled(a, g, self.dtype) for a in self.saved)
        return gx, gw, None, gb, None
