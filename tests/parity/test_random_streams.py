"""Random numbers: with the same seed, PyTorch's on a CPU.

Every stream is drawn alone and mixed with the others, from many seeds, in many shapes and dtypes.
Integers and masks must be equal, and floats within one unit in the last place. After each case the
two generators must be in the same state, byte for byte: the state shows how much a draw took from
the stream, and the normal number that is kept for the next call.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

import tinygrad_llm as tg  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore:to - 1 is out of bounds:UserWarning")

FLOATS = ["float32", "float64", "float16", "bfloat16"]
INTEGERS = ["int64", "int32", "int16", "int8", "uint8", "bool"]
RANGES = {
    **{"int64": (-(2**62), 2**62), "int32": (-(2**31), 2**31 - 1), "int16": (-(2**15), 2**15 - 1)},
    **{"int8": (-128, 127), "uint8": (0, 255), "bool": (0, 1), "float16": (-2000, 2000)},
    **{"bfloat16": (-(2**30), 2**30), "float32": (-(2**40), 2**40), "float64": (-(2**60), 2**60)},
}

seeds = st.one_of(
    st.integers(0, 9), st.integers(0, 2**32 - 1), st.integers(-(2**63), 2**64 - 1)
)  # fmt: skip
sizes = st.one_of(st.integers(0, 20), st.sampled_from([15, 16, 17, 31, 32, 33, 100]))
shapes = st.one_of(
    st.lists(sizes, max_size=3).map(tuple).filter(lambda s: math.prod(s) <= 20000),
    st.integers(1, 5000).map(lambda n: (n,)),
)
floats = st.sampled_from(FLOATS)


def bits(x):
    """A float tensor's numbers as integers in their order, so that neighbours differ by one."""
    n = 8 * x.element_size()
    array = x.detach().view(getattr(torch, f"int{n}")).numpy().astype(np.int64)
    return np.where(array < 0, -(array & (2 ** (n - 1) - 1)), array)


def as_torch(x):
    """One of our tensors as PyTorch's."""
    if x.dtype is tg.bfloat16:
        return torch.from_numpy(x.array.astype(np.float32)).to(torch.bfloat16)
    return torch.from_numpy(np.ascontiguousarray(x.array))


def assert_equal(theirs, ours, ulps=1):
    assert tuple(ours.shape) == tuple(theirs.shape)
    assert str(ours.dtype) == str(theirs.dtype)
    ours = as_torch(ours).reshape(theirs.shape)
    if theirs.is_floating_point():
        theirs = theirs.contiguous()
        distance = np.abs(bits(theirs).astype(object) - bits(ours).astype(object))
        assert distance.size == 0 or distance.max() <= ulps, f"{theirs} {ours}"
    else:
        assert torch.equal(theirs, ours)


def assert_same_state():
    assert tg.get_rng_state().tolist() == torch.get_rng_state().tolist()


# ------------------------------------------------------------------------------------- the draws
# Each takes Hypothesis' draw and returns a function that draws with a given library.
def kind(lib, name):
    return getattr(lib, name)


def rand(draw):
    shape, dtype = draw(shapes), draw(floats)
    return lambda lib: lib.rand(shape, dtype=kind(lib, dtype))


def randn(draw):
    shape, dtype = draw(shapes), draw(floats)
    return lambda lib: lib.randn(shape, dtype=kind(lib, dtype))


def uniform_(draw):
    shape, dtype = draw(shapes), draw(floats)
    low = draw(st.floats(-8, 8))
    high = low + draw(st.sampled_from([0.0, 1e-3, 0.5, 1.0, 7.3]))
    return lambda lib: lib.empty(shape, dtype=kind(lib, dtype)).uniform_(low, high)


def normal_(draw):
    shape, dtype = draw(shapes), draw(floats)
    mean = draw(st.one_of(st.just(0.0), st.floats(-8, 8)))
    std = draw(st.one_of(st.sampled_from([0.0, 0.02, 1.0]), st.floats(0, 4)))
    return lambda lib: lib.empty(shape, dtype=kind(lib, dtype)).normal_(mean, std)


def normal_of_tensors(draw):
    rows, columns, dtype = draw(st.integers(1, 9)), draw(st.integers(1, 9)), draw(floats)
    mean, std = draw(st.integers(-3, 3)), draw(st.integers(0, 3))

    def go(lib):
        means = lib.full((rows, 1), 0.5 + mean, dtype=kind(lib, dtype))
        stds = lib.full((1, columns), 0.25 * std, dtype=kind(lib, dtype))
        return [
            lib.normal(means, stds), lib.normal(means, 0.3), lib.normal(1.25, stds),
            lib.normal(0.5, 2.0, (rows, columns)),
        ]  # fmt: skip

    return go


def randint(draw):
    shape, dtype = draw(shapes), draw(st.sampled_from(INTEGERS + FLOATS))
    least, most = RANGES[dtype]
    low = draw(st.integers(least, most))
    if draw(st.booleans()):
        low = max(least, min(low, 2**20))
    width = draw(st.one_of(st.integers(1, 300), st.integers(1, 2**34), st.integers(1, most)))
    high = min(low + width, most + 1)
    if dtype in FLOATS and abs(low) > 1 << 8:  # here the bounds may round to the same number
        low = 0
        high = max(1, min(width, most))
    return lambda lib: lib.randint(low, high, shape, dtype=kind(lib, dtype))


def random_(draw):
    shape = draw(shapes)
    dtype = draw(st.sampled_from([d for d in INTEGERS + FLOATS]))
    bounds = draw(st.sampled_from([(), (7,), (1, 2), (3, None)]))
    if dtype == "bool":
        bounds = draw(st.sampled_from([(), (2,), (0, None)]))
    return lambda lib: lib.zeros(shape, dtype=kind(lib, dtype)).random_(*bounds)


def random_of_64_bits(draw):
    shape = draw(shapes)
    dtype = draw(st.sampled_from(["int64", "float64", "float32", "bfloat16"]))
    return lambda lib: lib.zeros(shape, dtype=kind(lib, dtype)).random_(-(2**63), None)


def randperm(draw):
    n = draw(st.integers(0, 600))
    dtype = draw(st.sampled_from(["int64", "int32", "float32"]))
    return lambda lib: lib.randperm(n, dtype=kind(lib, dtype))


def bernoulli_of_a_number(draw):
    shape, dtype = draw(shapes), draw(st.sampled_from(INTEGERS + FLOATS))
    p = draw(st.one_of(st.sampled_from([0.0, 0.5, 1.0]), st.floats(0, 1)))
    return lambda lib: lib.zeros(shape, dtype=kind(lib, dtype)).bernoulli_(p)


def bernoulli_of_a_tensor(draw):
    rows, columns, dtype = draw(sizes), draw(sizes), draw(floats)
    p = draw(st.lists(st.floats(0, 1), min_size=columns, max_size=columns))

    def go(lib):
        chances = lib.tensor(p, dtype=kind(lib, dtype)).reshape(1, columns).expand(rows, columns)
        return [lib.bernoulli(chances.contiguous()), lib.zeros(rows, columns).bernoulli_(chances)]

    return go


def exponential_(draw):
    shape, dtype = draw(shapes), draw(floats)
    rate = draw(st.one_of(st.just(1.0), st.floats(0.05, 9)))
    return lambda lib: lib.empty(shape, dtype=kind(lib, dtype)).exponential_(rate)


def _weights(draw, dtypes):
    rows, n = draw(st.one_of(st.none(), st.integers(1, 4))), draw(st.integers(1, 60))
    dtype = draw(st.sampled_from(dtypes))
    values = np.random.RandomState(draw(st.integers(0, 999))).randint(1, 999, n * (rows or 1))
    zeros = draw(st.integers(0, n - 1)) if draw(st.booleans()) else 0
    values = values.reshape(rows or 1, n)
    values[:, :zeros] = 0

    def make(lib):
        weights = lib.tensor((values / 1000).tolist(), dtype=kind(lib, dtype))
        return weights if rows else weights[0]

    return make, n - zeros


def multinomial(draw):
    make, possible = _weights(draw, ["float32", "float64"])
    n = draw(st.integers(1, possible))
    return lambda lib: lib.multinomial(make(lib), n)


def multinomial_of_one(draw):
    make, _ = _weights(draw, FLOATS)
    return lambda lib: make(lib).multinomial(1)


def multinomial_with_replacement(draw):
    make, _ = _weights(draw, FLOATS)
    n = draw(st.integers(1, 200))
    return lambda lib: lib.multinomial(make(lib), n, replacement=True)


def dropout(draw):
    shape, dtype = draw(shapes), draw(st.sampled_from(["float32", "float64"]))
    p = draw(st.one_of(st.sampled_from([0.0, 0.1, 0.5, 1.0]), st.floats(0, 0.95)))
    order = draw(st.permutations(range(len(shape))))

    def go(lib):
        x = lib.ones(shape, dtype=kind(lib, dtype)).permute(*order) if shape else lib.ones(())
        module = lib.nn.Dropout(p)
        return [lib.nn.functional.dropout(x, p), module(x), module.eval()(x)]

    return go


def like(draw):
    """Tensors in another order in memory, or with gaps in it."""
    shape = draw(st.lists(st.integers(1, 9), min_size=1, max_size=3).map(tuple))
    order = draw(st.permutations(range(len(shape))))
    step = draw(st.integers(1, 2))
    dtype = draw(st.sampled_from(["float32", "float64"]))

    def go(lib):
        x = lib.zeros(shape, dtype=kind(lib, dtype)).permute(*order)[::step]
        made = [lib.rand_like(x), lib.randn_like(x), lib.randint_like(x, 2, 9)]
        made += [lib.bernoulli(x + 0.5), lib.bernoulli(x, 0.25)]
        made += [x.uniform_(-1.0, 2.0).clone(), x.normal_(0.5, 2.0).clone()]
        made += [x.exponential_().clone(), x.bernoulli_(0.3).clone(), x.random_(5).clone()]
        return made

    return go


DRAWS = {
    f.__name__: f
    for f in (
        rand, randn, uniform_, normal_, normal_of_tensors, randint, random_, random_of_64_bits,
        randperm, bernoulli_of_a_number, bernoulli_of_a_tensor, exponential_, multinomial,
        multinomial_of_one, multinomial_with_replacement, dropout, like,
    )
}  # fmt: skip


def results(value):
    return value if isinstance(value, list) else [value]


def check(draw, names, seed):
    """The same draws from both, one after the other: the same numbers, the same state after each.

    If one raises an error, the other raises the same kind of error.
    """
    torch.manual_seed(seed)
    tg.manual_seed(seed)
    for name in names:
        go = DRAWS[name](draw)
        try:
            theirs = go(torch)
        except RuntimeError:
            with pytest.raises(RuntimeError):
                go(tg)
            return
        ours = go(tg)
        for a, b in zip(results(theirs), results(ours), strict=True):
            assert_equal(a, b)
        assert_same_state()


@pytest.mark.parametrize("name", DRAWS)
@settings(max_examples=60)
@given(data=st.data(), seed=seeds)
def test_stream(name, data, seed):
    check(data.draw, [name], seed)


@pytest.mark.slow
@pytest.mark.ci
@pytest.mark.parametrize("name", DRAWS)
@settings(max_examples=1000)
@given(data=st.data(), seed=seeds)
def test_stream_a_thousand_times(name, data, seed):
    check(data.draw, [name], seed)


names = st.lists(st.sampled_from(sorted(DRAWS)), min_size=2, max_size=12)


@settings(max_examples=60)
@given(data=st.data(), seed=seeds, names=names)
def test_streams_interleaved(data, seed, names):
    check(data.draw, names, seed)


@pytest.mark.slow
@pytest.mark.ci
@settings(max_examples=1000)
@given(data=st.data(), seed=seeds, names=names)
def test_streams_interleaved_a_thousand_times(data, seed, names):
    check(data.draw, names, seed)


# ----------------------------------------------------------------------------- to the last bit
@pytest.mark.skipif(
    torch.backends.cpu.get_cpu_capability() not in ("AVX2", "AVX512"),
    reason="PyTorch takes other functions for log, cos and sin on this processor",
)
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("size", [1, 15, 16, 17, 1000, 131072, 131073, 400001])
def test_normals_are_equal_to_the_last_bit(size, dtype):
    """Large enough for several threads, and for every octant of the circle."""
    torch.manual_seed(size)
    tg.manual_seed(size)
    assert_equal(
        torch.randn(size, dtype=kind(torch, dtype)), tg.randn(size, dtype=kind(tg, dtype)), ulps=0
    )
    assert_same_state()


@pytest.mark.parametrize("n", [0, 1, 2, 3, 17, 1000, 300007])
def test_long_permutations(n):
    torch.manual_seed(n)
    tg.manual_seed(n)
    assert torch.equal(torch.randperm(n), as_torch(tg.randperm(n)))


@pytest.mark.parametrize("p", [0.1, 0.15, 0.5])
@pytest.mark.parametrize("causal", [False, True])
def test_dropout_of_attention(p, causal):
    """The result shows the mask: without dropout, or with another mask, it would be far off."""
    torch.manual_seed(5)
    q = torch.randn(2, 3, 7, 8)
    k = torch.randn(2, 3, 7, 8)
    tg.manual_seed(9)
    torch.manual_seed(9)
    theirs = torch.nn.functional.scaled_dot_product_attention(
        q, k, q, dropout_p=p, is_causal=causal
    )
    ours = tg.nn.functional.scaled_dot_product_attention(
        *(tg.from_numpy(t.numpy()) for t in (q, k, q)), dropout_p=p, is_causal=causal
    )
    np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=0, atol=2e-6)
    assert_same_state()


# ------------------------------------------------------------------------------------- the state
@settings(max_examples=60)
@given(data=st.data(), seed=seeds, before=names, after=names)
def test_a_state_of_pytorch_goes_on_here(data, seed, before, after):
    """PyTorch's bytes are read in the middle of a stream, with the kept normal number."""
    torch.manual_seed(seed)
    for name in before:
        try:
            DRAWS[name](data.draw)(torch)
        except RuntimeError:
            pass
    tg.manual_seed(0)
    tg.set_rng_state(torch.get_rng_state().numpy())
    assert_same_state()
    assert tg.initial_seed() == torch.initial_seed()
    assert_equal(torch.randn(3), tg.randn(3))
    torch.set_rng_state(torch.from_numpy(tg.get_rng_state().numpy()))
    assert_equal(torch.randn(5), tg.randn(5))


@settings(max_examples=60)
@given(data=st.data(), seed=seeds, names=names)
def test_generators_of_their_own(data, seed, names):
    """`generator=` leaves the default stream alone."""
    theirs, ours = torch.Generator().manual_seed(seed), tg.Generator().manual_seed(seed)
    torch.manual_seed(0)
    tg.manual_seed(0)
    for _ in range(3):
        shape = data.draw(shapes)
        for make in (
            lambda lib, g, s: lib.rand(s, generator=g),
            lambda lib, g, s: lib.randn(s, generator=g),
            lambda lib, g, s: lib.randint(0, 50, s, generator=g),
            lambda lib, g, s: lib.randperm(len(s) + 5, generator=g),
            lambda lib, g, s: lib.normal(0.5, 2.0, s, generator=g),
            lambda lib, g, s: lib.multinomial(lib.tensor([0.1, 0.5, 0.4]), 2, generator=g),
            lambda lib, g, s: lib.bernoulli(lib.tensor([0.1, 0.5, 0.4]), generator=g),
            lambda lib, g, s: lib.zeros(s).uniform_(-1, 1, generator=g),
            lambda lib, g, s: lib.zeros(s).normal_(generator=g),
            lambda lib, g, s: lib.zeros(s).exponential_(generator=g),
            lambda lib, g, s: lib.zeros(s).bernoulli_(0.3, generator=g),
            lambda lib, g, s: lib.zeros(s).random_(9, generator=g),
        ):
            assert_equal(make(torch, theirs, shape), make(tg, ours, shape))
        assert ours.get_state().tolist() == theirs.get_state().tolist()
    assert_same_state()
    assert tg.get_rng_state().tolist() == torch.Generator().manual_seed(0).get_state().tolist()


# ------------------------------------------------------------------------------------ the errors
EXPRESSIONS = """
rand(-1)
rand(2, dtype=int64)
randn(2, dtype=int64)
rand('a')
rand(2.5)
rand(True)
randint(5, 5, (3,))
randint(0, -5, (3,))
randint(1.5, (3,))
randint(0, 300, (2,), dtype=uint8)
randint(-1, 10, (2,), dtype=uint8)
randint(0, 10, 3)
randint(3)
randperm(-1)
randperm(2.5)
randperm(300, dtype=uint8)
normal(0.0, -1.0, (3,))
normal(0.0, tensor([-1.0, 1.0]))
normal(0.0, 1.0)
normal(tensor([1, 2]), 1.0)
normal(zeros(2), ones(3))
rand_like([1.0])
rand_like(zeros(2, dtype=int64))
randn_like(zeros(2, dtype=int64))
bernoulli(0.5)
bernoulli(tensor([1, 0]))
bernoulli(tensor([1.5]))
bernoulli(tensor([0.5]), 1.5)
multinomial(tensor([0.0, 0.0]), 1)
multinomial(tensor([-1.0, 2.0]), 1)
multinomial(tensor([1.0, nan]), 1)
multinomial(tensor([1.0, 2.0]), 3)
multinomial(tensor([1.0, 2.0]), 0)
multinomial(tensor([1, 2]), 1)
multinomial(tensor(1.0), 1)
multinomial(zeros(2, 2, 2) + 1, 1)
multinomial(tensor([1.0]), 1.5)
multinomial(tensor([1.0, inf]), 5, True)
multinomial(tensor([0.0, 0.0]), 5, True)
multinomial(tensor([-1.0, 1.0]), 5, True)
zeros(3).uniform_(2, 1)
zeros(3).uniform_(0, inf)
zeros(3).uniform_(nan, 1)
zeros(3).uniform_(-3e38, 3e38)
zeros(3, dtype=int64).uniform_()
zeros(3, dtype=float16).uniform_(0, 1e6)
zeros(0).uniform_(2, 1)
zeros(3).uniform_(from_=1.0)
zeros(3).normal_(0, -1)
zeros(3, dtype=int64).normal_()
zeros(3).exponential_(0.0)
zeros(3).exponential_(-1.0)
zeros(3, dtype=int64).exponential_()
zeros(3).bernoulli_(1.5)
zeros(3).bernoulli_(nan)
zeros(3).bernoulli_(rand(2))
zeros(3).random_(5, 5)
zeros(3).random_(2.5)
zeros(3, dtype=uint8).random_(0, 300)
zeros(3, 1).expand(3, 3).uniform_()
rand(3, requires_grad=True).uniform_()
rand(3, requires_grad=True)[:2].normal_()
manual_seed(2**64)
manual_seed(-(2**63) - 1)
manual_seed('a')
Generator('foo')
Generator().manual_seed(1.5)
Generator().set_state(zeros(5, dtype=uint8))
Generator().set_state(zeros(5056))
Generator().set_state(zeros(5056, dtype=uint8))
""".strip().splitlines()


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_errors(expression):
    """The same class of error, and mostly PyTorch's words if the message is PyTorch's own."""
    with pytest.raises(Exception) as theirs:
        eval(expression, vars(torch).copy())
    with pytest.raises(theirs.type) as ours:
        eval(expression, {**vars(tg), "nan": math.nan, "inf": math.inf})
    assert type(ours.value) is theirs.type
    assert len(str(ours.value)) > 10
