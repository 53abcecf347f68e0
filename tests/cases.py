"""One row for each op: how to draw its inputs, and what its result is compared with.

A row's `draw` returns the inputs, in float64, and the options of one call. `oracle` computes the
result in another way: a NumPy expression, or (`twin=True`) the op's slow twin of
study.check.reference, which has a gradient too. checks.py holds the checks of every row; there a
wrong backward can take the place of an op, to see whether the checks detect it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from draw import Draw
from hypothesis import strategies as st

from tinygrad_llm import ops
from tinygrad_llm.arrays.devices import xp_of
from tinygrad_llm.arrays.memory import is_array
from tinygrad_llm.autograd.engine import Op
from tinygrad_llm.study.check.reference import TWINS
from tinygrad_llm.tensor import shapes

Call = tuple[list[Any], dict[str, Any]]  # inputs (arrays, None, numbers), options


@dataclass
class Case:
    """One op's row in the table."""

    op: type[Op]
    draw: Callable[[Draw], Call]
    oracle: Callable[..., Any] | None = None  # arrays and options -> the result, in NumPy
    twin: Callable[..., Any] | None = None  # tensors and options -> the result, with a gradient
    constant: frozenset[str] = frozenset()  # floating inputs that get no gradient, by name
    apply: Callable[..., Any] | None = None  # (op, *inputs, **options), if op.apply is not enough
    label: str = ""  # for an op's further rows

    @property
    def id(self) -> str:
        return self.op.name + (f"-{self.label}" if self.label else "")

    @property
    def calls(self) -> Any:
        """The Hypothesis strategy for this row's calls."""
        return st.composite(lambda draw: self.draw(Draw(draw)))()

    def run(self, op: type[Op], *inputs: Any, **options: Any) -> Any:
        """The op, or the class that takes its place, on tensors."""
        if self.apply is not None:
            return self.apply(op, *inputs, **options)
        return op.apply(*inputs, **options)

    def name_of(self, i: int) -> str:
        """Input i's name in the signature; "input 3" where it names fewer."""
        names = [spec.name for spec in shapes.parse(self.op.signature)[0]]
        return names[i] if i < len(names) else f"input {i}"

    def differentiable(self, inputs: list[Any]) -> list[int]:
        """Which inputs get gradients: the floating arrays, except the constant ones."""
        return [
            i
            for i, x in enumerate(inputs)
            if hasattr(x, "dtype") and x.dtype.kind == "f" and self.name_of(i) not in self.constant
        ]


CASES: list[Case] = []


def row(op: type[Op], draw: Callable[[Draw], Call], oracle: Any = None, **more: Any) -> None:
    if more.pop("twin", False):
        more["twin"] = TWINS[op.name]
    if "constant" in more:
        more["constant"] = frozenset(more["constant"].split())
    CASES.append(Case(op, draw, oracle, **more))


# ------------------------------------------------------------------------------ element by element
def one(domain: str = "normal", **options: Any) -> Callable[[Draw], Call]:
    """One input of any shape; options are tuples of values to choose from."""

    def draw(d: Draw) -> Call:
        return [d.real(d.shape(), domain)], {k: d.one_of(*v) for k, v in options.items()}

    return draw


def away(*points: float, **options: Any) -> Callable[[Draw], Call]:
    def draw(d: Draw) -> Call:
        return [d.away(d.shape(), *points)], {k: d.one_of(*v) for k, v in options.items()}

    return draw


def two(x: str = "normal", y: str = "normal", numbers: Any = (0.5, -2, 3)) -> Any:
    """Two inputs that broadcast, one of which is sometimes a Python number."""

    def draw(d: Draw) -> Call:
        a, b = d.two_shapes()
        xs: list[Any] = [d.real(a, x), d.real(b, y)]
        if numbers and d.one_of(*range(4)) == 0:
            xs[d.size(0, 1)] = d.one_of(*numbers)
        return xs, {}

    return draw


row(ops.Add, two(), np.add)
row(ops.Sub, two(), np.subtract)
row(ops.Mul, two(), np.multiply)
row(ops.Div, two(y="nonzero"), np.divide)
row(ops.Neg, one(), np.negative)
row(ops.Exp, one(), np.exp)
row(ops.Expm1, one(), np.expm1)
row(ops.Log, one("positive"), np.log)
row(ops.Log1p, one("positive"), np.log1p)
row(ops.Log2, one("positive"), np.log2)
row(ops.Log10, one("positive"), np.log10)
row(ops.Sqrt, one("positive"), np.sqrt)
row(ops.Rsqrt, one("positive"), lambda x: x**-0.5)
row(ops.Reciprocal, one("nonzero"), lambda x: x**-1.0)
row(ops.Tanh, one(), np.tanh)
row(ops.Sigmoid, one(), lambda x: 1.0 / (1.0 + np.exp(-x)))
row(ops.Sin, one(), np.sin)
row(ops.Cos, one(), np.cos)
row(ops.Erf, one(), lambda x: np.vectorize(math.erf, otypes=[float])(x) if x.size else x)
row(ops.Abs, away(0.0), np.abs)
row(ops.Clone, one(), lambda x: x)
row(ops.Step, away(*np.arange(-12, 12.5, 0.5), function=("floor", "ceil", "rint", "trunc", "sign")),
    lambda x, function: getattr(np, function)(x))  # fmt: skip
row(ops.Cast, one(dtype=("float64",)), lambda x, dtype: x.astype(dtype))
row(ops.Move, one(kind=("cpu",), index=(None, 0)), lambda x, kind, index: x)


def _clamp(d: Draw) -> Call:
    low, high = d.one_of((-0.5, 0.7), (None, 0.3), (-0.2, None), (1, 2), (0.6, 0.1))
    points = [p for p in (low, high) if p is not None]
    return [d.away(d.shape(), *points)], {"low": low, "high": high}


def _clamped(x: Any, low: Any, high: Any) -> Any:
    x = x if low is None else np.maximum(x, low)
    return x if high is None else np.minimum(x, high)


row(ops.Clamp, _clamp, _clamped)


def _even_odd(d: Draw) -> Call:
    a, b = d.two_shapes()
    return [d.even(a), d.odd(b)], {}


row(ops.Maximum, _even_odd, np.maximum)
row(ops.Minimum, _even_odd, np.minimum)


def _power_number(d: Draw) -> Call:
    p = d.one_of(2, 3, 0.5, -1, -0.5, 1, 0, 4, 2.5, -2.0)
    return [d.real(d.shape(), "nonzero" if isinstance(p, int) else "positive"), p], {}


def _power(d: Draw) -> Call:
    a, b = d.two_shapes()
    x: Any = d.real(a, "positive") if d.one_of(*range(4)) else d.one_of(2, 0.5)
    return [x, d.real(b)], {}


row(ops.Pow, _power, np.power)
row(ops.Pow, _power_number, lambda x, p: np.power(x, float(p)), label="number")


def _where(d: Draw) -> Call:
    whole = d.shape()
    condition = d.mask(whole if d.bool() else d.broadcast(whole))
    return [condition, d.real(d.broadcast(whole)), d.real(d.broadcast(whole))], {}


row(ops.Where, _where, np.where)


def _masked_fill(d: Draw) -> Call:
    x, mask = d.two_shapes()
    value = d.one_of(0.0, -3, 1.5) if d.bool() else d.real(())
    return [d.real(x), d.mask(mask), value], {}


row(ops.MaskedFill, _masked_fill, lambda x, mask, value: np.where(mask, value, x))


def _remainder(d: Draw) -> Call:
    a, b = d.two_shapes()
    y = np.full(b, d.one_of(1.0, 2.0, -1.0))  # x is then away from every multiple of y
    return [d.away(a, *range(-9, 10)), y], {"rounding": d.one_of("floor", "trunc")}


row(ops.Remainder, _remainder,
    lambda x, y, rounding: (np.remainder if rounding == "floor" else np.fmod)(x, y))  # fmt: skip


# ---------------------------------------------------------------------- many elements into one
def reduced(domain: str = "normal", low: int = 0, **options: Any) -> Callable[[Draw], Call]:
    """x, some of its dimensions, keepdim, and further options to choose from."""

    def draw(d: Draw) -> Call:
        x = d.real(d.shape(low=low), domain)
        chosen = {k: d.one_of(*v) for k, v in options.items()}
        return [x], {"dims": d.dims(x.ndim), "keepdim": d.bool(), **chosen}

    return draw


def _quiet(function: Any) -> Any:
    """Without NumPy's warnings: the mean of nothing is NaN here too."""

    def quiet(*args: Any, **kwargs: Any) -> Any:
        import warnings

        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            return function(*args, **kwargs)

    return quiet


row(ops.Sum, reduced(), lambda x, dims, keepdim: x.sum(dims, keepdims=keepdim))
row(ops.Mean, reduced(), _quiet(lambda x, dims, keepdim: x.mean(dims, keepdims=keepdim)))


def _spread(low: int) -> Callable[[Draw], Call]:
    """For a variance: the unbiased one of a single number is NaN, and so is its gradient."""

    def draw(d: Draw) -> Call:
        (x,), options = reduced("distinct", low)(d)
        n = math.prod(x.shape[i] for i in options["dims"])
        return [x], {**options, "correction": 0 if n < 2 else d.one_of(0, 1)}

    return draw


def _moment(function: Any) -> Any:
    return _quiet(lambda x, dims, keepdim, correction: function(
        x, dims, ddof=correction, keepdims=keepdim))  # fmt: skip


row(ops.Var, _spread(0), _moment(np.var))
row(ops.Std, _spread(2), _moment(np.std))
row(
    ops.Norm,
    reduced("nonzero"),
    lambda x, dims, keepdim: np.sqrt((x * x).sum(dims, keepdims=keepdim)),
)
row(
    ops.Extreme,
    reduced("distinct", low=1, largest=(True, False)),
    lambda x, dims, keepdim, largest: (np.max if largest else np.min)(x, dims, keepdims=keepdim),
)


def along(domain: str = "normal", keepdim: bool = False) -> Callable[[Draw], Call]:
    """x of at least one dimension, and one of its dimensions."""

    def draw(d: Draw) -> Call:
        x = d.real(d.shape(1), domain)
        options = {"dim": d.size(0, x.ndim - 1)}
        return [x], {**options, "keepdim": d.bool()} if keepdim else options

    return draw


def _prod(d: Draw) -> Call:
    (x,), options = along(keepdim=True)(d)
    return [np.asarray(x * d.mask(x.shape, 0.8))], options  # zeros among them


row(ops.Prod, _prod, lambda x, dim, keepdim: x.prod(dim, keepdims=keepdim))


def _cumprod(d: Draw) -> Call:
    (x,), options = along()(d)
    return [np.asarray(x * d.mask(x.shape, 0.8))], options  # zeros among them


row(ops.Cumprod, _cumprod, lambda x, dim: x.cumprod(dim))
row(ops.Cumsum, along(), lambda x, dim: x.cumsum(dim))


# ------------------------------------------------------------------------------ arrangement
def _reshape(d: Draw) -> Call:
    shape = d.shape()
    n = math.prod(shape)
    choices = [(n,), shape[::-1], (1, *shape), (*shape, 1), shape[1:] + shape[:1]]
    return [d.real(shape)], {"shape": d.one_of(*choices)}


row(ops.Reshape, _reshape, lambda x, shape: x.reshape(shape))


def _permute(d: Draw) -> Call:
    x = d.real(d.shape())
    return [x], {"order": tuple(d.any(st.permutations(range(x.ndim))))}


row(ops.Permute, _permute, lambda x, order: np.transpose(x, order))


def _expand(d: Draw) -> Call:
    whole = d.shape()
    return [d.real(d.broadcast(whole))], {"shape": whole}


row(ops.Expand, _expand, lambda x, shape: np.broadcast_to(x, shape))


def _cat(d: Draw) -> Call:
    shape = d.shape(1)
    dim = d.size(0, len(shape) - 1)
    sizes = [d.size(0, 3) for _ in range(d.size(1, 3))]
    return [d.real((*shape[:dim], n, *shape[dim + 1 :])) for n in sizes], {"dim": dim}


row(ops.Cat, _cat, lambda *xs, dim: np.concatenate(xs, dim))


def _split(d: Draw) -> Call:
    shape = d.shape(1)
    dim = d.size(0, len(shape) - 1)
    sizes = [d.size(0, 3) for _ in range(d.size(1, 3))]
    return [d.real((*shape[:dim], sum(sizes), *shape[dim + 1 :]))], {"sizes": sizes, "dim": dim}


row(ops.Split, _split,
    lambda x, sizes, dim: tuple(np.split(x, np.cumsum(sizes)[:-1], dim)))  # fmt: skip


def _flip(d: Draw) -> Call:
    x = d.real(d.shape())
    return [x], {"dims": d.dims(x.ndim)}


row(ops.Flip, _flip, lambda x, dims: np.flip(x, dims))


def _roll(d: Draw) -> Call:
    x = d.real(d.shape(1))
    if d.bool():
        return [x], {"shifts": (d.size(-5, 5),), "dims": None}
    dims = d.dims(x.ndim)
    return [x], {"shifts": tuple(d.size(-5, 5) for _ in dims), "dims": dims}


row(
    ops.Roll, _roll, lambda x, shifts, dims: np.roll(x, shifts[0] if dims is None else shifts, dims)
)


def _triangle(d: Draw) -> Call:
    return [d.real(d.shape(2))], {"diagonal": d.size(-3, 3)}


row(ops.Tril, _triangle, lambda x, diagonal: np.tril(x, diagonal))
row(ops.Triu, _triangle, lambda x, diagonal: np.triu(x, diagonal))


def _pad(d: Draw) -> Call:
    x = d.real(d.shape())
    around = [(d.size(0, 2), d.size(0, 2)) for _ in x.shape]
    return [x], {"before": [b for b, _ in around], "after": [a for _, a in around],
                 "value": d.one_of(0.0, 1.5)}  # fmt: skip


row(ops.Pad, _pad, lambda x, before, after, value: (
    np.pad(x, list(zip(before, after, strict=True)), constant_values=value) if x.ndim else x
))  # fmt: skip


# ----------------------------------------------------------------------------------- picking
def _index(d: Draw) -> Call:
    x = d.real(d.shape())
    return [x], {"index": d.index(x.shape)}


row(ops.Index, _index, lambda x, index: x[index])


def _diagonal(d: Draw) -> Call:
    a, b = d.one_of((0, 1), (1, 0))
    return [d.real(d.shape(2))], {"offset": d.size(-3, 3), "dim1": a, "dim2": b}


row(ops.Diagonal, _diagonal, lambda x, offset, dim1, dim2: np.diagonal(x, offset, dim1, dim2))


def _index_put(d: Draw) -> Call:
    x = d.real(d.shape())
    index = d.index(x.shape)
    spots = np.arange(x.size).reshape(x.shape)[index]
    if len(np.unique(spots)) < spots.size:  # written twice: which value stays is undefined
        index = tuple(slice(None) if hasattr(i, "dtype") else i for i in index) if isinstance(
            index, tuple) else slice(None)  # fmt: skip
    v: Any = d.real(d.broadcast(x[index].shape)) if d.bool() else d.one_of(0.5, 2)
    if d.one_of(*range(4)) == 0 and is_array(v) and 0 < v.ndim == x[index].ndim:
        v = v[None]  # an extra leading dimension of size 1 does no harm
    return [x, v], {"index": index}


def _put(x: Any, v: Any, index: Any) -> Any:
    y = x.copy()
    y[index] = v
    return y


row(ops.IndexPut, _index_put, _put)


def _gather(d: Draw) -> Call:
    x = d.real(d.shape(1, low=1))
    dim = d.size(0, x.ndim - 1)
    shape = [d.size(0, 4) if i == dim else d.size(0, n) for i, n in enumerate(x.shape)]
    return [x, d.whole(tuple(shape), 0, x.shape[dim])], {"dim": dim}


def _gathered(x: Any, ids: Any, dim: int) -> Any:
    part = x[tuple(slice(None) if i == dim else slice(0, n) for i, n in enumerate(ids.shape))]
    return np.take_along_axis(part, ids, dim)


row(ops.Gather, _gather, _gathered)


def _scatter_add(d: Draw) -> Call:
    shape = d.shape(1, low=1)
    index = d.index(shape)
    picked = np.zeros(shape)[index].shape
    return [d.real(picked)], {"shape": shape, "index": index}


def _scattered(x: Any, shape: Any, index: Any) -> Any:
    y = np.zeros(shape)
    np.add.at(y, index, x)
    return y


row(ops.ScatterAdd, _scatter_add, _scattered)


def _scatter_reduce(d: Draw) -> Call:
    shape = d.shape(1, 2, low=1, high=3)
    m = d.size(0, 5)
    index = tuple(d.whole((m,), 0, n) for n in shape)
    n = math.prod(shape)
    numbers = 0.2 * d.rng.permutation(n + m) - 0.1 * (n + m) + 0.05  # no two of them equal
    inputs: list[Any] = [numbers[:n].reshape(shape), numbers[n:]]
    return inputs, {
        "index": index, "reduce": d.one_of("prod", "amax", "amin"), "include_self": d.bool(),
    }  # fmt: skip


def _reduced(x: Any, v: Any, index: Any, reduce: str, include_self: bool) -> Any:
    y, touched = x.copy(), set()
    for place, value in zip(zip(*index, strict=True), v, strict=True):
        both = {"prod": y[place] * value, "amax": max(y[place], value)}
        first = not include_self and place not in touched
        y[place] = value if first else both.get(reduce, min(y[place], value))
        touched.add(place)
    return y


row(ops.ScatterReduce, _scatter_reduce, _reduced)


def _write_view(d: Draw) -> Call:
    x = d.real(d.shape(1))
    index = d.index(x.shape)
    if not np.may_share_memory(x[index], x) or not isinstance(x[index], np.ndarray):
        index = slice(None, None, d.one_of(None, 2))
    return [x, d.real(x[index].shape)], {"index": index}


def _apply_write_view(op: type[Op], x: Any, v: Any, index: Any) -> Any:
    y = x.clone()
    view = y.array[index]
    view[...] = v.array
    return op.apply(y, v, view=view)


row(ops.WriteView, _write_view, _put, apply=_apply_write_view)


def _read_view(d: Draw) -> Call:
    (x, _), options = _write_view(d)
    return [x], {**options, "repeat": d.one_of(None, 1, 2)}


def _part(x: Any, index: Any, repeat: Any) -> Any:
    y = x[index]
    return y if repeat is None else xp_of(x).broadcast_to(y, (repeat, *y.shape))


def _apply_read_view(op: type[Op], x: Any, **options: Any) -> Any:
    y = x.clone()
    return op.apply(y, view=_part(y.array, **options))


row(ops.ReadView, _read_view, _part, apply=_apply_read_view)


# ---------------------------------------------------------------------------------- products
def _matmul(d: Draw) -> Call:
    n, k, m = d.size(), d.size(), d.size()
    a, b = d.broadcast(lead := d.shape(0, 2)), d.broadcast(lead)
    return [d.real((*a, n, k)), d.real((*b, k, m))], {}


row(ops.Matmul, _matmul, np.matmul)


def _invertible(d: Draw, lead: Any, n: int) -> Any:
    """Matrices whose singular values are between 0.5 and 2, det of either sign."""
    q, r = (np.linalg.qr(d.real((*lead, n, n)))[0] for _ in range(2))
    return np.asarray((q * d.rng.uniform(0.5, 2.0, (*lead, 1, n))) @ r)


def _solve(d: Draw) -> Call:
    lead, n = d.shape(0, 2), d.size(1, 4)
    return [_invertible(d, lead, n), d.real((*lead, n, d.size(1, 3)))], {}


row(ops.Solve, _solve, lambda a, b: np.linalg.inv(a) @ b)
row(ops.Logabsdet, lambda d: ([_invertible(d, d.shape(0, 2), d.size(1, 4))], {}),
    lambda a: np.log(np.abs(np.linalg.det(a))))  # fmt: skip

_EQUATIONS = (
    "ij,jk->ik", "bij,bjk->bik", "bhqd,bhkd->bhqk", "i,i->", "i,j->ij", "ij->ji", "ij->i", "ij->",
    "ij,j->i", "ij,ij,ij->ij", "ij,jk,kl->il", "i,->i", "bi,ij,bj->b", "ij,k->i",
)  # fmt: skip


def _einsum(d: Draw) -> Call:
    left, _, output = d.one_of(*_EQUATIONS).partition("->")
    inputs = left.split(",")
    sizes = {c: d.size(0, 3) for c in sorted(set(left) - {","})}
    xs = [d.real(tuple(sizes[c] for c in term)) for term in inputs]
    if d.one_of(*range(3)) == 0:  # a dimension of size 1 broadcasts against its letter
        i = d.size(0, len(xs) - 1)
        if xs[i].ndim and xs[i].shape[0] and sum(inputs[i][0] in t for t in inputs) > 1:
            xs[i] = xs[i][:1]
    return xs, {"inputs": inputs, "output": output}


row(ops.Einsum, _einsum,
    lambda *xs, inputs, output: np.einsum(f"{','.join(inputs)}->{output}", *xs))  # fmt: skip


def _linear(d: Draw) -> Call:
    n_in, n_out = d.size(), d.size()
    b = d.real((n_out,)) if d.bool() else None
    return [d.real((*d.shape(0, 2), n_in)), d.real((n_out, n_in)), b], {}


row(ops.Linear, _linear, twin=True)


def _linear_gelu_linear(d: Draw) -> Call:
    n_in, hidden, n_out = d.size(), d.size(), d.size()
    b, c = (d.real((n,)) if d.bool() else None for n in (hidden, n_out))
    x, w, v = d.real((*d.shape(0, 2), n_in)), d.real((hidden, n_in)), d.real((n_out, hidden))
    return [x, w, b, v, c], {"approximate": d.one_of("none", "tanh")}


row(ops.LinearGeluLinear, _linear_gelu_linear, twin=True)


# -------------------------------------------------------------------------------- activations
row(ops.Relu, away(0.0), twin=True)
row(ops.LeakyRelu, away(0.0, negative_slope=(0.01, 0.3, 0.0)), twin=True)
row(ops.Elu, away(0.0, alpha=(1.0, 0.5, 2.0)), twin=True)
row(ops.Gelu, one(approximate=("none", "tanh")), twin=True)
row(ops.Silu, one(), twin=True)


def _gated(d: Draw) -> Call:
    x = d.real((*d.shape(0, 2), 2 * d.size(0, 4)))
    return [x], {"activation": d.one_of("silu", "gelu", "gelu_tanh")}


row(ops.GatedActivation, _gated, twin=True)
row(ops.Softplus, away(2.5, beta=(1.0, 2.0), threshold=(20.0, 5.0)), twin=True)
row(ops.Logsigmoid, one(), twin=True)


# ------------------------------------------------------------------------- softmax and norms
def over_dim(**options: Any) -> Callable[[Draw], Call]:
    def draw(d: Draw) -> Call:
        x = 3.0 * d.real(d.shape(1, low=1))
        dim = d.size(0, x.ndim - 1)
        if dim and d.one_of(*range(4)) == 0:
            x = x[:0]
        dim -= x.ndim if d.bool() else 0
        return [x], {"dim": dim, **{k: d.one_of(*v) for k, v in options.items()}}

    return draw


row(ops.Softmax, over_dim(), twin=True)
row(ops.LogSoftmax, over_dim(), twin=True)


def _logsumexp(d: Draw) -> Call:
    x = 3.0 * d.real(d.shape(1, low=1))
    dims = d.dims(x.ndim)
    return [x], {"dim": dims[0] if len(dims) == 1 and d.bool() else dims, "keepdim": d.bool()}


row(ops.Logsumexp, _logsumexp, twin=True)


def _norm(with_bias: bool) -> Callable[[Draw], Call]:
    def draw(d: Draw) -> Call:
        c = d.size(1, 5)
        x = d.real((*d.shape(0, 2), c), "distinct")
        w = d.real((c,), "nonzero") if d.bool() else None
        b = [d.real((c,)) if d.bool() else None] if with_bias else []
        return [x, w, *b], {"eps": d.one_of(1e-5, 1e-3)}

    return draw


row(ops.LayerNorm, _norm(True), twin=True)
row(ops.RmsNorm, _norm(False), twin=True)


# ------------------------------------------------------------------------- the model's others
def _embedding(d: Draw) -> Call:
    v = d.size(1, 5)
    return [d.real((v, d.size(0, 4))), d.whole(d.shape(), 0, v)], {}


row(ops.Embedding, _embedding, lambda w, ids: w[ids], twin=TWINS["embedding"])


def _conv1d(d: Draw) -> Call:
    groups, inputs, outputs = d.size(1, 3), d.size(1, 3), d.size(1, 2)
    taps, dilation, stride, padding = d.size(1, 3), d.size(1, 2), d.size(1, 3), d.size(0, 2)
    length = max(1, dilation * (taps - 1) + 1 - 2 * padding) + d.size(0, 4)
    b = d.real((groups * outputs,)) if d.bool() else None
    return [
        d.real((d.size(1, 3), groups * inputs, length)),
        d.real((groups * outputs, inputs, taps)), b,
    ], {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}  # fmt: skip


row(ops.Conv1d, _conv1d, twin=True)


def _grouped_mm(d: Draw) -> Call:
    counts = [d.size(0, 3) for _ in range(d.size(1, 4))]
    k, m = d.size(1, 4), d.size(1, 4)
    return [d.real((sum(counts), k)), d.real((len(counts), k, m)), np.cumsum(counts)], {}


row(ops.GroupedMm, _grouped_mm, twin=True)


def _gated_delta_rule(d: Draw) -> Call:
    shape = (d.size(1, 2), d.size(1, 2), d.size(1, 7))
    K, D = d.size(1, 3), d.size(1, 3)
    numbers = [d.real((*shape, n)) * 0.5 for n in (K, K, D)]
    decay, beta = -d.real(shape, "positive") * 0.2, d.real(shape, "positive") * 0.3
    return [*numbers, decay, beta], {"chunk": d.one_of(1, 2, 4, 64)}


row(ops.GatedDeltaRule, _gated_delta_rule, twin=True)


def _selective_scan(d: Draw) -> Call:
    n_rows, D, T, N = d.size(1, 2), d.size(1, 3), d.size(1, 7), d.size(1, 3)
    delta, a = d.real((n_rows, D, T), "positive") * 0.3, -d.real((D, N), "positive") * 0.5
    read = [d.real((n_rows, N, T)) * 0.5 for _ in "bc"]
    return [d.real((n_rows, D, T)), delta, a, *read], {
        "chunk": d.one_of(1, 2, 4, 16), "parallel": d.bool(),
    }  # fmt: skip


row(ops.SelectiveScan, _selective_scan, twin=True)


def _crf_log_partition(d: Draw) -> Call:
    n_rows, T, K = d.size(0, 3), d.size(1, 5), d.size(1, 4)
    mask = None
    if d.bool():
        mask = d.mask((n_rows, T), 0.7)
        mask[:, 0] = True
    return [d.real((n_rows, T, K)), d.real((K, K)), d.real((K,)), d.real((K,)), mask], {}


row(ops.CrfLogPartition, _crf_log_partition, twin=True)


def _dropout(d: Draw) -> Call:
    p = d.one_of(0.0, 0.1, 0.5, 1.0)
    x = d.real(d.shape())
    return [x, d.mask(x.shape, 1.0 - p)], {"p": p}


row(ops.Dropout, _dropout, twin=True)


def _rope(d: Draw) -> Call:
    t, pairs = d.size(), d.size(0, 3)
    lead = d.shape(0, 2)
    angle = d.real((*d.broadcast(lead), t, pairs))
    x = d.real((*lead, t, 2 * pairs + d.one_of(0, 0, 1, 2)))
    return [x, np.cos(angle), np.sin(angle)], {"interleaved": d.bool()}


row(ops.Rope, _rope, twin=True, constant="cos sin")


def _attention(d: Draw) -> Call:
    n, m, e, dv = d.size(0, 5), d.size(1, 5), d.size(1, 3), d.size(0, 3)
    lead = d.shape(0, 2, low=1, high=2)
    group = d.size(1, 3) if lead else 1
    q_lead = (*lead[:-1], lead[-1] * group) if lead else ()
    q, k, v = d.real((*q_lead, n, e)), d.real((*lead, m, e)), d.real((*lead, m, dv))
    mask, causal = None, d.bool()
    weights = (*q_lead, n, m)
    if not causal and d.bool():
        small = d.broadcast(weights)
        mask = d.mask(small, 0.7) if d.bool() else d.real(small)
    p = d.one_of(0.0, 0.0, 0.5)
    keep = d.mask(weights, 1.0 - p) if p else None
    return [q, k, v, mask, keep], {
        "is_causal": causal, "scale": d.one_of(None, 0.3), "dropout_p": p,
    }  # fmt: skip


row(ops.ScaledDotProductAttention, _attention, twin=True)


# ------------------------------------------------------------------------------------- losses
def _targets(d: Draw, shape: Any, c: int, reduction: str) -> tuple[Any, int]:
    """Class indices, some of them ignored; for a mean at least one is kept."""
    ignored = d.one_of(-100, -1, 0)
    t = d.whole(shape, 0, c)
    t = np.where(d.mask(shape, 0.3), ignored, t)
    if reduction == "mean" and t.size and (t == ignored).all():
        t.flat[0] = c - 1 if ignored != c - 1 else max(c - 2, 0)
    return t, ignored


def _classes(smoothing: bool, reductions: Any = ("mean", "sum", "none")) -> Any:
    def draw(d: Draw) -> Call:
        c, reduction = d.size(2, 4), d.one_of(*reductions)
        shape = d.shape(0, 2, low=1 if reduction == "mean" else 0)
        t, ignored = _targets(d, shape, c, reduction)
        w = d.real((c,), "positive") if d.bool() else None
        options = {"ignore_index": ignored, "reduction": reduction}
        if smoothing:
            options["label_smoothing"] = d.one_of(0.0, 0.1, 1.0)
        return [2.0 * d.real((*shape, c)), np.asarray(t), w], options

    return draw


row(ops.CrossEntropy, _classes(True), twin=True, constant="w")
row(ops.NllLoss, _classes(False), twin=True, constant="w")


def _linear_cross_entropy(d: Draw) -> Call:
    (x, t, class_weight), options = _classes(True, ("mean", "sum"))(d)
    c, i = x.shape[-1], d.size(1, 4)
    b = d.real((c,)) if d.bool() else None
    return [d.real((*t.shape, i)), d.real((c, i)), t, b, class_weight], options


row(ops.LinearCrossEntropy, _linear_cross_entropy, twin=True, constant="class_weight")
row(ops.MseLoss, two(numbers=()), twin=True)


def _probabilities(d: Draw) -> Call:
    shape = d.shape()
    return [d.real(shape, "unit"), d.real(shape, "unit")], {}


row(ops.BinaryCrossEntropy, _probabilities, twin=True)


def _logits(d: Draw) -> Call:
    whole = d.shape()
    x, t = np.asarray(2.0 * d.real(whole)), d.real(whole, "unit")
    return [x, t, *([d.real(d.broadcast(whole), "positive")] if d.bool() else [])], {}


row(ops.BinaryCrossEntropyWithLogits, _logits, twin=True, constant="w")


def _kl_div(d: Draw) -> Call:
    a, b = d.two_shapes()
    log_target = d.bool()
    return [d.real(a), d.real(b) if log_target else d.real(b, "unit")], {"log_target": log_target}


row(ops.KlDiv, _kl_div, twin=True)


def on_device(value: Any, like: Any) -> Any:
    """Arrays on the device of `like`, also within tuples and dicts; everything else unchanged."""
    if isinstance(value, np.ndarray):
        return xp_of(like).asarray(value)
    if isinstance(value, tuple | list):
        return type(value)(on_device(v, like) for v in value)
    if isinstance(value, dict):
        return {k: on_device(v, like) for k, v in value.items()}
    return value
