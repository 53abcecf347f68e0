"""Matrix products, shared among the cores by ourselves: see blas.py for the reason."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import blas
from .backend import IN_CACHE, each, row_blocks, threads, xp_of

__all__ = ["product", "products"]

SHARED = 1 << 22  # multiplications from which on a product is shared among the cores


def product(a: Any, b: Any, bias: Any = None, out: Any = None, add: bool = False) -> Any:
    """a @ b + bias of two matrices: (N, K) @ (K, M) + (M) -> (N, M), in `out` if it is given.

    add: out += a @ b, some rows at a time, so that the product needs little memory itself. A large
    product is cut along its longer side into a piece for each core.
    """
    xp, n, m = xp_of(a), len(a), b.shape[1]
    if out is None:
        out = xp.empty((n, m), np.result_type(a.dtype, b.dtype))

    def rows_and_columns(i: slice, j: slice) -> None:
        if add:
            out[i, j] += a[i] @ b[:, j]
        else:
            xp.matmul(a[i], b[:, j], out=out[i, j])
        if bias is not None:
            out[i, j] += bias[j]

    cuts, whole = _cuts(max(n, m), n * m * b.shape[0], a), slice(None)
    if add:
        cuts = row_blocks(out, IN_CACHE << 3)
        each(lambda i: rows_and_columns(i, whole), cuts)
    elif n >= m:
        each(lambda i: rows_and_columns(i, whole), cuts)
    else:
        each(lambda j: rows_and_columns(whole, j), cuts)
    return out


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
    cut_at = 0 if leading[0] >= threads() else leading.index(max(leading))  # batches, or heads
    cuts = _cuts(leading[cut_at], size, a)

    def some_of_them(i: slice) -> None:
        at = (slice(None),) * cut_at + (i,)
        xp.matmul(a[at], b[at], out=out[at])

    each(some_of_them, cuts)
    return out


def _cuts(n: int, size: int, like: Any) -> list[slice]:
    """0 … n as a slice for each core if there is so much to multiply, else as one."""
    pieces = 1
    if size >= SHARED and isinstance(like, np.ndarray) and blas.can_hold():
        pieces = threads()
    step = max(1, -(-n // pieces))
    return [slice(i, i + step) for i in range(0, n, step)] or [slice(0, 0)]
