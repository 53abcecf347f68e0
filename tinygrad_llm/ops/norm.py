"""Layer norm and RMS norm: each row (the last axis) brought to one scale."""

from ..arrays.devices import xp_of
from ..arrays.parallel import over_rows
from ..arrays.reductions import SPREAD, is_few, normal_of_few, row_dot, row_mean, row_sum
from ..autograd.engine import Op


class LayerNorm(Op):
    """y = w·x̂ + b,   x̂ = (x − μ)·r,   r = 1/√(σ² + ε),   μ, σ² over the last axis.

    Backward, with g = ∂L/∂y and u = g·w (what arrives at x̂):
        ∂L/∂b = Σ g        ∂L/∂w = Σ g·x̂                (Σ over every row)
        ∂L/∂x = r·(u − mean(u) − x̂·mean(u·x̂))
    x reaches y by three paths: itself, μ and σ². The two means are the last two.
    σ² is the mean of (x − μ)², divided by C and not C − 1; mean(x²) − μ² would lose it in rounding.
    Saves x̂ (as big as x), r (one number per row) and w; x itself is not needed.
    Source: Ba, Kiros, Hinton (2016), equation 3.
    """

    signature = "x(...,C) w(C)? b(C)? -> y(...,C)"
    in_float32 = True

    def forward(self, x, w=None, b=None, eps=1e-5):
        xp = xp_of(x)
        if is_few(x) and x.size * x.shape[-1] < SPREAD and self.half is None:
            xhat, r = normal_of_few(x, eps)
            self.saved = xhat, r, w
            y = xhat.copy() if w is None else xhat * w
            return y if b is None else xp.add(y, b, out=y)
        y, xhat = xp.empty(x.shape, x.dtype), xp.empty(x.shape, x.dtype)
        r = xp.empty(x.shape[:-1] + (1,), x.dtype)

        @over_rows(x, y, xhat, r)
        def some_rows(x, y, xhat, r):
            xp.subtract(x, row_mean(x), out=xhat)  # x − μ
            r[...] = 1.0 / xp.sqrt(row_dot(xhat, xhat) / x.shape[-1] + eps)  # (N, 1)
            xhat *= r
            xp.multiply(xhat, 1.0 if w is None else w, out=y)
            if b is not None:
                y += b

        if self.half is not None:  # PyTorch's backward computes x̂ anew, from μ and r as stored
            r = self.stored(r)
            xhat = (x - self.stored(row_mean(x))) * r
        self.saved = xhat, r, w
        return y

    def backward(self, g):
        xhat, r, w = self.saved
        needs = [*self.needs, False, False]
        gx = xp_of(g).empty(g.shape, g.dtype)

        @over_rows(g, xhat, r, gx)
        def sums(g, xhat, r, gx):
            gxhat = g * xhat
            gw = row_sum(gxhat) if needs[1] else None  # (N, C) -> (C)
            if needs[0]:
                xp_of(g).multiply(g, 1.0 if w is None else w, out=gx)  # u
                gx -= row_mean(gx)
                gx -= xp_of(g).multiply(xhat, row_mean(gxhat, w), out=gxhat)
                gx *= r
            return gw, row_sum(g) if needs[2] else None

        gw, gb = sums  # over all rows
        return gx if needs[0] else None, gw, gb


class RmsNorm(Op):
    """y = w·x̂,   x̂ = x·r,   r = 1/√(mean(x²) + ε),   the mean over the last axis.

    Backward, with g = ∂L/∂y and u = g·w (what arrives at x̂):
        ∂L/∂w = Σ g·x̂                                    (Σ over every row)
        ∂L/∂x = r·(u − x̂·mean(u·x̂)) = r·(u − x·r²·mean(u·x))
    No mean is subtracted, so layer norm's path through μ is missing.
    Saves x, r (one number per row) and w. Source: Zhang and Sennrich (2019), equation 4.
    """

    signature = "x(...,C) w(C)? -> y(...,C)"
    in_float32 = True

    def forward(self, x, w=None, eps=1e-6):
        xp = xp_of(x)
        y, r = xp.empty(x.shape, x.dtype), xp.empty(x.shape[:-1] + (1,), x.dtype)

        @over_rows(x, y, r)
        def some_rows(x, y, r):
            r[...] = 1.0 / xp.sqrt(row_dot(x, x) / x.shape[-1] + eps)
            xp.multiply(x, r, out=y)
            if w is not None:
                y *= w

        self.saved = x, r, w
        return y

    def backward(self, g):
        x, r, w = self.saved
        needs = [*self.needs, False]
        gx = xp_of(g).empty(g.shape, g.dtype)

        @over_rows(g, x, r, gx)
        def sums(g, x, r, gx):
            gxhat = g * x
            if needs[0]:
                xp_of(g).multiply(x, r * r * row_mean(gxhat, w), out=gx)
                xp_of(g).subtract(g if w is None else g * w, gx, out=gx)
                gx *= r
            if needs[1]:
                gxhat *= r
                return row_sum(gxhat)  # (N, C) -> (C)

        gw = sums  # over all rows
        return gx if needs[0] else None, gw
