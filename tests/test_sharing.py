"""Threads that share a loop: every row once, idle helpers sleep, and large copies are shared."""

import ctypes
import signal
import threading
import time

import numpy as np
import pytest
from forks import forks, in_child

import tinygrad_llm as tg
from tinygrad_llm.arrays import blas, forking, layout, parallel
from tinygrad_llm.arrays.memory import address
from tinygrad_llm.arrays.twins import twins
from tinygrad_llm.ops.loops import arithmetic, crew, machine_code
from tinygrad_llm.ops.loops.compiling import exact_kernel, on_every_core, shared


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


@exact_kernel
def add_pair(x, visits, pair, start, stop):
    """An argument of a kind that helpers do not read."""
    for i in range(start, stop):
        visits[i] += x[0] * pair[1]


@exact_kernel
def refuse(x, visits, start, stop):
    """An error in the middle."""
    for i in range(start, stop):
        if i == 777:
            raise ValueError("777")
        visits[i] += x[0]


@exact_kernel
def weigh(x, y, whole, is_set, third, n, start, stop):
    """Arrays of several dtypes and dimensions, some with steps; numbers of three kinds."""
    for i in range(start, stop):
        for j in range(x.shape[1]):
            y[i, j] = (x[i, j] * third + whole[j] + n) if is_set[i] else 0.0


@pytest.fixture
def helping(loops, monkeypatch):
    """Three cores, whose helpers listen."""
    monkeypatch.setattr(parallel, "_threads", 3)
    assert set(visited(5000)) == {1.0} and crew._crew is not None
    return crew._crew


def test_many_short_loops_one_after_another(helping):
    """Helpers that come late to one loop are in time for the next, and never in two."""
    rng = np.random.default_rng(0)
    for n in rng.integers(1, 9000, 400):
        assert set(visited(int(n))) == {1.0}
        if n % 50 == 0:
            time.sleep(3e-4)  # they fall asleep
    assert helping.counters[machine_code.BUSY] == 0 == helping.counters[machine_code.OPEN]


def test_kinds_of_arguments(helping):
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((4000, 10))[:, ::2], np.zeros((4000, 5))
    whole, is_set = np.arange(5), rng.random(4000) < 0.5
    shared(weigh, 4000, 1 << 20, x, y, whole, is_set, 1 / 3, 7)
    expected = np.where(is_set[:, None], x * (1 / 3) + whole + 7, 0.0)
    np.testing.assert_array_equal(y, expected)
    run = add_pair.compiled(np.ones(1), y[0], (1, 2), 0, 5)
    assert helping.entry_of(run) is None
    visits = np.zeros(5000)
    shared(add_pair, 5000, 1 << 20, np.ones(1), visits, (1, 2))
    assert set(visits) == {2.0}


def test_a_gradient_of_another_dtype_than_the_array(helping):
    """Of an op that is called by hand: each mixture has another kernel."""
    rng = np.random.default_rng(0)
    y, g = rng.standard_normal(200_000), rng.standard_normal(200_000)
    for mixture in [(g, y), (g.astype("f"), y), (g, y.astype("f"))] * 2:
        gx = np.full_like(mixture[0], np.nan)
        shared(arithmetic.tanh_back, y.size, y.size, *mixture, gx)
        np.testing.assert_allclose(gx, g * (1 - y * y), rtol=1e-5, atol=1e-5)


def test_an_error_in_a_loop_ends_the_call_and_not_the_helpers(helping):
    for _ in range(3):
        visits = np.zeros(5000, np.float32)
        with pytest.raises(RuntimeError, match="ended with an error"):
            shared(refuse, 5000, 1 << 20, np.ones(1, np.float32), visits)
        assert set(visited(5000)) == {1.0}


def test_two_threads_with_loops(helping):
    """One has the helpers' ears; the other calls them through Python."""
    wrong = []

    def call():
        for n in range(3000, 3300):
            if set(visited(n)) != {1.0}:
                wrong.append(n)

    both = [threading.Thread(target=call) for _ in range(2)]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join()
    assert not wrong
    with helping.owner:
        assert set(visited(5000)) == {1.0}


@exact_kernel
def visit_slowly(x, visits, start, stop):
    """Count the visits of each row, at the end of a long sum."""
    for i in range(start, stop):
        total = x[0]
        for j in range(20_000):
            total += np.sin(x[0] * j)
        visits[i] += x[0] if total == total else 0.0


def test_an_interruption_waits_for_helpers(helping, monkeypatch):
    """Ctrl-C, twice: whose arrays they are may free them then, so no helper writes any more."""
    call, sleep, pressed = helping.call, time.sleep, []

    def interrupted(at, entry, looks):
        call(at, entry, 1)
        raise KeyboardInterrupt

    def impatient(seconds):
        sleep(seconds)
        if not pressed:
            pressed.append(1)
            raise KeyboardInterrupt

    monkeypatch.setattr(helping, "call", interrupted)
    monkeypatch.setattr(crew.time, "sleep", impatient)
    for _ in range(10):
        visits = np.zeros(50, np.float32)
        pressed.clear()
        with pytest.raises(KeyboardInterrupt):
            shared(visit_slowly, 50, 1 << 20, np.ones(1, np.float32), visits)
        assert set(visits) == {1.0}
    monkeypatch.undo()
    assert not helping.owner.locked()


def test_an_interruption_waits_until_a_kernel_is_compiled(loops, monkeypatch):
    """Numba would be left half-way, and refuse to compile anything from then on."""
    compile_one, pressed = visit._compile, []

    def interrupted(char, args):
        for _ in range(2):
            signal.raise_signal(signal.SIGINT)
        pressed.append(char)
        return compile_one(char, args)

    monkeypatch.setattr(visit, "_compile", interrupted)
    monkeypatch.setattr(visit, "by_types", {})
    with pytest.raises(KeyboardInterrupt):
        visited(7)
    assert pressed == ["f"] and len(visit.by_types) == 1
    assert set(visited(7)) == {1.0} and pressed == ["f"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_interruption_waits_until_an_entry_is_made(helping, monkeypatch):
    """LLVM would free a module twice that it was interrupted in taking over."""
    make = helping._made

    def interrupted(run):
        signal.raise_signal(signal.SIGINT)
        return make(run)

    monkeypatch.setattr(helping, "_made", interrupted)
    monkeypatch.setattr(helping, "entries", {})
    with pytest.raises(KeyboardInterrupt):
        visited(5000)
    assert len(helping.entries) == 1 and not helping.owner.locked()
    assert set(visited(5000)) == {1.0}


@exact_kernel
def first_of_six(x, visits, start, stop):
    """Arguments as no other kernel has them."""
    for i in range(start, stop):
        visits[i] += x[0, 0, 0, 0, 0, 0]


@exact_kernel
def first_of_seven(x, visits, start, stop):
    """Others."""
    for i in range(start, stop):
        visits[i] += x[0, 0, 0, 0, 0, 0, 0]


def test_two_threads_whose_kernels_are_new(helping, monkeypatch):
    """Each gets another entry: they are made one after the other."""
    visits = np.zeros(5000)
    runs = [
        loop.compiled(np.ones((1,) * n), visits, 0, 1)
        for loop, n in ((first_of_six, 6), (first_of_seven, 7))
    ]
    made, inside, add = {}, [], helping.engine.add_module

    def slow(module):
        inside.append(len(inside))
        time.sleep(0.05)
        add(module)
        assert inside.pop() == 0

    monkeypatch.setattr(helping.engine, "add_module", slow, raising=False)
    both = [
        threading.Thread(target=lambda run=run: made.update({run: helping.entry_of(run)}))
        for run in runs
    ]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join()
    monkeypatch.undo()
    assert len({made[run].address for run in runs}) == 2


def test_shares_of_python_and_loops_in_turn(helping):
    for n in range(200):
        assert parallel.each(lambda i: i * i, [1, 2, 3, 4]) == [1, 4, 9, 16]
        assert set(visited(1000 + n)) == {1.0}


def test_a_core_that_has_begun_keeps_the_last_chunk_of_its_part(helping):
    """Those rows are in its cache; what a core has not begun with, others take whole."""
    m = machine_code
    ones, visits = np.ones(1, np.float32), np.zeros(3 * m.CHUNKS, np.float32)
    entry = helping.entry_of(visit.compiled(ones, visits, 0, 0))
    take = ctypes.CFUNCTYPE(*[ctypes.c_int64] * 3)(entry.address)
    with helping.owner:  # no job is open, so no helper comes: this thread is one core after another
        for k in range(3):
            for counter in (m.TAKEN, m.STOLEN, m.BEGUN):
                helping.counters[m.FIRST + k * m.CORE + counter] = 0
        helping.counters[m.FIRST + m.CORE + m.BEGUN] = 1
        arrays = id(ones), id(visits)
        entry.packed.pack_into(helping.job, 0, entry.kernel, helping.at, visits.size, 3, *arrays)
        take(address(helping.job), 0)
        assert visits.reshape(3, m.CHUNKS).tolist() == [[1, 1, 1, 1], [0, 1, 1, 1], [1, 1, 1, 1]]
        take(address(helping.job), 1)
    assert set(visits) == {1.0}


def test_more_threads_than_places(loops, monkeypatch):
    monkeypatch.setattr(parallel, "_threads", 6)
    monkeypatch.setattr(crew, "MOST", 4)
    assert set(visited(5000)) == {1.0}
    monkeypatch.setattr(crew._crew, "most", 4)
    for n in (3, 5000):
        assert set(visited(n)) == {1.0}


@exact_kernel
def until_none_is_left(x, visits, taken, start, stop):
    """Every core marks what it takes."""
    for i in range(visits.size):
        if taken[i] == 0:
            taken[i] = 1
            visits[i] = x[0]


def test_a_loop_that_divides_its_work_itself(helping):
    visits, taken = np.zeros(5000, np.float32), np.zeros(5000, np.int64)
    on_every_core(until_none_is_left, np.ones(1, np.float32), visits, taken)
    assert set(visits) == {1.0}
    visits[:], taken[:] = 0.0, 0
    with helping.owner:
        on_every_core(until_none_is_left, np.ones(1, np.float32), visits, taken)
    assert set(visits) == {1.0}


@forks
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_process_begins_anew(helping):
    """Also while another thread of the parent has a job."""

    def child():
        assert all(set(visited(n)) == {1.0} for n in range(4000, 4050))

    with helping.owner:
        assert in_child(child)
    assert set(visited(5000)) == {1.0}


@forks
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_fork_waits_until_machine_code_is_made(helping):
    """In the child nobody would release the lock of a thread that compiled in the parent."""
    begun = threading.Event()

    def compile_slowly():
        with forking.making:
            begun.set()
            time.sleep(0.3)

    thread = threading.Thread(target=compile_slowly)
    thread.start()
    assert begun.wait(60)

    def child():
        assert forking.making.acquire(timeout=5)

    assert in_child(child)
    thread.join()


def test_arrays_are_read_only_where_they_are_as_expected(monkeypatch):
    assert crew._arrays_are_as_expected()
    monkeypatch.setattr(crew, "HEADER", crew.HEADER + 8)
    assert not crew._arrays_are_as_expected()


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
    busy = []
    for _ in range(5):  # something else of the process may have had work in some of them
        before = time.process_time()
        time.sleep(0.2)
        busy.append(time.process_time() - before)
    assert min(busy) < 0.05


def test_how_long_a_helper_looks_for_a_job(helping, monkeypatch):
    looks = []
    monkeypatch.setattr(helping, "_listen", lambda at, helper, shares, n: looks.append(n))
    for threads, cores in ((2, 8), (8, 8), (8, 2)):  # the last: more threads than cores
        monkeypatch.setattr(crew, "thread_count", lambda n=threads: n)
        monkeypatch.setattr(crew, "core_count", lambda n=cores: n)
        helping.listen(1, 0)
    assert looks[0] == looks[2] == helping.patience < looks[1] / 20


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
