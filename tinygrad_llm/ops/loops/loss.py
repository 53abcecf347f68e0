"""Cross-entropy of class indices, row by row."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..loss import CrossEntropy, Targets
from .compiling import kernel, precise_helper, shared
from .elementary import exp_row, largest
from .twin import Loop, dense, rows

__all__ = ["LoopCrossEntropy"]

f: Any = np.float64  # in a compiled copy the arrays' dtype


@precise_helper
def minus_log(total, x, m):
    """log total − (x − m). In another order, a large m would cost digits."""
    return np.log(total) - (x - m)


@kernel
def cross_entropy(x, z, total, loss, t, start, stop):
    """z = exp(x − m),   total = Σ z,   loss = log total − (x_t − m),   m = max x."""
    for i in range(start, stop):
        m = largest(x[i])
        total[i] = exp_row(x[i], z[i], m)
        loss[i] = minus_log(total[i], x[i, t[i]], m)


@kernel
def cross_entropy_back(z, total, g, gx, t, start, stop):
    """∂L/∂x = g·(p − onehot(t)),   p = z/total."""
    for i in range(start, stop):
        zi, xi = z[i], gx[i]
        scale = g[i] / total[i]
        for j in range(zi.size):
            xi[j] = zi[j] * scale
        xi[t[i]] -= g[i]


class LoopCrossEntropy(Loop, CrossEntropy):
    """Without class weights and smoothing. Saves what the NumPy class saves."""

    @classmethod
    def takes(cls, x, t, w=None, ignore_index=-100, label_smoothing=0.0, reduction="mean"):
        plain = w is None and not label_smoothing and x.size > 0 and x.ndim > 1
        return plain and type(t) is np.ndarray and t.dtype.kind == "i" and dense(x)

    def forward(self, x, t, w=None, ignore_index=-100, label_smoothing=0.0, reduction="mean"):
        self.options = ignore_index, reduction, label_smoothing
        targets = Targets(self.name, x.dtype, x.shape[-1], t, w, *self.options)
        n = len(targets.t)
        z, total, losses = (np.empty(s, x.dtype) for s in (x.shape, (n, 1), n))
        ids = targets.t.astype(np.int64, copy=False)
        shared(cross_entropy, n, x.size, rows(x), rows(z), total.reshape(-1), losses, ids)
        self.saved = z, total, t, w
        return targets.reduce(targets.counting(losses))

    def backward(self, g):
        z, total, t, w = self.saved
        targets = Targets(self.name, z.dtype, z.shape[-1], t, w, *self.options)
        g = targets.arriving(g)[:, 0]
        g = targets.counting(g).astype(z.dtype, copy=False)
        gx, ids = np.empty(z.shape, z.dtype), targets.t.astype(np.int64, copy=False)
        args = rows(z), total.reshape(-1), np.ascontiguousarray(g), rows(gx), ids
        shared(cross_entropy_back, len(g), z.size, *args)
        return gx, None, None
