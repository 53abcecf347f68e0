"""The compiled loop of the selective scan against the op, as test_loops.py does it for rows."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_llm as tg
from tinygrad_llm import ops
from tinygrad_llm.arrays import twins
from tinygrad_llm.autograd import engine
from tinygrad_llm.layers.mamba import Mamba

SIZES = [(1, 1, 1, 1), (2, 5, 37, 3), (3, 33, 16, 16), (1, 70, 130, 8), (2, 64, 17, 5)]


def arrays(B, D, T, N, seed=0):
    rng = np.random.default_rng(seed)
    return [
        rng.standard_normal((B, D, T)), 2.0 * rng.random((B, D, T)), -3.0 * rng.random((D, N)),
        *rng.standard_normal((2, B, N, T)),
    ]  # fmt: skip


def run(given, dtype, **options):
    """y and the gradients of all inputs, and which class ran."""
    classes, xs = [], [tg.from_numpy(a.astype(dtype)).requires_grad_() for a in given]

    def watch(op, inputs, results):
        classes.append(type(op))

    engine.observers.append(watch)
    try:
        y = ops.SelectiveScan.apply(*xs, **options)
    finally:
        engine.observers.remove(watch)
    upstream = np.random.default_rng(9).standard_normal(tuple(y.shape)).astype(dtype)
    y.backward(tg.from_numpy(upstream))
    return [y.detach().numpy(), *(x.grad.numpy() for x in xs)], classes[0]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("sizes", SIZES)
def test_close_to_the_op(sizes, dtype, loops, monkeypatch):
    bound = {"float32": 1e-5, "float64": 1e-12}[dtype]
    for chunk in (1, 4, 16, 64):
        got, kind = run(arrays(*sizes), dtype, chunk=chunk)
        assert kind.__name__ == "SelectiveScan" and kind is not ops.SelectiveScan
        with monkeypatch.context() as patch:
            patch.setattr(twins.large, "least", twins.NEVER)
            expected, kind = run(arrays(*sizes), dtype, chunk=chunk)
        assert kind is ops.SelectiveScan
        for a, b in zip(got, expected, strict=True):
            assert a.dtype == b.dtype and a.shape == b.shape
            assert abs(a - b).max() <= bound * abs(b).max() + 1e-7


@pytest.mark.parametrize("special", ["nan", "inf", "-inf", "1e-42", "300", "0"])
@pytest.mark.parametrize("which", range(5))
def test_special_numbers(which, special, loops, monkeypatch):
    given = arrays(2, 5, 9, 3)
    given[which].flat[4] = float(special)
    with np.errstate(all="ignore"):
        got, _ = run(given, "float32")
        monkeypatch.setattr(twins.large, "least", twins.NEVER)
        expected, _ = run(given, "float32")
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_array_equal(np.isnan(a), np.isnan(b))
        np.testing.assert_array_equal(np.isinf(a), np.isinf(b))
        np.testing.assert_allclose(
            a, b, rtol=2e-4, atol=1e-5 * np.nanmax(np.abs(b[np.isfinite(b)]))
        )


def test_the_number_of_threads_changes_nothing(loops, monkeypatch):
    results = []
    for n in (1, 2, 3):
        monkeypatch.setattr("tinygrad_llm.arrays.parallel._threads", n)
        results.append(run(arrays(2, 150, 70, 8), "float32")[0])
    for others in results[1:]:
        for a, b in zip(results[0], others, strict=True):
            np.testing.assert_array_equal(a, b)


def test_a_mamba_takes_the_loop(loops):
    """Its inputs are transposed views, and half precisions take the op or the loop in float32."""
    classes = []

    def watch(op, inputs, results):
        classes.append(type(op))

    layer, x = Mamba(6, inner_dim=10, state_dim=3), tg.randn(2, 20, 6)
    engine.observers.append(watch)
    try:
        layer(x).sum().backward()
    finally:
        engine.observers.remove(watch)
    scans = [kind for kind in classes if kind.__name__ == "SelectiveScan"]
    assert len(scans) == 1 and scans[0] is not ops.SelectiveScan
