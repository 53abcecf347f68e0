"""Comparisons, logic, rounding, searching: PyTorch's results, dtypes, errors and gradients."""

from __future__ import annotations

import itertools
import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twice import assert_same

torch = pytest.importorskip("torch")

import tinygrad_llm as tg  # noqa: E402
from tinygrad_llm.tensor import dtypes  # noqa: E402

EXPRESSIONS = """
t([1]) == 1.5
t([16777217]) == 16777216.0
t([0.1]) == 0.1
t([0.1], dtype=torch.bfloat16) == 0.1
t([0.1], dtype=torch.float16) < 1e9
t([0.1], dtype=torch.float64) == t(0.1)
t([0.1]) == t(0.1, dtype=torch.float64)
torch.ones(2) == 'a'
torch.ones(2) != None
torch.ones(2) == None
torch.ones(2) < None
torch.ones(2) == np.ones(2)
np.ones(2) == torch.ones(2)
torch.ones(2) == np.float32(1)
torch.ones(2) == torch.ones(3)
torch.ones(2, 3) == torch.ones(3, 2)
torch.ones(2) == [1, 1]
3 > torch.ones(2)
torch.eq(torch.ones(2), 1)
torch.not_equal(t([1]), t([1]))
torch.greater(t([1]), 0)
torch.gt(torch.ones(2, 2), t([0, 2]))
torch.ones(2, requires_grad=True) == 1
t(3) > 2
t([1, 2]).eq(1)
t([float('nan')]) != t([float('nan')])
torch.logical_and(t([1, 0]), t([2., 3]))
torch.logical_and(t([1]), 1)
torch.logical_not(t([1., 0]))
torch.logical_xor(t([True]), t([True]))
t([1, 2]).logical_or(t([0, 0]))
torch.logical_and(torch.ones(2), torch.ones(3))
~t([True])
~t([1])
~t([1.])
t([True]) & t([False])
t([True]) & True
True & t([True])
t([3]) | 4
t([True]) | 1
t([3]) ^ t([True])
t([3]) << 2
t([8]) >> 2
torch.bitwise_and(t([3]), 1)
torch.bitwise_not(t([3]))
t([True, False]).any()
t([1, 0]).any()
t([1, 0], dtype=torch.uint8).any()
t([1, 0], dtype=torch.uint8).all()
torch.ones(2, 3).any(1)
torch.ones(2, 3).any((0, 1))
torch.ones(2, 3).all(dim=1, keepdim=True)
torch.ones(0).any()
torch.ones(0).all()
torch.ones(0, 3).all(0)
torch.ones(2, 3).any(5)
torch.all(t([float('nan')]))
torch.any(t([[0, 1]]), dim=-1)
torch.count_nonzero(t([[1, 0], [2, 3]]))
torch.count_nonzero(t([[1, 0], [2, 3]]), dim=0)
torch.nonzero(t([[1, 0], [2, 3]]))
torch.nonzero(t([[1, 0], [2, 3]]), as_tuple=True)
torch.nonzero(t(1))
torch.nonzero(t(0))
torch.nonzero(t(1), as_tuple=True)
torch.argwhere(t([0, 1]))
torch.equal(torch.ones(2), torch.ones(2).long())
torch.equal(torch.ones(2), torch.ones(3))
torch.equal(torch.ones(2), 1)
torch.equal(t([float('nan')]), t([float('nan')]))
torch.allclose(torch.ones(2), torch.ones(2).double())
torch.allclose(torch.ones(2), 1)
torch.allclose(t([float('nan')]), t([float('nan')]), equal_nan=True)
torch.allclose(t([float('nan')]), t([float('nan')]))
torch.isclose(t([1, 2]), t([1, 3]))
torch.isclose(t([1., float('inf')]), t([1.00001, float('inf')]))
torch.isclose(t([float('inf')]), t([-float('inf')]))
torch.isclose(t([1.]), t([1.]), rtol=-1)
torch.isclose(t([1]), t([2]), atol=1)
torch.isclose(t([True]), t([True]))
torch.unique(t([3, 1, 2, 1]))
torch.unique(t([3, 1, 2, 1]), return_inverse=True, return_counts=True)
torch.unique(t([[3, 1], [2, 1]]), return_inverse=True)
torch.unique(t([[3, 1], [3, 1], [0, 1]]), dim=0, return_inverse=True, return_counts=True)
torch.unique(t([[3, 1], [3, 1], [0, 1]]), dim=1)
torch.unique(t([1., float('nan'), float('nan')]))
torch.unique(t([True, False, True]))
t([2, 2, 1]).unique(return_counts=True)
torch.bincount(t([1, 1, 3]))
torch.bincount(t([1, 1, 3]), weights=t([.5, .5, 2.]))
torch.bincount(t([1, 1, 3]), weights=t([1, 2, 3]))
torch.bincount(t([1, 1, 3]), minlength=6)
torch.bincount(t([-1]))
torch.bincount(t([[1]]))
torch.bincount(t([], dtype=torch.int64))
torch.bincount(t([], dtype=torch.int64), minlength=2)
torch.searchsorted(t([1, 3, 5]), t([2, 3, 6]))
torch.searchsorted(t([1, 3, 5]), t([2, 3, 6]), right=True)
torch.searchsorted(t([1, 3, 5]), t([2, 3, 6]), side='right')
torch.searchsorted(t([1, 3, 5]), 3)
torch.searchsorted(t([1, 3, 5]), t([[2], [4]]), out_int32=True)
torch.searchsorted(t([[1, 3, 5], [2, 4, 6]]), t([[3], [3]]))
torch.searchsorted(t([[1, 3, 5], [2, 4, 6]]), t([3]))
torch.bucketize(t([1, 5.]), t([1., 3]))
torch.isin(t([1, 2, 3]), t([2, 3]))
torch.isnan(t([1]))
torch.isnan(t([1., float('nan')]))
torch.isinf(t([1., -float('inf')]))
torch.isfinite(t([1., -float('inf'), float('nan')]))
torch.isfinite(t([1]))
torch.isposinf(t([1., float('inf'), -float('inf')]))
torch.isneginf(t([1., float('inf'), -float('inf')]))
torch.isnan(3.)
torch.nan_to_num(t([float('nan'), float('inf'), -float('inf'), 1.]))
torch.nan_to_num(t([float('nan'), float('inf')]), nan=7., posinf=1.)
torch.floor(t([1.5, -1.5]))
torch.floor(t([1, 2]))
torch.round(t([0.5, 1.5, 2.5, -0.5]))
torch.round(t([1.2345]), decimals=2)
torch.round(t([123.]), decimals=-1)
torch.round(t([1]))
torch.sign(t([-2., 0, 3, float('nan')]))
torch.sign(t([-2, 0]))
torch.sign(t([True]))
torch.trunc(t([-1.5]))
torch.fix(t([-1.5]))
torch.frac(t([-1.5]))
torch.signbit(t([-1., 0., -0.0]))
torch.remainder(t([-3, 3]), 2)
torch.remainder(t([-3.5]), 2)
torch.remainder(2, t([3]))
torch.fmod(t([-3, 3]), 2)
torch.fmod(t([-3.5]), 2)
t([-3]) % 2
7 % t([4])
t([-3]) // 2
t([-3.5]) // 2
t([1.]) // 0
t([1]) // 0
t([1]) % 0
t([1.]) % 0
torch.fmod(t([1]), 0)
t([5, -5]) % t([0, 3])
7 // t([2])
t([7]) // t([2.])
torch.floor_divide(t([7]), 2)
t([True]) % 2
t([True]) // 2
t([1., 2.]) % 'a'
torch.remainder(t([5.]), t([3.], requires_grad=True))
torch.maximum(t(1), t(2.))
t([1.7, -1.7]).floor_()
t([5, 7]).remainder_(4)
t([True, False]).logical_not_()
t([1.5]).floor_divide_(1)
""".split("\n")[1:-1]


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_same_result_or_error(expression):
    assert_same(torch, tg, expression)


IN_PLACE = [
    "a %= 3",
    "a //= 2",
    "a &= 6",
    "a |= 9",
    "a ^= 5",
    "a.ceil_()",
    "a.sign_()",
    "a[a > 2] = 0",
]


@pytest.mark.parametrize("statement", IN_PLACE)
def test_in_place(statement):
    results = []
    for lib in (torch, tg):
        a = lib.tensor([1, 5, 12, -7])
        view, scope = a[1:], {"a": a}
        exec(statement, scope)
        assert scope["a"] is a
        results.append((repr(a), repr(view)))
    assert results[0] == results[1]


KNOWN = [d.name for d in dtypes.ALL if d.name not in ("uint16", "uint32", "uint64")]
SHAPES = [(), (1,), (3,), (2, 3), (2, 1), (0, 3), (4, 1, 3)]
SIGNS = ("eq", "ne", "lt", "le", "gt", "ge")


def drawn(seed, shape, name):
    """The same small numbers in both libraries, many of them equal."""
    rng = np.random.default_rng(seed)
    values = rng.integers(-2, 3, shape) * rng.choice([1.0, 0.5], shape)
    if dtypes.BY_NAME[name].is_floating_point:
        values = np.where(rng.random(shape) < 0.1, rng.choice([np.nan, np.inf], shape), values)
    elif name in ("uint8", "bool"):
        values = np.abs(values)
    values = np.asarray(values, np.float32)
    return [lib.from_numpy(values.copy()).to(getattr(lib, name)) for lib in (torch, tg)]


@settings(max_examples=200)
@given(
    st.integers(0, 1000),
    st.sampled_from(SHAPES),
    st.sampled_from(SHAPES),
    st.sampled_from(KNOWN),
    st.sampled_from(KNOWN),
    st.sampled_from([*SIGNS, "logical_and", "logical_or", "logical_xor", "isclose", "equal"]),
)
def test_pairs(seed, shape, other, name, other_name, function):
    if function == "isclose":
        other_name = name
    (x, ours_x), (y, ours_y) = drawn(seed, shape, name), drawn(seed + 1, other, other_name)
    assert_same(torch, tg, f"torch.{function}(*xy(torch))",
                xy=lambda lib: (x, y) if lib is torch else (ours_x, ours_y))  # fmt: skip


@settings(max_examples=100)
@given(
    st.integers(0, 1000),
    st.sampled_from(KNOWN),
    st.sampled_from([True, False, 0, 1, -1, 2, 0.5, -1.5, float("inf"), float("nan")]),
    st.sampled_from(SIGNS),
)
def test_tensor_with_number(seed, name, number, function):
    if name in ("uint8", "bool") and number == -1:
        number = 1  # here PyTorch compares with 255 instead of the given number
    x, ours = drawn(seed, (7,), name)
    expected = getattr(torch, function)(x, number)
    assert getattr(tg, function)(ours, number).tolist() == expected.tolist()


@settings(max_examples=100)
@given(
    st.integers(0, 1000),
    st.sampled_from(SHAPES),
    st.sampled_from(KNOWN),
    st.sampled_from("nonzero count_nonzero any all isnan isinf isfinite unique logical_not sign "
                    "signbit".split()),
)  # fmt: skip
def test_of_one_tensor(seed, shape, name, function):
    if function == "signbit" and name == "bfloat16":
        name = "float32"  # the sign of a converted nan is undefined
    x, ours = drawn(seed, shape, name)
    theirs = getattr(torch, function)(x)
    assert repr(getattr(tg, function)(ours)) == repr(theirs)


@settings(max_examples=100)
@given(
    st.integers(0, 1000),
    st.sampled_from([(2, 3), (4, 1, 3), (0, 3)]),
    st.sampled_from([0, 1, -1, (0, 1), (0, -1)]),
    st.booleans(),
    st.sampled_from(["any", "all"]),
)
def test_reductions_over_dims(seed, shape, dim, keepdim, function):
    x, ours = drawn(seed, shape, "float32")
    theirs = getattr(torch, function)(x, dim, keepdim)
    assert repr(getattr(ours, function)(dim, keepdim)) == repr(theirs)


numbers = st.one_of(
    st.floats(-100, 100, width=32),
    st.integers(-20, 20).map(float),
    st.sampled_from([0.0, -0.0, float("inf"), -float("inf"), float("nan")]),
)


@settings(max_examples=300)
@given(
    # Quotients past 2^24 are left out: the vector code in PyTorch loses their last digits.
    st.lists(
        st.tuples(numbers, numbers.filter(lambda y: not 0 < abs(y) < 1e-3)),
        min_size=1,
        max_size=20,
    ),
    st.sampled_from(["float32", "float64"]),
    st.sampled_from(["remainder", "fmod", "floor_divide"]),
)
def test_division_with_a_rest(pairs, name, function):
    results = []
    for lib in (torch, tg):
        x, y = (lib.tensor(v, dtype=getattr(lib, name)) for v in zip(*pairs, strict=True))
        results.append(getattr(lib, function)(x, y).numpy())
    np.testing.assert_array_equal(results[1], results[0])


@settings(max_examples=100)
@given(
    st.lists(
        st.tuples(st.integers(-100, 100), st.integers(-9, 9).filter(bool)), min_size=1, max_size=9
    ),
    st.sampled_from(["int64", "int32", "int8"]),
    st.sampled_from(["remainder", "fmod", "floor_divide"]),
)
def test_whole_division_with_a_rest(pairs, name, function):
    x, y = zip(*pairs, strict=True)
    expression = f"torch.{function}(t({x}, dtype=torch.{name}), t({y}, dtype=torch.{name}))"
    assert_same(torch, tg, expression)


@settings(max_examples=100)
@given(
    st.lists(
        st.tuples(st.floats(-9, 9), st.floats(0.5, 4).map(lambda v: round(v, 2))),
        min_size=1,
        max_size=9,
    ),
    st.sampled_from(["remainder", "fmod"]),
)
def test_gradients_of_the_rest(pairs, function):
    grads = []
    for lib in (torch, tg):
        x, y = (
            lib.tensor(v, dtype=lib.float64, requires_grad=True) for v in zip(*pairs, strict=True)
        )
        (getattr(lib, function)(x, y) * x.detach()).sum().backward()
        grads.append((x.grad.tolist(), y.grad.tolist()))
    np.testing.assert_allclose(grads[1], grads[0], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("function", ["floor", "ceil", "round", "trunc", "sign", "frac"])
def test_steps_have_gradient_zero(function):
    grads = []
    for lib in (torch, tg):
        x = lib.tensor([[-1.5, 0.2], [2.0, 3.7]], requires_grad=True)
        (getattr(lib, function)(x) * 3 + x.detach()).sum().backward()
        grads.append(x.grad.tolist())
    assert grads[0] == grads[1]


@settings(max_examples=100)
@given(st.lists(st.floats(-1000, 1000, width=32), max_size=9), st.integers(-3, 4))
def test_rounding(values, decimals):
    assert_same(torch, tg, f"torch.round(t({values}, dtype=torch.float32), decimals={decimals})")
    for function in ("floor", "ceil", "trunc"):
        assert_same(torch, tg, f"torch.{function}(t({values}, dtype=torch.float32))")


@settings(max_examples=60)
@given(st.integers(0, 1000), st.sampled_from([True, False]), st.sampled_from([(5,), (2, 4)]))
def test_searchsorted(seed, right, shape):
    rng = np.random.default_rng(seed)
    rows = np.sort(rng.integers(0, 9, shape), -1)
    values = rng.integers(-1, 10, (*shape[:-1], 3))
    results = [
        repr(lib.searchsorted(lib.from_numpy(rows), lib.from_numpy(values), right=right))
        for lib in (torch, tg)
    ]
    assert results[0] == results[1]


OUTSIDE = [-(2**63), -(2**40), -70000, -257, -255, -129, -1, 128, 256, 257, 300, 65537, 2**32 + 1,
           2**63 - 1, 2**63, 2**64, 1.5, -0.5, math.inf, True]  # fmt: skip
COMPARED = {
    "==": lambda t, x, n: x == n, "!=": lambda t, x, n: n != x, "<": lambda t, x, n: x < n,
    "<=": lambda t, x, n: n <= x, ">": lambda t, x, n: x > n, ">=": lambda t, x, n: t.ge(x, n),
    "in": lambda t, x, n: n in x, "isin": lambda t, x, n: t.isin(x, n) if n is not True else x,
    "where": lambda t, x, n: t.where(x == n, 1, 0), "eq out": lambda t, x, n:
        t.eq(x, n, out=t.empty(0, dtype=t.bool)), "and": lambda t, x, n: x & n, "pow": lambda t, x,
        n: t.pow(n, x), "%": lambda t, x, n: x % n, "logical_and": lambda t, x, n:
        x.logical_and(t.tensor(min(n, 2**63 - 1) if n != math.inf else 2)),
    "alpha": lambda t, x, n: x.add(x, alpha=n),
    "clamp": lambda t, x, n: x.clamp(max=n), "fill": lambda t, x, n: x.clone().fill_(n),
    "ne_": lambda t, x, n: x.clone().ne_(n), "ge_": lambda t, x, n: x.clone().ge_(n),
    "pad": lambda t, x, n: t.nn.functional.pad(x, (1, 0), value=n if abs(n) < 2**62 else 0),
    "scatter": lambda t, x, n: x.scatter(0, t.tensor([0]), n),
    "index_fill": lambda t, x, n: x.index_fill(0, t.tensor([0]), n),
}  # fmt: skip


@pytest.mark.parametrize("name", COMPARED)
@pytest.mark.parametrize("dtype", ["uint8", "int8", "int16", "int32", "int64"])
def test_a_number_outside_the_dtype_is_cut_to_its_bits_or_refused(dtype, name):
    for n in OUTSIDE:
        results = []
        for lib in (torch, tg):
            x = lib.tensor([0, 1, 2, 100], dtype=getattr(lib, dtype))
            try:
                y = COMPARED[name](lib, x, n)
                results.append((str(y.dtype).split(".")[-1], y.tolist()) if name != "in" else y)
            except (RuntimeError, OverflowError) as error:
                results.append(type(error))
        assert results[0] == results[1], n


def test_a_float_outside_a_half_dtype_is_refused_or_infinite():
    calls = {
        "full": lambda t, n, d: t.full((2,), n, dtype=d), "fill_": lambda t, n, d: t.ones(2,
        dtype=d).fill_(n), "masked_fill": lambda t, n, d: t.ones(2, dtype=d).masked_fill(
        t.tensor([True, False]), n), "clamp": lambda t, n, d: t.ones(2, dtype=d).clamp(-n, n),
        "where": lambda t, n, d: t.where(t.tensor([True, False]), t.ones(2, dtype=d), n),
        "add": lambda t, n, d: t.ones(2, dtype=d) + n, "pad": lambda t, n, d:
        t.nn.functional.pad(t.ones(2, dtype=d), (1, 1), value=n), "scatter": lambda t, n, d:
        t.ones(2, dtype=d).scatter(0, t.tensor([0]), n), "index_fill": lambda t, n, d:
        t.ones(2, dtype=d).index_fill(0, t.tensor([0]), n), "alpha": lambda t, n, d:
        t.ones(2, dtype=d).add(t.ones(2, dtype=d), alpha=n), "%": lambda t, n, d:
        t.ones(2, dtype=d) % n, "full_like": lambda t, n, d: t.full_like(t.ones(2, dtype=d), n),
        "pow": lambda t, n, d: t.ones(2, dtype=d) ** n, "<": lambda t, n, d: t.ones(2, dtype=d) < n,
        "set": lambda t, n, d: t.ones(3, dtype=d).index_put_((t.tensor([0]),), t.tensor(n).to(d)),
    }  # fmt: skip
    for name, call in calls.items():
        for dtype, n in itertools.product(("float16", "bfloat16"), (-65504.0, 65535.0, -1e9, 1e39)):
            results = []
            for lib in (torch, tg):
                with warnings.catch_warnings():
                    warnings.simplefilter("error")
                    try:
                        results.append(call(lib, n, getattr(lib, dtype)).tolist())
                    except RuntimeError as error:
                        results.append(str(error).split(":")[0])
            assert results[0] == results[1], (name, dtype, n)
