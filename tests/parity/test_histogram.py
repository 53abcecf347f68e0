"""histc and histogram: PyTorch's counts, edges and errors."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import tinygrad_llm as tg  # noqa: E402

SIZES = [
    ((50,), 4, 0, 1), ((7, 9), 10, 0, 0), ((200,), 13, -1, 2), ((5,), 1, 0, 3), ((1,), 3, 0, 0),
    ((3, 4, 5), 100, 0, 0), ((1000,), 37, 0.2, 0.9), ((6,), 5, 2, 2), ((64,), 8, -3, 3),
]  # fmt: skip
every_dtype = pytest.mark.parametrize("dtype", ["float32", "float64"])


@pytest.mark.parametrize("shape,bins,low,high", SIZES)
@every_dtype
def test_histc(shape, bins, low, high, dtype):
    x = np.random.default_rng(bins).normal(size=shape).astype(dtype)
    ours = tg.histc(tg.tensor(x), bins, low, high)
    theirs = torch.histc(torch.tensor(x), bins, low, high)
    assert ours.tolist() == theirs.tolist() and str(ours.dtype) == str(theirs.dtype)
    assert tg.tensor(x).histc(bins=bins, min=low, max=high).tolist() == theirs.tolist()


@pytest.mark.parametrize("shape,bins,low,high", SIZES)
@every_dtype
@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("density", [True, False])
def test_histogram(shape, bins, low, high, dtype, weighted, density):
    rng = np.random.default_rng(bins)
    x = rng.normal(size=shape).astype(dtype)
    w = rng.uniform(size=shape).astype(dtype)
    results = []
    for lib in (tg, torch):
        options = {"density": density, "weight": lib.tensor(w) if weighted else None}
        if low != high:
            options["range"] = (float(low), float(high))
        results.append(lib.histogram(lib.tensor(x), bins, **options))
    for ours, theirs in zip(*results, strict=True):
        np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=2e-5, atol=1e-6)
    assert results[0]._fields == ("hist", "bin_edges")


def test_edges_that_are_given():
    x, edges = [0.0, 0.5, 1.0, 1.5, 2.0, 9.0], [0.0, 0.5, 2.0]
    ours = tg.tensor(x).histogram(tg.tensor(edges))
    theirs = torch.tensor(x).histogram(torch.tensor(edges))
    assert ours.hist.tolist() == theirs.hist.tolist() == [1.0, 4.0]
    assert repr(ours) == repr(theirs)


@pytest.mark.parametrize("call", [
    lambda lib: lib.histc(lib.ones(3).long()), lambda lib: lib.histc(lib.ones(3), 0),
    lambda lib: lib.histc(lib.ones(3), 4, 2, 1), lambda lib: lib.histc(lib.tensor([float("inf")])),
    lambda lib: lib.histogram(lib.ones(3), 0),
    lambda lib: lib.histogram(lib.ones(3), 3, weight=lib.ones(2)),
])  # fmt: skip
def test_errors(call):
    for lib in (torch, tg):
        with pytest.raises(RuntimeError):
            call(lib)
