"""Reductions of many elements to one: sum, mean, variance, extremes, products, running sums.

`dims` is a tuple of dimensions counted from the front. The gradient of a sum goes to every element
that was added; `spread` repeats it to the input's shape without copying.
"""

import math

from ..arrays.devices import xp_of
from ..arrays.layout import expanded
from ..arrays.masks import equal_or_nan, selected
from ..arrays.reductions import sum_over, variance
from ..autograd.engine import Op


def spread(g, shape, dims, keepdim):
    """The gradient of a reduction over `dims`, repeated to the shape before it (read-only)."""
    if not keepdim:
        g = g.reshape([1 if i in dims else n for i, n in enumerate(shape)])
    return expanded(g, shape)


class Sum(Op):
    """y = Σ x over dims.   Backward: ∂L/∂x = g, the same for every element.   Saves nothing."""

    in_rows = True
    takes_complex = True

    def forward(self, x, dims, keepdim=False):
        self.shape, self.dims, self.keepdim = x.shape, dims, keepdim
        return sum_over(x, dims, keepdim)

    def backward(self, g):
        return spread(g, self.shape, self.dims, self.keepdim)


class Mean(Op):
    """y = (1/n)·Σ x over dims, n elements each.   Backward: ∂L/∂x = g/n.   Saves nothing."""

    in_rows = True
    in_float32 = True
    takes_complex = True

    def forward(self, x, dims, keepdim=False):
        self.shape, self.dims, self.keepdim = x.shape, dims, keepdim
        self.n = math.prod(x.shape[d] for d in dims)
        total = sum_over(x, dims, keepdim)
        return total / self.n if self.n else total * math.nan

    def backward(self, g):
        return spread(g / self.n if self.n else g, self.shape, self.dims, self.keepdim)


def _centred_in_half(op, x, dims):
    """x − μ, of which PyTorch stores μ and the difference in half precision."""
    n = math.prod(x.shape[d] for d in dims)
    return op.stored(x - op.stored(sum_over(x, dims, True) / max(n, 1)))


class Var(Op):
    """y = Σ (x − μ)² / (n − c) over dims, with the correction c = 1 (unbiased) or 0.

    Backward: ∂L/∂x = g·2·(x − μ) / (n − c).
    x reaches y through μ too, but that path contributes nothing because Σ (x − μ) = 0.
    Where c ≥ n, and dims are all, PyTorch takes ∂y/∂x as ∞, and NaN where x = μ.
    Saves x − μ.
    """

    in_rows = True
    in_float32 = True

    def forward(self, x, dims, keepdim=False, correction=1):
        self.dims, self.keepdim = dims, keepdim
        centred, self.divisor, y = variance(x, dims, keepdim, correction)
        if self.half is not None:
            centred = _centred_in_half(self, x, dims)
        self.saved = (centred,)
        return y if y.dtype is x.dtype else y.astype(x.dtype)

    def backward(self, g):
        (centred,) = self.saved
        if self.divisor <= 0 and len(self.dims) == centred.ndim:
            xp = xp_of(centred)
            rate = xp.where(centred == 0, math.nan, math.inf).astype(centred.dtype)
            return spread(g, centred.shape, self.dims, self.keepdim) * rate
        factor = 2.0 / self.divisor if self.divisor else math.inf
        return spread(self.stored(g * factor), centred.shape, self.dims, self.keepdim) * centred


class Std(Op):
    """y = √(Σ (x − μ)² / (n − c)) over dims, with the correction c = 1 (unbiased) or 0.

    Backward: ∂L/∂x = g·(x − μ) / ((n − c)·y), taken as 0 where y = 0.
    Saves x − μ and y.
    """

    in_rows = True
    in_float32 = True

    def forward(self, x, dims, keepdim=False, correction=1):
        self.dims, self.keepdim = dims, keepdim
        centred, self.divisor, y = variance(x, dims, keepdim, correction)
        y = xp_of(x).sqrt(y).astype(x.dtype, copy=False)
        if self.half is not None:
            centred = _centred_in_half(self, x, dims)
        self.saved = centred, y
        return y

    def backward(self, g):
        centred, y = self.saved
        scale = self.stored(selected(g / (2.0 * (y + (y == 0))), y != 0))
        scale = self.stored(scale * (2.0 / self.divisor if self.divisor else math.inf))
        return spread(scale, centred.shape, self.dims, self.keepdim) * centred


class Extreme(Op):
    """y = the largest (or smallest) x over dims.

    Backward: ∂L/∂x = g / (number of ties) where x = y, else 0: ties share g evenly. Where y is NaN,
    the NaNs are the ties.
    Saves x and y.
    """

    in_rows = True
    in_float32 = True

    def forward(self, x, dims, keepdim=False, largest=True):
        self.dims, self.keepdim, self.largest = dims, keepdim, largest
        y = x.max(dims, keepdims=True) if largest else x.min(dims, keepdims=True)
        self.saved = x, y
        return y if keepdim else y.reshape([n for i, n in enumerate(y.shape) if i not in dims])

    def backward(self, g):
        x, y = self.saved
        ties = equal_or_nan(x, y)
        count = ties.sum(self.dims, keepdims=True, dtype=g.dtype)
        share = g.reshape(y.shape) / count
        return selected(spread(share, x.shape, self.dims, True), ties)


def _running(op, function, x, dim):
    """x.cumsum or x.cumprod along dim, of float32 through float64 and then rounded, as PyTorch."""
    kind = x.dtype if x.dtype.kind == "f" else "int64"
    wide = float if x.dtype.char == "f" and op.half is None else kind
    if wide is float and x.size < 1024:  # NumPy casts while it adds, which begins slowly
        return getattr(x.astype(float), function)(dim).astype(kind)
    return getattr(x, function)(dim, dtype=wide).astype(kind, copy=False)


def _behind(op, g):
    """gᵢ + … + gₙ along the op's dim."""
    flip = xp_of(g).flip
    return flip(_running(op, "cumsum", flip(g, op.dim), op.dim), op.dim)


class Prod(Op):
    """y = Π x over one dim.

    Backward: ∂L/∂xᵢ = g·(product of all others), which is
        g·y / xᵢ                        if no number of x is 0
        g·(Π before i)·(Π after i)      otherwise
    as in PyTorch, so y / xᵢ is ±∞, NaN or 0 where y leaves the range of numbers. total: x is all
    that the caller has, and its gradient exactly 0 if two factors are 0, also beside infinities
    and NaN. Saves x and y.
    """

    in_rows = True
    in_float32 = True

    def forward(self, x, dim, keepdim=False, total=False):
        self.dim, self.keepdim, self.total = dim, keepdim, total
        y = x.prod(dim, keepdims=True) if self.half is None else self.one_by_one(x)
        self.saved = x, y
        return y if keepdim else y.squeeze(dim)

    def one_by_one(self, x):
        """The product of half-precision numbers, of which PyTorch rounds each step."""
        rows = xp_of(x).moveaxis(x, self.dim, 0)  # (n, ...)
        y = xp_of(x).ones(rows.shape[1:], x.dtype)
        for row in rows:
            y = self.stored(y * row)
        return xp_of(x).expand_dims(y, self.dim)

    def backward(self, g):
        x, y = self.saved
        xp = xp_of(x)
        if x.shape[self.dim] == 0:
            return xp.zeros_like(x)
        no_zero = x.all()
        if self.total and not no_zero and (x == 0).sum() > 1:
            return xp.zeros_like(x)
        g = g if self.keepdim else xp.expand_dims(g, self.dim)  # (..., 1, ...)
        if no_zero:
            return g * self.stored(y / x)
        rows = xp.moveaxis(x, self.dim, -1)  # (..., n)
        before, after = xp.ones_like(rows), xp.ones_like(rows)
        before[..., 1:] = _running(self, "cumprod", rows[..., :-1], -1)
        after[..., :-1] = _running(self, "cumprod", rows[..., :0:-1], -1)[..., ::-1]
        return g * xp.moveaxis(before * after, -1, self.dim)


class Cumsum(Op):
    """yᵢ = x₁ + … + xᵢ along dim.   Backward: ∂L/∂xᵢ = gᵢ + … + gₙ.   Saves nothing.

    As PyTorch, float32 is added up in float64, and each yᵢ rounded once.
    """

    in_rows = True
    in_float32 = True

    def forward(self, x, dim):
        self.dim = dim
        return _running(self, "cumsum", x, dim)

    def backward(self, g):
        return _behind(self, g)


class Cumprod(Op):
    """yᵢ = x₁·…·xᵢ along dim.

    Backward: xⱼ is a factor of yⱼ and of every y behind it. If no number of x is 0,
        ∂L/∂xⱼ = (gⱼ·yⱼ + … + gₙ·yₙ) / xⱼ
    as in PyTorch, and otherwise, with Pⱼ = x₁·…·xⱼ₋₁,
        ∂L/∂xⱼ = Pⱼ·(gⱼ + gⱼ₊₁·xⱼ₊₁ + gⱼ₊₂·xⱼ₊₁·xⱼ₊₂ + …) = Pⱼ·tⱼ,   tⱼ = gⱼ + xⱼ₊₁·tⱼ₊₁
    What is behind a zero factor gets and passes on nothing, even where g is infinite. float32 is
    multiplied in float64, and rounded once. Saves x and y.
    """

    in_rows = True
    in_float32 = True

    def forward(self, x, dim):
        self.dim = dim
        y = _running(self, "cumprod", x, dim)
        self.saved = x, y
        return y

    def backward(self, g):
        x, y = self.saved
        xp = xp_of(x)
        if x.all():
            return self.stored(_behind(self, self.stored(g * self.stored(y)))) / x
        rows, t = xp.moveaxis(x, self.dim, 0), xp.moveaxis(g, self.dim, 0).copy()  # (n, ...)
        for j in range(len(rows) - 2, -1, -1):
            t[j] += xp.where(rows[j + 1] == 0, 0.0, rows[j + 1] * t[j + 1])
        behind_zero = (rows[:-1] == 0).cumsum(0) > 0
        t[1:] = xp.where(behind_zero, 0.0, t[1:] * rows[:-1].cumprod(0))
        return xp.moveaxis(t, 0, self.dim)


class Norm(Op):
    """y = √(Σ x²) over dims, the Euclidean length.

    Backward: ∂L/∂x = g·x / y, taken as 0 where y = 0.
    Saves x and y.
    """

    in_rows = True
    in_float32 = True

    def forward(self, x, dims, keepdim=False):
        self.dims, self.keepdim = dims, keepdim
        y = xp_of(x).sqrt(sum_over(x * x, dims, keepdim))
        self.saved = x, y
        return y

    def backward(self, g):
        x, y = self.saved
        if self.half is not None:
            y, g = (spread(a, x.shape, self.dims, self.keepdim) for a in (y, g))
            return selected(g * self.stored(x / (y + (y == 0))), y != 0)
        scale = selected(g / (y + (y == 0)), y != 0)
        return spread(scale, x.shape, self.dims, self.keepdim) * x
