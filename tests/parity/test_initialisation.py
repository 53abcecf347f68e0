"""First weights: with the same seed, PyTorch's, from nn.init and from every layer's default."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

import tinygrad_llm as tg  # noqa: E402

seeds = st.integers(0, 2**64 - 1)


def assert_same_weights(make, seed, exact=True):
    """make(library) returns tensors; they are equal, and so are the generators afterwards."""
    torch.manual_seed(seed)
    theirs = make(torch)
    tg.manual_seed(seed)
    ours = make(tg)
    for a, b in zip(theirs, ours, strict=True):
        a, b = a.detach().numpy(), b.detach().numpy()
        assert a.dtype == b.dtype
        if exact:
            np.testing.assert_array_max_ulp(a, b, maxulp=1)
        else:
            np.testing.assert_allclose(b, a, rtol=0, atol=1e-5)
    assert torch.get_rng_state().tolist() == tg.get_rng_state().tolist()


INITIALISERS = {
    "uniform_": [(), (-0.1, 0.3)],
    "normal_": [(), (0.0, 0.02), (1.0, 0.3)],
    "trunc_normal_": [(), (0.0, 0.02, -0.04, 0.04), (0.5, 1.0, -1.0, 3.0), (0.0, 1.0, 1.5, 1.8)],
    "xavier_uniform_": [(), (math.sqrt(2.0),)],
    "xavier_normal_": [(), (5 / 3,)],
    "kaiming_uniform_": [(), (math.sqrt(5),), (0, "fan_out", "relu")],
    "kaiming_normal_": [(), (0, "fan_out", "relu")],
    "sparse_": [(0.3,)],
}


@pytest.mark.parametrize("name", INITIALISERS)
@settings(max_examples=40)
@given(data=st.data(), seed=seeds, transposed=st.booleans())
def test_initialisers(name, data, seed, transposed):
    shape = tuple(data.draw(st.lists(st.integers(1, 40), min_size=2, max_size=2)))
    arguments = data.draw(st.sampled_from(INITIALISERS[name]))
    dtype = data.draw(st.sampled_from(["float32", "float64"]))

    def make(lib):
        weight = lib.empty(*shape, dtype=getattr(lib, dtype))
        return [getattr(lib.nn.init, name)(weight.t() if transposed else weight, *arguments)]

    assert_same_weights(make, seed)


@pytest.mark.parametrize("shape", [(5, 5), (7, 3), (3, 7)])
def test_orthogonal(shape):
    """A QR decomposition of the same numbers: LAPACK's rounding differs."""
    assert_same_weights(lambda lib: [lib.nn.init.orthogonal_(lib.empty(*shape))], 1, exact=False)


LAYERS = {
    "Linear": lambda lib, n, m: lib.nn.Linear(n, m),
    "Linear without bias": lambda lib, n, m: lib.nn.Linear(n, m, bias=False),
    "Embedding": lambda lib, n, m: lib.nn.Embedding(n, m),
    "Embedding with padding": lambda lib, n, m: lib.nn.Embedding(n, m, padding_idx=0),
    "LayerNorm": lambda lib, n, m: lib.nn.LayerNorm(n),
    "MultiheadAttention": lambda lib, n, m: lib.nn.MultiheadAttention(4 * n, 4),
    "MultiheadAttention, three sizes": lambda lib, n, m: lib.nn.MultiheadAttention(
        4 * n, 4, kdim=m, vdim=n, bias=False
    ),
    "several": lambda lib, n, m: lib.nn.Sequential(
        lib.nn.Embedding(n, m), lib.nn.Linear(m, n), lib.nn.GELU(), lib.nn.Linear(n, m)
    ),
}


@pytest.mark.parametrize("name", LAYERS)
@settings(max_examples=40)
@given(seed=seeds, n=st.integers(1, 30), m=st.integers(1, 30))
def test_layers(name, seed, n, m):
    """Another layer is made before the draws: it must draw as many numbers as PyTorch's."""

    def make(lib):
        first = lib.nn.Linear(3, 1)  # an odd number of draws
        layer = LAYERS[name](lib, n, m)
        return [*first.parameters(), *layer.parameters(), lib.randn(3)]

    assert_same_weights(make, seed)
