"""Matrix products that this package shares among the cores itself; blas.py explains why."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from . import blas
from .devices import xp_of
from .parallel import each, row_blocks, thread_count
from .twins import cpu_twins

__all__ = ["concurrent_products", "product", "products"]

FEW_ROWS = 16  # up to so many rows are multiplied without packing the other matrix
LARGE = 1 << 18  # numbers of a matrix that takes longer to read than another core takes to wake up
MIN_SHARED = 1 << 22  # multiplications: smaller products are not shared among the cores
TINY = 1 << 16  # multiplications
FEW_PRODUCTS = 1 << 15  # multiplications that take less time than a choice of how to do them
SUM_BYTES = 1 << 23  # of a block of a product that is added to an array


def product(a: Any, b: Any, bias: Any = None, out: Any = None) -> Any:
    """a @ b + bias of two matrices: (N, K) @ (K, M) + (M) -> (N, M), in `out` if it is given.

    b may be in bfloat16 or float16 beside a wider a: few rows read it as it is where a loop can,
    and others multiply a copy of it in the dtype of a.

    A large product is cut along its longer side into a piece for each core. Few rows, as in
    generation, read b once: by a compiled loop, or by the library's own threads as bᵀ·aᵀ, for a·b
    would first copy b into packed blocks. Its threads keep their cores busy for a while after a
    product, which is what a loop on every core then waits for.
    """
    if len(a) <= FEW_ROWS and out is None and isinstance(a, np.ndarray):
        y = _few_rows(a, b)
        return y if bias is None else y + bias
    b = _as_wide(b, a)
    if out is None and bias is None and _is_tiny(a, b):
        return _dot(a, b)
    out = _empty_product(a, b) if out is None else out
    each(_call, _pieces(a, b, out, thread_count(), bias), a)
    return out


def concurrent_products(*tasks: Any, add_to: Any = None) -> list:
    """Several independent results, computed together: a list with one result for each task.

    A task is a pair (a, b), which results in a @ b, or a function to call, or None. Two products
    get half of the cores each: a core that computes a whole product prepares the factors once, and
    no core waits in between. The core that is free first calls the functions. The last product is
    added to `add_to`, if that is given, in blocks of rows.
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
            work += [partial(_add, add_to[j], a[j], b) for j in row_blocks(add_to, SUM_BYTES)]
        elif task is not None:
            (a, b), outs[i] = task, _empty_product(*task)
            work += _pieces(a, b, outs[i], max(1, thread_count() // 2))
    each(_call, work, next((t[0] for t in tasks if isinstance(t, tuple)), None))
    return outs


def _few_rows(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a @ b for few rows of a: (R, K) @ (K, M) -> (R, M)."""
    loops = cpu_twins(b) if b.size >= LARGE and len(a) else None
    if loops is not None and loops.few_rows_product and loops.takes_few_rows(a, b.T):  # type: ignore
        return loops.few_rows_product(a, b.T)
    b = _as_wide(b, a)
    return _dot(a, b) if len(a) == 1 else np.ascontiguousarray(_dot(b.T, a.T).T)


def _as_wide(b: Any, a: Any) -> Any:
    """b, or a copy in the dtype of a if b has two bytes per number and a has more."""
    return b.astype(a.dtype) if b.dtype.itemsize == 2 < a.dtype.itemsize else b


def _dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a @ b of two matrices: `dot` makes the same call of BLAS, and begins it sooner.

    Where BLAS is not called, or of one number (dot returns −0 where @ returns 0), it is @ itself.
    """
    floats = a.dtype is b.dtype and a.dtype.char in "fd" and a.size > 1 < b.size
    return a.dot(b) if floats and a.flags.forc and b.flags.forc else a @ b


def _is_tiny(a: Any, b: Any) -> bool:
    """Whether a product is so small that OpenBLAS computes it on one thread by itself."""
    return isinstance(a, np.ndarray) and len(a) * b.size < TINY


def _call(work: Callable[[], Any]) -> Any:
    return work()


def _empty_product(a: Any, b: Any) -> Any:
    """An array for a @ b: (N, K), (K, M) -> (N, M)."""
    return xp_of(a).empty((len(a), b.shape[1]), np.result_type(a.dtype, b.dtype))


def _add(out: Any, a: Any, b: Any) -> None:
    out += a @ b


def _multiply(a: Any, b: Any, bias: Any, out: Any, i: slice, j: slice) -> None:
    """Rows i and columns j of out = a @ b + bias."""
    xp_of(a).matmul(a[i], b[:, j], out=out[i, j])
    if bias is not None:
        out[i, j] += bias[j]


def _pieces(a: Any, b: Any, out: Any, n: int, bias: Any = None) -> list[Callable[[], None]]:
    """out = a @ b + bias as up to n functions to call, along out's longer side."""
    (rows, columns), whole, size = out.shape, slice(None), out.size * len(b)
    if rows >= columns:
        return [partial(_multiply, a, b, bias, out, i, whole) for i in _cuts(rows, size, a, n)]
    return [partial(_multiply, a, b, bias, out, whole, j) for j in _cuts(columns, size, a, n)]


def products(a: Any, b: Any) -> Any:
    """a @ b, matrix by matrix over leading dimensions, which broadcast and are shared by the cores.

    (..., N, K) @ (..., K, M) -> (..., N, M); vectors as in NumPy's matmul.
    """
    if a.ndim == b.ndim == 2:
        few = type(a) is np.ndarray and len(a) * b.size < FEW_PRODUCTS
        return _dot(a, b) if few else product(a, b)
    xp = xp_of(a)
    if min(a.ndim, b.ndim) < 2 or not isinstance(a, np.ndarray):
        return a @ b
    leading = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    out = xp.empty((*leading, a.shape[-2], b.shape[-1]), np.result_type(a.dtype, b.dtype))
    size = out.size * a.shape[-1]
    a, b = (xp.broadcast_to(x, leading + x.shape[-2:]) for x in (a, b))
    cut_at = 0 if leading[0] >= thread_count() else leading.index(max(leading))  # batches, or heads
    cuts = _cuts(leading[cut_at], size, a, thread_count())

    def some_matrices(i: slice) -> None:
        index = (slice(None),) * cut_at + (i,)
        xp.matmul(a[index], b[index], out=out[index])

    each(some_matrices, cuts)
    return out


def _cuts(n: int, size: int, like: Any, pieces: int) -> list[slice]:
    """0 … n in up to `pieces` slices; in one if `size` multiplications are too few."""
    if size < MIN_SHARED or not isinstance(like, np.ndarray) or not blas.can_hold():
        pieces = 1
    step = max(1, -(-n // pieces))
    return [slice(i, i + step) for i in range(0, n, step)] or [slice(0, 0)]
