"""The same elements in another arrangement. Backward undoes the arrangement for the gradient."""

import math

from ..arrays.devices import on_gpu, xp_of
from ..arrays.layout import expanded, order_of
from ..arrays.masks import lower_triangle, upper_triangle
from ..arrays.parallel import over_row_blocks
from ..arrays.regions import adjacent_view
from ..arrays.twins import cpu_twins
from ..autograd.engine import Op


class Reshape(Op):
    """y = x's elements, in row order, in another shape: view, reshape, flatten, (un)squeeze.

    Backward: ∂L/∂x = g in x's shape.   Saves nothing.
    """

    takes_complex = True
    views = True

    def forward(self, x, shape):
        self.shape = x.shape
        return x.reshape(shape)

    def backward(self, g):
        return g.reshape(self.shape)


class Permute(Op):
    """y = x with its dimensions in another order: y's dim i is x's dim order[i].

    Backward: ∂L/∂x = g with the dimensions in the inverse order.   Saves nothing.
    """

    takes_complex = True
    views = True

    def forward(self, x, order):
        self.order_back = sorted(range(len(order)), key=order.__getitem__)
        return x.transpose(order)

    def backward(self, g):
        return g.transpose(self.order_back)


class Expand(Op):
    """y = x with dimensions of size 1 repeated, without copying.

    Backward: ∂L/∂x = Σ g over the copies, which the engine computes as after any broadcasting.
    Saves nothing.
    """

    takes_complex = True
    views = True
    broadcasts = True

    def forward(self, x, shape):
        return expanded(x, shape)

    def backward(self, g):
        return g


class Cat(Op):
    """y = the inputs one after another along dim.

    Backward: ∂L/∂xᵢ = the slice of g at the positions of xᵢ.   Saves nothing.
    """

    takes_complex = True
    signature = "x(...) y(...) -> z(...)"
    in_rows = True

    def forward(self, *xs, dim):
        self.dim, self.sizes = dim, [x.shape[dim] for x in xs]
        return xp_of(xs[0]).concatenate(xs, axis=dim)

    def backward(self, g):
        return slices(g, self.sizes, self.dim)


class Split(Op):
    """y₁, y₂, … = pieces of x along dim, of the given sizes; the pieces are views of x.

    Backward: ∂L/∂x = the pieces' gradients one after another, 0 for a piece that was not used.
    If these gradients already lie one directly after another in one memory, ∂L/∂x is a view of that
    memory and nothing is copied. Attention returns its ∂L/∂q, ∂L/∂k and ∂L/∂v so when q, k and v
    are the pieces of one array; `adjacent_view` (arrays/regions.py) compares the addresses.
    Saves nothing.
    """

    takes_complex = True
    views = True

    def forward(self, x, sizes, dim):
        self.dim = dim
        return slices(x, sizes, dim)

    def backward(self, gs):
        if not isinstance(gs, tuple):  # one piece: all of x
            return gs
        xp = xp_of(next(g for g in gs if g is not None))
        pieces = [
            xp.zeros(shape, dtype) if g is None else g
            for g, (shape, dtype) in zip(gs, self.outputs, strict=True)
        ]
        return joined(pieces, self.dim)


def joined(pieces, dim):
    """The pieces one after another along dim: a view if they are adjacent, else a copy."""
    whole = adjacent_view(pieces, dim)
    if whole is not None:
        return whole
    xp, first = xp_of(pieces[0]), pieces[0]
    if on_gpu(pieces) or not dim:
        return xp.concatenate(pieces, axis=dim)
    loops = cpu_twins(first)
    if loops is not None and loops.joined is not None:
        whole = loops.joined(pieces, dim)
        if whole is not None:
            return whole
    n = sum(a.shape[dim] for a in pieces)
    whole = xp.empty((*first.shape[:dim], n, *first.shape[dim + 1 :]), first.dtype)

    @over_row_blocks(whole, whole, *pieces)
    def some_rows(whole, *pieces):
        xp.concatenate(pieces, axis=dim, out=whole)

    return whole


def slices(x, sizes, dim):
    """Views of x one after another along dim, of the given sizes."""
    pieces, start = [], 0
    for size in sizes:
        pieces.append(x[(slice(None),) * dim + (slice(start, start + size),)])
        start += size
    return tuple(pieces)


def _reversed(x, dims):
    """A view of x, read from the end along dims."""
    return x[tuple([slice(None, None, -1 if d in dims else None) for d in range(x.ndim)])]


class Flip(Op):
    """y = x in reverse order along dims.   Backward: ∂L/∂x = g reversed.   Saves nothing."""

    takes_complex = True

    def forward(self, x, dims):
        self.dims = dims
        return _reversed(x, dims).copy(order_of(x))

    def backward(self, g):
        return _reversed(g, self.dims)


class Roll(Op):
    """y = x moved along dims by shifts; what leaves at one end enters again at the other.

    Backward: ∂L/∂x = g moved by −shifts.   dims None: over the elements in row order.
    Saves nothing.
    """

    in_rows = True
    takes_complex = True

    def forward(self, x, shifts, dims):
        self.shifts, self.dims = shifts, dims
        return _moved(x, shifts, dims)

    def backward(self, g):
        return _moved(g, [-s for s in self.shifts], self.dims)


def _moved(x, shifts, dims):
    """A copy of x, moved along each dim by its shift: the last `shift` slices come first."""
    if dims is None:
        return _moved(x.reshape(-1), shifts, (0,)).reshape(x.shape)  # (...) -> (N) -> (...)
    y = x
    for shift, dim in zip(shifts, dims, strict=True):
        n = x.shape[dim]
        if n and shift % n:
            cut = n - shift % n
            y = xp_of(x).concatenate(slices(y, (cut, n - cut), dim)[::-1], axis=dim)
    return x.copy() if y is x else y


class Tril(Op):
    """y = x on and below the diagonal k, else 0.   Backward: ∂L/∂x = g there, else 0.

    Saves nothing.
    """

    in_rows = True

    def forward(self, x, diagonal=0):
        self.diagonal = diagonal
        return lower_triangle(x, diagonal)

    def backward(self, g):
        return lower_triangle(g, self.diagonal)


class Triu(Op):
    """y = x on and above the diagonal k, else 0.   Backward: ∂L/∂x = g there, else 0.

    Saves nothing.
    """

    in_rows = True

    def forward(self, x, diagonal=0):
        self.diagonal = diagonal
        return upper_triangle(x, diagonal)

    def backward(self, g):
        return upper_triangle(g, self.diagonal)


class Pad(Op):
    """y = x with `before[i]` and `after[i]` elements of a value around each dimension i.

    Backward: ∂L/∂x = the inner part of g.   Saves nothing.
    """

    def forward(self, x, before, after, value=0.0):
        xp = xp_of(x)
        self.inner = tuple(slice(b, b + n) for b, n in zip(before, x.shape, strict=True))
        shape = [b + n + a for b, n, a in zip(before, x.shape, after, strict=True)]
        y = xp.full(shape, value, x.dtype) if math.prod(shape) else xp.empty(shape, x.dtype)
        y[self.inner] = x
        return y

    def backward(self, g):
        return g[self.inner]
