"""Inputs beside those that broke something once: other dtypes, NaN, no elements, 0 dimensions."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import tinygrad_llm as tg  # noqa: E402

nan, inf = math.nan, math.inf
VALUES = [0.1, -1.3, 2.7, 300.0, 1e-4, 7.0, -7.0]

QUOTIENTS = {
    "//": lambda L, x, n: x // n,
    "floor": lambda L, x, n: L.div(x, n, rounding_mode="floor"),
    "trunc": lambda L, x, n: L.div(x, n, rounding_mode="trunc"),
    "%": lambda L, x, n: x % n,
    "fmod": lambda L, x, n: L.fmod(x, n),
    "number // x": lambda L, x, n: n // x,
    "// 0-d tensor": lambda L, x, n: x // L.tensor(n),
    "trunc, 0-d tensor": lambda L, x, n: L.div(x, L.tensor(n), rounding_mode="trunc"),
    "// tensor": lambda L, x, n: x // L.full((7,), n, dtype=x.dtype),
    "trunc, tensor": lambda L, x, n: L.div(
        x, L.full((7,), n, dtype=x.dtype), rounding_mode="trunc"
    ),
    "in place": lambda L, x, n: x.floor_divide_(n),
}


@pytest.mark.parametrize("name", QUOTIENTS)
@pytest.mark.parametrize("number", [0.3, 0.1, 3, -0.7, 0.0, inf])
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.filterwarnings("ignore")
def test_whole_quotients_in_half_precision(name, number, dtype):
    ours, theirs = (
        QUOTIENTS[name](L, L.tensor(VALUES, dtype=getattr(L, dtype)), number).float().numpy()
        for L in (tg, torch)
    )
    np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("n", [1, 2, 3, 4, 7, 8])
@pytest.mark.parametrize("n_nan", [0, 1, 3])
@pytest.mark.parametrize("right", [False, True])
def test_searchsorted_with_nan(n, n_nan, right):
    rng = np.random.default_rng([n, n_nan])
    sequence = [*sorted(rng.integers(-3, 4, n).tolist()), *[nan] * n_nan]
    values = [nan, -inf, inf, *range(-4, 5)]
    for s, v in ((sequence, values), ([sequence, sequence[::-1]], [values, values])):
        ours, theirs = (
            L.searchsorted(L.tensor(s) + 0.0, L.tensor(v) + 0.0, right=right).tolist()
            for L in (tg, torch)
        )
        assert ours == theirs
    ours, theirs = (
        L.bucketize(L.tensor(values), L.tensor(sequence) + 0.0, right=right).tolist()
        for L in (tg, torch)
    )
    assert ours == theirs


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16", "int64"])
def test_median_of_nothing(dtype):
    for shape in ((0,), (3, 0)):
        ours, theirs = (L.empty(shape, dtype=getattr(L, dtype)).median() for L in (tg, torch))
        assert ours.shape == () and str(ours.dtype) == str(theirs.dtype)
        assert repr(ours.item()) == repr(theirs.item())


@pytest.mark.parametrize("p", [inf, -inf, -1.0, 0, 1, 2])
def test_norms_of_nothing(p):
    outcomes = []
    for L in (tg, torch):
        try:
            outcomes.append(L.zeros(0).norm(p).item())
        except (RuntimeError, IndexError) as error:
            outcomes.append((type(error), str(error)[:60]))
    assert outcomes[0] == outcomes[1]


@pytest.mark.parametrize("mode", ["floor", "trunc"])
def test_truth_values_have_no_whole_quotient(mode):
    for L in (tg, torch):
        x = L.tensor([True])
        with pytest.raises(NotImplementedError, match="not implemented for 'Bool'"):
            L.div(x, x, rounding_mode=mode)
        with pytest.raises(NotImplementedError, match="not implemented for 'Bool'"):
            x // x


def test_linspace_is_silent():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for L in (tg, torch):
            assert math.isnan(L.linspace(-3e38, 3e38, 3)[0].item())


@pytest.mark.parametrize("weight", [0.1, 0.3, 0.49999, 0.5, 0.6, 0.9, 1.0, -2.0])
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_lerp_in_half_precision(weight, dtype):
    rng = np.random.default_rng(3)
    a, b = rng.standard_normal((2, 4096)).astype("float32")
    ours, theirs = (
        L.lerp(*[L.from_numpy(v).to(getattr(L, dtype)) for v in (a, b)], weight).float().numpy()
        for L in (tg, torch)
    )
    np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("alpha", [1.0, 0.3])
def test_elu_keeps_its_digits_far_below_zero(alpha):
    for L in (tg, torch):
        x = L.tensor([-20.0, -40.0, -80.0], requires_grad=True)
        L.nn.functional.elu(x, alpha).sum().backward()
        np.testing.assert_allclose(x.grad.numpy(), alpha * np.exp(x.detach().numpy()), 1e-5)
