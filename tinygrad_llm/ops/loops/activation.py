"""GELU and SiLU: y and f′(x) in one pass, and backward a product."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...arrays.special import CDF_COEFFICIENTS
from ..activation import Gelu, Silu
from .compiling import kernel, shared
from .elementary import exp, sigmoid
from .twin import Loop, dense, in_rows

__all__ = ["LoopGelu", "LoopSilu"]

f: Any = np.float64  # in a compiled copy the arrays' dtype
DOUBLE = True
Q0, Q1, Q2, Q3, Q4, Q5, Q6 = CDF_COEFFICIENTS
TWO_C = 2 * math.sqrt(2 / math.pi)  # c as in Gelu
CUBE = 0.044715


@kernel
def gelu_tanh(x, y, derivative, both, start, stop):
    """y = x·Φ,   f′ = Φ + x·Φ·(1 − Φ)·2u′,   Φ = (1 + tanh u)/2 = σ(2u),   u = c·(x + a·x³)."""
    x, y, derivative = x[start:stop], y[start:stop], derivative[start:stop]
    for i in range(x.size):
        a = x[i]
        square = a * a
        cdf = sigmoid(f(TWO_C) * a * (f(1.0) + f(CUBE) * square))
        y[i] = a * cdf
        inner = f(TWO_C) * (f(1.0) + f(3 * CUBE) * square)  # 2u′
        if both:
            derivative[i] = cdf + a * cdf * (f(1.0) - cdf) * inner


@kernel
def gelu_erf(x, y, derivative, both, start, stop):
    """y = x·Φ,   f′ = Φ + x·φ,   φ = exp(−x²/2)/√(2π),   Φ as arrays.special computes it."""
    x, y, derivative = x[start:stop], y[start:stop], derivative[start:stop]
    for i in range(x.size):
        a = x[i]
        square = a * a
        if DOUBLE:
            cdf = f(0.5) + f(0.5) * f(math.erf(a * f(math.sqrt(0.5))))
        else:
            q = f(Q5) + f(Q6) * square
            q = f(Q4) + q * square
            q = f(Q3) + q * square
            q = f(Q2) + q * square
            q = f(Q1) + q * square
            q = f(Q0) + q * square
            cdf = sigmoid(f(2.0) * a * q)  # (1 + tanh(x·q))/2
        y[i] = a * cdf
        if both:
            derivative[i] = cdf + a * exp(f(-0.5) * square) * f(1 / math.sqrt(2 * math.pi))


@kernel
def silu(x, y, derivative, both, start, stop):
    """y = x·σ(x),   f′ = σ + y·(1 − σ)."""
    x, y, derivative = x[start:stop], y[start:stop], derivative[start:stop]
    for i in range(x.size):
        s = sigmoid(x[i])
        y[i] = x[i] * s
        if both:
            derivative[i] = s + x[i] * s * (f(1.0) - s)


@kernel
def product(g, derivative, gx, start, stop):
    """∂L/∂x = g·f′."""
    g, derivative, gx = g[start:stop], derivative[start:stop], gx[start:stop]
    for i in range(g.size):
        gx[i] = g[i] * derivative[i]


class _Activation(Loop):
    """An element-wise op: saves f′, as the NumPy class does."""

    needs: Any
    saved: Any

    def run(self, loop, x):
        """y by the loop; f′ is computed and saved if a gradient is wanted."""
        y = np.empty(x.shape, x.dtype)
        derivative = np.empty(x.shape if self.needs[0] else 0, x.dtype)
        self.saved = (derivative,) if self.needs[0] else ()
        args = x.reshape(-1), y.reshape(-1), derivative.reshape(-1)
        shared(loop, x.size, x.size, *args, int(self.needs[0]))
        return y

    def backward(self, g):
        (derivative,) = self.saved
        g, gx = in_rows(g), np.empty(g.shape, g.dtype)
        shared(product, g.size, g.size, *(a.reshape(-1) for a in (g, derivative, gx)))
        return gx


class LoopGelu(_Activation, Gelu):
    """Both approximations."""

    @classmethod
    def takes(cls, x, approximate="none"):
        return dense(x)

    def forward(self, x, approximate="none"):
        return self.run(gelu_tanh if approximate == "tanh" else gelu_erf, x)


class LoopSilu(_Activation, Silu):
    """SiLU, also called swish."""

    def forward(self, x):
        return self.run(silu, x)
