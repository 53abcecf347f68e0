"""Picking elements by position. An element that is picked twice gets both gradients."""

from ..arrays.devices import xp_of
from ..arrays.indexing import index_add, take_along
from ..arrays.memory import is_array
from ..arrays.reductions import unbroadcast
from ..arrays.regions import in_region, region_of
from ..autograd.engine import Op


def apart(index):
    """(index, ()) if it holds no arrays, else (None, its parts): arrays belong in `saved`."""
    parts = index if isinstance(index, tuple) else (index,)
    return (None, parts) if any(is_array(p) for p in parts) else (index, ())


class Index(Op):
    """y = x[index]: integers, slices, None, ..., integer arrays (with duplicates), boolean masks.

    Backward: ∂L/∂x = 0, then ∂L/∂x[index] += g; an element picked n times gets n gradients.
    Saves the index's arrays.
    """

    takes_complex = True
    views = True

    def forward(self, x, index):
        self.shape = x.shape
        self.index, self.saved = apart(index)
        y = x[index]
        if not is_array(y):  # NumPy copied a single number: an Ellipsis makes it a view
            y = x[(*index, ...) if isinstance(index, tuple) else (index, ...)]
        return y

    def backward(self, g):
        gx = xp_of(g).zeros(self.shape, g.dtype)
        index_add(gx, self.saved or self.index, g)
        return gx


class IndexPut(Op):
    """y = x, except y[index] = v.

    Backward: ∂L/∂x = g, except 0 at the index;   ∂L/∂v = g[index], summed over broadcast copies.
    Saves the index's arrays.
    """

    signature = "x(...) v(...) -> y(...)"

    def forward(self, x, v, index):
        self.value_shape = getattr(v, "shape", ())
        self.index, self.saved = apart(index)
        y = x.copy()
        y[index] = v
        return y

    def backward(self, g):
        gx = gv = None
        index = self.saved or self.index
        if self.needs[0]:
            gx = g.copy()
            gx[index] = 0
        if self.needs[1]:
            gv = g[index]
            while gv.ndim < len(self.value_shape):  # v had leading dimensions of size 1
                gv = gv[None]
            gv = unbroadcast(gv, self.value_shape)
        return gx, gv


class Gather(Op):
    """y[i, j, …] = x[i, ids[i, j, …], …]: ids are positions along dim.

    Backward: ∂L/∂x = 0, then ∂L/∂x[i, ids[i, j, …], …] += g[i, j, …].
    Saves ids.
    """

    signature = "x(...) ids(...) -> y(...)"

    def forward(self, x, ids, dim):
        self.shape, self.dim, self.saved = x.shape, dim, (ids,)
        return x[take_along(x, ids, dim)]

    def backward(self, g):
        gx = xp_of(g).zeros(self.shape, g.dtype)
        index_add(gx, take_along(g, self.saved[0], self.dim), g)
        return gx, None


class ScatterAdd(Op):
    """y = 0, then y[index] += x; elements with the same position add up.

    Backward: ∂L/∂x = g[index]: every element of x reached y once, with factor 1.
    Saves the index's arrays.
    """

    def forward(self, x, shape, index):
        self.index, self.saved = apart(index)
        y = xp_of(x).zeros(shape, x.dtype)
        index_add(y, index, x)
        return y

    def backward(self, g):
        return g[self.saved or self.index]


class WriteView(Op):
    """y = x after v was written into a view of x (an in-place change of the view).

    Backward: ∂L/∂x = g, except 0 where v was written;   ∂L/∂v = g there.   Saves nothing.
    """

    signature = "x(...) v(...) -> y(...)"

    def forward(self, x, v, view):
        self.region = region_of(x, view)
        return x

    def backward(self, g):
        gx, written = in_region(g, self.region)
        gv = written.copy()
        written[...] = 0
        return gx, gv


class ReadView(Op):
    """y = the part of x that a view shows, after x was changed in place.

    Backward: ∂L/∂x = g where y lies, else 0; an element that the view repeats gets the sum.
    Saves nothing.
    """

    def forward(self, x, view):
        self.shape, self.region = x.shape, region_of(x, view)
        return view

    def backward(self, g):
        gx, shown = in_region(xp_of(g).zeros(self.shape, g.dtype), self.region)
        shown[...] = unbroadcast(g, shown.shape)
        return gx
