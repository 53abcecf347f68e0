"""Threads: nothing is lost or repeated when they share a leaf, a graph, a generator, or a fork."""

import copy
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from forks import forks, in_child

import tinygrad_llm as torch
from tinygrad_llm import nn
from tinygrad_llm.arrays import blas, threads
from tinygrad_llm.autograd.engine import FREED, Op

N_THREADS = 8


@pytest.fixture(autouse=True)
def switch_often():
    """The interpreter changes threads every microsecond, so that a gap of two lines is met."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def together(work, n=N_THREADS):
    """Run work(0) ... work(n − 1) in threads that begin together; returns their errors."""
    barrier, errors = threading.Barrier(n), []

    def run(i):
        barrier.wait()
        try:
            work(i)
        except Exception as error:
            errors.append(error)

    pool = [threading.Thread(target=run, args=(i,)) for i in range(n)]
    for thread in pool:
        thread.start()
    for thread in pool:
        thread.join()
    return errors


# ---------------------------------------------------------------------------------- gradients
@pytest.mark.parametrize("shape", [(), (3,), (300, 400)], ids=str)
def test_two_graphs_into_one_leaf(shape):
    for _ in range(20):
        leaf = torch.ones(shape, dtype=torch.float64, requires_grad=True)
        assert not together(lambda i, leaf=leaf: [(leaf * 3.0).sum().backward() for _ in range(10)])
        assert np.array_equal(leaf.grad.array, np.full(shape, 3.0 * 10 * N_THREADS))


def test_first_gradients_that_arrive_together():
    for _ in range(300):
        leaf = torch.ones(2, requires_grad=True)
        assert not together(lambda i, leaf=leaf: (leaf * 2.0).sum().backward(), 4)
        assert leaf.grad.tolist() == [8.0, 8.0]


def test_table_whose_gradient_is_added_in_place():
    """An embedding adds to the table's .grad itself; the head adds to the same table."""
    table = nn.Embedding(5, 3).double()
    ids = torch.tensor([[0, 1, 1], [4, 0, 2]])

    def step(i):
        for _ in range(30):
            (table(ids) @ table.weight.T).sum().backward()

    step(0)
    expected = table.weight.grad.array * N_THREADS
    table.weight.grad = None
    assert not together(step)
    np.testing.assert_allclose(table.weight.grad.array, expected, rtol=1e-12)


def test_hooks_of_a_shared_leaf():
    leaf = torch.ones(3, requires_grad=True)
    leaf.register_hook(lambda g: g * 2)
    seen = []
    leaf.register_post_accumulate_grad_hook(lambda x: seen.append(1))
    assert not together(lambda i: [leaf.sum().backward() for _ in range(50)])
    assert leaf.grad.tolist() == [2.0 * 50 * N_THREADS] * 3 and len(seen) == 50 * N_THREADS


def test_retained_gradient_of_a_shared_tensor():
    leaf = torch.ones(4, requires_grad=True)
    middle = leaf * 2.0
    middle.retain_grad()
    loss = (middle * 3.0).sum()
    assert not together(lambda i: [loss.backward(retain_graph=True) for _ in range(30)])
    assert middle.grad.tolist() == [3.0 * 30 * N_THREADS] * 4
    assert leaf.grad.tolist() == [6.0 * 30 * N_THREADS] * 4


def model_and_loss():
    torch.manual_seed(3)
    net = nn.Sequential(nn.Linear(6, 8), nn.GELU(), nn.LayerNorm(8), nn.Linear(8, 3)).double()
    x = torch.randn(5, 6, dtype=torch.float64)
    return net, nn.functional.cross_entropy(net(x), torch.tensor([0, 2, 1, 1, 0]))


def test_one_kept_graph_from_many_threads():
    net, loss = model_and_loss()
    loss.backward(retain_graph=True)
    once = [p.grad.array.copy() for p in net.parameters()]
    net.zero_grad()
    assert not together(lambda i: [loss.backward(retain_graph=True) for _ in range(20)])
    for p, expected in zip(net.parameters(), once, strict=True):
        np.testing.assert_allclose(p.grad.array, expected * 20 * N_THREADS, rtol=1e-11, atol=1e-15)


def test_grad_of_one_graph_from_many_threads():
    """autograd.grad for a tensor in the middle leaves no trace that another walk would see."""
    leaf = torch.ones(3, requires_grad=True)
    middle = leaf * 2.0
    loss = (middle * 5.0).sum()
    results = []

    def work(i):
        for _ in range(30):
            if i % 2:
                loss.backward(retain_graph=True)
            else:
                results.append(torch.autograd.grad(loss, [middle, leaf], retain_graph=True))

    assert not together(work)
    assert len(results) == 30 * N_THREADS // 2
    assert all(a.tolist() == [5.0] * 3 and b.tolist() == [10.0] * 3 for a, b in results)
    assert middle.grad is None and leaf.grad.tolist() == [10.0 * 30 * N_THREADS // 2] * 3


def test_grad_and_retain_grad_together():
    leaf = torch.ones(3, requires_grad=True)
    middle = leaf * 2.0
    middle.retain_grad()
    (g,) = torch.autograd.grad((middle * 5.0).sum(), [middle], retain_graph=True)
    assert g.tolist() == [5.0] * 3
    middle.grad = None
    (middle * 5.0).sum().backward()
    assert middle.grad.tolist() == [5.0] * 3


def test_graph_that_is_not_kept():
    """Each walk ends, or says that the graph was freed; what arrived is a multiple of the truth."""
    for _ in range(60):
        leaf = torch.full((50,), 2.0, requires_grad=True)
        loss = (leaf.exp().log() * leaf).sum()
        errors = together(lambda i, loss=loss: loss.backward(), 4)
        assert all("a second time" in str(e) and type(e) is RuntimeError for e in errors)
        assert len(errors) < 4


class _Slow(Op, listed=False):
    """x², whose backward waits in the middle."""

    def forward(self, x):
        self.saved = (x,)
        return x * x

    def backward(self, g):
        entered.set()
        leave.wait(60)
        return 2.0 * self.saved[0] * g


def test_graph_freed_in_the_middle_of_a_backward():
    """What an op computed from freed arrays is not delivered."""
    global entered, leave
    entered, leave = threading.Event(), threading.Event()
    leaf = torch.ones(3, requires_grad=True)
    y = _Slow.apply(leaf)
    errors = []

    def first():
        try:
            y.sum().backward()
        except RuntimeError as error:
            errors.append(str(error))

    thread = threading.Thread(target=first)
    thread.start()
    assert entered.wait(60)
    y._op.saved = FREED  # as another walk does
    leave.set()
    thread.join()
    assert len(errors) == 1 and "_slow saved was freed" in errors[0]
    assert leaf.grad is None


def test_backward_of_ranks_that_wait_for_each_other():
    """No lock is held while hooks run: threads may exchange gradients in the middle of backward."""
    barrier = threading.Barrier(4)
    leaves = [torch.ones(3, requires_grad=True) for _ in range(4)]

    def work(i):
        leaf = leaves[i]
        leaf.register_post_accumulate_grad_hook(lambda x: barrier.wait(60))
        y = leaf * 2.0
        y.register_hook(lambda g: barrier.wait(60) * g)
        y.sum().backward()

    assert not together(work, 4)
    assert all(leaf.grad is not None for leaf in leaves)


# ------------------------------------------------------------------------------ random numbers
DRAWS = {
    "rand": lambda g: torch.rand(7, generator=g).tolist(),
    "randn of few": lambda g: torch.randn(1, generator=g, dtype=torch.float64).tolist(),
    "randn of three": lambda g: torch.randn(3, generator=g, dtype=torch.float64).tolist(),
    "randint": lambda g: torch.randint(0, 1 << 40, (5,), generator=g).tolist(),
    "randperm": lambda g: [tuple(torch.randperm(40, generator=g).tolist())],
    "exponential": lambda g: torch.empty(6).exponential_(generator=g).tolist(),
    "seeds": lambda g: [g.random_int64()],
    "random_": lambda g: torch.empty(3, dtype=torch.int64).random_(generator=g).tolist(),
    "uniform in parts": lambda g: torch.rand(70_000, generator=g, dtype=torch.float64).tolist(),
}


@pytest.mark.parametrize("name", DRAWS)
def test_generator_shared_by_threads(name):
    """The threads' draws together are the stream's, each whole; only who gets which is open."""
    draw, n = DRAWS[name], 4 if "parts" in name else 25
    for seed in range(1 if "parts" in name else 4):
        alone = torch.Generator().manual_seed(seed)
        expected = sorted(tuple(draw(alone)) for _ in range(4 * n))
        shared, drawn = torch.Generator().manual_seed(seed), []

        def work(i, g=shared, drawn=drawn):
            for _ in range(n):
                drawn.append(tuple(draw(g)))

        assert not together(work, 4)
        assert sorted(drawn) == expected
        assert np.array_equal(shared.state(), alone.state())


def test_new_generator_whose_first_draws_come_together():
    for _ in range(100):
        g, drawn = torch.Generator(), []
        together(lambda i, g=g, drawn=drawn: drawn.append(g.random_int64()), 4)
        assert len(set(drawn)) == 4


def test_state_taken_while_others_draw():
    """Every state that is read belongs to the stream between two draws."""
    g, states = torch.Generator().manual_seed(1), []
    possible = set()
    for _ in range(201):
        possible.add(g.state().tobytes())
        torch.randn(3, generator=g)
    g.manual_seed(1)

    def work(i):
        for _ in range(50):
            torch.randn(3, generator=g)
            states.append(g.state().tobytes())

    assert not together(work, 4)
    assert set(states) <= possible


def test_generators_can_be_copied():
    g = torch.Generator().manual_seed(5)
    torch.randn(3, generator=g)
    twin = copy.deepcopy(g)
    assert np.array_equal(torch.randn(5, generator=g).array, torch.randn(5, generator=twin).array)
    assert twin.initial_seed() == 5 and twin is not g


# ------------------------------------------------------------------------------------ forking
@forks
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_fork_while_threads_draw_and_go_backward():
    stop, leaf = threading.Event(), torch.ones(50, requires_grad=True)

    def busy():
        while not stop.is_set():
            torch.randn(20_000)
            (leaf * 2).sum().backward()

    others = [threading.Thread(target=busy) for _ in range(3)]
    for thread in others:
        thread.start()

    def child():
        torch.manual_seed(1)
        torch.randn(100_000)
        for _ in range(20):
            fresh = torch.ones(3, requires_grad=True)
            (fresh * 2).sum().backward()
            assert fresh.grad.tolist() == [2.0] * 3

    try:
        assert all(in_child(child) for _ in range(10))
    finally:
        stop.set()
        for thread in others:
            thread.join()


@forks
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_fork_while_another_thread_holds_the_blas():
    """The limit of one thread is lifted in the child, and its lock is free."""
    entered, leave = threading.Event(), threading.Event()

    def hold():
        with blas.one_thread:
            entered.set()
            leave.wait(60)

    thread = threading.Thread(target=hold)
    thread.start()
    entered.wait(60)

    def child():
        assert blas.one_thread.inside == 0
        with blas.one_thread:
            pass

    assert in_child(child)
    leave.set()
    thread.join()


@forks
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_fork_by_the_thread_that_holds_the_blas():
    def child():
        blas.one_thread.__exit__()
        assert blas.one_thread.inside == 0

    with blas.one_thread:
        assert in_child(child)
    assert blas.one_thread.inside == 0


@forks
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_fork_waits_until_a_number_of_threads_is_set(monkeypatch, tmp_path):
    """A child cannot import what another thread is importing at the fork: its lock stays."""
    (tmp_path / "threadpoolctl.py").write_text("import time\ntime.sleep(0.5)\nraise ImportError\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "threadpoolctl", raising=False)
    thread = threading.Thread(target=blas.set_threads, args=(1,))
    thread.start()
    time.sleep(0.1)
    assert in_child(lambda: blas.set_threads(1), seconds=10)
    thread.join()


A_FORK_DURING_A_DRAW = """
import os, threading
import tinygrad_llm as torch

torch.set_num_threads(2)
torch.randn(3)

from tinygrad_llm.ops.loops import crew
import concurrent.futures.thread as pools, logging

drawing, forking = threading.Event(), threading.Event()
os.register_at_fork(before=forking.set)  # runs first

def draw():  # as a large torch.randn for the first time
    with torch.default_generator._lock.inner:
        drawing.set()
        forking.wait()
        with crew.making, logging._lock, pools._global_shutdown_lock:
            pass

thread = threading.Thread(target=draw)
thread.start()
drawing.wait()
child = os.fork()
with crew.making:
    torch.randn(3)
if child == 0:
    os._exit(0)
thread.join()
assert os.waitpid(child, 0)[1] == 0
"""


@forks
def test_a_fork_during_a_draw_holds_nothing_that_this_waits_for():
    """The fork waits for the generator; it took what the draw waits for before, and both hung."""
    subprocess.run([sys.executable, "-c", A_FORK_DURING_A_DRAW], check=True, timeout=60)


def test_helpers_are_started_once(monkeypatch):
    monkeypatch.setattr(threads, "_crew", None)  # two helpers of one number must not share a loop
    before, calls = list(threads._helpers), threads._calls
    threads._helpers.clear()
    threads._calls = None
    done = []
    try:
        assert not together(lambda i: threads.work_together(lambda: done.append(i), 3), 6)
        assert len(threads._helpers) == 2
    finally:
        threads._helpers[:], threads._calls = before, calls


@pytest.mark.parametrize("most", [0, 1])
def test_where_no_thread_can_be_started_the_others_work(most, monkeypatch):
    start, started, done = threading.Thread.start, [], []

    def limited(thread):
        if len(started) == most:
            raise RuntimeError("can't start new thread")
        started.append(thread)
        start(thread)

    monkeypatch.setattr(threads, "_crew", None)
    monkeypatch.setattr(threads, "_helpers", [])
    monkeypatch.setattr(threads, "_calls", None)
    monkeypatch.setattr(threading.Thread, "start", limited)
    left = list(range(100))

    def work():
        while left:
            done.append(left.pop())

    threads.work_together(work, 4)
    assert sorted(done) == list(range(100)) and len(threads._helpers) == most
