"""Sums, means and variances along the last axis."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...arrays.reductions import FAR, ROUNDING, is_usual_variance, unusual_variance
from ..reduce import Mean, Sum, Var
from .broadcast import LONGEST, Operand, row_totals, times_rows
from .compiling import kernel, shared
from .twin import Loop, dense, in_rows, rows

__all__ = ["LoopMean", "LoopSum", "LoopVar"]

f: Any = np.float64  # in a compiled copy the arrays' dtype


@kernel
def variance_loop(x, centred, mean, squares, far, start, stop):
    """x − μ,   μ = mean(x),   and Σ (x − μ)².

    μ is rounded. Where σ²/μ² is at most `far`, so much that the mean of x − μ is subtracted too.
    """
    n = f(x.shape[1])
    for i in range(start, stop):
        xi, ci = x[i], centred[i]
        total = f(0.0)
        for j in range(xi.size):
            total += xi[j]
        m = total / n
        s, rest = f(0.0), f(0.0)
        for j in range(xi.size):
            d = xi[j] - m
            ci[j] = d
            s += d * d
            rest += d
        if s <= m * m * n * f(far):
            rest /= n
            s = f(0.0)
            for j in range(xi.size):
                d = ci[j] - rest
                ci[j] = d
                s += d * d
        mean[i] = m
        squares[i] = s


class _AlongRows(Loop):
    """Along the last dim alone."""

    @classmethod
    def takes(cls, x, dims, keepdim=False, **options):
        return dims == (x.ndim - 1,) and 1 < x.shape[-1] <= LONGEST and x.size > 0 and dense(x)


def total_of_rows(x: Any, keepdim: bool) -> Any:
    """Σ x along the last axis: (..., C) -> (...) or (..., 1)."""
    c = x.shape[-1]
    total = row_totals(x, None, x.size // c, c)
    return total.reshape(x.shape[:-1] + ((1,) if keepdim else ()))


class LoopSum(_AlongRows, Sum):
    """Its gradient is g, repeated."""

    def forward(self, x, dims, keepdim=False):
        self.shape, self.dims, self.keepdim = x.shape, dims, keepdim
        return total_of_rows(x, keepdim)


class LoopMean(_AlongRows, Mean):
    """Its gradient is g/n, repeated."""

    def forward(self, x, dims, keepdim=False):
        self.shape, self.dims, self.keepdim, self.n = x.shape, dims, keepdim, x.shape[-1]
        total = total_of_rows(x, keepdim)
        total /= self.n
        return total


class LoopVar(_AlongRows, Var):
    """Saves x − μ, as the NumPy class does, which computes what is unusual: rows of equal numbers,
    infinite and very large ones.
    """

    def forward(self, x, dims, keepdim=False, correction=1):
        self.dims, self.keepdim = dims, keepdim
        n, shape = x.shape[-1], x.shape[:-1] + (1,)
        centred = np.empty(x.shape, x.dtype)
        mean, squares = np.empty(shape, x.dtype), np.empty(shape, x.dtype)
        args = rows(x), rows(centred), mean.reshape(-1), squares.reshape(-1), FAR[x.itemsize]
        shared(variance_loop, mean.size, x.size, *args)
        if not is_usual_variance(squares, mean, n, ROUNDING):
            centred, self.divisor, y = unusual_variance(x, centred, dims, keepdim, correction)
        else:
            self.divisor = max(n - correction, 0)
            y = squares / self.divisor
            y = y if keepdim else y.reshape(shape[:-1])
        self.saved = (centred,)
        return y if y.dtype == x.dtype else y.astype(x.dtype)

    def backward(self, g):
        (centred,) = self.saved
        if self.divisor <= 0:
            return super().backward(g)
        scale = in_rows(g) * (2.0 / self.divisor)
        how = Operand(True, scale.size, centred.shape[-1])
        return times_rows(centred, scale, how)
