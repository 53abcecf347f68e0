"""Layer norm and RMS norm: each row (the last axis) brought to one scale."""

from __future__ import annotations

from typing import Any

from ..backend import row_sum, xp_of
from ..engine import Op


def row_mean(x: Any) -> Any:
    """The mean over the last axis: (..., C) -> (..., 1). A product with 1/C is faster than a sum."""
    n = x.shape[-1]
    return (x @ xp_of(x).full(n, 1.0 / max(n, 1), x.dtype))[..., None]


def row_dot(a: Any, b: Any) -> Any:
    """Σ a·b over the last axis: (..., C), (..., C) -> (..., 1), without the product in memory."""
    return xp_of(a).einsum("...c,...c->...", a, b)[..., None]


class LayerNorm(Op):
    """y = w·x̂ + b,   x̂ = (x − μ)·r,   r = 1/√(σ² + ε),   μ, σ² over the last axis.

    Backward, with g = ∂L/∂y and u = g·w (what arrives at x̂):
        ∂L/∂b = Σ g        ∂L/∂w = Σ g·x̂                (Σ over every row)
        ∂L/∂x = r·(u − mean(u) − x̂·mean(u·x̂))
    x reaches y by three roads: itself, μ and σ². The two means are the last two.
    σ² is the mean of (x − μ)², divided by C and not C − 1; mean(x²) − μ² would lose it in rounding.
    Saves x̂ (as big as x), r (one number a row) and w; x itself is not needed.
    Source: Ba, Kiros, Hinton (2016), equation 3.
    """

    signature = "x(...,C) w(C)? b(C)? -> y(...,C)"

    def forward(self, x, w=None, b=None, eps=1e-5):
        xhat = x - row_mean(x)
        r = (row_dot(xhat, xhat) / x.shape[-1] + eps) ** -0.5  # (..., 1)
        xhat *= r
        self.saved = xhat, r, w
        y = xhat if w is None else xhat * w
        return y if b is None else y + b

    def backward(self, g):
        xhat, r, w = self.saved
        gx = gw = gb = None
        if self.needs[0]:
            u = g if w is None else g * w
            gx = xhat * (row_dot(u, xhat) / -g.shape[-1])
            gx += u
            gx -= row_mean(u)
            gx *= r
        if len(self.needs) > 1 and self.needs[1]:
            gw = row_sum(g * xhat)  # (..., C) -> (C)
        if len(self.needs) > 2 and self.needs[2]:
            gb = row_sum(g)  # (..., C) -> (C)
        return gx, gw, gb


class RmsNorm(Op):
    """y = w·x̂,   x̂ = x·r,   r = 1/√(mean(x²) + ε),   the mean over the last axis.

    Backward, with g = ∂L/∂y and u = g·w (what arrives at x̂):
        ∂L/∂w = Σ g·x̂                                    (Σ over every row)
        ∂L/∂x = r·(u − x̂·mean(u·x̂)) = r·(u − x·r²·mean(u·x))
    There is no mean to subtract, so layer norm's road through μ is missing.
    Saves x, r (one number a row) and w. Source: Zhang and Sennrich (2019), equation 4.
    """

    signature = "x(...,C) w(C)? -> y(...,C)"

    def forward(self, x, w=None, eps=1e-6):
        r = (row_dot(x, x) / x.shape[-1] + eps) ** -0.5  # (..., 1)
        self.saved = x, r, w
        y = x * r
        if w is not None:
            y *= w
        return y

    def backward(self, g):
        x, r, w = self.saved
        gx = gw = None
        if self.needs[0]:
            u = g if w is None else g * w
            gx = x * (r * r * row_dot(u, x) / -g.shape[-1])
            gx += u
            gx *= r
        if len(self.needs) > 1 and self.needs[1]:
            gw = g * x
            gw *= r
            gw = row_sum(gw)  # (..., C) -> (C)
        return gx, gw
