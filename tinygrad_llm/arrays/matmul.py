"""Matrix products, shared among the cores by ourselves: see blas.py for the reason."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from . import blas
from .devices import xp_of
from .parallel import IN_CACHE, each, row_blocks, thread_count

__all__ = ["at_once", "product", "products"]

FEW = 16  # rows up to which a product is one of a matrix and some vectors
SHARED = 1 << 22  # multiplications from which on a product is shared among the cores


def product(a: Any, b: Any, bias: Any = None, out: Any = None) -> Any:
    """a @ b + bias of two matrices: (N, K) @ (K, M) + (M) -> (N, M), in `out` if it is given.

    A large product is cut along its longer side into a piece for each core. Few rows, as in
    generation, are left to the library's own threads: bᵀ·aᵀ reads b once, where a·b packs it.
    """
    if len(a) <= FEW and out is None and isinstance(a, np.ndarray):
        y = a @ b if len(a) == 1 else np.ascontiguousarray((b.T @ a.T).T)
        return y if bias is None else y + bias
    out = _room(a, b) if out is None else out
    each(lambda work: work(), _pieces(a, b, out, thread_count(), bias), a)
    return out


def at_once(*tasks: Any, add_to: Any = None) -> list:
    """a @ b for each task (a, b), and f() for a function f; None for None.

    Two products get half of the cores each: a core with a whole product to itself prepares the
    factors once, and nobody waits in between. The core that is free first calls the functions.
    The last product is added to `add_to`, if that is given, some rows at a time.
    """
    outs: list = [None] * len(tasks)
    work: list[Callable[[], Any]] = []

    def call(i: int) -> None:
        outs[i] = tasks[i]()

    for i, task in enumerate(tasks):
        if callable(task):
            work.append(partial(call, i))
        elif task is not None and add_to is not None and i == len(tasks) - 1:
            outs[i], (a, b) = add_to, task
            work += [_adding(add_to[j], a[j], b) for j in row_blocks(add_to, IN_CACHE << 3)]
        elif task is not None:
            (a, b), outs[i] = task, _room(*task)
            work += _pieces(a, b, outs[i], max(1, thread_count() // 2))
    each(lambda work: work(), work, next((t[0] for t in tasks if isinstance(t, tuple)), None))
    return outs


def _room(a: Any, b: Any) -> Any:
    return xp_of(a).empty((len(a), b.shape[1]), np.result_type(a.dtype, b.dtype))


def _adding(out: Any, a: Any, b: Any) -> Callable[[], None]:
    def work() -> None:
        out.__iadd__(a @ b)

    return work


def _pieces(a: Any, b: Any, out: Any, n: int, bias: Any = None) -> list[Callable[[], None]]:
    """What to call to have out = a @ b + bias, in up to n pieces."""
    xp, (rows, columns) = xp_of(a), out.shape

    def piece(i: slice, j: slice) -> Callable[[], None]:
        def work() -> None:
            xp.matmul(a[i], b[:, j], out=out[i, j])
            if bias is not None:
                out[i, j] += bias[j]

        return work

    whole, size = slice(None), out.size * len(b)
    if rows >= columns:
        return [piece(i, whole) for i in _cuts(rows, size, a, n)]
    return [piece(whole, j) for j in _cuts(columns, size, a, n)]


def products(a: Any, b: Any) -> Any:
    """a @ b, matrix by matrix over leading dimensions, which broadcast: the cores share these."""
    xp = xp_of(a)
    if a.ndim == b.ndim == 2:
        return product(a, b)
    if min(a.ndim, b.ndim) < 2 or not isinstance(a, np.ndarray):
        return a @ b
    leading = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    out = xp.empty((*leading, a.shape[-2], b.shape[-1]), np.result_type(a.dtype, b.dtype))
    size = out.size * a.shape[-1]
    a, b = (xp.broadcast_to(x, leading + x.shape[-2:]) for x in (a, b))
    cut_at = 0 if leading[0] >= thread_count() else leading.index(max(leading))  # batches, or heads
    cuts = _cuts(leading[cut_at], size, a, thread_count())

    def some_of_them(i: slice) -> None:
        at = (slice(None),) * cut_at + (i,)
        xp.matmul(a[at], b[at], out=out[at])

    each(some_of_them, cuts)
    return out


def _cuts(n: int, size: int, like: Any, pieces: int) -> list[slice]:
    """0 … n in so many slices if there is so much to multiply, else in one."""
    if size < SHARED or not isinstance(like, np.ndarray) or not blas.can_hold():
        pieces = 1
    step = max(1, -(-n // pieces))
    return [slice(i, i + step) for i in range(0, n, step)] or [slice(0, 0)]
