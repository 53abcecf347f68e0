"""The threads that help: errors arrive, nobody waits for a late helper, nothing is kept."""

import gc
import threading
import time
import weakref

import numpy as np
import pytest
from forks import forks, in_child

import tinygrad_llm as tg
from tinygrad_llm.arrays import parallel
from tinygrad_llm.arrays.threads import work_together


@pytest.fixture(autouse=True)
def two_threads():
    before = parallel.thread_count()
    parallel._threads = 2
    yield
    parallel._threads = before


def take_all(parts, note):
    """Work that takes turns until the list is empty."""

    def work():
        while parts:
            try:
                note(parts.pop())
            except IndexError:
                return

    return work


def test_each_gives_results_in_order_and_every_part_once():
    seen = []
    squares = parallel.each(
        lambda i: (seen.append(i), time.sleep(0.001), i * i)[-1], list(range(40))
    )
    assert squares == [i * i for i in range(40)]
    assert sorted(seen) == list(range(40))


def test_a_function_runs_over_blocks_of_rows_and_its_results_are_added_up(monkeypatch):
    x, seen = np.arange(60.0).reshape(4, 5, 3), []
    y = np.empty_like(x)
    monkeypatch.setattr(parallel, "BLOCK_BYTES", 7 * 3 * 8)
    monkeypatch.setattr(parallel, "_threads", 2)
    monkeypatch.setattr(parallel.blas, "FEW", 0)

    @parallel.over_rows(x, None, y)
    def total(x, nothing, y):
        assert nothing is None
        seen.append(len(x))
        np.multiply(x, 2, out=y)
        return x.sum(0)

    np.testing.assert_array_equal(y, 2 * x)
    np.testing.assert_array_equal(total, x.sum((0, 1)))
    assert sum(seen) == 20 and len(seen) == 4  # as many for each of two threads


def test_a_function_runs_over_the_blocks_it_is_given():
    x, y = np.arange(10.0), np.zeros(10)

    @parallel.over_blocks([slice(0, 3), slice(3, 10)], x, None, y)
    def lengths(x, nothing, y):
        y[...] = -x
        return len(x)

    assert lengths == [3, 7]
    np.testing.assert_array_equal(y, -x)


@pytest.mark.parametrize("dim", [0, 1, -1])
def test_a_function_runs_along_a_dim(dim, monkeypatch):
    monkeypatch.setattr(parallel, "BLOCK_BYTES", 16)
    x = np.arange(12.0).reshape(4, 3)
    y = np.empty_like(x)

    @parallel.along(dim, x, y)
    def some_rows(x, y, dim):
        np.cumsum(x, dim, out=y)

    np.testing.assert_array_equal(y, x.cumsum(dim))


@pytest.mark.parametrize("shape", [(), (7,), (3, 4)])
def test_a_function_runs_over_elements_of_any_shape(shape):
    x, y = np.ones(shape), np.zeros(shape)

    @parallel.over_elements(x, y)
    def some_elements(x, y):
        np.add(x, 1, out=y)

    np.testing.assert_array_equal(y, np.full(shape, 2.0))


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0), (0, 2, 1)])
def test_a_function_runs_over_elements_in_any_order_of_memory(order):
    """A result that is not in row order gets its numbers too: no copy of it is written."""
    x = np.arange(60.0).reshape(3, 4, 5).transpose(order)
    y = np.empty_like(x)

    @parallel.over_elements(x, y, None)
    def some_elements(x, y, nothing):
        np.add(x, 1, out=y)

    np.testing.assert_array_equal(y, x + 1)
    t = tg.from_numpy(x / 30 - 1).requires_grad_()
    for function in (tg.nn.functional.silu, tg.nn.functional.gelu):
        in_order = t.detach().contiguous().requires_grad_()
        function(t).sum().backward()
        function(in_order).sum().backward()
        assert tg.allclose(function(t), function(in_order), atol=1e-14)
        assert tg.allclose(t.grad, in_order.grad, atol=1e-14)
        t.grad = None


@pytest.mark.parametrize("where", ["here", "helper"])
def test_an_error_in_any_thread_is_raised_here(where):
    here, met = threading.get_ident(), threading.Barrier(2)

    def work():
        met.wait(60)  # both are at work
        if (threading.get_ident() == here) == (where == "here"):
            raise ValueError(where)

    with pytest.raises(ValueError, match=where):
        work_together(work, 2)
    assert parallel.each(lambda i: i, [1, 2, 3]) == [1, 2, 3]  # and the helper lives on


def test_numpy_s_error_state_holds_in_the_helper():
    met, results = threading.Barrier(2), []

    def work():
        met.wait(60)
        results.append(np.geterr()["divide"])

    with np.errstate(divide="raise"):
        work_together(work, 2)
    assert results == ["raise", "raise"]


def test_a_helper_that_is_busy_is_not_waited_for():
    release, begun = threading.Event(), threading.Event()

    def hold():
        if threading.current_thread().name == "tinygrad_llm":
            begun.set()
            release.wait(60)
        else:
            begun.wait(60)

    other = threading.Thread(target=work_together, args=(hold, 2))
    other.start()
    assert begun.wait(60)  # the only helper hangs in somebody else's work
    try:
        parts, done = list(range(5)), []
        work_together(take_all(parts, done.append), 2)
        assert sorted(done) == list(range(5))
    finally:
        release.set()
        other.join(60)


def test_calls_within_calls_end():
    inner = parallel.each(lambda i: parallel.each(lambda j: i * j, [1, 2, 3]), [1, 2, 3, 4])
    assert inner == [[i, 2 * i, 3 * i] for i in [1, 2, 3, 4]]


def test_what_the_helper_worked_on_is_let_go():
    array = np.ones(10)
    alive = weakref.ref(array)
    parallel.each(lambda i, a=array: float(a[i]), [0, 1, 2, 3])
    del array
    gc.collect()
    assert alive() is None


@forks
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_process_has_helpers_of_its_own():
    parallel.each(lambda i: i, [1, 2])

    def work():
        assert parallel.each(lambda i: (time.sleep(0.01), i)[1], [1, 2, 3, 4]) == [1, 2, 3, 4]

    assert in_child(work)
