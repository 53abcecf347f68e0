"""Softmax, its logarithm, and the logarithm of a sum of exponentials.

softmax(x) = softmax(x − m): with the maximum m subtracted, exp never overflows. The first two take
m = 0 where Σ exp(x) shows that no maximum was needed.
"""

from ..arrays.devices import on_gpu, xp_of
from ..arrays.parallel import along
from ..arrays.reductions import SPREAD, exp_of_few, exp_total, is_few, row_dot, sum_along
from ..autograd.engine import Op


class Softmax(Op):
    """y = exp(x − m)/Σ exp(x − m),   m = max x,   max and Σ over `dim`.

    Backward: ∂yᵢ/∂xⱼ = yᵢ·(δᵢⱼ − yⱼ), every output depends on every input, so that
        ∂L/∂x = y·(g − Σ g·y)
    Saves y.
    """

    in_float32 = True

    def forward(self, x, dim=-1):
        self.dim = dim
        y = self.of_few(x) if dim in (-1, x.ndim - 1) else None
        if y is None:
            y = xp_of(x).empty(x.shape, x.dtype)
            along(dim, x, y)(self.of_rows)
        self.saved = (y,)
        return y

    @staticmethod
    def of_few(x):
        """softmax(x) along the last dim of a few numbers; None where it takes more than that."""
        if not is_few(x, SPREAD) or x.size * x.shape[-1] >= SPREAD:
            return None
        y, total = exp_of_few(x, spread=True)  # (..., C), (..., C)
        y /= total
        return y

    @staticmethod
    def of_rows(x, y, dim):
        """y = softmax(x) for some rows."""
        _, total = exp_total(x, y, dim)  # y = exp(x − m)
        y *= xp_of(x).reciprocal(total)

    def backward(self, g):
        (y,) = self.saved
        gx = xp_of(g).empty(g.shape, g.dtype)

        @along(self.dim, g, y, gx)
        def some_rows(g, y, gx, dim):
            xp_of(g).subtract(g, row_dot(g, y, dim), out=gx)
            gx *= y

        return gx


def near_one(y, x, total):
    """y = −log(Σ exp(x)/exp(x)) where it is above −0.1, in place; total = Σ exp(x) along a dim.

    x − log Σ exp(x) has the rounding error of x there, which may be more than y, and above 0.
    """
    xp, certain = xp_of(y), y > -0.1
    if certain.any():
        ratio = total / xp.exp(x, where=certain, out=xp.ones_like(y))
        xp.copyto(y, 0.0 - xp.log(ratio), where=certain)  # 0, not −0


class LogSoftmax(Op):
    """y = x − m − log Σ exp(x − m),   m = max x,   max and Σ over `dim`.

    Backward: ∂yᵢ/∂xⱼ = δᵢⱼ − exp(yⱼ), so that
        ∂L/∂x = g − exp(y)·Σ g
    Saves y. log(softmax(x)) would be −∞ where softmax rounds to 0.
    """

    in_float32 = True

    def forward(self, x, dim=-1):
        self.dim, last = dim, dim in (-1, x.ndim - 1)
        y = self.of_few(x) if last and self.half is None else None
        if y is None:
            y = xp_of(x).empty(x.shape, x.dtype)
            along(dim, x, y)(self.of_rows)
        if self.half is not None and last:
            y = self.last_dim_in_half(x)
        self.saved = (y,)
        return y

    @staticmethod
    def of_few(x):
        """log_softmax(x) along the last dim of a few moderate numbers; None for others."""
        total = exp_of_few(x)[1] if is_few(x) else None  # (...)
        if total is None:
            return None
        y = x - xp_of(x).log(total)[..., None]  # (...) -> (..., C)
        if not y.item(y.argmax()) <= -0.1:  # as in of_rows
            near_one(y, x, total[..., None])
        return y

    @staticmethod
    def of_rows(x, y, dim):
        """y = log_softmax(x) for some rows."""
        z, total = exp_total(x, y, dim, largest=1e5)  # z = x − m
        xp_of(x).subtract(z, xp_of(x).log(total), out=y)
        if z is x and not on_gpu([y]):
            near_one(y, x, total)

    def backward(self, g):
        (y,) = self.saved
        gx = xp_of(g).empty(g.shape, g.dtype)

        @along(self.dim, g, y, gx)
        def some_rows(g, y, gx, dim):
            xp_of(g).exp(y, out=gx)
            gx *= -sum_along(g, dim)
            gx += g

        return gx

    def last_dim_in_half(self, x):
        """y along the last dim, where PyTorch stores Σ and its logarithm in half precision."""
        xp = xp_of(x)
        z = x - (x.max(-1, keepdims=True) if x.size else 0.0)
        total = self.stored(xp.exp(z).sum(-1, keepdims=True))
        return z - self.stored(xp.log(total))


class Logsumexp(Op):
    """y = log Σ exp(x) = m + log Σ exp(x − m),   m = max x,   over `dim`, one or several.

    Backward: ∂y/∂x = exp(x)/Σ exp(x) = exp(x − y), the softmax, so that
        ∂L/∂x = g·exp(x − y)
    Saves x and y (one number per row). Where a whole row is −∞, y is −∞ and ∂L/∂x is NaN.
    """

    in_rows = True
    in_float32 = True

    def forward(self, x, dim=-1, keepdim=False):
        xp, self.dim = xp_of(x), dim
        m = x.max(dim, keepdims=True) if x.size else x.sum(dim, keepdims=True)  # zeros if empty
        m[xp.isinf(m)] = 0.0
        e = self.stored(xp.exp(self.stored(x - m)))
        y = self.stored(xp.log(self.stored(e.sum(dim, keepdims=True)))) + m
        self.saved = x, self.stored(y)
        return y if keepdim else y.squeeze(dim)

    def backward(self, g):
        x, y = self.saved
        gx = self.stored(x - y)
        xp_of(x).exp(gx, out=gx)
        gx = self.stored(gx)
        gx *= g.reshape(y.shape)
        return gx
