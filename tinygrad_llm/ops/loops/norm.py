"""Layer norm and RMS norm as loops over rows."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...arrays.reductions import row_sum
from ..norm import LayerNorm, RmsNorm
from .compiling import kernel, shared
from .twin import Loop, dense, in_rows, rows, vector

__all__ = ["LoopLayerNorm", "LoopRmsNorm"]

f: Any = np.float64  # in a compiled copy the arrays' dtype


@kernel
def layer_norm(x, w, b, y, m, r, eps, start, stop):
    """y = w·x̂ + b,   x̂ = (x − m)·r,   m = mean(x),   r = 1/√(mean((x − m)²) + ε)."""
    n = f(x.shape[1])
    for i in range(start, stop):
        xi, yi = x[i], y[i]
        total = f(0.0)
        for j in range(xi.size):
            total += xi[j]
        mean = total / n
        squares = f(0.0)
        for j in range(xi.size):
            d = xi[j] - mean
            squares += d * d
        ri = f(1.0) / np.sqrt(squares / n + f(eps))
        m[i] = mean
        r[i] = ri
        for j in range(xi.size):
            yi[j] = (xi[j] - mean) * ri * w[j] + b[j]


@kernel
def layer_norm_back(g, x, m, r, w, gx, part, strip, start, stop):
    """∂L/∂x = r·(u − mean(u) − x̂·mean(u·x̂)),   u = g·w;   part: Σ g·x̂ and Σ g of each strip."""
    n = f(g.shape[1])
    for s in range(start, stop):
        gw, gb = part[s, 0], part[s, 1]
        gw[:] = f(0.0)
        gb[:] = f(0.0)
        for i in range(s * strip, min(s * strip + strip, g.shape[0])):
            gi, xi, to, mean, ri = g[i], x[i], gx[i], m[i], r[i]
            first, second = f(0.0), f(0.0)
            for j in range(gi.size):
                u = gi[j] * w[j]
                to[j] = u
                first += u
                second += u * ((xi[j] - mean) * ri)
            first /= n
            second /= n
            for j in range(gi.size):
                to[j] = ri * (to[j] - first - (xi[j] - mean) * ri * second)
            for j in range(gi.size):
                gw[j] += gi[j] * ((xi[j] - mean) * ri)
            for j in range(gi.size):
                gb[j] += gi[j]


def strips(n: int) -> tuple[int, int]:
    """(rows of a strip, number of strips): from n alone, and so a sum over strips too.

    A strip's rows are added one after another, the strips in groups: few enough to keep the digits.
    Many strips divide better among the cores; but at the end one core reads all of their sums, from
    the others' caches.
    """
    strip = min(max(32, -(-n // (32 if n <= 4096 else 64))), 1024)
    return strip, -(-n // strip)


@kernel
def rms_norm(x, w, y, r, eps, start, stop):
    """y = w·x̂,   x̂ = x·r,   r = 1/√(mean(x²) + ε)."""
    n = f(x.shape[1])
    for i in range(start, stop):
        xi, yi = x[i], y[i]
        squares = f(0.0)
        for j in range(xi.size):
            squares += xi[j] * xi[j]
        ri = f(1.0) / np.sqrt(squares / n + f(eps))
        r[i] = ri
        for j in range(xi.size):
            yi[j] = xi[j] * ri * w[j]


@kernel
def rms_norm_back(g, x, r, w, gx, part, strip, start, stop):
    """∂L/∂x = r·(u − x·r²·mean(u·x)),   u = g·w;   part: Σ g·x·r of each strip."""
    n = f(g.shape[1])
    for s in range(start, stop):
        gw = part[s]
        gw[:] = f(0.0)
        for i in range(s * strip, min(s * strip + strip, g.shape[0])):
            gi, hi, xi, ri = g[i], x[i], gx[i], r[i]
            total = f(0.0)
            for j in range(gi.size):
                u = gi[j] * w[j]
                xi[j] = u
                total += u * hi[j]
            scale = ri * ri * (total / n)
            for j in range(gi.size):
                xi[j] = ri * (xi[j] - hi[j] * scale)
            for j in range(gi.size):
                gw[j] += gi[j] * hi[j] * ri


class LoopLayerNorm(Loop, LayerNorm):
    """Saves x, m and r in place of x̂: a pass less over memory. As in PyTorch x must stay as is."""

    @classmethod
    def takes(cls, x, w=None, b=None, eps=1e-5):
        return x.size > 0 and dense(x, w, b)

    def forward(self, x, w=None, b=None, eps=1e-5):
        y, c = np.empty(x.shape, x.dtype), x.shape[-1]
        m, r = np.empty(x.shape[:-1], x.dtype), np.empty(x.shape[:-1], x.dtype)
        args = rows(x), vector(w, c, 1.0, x), vector(b, c, 0.0, x), rows(y)
        shared(layer_norm, r.size, x.size, *args, m.reshape(-1), r.reshape(-1), float(eps))
        self.saved = x, m, r, w
        return y

    def backward(self, g):
        x, m, r, w = self.saved
        needs = [*self.needs, False, False]
        g, gx, c = in_rows(g), np.empty(g.shape, g.dtype), g.shape[-1]
        strip, count = strips(r.size)
        part = np.empty((count, 2, c), g.dtype)
        args = rows(g), rows(x), m.reshape(-1), r.reshape(-1), vector(w, c, 1.0, g), rows(gx)
        shared(layer_norm_back, count, g.size, *args, part, strip)
        # (strips, 2, C) -> (2, C)
        sums: Any = row_sum(part, 2) if needs[1] or needs[2] else (None, None)
        gw, gb = (sums[i] if needs[1 + i] else None for i in (0, 1))
        return gx if needs[0] else None, gw, gb


class LoopRmsNorm(Loop, RmsNorm):
    """Saves what the NumPy class saves."""

    @classmethod
    def takes(cls, x, w=None, eps=1e-6):
        return x.size > 0 and dense(x, w)

    def forward(self, x, w=None, eps=1e-6):
        y, r = np.empty(x.shape, x.dtype), np.empty(x.shape[:-1] + (1,), x.dtype)
        args = rows(x), vector(w, x.shape[-1], 1.0, x), rows(y), r.reshape(-1), float(eps)
        shared(rms_norm, r.size, x.size, *args)
        self.saved = x, r, w
        return y

    def backward(self, g):
        x, r, w = self.saved
        needs = [*self.needs, False]
        g, gx, c = in_rows(g), np.empty(g.shape, g.dtype), g.shape[-1]
        strip, count = strips(r.size)
        part = np.empty((count, c), g.dtype)
        args = rows(g), rows(x), r.reshape(-1), vector(w, c, 1.0, g), rows(gx), part, strip
        shared(rms_norm_back, count, g.size, *args)
        return gx if needs[0] else None, row_sum(part) if needs[1] else None  # (strips, C) -> (C)
