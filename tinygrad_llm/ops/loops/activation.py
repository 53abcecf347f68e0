"""GELU, SiLU, and gates of them: one pass forward and one backward."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np

from ..activation import GatedActivation, Gelu, Silu
from .compiling import helper, kernel, shared
from .elementary import exp_normal, piece, sigmoid
from .twin import Loop, dense, even_rows, flat, in_rows, row_steps, rows

__all__ = ["LoopGatedActivation", "LoopGelu", "LoopSilu"]

f: Any = np.float64  # in a compiled copy the arrays' dtype
DOUBLE = True
# fitted to Φ(−x)·exp(x²/2) for 0 ≤ x ≤ 14 so that the largest error of Φ is 4e-9
TAIL_P = 0.275992
R1, R2, R3 = 0.117625828, 0.0466835120, 0.322248875
R4, R5, R6 = -0.314001599, 0.440907004, -0.113463624
TWO_C = 2 * math.sqrt(2 / math.pi)  # c as in Gelu
CUBE = 0.044715


@helper
def tanh_gate(a):
    """x·Φ and its derivative Φ + x·Φ·(1 − Φ)·2u′,   Φ = σ(2u),   u = c·(x + a·x³)."""
    square = a * a
    cdf = sigmoid(f(TWO_C) * a * (f(1.0) + f(CUBE) * square))
    inner = f(TWO_C) * (f(1.0) + f(3 * CUBE) * square)  # 2u′
    return a * cdf, cdf + a * cdf * (f(1.0) - cdf) * inner


@helper
def erf_gate(a):
    """x·Φ and its derivative Φ + x·φ,   φ = e/√(2π),   e = exp(−x²/2).

    In float32 Φ is 1 − T for positive x and T for others,   T = e·(r₁t + … + r₆t⁶),
    t = 1/(1 + p·|x|), as Abramowitz and Stegun (7.1.26) write erf, here with one term more: one
    exponential serves both.
    """
    e = exp_normal(f(-0.5) * a * a)
    if DOUBLE:
        cdf = f(0.5) + f(0.5) * f(math.erf(a * f(math.sqrt(0.5))))
    else:
        t = f(1.0) / (f(1.0) + f(TAIL_P) * abs(a))
        r = f(R5) + f(R6) * t
        r = f(R4) + r * t
        r = f(R3) + r * t
        r = f(R2) + r * t
        r = f(R1) + r * t
        tail = r * t * e
        cdf = f(1.0) - tail if a > f(0.0) else tail
    return a * cdf, cdf + a * e * f(1 / math.sqrt(2 * math.pi))


@helper
def silu_gate(a):
    """x·σ(x) and its derivative σ + x·σ·(1 − σ)."""
    s = sigmoid(a)
    return a * s, s + a * s * (f(1.0) - s)


@kernel
def gelu_tanh(x, y, derivative, both, columns, step, start, stop):
    """y and f′ of GELU by tanh, for elements of rows that begin `step` numbers apart."""
    i = start
    while i < stop:
        row, place, n = piece(i, stop, columns)
        at = row * step + place
        xi, yi, di = x[at : at + n], y[i : i + n], derivative[i : i + n]
        for j in range(xi.size):
            yi[j], df = tanh_gate(xi[j])
            if both:
                di[j] = df
        i += n


@kernel
def gelu_erf(x, y, derivative, both, columns, step, start, stop):
    """y and f′ of GELU by erf, for elements of rows that begin `step` numbers apart."""
    i = start
    while i < stop:
        row, place, n = piece(i, stop, columns)
        at = row * step + place
        xi, yi, di = x[at : at + n], y[i : i + n], derivative[i : i + n]
        for j in range(xi.size):
            yi[j], df = erf_gate(xi[j])
            if both:
                di[j] = df
        i += n


@kernel
def silu(x, y, columns, step, start, stop):
    """y = x·σ(x), for elements of rows that begin `step` numbers apart."""
    i = start
    while i < stop:
        row, place, n = piece(i, stop, columns)
        at = row * step + place
        xi, yi = x[at : at + n], y[i : i + n]
        for j in range(xi.size):
            yi[j] = xi[j] * sigmoid(xi[j])
        i += n


@kernel
def silu_back(g, x, gx, columns, step, start, stop):
    """∂L/∂x = g·f′,   f′ = σ + x·σ·(1 − σ)."""
    i = start
    while i < stop:
        row, place, n = piece(i, stop, columns)
        at = row * step + place
        gi, xi, to = g[i : i + n], x[at : at + n], gx[i : i + n]
        for j in range(gi.size):
            value, df = silu_gate(xi[j])
            to[j] = gi[j] * df
        i += n


@kernel
def product(g, derivative, gx, start, stop):
    """∂L/∂x = g·f′."""
    g, derivative, gx = g[start:stop], derivative[start:stop], gx[start:stop]
    for i in range(g.size):
        gx[i] = g[i] * derivative[i]


@kernel
def gelu_tanh_times(x, y, start, stop):
    """y = f(a)·b for the halves a, b of a row."""
    for i in range(start, stop):
        yi = y[i]
        a, b = x[i, : yi.size], x[i, yi.size :]
        for j in range(yi.size):
            value, df = tanh_gate(a[j])
            yi[j] = value * b[j]


@kernel
def gelu_tanh_times_back(g, x, gx, start, stop):
    """∂L/∂a = g·b·f′(a),   ∂L/∂b = g·f(a)."""
    for i in range(start, stop):
        gi = g[i]
        a, b, ga, gb = x[i, : gi.size], x[i, gi.size :], gx[i, : gi.size], gx[i, gi.size :]
        for j in range(gi.size):
            value, df = tanh_gate(a[j])
            ga[j] = gi[j] * b[j] * df
            gb[j] = gi[j] * value


@kernel
def gelu_erf_times(x, y, start, stop):
    """y = f(a)·b for the halves a, b of a row."""
    for i in range(start, stop):
        yi = y[i]
        a, b = x[i, : yi.size], x[i, yi.size :]
        for j in range(yi.size):
            value, df = erf_gate(a[j])
            yi[j] = value * b[j]


@kernel
def gelu_erf_times_back(g, x, gx, start, stop):
    """∂L/∂a = g·b·f′(a),   ∂L/∂b = g·f(a)."""
    for i in range(start, stop):
        gi = g[i]
        a, b, ga, gb = x[i, : gi.size], x[i, gi.size :], gx[i, : gi.size], gx[i, gi.size :]
        for j in range(gi.size):
            value, df = erf_gate(a[j])
            ga[j] = gi[j] * b[j] * df
            gb[j] = gi[j] * value


@kernel
def silu_times(x, y, start, stop):
    """y = f(a)·b for the halves a, b of a row."""
    for i in range(start, stop):
        yi = y[i]
        a, b = x[i, : yi.size], x[i, yi.size :]
        for j in range(yi.size):
            value, df = silu_gate(a[j])
            yi[j] = value * b[j]


@kernel
def silu_times_back(g, x, gx, start, stop):
    """∂L/∂a = g·b·f′(a),   ∂L/∂b = g·f(a)."""
    for i in range(start, stop):
        gi = g[i]
        a, b, ga, gb = x[i, : gi.size], x[i, gi.size :], gx[i, : gi.size], gx[i, gi.size :]
        for j in range(gi.size):
            value, df = silu_gate(a[j])
            ga[j] = gi[j] * b[j] * df
            gb[j] = gi[j] * value


class LoopGelu(Loop, Gelu):
    """Both approximations. Saves f′, as the NumPy class does."""

    @classmethod
    def takes(cls, x, approximate="none"):
        return even_rows(x)

    def forward(self, x, approximate="none"):
        y = np.empty(x.shape, x.dtype)
        derivative = np.empty(x.shape if self.needs[0] else 0, x.dtype)
        self.saved = (derivative,) if self.needs[0] else ()
        columns, (step,) = row_steps(x)
        args = flat(x), y.reshape(-1), derivative.reshape(-1), int(self.needs[0]), columns, step
        shared(gelu_tanh if approximate == "tanh" else gelu_erf, x.size, x.size, *args)
        return y

    def backward(self, g):
        (derivative,) = self.saved
        g, gx = in_rows(g), np.empty(g.shape, g.dtype)
        shared(product, g.size, g.size, *(a.reshape(-1) for a in (g, derivative, gx)))
        return gx


class LoopSilu(Loop, Silu):
    """SiLU, also called swish. Saves x, which is cheaper than to write and read f′."""

    @classmethod
    def takes(cls, x):
        return even_rows(x)

    def forward(self, x):
        y = np.empty(x.shape, x.dtype)
        self.saved = (x,) if self.needs[0] else ()
        columns, (step,) = row_steps(x)
        shared(silu, x.size, x.size, flat(x), y.reshape(-1), columns, step)
        return y

    def backward(self, g):
        (x,) = self.saved
        g, gx = in_rows(g), np.empty(g.shape, g.dtype)
        columns, (step,) = row_steps(x)
        shared(silu_back, g.size, g.size, g.reshape(-1), flat(x), gx.reshape(-1), columns, step)
        return gx


class LoopGatedActivation(Loop, GatedActivation):
    """Saves x alone: f and f′ are computed again."""

    loops: ClassVar[dict[str, Any]] = {
        "gelu": (gelu_erf_times, gelu_erf_times_back),
        "gelu_tanh": (gelu_tanh_times, gelu_tanh_times_back),
        "silu": (silu_times, silu_times_back),
    }

    @classmethod
    def takes(cls, x, activation="silu"):
        return x.size > 0 and x.shape[-1] % 2 == 0 and dense(x)

    def forward(self, x, activation="silu"):
        y = np.empty((*x.shape[:-1], x.shape[-1] // 2), x.dtype)
        self.activation, self.saved = activation, (x,) if self.needs[0] else ()
        shared(self.loops[activation][0], x.size // x.shape[-1], x.size, rows(x), rows(y))
        return y

    def backward(self, g):
        (x,) = self.saved
        g, gx = in_rows(g), np.empty(x.shape, x.dtype)
        loop = self.loops[self.activation][1]
        shared(loop, x.size // x.shape[-1], x.size, rows(g), rows(x), rows(gx))
        return gx
