"""The same numbers in other memory, in another dtype, or on another device."""

from ..arrays.devices import device_of, move
from ..arrays.layout import copied, order_of
from ..autograd.engine import Op


class Clone(Op):
    """y = a copy of x.   Backward: ∂L/∂x = g.   Saves nothing.

    order: None for x's layout, "C" for row order, or "channels_last".
    """

    takes_complex = True

    def forward(self, x, order=None):
        return copied(x, order)

    def backward(self, g):
        return g


class Cast(Op):
    """y = x in another dtype.   Backward: ∂L/∂x = g in x's dtype.   Saves nothing."""

    takes_complex = True

    def forward(self, x, dtype):
        self.dtype = x.dtype
        return x.astype(dtype, order_of(x))

    def backward(self, g):
        if g.dtype.kind == "c" != self.dtype.kind:  # x was real
            g = g.real
        return g.astype(self.dtype)


class Move(Op):
    """y = x on another device.   Backward: ∂L/∂x = g on x's device.   Saves nothing."""

    takes_complex = True
    views = True  # if it is there already

    def forward(self, x, kind, index):
        self.home = device_of(x)
        return move(x, kind, index)

    def backward(self, g):
        return move(g, *self.home)
