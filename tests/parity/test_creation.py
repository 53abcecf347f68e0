"""Making tensors: PyTorch's numbers, dtypes, shapes and errors."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twice import assert_same, outcome

torch = pytest.importorskip("torch")

import tinygrad_llm as tg  # noqa: E402
from tinygrad_llm.tensor import dtypes  # noqa: E402

EXPRESSIONS = """
t([[1, 2], [3]])
t([1, [2]])
t([[1], 2])
t([])
t([[], []])
t([[[]]])
t([[1], []])
t(5)
t(True)
t(2.5)
t([True, 2])
t([True, False])
t([1, 2.5])
t('a')
t(b'ab')
t(['a'])
t(None)
t([None])
t([1, None])
t({})
t({1, 2})
t(object())
t(2**63)
t(2**63 - 1)
t([2**70])
t(range(3))
t((1, 2))
t([range(2), (3, 4)])
t(data=[1])
t(300, dtype=torch.uint8)
t(-1, dtype=torch.uint8)
t([-255], dtype=torch.uint8)
t([-256], dtype=torch.uint8)
t([300.], dtype=torch.uint8)
t([-3.5], dtype=torch.uint8)
t([-129], dtype=torch.int8)
t([2**40], dtype=torch.int32)
t([1.7, -1.7], dtype=torch.int64)
t([float('nan')], dtype=torch.int64)
t([1e30], dtype=torch.int64)
t(1e40, dtype=torch.float32)
t([70000.], dtype=torch.float16)
t([1e39], dtype=torch.bfloat16)
t([1, 0, 2], dtype=torch.bool)
t(1.5, dtype=torch.bool)
t([[1, 2], [3, 4]], dtype=torch.float16)
t([0.1, 2.7], dtype=torch.bfloat16)
t(np.float64(1.5))
t(np.float32(1.5))
t([np.float32(1.5), np.float32(2)])
t([np.float64(1.5)])
t([np.float16(1)])
t([np.int32(1)])
t([np.int32(1), np.float32(2)])
t([np.bool_(True)])
t([np.float32(1), 2.5])
t([np.array([1, 2]), np.array([3, 4])])
t([np.array([1., 2], dtype=np.float32)])
t([np.array([1., 2]), np.array([3.])])
t(np.arange(3, dtype=np.int32))
t(np.array(3))
t(np.array([300.]), dtype=torch.uint8)
t(np.array(['a']))
t(np.array([1, 2], dtype='>f4'))
t(torch.ones(2))
t(t(3.), dtype=torch.int64)
t([t(1), t(2)])
t([t(1.), t(2)])
t([t([1.]), t([2.])])
t([t([1., 2.])])
t([t(1, dtype=torch.int32), 2])
t([2.5, t(1., dtype=torch.float64)])
t([[t(1), t(2)], [3, 4]])
t([1, t([2])])
t([1], requires_grad=True)
t([1.], requires_grad=True)
t([1.], device='cpu')
torch.as_tensor([1, 2])
torch.as_tensor(3.0)
torch.asarray(np.arange(3))
torch.from_numpy([1])
torch.from_numpy(np.float32(1))
torch.from_numpy(np.arange(3)[::-1])
torch.from_numpy(np.array(['a']))
torch.from_numpy(np.array([1], dtype=object))
torch.from_numpy(np.arange(3, dtype=np.uint16))
torch.from_numpy(np.arange(4.).reshape(2, 2).T)
torch.zeros(2, 3)
torch.zeros((2, 3))
torch.zeros([2, 3])
torch.zeros(torch.Size([2]))
torch.zeros(())
torch.zeros()
torch.zeros(2.0)
torch.zeros(-1)
torch.zeros(2, -3)
torch.zeros('a')
torch.zeros(True)
torch.zeros(t(2), 3)
torch.zeros(np.int64(2))
torch.zeros(size=(2,))
torch.zeros(2, dtype=torch.int32, requires_grad=True)
torch.ones(2, 3, dtype=torch.bool)
torch.full((2, 2), 7)
torch.full((2,), 7.)
torch.full((2,), True)
torch.full((2,), 7, dtype=torch.float32)
torch.full(2, 7)
torch.full((), 7)
torch.full((2,), t(7.))
torch.full((2,), 'a')
torch.full((2,), 1.5, dtype=torch.int64)
torch.full((2,), 300, dtype=torch.uint8)
torch.full((1,), 1e40)
torch.full((1,), 1e40, dtype=torch.float16)
torch.full((1,), float('inf'), dtype=torch.int64)
torch.full((1,), -1, dtype=torch.uint8)
torch.full((1,), 2**40, dtype=torch.int32)
torch.full((1,), float('-inf'))
torch.empty(0)
torch.zeros_like(torch.ones(2, dtype=torch.int32))
torch.ones_like(torch.ones(2), dtype=torch.int64)
torch.full_like(torch.ones(2, dtype=torch.int64), 1.7)
torch.zeros_like([1])
torch.ones(2, requires_grad=True).new_zeros(3)
torch.ones(2, dtype=torch.int32).new_tensor([1.5])
torch.ones(2).new_full((2,), 3)
torch.ones(2).new_ones(2, 3)
torch.ones(2).new_empty((0,))
torch.ones(2).new_tensor([1])
torch.arange(5)
torch.arange(5.)
torch.arange(1, 5)
torch.arange(1, 5, 2)
torch.arange(0, 1, 0.1)
torch.arange(5, 1, -2)
torch.arange(5, 1)
torch.arange(1, 5, -1)
torch.arange(0, 5, 0)
torch.arange(3, dtype=torch.float32)
torch.arange(0, 3.5, dtype=torch.int64)
torch.arange(t(3))
torch.arange(end=3)
torch.arange(start=1, end=3)
torch.arange(1, end=3)
torch.arange(float('nan'))
torch.arange(float('inf'))
torch.arange(0, True)
torch.arange(-1)
torch.arange(0)
torch.arange('a')
torch.arange(1.5, 4.2, 0.7)
torch.arange(2**40, 2**40 + 3)
torch.linspace(0, 1, 5)
torch.linspace(0, 1, 1)
torch.linspace(0, 1, 0)
torch.linspace(0, 1, -1)
torch.linspace(0, 10, 5, dtype=torch.int64)
torch.linspace(1, 2, 3, dtype=torch.float64)
torch.linspace(0, 1, 3.0).x
torch.linspace(0, 1, steps=3)
torch.logspace(0, 2, 3)
torch.logspace(0, 3, 4, base=2)
torch.eye(2)
torch.eye(2, 3)
torch.eye(0)
torch.eye(-1)
torch.eye(2, dtype=torch.int64)
torch.eye(2.0)
torch.meshgrid(torch.arange(2), torch.arange(3), indexing='ij')
torch.meshgrid(torch.arange(2), torch.arange(3), indexing='xy')
torch.meshgrid([torch.arange(2), torch.arange(3)])
torch.meshgrid(torch.arange(2), torch.arange(3), torch.arange(1), indexing='xy')
torch.meshgrid(t(1), torch.arange(3), indexing='ij')
torch.meshgrid(torch.ones(2, 2), indexing='ij')
torch.meshgrid(torch.arange(2), torch.arange(3), indexing='foo')
torch.scalar_tensor(3)
torch.is_tensor(3)
torch.numel(torch.ones(2, 3))
torch.Tensor([1, 2])
torch.Tensor(2, 3).shape
""".split("\n")[1:-1]


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_same_result_or_error(expression):
    if expression == "torch.linspace(0, 1, 3.0).x":  # PyTorch's message lists its overloads
        expression = expression.removesuffix(".x")
        assert outcome(torch, expression).startswith("TypeError")
        assert outcome(tg, expression).startswith("TypeError")
        return
    assert_same(torch, tg, expression)


numbers = st.one_of(
    st.booleans(),
    st.integers(-(2**40), 2**40),
    st.floats(width=32),
    st.sampled_from([np.float32(1.5), np.float64(0.1), np.int32(7), np.bool_(True), np.int64(-3)]),
)


@st.composite
def nested(draw):
    """Nested lists and tuples to a depth of 3, nearly always of one shape."""
    shape = draw(st.lists(st.integers(0, 3), max_size=3))
    kinds = draw(st.sampled_from([numbers, st.integers(-5, 5), st.floats(-2, 2), st.booleans()]))

    def build(sizes):
        if not sizes:
            return draw(kinds)
        n = sizes[0] + (1 if draw(st.integers(0, 30)) == 0 else 0)
        return draw(st.sampled_from([list, list, tuple]))(build(sizes[1:]) for _ in range(n))

    return build(shape)


def _has_numpy_numbers(data):
    if isinstance(data, list | tuple):
        return any(map(_has_numpy_numbers, data))
    return isinstance(data, np.generic)


@settings(max_examples=200)
@given(nested(), st.sampled_from([None, *(d.name for d in dtypes.ALL if d.name != "uint64")]))
def test_nested_lists(data, name):
    if _has_numpy_numbers(data):
        name = None  # PyTorch refuses to put NumPy's numbers into an integer dtype
    results = []
    for lib in (torch, tg):
        dtype = None if name is None else getattr(lib, name)
        results.append(outcome(lib, "t(data, dtype=dtype)", data=data, dtype=dtype))
    theirs, ours = results
    if theirs.startswith("TypeError: 'numpy."):  # PyTorch does not mix NumPy's bool with ints
        assert ours.startswith("tensor(")
    elif theirs.startswith("tensor([], ") and ours != theirs:  # [[], [0]]: PyTorch drops the 0
        assert "expected sequence of length" in ours or "not a sequence" in ours
    elif theirs.startswith("tensor("):
        assert ours == theirs
    elif "sequence" not in ours:  # if a list has two errors, that of the shape comes first here
        assert ours.partition(":")[0] == theirs.partition(":")[0], (theirs, ours)
    else:
        assert not ours.startswith("tensor")


@settings(max_examples=100)
@given(st.integers(-50, 50), st.integers(-50, 50), st.integers(-7, 7).filter(bool))
def test_integer_ranges(start, end, step):
    assert_same(torch, tg, f"torch.arange({start}, {end}, {step})")
    for name in ("float32", "float16", "int32", "uint8", "float64"):
        assert_same(torch, tg, f"torch.arange(0, {abs(end)}, {abs(step)}, dtype=torch.{name})")


def same_numbers(ours, theirs):
    """Equal to the last bit where PyTorch uses registers of 32 bytes, else within one unit."""
    a, b = ours.double().numpy(), theirs.double().numpy()
    assert a.shape == b.shape and str(ours.dtype) == str(theirs.dtype)
    if torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512") and ours.dtype != tg.float64:
        assert np.array_equal(a, b)
    else:  # float64 needs a longer type, which not every machine has
        unit = dtypes.finfo(ours.dtype).eps * np.abs(b).max(initial=0)
        assert np.abs(a - b).max(initial=0) <= unit


reals = st.floats(-100, 100).map(lambda v: round(v, 3))
FLOATS = ["float16", "bfloat16", "float32", "float64"]


@settings(max_examples=200)
@given(reals, st.integers(0, 200), st.floats(0.01, 5), st.sampled_from(FLOATS))
def test_ranges_of_floats(start, count, step, name):
    ours, theirs = (
        lib.arange(start, start + count * step, step, dtype=getattr(lib, name))
        for lib in (tg, torch)
    )
    same_numbers(ours, theirs)


@settings(max_examples=200)
@given(reals, reals, st.integers(0, 100), st.sampled_from([*FLOATS, "int64", "uint8"]))
def test_linspace(start, end, steps, name):
    if name == "uint8":
        start, end = abs(start), abs(end)
    ours, theirs = (
        lib.linspace(start, end, steps, dtype=getattr(lib, name)) for lib in (tg, torch)
    )
    same_numbers(ours, theirs)


@given(st.sampled_from([d.name for d in dtypes.ALL]), st.integers(-300, 300))
def test_full_of_every_dtype(name, value):
    assert_same(torch, tg, f"torch.full((2,), {value}, dtype=torch.{name})")


def test_layout_of_likes():
    for lib in (torch, tg):
        x = lib.zeros(2, 3, 4).permute(2, 0, 1)
        assert lib.ones_like(x).stride() == x.stride()
