"""Every op through PyTorch's names and arguments, against PyTorch.

The layers' functions are in test_nn_ops.py. A row names the ops that it tests; tests assert that
these really ran, and that the rows and test_nn_ops.py together cover every op.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from draw import Draw
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from tinygrad_llm.autograd.engine import OPS  # noqa: E402

from .compared import agree  # noqa: E402

# Ops that test_nn_ops.py compares, and those that programs of views use (test_inplace.py).
ELSEWHERE = set(
    "relu leaky_relu elu gelu silu gated_activation softplus logsigmoid softmax log_softmax "
    "layer_norm rms_norm "
    "linear linear_gelu_linear "
    "embedding dropout rope scaled_dot_product_attention cross_entropy linear_cross_entropy "
    "nll_loss mse_loss binary_cross_entropy binary_cross_entropy_with_logits kl_div pad "
    "write_view read_view move conv1d grouped_mm gated_delta_rule "
    "selective_scan crf_log_partition "
    "solve logabsdet".split()
)

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*degrees of freedom"),
    pytest.mark.filterwarnings("ignore::RuntimeWarning"),  # NumPy's, of nan and infinity
]

ROWS: dict[str, tuple[set[str], Any]] = {}


def row(names: str, ops: str | None = None) -> Any:
    """Enter a drawing function under each name; it gets a Draw, the name and a dtype."""

    def enter(draw: Any) -> Any:
        for name in names.split():
            ROWS[name] = (set((name if ops is None else ops).split()), draw)
        return draw

    return enter


def real(d: Draw, shape: Any, dtype: str, domain: str = "normal") -> np.ndarray:
    return d.real(shape, domain).astype(dtype)


def any_dim(d: Draw, ndim: int) -> int:
    """A dimension, counted from the front or the back; sometimes one that does not exist."""
    if d.one_of(*range(20)) == 0:
        return d.one_of(ndim + 1, -ndim - 2)
    n = max(ndim, 1)
    return d.size(-n, n - 1)


def any_dims(d: Draw, ndim: int) -> Any:
    """None, one dimension, or several."""
    if ndim == 0 or d.one_of(0, 1, 2) == 0:
        return d.one_of(None, 0, -1) if ndim == 0 else None
    dims = d.dims(ndim, least=1)
    dims = tuple(i - ndim if d.bool() else i for i in dims)
    return dims[0] if len(dims) == 1 and d.bool() else dims


# ------------------------------------------------------------------------------ element by element
UNARY = {
    "neg": "normal", "exp": "normal", "expm1": "normal", "log": "positive", "log1p": "positive",
    "log2": "positive", "log10": "positive", "sqrt": "positive", "rsqrt": "positive",
    "reciprocal": "nonzero", "tanh": "normal", "sigmoid": "normal", "sin": "normal",
    "cos": "normal", "erf": "normal", "abs": "normal", "clone": "normal",
}  # fmt: skip


@row(" ".join(UNARY))
def _unary(d, name, dtype):
    if name not in ("neg", "abs", "clone") and d.one_of(*range(6)) == 0:  # integers become floats
        return [d.whole(d.shape(), 1, 4)], lambda t, x: getattr(t, name)(x)
    return [real(d, d.shape(), dtype, UNARY[name])], lambda t, x: getattr(t, name)(x)


@row("tan", "mul")
def _tan(d, name, dtype):
    return [real(d, d.shape(), dtype)], lambda t, x: t.tan(x)


@row("floor ceil round trunc sign frac", "step")
def _step(d, name, dtype):
    return [d.away(d.shape(), *np.arange(-6, 6.5, 0.5)).astype(dtype)], lambda t, x: getattr(
        t, name
    )(x)


BINARY = {
    "add": lambda x, y: x + y, "sub": lambda x, y: x - y, "mul": lambda x, y: x * y,
    "div": lambda x, y: x / y,
}  # fmt: skip


@row("add sub mul div")
def _binary(d, name, dtype):
    a, b = d.two_shapes()
    xs: list[Any] = [real(d, a, dtype), real(d, b, dtype, "nonzero")]
    kind = d.one_of("tensors", "tensors", "number", "integers", "mixed", "method")
    if kind == "number":
        xs[d.size(0, 1)] = d.one_of(2, -0.5, True, 10**6)
    elif kind == "integers":
        xs = [d.whole(a, -5, 6), d.whole(b, 1, 6)]
    elif kind == "mixed":
        xs[d.size(0, 1)] = d.whole(b, 1, 6) if d.bool() else real(d, b, "float64", "positive")
    elif kind == "method" and name in ("add", "sub"):
        return xs, lambda t, x, y: getattr(t, name)(x, y, alpha=0.5)
    return xs, lambda t, x, y: BINARY[name](x, y)


@row("does_not_broadcast", "add")
def _does_not_broadcast(d, name, dtype):
    xs = [real(d, (2, 3), dtype), real(d, d.one_of((4,), (3, 2), (2, 3)), dtype)]
    return xs, lambda t, x, y: x + y


@row("pow")
def _pow(d, name, dtype):
    a, b = d.two_shapes()
    kind = d.one_of("number", "number", "tensors", "base", "integers")
    if kind == "number":
        p = d.one_of(2, 3, 0.5, -1, -0.5, 1, 0, 4, 2.5, -2)
        x = real(d, a, dtype, "nonzero" if isinstance(p, int) else "positive")
        return [x], lambda t, x: x**p
    if kind == "base":
        return [real(d, a, dtype)], lambda t, x: 2.5**x
    if kind == "integers":
        return [d.whole(a, -3, 4)], lambda t, x: x**3
    return [real(d, a, dtype, "positive"), real(d, b, dtype)], lambda t, x, y: t.pow(x, y)


@row("remainder fmod", "remainder")
def _remainder(d, name, dtype):
    x = d.away(d.shape(), *range(-9, 10)).astype(dtype)
    y = d.one_of(1.0, 2, -1.0)
    if d.bool():
        return [x, np.full(x.shape, y, dtype)], lambda t, x, y: getattr(t, name)(x, y)
    return [x], lambda t, x: getattr(t, name)(x, y)


@row("floor_divide div_trunc div_floor", "")
def _floor_divide(d, name, dtype):
    x = d.away(d.shape(), *range(-9, 10)).astype(dtype)
    mode = name.partition("_")[2]
    if name == "floor_divide":
        return [x], lambda t, x: x.detach() // 2.0
    return [x], lambda t, x: t.div(x, 2.0, rounding_mode=mode)


@row("maximum minimum")
def _extremes(d, name, dtype):
    a, b = d.two_shapes()
    if d.bool():  # with ties
        xs = [d.whole(a, 0, 3).astype(dtype), d.whole(b, 0, 3).astype(dtype)]
    else:
        xs = [real(d, a, dtype), real(d, b, dtype)]
    return xs, lambda t, x, y: getattr(t, name)(x, y)


@row("clamp")
def _clamp(d, name, dtype):
    low, high = d.one_of((-0.5, 0.7), (None, 0.3), (-0.2, None), (0, 1), (1, 0), (None, None))
    x = d.whole(d.shape(), -2, 3) * 0.5  # values at the bounds among them
    if d.one_of(0, 1, 2):
        return [x.astype(dtype)], lambda t, x: x.clamp(low, high)
    return [x.astype(dtype), real(d, x.shape, dtype)], lambda t, x, y: t.clamp(x, min=y)


ROWS["clamp"] = ({"clamp", "where"}, _clamp)


@row("where")
def _where(d, name, dtype):
    whole = d.shape()
    condition = d.mask(d.broadcast(whole))
    x, y = real(d, d.broadcast(whole), dtype), real(d, whole, dtype)
    kind = d.one_of("tensors", "number", "integers")
    if kind == "number":
        return [condition, y], lambda t, c, y: t.where(c, 0.5, y)
    if kind == "integers":
        return [condition, d.whole(whole, 0, 5), y], lambda t, c, x, y: t.where(c, x, y)
    return [condition, x, y], lambda t, c, x, y: x.where(c, y)


@row("masked_fill")
def _masked_fill(d, name, dtype):
    x, mask = d.two_shapes()
    if d.bool():
        return [real(d, x, dtype), d.mask(mask), real(d, (), dtype)], (
            lambda t, x, m, v: x.masked_fill(m, v)
        )
    value = d.one_of(0.0, -3, float("-inf"))
    return [real(d, x, dtype), d.mask(mask)], lambda t, x, m: x.masked_fill(m, value)


@row("lerp addcmul addcdiv", "add mul")
def _three(d, name, dtype):
    shape = d.shape()
    xs = [real(d, shape, dtype), real(d, d.broadcast(shape), dtype),
          real(d, shape, dtype, "positive")]  # fmt: skip
    if name == "lerp":
        return xs[:2], lambda t, x, y: t.lerp(x, y.expand(x.shape), 0.3)
    return xs, lambda t, x, y, z: getattr(t, name)(x, y, z, value=0.5)


@row("cast")
def _cast(d, name, dtype):
    to = d.one_of("float64", "float32", "float16", "int64", "bool")
    return [real(d, d.shape(), dtype, "distinct")], lambda t, x: x.to(getattr(t, to))


SPECIAL = [0.0, 1.0, -1.0, 0.5, -2.5, 3.0, 1e-30, 100.0, float("inf"), float("-inf"), float("nan")]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "name",
    "exp log log1p log2 log10 sqrt rsqrt reciprocal tanh sigmoid sin cos erf abs sign floor ceil "
    "round trunc expm1 square".split(),
)
def test_special_values(name, dtype):
    """Zero, infinities and nan, forward and backward."""
    values = SPECIAL[:-1] if name == "abs" else SPECIAL  # |nan| has the gradient nan here, 0 there
    agree(torch, lambda t, x: getattr(t, name)(x), np.array(values, dtype))


@pytest.mark.parametrize("p", [2, 3, 0.5, 0, 1, -1, -0.5, 2.5])
def test_special_values_of_powers(p):
    agree(torch, lambda t, x: x**p, np.array(SPECIAL))
    agree(torch, lambda t, x, y: x**y, np.array(SPECIAL), np.full(len(SPECIAL), float(p)))


@pytest.mark.parametrize("name", ["maximum", "minimum", "mul", "div", "add", "sub"])
def test_special_values_of_pairs(name):
    x, y = np.meshgrid(SPECIAL, SPECIAL)
    agree(torch, lambda t, x, y: getattr(t, name)(x, y), x.copy(), y.copy())


# ------------------------------------------------------------------------ many elements into one
@row("sum mean")
def _sum(d, name, dtype):
    x = real(d, d.shape(), dtype)
    dim, keep = any_dims(d, x.ndim), d.bool()
    if d.one_of(*range(5)) == 0:
        x = d.whole(x.shape, -3, 4) if d.bool() else d.mask(x.shape)
    if dim is None and d.bool():
        return [x], lambda t, x: getattr(x, name)()
    if name == "sum" and d.bool():
        return [x], lambda t, x: x.sum(dim=dim, keepdim=keep, dtype=t.float64)
    return [x], lambda t, x: getattr(t, name)(x, dim=dim, keepdim=keep)


@row("var std")
def _var(d, name, dtype):
    x = real(d, d.shape(low=1), dtype, "distinct")
    dim, keep = any_dims(d, x.ndim), d.bool()
    how = d.one_of({}, {"unbiased": False}, {"correction": 0}, {"correction": 0.5}, {"unbiased": 1})
    if "unbiased" in how:
        how = {"unbiased": bool(how["unbiased"])}
    return [x], lambda t, x: getattr(t, name)(x, dim, keepdim=keep, **how)


@row("amax amin", "extreme")
def _amax(d, name, dtype):
    x = d.whole(d.shape(), 0, 3).astype(dtype)  # ties share
    dim, keep = any_dims(d, x.ndim), d.bool()
    dim = () if dim is None else dim
    return [x], lambda t, x: getattr(x, name)(dim, keepdim=keep)


@row("max min", "extreme gather")
def _max(d, name, dtype):
    x = d.whole(d.shape(), 0, 3).astype(dtype) if d.bool() else real(d, d.shape(), dtype)
    if d.one_of(0, 1, 2) == 0:
        return [x], lambda t, x: getattr(t, name)(x)
    dim, keep = any_dim(d, x.ndim), d.bool()
    return [x], lambda t, x: getattr(x, name)(dim, keepdim=keep)


@row("argmax argmin", "")
def _argmax(d, name, dtype):
    x = d.whole(d.shape(), 0, 4).astype(dtype)
    dim, keep = d.one_of(None, any_dim(d, x.ndim)), d.bool()
    return [x], lambda t, x: getattr(t, name)(x, dim=dim, keepdim=keep)


@row("all any", "")
def _all(d, name, dtype):
    x = d.mask(d.shape(), 0.7)
    if d.bool():
        return [x], lambda t, x: getattr(x, name)()
    dim, keep = any_dim(d, x.ndim), d.bool()
    return [x], lambda t, x: getattr(x, name)(dim, keepdim=keep)


@row("sort topk", "gather")
def _sort(d, name, dtype):
    x = real(d, d.shape(1), dtype, "distinct")
    dim, high = any_dim(d, x.ndim), d.bool()
    if name == "sort":
        return [x], lambda t, x: x.sort(dim, descending=high)
    k = d.size(0, 4)
    return [x], lambda t, x: x.topk(k, dim, largest=high)


@row("argsort", "")
def _argsort(d, name, dtype):
    x = d.whole(d.shape(1), 0, 3).astype(dtype)
    dim, high = any_dim(d, x.ndim), d.bool()
    return [x], lambda t, x: t.argsort(x, dim=dim, descending=high, stable=True)


@row("median", "")
def _median(d, name, dtype):
    x = real(d, d.shape(1, low=1), dtype, "distinct")
    if d.bool():
        return [x], lambda t, x: t.median(x)
    dim, keep = any_dim(d, x.ndim), d.bool()
    return [x], lambda t, x: x.median(dim, keepdim=keep)


@row("cumsum")
def _cumsum(d, name, dtype):
    x = real(d, d.shape(), dtype) if d.bool() else d.whole(d.shape(), -3, 4)
    dim = any_dim(d, x.ndim)
    return [x], lambda t, x: x.cumsum(dim)


@row("cumprod")
def _cumprod(d, name, dtype):
    x = real(d, d.shape(), dtype) if d.bool() else d.whole(d.shape(), -3, 4)
    dim = any_dim(d, x.ndim)
    return [x], lambda t, x: x.cumprod(dim)


@row("prod")
def _prod(d, name, dtype):
    x = (d.real(d.shape()) * d.mask((), 0.7)).astype(dtype)
    x = np.asarray(x * d.mask(x.shape, 0.8), dtype)  # zeros among them
    if d.bool():
        return [x], lambda t, x: x.prod()
    dim, keep = any_dim(d, x.ndim), d.bool()
    return [x], lambda t, x: t.prod(x, dim, keepdim=keep)


@row("norm")
def _norm(d, name, dtype):
    x = real(d, d.shape(low=1), dtype, "nonzero")
    dim, keep = any_dims(d, x.ndim), d.bool()
    p = d.one_of(2, 2, 2.0, 1, 3, float("inf"), 0.5)
    if p != 2 and d.bool():
        dim = None
    return [x], lambda t, x: t.norm(x, p, dim, keep) if dim is not None else x.norm(p)


@row("logsumexp")
def _logsumexp(d, name, dtype):
    x = real(d, d.shape(1, low=1), dtype)
    dim, keep = any_dims(d, x.ndim), d.bool()
    dim = 0 if dim is None else dim
    return [x], lambda t, x: t.logsumexp(x, dim, keepdim=keep)


# --------------------------------------------------------------------------------- arrangement
@row("reshape view flatten squeeze unsqueeze", "reshape")
def _reshape(d, name, dtype):
    shape = d.shape()
    x = real(d, shape, dtype)
    if name in ("reshape", "view"):
        n = int(np.prod(shape))
        new = d.one_of((n,), (-1,), shape[::-1], (1, *shape), (*shape, -1), (-1, 2), (3, 5))
        if new == () or d.bool():
            return [x], lambda t, x: getattr(x, name)(new)
        return [x], lambda t, x: getattr(x, name)(*new)
    if name == "flatten":
        a, b = any_dim(d, x.ndim), any_dim(d, x.ndim)
        return [x], lambda t, x: t.flatten(x, a, b)
    if name == "squeeze":
        if d.bool():
            return [x], lambda t, x: x.squeeze()
        dim = any_dim(d, x.ndim)
        return [x], lambda t, x: x.squeeze(dim)
    dim = d.size(-x.ndim - 2, x.ndim + 1)
    return [x], lambda t, x: x.unsqueeze(dim)


@row("transpose permute movedim T mT", "permute")
def _permute(d, name, dtype):
    x = real(d, d.shape(2 if name == "mT" else 1), dtype)
    n = x.ndim
    order = [i - n if d.bool() else i for i in d.any(st.permutations(range(n)))]
    if name == "transpose":
        a, b = any_dim(d, n), any_dim(d, n)
        return [x], lambda t, x: x.transpose(a, b)
    if name == "permute":
        return [x], lambda t, x: x.permute(*order)
    if name == "movedim":
        return [x], lambda t, x: t.movedim(x, order[0], order[-1])
    if name == "T":
        return [x[:, None] if x.ndim == 1 else x.reshape(x.shape[0], -1) if x.size else x[..., 0:0]
                .reshape(0, 0)], lambda t, x: x.T  # fmt: skip
    return [x], lambda t, x: x.mT


@row("expand repeat repeat_interleave", "expand")
def _expand(d, name, dtype):
    whole = d.shape()
    x = real(d, d.broadcast(whole), dtype)
    if name == "expand":
        sizes = [-1 if i >= len(whole) - x.ndim and d.bool() else n for i, n in enumerate(whole)]
        return [x], lambda t, x: x.expand(sizes)
    if name == "repeat":
        times = [d.size(0, 3) for _ in range(d.size(max(0, x.ndim - 1), x.ndim + 1))]
        return [x], lambda t, x: x.repeat(*times) if times else x.repeat(())
    n, dim = d.size(0, 3), d.one_of(None, any_dim(d, x.ndim))
    return [x], lambda t, x: x.repeat_interleave(n, dim)


ROWS["repeat_interleave"] = ({"index"}, _expand)


@row("cat stack", "cat")
def _cat(d, name, dtype):
    shape = d.shape(1)
    dim = any_dim(d, len(shape)) if len(shape) > 1 else 0  # PyTorch accepts empty vectors
    at = dim % len(shape) if -len(shape) <= dim < len(shape) else 0
    sizes = [d.size(0, 3) for _ in range(d.size(1, 3))]
    if name == "stack" or d.bool():
        sizes = [shape[at]] * len(sizes)
    kinds = [dtype, dtype, "float64"]
    xs = [real(d, (*shape[:at], n, *shape[at + 1 :]), kinds[i] if d.bool() else dtype)
          for i, n in enumerate(sizes)]  # fmt: skip
    return xs, lambda t, *xs: getattr(t, name)(xs, dim)


@row("split chunk unbind", "split")
def _split(d, name, dtype):
    x = real(d, d.shape(1), dtype)
    dim, n = any_dim(d, x.ndim), d.size(1, 3)
    if name == "unbind":
        return [x], lambda t, x: x.unbind(dim)
    if name == "split" and d.bool():
        sizes = [d.size(0, 2) for _ in range(2)]
        if -x.ndim <= dim < x.ndim and d.bool():
            sizes.append(max(x.shape[dim] - sum(sizes), 0))
        return [x], lambda t, x: x.split(sizes, dim)
    return [x], lambda t, x: getattr(x, name)(n, dim)


@row("flip roll tril triu")
def _flip(d, name, dtype):
    x = real(d, d.shape(2), dtype)
    if name == "flip":
        dims = any_dims(d, x.ndim)
        dims = () if dims is None else dims
        return [x], lambda t, x: t.flip(x, dims if isinstance(dims, tuple) else (dims,))
    if name == "roll":
        if d.bool():
            return [x], lambda t, x: t.roll(x, 3)
        return [x], lambda t, x: x.roll((1, -2), (0, -1))
    k = d.size(-4, 4)
    return [x], lambda t, x: getattr(x, name)(k)


@row("narrow select", "index")
def _narrow(d, name, dtype):
    x = real(d, d.shape(1), dtype)
    dim, start, length = any_dim(d, x.ndim), d.size(-1, 3), d.size(0, 3)
    if name == "select":
        return [x], lambda t, x: x.select(dim, start)
    return [x], lambda t, x: x.narrow(dim, max(start, 0), length)


# ------------------------------------------------------------------------------------- picking
def as_tensors(t: Any, index: Any) -> Any:
    """An index with its arrays as tensors of the library."""
    if isinstance(index, np.ndarray):
        return t.from_numpy(index.copy())
    if isinstance(index, tuple):
        return tuple(as_tensors(t, i) for i in index)
    return index


@row("index")
def _index(d, name, dtype):
    x = real(d, d.shape(), dtype)
    index = d.index(x.shape)
    return [x], lambda t, x: x[as_tensors(t, index)]


@row("index_put", "index_put")
def _index_put(d, name, dtype):
    x = real(d, d.shape(), dtype)
    index = d.index(x.shape)
    spots = np.arange(x.size).reshape(x.shape)[index]
    v: Any = real(d, d.broadcast(spots.shape), dtype)
    if d.bool() or len(np.unique(spots)) < spots.size:  # written twice: undefined which stays
        v = 0.5

    def put(t, x, v):
        y = x.clone()
        y[as_tensors(t, index)] = v
        return y

    return [x, v], put


@row("gather")
def _gather(d, name, dtype):
    x = real(d, d.shape(1, low=1), dtype)
    dim = d.size(-x.ndim, x.ndim - 1)
    shape = tuple(d.size(0, 4) if i == dim % x.ndim else d.size(0, n)
                  for i, n in enumerate(x.shape))  # fmt: skip
    ids = d.whole(shape, 0, x.shape[dim] + (d.one_of(*range(9)) == 0))
    return [x, ids], lambda t, x, ids: x.gather(dim, ids)


@row("scatter_add scatter index_add", "scatter_add")
def _scatter(d, name, dtype):
    x = real(d, d.shape(1, low=1), dtype)
    dim = d.size(-x.ndim, x.ndim - 1)
    if name == "index_add":
        ids = d.whole((d.size(0, 4),), 0, x.shape[dim])
        shape = list(x.shape)
        shape[dim] = len(ids)
        return [x, ids, real(d, tuple(shape), dtype)], lambda t, x, ids, s: x.index_add(
            dim, ids, s, alpha=3
        )
    shape = tuple(d.size(0, n) for n in x.shape)
    ids = d.whole(shape, 0, x.shape[dim])
    if name == "scatter":
        return [x, ids], lambda t, x, ids: x.scatter(dim, ids, 0.5)
    return [x, ids, real(d, shape, dtype)], lambda t, x, ids, s: x.scatter_add(dim, ids, s)


ROWS["scatter"] = ({"index_put"}, _scatter)


@row("scatter_reduce", "scatter_reduce")
def _scatter_reduce(d, name, dtype):
    x = real(d, d.shape(1, 2, low=1), dtype)
    dim = d.size(-x.ndim, x.ndim - 1)
    shape = tuple(d.size(1, n) for n in x.shape)
    ids, s = d.whole(shape, 0, x.shape[dim]), real(d, shape, dtype)
    how, include_self = d.one_of("prod", "amax", "amin"), d.bool()
    return [x, ids, s], lambda t, x, ids, s: x.scatter_reduce(
        dim, ids, s, how, include_self=include_self
    )


@row("index_select masked_select take take_along_dim", "index")
def _select(d, name, dtype):
    x = real(d, d.shape(1, low=1), dtype)
    dim = d.size(-x.ndim, x.ndim - 1)
    if name == "index_select":
        ids = d.whole((d.size(0, 4),), 0, x.shape[dim])
        return [x, ids], lambda t, x, ids: x.index_select(dim, ids)
    if name == "masked_select":
        return [x, d.mask(d.broadcast(x.shape))], lambda t, x, m: x.masked_select(m)
    if name == "take":
        return [x, d.whole(d.shape(), 0, x.size)], lambda t, x, ids: t.take(x, ids)
    order = np.argsort(x, dim)
    return [x, order], lambda t, x, ids: t.take_along_dim(x, ids, dim)


ROWS["take_along_dim"] = ({"gather"}, _select)


@row("diagonal diag trace", "diagonal")
def _diagonal(d, name, dtype):
    k = d.size(-3, 3)
    if name == "diagonal":
        x = real(d, d.shape(2), dtype)
        a, b = d.one_of((0, 1), (-1, -2), (1, 0))
        return [x], lambda t, x: x.diagonal(k, a, b)
    x = real(d, (d.size(), d.size()) if name == "trace" or d.bool() else (d.size(),), dtype)
    return [x], lambda t, x: t.diag(x, k) if name == "diag" else t.trace(x)


# ------------------------------------------------------------------------------------ products
@row("matmul")
def _matmul(d, name, dtype):
    n, k, m = d.size(), d.size(), d.size()
    lead = d.shape(0, 2)
    a = d.one_of((k,), (n, k), (*d.broadcast(lead), n, k), (n, k + (d.one_of(*range(9)) == 0)))
    b = d.one_of((k,), (k, m), (*d.broadcast(lead), k, m), (2, k, m))
    return [real(d, a, dtype), real(d, b, dtype)], lambda t, x, y: x @ y


@row("mm bmm mv dot addmm baddbmm outer", "")
def _products(d, name, dtype):
    b, n, k, m = d.size(), d.size(), d.size(), d.size()
    wrong = d.one_of(*range(9)) == 0
    shapes = {
        "mm": [(n, k), (k, m)], "bmm": [(b, n, k), (b, k, m)], "mv": [(n, k), (k + wrong,)],
        "dot": [(n,), (n + wrong,)], "outer": [(n,), (m,)],
        "addmm": [d.one_of((n, m), (m,), (1,)), (n, k), (k, m)],
        "baddbmm": [(b, n, m), (b, n, k), (b, k, m)],
    }[name]  # fmt: skip
    more = {"beta": d.one_of(1, 0.5), "alpha": d.one_of(1, 2)} if name.endswith("mm") and (
        name.startswith(("add", "badd"))) else {}  # fmt: skip
    return [real(d, s, dtype) for s in shapes], lambda t, *xs: getattr(t, name)(*xs, **more)


EQUATIONS = (
    "ij,jk->ik", "ij,jk", "bij,bjk->bik", "bhqd,bhkd->bhqk", "i,i->", "i,i", "i,j->ij", "ij->ji",
    "ji", "ij->i", "ij->", "ij,j->i", "ij,ij,ij->ij", "ij,jk,kl->il", "bi,ij,bj->b", "ij,k->i",
    "ii->i", "ii", "iji->j", "...i,...i->...", "...ij,...jk->...ik", "i...,ij->j...", "bij,kj->bik",
)  # fmt: skip


@row("einsum")
def _einsum(d, name, dtype):
    equation = d.one_of(*EQUATIONS)
    sizes = {c: d.size(1, 3) for c in "ijklbhqd"}
    lead = d.shape(0, 2, low=1)
    xs = []
    for term in equation.partition("->")[0].split(","):
        before, dots, after = term.partition("...")
        middle = lead if dots else ()
        xs.append((*[sizes[c] for c in before], *middle, *[sizes[c] for c in after]))
    return [real(d, s, dtype) for s in xs], lambda t, *xs: t.einsum(equation, *xs)


# --------------------------------------------------------------------------------------- run it
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ROWS)
def test_agrees_with_pytorch(name, dtype):
    about, draw = ROWS[name]
    seen: set[str] = set()

    @given(st.data())
    def on(data):
        arrays, fn = draw(Draw(data.draw), name, dtype)
        seen.update(agree(torch, fn, *arrays))

    on()
    assert about <= seen, f"{about - seen} took no part"


def test_every_op_is_compared():
    compared = set().union(*[about for about, _ in ROWS.values()]) | ELSEWHERE
    assert set(OPS) <= compared, set(OPS) - compared
    assert ELSEWHERE <= set(OPS)


def in_half(fn: Any, half: str) -> Any:
    """The same on tensors cast to half precision; the gradient passes the cast."""

    def run(t, *xs):
        to = getattr(t, half)
        small = [x.to(to) if isinstance(x, t.Tensor) and x.dtype == t.float32 else x for x in xs]
        return fn(t, *small)

    return run


@pytest.mark.parametrize("half", ["float16", "bfloat16"])
@pytest.mark.parametrize("name", ROWS)
def test_half_precision(name, half):
    """Half precision in, half precision out, and backward raises nothing."""
    draw = ROWS[name][1]

    @settings(max_examples=settings().max_examples // 2)
    @given(st.data())
    def on(data):
        arrays, fn = draw(Draw(data.draw), name, "float32")
        agree(torch, in_half(fn, half), *arrays)

    on()
