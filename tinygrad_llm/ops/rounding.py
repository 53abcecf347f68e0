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
        return g * 0.0


class Remainder(Op):
    """z = x − q·y with an integer q: ⌊x/y⌋, or x/y rounded towards 0 (rounding "floor" or "trunc").

    "floor" is Python's x % y, which has y's sign; "trunc" is C's fmod, which has x's.
    Backward: ∂L/∂x = g,   ∂L/∂y = −g·q.   Between its jumps q is constant. Saves z, x and y.
    """

    signature = "x(...) y(...) -> z(...)"
    broadcasts = True

    def forward(self, x, y, rounding="floor"):
        xp, self.rounding = xp_of(x), rounding
        z = xp.remainder(x, y) if rounding == "floor" else xp.fmod(x, y)
        if self.needs[1]:
            self.saved = x, y, z
        return z

    def backward(self, g):
        if not self.needs[1]:
            return g, None
        x, y, z = self.saved
        q = xp_of(g).rint((x - z) / y)
        return g, -(g * q)
