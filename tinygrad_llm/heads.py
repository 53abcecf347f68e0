"""How attention lays out its heads: in groups, a few at a time, in blocks that fit the cache.

Shapes: H heads of keys and values, R query heads that share one of them, L queries, S keys; h some
of the H, n some of the L. A dot stands for the channels of a head, or for keys.
"""

from __future__ import annotations

import itertools
from typing import Any

from .backend import row_blocks, xp_of

__all__ = ["ROWS", "beside", "by_group", "heads_in_cache", "merged", "put", "slices"]

ROWS = 64  # queries, or keys, of a block
BLOCK = 1 << 20  # bytes of the weights of one block, several heads together


def by_group(a: Any, k: Any) -> Any:
    """(..., H·R, L, ·) -> (..., H, R, L, ·): the R query heads of each head of the keys k."""
    heads = k.shape[-3] if k.ndim > 2 else 1
    group = a.shape[-3] // heads if a.ndim > 2 and heads else 1
    return a.reshape(*a.shape[:-3], heads, group, *a.shape[-2:])


def heads_in_cache(q: Any, k: Any) -> list[tuple]:
    """Indices (batch, slice of H) into q (..., H, R, L, E): weights of BLOCK bytes in a block."""
    *batches, n_heads, group, n_rows, _ = q.shape
    one_block = (n_heads, group, ROWS, max(n_rows, k.shape[-2]))
    parts = row_blocks(xp_of(q).broadcast_to(q[:0].sum(), one_block), BLOCK)
    return [(*i, heads) for i in itertools.product(*map(range, batches)) for heads in parts]


def slices(n: int) -> list[slice]:
    """0 … n in slices of ROWS."""
    return [slice(i, min(i + ROWS, n)) for i in range(0, n, ROWS)]


def merged(a: Any) -> Any:
    """(h, R, n, ·) -> (h, R·n, ·): one matrix for each head of the keys."""
    return a.reshape(len(a), a.shape[1] * a.shape[2], a.shape[-1])


def put(part: Any, values: Any) -> None:
    """The way back: write (h, R·n, ·) into (h, R, n, ·)."""
    part[...] = values.reshape(part.shape)


def beside(a: Any, column: Any) -> Any:
    """[a, column]: (..., C) -> (..., C + 1)."""
    both = xp_of(a).empty((*a.shape[:-1], a.shape[-1] + 1), a.dtype)
    both[..., :-1], both[..., -1:] = a, column
    return both
