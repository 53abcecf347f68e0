"""The threads that help: errors arrive, nobody waits for a late helper, nothing is kept."""

import gc
import os
import threading
import time
import weakref

import numpy as np
import pytest

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
    found = parallel.each(lambda i: (seen.append(i), time.sleep(0.001), i * i)[-1], list(range(40)))
    assert found == [i * i for i in range(40)]
    assert sorted(seen) == list(range(40))


@pytest.mark.parametrize("where", ["here", "helper"])
def test_an_error_in_any_thread_is_raised_here(where):
    here, met = threading.get_ident(), threading.Barrier(2)

    def work():
        met.wait(30)  # both are at work
        if (threading.get_ident() == here) == (where == "here"):
            raise ValueError(where)

    with pytest.raises(ValueError, match=where):
        work_together(work, 2)
    assert parallel.each(lambda i: i, [1, 2, 3]) == [1, 2, 3]  # and the helper lives on


def test_numpy_s_error_state_holds_in_the_helper():
    met, found = threading.Barrier(2), []

    def work():
        met.wait(30)
        found.append(np.geterr()["divide"])

    with np.errstate(divide="raise"):
        work_together(work, 2)
    assert found == ["raise", "raise"]


def test_a_helper_that_is_busy_is_not_waited_for():
    release, begun = threading.Event(), threading.Event()

    def hold():
        if threading.current_thread().name == "tinygrad_llm":
            begun.set()
            release.wait(30)
        else:
            begun.wait(30)

    other = threading.Thread(target=work_together, args=(hold, 2))
    other.start()
    assert begun.wait(30)  # the only helper hangs in somebody else's work
    try:
        parts, done = list(range(5)), []
        work_together(take_all(parts, done.append), 2)
        assert sorted(done) == list(range(5))
    finally:
        release.set()
        other.join(30)


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


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_process_has_helpers_of_its_own():
    parallel.each(lambda i: i, [1, 2])
    child = os.fork()
    if child == 0:
        ok = parallel.each(lambda i: (time.sleep(0.01), i)[1], [1, 2, 3, 4]) == [1, 2, 3, 4]
        os._exit(0 if ok else 1)
    assert os.waitpid(child, 0)[1] == 0
