"""One of two values for each element: clamp, maximum, minimum, where, masked_fill.

The gradient g goes to the input whose value was taken. Where shapes broadcast, the engine sums it
over the copies afterwards.
"""

from ..arrays.devices import xp_of
from ..arrays.masks import selected
from ..autograd.engine import Op
from .arithmetic import BINARY


class Clamp(Op):
    """y = min(max(x, low), high); either bound may be None.

    Backward: ∂L/∂x = g where low ≤ x ≤ high, the bounds included, and 0 outside.
    Saves the mask low ≤ x ≤ high: one byte per element.
    """

    def forward(self, x, low=None, high=None):
        xp = xp_of(x)
        if x.dtype.kind == "V":  # bfloat16 compares with the bounds as bfloat16, as PyTorch does
            low, high = (p if p is None else xp.asarray(p, x.dtype) for p in (low, high))
        if self.needs[0]:
            inside = xp.ones(x.shape, bool) if low is None else x >= low
            if high is not None:
                inside &= x <= high
            self.saved = (inside,)
        y = x if low is None else xp.maximum(x, low)
        return y if high is None else xp.minimum(y, high)

    def backward(self, g):
        return selected(g, self.saved[0])


class Maximum(Op):
    """z = max(x, y).   Backward: g goes to the larger; in a tie each gets ½·g.   Saves x and y."""

    signature = BINARY
    broadcasts = True

    def forward(self, x, y):
        self.saved = x, y
        return xp_of(x).maximum(x, y)

    def backward(self, g):
        x, y = self.saved
        tie = selected(0.5 * g, x == y)
        return selected(g, ~(x <= y)) + tie, selected(
            g, ~(x >= y)
        ) + tie  # to both where one is nan


class Minimum(Op):
    """z = min(x, y).   Backward: g goes to the smaller; in a tie each gets ½·g.   Saves x and y."""

    signature = BINARY
    broadcasts = True

    def forward(self, x, y):
        self.saved = x, y
        return xp_of(x).minimum(x, y)

    def backward(self, g):
        x, y = self.saved
        tie = selected(0.5 * g, x == y)
        return selected(g, ~(x >= y)) + tie, selected(
            g, ~(x <= y)
        ) + tie  # to both where one is nan


class Where(Op):
    """z = x where the condition holds, else y.

    Backward: ∂L/∂x = g where it holds, else 0;   ∂L/∂y = g where it does not.
    Saves the condition.
    """

    signature = "condition(...) x(...) y(...) -> z(...)"
    broadcasts = True

    def forward(self, condition, x, y):
        self.saved = (condition,)
        return xp_of(condition).where(condition, x, y)

    def backward(self, g):
        (condition,) = self.saved
        gx = selected(g, condition) if self.needs[1] else None
        return None, gx, selected(g, ~condition) if self.needs[2] else None


class MaskedFill(Op):
    """y = value where the mask holds, else x; value is a number or a 0-d tensor.

    Backward: ∂L/∂x = g where the mask does not hold, else 0;   ∂L/∂value = Σ g where it holds.
    Saves the mask.
    """

    signature = "x(...) mask(...) value(...) -> y(...)"
    broadcasts = True
    in_rows = True

    def forward(self, x, mask, value):
        self.saved = (mask,)
        return xp_of(x).where(mask, value, x).astype(x.dtype, copy=False)

    def backward(self, g):
        (mask,) = self.saved
        gv = selected(g, mask) if self.needs[2] else None
        return selected(g, ~mask) if self.needs[0] else None, None, gv
