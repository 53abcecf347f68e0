"""Nine ways to write multi-head attention: equal outputs and gradients, also PyTorch's."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
torch.set_num_threads(1)

import tinygrad_llm as tg  # noqa: E402

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.attention_ways import WAYS, build  # noqa: E402

B, T, C, H = 2, 9, 12, 3
TOLERANCE = {"float32": 1e-5, "float64": 1e-12}


def outcome(lib, name, dtype):
    """Output, and the gradients of x and of both matrices; on a CPU PyTorch's flex has none."""
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(s).astype(dtype) for s in ((B, T, C), (3 * C, C), (C, C))]
    x, w_qkv, w_out = (lib.nn.Parameter(lib.tensor(a)) for a in arrays)
    run = build(name, lib, w_qkv, w_out, H, T)
    if lib is torch and name == "block mask":
        with torch.no_grad():
            return [run(x).numpy()]
    y = run(x)
    y.backward(lib.tensor(rng.standard_normal((B, T, C)).astype(dtype)))
    return [a.detach().numpy() for a in (y, x.grad, w_qkv.grad, w_out.grad)]


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("name", WAYS)
def test_nine_ways_are_one(name, dtype):
    expected = outcome(torch, "one qkv matrix", dtype)
    for lib in (tg, torch):
        for a, b in zip(outcome(lib, name, dtype), expected, strict=False):
            assert a.dtype == dtype
            bound = TOLERANCE[dtype] * abs(b).max() + 1e-7
            np.testing.assert_allclose(a, b, rtol=0, atol=bound)


def test_there_are_nine():
    assert len(WAYS) == 9
