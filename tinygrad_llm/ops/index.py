"""Picking elements by position. What was picked twice gets both gradients."""

from __future__ import annotations

from ..backend import index_add, same_region, take_along, unbroadcast, xp_of
from ..engine import Op


class Index(Op):
    """y = x[index]: integers, slices, None, ..., integer arrays (with duplicates), boolean masks.

    Backward: ∂L/∂x is 0 but for ∂L/∂x[index] += g; an element picked n times gets n gradients.
    """

    views = True

    def forward(self, x, index):
        self.shape, self.index = x.shape, index
        return x[index]

    def backward(self, g):
        gx = xp_of(g).zeros(self.shape, g.dtype)
        index_add(gx, self.index, g)
        return gx


class IndexPut(Op):
    """y = x, but for y[index] = v.

    Backward: ∂L/∂x = g, but 0 at the index;   ∂L/∂v = g[index], summed over broadcast copies.
    """

    signature = "x(...) v(...) -> y(...)"

    def forward(self, x, v, index):
        self.index, self.value_shape = index, getattr(v, "shape", ())
        y = x.copy()
        y[index] = v
        return y

    def backward(self, g):
        gx = gv = None
        if self.needs[0]:
            gx = g.copy()
            gx[self.index] = 0
        if self.needs[1]:
            gv = g[self.index]
            while gv.ndim < len(self.value_shape):  # v had leading dimensions of size 1
                gv = gv[None]
            gv = unbroadcast(gv, self.value_shape)
        return gx, gv


class Gather(Op):
    """y[i, j, …] = x[i, ids[i, j, …], …]: along dim, ids say where to look.

    Backward: ∂L/∂x is 0 but for ∂L/∂x[i, ids[i, j], …] += g[i, j, …].
    """

    signature = "x(...) ids(...) -> y(...)"

    def forward(self, x, ids, dim):
        self.shape, self.where = x.shape, take_along(x, ids, dim)
        return x[self.where]

    def backward(self, g):
        gx = xp_of(g).zeros(self.shape, g.dtype)
        index_add(gx, self.where, g)
        return gx, None


class ScatterAdd(Op):
    """y = 0, but for y[index] += x; what falls on one place adds up.

    Backward: ∂L/∂x = g[index]: every element of x reached y once, with factor 1.
    """

    def forward(self, x, shape, index):
        self.index = index
        y = xp_of(x).zeros(shape, x.dtype)
        index_add(y, index, x)
        return y

    def backward(self, g):
        return g[self.index]


class WriteView(Op):
    """y = x after v was written into a view of x (an in-place change of the view).

    Backward: ∂L/∂x = g, but 0 where v was written;   ∂L/∂v = g there.
    """

    signature = "x(...) v(...) -> y(...)"

    def forward(self, x, v, view):
        self.base, self.view = x, view
        return x

    def backward(self, g):
        gx = xp_of(g).array(g, order="C")
        region = same_region(gx, self.base, self.view)
        gv = region.copy()
        region[...] = 0
        return gx, gv
