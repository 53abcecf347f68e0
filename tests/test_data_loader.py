"""Loaders whose batches are made by threads: order, errors, an end in time, and no waiting."""

from __future__ import annotations

import gc
import threading
import time

import pytest
from forks import forks, in_child
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_llm as tg
from tinygrad_llm.utils.data import (
    DataLoader,
    Dataset,
    IterableDataset,
    TensorDataset,
    get_worker_info,
)


class Slow(Dataset):
    """Examples that take their time, the first of a batch longest."""

    def __init__(self, n, bad=None):
        self.n, self.bad = n, bad

    def __len__(self):
        return self.n

    def __getitem__(self, i):
        time.sleep(0.004 if i % 3 == 0 else 0)
        if i == self.bad:
            raise KeyError(f"example {i}")
        return i


@given(
    n=st.integers(0, 30), workers=st.integers(1, 5), ahead=st.integers(1, 4), size=st.integers(1, 4)
)
def test_order_is_kept(n, workers, ahead, size):
    loader = DataLoader(Slow(n), size, num_workers=workers, prefetch_factor=ahead)
    got = [x for batch in loader for x in batch.tolist()]
    assert got == list(range(n))


def test_an_error_comes_when_its_batch_is_due():
    batches = iter(DataLoader(Slow(12, bad=7), 2, num_workers=3))
    assert [next(batches).tolist() for _ in range(3)] == [[0, 1], [2, 3], [4, 5]]
    with pytest.raises(KeyError, match="example 7"):
        next(batches)
    assert [b.tolist() for b in batches] == [[8, 9], [10, 11]]


def test_batches_are_made_ahead():
    """While the first is looked at, the workers are at the next ones."""
    made = threading.Semaphore(0)

    class Counting(Dataset):
        def __len__(self):
            return 40

        def __getitem__(self, i):
            made.release()
            return i

    batches = iter(DataLoader(Counting(), 1, num_workers=2, prefetch_factor=3))
    next(batches)
    for _ in range(6):  # all that may be ahead, and no more than one beyond it
        assert made.acquire(timeout=60)
    time.sleep(0.05)
    beyond = sum(made.acquire(blocking=False) for _ in range(40))
    assert beyond <= 1


def test_a_worker_that_takes_too_long():
    class Stuck(Dataset):
        def __len__(self):
            return 3

        def __getitem__(self, i):
            time.sleep(0.3)
            return i

    with pytest.raises(RuntimeError, match="timed out after 0.05 seconds"):
        list(DataLoader(Stuck(), num_workers=1, timeout=0.05))


def test_the_timeout_of_the_data_set_itself():
    class Remote(Dataset):
        def __len__(self):
            return 1

        def __getitem__(self, i):
            raise TimeoutError("the server does not answer")

    with pytest.raises(TimeoutError, match="server"):
        list(DataLoader(Remote(), num_workers=1, timeout=60))


def test_what_a_worker_knows_of_itself():
    seen = []

    class Stream(IterableDataset):
        def __iter__(self):
            me = get_worker_info()
            return iter(range(me.id, 9, me.num_workers))

    loader = DataLoader(Stream(), batch_size=2, num_workers=3, worker_init_fn=seen.append)
    batches = [b.tolist() for b in loader]
    assert sorted(x for b in batches for x in b) == list(range(9))
    assert batches[:3] == [[0, 3], [1, 4], [2, 5]]
    assert sorted(seen) == [0, 1, 2]
    assert get_worker_info() is None


def test_worker_seeds_follow_the_base_seed():
    class Seeds(Dataset):
        def __len__(self):
            return 4

        def __getitem__(self, i):
            return get_worker_info().seed

    tg.manual_seed(3)
    base = tg.Generator().manual_seed(3).random_int64()
    seeds = list(DataLoader(Seeds(), batch_size=None, num_workers=2))
    assert seeds == [base, base + 1, base, base + 1]


def test_threads_end_with_the_pass():
    def workers():
        return [t for t in threading.enumerate() if t.name.startswith("DataLoader worker")]

    def gone():
        for _ in range(200):
            gc.collect()
            if not workers():
                return True
            time.sleep(0.02)
        return False

    list(DataLoader(Slow(9), num_workers=3))
    assert gone()
    batches = iter(DataLoader(Slow(9), num_workers=3))
    next(batches)
    assert workers()
    del batches  # left early
    assert gone()


def test_a_batch_is_fetched_in_one_call_where_the_data_set_can():
    asked = []

    class AtOnce(Dataset):
        def __len__(self):
            return 5

        def __getitems__(self, indices):
            asked.append(indices)
            return [i * 10 for i in indices]

    assert [b.tolist() for b in DataLoader(AtOnce(), 2)] == [[0, 10], [20, 30], [40]]
    assert asked == [[0, 1], [2, 3], [4]]


def test_a_loader_feeds_a_training_loop():
    x = tg.arange(12).reshape(6, 2).float()
    seen = [b for (b,) in DataLoader(TensorDataset(x), batch_size=4, shuffle=True)]
    assert [tuple(b.shape) for b in seen] == [(4, 2), (2, 2)]
    assert sorted(tg.cat(seen).tolist()) == x.tolist()


# ------------------------------------------------------------------ StopIteration that is an error
class Stopping(Dataset):
    """Example 3 raises StopIteration, as a forgotten next() of an iterator that has ended does."""

    def __len__(self):
        return 6

    def __getitem__(self, i):
        return next(iter([])) if i == 3 else i


class StoppingInOneCall(Stopping):
    def __getitems__(self, indices):
        return [self[i] for i in indices]


class StoppingStream(IterableDataset):
    def __iter__(self):
        yield from (0, 1, 2)
        yield next(iter([]))
        yield 4


class StreamThatDoesNotBegin(IterableDataset):
    def __iter__(self):
        return next(iter([]))


class Range(Dataset):
    def __len__(self):
        return 6

    def __getitem__(self, i):
        return i


def stop_at_three(batch):
    """A collate_fn, of a list or of one example."""
    if 3 in (batch if isinstance(batch, list) else [batch]):
        raise StopIteration
    return batch


STOPS = {
    "example": (Stopping(), {}),
    "examples in one call": (StoppingInOneCall(), {}),
    "stream": (StoppingStream(), {}),
    "a stream that does not begin": (StreamThatDoesNotBegin(), {}),
    "collate_fn": (Range(), {"collate_fn": stop_at_three}),
}


@pytest.mark.parametrize("workers", [0, 1, 3])
@pytest.mark.parametrize("size", [1, 2, 4, None])
@pytest.mark.parametrize("name", STOPS)
def test_stop_iteration_loses_no_batch_in_silence(name, size, workers):
    data, options = STOPS[name]
    with pytest.raises(RuntimeError, match="StopIteration"):
        list(DataLoader(data, size, num_workers=workers, **options))


def test_stop_iteration_of_worker_init_fn():
    with pytest.raises(RuntimeError, match="worker_init_fn raised StopIteration"):
        list(DataLoader(Range(), 2, num_workers=2, worker_init_fn=lambda i: next(iter([]))))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_stream_ends_as_before(workers):
    class Stream(IterableDataset):
        def __iter__(self):
            me = get_worker_info()
            return iter(range(5) if me is None or me.id == 0 else range(10, 13))

    for size, last, n in [(2, False, 5), (2, True, 3), (None, False, 8), (100, True, 0)]:
        batches = list(DataLoader(Stream(), size, num_workers=workers, drop_last=last))
        assert len(batches) == (n if workers else {(2, False): 3, (2, True): 2}.get(
            (size, last), 5 if size is None else 0
        ))  # fmt: skip


# ------------------------------------------------------------------------ errors and the rest
@pytest.mark.parametrize("workers", [0, 1, 2, 5])
def test_every_batch_after_errors_comes(workers):
    """As many errors as there are batches made ahead do not use up what is left."""

    class Bad(Range):
        def __len__(self):
            return 40

        def __getitem__(self, i):
            if i % 2:
                raise ValueError(f"example {i}")
            return i

    batches = iter(DataLoader(Bad(), batch_size=None, num_workers=workers))
    seen, errors = [], 0
    while True:
        try:
            seen.append(next(batches))
        except StopIteration:
            break
        except ValueError:
            errors += 1
    assert seen == list(range(0, 40, 2)) and errors == 20


def test_a_pass_that_timed_out_does_not_look_like_one_that_ended():
    leave = threading.Event()

    class Waiting(Range):
        def __getitem__(self, i):
            leave.wait(60)
            return i

    batches = iter(DataLoader(Waiting(), 2, num_workers=1, timeout=0.05))
    for _ in range(3):
        with pytest.raises(RuntimeError, match="timed out after 0.05 seconds"):
            next(batches)
    leave.set()


def test_loaders_in_threads_share_a_generator():
    """Their base seeds and orders come from one stream, and none is drawn twice."""
    generator = tg.Generator().manual_seed(4)
    seeds = []

    def work():
        for _ in range(20):
            batches = iter(DataLoader(Range(), 2, shuffle=True, generator=generator))
            assert sorted(x for b in batches for x in b.tolist()) == list(range(6))
            seeds.append(batches.base_seed)

    pool = [threading.Thread(target=work) for _ in range(6)]
    for thread in pool:
        thread.start()
    for thread in pool:
        thread.join()
    assert len(set(seeds)) == 6 * 20


# ----------------------------------------------------------------------------------- forking
@forks
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("taken", [0, 1, 3])
def test_fork_with_a_live_loader(taken):
    """The child reads a clear error from the inherited pass, begins its own, and ends."""
    loader = DataLoader(Slow(12), 2, num_workers=3)
    batches = iter(loader)
    for _ in range(taken):
        next(batches)

    def child():
        nonlocal batches
        try:
            next(batches)
        except RuntimeError as error:
            assert "before the process was forked" in str(error)
        else:
            raise AssertionError
        assert [x for b in loader for x in b.tolist()] == list(range(12))
        batches = None
        gc.collect()

    assert in_child(child, seconds=10)
    assert [x for b in batches for x in b.tolist()] == list(range(2 * taken, 12))
