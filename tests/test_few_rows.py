"""A large matrix times few rows by a compiled loop, and the registers loops are compiled for."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys

import numpy as np
import pytest

import tinygrad_llm as tg
from tinygrad_llm.arrays import matmul
from tinygrad_llm.arrays.twins import twins
from tinygrad_llm.nn import functional as F
from tinygrad_llm.ops.loops import wide

N, C = 5003, 70  # the last strip of the matrix has 11 rows, and N·C is above matmul.LARGE


def inputs(rows, dtype="float32"):
    rng = np.random.default_rng(rows)
    return tuple(rng.standard_normal(shape).astype(dtype) for shape in ((rows, C), (N, C), (N,)))


@pytest.fixture
def calls(loops, monkeypatch):
    """How many rows the loop was called with, call by call."""
    made, loop = [], twins.cpu.few_rows_product
    monkeypatch.setattr(
        twins.cpu, "few_rows_product", lambda x, w: made.append(len(x)) or loop(x, w)
    )
    return made


@pytest.mark.parametrize("rows", [1, 2, 3, 4, 7, 8, 9, 12, 16, 17])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_close_to_the_library(rows, dtype, calls):
    x, w, b = inputs(rows, dtype)
    y = F.linear(*map(tg.from_numpy, (x, w, b))).array
    assert calls == ([rows] if rows <= matmul.FEW_ROWS else [])
    expected = x.astype("float64") @ w.T.astype("float64") + b
    assert y.dtype == dtype and y.shape == (rows, N) and y.flags.c_contiguous
    bound = {"float32": 1e-5, "float64": 1e-12}[dtype]
    assert abs(y - expected).max() <= bound * abs(expected).max()


@pytest.mark.parametrize("rows", [1, 2, 3, 4, 7, 8, 9, 12, 16, 17])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_weights_in_bfloat16_are_read_as_they_are(rows, dtype, calls):
    x, w, b = inputs(rows, dtype)
    bfloat16 = tg.bfloat16.numpy
    w = w.astype(bfloat16)
    y = matmul.product(x, w.T, b)
    assert calls == ([rows] if rows <= matmul.FEW_ROWS else [])
    expected = x.astype("float64") @ w.T.astype("float64") + b
    assert y.dtype == dtype and y.shape == (rows, N) and y.flags.c_contiguous
    bound = {"float32": 1e-5, "float64": 1e-12}[dtype]
    assert abs(y - expected).max() <= bound * abs(expected).max()


def test_every_bfloat16_number_is_read_as_what_it_is(calls):
    """The numbers from 0 to the largest, the subnormal ones and infinity; NaN apart."""
    every = np.arange(1 << 16, dtype=np.uint16).view(tg.bfloat16.numpy)
    w = np.zeros((1 << 16, 4), tg.bfloat16.numpy)
    w[:, 1] = every
    y = matmul.product(np.array([[0.0, 1.0, 0.0, 0.0]], np.float32), w.T)[0]
    assert calls == [1]
    np.testing.assert_array_equal(y, every.astype(np.float32))


@pytest.mark.parametrize("half", ["bfloat16", "float16"])
def test_a_linear_of_halves_is_that_of_their_float32(half, calls):
    """y and the gradients: computed in float32, rounded once; bfloat16 by the loop."""
    dtype = getattr(tg, half)
    x, w, b = (tg.from_numpy(a).to(dtype).requires_grad_() for a in inputs(3))
    wide = [p.detach().float().requires_grad_() for p in (x, w, b)]
    y, expected = F.linear(x, w, b), F.linear(*wide)
    assert y.dtype is dtype and calls == ([3, 3] if half == "bfloat16" else [3])
    epsilon = float(tg.finfo(dtype).eps)
    assert abs((y.float() - expected).detach().numpy()).max() <= epsilon * expected.abs().max()
    g = tg.from_numpy(np.random.default_rng(0).standard_normal(y.shape).astype("float32"))
    g = g.to(dtype)
    y.backward(g)
    expected.backward(g.float())
    for p, same in zip((x, w, b), wide, strict=True):
        difference = abs(p.grad.float().numpy() - same.grad.numpy()).max()
        assert p.grad.dtype is dtype and difference <= epsilon * same.grad.abs().max()


def test_gradients_are_those_of_the_layer(calls):
    x, w, b = (tg.from_numpy(a).requires_grad_() for a in inputs(3))
    F.linear(x, w, b).square().sum().backward()
    assert calls == [3]
    y = x.array @ w.array.T + b.array
    for got, expected in ((x, 2 * y @ w.array), (w, 2 * y.T @ x.array), (b, 2 * y.sum(0))):
        assert abs(got.grad.array - expected).max() <= 1e-5 * abs(expected).max()


def test_the_number_of_threads_changes_nothing(calls, monkeypatch):
    x, w, _ = inputs(9)
    results = []
    for n in (1, 2, 3):
        monkeypatch.setattr("tinygrad_llm.arrays.parallel._threads", n)
        results.append(matmul.product(x, w.T))
    assert calls == [9, 9, 9]
    for other in results[1:]:
        np.testing.assert_array_equal(results[0], other)


def test_nan_and_infinity_stay_in_their_rows(calls):
    x, w, _ = inputs(5)
    x[2, 3], w[7, 4], w[4999, 0] = np.nan, np.inf, -np.inf
    y = matmul.product(x, w.T)
    assert calls == [5]
    np.testing.assert_array_equal(np.isnan(y), np.isnan(x @ w.T))
    np.testing.assert_array_equal(np.isinf(y), np.isinf(x @ w.T))


def test_what_is_left_to_the_library(calls):
    x, w, _ = inputs(2)
    matmul.product(x, w[:100].T)  # small
    matmul.product(x, np.asfortranarray(w).T)  # columns first
    matmul.product(x.astype("float16"), w.astype("float16").T)
    frozen = w.copy()
    frozen.flags.writeable = False
    matmul.product(x, frozen.T)
    assert calls == [] and matmul.product(x[:0], w.T).shape == (0, N)


# --------------------------------------------------------------------------------- wide registers
def code_of(options):
    """The machine code of a sum of two arrays, compiled with these options of njit."""
    numba = importlib.import_module("numba")

    def add(x, y, z):
        for i in range(x.size):
            z[i] = x[i] + y[i]

    array = numba.float32[::1]
    compiled = numba.njit(numba.void(array, array, array), **options)(add)
    return compiled.inspect_asm(compiled.signatures[0])


def test_loops_use_the_widest_registers(loops):
    if not wide.has(wide.SINCE):
        assert wide.options() == {}
        pytest.skip("a processor without AVX-512, or an early one")
    assert "zmm" in code_of(wide.options())


OF_HASWELL = """
import numpy as np
from tinygrad_llm.ops.loops import compiling, wide
from tinygrad_llm.ops.loops.lanes import low_entry, put

assert compiling.missing() is None and wide.has("avx2") and wide.options() == {}

@compiling.kernel
def entries(out, codes, table, start, stop):
    put(out, 0, low_entry(codes, 0, table))

codes, table = np.arange(32, dtype="uint8"), np.linspace(-1, 1, 16, dtype="float32")
out = np.empty(32, "float32")
entries(out, codes.ctypes.data, table.ctypes.data, 0, 1)
np.testing.assert_array_equal(out, table[codes % 16])
"""


def test_loops_for_a_processor_without_avx_512(loops):
    """NUMBA_CPU_FEATURES describes another processor: no instruction of this one is used."""
    env = {**os.environ, "NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": "+avx2,+fma"}
    done = subprocess.run([sys.executable, "-c", OF_HASWELL], env=env, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()


def test_another_numba_compiles_as_it_does(loops, monkeypatch):
    """Numba's inner parts that are replaced may have other names there."""

    def moved():
        raise AttributeError("module 'numba.core.typed_passes' has no attribute")

    monkeypatch.setattr(wide, "_pipeline", moved)
    assert wide.options.__wrapped__() == {}
