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

# Gradients that are not compared, and why. Values are compared all the same.
NO_GRADIENT = {
    "F.hardsigmoid": "PyTorch takes 1/6 as float32, for float64 as well",
    "F.silu": "σ is computed by tanh, which is 0 below -17 in float32: 0 instead of -1e-7",
    "bce_with_logits": "1 - t - σ(-x) keeps digits for large x, PyTorch's σ(x) - t for tiny t",
    "logit": "at -0 PyTorch's vectorised loop takes +∞ for the derivative, the rest of it -∞",
    "xlogy": "PyTorch's backward is xlogy(g, y), which is 0 for g = 0 even where log y is NaN",
    "xlog1py": "as xlogy",
    "digamma": "PyTorch's trigamma is 1e14 or so at its poles, where ours is ∞",
    "special.log_ndtr": "PyTorch's is 0/0 or ∞ far below 0, where it is near -x",
    "var_dim": "x - μ of numbers near ±1e15, whose mean is rounding",
    "std_dim": "as var_dim",
    "var_0": "as var_dim",
    "std_0": "as var_dim",
    "var": "as var_dim",
    "std": "as var_dim",
    "var_6": "as var_dim, times infinity",
}
# Values that are not compared: sums of numbers near ±1e15 in another order, whose digits are lost.
NO_VALUES = set("sum_dim mean_dim nansum_dim nanmean_dim".split())
# Where PyTorch's result is NaN (0·∞, ∞ - ∞ or 0/0 on the way to it), ours may be a number:
# softplus and logaddexp far out, where σ is not quite 0; a row with one infinite gradient in
# layer_norm and cross_entropy; rows with a NaN in amax, amin and quantile, whose NaN gets the
# gradient as max's does; an infinity in var_30; gelu(∞), which is NaN in PyTorch's vectorised loop
# and ∞ in the rest of it; sinc near 0, where PyTorch's derivative is 0.
FEWER_NANS = set(
    "F.softplus softplus_3 logaddexp logaddexp2 layer_norm cross_entropy amax amin amax_dim "
    "amin_dim quantile var_30 F.gelu sinc".split()
)
# The gradient at a NaN is g in PyTorch's vectorised loop and 0 or NaN in the rest of it, or the
# other way round.
NOT_AT_NAN = set("F.elu F.selu F.celu F.hardtanh F.relu6 F.hardswish".split())


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
        if name in FEWER_NANS:
            z = np.where(np.isnan(z), y, z)
        if name not in NO_VALUES:
            np.testing.assert_allclose(y, z, tolerance, tolerance * 1e-2, err_msg=str(arrays))
    if name in NO_GRADIENT:
        return
    for got, expected, x in zip(grads, their_grads, arrays, strict=True):
        if got is None or expected is None:
            assert got is None or not got.any()
            assert expected is None or not expected.any()
            continue
        # 0 where PyTorch multiplies an infinite gradient by 0: what was not selected gets nothing
        if name in NOT_AT_NAN:
            expected = np.where(np.isnan(x), got, expected)
        free = (got == 0) | (name in FEWER_NANS)
        expected = np.where(free & np.isnan(expected), got, expected)
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
