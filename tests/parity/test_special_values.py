"""Zeros, infinities, NaN and the ends of the range, in values and in gradients, against PyTorch.

Every call of special_values.py with special inputs and special upstream gradients; NumPy's warnings
are errors meanwhile.
"""

from __future__ import annotations

import warnings
import zlib
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import tinygrad_llm  # noqa: E402

from .special_values import BINARY, GRADIENTS, ROWS, UNARY, draw, draw_rows  # noqa: E402

CALLS = [(table, name) for table in (UNARY, BINARY, ROWS) for name in table]

# Where PyTorch's own kernels disagree with each other (a vectorised loop and its rest), or where
# one of the two rounds to 0 or overflows in between; values are compared all the same.
NO_GRADIENT = set(
    "div F.selu F.elu F.relu6 F.hardtanh F.hardswish F.hardsigmoid F.celu F.silu F.gelu F.softplus "
    "softplus_3 gelu_tanh F.mish logit bce_with_logits layer_norm rms_norm cross_entropy amax amin "
    "amax_dim amin_dim prod prod_dim var std var_dim std_dim var_0 std_0 var_6 var_30 normalize "
    "cosine matmul sigmoid xlogy logaddexp quantile norm_-1 norm_3 norm_1.5 logsumexp_both".split()
)
NO_VALUES = set(  # cancellation of 1e15, rounding of 0, digits far out
    "matmul var_30 cumsum_dim sum_dim mean_dim nansum_dim nanmean_dim sum mean nansum nanmean "
    "F.gelu F.mish".split()
)


def run(lib: Any, call: Any, arrays: list[np.ndarray], g: np.ndarray) -> tuple[list, list]:
    """(results, gradients) of a call, with g repeated to the first result's shape."""
    xs = [lib.from_numpy(a.copy()).requires_grad_() for a in arrays]
    y = call(lib, *xs)
    ys = [y] if isinstance(y, lib.Tensor) else list(y)
    if ys[0].requires_grad:
        up = np.resize(g, tuple(ys[0].shape)).astype(arrays[0].dtype)
        ys[0].backward(lib.from_numpy(np.asarray(up).copy()))
    results = [v.detach().numpy() for v in ys]
    return results, [None if x.grad is None else x.grad.numpy() for x in xs]


def check(table: dict, name: str, seed: int) -> None:
    rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
    dtype = rng.choice(["float32", "float64"])
    calm = rng.choice([0.0, 0.6, 0.9])
    shapes = {id(UNARY): [(23,)], id(BINARY): [(40,), (40,)]}.get(id(table))
    if shapes is None:
        arrays = [draw_rows(rng, dtype)]
    else:
        arrays = [draw(rng, shape, dtype, calm) for shape in shapes]
    special = rng.random() < 0.6
    g = rng.choice(np.array(GRADIENTS), 64) if special else rng.standard_normal(64)
    theirs, their_grads = run(torch, table[name], arrays, g)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ours, grads = run(tinygrad_llm, table[name], arrays, g)
    tolerance = 1e-4 if dtype == "float32" else 1e-8
    for y, z in zip(ours, theirs, strict=True):
        assert y.dtype == z.dtype
        if name not in NO_VALUES:
            np.testing.assert_allclose(y, z, tolerance, tolerance * 1e-2, err_msg=str(arrays))
    if name in NO_GRADIENT:
        return
    for got, expected in zip(grads, their_grads, strict=True):
        if got is None or expected is None:
            assert got is None or not got.any()
            assert expected is None or not expected.any()
            continue
        # 0 where PyTorch multiplies an infinite gradient by 0: what was not selected gets nothing
        expected = np.where((got == 0) & np.isnan(expected), 0.0, expected)
        np.testing.assert_allclose(
            got, expected, tolerance, tolerance * 1e-2, err_msg=f"{arrays}, g = {g}"
        )


@pytest.mark.parametrize(("table", "name"), CALLS, ids=[name for _, name in CALLS])
def test_special_values(table, name):
    for seed in range(4):
        check(table, name, seed)


@pytest.mark.slow
@pytest.mark.ci
@pytest.mark.parametrize(("table", "name"), CALLS, ids=[name for _, name in CALLS])
def test_many_more_special_values(table, name):
    for seed in range(100, 200):
        check(table, name, seed)
