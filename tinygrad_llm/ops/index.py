"""Picking elements by position. An element that is picked twice gets both gradients."""

from ..arrays.devices import xp_of
from ..arrays.indexing import (
    add_at,
    extreme_at,
    has_arrays,
    index_add,
    multiply_at,
    take_along,
)
from ..arrays.layout import picked_array
from ..arrays.memory import is_array
from ..arrays.reductions import unbroadcast
from ..arrays.regions import diagonal_view, in_region, region_of
from ..autograd.engine import Op


def apart(index):
    """(index, ()) if it holds no arrays, else (None, its parts): arrays belong in `saved`."""
    parts = index if isinstance(index, tuple) else (index,)
    return (None, parts) if has_arrays(parts) else (index, ())


class Index(Op):
    """y = x[index]: integers, slices, None, ..., integer arrays (with duplicates), boolean masks.

    Backward: ∂L/∂x = 0, then ∂L/∂x[index] += g; an element picked n times gets n gradients.
    Saves the index's arrays.
    """

    takes_complex = True
    views = True

    def forward(self, x, index):
        self.shape, self.index = x.shape, None
        parts = index if type(index) is tuple else (index,)
        if has_arrays(parts):
            self.saved = parts
            return picked_array(x, index)
        self.index, y = index, x[index]
        if not is_array(y):  # NumPy copied a single number: an Ellipsis makes it a view
            y = x[(*index, ...) if isinstance(index, tuple) else (index, ...)]
        return y

    def backward(self, g):
        gx = xp_of(g).zeros(self.shape, g.dtype)
        index_add(gx, tuple(self.saved) or self.index, g)  # a tuple, recomputed or not
        return gx


class Diagonal(Op):
    """y = x[…, i, i + offset]: the diagonal of two dimensions of x, a view.

    Backward: ∂L/∂x = g on the diagonal, 0 elsewhere.   Saves nothing.
    """

    views = True

    def forward(self, x, offset=0, dim1=0, dim2=1):
        self.shape, self.place = x.shape, (offset, dim1, dim2)
        return diagonal_view(x, offset, dim1, dim2)

    def backward(self, g):
        gx = xp_of(g).zeros(self.shape, g.dtype)
        diagonal_view(gx, *self.place)[...] = g
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
        index = tuple(self.saved) or self.index  # a tuple, recomputed or not
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
    in_rows = True

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

    in_rows = True
    in_float32 = True

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


class ScatterReduce(Op):
    """y = x, with the product, maximum or minimum of x and of the values v sent to each element.

    Backward of amax and amin: the gradient of an element is shared equally by all that equal it.
    Of prod: ∂L/∂vᵢ = g·(product of the others), with no division by one that is 0.
    include_self False: x takes no part where a value arrives, and gets no gradient there.
    Saves x, v, y and the index.
    """

    signature = "x(...) v(...) -> y(...)"
    in_rows = True
    in_float32 = True

    def forward(self, x, v, index, reduce, include_self):
        self.reduce, self.include_self = reduce, include_self
        y = x.copy()
        if not include_self:
            y[index] = 1 if reduce == "prod" else v  # any of them, for the extreme of all
        if reduce == "prod":
            multiply_at(y, index, v)
        else:
            extreme_at(y, index, v, reduce == "amax")
        self.saved = (x, v, y, *index)
        return y

    def backward(self, g):
        x, v, y = self.saved[:3]
        index = self.saved[3:]
        touched = xp_of(g).zeros(x.shape, bool)
        touched[index] = True
        own = ~touched if not self.include_self else xp_of(g).ones(x.shape, bool)
        if self.reduce == "prod":
            return self._backward_of_prod(g, x, v, index, own)
        mine, theirs = own & (x == y), v == y[index]
        count = mine.astype(g.dtype)
        add_at(count, index, theirs.astype(g.dtype))
        share = g / xp_of(g).maximum(count, 1)
        zero = xp_of(g).zeros((), g.dtype)
        return xp_of(g).where(mine, share, zero), xp_of(g).where(theirs, share[index], zero)

    def _backward_of_prod(self, g, x, v, index, own):
        """Products without their zeros, and how many zeros there are: 0, 1 or more."""
        xp = xp_of(g)
        product = xp.where(own & (x != 0), x, xp.ones((), x.dtype))
        zeros = (own & (x == 0)).astype(x.dtype)
        multiply_at(product, index, xp.where(v == 0, xp.ones((), v.dtype), v))
        add_at(zeros, index, (v == 0).astype(x.dtype))
        if self.half is not None:  # g·product is rounded, and then divided by the factor
            gy = self.stored(g * xp.where(zeros == 0, self.saved[2], self.stored(product)))
            gx = xp.where(own, _without(x, gy, zeros), xp.zeros((), g.dtype))
            return gx, _without(v, gy[index], zeros[index])
        return (
            xp.where(own, g * _without(x, product, zeros), xp.zeros((), g.dtype)),
            g[index] * _without(v, product[index], zeros[index]),
        )


def _without(factor, product, zeros):
    """The product of the other factors: `product` is that of all that are not 0."""
    xp = xp_of(factor)
    is_zero = factor == 0
    others = zeros - is_zero.astype(zeros.dtype)  # zeros among the others
    rest = product / xp.where(is_zero, xp.ones((), factor.dtype), factor)
    return xp.where(others > 0, xp.zeros((), factor.dtype), rest)
