"""Work on rows of arrays in blocks that fit the cache, on every core.

An op describes what is done to some rows, and a decorator does it to all of them, immediately:

    @over_rows(x, y)
    def some_rows(x, y):
        xp_of(x).exp(x, out=y)

runs the function once for each block of rows, with that part of x and of y, and shares the blocks
among the cores. The result is what the function writes into y. The name `some_rows` is then bound
to the sum of what the function returned for the blocks, here None, and not to the function.

    over_rows       functions of rows, (..., C)
    over_elements   element-wise functions, of arrays of any shape
    along           functions along one dimension: in blocks if it is the last one
    over_blocks     functions of blocks that the caller chooses; over_row_blocks: of some rows
    each            what they are made of: a list of parts, shared among the cores
"""

from __future__ import annotations

import functools
import itertools
import math
import os
import sys
import threading
import warnings
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from . import blas
from .allocator import keep_memory
from .devices import NUMPY_TYPES, xp_of
from .silence import quiet
from .threads import work_together

__all__ = [
    "CACHE_BYTES",
    "MEMORY_BYTES",
    "along",
    "core_count",
    "each",
    "free_memory",
    "machine_memory",
    "on_every_core",
    "over_blocks",
    "over_elements",
    "over_row_blocks",
    "over_rows",
    "row_blocks",
    "set_thread_count",
    "thread_count",
    "times",
]

Decorator = Callable[[Callable[..., Any]], Any]  # runs a function, and returns its result


# ------------------------------------------------------------------------------------ threads
_threads = 0  # 0: not yet counted


def has_threads() -> bool:
    """Whether a thread can be started: not in a browser (Pyodide) nor under WASI."""
    return sys.platform not in ("emscripten", "wasi")


def machine_memory() -> int | None:
    """The bytes of this machine's memory; None where the system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return None


def free_memory() -> int | None:
    """The bytes of memory that programs can still get, swap included, as Linux counts them; all of
    machine_memory() where the system does not say.
    """
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            rows = dict(line.split(":", 1) for line in file)
        return sum(int(rows[name].split()[0]) * 1024 for name in ("MemAvailable", "SwapFree"))
    except (OSError, ValueError, KeyError, IndexError):
        return machine_memory()


def core_count() -> int:
    """The number of cores that this process may use; 1 where no thread can be started."""
    if not has_threads():
        return 1
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def thread_count() -> int:
    """The number of threads that share big arrays: set_thread_count's, or this process's cores."""
    global _threads
    if not _threads:
        _threads = core_count()
    return _threads


def set_thread_count(n: int) -> None:
    """Let n threads share big arrays and matrix products.

    A warning says so where the products' library cannot be set while the program runs.
    Raises: RuntimeError if n is below 1.
    """
    global _threads
    if n < 1:
        raise RuntimeError("set_num_threads expects a positive integer")
    _threads = n if has_threads() else 1
    if not blas.set_threads(_threads) and has_threads() and n != core_count():
        warnings.warn(
            f"set_num_threads({n}): element-wise work takes {n} threads, matrix products as many "
            "as before: NumPy's library for them cannot be set while a program runs. Accelerate "
            "(macOS) reads VECLIB_MAXIMUM_THREADS at its start; for others install threadpoolctl",
            stacklevel=3,
        )


# ---------------------------------------------------------------------------- blocks of rows
CACHE_BYTES = 1 << 20  # of one array in a block of row_blocks, for element-wise passes
MEMORY_BYTES = 1 << 26  # the same on a GPU, at least
BLOCK_BYTES = 1536 * 1024  # of one array in a block of over_rows; smaller ones cost more overhead


def row_blocks(x: Any, n_bytes: int | None = None) -> list[slice]:
    """Slices of x's first axis of about n_bytes (CACHE_BYTES) each, and at least one row.

    A GPU gets MEMORY_BYTES at least: every block is a launch there, and few launches are fast.
    """
    n_bytes = CACHE_BYTES if n_bytes is None else n_bytes
    if not isinstance(x, NUMPY_TYPES):
        n_bytes = max(n_bytes, MEMORY_BYTES)
    step = max(1, n_bytes // max(1, x.itemsize * math.prod(x.shape[1:])))
    return [slice(i, min(i + step, len(x))) for i in range(0, len(x), step)]


def over_rows(*arrays: Any) -> Decorator:
    """A decorator: run the function over blocks of rows of these arrays, on every core.

    Each array is viewed as rows, of which the last axis is one: (..., C) -> (N, C), all with the
    same N; None stays None. The function gets the same rows of each array and writes into those
    that are results. A block stays in the cache, so that a chain of operations reads memory once.
    On a GPU the function runs once, on all rows.

    The decorated name is bound to what the function returned, added up over the blocks in the rows'
    order: an array, a tuple of arrays, or None.
    """
    return functools.partial(_run_over_rows, arrays)


def _run_over_rows(arrays: Sequence[Any], function: Callable[..., Any]) -> Any:
    first = arrays[0]
    if type(first) is np.ndarray and first.size < blas.FEW:
        return function(*_as_rows(arrays))
    return _run_over_many_rows(arrays, function)


@quiet
def _run_over_many_rows(arrays: Sequence[Any], function: Callable[..., Any]) -> Any:
    rows = _as_rows(arrays)
    first = rows[0]
    n = len(first)
    if not isinstance(first, np.ndarray):
        return function(*rows)
    row_bytes = max([a.strides[0] if a.shape[1] else 0 for a in rows if a is not None])
    step = max(1, min(n, BLOCK_BYTES // max(abs(row_bytes), 1)))
    if n <= step:
        with blas.one_thread:
            return function(*rows)
    cores = thread_count()
    n_blocks = -(-n // step)
    if n_blocks % cores:  # every core gets equally many
        n_blocks += cores - n_blocks % cores
        step = -(-n // n_blocks)
    blocks = [slice(i, i + step) for i in range(0, n, step)]
    return functools.reduce(_add_up, _run_over_blocks(blocks, rows, function))


def _as_rows(arrays: Sequence[Any]) -> list:
    """Each array as a matrix, whose rows are its last axis: (..., C) -> (N, C); None stays None."""
    return [
        a if a is None or a.ndim == 2
        else a[None] if a.ndim == 1  # (C) -> (1, C)
        else a.reshape(math.prod(a.shape[:-1]), a.shape[-1])
        for a in arrays
    ]  # fmt: skip


def _add_up(total: Any, part: Any) -> Any:
    """total += part, for arrays and for tuples of them; None stays None."""
    if isinstance(total, tuple):
        for t, p in zip(total, part, strict=True):
            _add_up(t, p)
    elif total is not None:
        total += part
    return total


def over_elements(*arrays: Any) -> Decorator:
    """A decorator like over_rows, for element-wise functions: arrays of any one shape.

    The last array must be a result without gaps, in any order of its dimensions; so must others
    that are results, in the same order.
    """
    if arrays[0].ndim < 2:
        columns = [a if a is None else a.reshape(-1, 1) for a in arrays]
        return functools.partial(_run_over_rows, columns)
    result = next(a for a in reversed(arrays) if a is not None)
    if result.ndim > 2 and not result.flags.c_contiguous:
        order = sorted(range(result.ndim), key=lambda d: -result.strides[d])
        arrays = tuple(a if a is None else a.transpose(order) for a in arrays)  # to row order
    return functools.partial(_run_over_rows, arrays)


def along(dim: int, *arrays: Any) -> Decorator:
    """A decorator: run function(*arrays, dim), like over_rows in blocks of rows if dim is the last.

    Along another dim it runs once, on whole arrays. Arrays without elements are left as they are.
    """

    def run(function: Callable[..., Any]) -> None:
        first = arrays[0]
        if not first.size:
            return
        if dim not in (-1, first.ndim - 1):
            function(*arrays, dim)
        elif type(first) is np.ndarray and first.size < blas.FEW:
            function(*(arrays if first.ndim == 2 else _as_rows(arrays)), -1)
        else:
            _run_over_many_rows(arrays, functools.partial(function, dim=-1))

    return run


def over_blocks(blocks: Sequence[Any], *arrays: Any) -> Decorator:
    """A decorator: run the function over blocks of the caller's choice, on every core.

    For each index in `blocks` (a slice of rows, or a tuple) the function gets a[index] of each
    array; None stays None. If the first array is on a GPU, the blocks run one after another. The
    decorated name is bound to the list of what the function returned.
    """
    return functools.partial(_run_over_blocks, blocks, arrays)


def over_row_blocks(like: Any, *arrays: Any) -> Decorator:
    """A decorator: over_blocks with blocks of like's rows that fit the cache, one if they are few.

    The arrays may have any number of dimensions, of which the first is cut.
    """
    if type(like) is np.ndarray and like.size < blas.FEW:
        return lambda function: [function(*arrays)]
    return over_blocks(row_blocks(like), *arrays)


def _run_over_blocks(
    blocks: Sequence[Any], arrays: Sequence[Any], function: Callable[..., Any]
) -> list:
    def run(i: Any) -> Any:
        return function(*[None if a is None else a[i] for a in arrays])

    return each(run, blocks, arrays[0])


def times(a: Any, b: Any) -> Any:
    """a·b, element by element, on every core: arrays of one shape."""
    y = xp_of(a).empty(a.shape, a.dtype)

    @over_elements(a, b, y)
    def some_elements(a: Any, b: Any, y: Any) -> None:
        xp_of(a).multiply(a, b, out=y)

    return y


# ------------------------------------------------------------------------- parts, on every core
_SMALL = 1024  # numbers whose products are too small for OpenBLAS to share among its threads


def each(work: Callable[[Any], Any], parts: Sequence[Any], like: Any = None) -> list:
    """[work(part) for part in parts], on every core: NumPy releases the interpreter meanwhile.

    Which core does what differs from run to run; the order of the results does not. The parts
    follow one another on this core if `like` is an array on a GPU.
    """
    if len(parts) == 1 and isinstance(like, np.ndarray) and like.size < _SMALL:
        return [work(parts[0])]
    if len(parts) < 2 or thread_count() == 1 or not isinstance(like, NUMPY_TYPES + (type(None),)):
        with blas.one_thread:
            return [work(part) for part in parts]
    keep_memory()
    results: list = [None] * len(parts)
    n = min(thread_count(), len(parts))
    cuts = [len(parts) * i // n for i in range(n + 1)]
    queues = [deque(range(i, j)) for i, j in itertools.pairwise(cuts)]  # one for each core
    numbers, caller = itertools.count(1), threading.get_ident()

    def take_parts() -> None:
        me = 0 if threading.get_ident() == caller else next(numbers)
        # the core's own queue first, from the front, so that it works on the same memory each time;
        # then what the others have left, from the back
        for queue in queues[me:] + queues[:me]:
            take = queue.popleft if queue is queues[me] else queue.pop
            while True:
                try:
                    i = take()
                except IndexError:  # empty
                    break
                results[i] = work(parts[i])

    work_together(take_parts, n)
    return results


def on_every_core(work: Callable[[], Any]) -> None:
    """Call work() on each core, this thread included; it returns when nothing is left to do."""
    if thread_count() == 1:
        work()
    else:
        work_together(work, thread_count())
