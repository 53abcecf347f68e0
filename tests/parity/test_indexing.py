"""x[index] read, written and differentiated as in PyTorch, and the functions that do the same."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import tinygrad_llm

torch = pytest.importorskip("torch")

from .compared import agree  # noqa: E402
from .index_programs import difference, program  # noqa: E402

X = np.arange(60.0, dtype="float32").reshape(3, 4, 5)
Y = np.linspace(-2.0, 3.0, 12).reshape(3, 4)  # float64
V = np.arange(6)


def check_programs(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    for _ in range(n):
        p = program(rng)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            text = difference(tinygrad_llm, torch, p)
        assert not text, f"{p}\n{text}"


@pytest.mark.parametrize("seed", range(4))
def test_random_indices(seed):
    check_programs(seed, 600)


@pytest.mark.slow
@pytest.mark.ci
@pytest.mark.parametrize("seed", range(10, 20))
def test_many_more_random_indices(seed):
    check_programs(seed, 4_000)


def ids(t, *numbers):
    return t.tensor(numbers)


def mask(t, *bits):
    return t.tensor([bool(b) for b in bits])


def byte(t, *bits):
    return t.tensor(bits, dtype=t.uint8)


# Each takes the library and a tensor of shape (3, 4, 5).
READS = {
    "int, slice, ids": lambda t, x: x[0, :, ids(t, 0, 1)],
    "int, None, ids": lambda t, x: x[1, None, ids(t, 3, 0, 3)],
    "ids, slice, int": lambda t, x: x[ids(t, 2, 0), :, -1],
    "int, ellipsis, ids": lambda t, x: x[-1, ..., ids(t, 4, 4)],
    "ids, int, ids": lambda t, x: x[ids(t, 0, 2), 1, ids(t, 3, 3)],
    "0-d tensor, slice, ids": lambda t, x: x[t.tensor(2), 1:, ids(t, 0, 4)],
    "int, slice, list": lambda t, x: x[1, ::2, [0, 2]],
    "int, slice, mask": lambda t, x: x[2, :, mask(t, 1, 0, 1, 0, 1)],
    "int, slice, matrix of ids": lambda t, x: x[0, 1:3, t.tensor([[0, 1], [2, 2]])],
    "mask, slice, int": lambda t, x: x[mask(t, 1, 0, 1), :2, 0],
    "None, int, slice, ids": lambda t, x: x[None, 0, :, ids(t, 1, 1)],
    "int, slice, range": lambda t, x: x[0, :, range(2)],
    "NumPy int, slice, NumPy ids": lambda t, x: x[np.int64(0), :, np.array([1, 0])],
    "ids apart": lambda t, x: x[ids(t, 0, 1), :, ids(t, 2, 3)],
    "matrix mask": lambda t, x: x[x[..., 0] > 20],
    "matrix mask, slice": lambda t, x: x[x[..., 0] > 20, 1:3],
    "mask and ids": lambda t, x: x[mask(t, 1, 0, 1), ids(t, 1, 3)],
    "0-d mask": lambda t, x: x[t.tensor(True)],
    "0-d mask, False": lambda t, x: x[t.tensor(False)],
    "True": lambda t, x: x[True],
    "False, int": lambda t, x: x[False, 0],
    "int, True, ids": lambda t, x: x[0, True, ids(t, 1, 1)],
    "0-d byte": lambda t, x: x[t.tensor(1, dtype=t.uint8)],
    "0-d of 0-d": lambda t, x: x[0, 0, 0][x[0, 0, 0] < 9],
    "0-d tensor and None": lambda t, x: x[0, 0, 1][None],
    "0-d tensor and ()": lambda t, x: x[0, 0, 1][()],
    "0-d NumPy mask": lambda t, x: x[np.array(True)],
    "bytes": lambda t, x: x[byte(t, 1, 0, 1)],
    "bytes in the middle": lambda t, x: x[:, byte(t, 0, 0, 1, 1)],
    "bytes of two dims": lambda t, x: x[(x[..., 0] > 20).to(t.uint8)],
    "bytes above 1": lambda t, x: x[byte(t, 7, 0, 255)],
    "NumPy bytes": lambda t, x: x[np.array([0, 1, 1], np.uint8)],
    "bytes and ids": lambda t, x: x[byte(t, 1, 0, 1), ids(t, 1, 3)],
    "bytes, none set": lambda t, x: x[byte(t, 0, 0, 0)],
    "bytes, wrong size": lambda t, x: x[byte(t, 1, 0)],
    "int8": lambda t, x: x[t.tensor([0, 1], dtype=t.int8)],
    "int16": lambda t, x: x[:, t.tensor([0, 1], dtype=t.int16)],
    "int32": lambda t, x: x[:, t.tensor([0, -1], dtype=t.int32)],
    "0-d int8": lambda t, x: x[t.tensor(-1, dtype=t.int8)],
    "NumPy int8": lambda t, x: x[np.array([0, 1], np.int8)],
    "floats": lambda t, x: x[t.tensor([0.0])],
    "float": lambda t, x: x[1.0],
    "text": lambda t, x: x["a"],
    "a dict": lambda t, x: x[{}],
    "np.bool_": lambda t, x: x[np.bool_(True)],
    "a nested list": lambda t, x: x[[[0, 1], [1, 2]]],
    "a list of a slice": lambda t, x: x[[0, slice(1, None)]],
    "a list in a tuple": lambda t, x: x[[[0, 1], [1, 2]],],
    "lists": lambda t, x: x[[0, 2], [1, 3]],
    "an empty list": lambda t, x: x[[]],
    "an empty list, int": lambda t, x: x[[], 0],
    "out of range": lambda t, x: x[3],
    "ids out of range": lambda t, x: x[:, ids(t, 0, 4)],
    "ids out of range, nothing picked": lambda t, x: x[:, :, :0][ids(t, 9)],
    "ids of nothing": lambda t, x: x[:0][ids(t, 0)],
    "ids that do not broadcast": lambda t, x: x[ids(t, 0, 1), ids(t, 0, 1, 2)],
    "too many": lambda t, x: x[0, 0, 0, 0],
    "too many for a mask": lambda t, x: x[x > 3, 0],
    "a wrong mask": lambda t, x: x[mask(t, 1, 0)],
    "a negative step": lambda t, x: x[::-1],
    "step 0": lambda t, x: x[::0],
    "tensors as bounds": lambda t, x: x[t.tensor(1) : t.tensor([3])],
    "float bounds": lambda t, x: x[1.0:2],
    "0-d int": lambda t, x: x[0, 0, 0][0],
    "0-d slice": lambda t, x: x[0, 0, 0][:],
    "2 ** 70": lambda t, x: x[2**70],
    "two ellipses": lambda t, x: x[..., 0, ...],
}


def quiet_agree(function, *arrays):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        agree(torch, function, *arrays)


@pytest.mark.parametrize("name", READS)
def test_reads(name):
    quiet_agree(READS[name], X)
    quiet_agree(READS[name], X.astype("int64"))


def _written(function):
    """A function that writes into a copy of x and returns it."""

    def call(t, x, *more):
        y = x.clone()
        function(t, y, *more)
        return y

    return call


def _set(index, value):
    return lambda t, x: x.__setitem__(index(t, x), value(t))


WRITES = {
    "int, slice, ids": _set(lambda t, x: (0, slice(None), ids(t, 0, 1)), lambda t: t.ones(4, 2)),
    "int, slice, ids, transposed": _set(
        lambda t, x: (0, slice(None), ids(t, 0, 1)), lambda t: t.ones(2, 4)
    ),
    "ids, slice, int": _set(lambda t, x: (ids(t, 2, 0), slice(1, 3), -1), lambda t: t.ones(2)),
    "mask, int": _set(lambda t, x: (mask(t, 1, 0, 1), 0), lambda t: t.ones(2, 5)),
    "int, mask": _set(lambda t, x: (0, mask(t, 1, 0, 1, 1)), lambda t: 7.5),
    "rows of 1": _set(lambda t, x: 0, lambda t: t.ones(1, 1, 4, 5)),
    "rows of 2": _set(lambda t, x: 0, lambda t: t.ones(2, 4, 5)),
    "ids, leading 1": _set(lambda t, x: ids(t, 0, 1), lambda t: t.ones(1, 1, 2, 4, 5)),
    "other dtype": _set(lambda t, x: 0, lambda t: t.ones(5, dtype=t.float64)),
    "ids, other dtype": _set(lambda t, x: ids(t, 0), lambda t: t.ones(5, dtype=t.float64)),
    "mask, one of another dtype": _set(
        lambda t, x: mask(t, 1, 0, 0), lambda t: t.tensor(3.5, dtype=t.float64)
    ),
    "mask, too few": _set(lambda t, x: x > 50, lambda t: t.ones(2)),
    "mask, one": _set(lambda t, x: x > 50, lambda t: t.ones(1, 1)),
    "no element, wrong size": _set(lambda t, x: x > 500, lambda t: t.ones(2)),
    "bytes, tensor": _set(lambda t, x: byte(t, 1, 0, 1), lambda t: t.ones(2, 4, 5)),
    "bytes, number": _set(lambda t, x: byte(t, 1, 0, 1), lambda t: 1.0),
    "bytes of two dims": _set(lambda t, x: (x[..., 0] > 20).to(t.uint8), lambda t: t.zeros(7, 5)),
    "0-d mask": _set(lambda t, x: t.tensor(True), lambda t: 2.0),
    "0-d mask, False": _set(lambda t, x: t.tensor(False), lambda t: 2.0),
    "True": _set(lambda t, x: True, lambda t: t.ones(5)),
    "False": _set(lambda t, x: False, lambda t: t.ones(2)),
    "a list": _set(lambda t, x: 0, lambda t: [1.0] * 5),
    "an array": _set(lambda t, x: 0, lambda t: np.ones(5)),
    "text": _set(lambda t, x: 0, lambda t: "a"),
    "np.float64": _set(lambda t, x: ids(t, 0), lambda t: np.float64(0.1)),
    "out of range": _set(lambda t, x: (0, 9), lambda t: 1.0),
    "ids out of range": _set(lambda t, x: (0, ids(t, 9)), lambda t: 1.0),
    "itself": lambda t, x: x.__setitem__(0, x[0]),
    "a part of itself": lambda t, x: x.__setitem__(slice(1, None), x[:-1]),
    "ids from itself": lambda t, x: x.__setitem__(ids(t, 0, 1), x[ids(t, 1, 2)]),
    "0-d": lambda t, x: x[0, 0, 0].__setitem__(x[0, 0, 0] < 9, 4.0),
    "0-d, ...": lambda t, x: x[0, 0, 0].__setitem__(..., 4.0),
    "0-d, int": lambda t, x: x[0, 0, 0].__setitem__(0, 4.0),
}


@pytest.mark.parametrize("name", WRITES)
def test_writes(name):
    quiet_agree(_written(WRITES[name]), X)


@pytest.mark.parametrize("number", [-1, 300, 1.7, -0.5, float("nan"), float("inf"), 2**70, True])
@pytest.mark.parametrize("dtype", ["uint8", "int8", "int16", "int32", "int64", "bool", "float32"])
@pytest.mark.parametrize("how", ["int", "ids"])
def test_numbers_that_are_written(number, dtype, how):
    def write(t, x):
        y = x.clone()
        y[1 if how == "int" else ids(t, 0, 2)] = number
        return y

    quiet_agree(write, np.arange(4).astype(dtype))


L = np.array([[0, 1], [1, 2]])  # positions along dim 1 of Y, of fewer rows than Y has
S = np.array([[0.5, -3.0], [2.0, 7.0]])


# Each takes the library, a (3, 4) tensor, positions (2, 2) and a source (2, 2).
FAMILY = {
    "scatter": lambda t, x, i, s: x.scatter(1, i, s),
    "scatter a larger src": lambda t, x, i, s: x.scatter(1, i[:1], s.detach()),
    "scatter a smaller src": lambda t, x, i, s: x.scatter(1, i, s[:, :1]),
    "scatter fewer rows": lambda t, x, i, s: x.scatter(1, i, s[:1]),
    "scatter_add a smaller src": lambda t, x, i, s: x.scatter_add(1, i, s[:1]),
    "scatter_ a smaller src": lambda t, x, i, s: x.clone().scatter_(0, i, s[:, :1]),
    "scatter_add_ a smaller src": lambda t, x, i, s: x.clone().scatter_add_(0, i, s[:1]),
    "scatter_reduce a smaller src": lambda t, x, i, s: x.scatter_reduce(1, i, s[:1], "sum"),
    "scatter more rows than x": lambda t, x, i, s: x[:1].scatter(1, i, s),
    "scatter of other dims": lambda t, x, i, s: x.scatter(1, i[0], s),
    "scatter a vector": lambda t, x, i, s: x.scatter(1, i, s[0]),
    "scatter 0-d src": lambda t, x, i, s: x.scatter(1, i, s[0, 0]),
    "scatter 0-d value": lambda t, x, i, s: x.scatter(1, i, value=s[0, 0].detach()),
    "scatter another dtype": lambda t, x, i, s: x.scatter(1, i, s.float()),
    "scatter int src": lambda t, x, i, s: x.scatter(1, i, i),
    "scatter negative": lambda t, x, i, s: x.scatter(1, i - 1, s),
    "scatter out of range": lambda t, x, i, s: x.scatter(1, i + 2, s),
    "scatter nothing": lambda t, x, i, s: x.scatter(1, i[:, :0], s.detach()),
    "scatter a number": lambda t, x, i, s: x.scatter(1, i, 2.5),
    "scatter add": lambda t, x, i, s: x.detach().scatter(1, i, 2.5, reduce="add"),
    "scatter multiply": lambda t, x, i, s: x.detach().scatter(1, i, 2.5, reduce="multiply"),
    "scatter without src": lambda t, x, i, s: x.scatter(1, i),
    "scatter 0-d": lambda t, x, i, s: x[0, 0].scatter(0, i[0, :1] * 0, s[0, :1]),
    "scatter int32": lambda t, x, i, s: x.scatter(1, i.int(), s),
    "scatter float index": lambda t, x, i, s: x.scatter(1, i.float(), s),
    "sum": lambda t, x, i, s: x.scatter_reduce(1, i * 0, s, "sum"),
    "sum without self": lambda t, x, i, s: x.scatter_reduce(1, i, s, "sum", include_self=False),
    "mean": lambda t, x, i, s: x.scatter_reduce(1, i * 0, s, "mean"),
    "mean without self": lambda t, x, i, s: x.scatter_reduce(0, i, s, "mean", include_self=False),
    "mean of integers": lambda t, x, i, s: i.scatter_reduce(1, i * 0, i - 3, "mean"),
    "prod": lambda t, x, i, s: x.scatter_reduce(1, i * 0, s, "prod"),
    "prod without self": lambda t, x, i, s: x.scatter_reduce(0, i, s, "prod", include_self=False),
    "prod with a zero": lambda t, x, i, s: x.scatter_reduce(1, i * 0, s * (s > 0), "prod"),
    "amax": lambda t, x, i, s: x.scatter_reduce(1, i, s, "amax"),
    "amax of ties": lambda t, x, i, s: x.scatter_reduce(1, i * 0, s * 0 + x[0, 0], "amax"),
    "amin without self": lambda t, x, i, s: x.scatter_reduce(0, i, s, "amin", include_self=False),
    "unknown": lambda t, x, i, s: x.scatter_reduce(1, i, s, "median"),
    "scatter_reduce_": lambda t, x, i, s: x.clone().scatter_reduce_(1, i, s, "amax"),
    "gather": lambda t, x, i, s: x.gather(1, i),
    "gather negative": lambda t, x, i, s: x.gather(1, i - 1),
    "gather 0-d": lambda t, x, i, s: x[0, 0].gather(0, i[0] * 0),
    "gather 0-d index": lambda t, x, i, s: x[0].gather(0, i[1, 1]),
    "gather nothing": lambda t, x, i, s: x.gather(1, i.reshape(-1)[:0]),
    "gather int8": lambda t, x, i, s: x.gather(1, i.to(t.int8)),
    "take": lambda t, x, i, s: x.t().take(i - 3),
    "take out of range": lambda t, x, i, s: x.take(i + 11),
    "take int32": lambda t, x, i, s: x.take(i.int()),
    "take_along_dim": lambda t, x, i, s: x.take_along_dim(i[:1, :1] - 1, 1),
    "take_along_dim of other dims": lambda t, x, i, s: x.take_along_dim(i[0], 1),
    "index_select": lambda t, x, i, s: x.index_select(1, i[1]),
    "index_select negative": lambda t, x, i, s: x.index_select(0, -i[0]),
    "index_select int16": lambda t, x, i, s: x.index_select(1, i[0].to(t.int16)),
    "index_add": lambda t, x, i, s: x.index_add(1, i[0] * 0, t.ones_like(x)[:, :2]),
    "index_add alpha": lambda t, x, i, s: x[:2, :2].index_add(0, i[0], s, alpha=-2.5),
    "index_add a smaller source": lambda t, x, i, s: x.index_add(0, i[0], x[:1]),
    "index_add another shape": lambda t, x, i, s: x.index_add(0, i[0], s),
    "index_add another dtype": lambda t, x, i, s: x.index_add(0, i[0], x[:2].float()),
    "index_add out of range": lambda t, x, i, s: x.index_add(0, i[0] + 2, x[:2]),
    "index_add_": lambda t, x, i, s: x.clone().index_add_(0, i[0] * 0, x[1:]),
    "index_copy": lambda t, x, i, s: x.index_copy(0, i[0], x[1:]),
    "index_copy_ twice": lambda t, x, i, s: x.clone().index_copy_(0, i[0] + 1, x[:2].exp()),
    "index_copy negative": lambda t, x, i, s: x.index_copy(0, i[0] - 1, x[1:]),
    "index_copy another shape": lambda t, x, i, s: x.index_copy(0, i[0], s),
    "index_copy another dtype": lambda t, x, i, s: x.index_copy(0, i[0], x[1:].float()),
    "index_copy int32": lambda t, x, i, s: x.index_copy(0, i[0].int(), x[1:]),
    "index_fill": lambda t, x, i, s: x.index_fill(1, i[0] - 1, 5),
    "index_fill 0-d": lambda t, x, i, s: x.index_fill(0, i[1], s[0, 0]),
    "index_fill twice": lambda t, x, i, s: x.index_fill(1, t.cat([i[0], i[0]]), s[0, 0]),
    "index_fill_ vector": lambda t, x, i, s: x.clone().index_fill_(0, i[1], s[0]),
    "index_put": lambda t, x, i, s: x.index_put((i[0], i[1]), s[0]),
    "index_put one": lambda t, x, i, s: x.index_put((i[0],), s[0, 0]),
    "index_put_ accumulate": lambda t, x, i, s: x.clone().index_put_((i * 0, i), s, True),
    "index_put accumulate ids": lambda t, x, i, s: x.index_put((i[0] * 0,), x[0], accumulate=True),
    "index_put accumulate mask": lambda t, x, i, s: x.index_put((x > 0,), s[0, 0], accumulate=True),
    "index_put a mask": lambda t, x, i, s: x.index_put((x > 0,), s[0, 0]),
    "index_put a list": lambda t, x, i, s: x.index_put([i[0]], x[0]),
    "index_put wrong values": lambda t, x, i, s: x.index_put((i[0],), s),
    "index_put another dtype": lambda t, x, i, s: x.index_put((i[0],), s[0, 0].float()),
    "index_put int8": lambda t, x, i, s: x.index_put((i[0].to(t.int8),), s[0, 0]),
    "index_put out of range": lambda t, x, i, s: x.index_put((i + 2,), s[0, 0]),
    "index_put too many": lambda t, x, i, s: x.index_put((i, i, i), s[0, 0]),
    "index_put a tensor": lambda t, x, i, s: x.index_put(i, s),
    "index_put a number": lambda t, x, i, s: x.index_put((i,), 1.0),
    "index_put ints": lambda t, x, i, s: x.index_put((0, 1), s[0, 0]),
    "masked_scatter": lambda t, x, i, s: x.masked_scatter(x > 1, s),
    "masked_scatter too few": lambda t, x, i, s: x.masked_scatter(x < 9, s),
    "masked_scatter_ a row": lambda t, x, i, s: x.clone().masked_scatter_(x[0] < -1.6, x.exp()),
    "masked_scatter int mask": lambda t, x, i, s: x.masked_scatter(i, s),
    "masked_scatter another dtype": lambda t, x, i, s: x.masked_scatter(x > 1, s.float()),
    "masked_select": lambda t, x, i, s: x.masked_select(x[0] > -1),
    "masked_select bytes": lambda t, x, i, s: x.masked_select((x > 1).to(t.uint8)),
    "put_": lambda t, x, i, s: x.clone().put_(i - 2, s),
    "put_ accumulate": lambda t, x, i, s: x.t().clone().put_(i * 0 + 5, s, accumulate=True),
    "put_ another size": lambda t, x, i, s: x.clone().put_(i, s[0]),
    "select out of range": lambda t, x, i, s: x.select(0, 3),
    "select": lambda t, x, i, s: x.select(-1, -4),
}


@pytest.mark.parametrize("name", FAMILY)
def test_index_functions(name):
    quiet_agree(FAMILY[name], Y, L, S)


def test_a_byte_mask_warns_once():
    x = tinygrad_llm.arange(3)
    with pytest.warns(UserWarning, match="uint8 is now deprecated"):
        assert x[tinygrad_llm.tensor([0, 1, 1], dtype=tinygrad_llm.uint8)].tolist() == [1, 2]


class OnDevice:
    """The library, whose tensor(), ones() and zeros() make tensors on a device."""

    def __init__(self, device):
        self.device = device

    def __getattr__(self, name):
        value = getattr(tinygrad_llm, name)
        if name not in ("tensor", "ones", "zeros"):
            return value
        return lambda *args, **options: value(*args, **options).to(self.device)


def outcome(function, device, *arrays):
    """(numbers, gradients) of a function on a device, or the type of its error."""
    xs = [tinygrad_llm.from_numpy(a.copy()).to(device) for a in arrays]
    for x in xs:
        x.requires_grad = x.is_floating_point()
    try:
        y = function(OnDevice(device), *xs)
    except Exception as error:
        return type(error)
    if y.requires_grad:
        (y * (y.detach() * 0.0 + 1.5)).sum().backward()
    return [v.cpu().detach().numpy() for v in (y, *[x.grad for x in xs if x.grad is not None])]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["reads", "writes", "functions"])
def test_other_devices_do_the_same(kind, other_device):
    """CuPy takes positions out of range without a word: they are refused as on the CPU."""
    rows = {"reads": READS, "writes": WRITES, "functions": FAMILY}[kind]
    arrays = (Y, L, S) if kind == "functions" else (X,)
    for name, function in rows.items():
        run = _written(function) if kind == "writes" else function
        expected, got = outcome(run, "cpu", *arrays), outcome(run, other_device, *arrays)
        if isinstance(expected, type) or isinstance(got, type):
            assert got is expected, f"{name}: {got}, on the CPU {expected}"
            continue
        for a, b in zip(got, expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-6, err_msg=name)
