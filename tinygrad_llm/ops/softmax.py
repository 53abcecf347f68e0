"""Softmax, its logarithm, and the logarithm of a sum of exponentials.

All three subtract the maximum before exp: softmax(x) = softmax(x − m), and exp never overflows.
"""

from __future__ import annotations

from ..backend import xp_of
from ..engine import Op


class Softmax(Op):
    """y = exp(x − m)/Σ exp(x − m),   m = max x,   max and Σ over `dim`.

    Backward: ∂yᵢ/∂xⱼ = yᵢ·(δᵢⱼ − yⱼ), every output depends on every input, so that
        ∂L/∂x = y·(g − Σ g·y)
    Saves y.
    """

    def forward(self, x, dim=-1):
        xp = xp_of(x)
        self.dim = dim
        y = x - x.max(dim, keepdims=True) if x.size else x.copy()
        xp.exp(y, out=y)
        y /= y.sum(dim, keepdims=True)
        self.saved = (y,)
        return y

    def backward(self, g):
        (y,) = self.saved
        gx = g * y
        gx -= y * gx.sum(self.dim, keepdims=True)
        return gx


class LogSoftmax(Op):
    """y = x − m − log Σ exp(x − m),   m = max x,   max and Σ over `dim`.

    Backward: ∂yᵢ/∂xⱼ = δᵢⱼ − exp(yⱼ), so that
        ∂L/∂x = g − exp(y)·Σ g
    Saves y. log(softmax(x)) would be −∞ where softmax rounds to 0.
    """

    def forward(self, x, dim=-1):
        xp = xp_of(x)
        self.dim = dim
        y = x - x.max(dim, keepdims=True) if x.size else x.copy()
        y -= xp.log(xp.exp(y).sum(dim, keepdims=True))
        self.saved = (y,)
        return y

    def backward(self, g):
        (y,) = self.saved
        gx = xp_of(y).exp(y)
        gx *= -g.sum(self.dim, keepdims=True)
        gx += g
        return gx


class Logsumexp(Op):
    """y = log Σ exp(x) = m + log Σ exp(x − m),   m = max x,   over `dim`, one or several.

    Backward: ∂y/∂x = exp(x)/Σ exp(x) = exp(x − y), the softmax, so that
        ∂L/∂x = g·exp(x − y)
    Saves x and y (one number a row). A row of −∞ alone gives −∞, and NaN as its gradient.
    """

    def forward(self, x, dim=-1, keepdim=False):
        xp = xp_of(x)
        self.dim = dim
        if not x.size:
            m = x.sum(dim, keepdims=True)  # zeros: there is no maximum
        else:
            m = x.max(dim, keepdims=True)
            m[xp.isinf(m)] = 0.0
        y = xp.log(xp.exp(x - m).sum(dim, keepdims=True)) + m
        self.saved = x, y
        return y if keepdim else y.squeeze(dim)

    def backward(self, g):
        x, y = self.saved
        gx = x - y
        xp_of(x).exp(gx, out=gx)
        gx *= g.reshape(y.shape)
        return gx
