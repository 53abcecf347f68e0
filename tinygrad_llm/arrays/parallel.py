"""Work on rows of arrays in blocks that fit the cache, on every core.

An op says what is done to a few rows; `by_rows` and `each` go through all of them.
"""

from __future__ import annotations

import functools
import importlib
import itertools
import math
import os
import threading
from collections import deque
from typing import Any

import numpy as np

from . import blas
from .allocator import keep_memory
from .devices import NUMPY_TYPES, quiet, xp_of
from .threads import work_together

__all__ = [
    "IN_MEMORY",
    "along",
    "by_elements",
    "by_rows",
    "each",
    "on_every_core",
    "row_blocks",
    "set_thread_count",
    "thread_count",
    "times",
]


# ------------------------------------------------------------------------------------ threads
_threads = 0


def thread_count() -> int:
    """How many threads work on big arrays: set_thread_count's, or the cores of this process."""
    global _threads
    if not _threads:
        affinity = getattr(os, "sched_getaffinity", None)
        _threads = len(affinity(0)) if affinity else (os.cpu_count() or 1)
    return _threads


def set_thread_count(n: int) -> None:
    """Let n threads work on big arrays, and on matrix products where threadpoolctl is installed."""
    global _threads
    if n < 1:
        raise RuntimeError("set_num_threads expects a positive integer")
    _threads = n
    try:
        limits = importlib.import_module("threadpoolctl").threadpool_limits
    except ImportError:
        return
    limits(limits=n, user_api="blas")


# ------------------------------------------------------------------------- rows in blocks
IN_CACHE, IN_MEMORY = 1 << 20, 1 << 26  # bytes: for element-wise passes, for matrix products


def row_blocks(x: Any, n_bytes: int = IN_CACHE) -> list[slice]:
    """Slices of x's rows (its first axis) of about n_bytes each, and at least one row.

    A GPU gets IN_MEMORY bytes at least: there every block is a launch, and few is fast.
    """
    if not isinstance(x, NUMPY_TYPES):
        n_bytes = max(n_bytes, IN_MEMORY)
    step = max(1, n_bytes // max(1, x.itemsize * math.prod(x.shape[1:])))
    return [slice(i, min(i + step, len(x))) for i in range(0, len(x), step)]


_BLOCK = 1536 * 1024  # bytes of one array in a block; smaller ones cost more in handing over


@quiet
def by_rows(kernel: Any, *arrays: Any) -> Any:
    """Run kernel(*blocks) over blocks of rows, on every core; the sum of what it returns.

    Each array is seen as rows, its last axis being a row: (..., C) -> (N, C), all with the same N.
    The kernel gets the same rows of each, writes into those that are results, and may return sums
    over its rows (an array, a tuple of them, or None), which are added up in the rows' order. A
    block stays in the cache, so that a chain of operations meets memory once. On a GPU the kernel
    runs once, on everything.
    """
    rows = [a.reshape(math.prod(a.shape[:-1]), a.shape[-1]) for a in arrays]
    n = len(rows[0])
    if not isinstance(rows[0], np.ndarray):
        return kernel(*rows)
    widest = max(a.strides[0] if a.shape[1] else 0 for a in rows)
    step = max(1, min(n, _BLOCK // max(abs(widest), 1)))
    if n <= step:
        with blas.one_thread:
            return kernel(*rows)
    cores = thread_count()
    blocks = -(-n // step)
    if blocks % cores:  # every core gets equally many
        blocks += cores - blocks % cores
        step = -(-n // blocks)
    parts = [slice(i, i + step) for i in range(0, n, step)]
    return functools.reduce(_add_up, each(lambda part: kernel(*[a[part] for a in rows]), parts))


def by_elements(f: Any, *inputs: Any, outputs: int = 1) -> list:
    """The arrays that f(*inputs, *outputs) writes, like the inputs; in blocks, on every core."""
    outs = [xp_of(inputs[0]).empty(inputs[0].shape, inputs[0].dtype) for _ in range(outputs)]
    by_rows(f, *(a if a.ndim > 1 else a.reshape(-1, 1) for a in (*inputs, *outs)))
    return outs


def times(a: Any, b: Any) -> Any:
    """a·b, element by element, on every core."""

    def f(a: Any, b: Any, y: Any) -> None:
        xp_of(a).multiply(a, b, out=y)

    return by_elements(f, a, b)[0]


def along(f: Any, dim: int, *inputs: Any) -> Any:
    """What f(*inputs, y, dim) writes into y, an array like the inputs; by rows if dim is last."""
    y = xp_of(inputs[0]).empty(inputs[0].shape, inputs[0].dtype)
    if not y.size:
        return y
    if dim in (-1, y.ndim - 1):
        by_rows(functools.partial(f, dim=-1), *inputs, y)
    else:
        f(*inputs, y, dim=dim)
    return y


def each(work: Any, parts: Any, like: Any = None) -> list:
    """[work(part) for part in parts], on every core: NumPy lets go of the interpreter meanwhile.

    Which core does what differs from run to run; the order of the results does not. One after the
    other if `like` is an array of a GPU.
    """
    if len(parts) < 2 or thread_count() == 1 or not isinstance(like, NUMPY_TYPES + (type(None),)):
        with blas.one_thread:
            return [work(part) for part in parts]
    keep_memory()
    results: list = [None] * len(parts)
    n = min(thread_count(), len(parts))
    cuts = [len(parts) * i // n for i in range(n + 1)]
    todo = [deque(range(i, j)) for i, j in itertools.pairwise(cuts)]  # what each core begins with
    numbers, here = itertools.count(1), threading.get_ident()

    def take_turns() -> None:
        me = 0 if threading.get_ident() == here else next(numbers)
        for queue in todo[me:] + todo[:me]:  # its own part, so that a core meets the same memory
            take = queue.popleft if queue is todo[me] else queue.pop
            while True:
                try:
                    i = take()
                except IndexError:  # empty
                    break
                results[i] = work(parts[i])

    work_together(take_turns, n)
    return results


def _add_up(total: Any, more: Any) -> Any:
    """total += more, for arrays and for tuples of them; None stays None."""
    if isinstance(total, tuple):
        for t, m in zip(total, more, strict=True):
            _add_up(t, m)
    elif total is not None:
        total += more
    return total


def on_every_core(work: Any) -> None:
    """Call work() on each core, this thread among them; work takes turns until nothing is left."""
    if thread_count() == 1:
        work()
    else:
        work_together(work, thread_count())
