"""Arithmetic, element by element: sums, products, quotients, powers, absolute values.

For z = f(x, y) the chain rule is ∂L/∂x = g·∂f/∂x, element by element, with g = ∂L/∂z. Where shapes
broadcast, the engine sums the gradient over the copies afterwards.
"""

from ..arrays.devices import xp_of
from ..arrays.masks import selected
from ..autograd.engine import Op

BINARY = "x(...) y(...) -> z(...)"


class Add(Op):
    """z = x + y.   Backward: ∂L/∂x = g,   ∂L/∂y = g.   Saves nothing."""

    takes_complex = True
    signature = BINARY
    broadcasts = True
    in_float32 = True

    def forward(self, x, y):
        return x + y

    def backward(self, g):
        return g, g


class Sub(Op):
    """z = x − y.   Backward: ∂L/∂x = g,   ∂L/∂y = −g.   Saves nothing."""

    takes_complex = True
    signature = BINARY
    broadcasts = True
    in_float32 = True

    def forward(self, x, y):
        return x - y

    def backward(self, g):
        return g, -g if self.needs[1] else None


class Mul(Op):
    """z = x·y.   Backward: ∂L/∂x = g·y,   ∂L/∂y = g·x.   Saves the factor that each needs."""

    takes_complex = True
    signature = BINARY
    broadcasts = True
    in_float32 = True

    def forward(self, x, y):
        self.saved = x if self.needs[1] else None, y if self.needs[0] else None
        return x * y

    def backward(self, g):
        x, y = self.saved
        if g.dtype.kind == "c":  # ∂L/∂x = g·(conjugate of y)
            x, y = (None if a is None else a.conjugate() for a in (x, y))
        return g * y if self.needs[0] else None, g * x if self.needs[1] else None


class Div(Op):
    """z = x / y.   Backward: ∂L/∂x = g / y,   ∂L/∂y = −g·((x / y) / y).

    Saves y, and x for ∂L/∂y.
    """

    takes_complex = True
    signature = BINARY
    broadcasts = True
    in_float32 = True

    def forward(self, x, y):
        self.saved = x if self.needs[1] else None, y
        return x / y

    def backward(self, g):
        x, y = self.saved
        if g.dtype.kind == "c":
            x, y = (None if a is None else a.conjugate() for a in (x, y))
        gy = -g * self.stored(self.stored(x / y) / y) if self.needs[1] else None
        return g / y if self.needs[0] else None, gy


class Neg(Op):
    """y = −x.   Backward: ∂L/∂x = −g.   Saves nothing."""

    takes_complex = True

    def forward(self, x):
        return -x

    def backward(self, g):
        return -g


class Reciprocal(Op):
    """y = 1/x.   Backward: ∂L/∂x = −g / x² = −g·y².   Saves y."""

    in_float32 = True

    def forward(self, x):
        y = 1.0 / x
        self.saved = (y,)
        return y

    def backward(self, g):
        (y,) = self.saved
        return -g * self.stored(y * y)


class Abs(Op):
    """y = |x|.   Backward: ∂L/∂x = g·sign x, 0 at the kink x = 0 and where x is NaN.   Saves x."""

    def forward(self, x):
        self.saved = (x,)
        return abs(x)

    def backward(self, g):
        (x,) = self.saved
        return g * selected(xp_of(g).sign(x), x == x)  # the sign of NaN is 0


class Pow(Op):
    """z = xᵖ, where x or p may be a number.

    Backward: ∂L/∂x = g·p·xᵖ⁻¹ (0 where p = 0),   ∂L/∂p = g·z·ln x (0 where x = 0 and p ≥ 0).
    Saves x and p, and z for ∂L/∂p.
    """

    signature = "x(...) p(...) -> z(...)"
    broadcasts = True
    in_float32 = True

    def forward(self, x, p):
        z = power(x, p, self.stored)
        self.saved = x, p, z if self.needs[1] else None
        return z

    def backward(self, g):
        x, p, z = self.saved
        xp, gx, gp = xp_of(g), None, None
        if self.needs[0]:
            if isinstance(p, int | float):
                factor = self.stored(power(x, p - 1, self.stored)) * p
                gx = g * self.stored(factor) if p else xp.zeros_like(g)
            else:
                factor = self.stored(p * self.stored(power(x, self.stored(p - 1))))
                gx = selected(g * factor.astype(g.dtype, copy=False), p != 0)
        if self.needs[1]:
            log_x = self.stored(xp.log(xp.asarray(x, g.dtype)))
            gp = selected(g * self.stored(z * log_x), (x != 0) | ~(p >= 0))
        return gx, gp


def power(x, p, stored=None):
    """xᵖ. For p = 2, 3, ±½ by products and roots: NumPy's x**3 in float32 is 100 times slower.

    stored: Op.stored, for the products of which PyTorch rounds each in bfloat16.
    """
    if isinstance(p, int | float):
        if p == 2:
            return x * x
        if p == 3:
            return (x * x if stored is None else stored(x * x, "bfloat16")) * x
        if p == -2 and stored is not None:
            return 1.0 / stored(x * x, "bfloat16")
        if abs(p) == 0.5:
            root = xp_of(x).sqrt(x)
            return root if p > 0 else 1.0 / root
        if stored is not None:
            p = stored(xp_of(x).asarray(p, x.dtype))
    elif p.dtype.kind == "i" and (p < 0).any():
        return _whole_power(x, p)
    return x**p


def _whole_power(x, p):
    """xᵖ of integers, 0 where it would be a fraction (and at 0⁻¹), as PyTorch."""
    xp = xp_of(p)
    fraction = (p < 0) & (abs(xp.asarray(x)) != 1)
    even = xp.where(p < 0, p % 2, p)  # of ±1 it matters whether p is odd
    return xp.where(fraction, xp.zeros((), p.dtype), x**even).astype(p.dtype, copy=False)
