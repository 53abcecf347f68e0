"""The DataLoader, with PyTorch's order and use of random numbers.

With the same seed a DataLoader returns the same batches as PyTorch's: each pass over it draws a
base seed of 64 bits from the loader's generator (or the default one), shuffled or not, and then,
when the first batch is asked for, a shuffled loader without a generator draws the seed of its
order.
"""

from __future__ import annotations

import math
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as _TimeoutError
from itertools import repeat
from typing import Any, Generic, TypeVar

from ...functions.random import Generator, default_generator
from .collate import default_collate, default_convert
from .dataset import Dataset, IterableDataset
from .sampler import BatchSampler, RandomSampler, SequentialSampler

__all__ = ["DataLoader", "get_worker_info"]

T = TypeVar("T", covariant=True)


class WorkerInfo:
    """The worker that this thread is: its `id` in 0 .. num_workers − 1, `seed`, and `dataset`."""

    def __init__(self, id: int, num_workers: int, seed: int, dataset: Any) -> None:
        self.id, self.num_workers, self.seed, self.dataset = id, num_workers, seed, dataset

    def __repr__(self) -> str:
        return f"WorkerInfo(id={self.id}, num_workers={self.num_workers}, seed={self.seed})"


_here = threading.local()


def get_worker_info() -> WorkerInfo | None:
    """The worker that this thread is, or None if it is not a worker of a DataLoader."""
    return getattr(_here, "worker", None)


class DataLoader(Generic[T]):
    """Iterates over a data set in batches: `for x, y in DataLoader(dataset, batch_size=8): ...`

    dataset         something with `[i]` and `len`, or an IterableDataset
    batch_size      examples in a batch; None for single examples instead of batches
    shuffle         a new random order for each pass
    sampler         indices, in the order to use; batch_sampler: lists of indices, whole batches
    num_workers     threads that prepare batches ahead, in the same order. Their errors are raised
                    when the batch is asked for, and the next call returns the batch after it. Use
                    none if the data set draws from the default generator, because it is not known
                    which thread draws first. A process that is forked meanwhile has no threads:
                    there a new pass must begin
    collate_fn      makes a batch of a list of examples; default: `default_collate`
    drop_last       leave out the last batch if it is smaller than the others
    timeout         seconds to wait for a worker's batch before RuntimeError; 0: no limit
    worker_init_fn  called in every worker with its number before its first batch
    prefetch_factor batches that each worker prepares ahead; default: 2
    generator       source of the base seed and of the order; default: the default generator

    pin_memory, multiprocessing_context, persistent_workers and in_order are PyTorch's; workers are
    threads here, so they make no difference.
    Raises: ValueError if options exclude one another.
    """

    _FIXED = ("batch_size", "batch_sampler", "sampler", "drop_last", "dataset")

    def __init__(
        self, dataset: Dataset[T] | Sequence[T], batch_size: int | None = 1,
        shuffle: bool | None = None, sampler: Any = None, batch_sampler: Any = None,
        num_workers: int = 0, collate_fn: Callable[[Any], Any] | None = None,
        pin_memory: bool = False, drop_last: bool = False, timeout: float = 0,
        worker_init_fn: Callable[[int], None] | None = None, multiprocessing_context: Any = None,
        generator: Generator | None = None, *, prefetch_factor: int | None = None,
        persistent_workers: bool = False, pin_memory_device: str = "", in_order: bool = True,
    ) -> None:  # fmt: skip
        _check_workers(
            num_workers, timeout, prefetch_factor, persistent_workers, multiprocessing_context
        )
        _check_order(dataset, batch_size, shuffle, sampler, batch_sampler, drop_last)
        if batch_sampler is not None:
            batch_size = None
        if sampler is None:
            rows: Any = dataset  # that it has a length is seen when it is asked for
            if isinstance(dataset, IterableDataset):
                sampler = repeat(None)
            elif shuffle:
                sampler = RandomSampler(rows, generator=generator)
            else:
                sampler = SequentialSampler(rows)
        if batch_size is not None:
            batch_sampler = BatchSampler(sampler, batch_size, drop_last)
        if collate_fn is None:
            collate_fn = default_convert if batch_sampler is None else default_collate
        self.dataset: Any = dataset
        self.num_workers = num_workers
        self.prefetch_factor = 2 if num_workers and prefetch_factor is None else prefetch_factor
        self.pin_memory = pin_memory
        self.pin_memory_device = pin_memory_device
        self.timeout = timeout
        self.worker_init_fn = worker_init_fn
        self.in_order = in_order
        self.batch_size = batch_size
        self.drop_last = drop_last
        self.sampler = sampler
        self.batch_sampler = batch_sampler
        self.generator = generator
        self.collate_fn: Callable[[Any], Any] = collate_fn
        self.persistent_workers = persistent_workers
        self._ready = True

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self._FIXED and getattr(self, "_ready", False):
            raise ValueError(
                f"{name} attribute should not be set after {type(self).__name__} is initialized"
            )
        super().__setattr__(name, value)

    def __iter__(self) -> Iterator[Any]:
        return _Ahead(self) if self.num_workers else _OneByOne(self)

    def __len__(self) -> int:
        """Batches in a pass; TypeError if the data set has no length."""
        if not isinstance(self.dataset, IterableDataset):
            return len(self._indices)
        stream: Any = self.dataset  # whose class may define __len__
        n = len(stream)
        if self.batch_size is None:
            return n
        return n // self.batch_size if self.drop_last else math.ceil(n / self.batch_size)

    @property
    def _indices(self) -> Any:
        """The sampler of batches, or of examples if there are no batches."""
        return self.sampler if self.batch_sampler is None else self.batch_sampler


def _check_order(
    dataset: Any, batch_size: int | None, shuffle: bool | None, sampler: Any, batch_sampler: Any,
    drop_last: bool,
) -> None:  # fmt: skip
    """Raises: ValueError, with PyTorch's words, if options of order and size exclude each other."""
    if isinstance(dataset, IterableDataset):
        options = {"shuffle": shuffle or None, "sampler": sampler, "batch_sampler": batch_sampler}
        for name, value in options.items():
            if value is not None:
                raise ValueError(
                    f"DataLoader with IterableDataset: expected unspecified {name} option, "
                    f"but got {name}={value}"
                )
    if sampler is not None and shuffle:
        raise ValueError("sampler option is mutually exclusive with shuffle")
    if batch_sampler is not None:
        if batch_size != 1 or shuffle or sampler is not None or drop_last:
            raise ValueError(
                "batch_sampler option is mutually exclusive with batch_size, shuffle, "
                "sampler, and drop_last"
            )
    elif batch_size is None and drop_last:
        raise ValueError(
            "batch_size=None option disables auto-batching and is mutually exclusive with drop_last"
        )


def _check_workers(
    num_workers: int, timeout: float, prefetch_factor: Any, persistent: bool, context: Any
) -> None:
    """Raises: ValueError, with PyTorch's words, if options of the workers are wrong."""
    if num_workers < 0:
        raise ValueError(
            "num_workers option should be non-negative; use num_workers=0 to disable "
            "multiprocessing."
        )
    if timeout < 0:
        raise ValueError("timeout option should be non-negative")
    if num_workers == 0 and prefetch_factor is not None:
        raise ValueError("prefetch_factor needs num_workers > 0: leave it out, or use workers")
    if prefetch_factor is not None and prefetch_factor < 0:
        raise ValueError("prefetch_factor option should be non-negative")
    if persistent and num_workers == 0:
        raise ValueError("persistent_workers option needs num_workers > 0")
    if context is not None and num_workers == 0:
        raise ValueError(
            "multiprocessing_context can only be used with multi-process loading "
            f"(num_workers > 0), but got num_workers={num_workers}"
        )


class _Fetcher:
    """Makes the batch of some indices. Each worker has one: it keeps the place in a stream."""

    def __init__(self, loader: DataLoader) -> None:
        self.dataset, self.collate = loader.dataset, loader.collate_fn
        self.batched = loader.batch_sampler is not None
        self.drop_last = loader.drop_last
        self.stream: Iterator[Any] | None = None
        if isinstance(loader.dataset, IterableDataset):
            self.stream = iter(loader.dataset)

    def __call__(self, indices: Any) -> Any:
        """The batch, or _ENDED if the stream is exhausted."""
        if self.stream is not None:
            if not self.batched:
                example = next(self.stream, _ENDED)
                return _ENDED if example is _ENDED else self.collate(example)
            examples = [x for _, x in zip(indices, self.stream)]  # noqa: B905
            if not examples or (self.drop_last and len(examples) < len(indices)):
                return _ENDED
            return self.collate(examples)
        if not self.batched:
            return self.collate(self.dataset[indices])
        if hasattr(self.dataset, "__getitems__"):
            return self.collate(self.dataset.__getitems__(indices))
        return self.collate([self.dataset[i] for i in indices])


_ENDED = object()


def _made(make: Callable[..., Any], *args: Any) -> Any:
    """make(*args), whose StopIteration must not end the pass as if nothing were missing.

    Raises: RuntimeError in place of StopIteration, as Python does for generators.
    """
    try:
        return make(*args)
    except StopIteration as error:
        raise RuntimeError(
            "the data set, collate_fn or worker_init_fn raised StopIteration while a batch was "
            "made: it does not end the pass. An IterableDataset ends by returning from __iter__; "
            "a data set with [i] has as many examples as its len() says"
        ) from error


class _Pass:
    """One pass over a loader."""

    def __init__(self, loader: DataLoader) -> None:
        self.loader = loader
        self.base_seed = (loader.generator or default_generator).random_int64()
        self.indices = iter(loader._indices)

    def __iter__(self) -> Any:
        return self

    def __len__(self) -> int:
        return len(self.loader._indices)


class _OneByOne(_Pass):
    """A pass without workers: each batch is made when it is asked for."""

    def __init__(self, loader: DataLoader) -> None:
        super().__init__(loader)
        self.fetch = _made(_Fetcher, loader)

    def __next__(self) -> Any:
        batch = _made(self.fetch, next(self.indices))
        if batch is _ENDED:
            raise StopIteration
        return batch


class _Ahead(_Pass):
    """A pass with worker threads: worker k mod num_workers makes batch k before it is asked for.

    Each worker is a thread with a queue. `due` holds the batches that are being made, in order.
    """

    def __init__(self, loader: DataLoader) -> None:
        super().__init__(loader)
        n = loader.num_workers
        self.process, self.timed_out = os.getpid(), ""
        self.workers = [ThreadPoolExecutor(1, f"DataLoader worker {i}") for i in range(n)]
        self.fetchers: list[Any] = [None] * n
        self.active = [True] * n
        self.turn = 0
        self.due: deque[tuple[int, Future]] = deque()
        for _ in range((loader.prefetch_factor or 1) * n):
            self._ask()

    def _ask(self) -> None:
        """Ask the next worker whose stream is not exhausted to make the next batch, if any."""
        n = len(self.workers)
        turns = [(self.turn + i) % n for i in range(n)]
        worker = next((i for i in turns if self.active[i]), None)
        if worker is None:
            return
        try:
            indices = next(self.indices)
        except StopIteration:
            return
        self.turn = worker + 1
        self.due.append((worker, self.workers[worker].submit(self._make, worker, indices)))

    def _make(self, worker: int, indices: Any) -> Any:
        """In the worker's thread: the batch, or _ENDED if its stream is exhausted."""
        if self.fetchers[worker] is None:
            loader, seed = self.loader, self.base_seed + worker
            _here.worker = WorkerInfo(worker, len(self.workers), seed, loader.dataset)
            if loader.worker_init_fn is not None:
                loader.worker_init_fn(worker)
            self.fetchers[worker] = _Fetcher(loader)
        return self.fetchers[worker](indices)

    def __next__(self) -> Any:
        if self.process != os.getpid():
            raise RuntimeError(
                "this pass over a DataLoader with workers began before the process was forked, "
                "and its threads are not here: begin a new pass, iter(loader), in this process"
            )
        if self.timed_out:
            raise RuntimeError(self.timed_out)
        while self.due:
            worker, future = self.due.popleft()
            try:
                batch = _made(future.result, self.loader.timeout or None)
            except _TimeoutError:
                if future.done():
                    self._ask()
                    raise  # a TimeoutError of the data set
                self.close()
                self.timed_out = f"DataLoader timed out after {self.loader.timeout} seconds"
                raise RuntimeError(self.timed_out) from None
            except BaseException:
                self._ask()  # who catches the error finds the other batches
                raise
            self.active[worker] = self.active[worker] and batch is not _ENDED
            self._ask()
            if batch is not _ENDED:
                return batch
        self.close()
        raise StopIteration

    def close(self) -> None:
        """Let the threads end; the batches that they are making are finished and dropped."""
        self.due.clear()
        if self.process == os.getpid():  # a forked process has none of them
            for worker in self.workers:
                worker.shutdown(wait=False, cancel_futures=True)

    def __del__(self) -> None:
        if hasattr(self, "due"):  # else its __init__ has failed
            self.close()
