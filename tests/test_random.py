"""Random numbers without PyTorch at hand: its numbers as it printed them, and what must hold."""

from __future__ import annotations

import threading
from fractions import Fraction

import numpy as np
import pytest
from forks import forks, in_child
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import tinygrad_llm as tg
from tinygrad_llm import random
from tinygrad_llm.arrays import parallel
from tinygrad_llm.random import Generator, normal, sequences

seeds = st.integers(-(2**63), 2**64 - 1)
NAMES = ["rand", "randn", "randint", "randperm", "bernoulli", "exponential", "multinomial"]


def one(generator, name, n=5):
    """n numbers of a stream."""
    if name == "randint":
        return generator.randint(0, 100, n)
    if name == "randperm":
        return generator.randperm(n)
    if name == "bernoulli":
        return generator.bernoulli(0.5, n)
    if name == "multinomial":
        return generator.multinomial(np.ones(n), n)
    return getattr(generator, name)(n)


# ------------------------------------------------------------------------------ PyTorch's numbers
# What PyTorch 2.13.0 gives on a CPU after torch.manual_seed(123), each from the seed on.
PYTORCH = {
    "rand(4)": [0.29611194133758545, 0.516562283039093, 0.2516707181930542, 0.6885567903518677],
    "randn(3)": [-0.11146711558103561, 0.12036294490098953, -0.3696345090866089],
    "randn(17)[:3]": [0.3373701870441437, -1.0204719305038452, -0.16895627975463867],
    "rand(2, dtype=float64)": [0.368895870664273, 0.013365949855291825],
    "randint(0, 1000, (5,))": [382, 789, 102, 610, 580],
    "randperm(8)": [6, 2, 1, 3, 4, 7, 0, 5],
}


@pytest.mark.parametrize("expression", PYTORCH)
def test_pytorchs_numbers(expression):
    tg.manual_seed(123)
    ours = eval("tg." + expression, {"tg": tg, "float64": tg.float64}).tolist()
    np.testing.assert_allclose(ours, PYTORCH[expression], rtol=1e-6)


# ------------------------------------------------------------------------------- what must hold
@given(seed=seeds, name=st.sampled_from(NAMES))
def test_the_same_seed_gives_the_same_numbers(seed, name):
    a, b = Generator().manual_seed(seed), Generator().manual_seed(seed)
    np.testing.assert_array_equal(one(a, name), one(b, name))


@settings(max_examples=60)
@given(
    seed=seeds,
    before=st.lists(st.sampled_from(NAMES), max_size=5),
    after=st.lists(st.sampled_from(NAMES), max_size=5),
    n=st.integers(1, 40),
)
def test_a_state_is_taken_up_again(seed, before, after, n):
    generator = Generator().manual_seed(seed)
    for name in before:
        one(generator, name, n)
    other = Generator()
    other.set_state(generator.get_state())
    for name in after:
        np.testing.assert_array_equal(one(other, name, n), one(generator, name, n))
    np.testing.assert_array_equal(other.state(), generator.state())
    assert other.initial_seed() == generator.initial_seed() == seed % 2**64


def test_the_kept_normal_is_part_of_the_state():
    generator = Generator().manual_seed(1)
    generator.randn(3)
    state = generator.state()
    expected = generator.randn(1)
    generator.randn(2)
    generator.set_state(state)
    assert generator.randn(1) == expected
    generator.manual_seed(1)
    assert generator.randn(1) != expected  # a new seed forgets it


def test_seed_begins_another_stream_every_time():
    generator = Generator()
    assert generator.initial_seed() == 67280421310721
    assert len({generator.seed() for _ in range(8)}) == 8
    assert generator.initial_seed() == generator._seed


def test_default_generator():
    before = tg.get_rng_state()
    assert tg.manual_seed(7) is tg.default_generator is random.default_generator
    assert tg.initial_seed() == tg.random.initial_seed() == 7
    with random.fork_rng():
        tg.rand(5)
    with random.fork_rng():
        a = tg.rand(5)
    assert a.tolist() == tg.rand(5).tolist()
    assert tg.seed() == tg.initial_seed()
    tg.set_rng_state(before)
    assert tg.get_rng_state().tolist() == before.tolist()


@pytest.mark.parametrize(
    ("draw", "mean", "variance"),
    [
        (lambda g, n: g.rand(n), 1 / 2, 1 / 12),
        (lambda g, n: g.rand(n, np.float64), 1 / 2, 1 / 12),
        (lambda g, n: g.uniform(n, -1.0, 3.0), 1, 16 / 12),
        (lambda g, n: g.randn(n), 0, 1),
        (lambda g, n: g.randn(n, np.float64), 0, 1),
        (lambda g, n: g.normal(n, 2.0, 3.0), 2, 9),
        (lambda g, n: g.normal(n, 2.0, 3.0, contiguous=False), 2, 9),
        (lambda g, n: g.exponential(n, 2.0), 1 / 2, 1 / 4),
        (lambda g, n: g.bernoulli(0.3, n), 0.3, 0.21),
        (lambda g, n: g.bernoulli(np.full(n, 0.3, np.float32)), 0.3, 0.21),
        (lambda g, n: g.randint(-5, 6, n), 0, 10),
        (lambda g, n: g.randperm(n) / n, 1 / 2, 1 / 12),
        (lambda g, n: g.multinomial(np.array([0.2, 0.3, 0.5]), n, True), 1.3, 0.61),
    ],
)
def test_mean_and_variance(draw, mean, variance):
    n = 400_000
    x = draw(Generator().manual_seed(11), n).astype(np.float64)
    assert abs(x.mean() - mean) < 5 * (variance / n) ** 0.5
    assert abs(x.var() - variance) < 12 * variance / n**0.5


def test_multinomial_without_replacement_draws_by_weight():
    generator = Generator().manual_seed(3)
    weights = np.array([[0.1, 0.2, 0.7]] * 30000, np.float32)
    ids = generator.multinomial(weights, 2)
    assert (ids[:, 0] != ids[:, 1]).all()
    share = np.bincount(ids[:, 0], minlength=3) / len(ids)
    np.testing.assert_allclose(share, [0.1, 0.2, 0.7], atol=0.01)
    second = np.bincount(ids[ids[:, 0] == 2, 1], minlength=3) / (ids[:, 0] == 2).sum()
    np.testing.assert_allclose(second, [1 / 3, 2 / 3, 0], atol=0.02)


@given(
    low=st.floats(-1e4, 1e4), width=st.sampled_from([0.0, 1e-6, 1e-3, 1.0]),
    dtype=st.sampled_from([np.float32, np.float64, np.float16]), seed=seeds,
)  # fmt: skip
def test_uniform_stays_in_its_interval(low, width, dtype, seed):
    """Where the interval is narrow, rounding reaches its end: that must become its beginning."""
    low = float(dtype(low))
    high = float(dtype(low + width))
    x = Generator().manual_seed(seed).uniform(3000, low, high, dtype)
    assert (x >= low).all() and ((x < high) | (low == high)).all()


@given(seed=seeds, n=st.integers(0, 400))
def test_a_permutation_has_every_number_once(seed, n):
    assert sorted(Generator().manual_seed(seed).randperm(n).tolist()) == list(range(n))


@settings(max_examples=200)
@given(st.data(), st.integers(2, 60))
def test_all_swaps_together(data, n):
    """The result of Fisher and Yates' swaps one by one, for any partners."""
    partner = [data.draw(st.integers(i, n - 1)) for i in range(n - 1)]
    expected = list(range(n))
    for i, j in enumerate(partner):
        expected[i], expected[j] = expected[j], expected[i]
    assert sequences.shuffled(np.array(partner)).tolist() == expected


finite = st.floats(-1e6, 1e6).filter(lambda v: v == 0 or abs(v) > 1e-6)


@settings(max_examples=200)
@given(
    hnp.arrays(np.float64, st.integers(0, 5), elements=finite), finite, finite,
    st.sampled_from([np.float32, np.float64]),
)  # fmt: skip
def test_fused_multiply_add_rounds_once(x, a, b, dtype):
    x, a, b = x.astype(dtype), float(dtype(a)), float(dtype(b))
    exact = [Fraction(float(v)) * Fraction(a) + Fraction(b) for v in x]
    expected = np.array([float(v) for v in exact]).astype(dtype)
    np.testing.assert_array_equal(normal.fused_multiply_add(x, a, b), expected)


def _fused(y, x, c):
    """y·x + c rounded once to float32."""
    return (y.astype(np.float64) * np.asarray(x, np.float64) + c).astype(np.float32)


def _one_by_one(k):
    """Radius, cosine and sine for uniforms k·2⁻²⁴, as PyTorch's vector code goes: step by step."""
    f = np.float32
    u = f(1) - k.astype(f) * f(2**-24)
    mantissa, exponent = np.frexp(u)
    low = mantissa < f(0.707106781186547524)
    x = np.where(low, mantissa + mantissa, mantissa) - f(1)
    e = exponent.astype(f) - low
    y = np.full_like(x, normal._P[0])
    for p in normal._P[1:]:
        y = _fused(y, x, p)
    z = x * x
    y = _fused(y * x, z, e * f(normal._LN2_LOW)) - z * f(0.5)
    r = np.sqrt(f(-2) * (x + y + e * f(normal._LN2_HIGH)))

    x = (k.astype(f) * f(2**-24)) * f(2 * np.pi)
    octant = ((x * f(4 / np.pi)).astype(np.int32) + 1) & -2
    for quarter in (0.78515625, 2.4187564849853515625e-4, 3.77489497744594108e-8):
        x = _fused(octant.astype(f), -float(f(quarter)), x)
    z = x * x
    c, s = (np.full_like(x, p[0]) for p in (normal._C, normal._S))
    for p, q in zip(normal._C[1:], normal._S[1:], strict=True):
        c, s = _fused(c, z, p), _fused(s, z, q)
    c = _fused(c * z, z, -(z * f(0.5))) + f(1)
    s = _fused(s * z, x, x)
    even = octant & 2 == 0
    sine, cosine = np.where(even, s, c), np.where(even, c, s)
    return r, np.where((octant + 2) & 4, -cosine, cosine), np.where(octant & 4, -sine, sine)


@pytest.mark.parametrize("stride", [61, pytest.param(1, marks=pytest.mark.slow)])
def test_every_uniform_there_is(stride):
    """Of the 2²⁴ float32 uniforms, every 61st here, and all of them in the slow run."""
    for start in range(0, 1 << 24, stride * normal.PAIRS):
        k = np.arange(start, min(start + stride * normal.PAIRS, 1 << 24), stride, np.int32)
        arrays = normal._scratch.arrays(k.size)
        ours = [normal._radius(k.copy(), *arrays).copy()]
        ours += normal._on_circle(k.copy(), np.ones(k.size, np.float32), *arrays)
        for a, b in zip(ours, _one_by_one(k), strict=True):  # the sign of a zero counts too
            np.testing.assert_array_equal(a.view(np.int32), b.view(np.int32))


@pytest.mark.parametrize("n", [131072, 262144, 600000, 3_000_003])
def test_threads_change_nothing(n):
    """The stream is shared out among threads in an order that is not always the same."""
    before = parallel.thread_count()
    try:
        parallel.set_thread_count(1)
        alone = Generator().manual_seed(n).randn(n)
        parallel.set_thread_count(4)
        together = Generator().manual_seed(n).randn(n)
    finally:
        parallel.set_thread_count(before)
    np.testing.assert_array_equal(alone, together)


def test_two_threads_with_generators_of_their_own():
    """The arrays to work in are kept from call to call: each thread has its own."""
    expected = [Generator().manual_seed(i).randn(50_000) for i in range(4)]
    got = [None] * 4

    def work(i):
        for _ in range(5):
            got[i] = Generator().manual_seed(i).randn(50_000)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for a, b in zip(expected, got, strict=True):
        np.testing.assert_array_equal(a, b)


@forks
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_process_draws_too():
    """It has none of its parent's threads, and must not wait for them."""
    n = 600_000
    expected = Generator().manual_seed(5).randn(n)

    def work():
        np.testing.assert_array_equal(Generator().manual_seed(5).randn(n), expected)

    assert in_child(work)


@pytest.mark.parametrize("name", ["rand", "randn", "exponential"])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "bfloat16"])
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 3), (17,), (0, 4)])
def test_shapes_and_dtypes(name, dtype, shape):
    if dtype == "bfloat16":
        pytest.importorskip("ml_dtypes")
    kind = getattr(tg, dtype).numpy
    x = getattr(Generator().manual_seed(1), name)(shape, dtype=kind)
    assert isinstance(x, np.ndarray) and x.shape == shape and x.dtype == kind


def test_nothing_is_drawn_for_nothing():
    generator = Generator().manual_seed(1)
    state = generator.state()
    generator.rand((0,))
    generator.randn((3, 0))
    generator.randint(0, 5, (0,))
    generator.randperm(1)
    generator.bernoulli(0.5, 0)
    np.testing.assert_array_equal(generator.state(), state)


def test_the_order_of_memory():
    x = np.zeros((2, 3, 4)).transpose(2, 0, 1)[:, :, ::2]
    counted = sequences.in_memory_order(lambda s: np.arange(np.prod(s)).reshape(s), x)
    assert counted.shape == x.shape
    assert sequences.memory_order(x.shape, x.strides) == [1, 2, 0]
    assert counted[:, 0, 0].tolist() == [0, 1, 2, 3]
    rows = np.zeros((3, 4))
    assert sequences.in_memory_order(lambda s: np.arange(12).reshape(s), rows)[0].tolist() == [
        *range(4)
    ]


# -------------------------------------------------------------------------------------- errors
@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: Generator("tpu"), RuntimeError, "tpu"),
        (lambda: Generator().manual_seed(1.5), RuntimeError, "float"),
        (lambda: Generator().manual_seed(2**64), ValueError, "Overflow"),
        (lambda: Generator().set_state(np.zeros(3)), TypeError, "ByteTensor"),
        (lambda: Generator().set_state(np.zeros(3, np.uint8)), RuntimeError, "5056"),
        (lambda: Generator().set_state(np.zeros(5056, np.uint8)), RuntimeError, "Invalid"),
        (lambda: Generator().randint(3, 3, 1), RuntimeError, "from=3"),
        (lambda: Generator().randint(0, 300, 1, np.uint8), RuntimeError, "uint8"),
        (lambda: Generator().exponential(1, 0.0), RuntimeError, "lambda"),
        (lambda: Generator().bernoulli(1.5, 1), RuntimeError, "p=1.5"),
        (lambda: Generator().bernoulli(np.array([2.0])), RuntimeError, "in \\[0, 1\\]"),
        (lambda: Generator().randperm(1 << 40), RuntimeError, "randperm"),
        (lambda: tg.rand(2, generator=5), TypeError, "Generator"),
        (lambda: tg.randint(low=3, size=(2,)), TypeError, "high"),
    ],
)
def test_errors_name_what_was_wrong(make, error, words):
    with pytest.raises(error, match=words):
        make()


def test_a_gpu_gets_the_numbers_of_the_cpu(device):
    def numbers(device):
        tg.manual_seed(5)
        x = tg.zeros(4, 5, device=device)
        made = [tg.rand(3, 4, device=device), tg.randn(20, device=device)]
        made += [tg.randint(0, 9, (5,), device=device), tg.randperm(6, device=device)]
        made += [tg.rand_like(x), tg.randn_like(x.t()), tg.randint_like(x, 7)]
        made += [x.uniform_(-1, 1).clone(), x.t().normal_(1, 2).clone(), x.exponential_().clone()]
        made += [x.bernoulli_(0.5).clone(), x.bernoulli_(x * 0.5 + 0.2).clone()]
        made += [tg.bernoulli(x), x.random_(9).clone(), tg.multinomial(x + 1, 2)]
        made += [tg.normal(x, 2.0), tg.normal(0.5, x), tg.nn.functional.dropout(x + 1, 0.4)]
        assert all(str(t.device).startswith(device) for t in made)
        return [t.cpu().tolist() for t in made]

    assert numbers(device) == numbers("cpu")


def test_a_random_fill_is_a_change_in_place():
    x = tg.rand(3, requires_grad=True)
    with pytest.raises(RuntimeError, match="leaf"):
        x.normal_()
    with tg.no_grad():
        x.normal_()
    y = x * 2
    z = (y * y).sum()
    y.uniform_()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        z.backward()
    with pytest.raises(RuntimeError, match="single memory location"):
        tg.zeros(3, 1).expand(3, 4).uniform_()


def test_random_numbers_do_not_touch_numpys_own():
    np.random.seed(1)
    expected = np.random.RandomState(1).rand()
    tg.manual_seed(5)
    tg.randn(100)
    assert np.random.rand() == expected
