"""Threads that share a loop: every row once, idle helpers sleep, and large copies are shared."""

import time

import numpy as np
import pytest

import tinygrad_llm as tg
from tinygrad_llm.arrays import blas, layout, parallel
from tinygrad_llm.arrays.twins import twins
from tinygrad_llm.ops.loops import arithmetic
from tinygrad_llm.ops.loops.compiling import exact_kernel, shared


@exact_kernel
def visit(x, visits, start, stop):
    """Count the visits of each row."""
    for i in range(start, stop):
        visits[i] += x[0]


def visited(n):
    """How often a shared loop visits each of n rows."""
    visits = np.zeros(n, np.float32)
    shared(visit, n, 10 * n, np.ones(1, np.float32), visits)
    return visits


@pytest.mark.parametrize("cores", [2, 3, 5])
def test_every_row_is_visited_once(cores, loops, monkeypatch):
    monkeypatch.setattr(parallel, "_threads", cores)
    for n in (1, 2, 7, 64, 1000, 100_003):
        assert set(visited(n)) == {1.0}


def test_a_loop_leaves_openblas_as_it_is(loops, monkeypatch):
    """To set its number of threads takes as long as a tenth of a short loop."""
    limits = []
    monkeypatch.setattr(
        type(blas.one_thread), "__enter__", lambda self: limits.append(1) or enter(self)
    )
    assert set(visited(5000)) == {1.0} and not limits
    q = tg.ones(2, 2, 40, 16)
    tg.nn.functional.scaled_dot_product_attention(q, q, q)
    assert limits  # products inside


enter = type(blas.one_thread).__enter__


def test_idle_helpers_sleep(loops):
    assert set(visited(5000)) == {1.0}
    time.sleep(0.05)
    before = time.process_time()
    time.sleep(0.3)
    assert time.process_time() - before < 0.1


def test_a_large_copy(loops, monkeypatch):
    """A gradient that a leaf borrows is copied on every core: the same bits, another memory."""
    assert set(visited(9)) == {1.0} and (tg.ones(9) + 1.0).tolist() == [2.0] * 9
    made, loop = [], arithmetic.copied
    monkeypatch.setattr(twins.cpu, "copied", lambda x: made.append(1) or loop(x))
    rng = np.random.default_rng(0)
    for dtype in ("float32", "float64", "int64"):
        x = (rng.standard_normal((70, 90)) * 9).astype(dtype)
        for array in (x, x.T, x[::2], np.broadcast_to(x[:1], x.shape)):
            copy = layout.copied(array)
            np.testing.assert_array_equal(copy, array)
            assert copy.dtype == dtype and not np.shares_memory(copy, array)
            assert copy.flags.writeable
    assert len(made) == 2  # float32 and float64 in row order
    leaf = tg.ones(70, 90, requires_grad=True)
    (leaf + 0.0).backward(tg.ones(70, 90))
    assert len(made) == 3 and leaf.grad.tolist() == tg.ones(70, 90).tolist()
