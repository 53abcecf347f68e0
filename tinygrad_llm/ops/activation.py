"""Activations: y = f(x), element by element, so that ∂L/∂x = g·f′(x).

The smooth ones save f′(x) itself, computed in forward, where it shares the exponential with f(x).
It is as big as x, x is then no longer needed, and backward is a single product.
"""

from __future__ import annotations

import math
from typing import Any

from ..arrays.devices import xp_of
from ..arrays.layout import empty_as
from ..arrays.masks import selected
from ..arrays.parallel import over_elements, over_rows, times
from ..arrays.special import erf_of_half, normal_cdf, sigmoid, sigmoid_by_tanh
from ..autograd.engine import Op


class Relu(Op):
    """y = max(x, 0).

    Backward: ∂L/∂x = 0 where x ≤ 0, the kink x = 0 included, else g; so where x is NaN it is g.
    Saves the mask x > 0: one byte per element.
    """

    def forward(self, x):
        if self.needs[0]:
            self.saved = (~(x <= 0),)
        return xp_of(x).maximum(x, 0)

    def backward(self, g):
        (positive,) = self.saved
        return selected(g, positive)


class LeakyRelu(Op):
    """y = x where x > 0, else a·x:   y = max(x, 0) + a·min(x, 0),   a = negative_slope.

    Backward: ∂L/∂x = g·f′,   f′ = 1 where x > 0, else a.
    Saves the mask x > 0: one byte per element.
    """

    in_float32 = True

    def forward(self, x, negative_slope=0.01):
        xp = xp_of(x)
        self.negative_slope, self.saved = negative_slope, (x > 0,)
        return xp.maximum(x, 0.0) + xp.minimum(x, 0.0) * negative_slope

    def backward(self, g):
        (positive,) = self.saved
        return selected(g, positive) + selected(g * self.negative_slope, ~positive)


class Elu(Op):
    """y = x where x > 0, else α·(exp(x) − 1).

    Backward: ∂L/∂x = g·f′,   f′ = 1 where x > 0, else α·exp(x).
    Saves exp(min(x, 0)) and where x > 0. Source: Clevert, Unterthiner, Hochreiter (2015),
    equation 14.
    """

    in_float32 = True

    def forward(self, x, alpha=1.0):
        xp = xp_of(x)
        low = xp.minimum(x, 0.0)
        if self.needs[0]:
            self.alpha, self.saved = alpha, (xp.exp(low), x > 0)
        return xp.maximum(x, 0.0) + xp.expm1(low) * alpha  # the second is 0 where x > 0

    def backward(self, g):
        exponential, positive = self.saved
        return xp_of(g).where(positive, g, g * self.alpha * exponential)


class Gelu(Op):
    """y = x·Φ(x), Φ the normal distribution function: the probability that z ~ N(0, 1) is < x.

    approximate="none":  Φ(x) = (1 + erf(x/√2))/2,   Φ′(x) = φ(x) = exp(−x²/2)/√(2π)
    approximate="tanh":  Φ(x) ≈ (1 + tanh u)/2,      u = c·(x + a·x³),  c = √(2/π),  a = 0.044715
                         Φ′(x) = (1 − tanh²u)/2·u′ = 2Φ(1 − Φ)·u′,      u′ = c·(1 + 3a·x²)
    Backward: ∂L/∂x = g·f′,   f′ = Φ + x·Φ′.
    Saves f′. Source: Hendrycks and Gimpel (2016). GPT-2 and Gemma use tanh, BERT erf.
    """

    in_float32 = True

    def forward(self, x, approximate="none"):
        if self.half is not None:
            y, derivative = gelu_in_half(self, x, approximate)
            self.saved = (derivative,)
            return y
        y, derivative = empty_pair(x, self.needs[0])
        self.saved = (derivative,)
        over_elements(x, y, derivative)(gelu_tanh if approximate == "tanh" else gelu_erf)
        return y

    def backward(self, g):
        (derivative,) = self.saved
        return times(g, derivative)


def empty_pair(x: Any, second: bool) -> tuple[Any, Any]:
    """Two empty arrays like x; None in place of the second if `second` is False."""
    return empty_as(x), empty_as(x) if second else None


def gelu_in_half(op: Op, x: Any, approximate: str) -> tuple[Any, Any]:
    """y and f′ in PyTorch's order of operations: far below 0, 1 + tanh u loses digits."""
    xp = xp_of(x)
    if approximate == "tanh":
        c = math.sqrt(2.0 / math.pi)
        tail = 1.0 + op.precise(xp.tanh, c * (x + 0.044715 * (x * x * x)))  # 2Φ
        factor = 0.5 * x * tail * (2.0 - tail) * c * (1.0 + 3.0 * 0.044715 * (x * x))
    else:
        tail = 1.0 + erf_of_half(x * math.sqrt(0.5))  # 2Φ
        bell = op.precise(xp.exp, -0.5 * x * x) * (1.0 / math.sqrt(2.0 * math.pi))
        factor = x * bell
    return 0.5 * x * tail, 0.5 * tail + factor


def gelu_tanh(x: Any, y: Any, derivative: Any) -> None:
    """y = x·Φ and f′ = Φ + x·Φ′, with Φ by tanh; the derivative may be None."""
    xp, c = xp_of(x), math.sqrt(2.0 / math.pi)
    square = x * x
    square *= 0.044715 * c
    cdf = square + c
    cdf *= x  # u = x·(c + a·c·x²)
    xp.tanh(cdf, out=cdf)
    cdf += 1.0
    cdf *= 0.5  # Φ
    xp.multiply(x, cdf, out=y)
    if derivative is not None:
        square *= 6.0
        square += 2.0 * c  # 2u′
        xp.subtract(1.0, cdf, out=derivative)
        derivative *= y
        derivative *= square  # x·Φ·(1 − Φ)·2u′
        derivative += cdf


def gelu_erf(x: Any, y: Any, derivative: Any) -> None:
    """y = x·Φ and f′ = Φ + x·Φ′, with Φ by erf; the derivative may be None."""
    xp = xp_of(x)
    square = xp.multiply(x, x, out=derivative)
    cdf = normal_cdf(x, square)  # Φ
    xp.multiply(x, cdf, out=y)
    if derivative is not None:
        derivative *= -0.5  # it was x²
        xp.exp(derivative, out=derivative)
        derivative *= x
        derivative *= 1.0 / math.sqrt(2.0 * math.pi)  # x·φ
        derivative += cdf


class Silu(Op):
    """y = x·σ(x), also called swish;   σ(x) = 1/2 + tanh(x/2)/2.

    Backward: ∂L/∂x = g·f′,   f′ = σ + x·σ·(1 − σ) = σ + y·(1 − σ).
    Saves f′. Source: Elfwing, Uchibe, Doya (2017).
    """

    in_float32 = True

    def forward(self, x):
        y, derivative = empty_pair(x, self.needs[0])
        self.saved = (derivative,)
        over_elements(x, y, derivative)(silu)
        return y

    def backward(self, g):
        (derivative,) = self.saved
        return times(g, derivative)


def silu(x: Any, y: Any, derivative: Any) -> None:
    """y = x·σ(x) and f′ = σ + y·(1 − σ); the derivative may be None."""
    s = sigmoid_by_tanh(x)
    xp_of(x).multiply(x, s, out=y)
    if derivative is not None:
        xp_of(x).subtract(1.0, s, out=derivative)
        derivative *= y
        derivative += s


class GatedActivation(Op):
    """y = f(a)·b,   a and b the two halves of x along the last axis: the gate and what it lets in.

    f: "silu" (SwiGLU), "gelu" or "gelu_tanh" (GeGLU), as in Silu and Gelu.
    Backward: ∂L/∂a = g·b·f′(a),   ∂L/∂b = g·f(a),   written into the halves of ∂L/∂x.
    Saves b, f(a) and f′(a). Source: Shazeer (2020), "GLU Variants Improve Transformer", equation 5.
    """

    signature = "x(...,M) -> y(...,F)"
    in_rows = True
    in_float32 = True

    def forward(self, x, activation="silu"):
        a, b = halves(x)
        y = xp_of(x).empty(a.shape, x.dtype)
        f, derivative = (empty_as(y) if self.needs[0] else None for _ in range(2))
        if self.half is not None and activation != "silu":
            kind = "tanh" if activation == "gelu_tanh" else "none"
            f, derivative = gelu_in_half(self, a, kind)
            f = self.stored(f)
            y = f * b
        else:
            function = {"silu": silu, "gelu": gelu_erf, "gelu_tanh": gelu_tanh}[activation]

            @over_rows(a, b, y, f, derivative)
            def some_rows(a, b, y, f, derivative):
                f = y if f is None else f
                function(a, f, derivative)
                if self.half is not None:
                    f[...] = self.stored(f)
                xp_of(y).multiply(f, b, out=y)

        self.saved = (b, f, derivative) if self.needs[0] else ()
        return y

    def backward(self, g):
        b, f, derivative = self.saved
        gx = xp_of(g).empty((*b.shape[:-1], 2 * b.shape[-1]), g.dtype)
        ga, gb = halves(gx)

        @over_rows(g, b, f, derivative, ga, gb)
        def some_rows(g, b, f, derivative, ga, gb):
            xp_of(g).multiply(g, f, out=gb)
            xp_of(g).multiply(g, b, out=ga)
            if self.half is not None:
                ga[...] = self.stored(ga)
            ga *= derivative

        return gx


def halves(x: Any) -> tuple[Any, Any]:
    """Views of the first and the second half of the last axis: (..., 2F) -> (..., F) twice."""
    n = x.shape[-1] // 2
    return x[..., :n], x[..., n:]


class Softplus(Op):
    """y = log(1 + exp(βx))/β, a smooth relu; y = x where βx > threshold.

    Computed as (max(z, 0) + log(1 + exp(−|z|)))/β with z = βx, which never overflows.
    Backward: ∂L/∂x = g·f′,   f′ = σ(βx), or 1 where βx > threshold.
    Saves f′.
    """

    in_float32 = True

    def forward(self, x, beta=1.0, threshold=20.0):
        xp = xp_of(x)
        z = x * beta
        linear = z > threshold
        if self.needs[0]:
            self.saved = (xp.maximum(sigmoid(z), linear),)
        y = xp.log1p(xp.exp(-abs(z)))
        y += xp.maximum(z, 0.0)
        y *= 1.0 / beta
        return xp.where(linear, x, y)

    def backward(self, g):
        return g * self.saved[0]


class Logsigmoid(Op):
    """y = log σ(x) = min(x, 0) − log(1 + exp(−|x|)), which never overflows.

    Backward: ∂L/∂x = g·f′,   f′ = σ(−x) = e/(1 + e) where x ≥ 0, else 1/(1 + e),   e = exp(−|x|).
    Saves f′.
    """

    in_rows = True
    in_float32 = True

    def forward(self, x):
        xp = xp_of(x)
        e = xp.exp(-abs(x))
        y = xp.minimum(x, 0.0)
        y -= xp.log1p(e)
        if self.needs[0]:
            e = self.stored(e)
            derivative = xp.maximum(e, x < 0)  # 1 where x < 0, because e < 1 there
            derivative /= e + 1.0
            self.saved = (derivative,)
        return y

    def backward(self, g):
        return g * self.saved[0]
