"""Arithmetic, element by element: sums, products, quotients, powers, absolute values.

For z = f(x, y) the chain rule is ∂L/∂x = g·∂f/∂x, element by element, with g = ∂L/∂z. Where shapes
broadcast, the engine sums the gradient over the copies afterwards.
"""

from ..arrays.devices import quiet, xp_of
from ..autograd.engine import Op

BINARY = "x(...) y(...) -> z(...)"


class Add(Op):
    """z = x + y.   Backward: ∂L/∂x = g,   ∂L/∂y = g.   Saves nothing."""

    takes_complex = True
    signature = BINARY
    broadcasts = True

    def forward(self, x, y):
        return x + y

    def backward(self, g):
        return g, g


class Sub(Op):
    """z = x − y.   Backward: ∂L/∂x = g,   ∂L/∂y = −g.   Saves nothing."""

    takes_complex = True
    signature = BINARY
    broadcasts = True

    def forward(self, x, y):
        return x - y

    def backward(self, g):
        return g, -g if self.needs[1] else None


class Mul(Op):
    """z = x·y.   Backward: ∂L/∂x = g·y,   ∂L/∂y = g·x.   Saves the factor that each needs."""

    takes_complex = True
    signature = BINARY
    broadcasts = True

    def forward(self, x, y):
        self.saved = x if self.needs[1] else None, y if self.needs[0] else None
        return x * y

    def backward(self, g):
        x, y = self.saved
        if g.dtype.kind == "c":  # ∂L/∂x = g·(conjugate of y)
            x, y = (None if a is None else a.conjugate() for a in (x, y))
        return g * y if self.needs[0] else None, g * x if self.needs[1] else None


class Div(Op):
    """z = x / y.   Backward: ∂L/∂x = g / y,   ∂L/∂y = −g·x / y².   Saves y, and x for ∂L/∂y."""

    takes_complex = True
    signature = BINARY
    broadcasts = True

    @quiet
    def forward(self, x, y):
        self.saved = x if self.needs[1] else None, y
        return x / y

    def backward(self, g):
        x, y = self.saved
        if g.dtype.kind == "c":
            x, y = (None if a is None else a.conjugate() for a in (x, y))
        gx = g / y
        return gx if self.needs[0] else None, -gx * (x / y) if self.needs[1] else None


class Neg(Op):
    """y = −x.   Backward: ∂L/∂x = −g.   Saves nothing."""

    takes_complex = True

    def forward(self, x):
        return -x

    def backward(self, g):
        return -g


class Reciprocal(Op):
    """y = 1/x.   Backward: ∂L/∂x = −g / x² = −g·y².   Saves y."""

    @quiet
    def forward(self, x):
        y = 1.0 / x
        self.saved = (y,)
        return y

    def backward(self, g):
        (y,) = self.saved
        return -g * y * y


class Abs(Op):
    """y = |x|.   Backward: ∂L/∂x = g·sign x, which is 0 at the kink x = 0.   Saves x."""

    def forward(self, x):
        self.saved = (x,)
        return abs(x)

    def backward(self, g):
        return g * xp_of(g).sign(self.saved[0])


class Pow(Op):
    """z = xᵖ, where x or p may be a number.

    Backward: ∂L/∂x = g·p·xᵖ⁻¹ (0 where p = 0),   ∂L/∂p = g·z·ln x (0 where x = 0 and p ≥ 0).
    Saves x and p, and z for ∂L/∂p.
    """

    signature = "x(...) p(...) -> z(...)"
    broadcasts = True

    @quiet
    def forward(self, x, p):
        z = power(x, p)
        self.saved = x, p, z if self.needs[1] else None
        return z

    def backward(self, g):
        x, p, z = self.saved
        gx = gp = None
        if self.needs[0]:
            if isinstance(p, int | float):
                gx = g * (power(x, p - 1) * p) if p else g * 0.0
            else:
                gx = g * xp_of(g).where(p == 0, 0, p * power(x, p - 1)).astype(g.dtype)
        if self.needs[1]:
            xp = xp_of(g)
            zero = (x == 0) & (p >= 0)
            log_x = xp.log(xp.where(zero, 1, x)).astype(g.dtype)
            gp = g * z * log_x
        return gx, gp


def power(x, p):
    """xᵖ. For p = 2, 3, ±½ by products and roots: NumPy's x**3 in float32 is 100 times slower."""
    if isinstance(p, int | float):
        if p == 2:
            return x * x
        if p == 3:
            return x * x * x
        if abs(p) == 0.5:
            root = xp_of(x).sqrt(x)
            return root if p > 0 else 1.0 / root
    return x**p
