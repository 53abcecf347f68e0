"""Step functions (floor, ceil, round, trunc, sign), and the remainder of a division."""

from ..arrays.devices import xp_of
from ..autograd.engine import Op


class Step(Op):
    """y = f(x) for a step function f (floor, ceil, round, trunc, sign).   Backward: ∂L/∂x = 0.

    Between the steps f is constant; at a step it has no derivative, and 0 is the convention.
    Saves nothing.
    """

    def forward(self, x, function):
        self.function = function
        return getattr(xp_of(x), function)(x)

    def backward(self, g):
        return xp_of(g).zeros_like(g)


class Remainder(Op):
    """z = x − q·y with an integer q: ⌊x/y⌋, or x/y rounded towards 0 (rounding "floor" or "trunc").

    "floor" is Python's x % y, which has y's sign, or x's where it is 0; "trunc" is C's
    fmod, which has x's.
    Backward: ∂L/∂x = g,   ∂L/∂y = −g·q.   Between its jumps q is constant. Saves x and y.
    """

    signature = "x(...) y(...) -> z(...)"
    broadcasts = True
    in_float32 = True

    def forward(self, x, y, rounding="floor"):
        xp, self.rounding = xp_of(x), rounding
        if self.needs[1]:
            self.saved = x, y
        if rounding == "trunc":
            return xp.fmod(x, y)
        z = xp.remainder(x, y)
        return z if z.dtype.kind in "iu" else xp.where(z == 0, xp.copysign(z, x), z)

    def backward(self, g):
        if not self.needs[1]:
            return g, None
        x, y = self.saved
        xp = xp_of(g)
        if self.half is not None:
            q = self.quotient(x, y)
        else:
            q = xp.floor_divide(x, y) if self.rounding == "floor" else xp.trunc(x / y)
        return g, -(g * q)

    def quotient(self, x, y):
        """q in half precision, of which PyTorch rounds each step."""
        xp, stored = xp_of(x), self.stored
        if self.rounding == "trunc":
            return xp.trunc(stored(x / y))
        z = xp.fmod(x, y)
        q = stored(stored(x - z) / y)
        q = stored(q - ((z != 0) & ((y < 0) ^ (z < 0))))
        whole = xp.floor(q)
        return stored(whole + (q - whole > 0.5))
