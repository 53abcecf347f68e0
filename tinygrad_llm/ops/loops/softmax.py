"""Softmax and its logarithm over the last axis, row by row."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..softmax import LogSoftmax, Softmax
from .compiling import kernel, shared
from .elementary import exp_normal, exp_row, largest, less_both
from .twin import Loop, dense, in_rows, rows

__all__ = ["LoopLogSoftmax", "LoopSoftmax"]

f: Any = np.float64  # in a compiled copy the arrays' dtype


@kernel
def softmax(x, y, start, stop):
    """y = exp(x − m)/Σ exp(x − m),   m = max x."""
    for i in range(start, stop):
        xi, yi = x[i], y[i]
        scale = f(1.0) / exp_row(xi, yi, largest(xi))
        for j in range(xi.size):
            yi[j] *= scale


@kernel
def softmax_back(g, y, gx, start, stop):
    """∂L/∂x = y·(g − Σ g·y)."""
    for i in range(start, stop):
        gi, yi, xi = g[i], y[i], gx[i]
        total = f(0.0)
        for j in range(gi.size):
            total += gi[j] * yi[j]
        for j in range(gi.size):
            xi[j] = yi[j] * (gi[j] - total)


@kernel
def log_softmax(x, y, start, stop):
    """y = x − m − log Σ exp(x − m),   m = max x."""
    for i in range(start, stop):
        xi, yi = x[i], y[i]
        m = largest(xi)
        total = f(0.0)
        for j in range(xi.size):
            total += exp_normal(xi[j] - m)
        log_total = np.log(total)
        for j in range(xi.size):
            yi[j] = less_both(xi[j], m, log_total)


@kernel
def log_softmax_back(g, y, gx, start, stop):
    """∂L/∂x = g − exp(y)·Σ g."""
    for i in range(start, stop):
        gi, yi, xi = g[i], y[i], gx[i]
        total = f(0.0)
        for j in range(gi.size):
            total += gi[j]
        for j in range(gi.size):
            xi[j] = gi[j] - exp_normal(yi[j]) * total


class _OverRows(Loop):
    """Saves y, as the NumPy class does."""

    loop: Any
    back: Any

    @classmethod
    def takes(cls, x, dim=-1):
        return x.size > 0 and dim in (-1, x.ndim - 1) and dense(x)

    def forward(self, x, dim=-1):
        self.dim, y = dim, np.empty(x.shape, x.dtype)
        shared(self.loop, x.size // x.shape[-1], x.size, rows(x), rows(y))
        self.saved = (y,)
        return y

    def backward(self, g):
        (y,) = self.saved
        g, gx = in_rows(g), np.empty(g.shape, g.dtype)
        shared(self.back, g.size // g.shape[-1], g.size, rows(g), rows(y), rows(gx))
        return gx


class LoopSoftmax(_OverRows, Softmax):
    """Along the last dim."""

    loop, back = softmax, softmax_back


class LoopLogSoftmax(_OverRows, LogSoftmax):
    """Along the last dim."""

    loop, back = log_softmax, log_softmax_back
