"""Rows of arrays: sums over them, and work on them in blocks that fit the cache, on every core.

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
from .devices import _NUMPY, FASTER, asarray, quiet, xp_of
from .threads import work_together

__all__ = [
    "IN_MEMORY",
    "along",
    "bounded",
    "by_elements",
    "by_rows",
    "each",
    "exp_total",
    "max_along",
    "on_every_core",
    "row_blocks",
    "row_dot",
    "row_mean",
    "row_sum",
    "set_threads",
    "sum_along",
    "sum_over",
    "threads",
    "times",
    "unbroadcast",
]


# ------------------------------------------------------------------------------ sums over rows
def unbroadcast(g: Any, shape: tuple[int, ...]) -> Any:
    """The gradient of an input of `shape` that was broadcast to g.shape: g summed over the copies.

    Where broadcasting repeated a value n times, that value reaches the loss by n roads, and the
    gradient is the sum over them.
    """
    if g.shape == shape:
        return g
    extra = g.ndim - len(shape)
    if extra:
        g = sum_over(g, tuple(range(extra)))  # (copies, *shape) -> (*shape)
    repeated = tuple(i for i, n in enumerate(shape) if n == 1 and g.shape[i] != 1)
    if repeated:
        g = sum_over(g, repeated, keepdim=True)
    return asarray(g, g)


_ROWS = 1024


def row_sum(g: Any, keep: int = 1) -> Any:
    """Sum over every axis but the last `keep`: (..., C) -> (C).

    NumPy adds rows one after the other, so that the sum of 2e7 ones in float32 stops at 16,777,216.
    Here rows are added in groups, and then the groups: the error grows like the square root of it.
    """
    tail = g.shape[g.ndim - keep :]
    rows = g.reshape(-1, math.prod(tail)) if g.size else g.reshape(0, math.prod(tail))  # (N, C)
    n = len(rows)
    if isinstance(rows, np.ndarray) and rows.dtype.kind == "f" and rows.dtype.itemsize > 2:
        if blas.one_thread.inside:
            return _row_sum_by_products(rows).reshape(tail)
        with blas.one_thread:
            return _row_sum_by_products(rows).reshape(tail)
    if FASTER and not isinstance(rows, np.ndarray) and FASTER["takes_rows"](rows):
        return FASTER["sum_rows"](rows).reshape(tail)
    if n > _ROWS:
        whole = n - n % _ROWS
        groups = rows[:whole].reshape(-1, _ROWS, rows.shape[1]).sum(1)  # (N / 1024, C)
        total = row_sum(groups)
        if whole < n:
            total = total + rows[whole:].sum(0)
    else:
        total = rows.sum(0)  # (C)
    return total.reshape(tail)


def _row_sum_by_products(rows: np.ndarray) -> np.ndarray:
    """Σ over the rows as 1ᵀ·rows, 1,024 rows at a time: BLAS reads memory faster than sum does."""
    n = len(rows)
    whole = n - n % _ROWS
    total = np.ones(n - whole, rows.dtype) @ rows[whole:]  # (C)
    if whole:
        groups = np.ones(_ROWS, rows.dtype) @ rows[:whole].reshape(-1, _ROWS, rows.shape[1])
        total += groups[0] if whole == _ROWS else _row_sum_by_products(groups)  # (C)
    return total


def max_along(x: Any, dim: int = -1) -> Any:
    """The largest element along dim, which stays with size 1. A row with a NaN may give another.

    NumPy's max is slow on short rows; fmax, which passes over NaN, is up to four times as fast.
    """
    if dim == -1 and isinstance(x, np.ndarray):
        return np.fmax.reduce(x, axis=-1, keepdims=True)
    return x.max(dim, keepdims=True)


def sum_along(x: Any, dim: int = -1) -> Any:
    """Σ x along dim, which stays with size 1: rows that lie side by side as a product with ones."""
    if dim == -1 and x.dtype.itemsize > 2:
        if isinstance(x, np.ndarray) and x.flags.c_contiguous:
            return (x @ np.ones(x.shape[-1], x.dtype))[..., None]  # BLAS reads the fastest
        return xp_of(x).einsum("...c->...", x)[..., None]
    return x.sum(dim, keepdims=True)


def row_mean(x: Any, w: Any = None) -> Any:
    """The mean of x, or of x·w, over the last axis: (..., C) -> (..., 1)."""
    if w is None:
        return sum_along(x) / max(x.shape[-1], 1)
    return (x @ w)[..., None] / max(x.shape[-1], 1)


@quiet
def exp_total(x: Any, out: Any, dim: int = -1, largest: float = 1e30) -> tuple[Any, Any]:
    """out = exp(z), with z = x or x − max x along dim; z, and Σ exp(z) along dim.

    z = x where Σ exp(x) shows that nothing overflowed and nothing that counts was lost: most logits
    need no maximum, two passes fewer. `largest` is the sum from which on its logarithm would be too
    coarse. A GPU is not asked: the answer would have to be waited for. A row of −∞ gives NaN.
    """
    if isinstance(x, np.ndarray) and x.dtype.itemsize > 2 and x.size:
        total = sum_along(np.exp(x, out=out), dim)
        if total.min() > 1e-3 and total.max() < largest:
            return x, total
    z = x - max_along(x, dim)
    return z, sum_along(xp_of(x).exp(z, out=out), dim)


def row_dot(a: Any, b: Any, dim: int = -1) -> Any:
    """Σ a·b along dim, which stays with size 1: a call of BLAS a row, or for short rows a product
    with ones."""
    if dim != -1:
        return (a * b).sum(dim, keepdims=True)
    if isinstance(a, np.ndarray) and a.dtype.itemsize > 2:
        short = a.shape[-1] < 64
        return ((a * b) @ np.ones(a.shape[-1], a.dtype) if short else np.vecdot(a, b))[..., None]
    return xp_of(a).einsum("...c,...c->...", a, b)[..., None]


def bounded(a: Any, b: Any, scale: float) -> bool:
    """Whether exp(aᵢ·bⱼ·scale) is in range for all rows without subtracting a maximum.

    |aᵢ·bⱼ| ≤ |aᵢ|·|bⱼ| (Cauchy and Schwarz): 40 leaves room for a long sum. A GPU is not asked, for
    the answer would have to be waited for.
    """
    if not isinstance(a, np.ndarray) or a.dtype.itemsize < 4 or not a.size or not b.size:
        return False
    return float(row_dot(a, a).max() * row_dot(b, b).max()) * scale**2 < 1600.0


def sum_over(x: Any, dims: tuple[int, ...], keepdim: bool = False) -> Any:
    """Σ x over dims; float16 adds up in float32, many rows in groups (see row_sum)."""
    n = len(dims)
    if x.dtype.kind in "iub":
        return x.sum(dims, keepdims=keepdim, dtype="int64")
    if x.dtype.itemsize == 2:
        return x.sum(dims, keepdims=keepdim, dtype="float32").astype(x.dtype)
    if 0 < n < x.ndim and dims == tuple(range(n)) and x.size:
        total = row_sum(x, x.ndim - n)
        return total.reshape((1,) * n + total.shape) if keepdim else total
    return x.sum(dims, keepdims=keepdim)


# ------------------------------------------------------------------------------------ threads
_threads = 0


def threads() -> int:
    """How many threads work on big arrays: the cores this process may use, unless set_threads."""
    global _threads
    if not _threads:
        affinity = getattr(os, "sched_getaffinity", None)
        _threads = len(affinity(0)) if affinity else (os.cpu_count() or 1)
    return _threads


def set_threads(n: int) -> None:
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
    if not isinstance(x, _NUMPY):
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
    cores = threads()
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
    if len(parts) < 2 or threads() == 1 or not isinstance(like, _NUMPY + (type(None),)):
        with blas.one_thread:
            return [work(part) for part in parts]
    keep_memory()
    results: list = [None] * len(parts)
    n = min(threads(), len(parts))
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
    if threads() == 1:
        work()
    else:
        work_together(work, threads())
