"""Named mistakes of the reductions, of the ops that rearrange, and of those that pick."""

from __future__ import annotations

import math

import numpy as np

from ...ops.reduce import spread
from ...ops.shape import slices
from .base import changed, cut, first_copy, forgets_g, mean_copy, negated, no_g, true, wrong


def _spread(op, g):
    """g brought back to the input's shape."""
    dims = op.dims if hasattr(op, "dims") else (op.dim,)
    return spread(g, op.given[0].shape, dims, op.keepdim)


def _count(op):
    return math.prod(op.given[0].shape[d] for d in op.dims)


# ---------------------------------------------------------------------------------- reductions
def _first_of_each(op, g):
    """The gradient for the first element of each sum alone."""
    gx = np.zeros_like(op.given[0])
    if gx.size:
        at = tuple(slice(0, 1) if d in op.dims else slice(None) for d in range(gx.ndim))
        gx[at] = _spread(op, g)[at]
    return gx


wrong(
    "sum",
    ("a mean's 1/n", "This is g/n, the gradient of a mean: for a sum every derivative is 1.",
     lambda op, g: _spread(op, g) / max(_count(op), 1)),
    ("only the first element", "Only the first element of each sum gets g here: all were added.",
     _first_of_each),
    no_g("∂y/∂x = 1"),
)  # fmt: skip
wrong(
    "mean",
    ("1/n forgotten", "This is g, the gradient of a sum: each element has only 1/n of the effect.",
     _spread),
    ("divided by all elements", "This is divided by the number of all elements of x: n counts "
     "those that one mean is taken of.",
     lambda op, g: _spread(op, g) / max(op.given[0].size, 1)),
    ("n − 1 for n", "This is divided by n − 1, as in an unbiased variance: the mean has n.",
     lambda op, g: _spread(op, g) / (_count(op) - 1 or math.nan)),
    no_g("∂y/∂x = 1/n"),
)  # fmt: skip


def _moment(op, g, factor=2.0, corrected=True, root=False):
    """Variants of g·2·(x − μ)/(n − c), and over y for the standard deviation."""
    x, c = op.given[0], op.chosen.get("correction", 1)
    n = _count(op) - (c if corrected else 0)
    centred = x - x.mean(op.dims, keepdims=True)
    return _spread(op, g / op.saved[1] if root else g) * factor * centred / (n or math.nan)


wrong(
    "var",
    ("factor 2 forgotten", "This is g·(x − μ)/(n − c): the square brings down a factor 2.",
     lambda op, g: _moment(op, g, 1.0)),
    ("correction forgotten", "This is divided by n: forward divided by n − c.",
     lambda op, g: _moment(op, g, corrected=False)),
    ("division forgotten", "This is g·2·(x − μ): forward divided by n − c, so backward does too.",
     lambda op, g: changed(lambda a: a * op.divisor)(op, g)),
    ("x not centred", "This is g·2·x/(n − c): it is the distance to the mean that is squared.",
     lambda op, g: _spread(op, g) * 2.0 * op.given[0] / (op.divisor or math.nan)),
)  # fmt: skip
wrong(
    "std",
    ("the variance's gradient", "This is g·2·(x − μ)/(n − c), the variance's: the root adds the "
     "factor 1/(2y).", _moment),
    ("y forgotten", "This is g·(x − μ)/(n − c): the derivative of the root divides by y.",
     lambda op, g: _moment(op, g, 1.0)),
    ("factor 2 kept", "This is twice too large: the 2 of the square and the ½ of the root cancel.",
     lambda op, g: _moment(op, g, 2.0, root=True)),
    ("correction forgotten", "This is divided by n: forward divided by n − c.",
     lambda op, g: _moment(op, g, 1.0, corrected=False, root=True)),
)  # fmt: skip
wrong(
    "extreme",
    ("g to every element", "Every element gets g here, as in a sum: only the extreme one reached "
     "y.", _spread),
    ("shared among all", "Every element gets g/n here, as in a mean: only the extreme one reached "
     "y.", lambda op, g: _spread(op, g) / max(_count(op), 1)),
    ("the other extreme", "g goes to the smallest for the largest, or the other way round.",
     lambda op, g: _spread(op, g) * (op.given[0] == (np.min if op.largest else np.max)(
         op.given[0], op.dims, keepdims=True))),
    no_g("∂y/∂x, 1 at the extreme element,"),
)  # fmt: skip


def _over(op, g):
    x = op.given[0]
    with np.errstate(all="ignore"):
        return np.nan_to_num(_spread(op, g) * x.prod(op.dim, keepdims=True) / x, posinf=0, neginf=0)


def _before(op, g):
    x = op.given[0]
    rows = np.moveaxis(x, op.dim, -1)
    before = np.ones_like(rows)
    before[..., 1:] = rows[..., :-1].cumprod(-1)
    return _spread(op, g) * np.moveaxis(before, -1, op.dim)


wrong(
    "prod",
    ("y divided by x", "This is g·y/xᵢ, which loses the gradient where xᵢ = 0: multiply all the "
     "others.", _over),
    ("own factor kept", "This is g·y: the product of all others leaves xᵢ out.",
     lambda op, g: _spread(op, g) * op.given[0].prod(op.dim, keepdims=True)),
    ("only those before", "This is the product of the factors before xᵢ: those after it count "
     "too.", _before),
    no_g("∂y/∂xᵢ, the product of the others,"),
)  # fmt: skip


def _products_over_x(op, g):
    x = op.given[0]
    sums = np.flip(np.flip(g * x.cumprod(op.dim), op.dim).cumsum(op.dim), op.dim)
    with np.errstate(all="ignore"):
        return np.nan_to_num(sums / x, posinf=0, neginf=0)


def _products_before(op):
    """The product of all before each element; 1 for the first."""
    rows = np.moveaxis(op.given[0], op.dim, -1)
    before = np.ones_like(rows)
    before[..., 1:] = rows[..., :-1].cumprod(-1)
    return np.moveaxis(before, -1, op.dim)


def _sum_behind(op, g):
    """tⱼ = gⱼ + xⱼ₊₁·tⱼ₊₁."""
    rows, t = (np.moveaxis(a, op.dim, 0) for a in (op.given[0], g.copy()))
    for j in range(len(t) - 2, -1, -1):
        t[j] += rows[j + 1] * t[j + 1]
    return np.moveaxis(t, 0, op.dim)


wrong(
    "cumsum",
    ("summed from the front", "This is the running sum of g from the front: xᵢ is in yᵢ and all "
     "behind it, so sum from behind.", lambda op, g: g.cumsum(op.dim)),
    ("its own output alone", "This is g: xᵢ is also part of every y behind yᵢ.", lambda op, g: g),
    ("its own output left out", "This sums the gradients behind i: yᵢ itself contains xᵢ too.",
     lambda op, g: np.asarray(true(op, g)[0] - g)),
)  # fmt: skip
wrong(
    "cumprod",
    ("g·y summed and divided by x", "This is the sum of g·y from behind, divided by x: where x = 0 "
     "the gradient is lost.", _products_over_x),
    ("its own output alone", "This is g·(product of those before xⱼ): xⱼ is also a factor of every "
     "y behind yⱼ.", lambda op, g: g * _products_before(op)),
    ("those before left out", "This multiplies by the factors behind xⱼ alone: those before it are "
     "in every y too.", lambda op, g: _sum_behind(op, g)),
    no_g("Σ ∂y/∂xⱼ"),
)  # fmt: skip
wrong(
    "norm",
    ("y forgotten", "This is g·x: the derivative of the root divides by y.",
     lambda op, g: _spread(op, g) * op.given[0]),
    ("squared length", "This is g·2x, the gradient of Σ x²: the root is missing.",
     lambda op, g: _spread(op, g) * op.given[0] * 2.0),
    ("divided by y²", "This is g·x/y²: the derivative of the root divides by y once.",
     lambda op, g: _spread(op, g) * op.given[0] / (op.given[0] ** 2).sum(op.dims, keepdims=True)),
    ("sign of x", "This is g·sign x, the gradient of Σ |x|.",
     lambda op, g: _spread(op, g) * np.sign(op.given[0])),
)  # fmt: skip

# --------------------------------------------------------------------------------- arrangement
ONES = (
    "g forgotten",
    "This is 1 wherever y shows x: put g there, what arrives, in x's arrangement.",
    forgets_g,
)
CUT = ("the graph is cut", "This is 0, as after detach(): moving elements passes on g.", cut)

wrong(
    "reshape",
    ("column order", "The elements are read column by column here: reshape goes row by row.",
     lambda op, g: g.reshape(op.shape, order="F")),
    ("elements in reverse", "The elements lie in reverse order here: backward keeps their "
     "order.", lambda op, g: g.reshape(-1)[::-1].reshape(op.shape)),
    CUT,
    ONES,
)  # fmt: skip
wrong(
    "permute",
    ("reshaped for transposed", "g is reshaped to x's shape here, without moving elements: a "
     "transpose moves them.", lambda op, g: g.reshape(op.given[0].shape)),
    ("the same order again", "The order of forward is applied again: backward applies the inverse "
     "order.", lambda op, g: g.transpose(op.chosen["order"])),
    ("not put back", "g keeps y's order of dimensions here: it must have x's.", lambda op, g: g),
    ONES,
)  # fmt: skip
wrong(
    "expand",
    ("only the first copy", "This is the gradient of the first copy: every copy sends one back, "
     "and they add up.", lambda op, g: first_copy(g, op.given[0].shape)),
    ("the mean over the copies", "This is the mean over the copies: their gradients add up.",
     lambda op, g: mean_copy(g, op.given[0].shape)),
    ("g forgotten", "This is the number of copies: sum g over them.", forgets_g),
)  # fmt: skip


def _all_from_0(op, g):
    return tuple(g[(slice(None),) * op.dim + (slice(0, n),)] for n in op.sizes)


def _from_behind(op, g):
    return tuple(reversed(slices(g, op.sizes[::-1], op.dim)))


wrong(
    "cat",
    ("every slice from 0", "Every input gets the front of g here: input i lay behind all before "
     "it.", _all_from_0),
    ("slices from behind", "The slices are taken in reverse order here: the first input lies "
     "first.", _from_behind),
    ("only the first input", "Only the first input gets a gradient here.",
     lambda op, g: (true(op, g)[0], *(None for _ in op.sizes[1:]))),
    ONES,
)  # fmt: skip


def _pieces(op, gs):
    gs = gs if isinstance(gs, tuple) else (gs,)
    shapes = [p.shape for p in slices(op.given[0], op.chosen["sizes"], op.dim)]
    return [np.zeros(s) if g is None else g for g, s in zip(gs, shapes, strict=True)]


wrong(
    "split",
    ("pieces in reverse", "The pieces' gradients are joined in reverse order.",
     lambda op, gs: np.concatenate(_pieces(op, gs)[::-1], op.dim)),
    ("only the first piece", "Only the first piece's gradient comes back: every piece that was "
     "used sends one.", lambda op, gs: np.concatenate(
         [p * float(not i) for i, p in enumerate(_pieces(op, gs))], op.dim)),
    ONES,
    ("wrong sign", "This has the wrong sign: a piece is x itself, with derivative 1.", negated),
)  # fmt: skip
wrong(
    "flip",
    ("not turned back", "This is g as it came: y's first element is x's last.", lambda op, g: g),
    ("every dimension turned", "All dimensions are turned here: only `dims` were.",
     lambda op, g: np.flip(g)),
    ONES,
)  # fmt: skip
wrong(
    "roll",
    ("not moved back", "This is g as it came: move it back by the shifts.", lambda op, g: g),
    ("moved on", "g is moved as forward moved x: backward moves it by −shifts.",
     lambda op, g: np.roll(g, op.shifts if op.dims is not None else op.shifts[0], op.dims)),
    ONES,
)  # fmt: skip


def _triangle(part, moved=0):
    """A triangle of g, its diagonal moved."""
    return lambda op, g: part(g, op.diagonal + moved)


for _op, _same, _other, _side in (
    ("tril", np.tril, np.triu, "below"),
    ("triu", np.triu, np.tril, "above"),
):
    _step = -1 if _op == "tril" else 1
    wrong(
        _op,
        ("mask forgotten", f"This is g everywhere: only what lies {_side} the diagonal reached y.",
         lambda op, g: g),
        ("the other triangle", "g passes in the triangle that forward cleared.",
         _triangle(_other)),
        ("diagonal left out", f"This is strictly {_side} the diagonal: the diagonal itself belongs "
         "to y.", _triangle(_same, _step)),
        ONES,
    )  # fmt: skip


def _inner(op, g, offsets):
    shape = op.given[0].shape
    return g[tuple(slice(b, b + n) for b, n in zip(offsets, shape, strict=True))]


wrong(
    "pad",
    ("offset forgotten", "This is the corner of g where it begins: x lies behind `before` "
     "elements.", lambda op, g: _inner(op, g, [0] * g.ndim)),
    ("before and after swapped", "The inner part is taken `after` elements from the front.",
     lambda op, g: _inner(op, g, op.chosen["after"])),
    ONES,
)  # fmt: skip

# ------------------------------------------------------------------------------------- picking
DUPLICATES = (
    "An element that was picked twice gets both gradients: write +=, np.add.at or index_add."
)


def _assigned(op, g):
    """gx[index] = g."""
    gx = np.zeros(op.shape)
    gx[op.chosen["index"]] = g
    return gx


def _counted(op, g):
    gx = true(op, g)[0]
    return gx / np.maximum(true(op, np.ones_like(g))[0], 1.0)


wrong(
    "index",
    ("= for +=", f"The last gradient overwrites the others here. {DUPLICATES}", _assigned),
    ("mean of the duplicates", f"This is the mean where elements were picked twice. {DUPLICATES}",
     _counted),
    ("g forgotten", "This counts how often each element was picked: add g there.",
     forgets_g),
)  # fmt: skip


def _only_written(op, g):
    gx = np.zeros_like(g)
    gx[op.chosen["index"]] = g[op.chosen["index"]]
    return gx, true(op, g)[1]


wrong(
    "index_put",
    ("overwritten elements kept", "x gets g everywhere here: at the index it was overwritten.",
     lambda op, g: (g, true(op, g)[1])),
    ("value forgotten", "v gets nothing here: it reached y at the index.",
     lambda op, g: (true(op, g)[0], None)),
    ("places swapped", "x gets g where it was overwritten, and 0 where it shows.", _only_written),
    ("g forgotten", "This is 1 where each input reached y: multiply it by g.",
     forgets_g),
)  # fmt: skip


def _put_along(op, g):
    gx = np.zeros(op.shape)
    ids = op.given[1]
    places = list(np.indices(ids.shape))
    places[op.dim] = ids
    gx[tuple(places)] = g
    return gx, None


wrong(
    "gather",
    ("= for +=", f"The last gradient overwrites the others here. {DUPLICATES}", _put_along),
    ("mean of the duplicates", f"This is the mean where elements were picked twice. {DUPLICATES}",
     lambda op, g: (_counted(op, g), None)),
    ("g forgotten", "This counts how often each element was picked: add g there.",
     forgets_g),
)  # fmt: skip


def _last_wins(op, g):
    """Only the last of those that fell on one place gets the gradient."""
    owner = np.full(op.chosen["shape"], -1)
    n = np.arange(op.given[0].size).reshape(op.given[0].shape)
    owner[op.chosen["index"]] = n
    return true(op, g)[0] * (owner[op.chosen["index"]] == n)


def _per_place(op, g):
    count = np.zeros(op.chosen["shape"])
    np.add.at(count, op.chosen["index"], np.ones(op.given[0].shape))
    return (g / np.maximum(count, 1.0))[op.chosen["index"]]


wrong(
    "scatter_add",
    ("only the last one", "Of those that fell on one place only the last gets g here: they were "
     "added, with derivative 1 each.", _last_wins),
    ("mean of the duplicates", "g is divided among those that fell on one place: each gets all "
     "of it.", lambda op, g: np.asarray(_per_place(op, g))),
    ("g forgotten", "This is 1 everywhere: take g at the index.", forgets_g),
)  # fmt: skip


def _everywhere(op, g):
    """The mean of g, in x's shape."""
    return (np.full(op.given[0].shape, float(g.mean()) if g.size else 0.0),)


wrong(
    "diagonal",
    ("everywhere", "The elements beside the diagonal get a gradient here: they did not reach y.",
     _everywhere),
    ("wrong sign", "This has the wrong sign: y is x's diagonal itself, with derivative 1.",
     negated),
    ("g forgotten", "This is 1 along the diagonal: write g there.", forgets_g),
)  # fmt: skip
wrong(
    "scatter_reduce",
    ("all of them get g", "Every value gets all of g here: only the greatest, the least, or each "
     "times the product of the others, reaches y.",
     lambda op, g: (g, g[op.chosen["index"]])),
    ("the tensor itself forgotten", "x gets nothing here: its own elements take part, and stay "
     "where nothing arrives.", lambda op, g: (None, true(op, g)[1])),
    ("the values forgotten", "The values get nothing here: what reached y needs its gradient.",
     lambda op, g: (true(op, g)[0], None)),
    ("g forgotten", "This is right for g = 1 only: multiply by g where each value arrived.",
     forgets_g),
)  # fmt: skip
wrong(
    "write_view",
    ("overwritten elements kept", "x gets g everywhere here: where v was written, x is gone.",
     lambda op, g: (g, true(op, g)[1])),
    ("value forgotten", "v gets nothing here: it reached y where it was written.",
     lambda op, g: (true(op, g)[0], None)),
    ("g forgotten", "This is 1 where each input reached y: multiply it by g.",
     forgets_g),
    ("places swapped", "x gets g where v was written, and 0 elsewhere.",
     lambda op, g: (g - true(op, g)[0], true(op, g)[1])),
)  # fmt: skip
wrong(
    "read_view",
    ("the graph is cut", "This is 0, as if the view had no history after the change.", cut),
    ("wrong sign", "This has the wrong sign: y is x itself, so the derivative is 1.", negated),
    ("g forgotten", "This counts how often the view shows each element: add g there.",
     forgets_g),
)  # fmt: skip
