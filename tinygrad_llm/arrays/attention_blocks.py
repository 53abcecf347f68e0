"""How attention divides its work: heads in groups, queries and keys in blocks that fit the cache.

Shapes: H heads of keys and values, R query heads that share one of them, L queries, S keys; h of
the H heads, n of the L queries, m of the S keys. A dot is the channels of a head, or keys.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from .devices import xp_of
from .parallel import row_blocks
from .reductions import max_along, sum_along

__all__ = [
    "BLOCK_BYTES",
    "BLOCK_ROWS",
    "Band",
    "additive_mask",
    "by_group",
    "exp_of_scores",
    "future_mask",
    "heads_in_cache",
    "merged",
    "mixes",
    "slices",
    "unmerged",
    "weights",
    "with_column",
]

BLOCK_ROWS = 64  # queries, or keys, of a block
BLOCK_BYTES = 1 << 20  # of the attention weights of one block, several heads together


def by_group(a: Any, k: Any) -> Any:
    """(..., H·R, L, ·) -> (..., H, R, L, ·): the query heads in groups, one for each head of k."""
    heads = k.shape[-3] if k.ndim > 2 else 1
    group = a.shape[-3] // heads if a.ndim > 2 and heads else 1
    return a.reshape(*a.shape[:-3], heads, group, *a.shape[-2:])


def additive_mask(mask: Any, q: Any, k: Any) -> Any:
    """A mask as numbers that are added to the scores, (..., H, R, L, S): 0 or −∞ for a boolean."""
    if mask is None:
        return None
    xp = xp_of(q)
    if mask.dtype == bool:
        allowed, mask = mask, xp.zeros(mask.shape, q.dtype)
        mask[~allowed] = -math.inf
    return by_group(xp.broadcast_to(mask, (*q.shape[:-1], k.shape[-2])), k)


def future_mask(dtype: Any, xp: Any) -> Any:
    """The mask of a block on the diagonal: −∞ where a key comes after the query, else 0."""
    return xp.triu(xp.full((BLOCK_ROWS, BLOCK_ROWS), -math.inf, dtype), 1)


class Band:
    """Which keys a query may look at by position: i sees offset + i − window + 1 … offset + i.

    causal     whether there is such a limit at all
    offset     how many keys come before the first query's own
    window     how many keys a query sees at most, its own included; None for all of them

    Nothing of the size queries × keys is made: a block's keys, or queries, are cut to those that
    matter, and a triangle at each end of the band gets −∞.
    """

    def __init__(
        self, causal: bool, offset: int, window: int | None, n_queries: int, n_keys: int
    ) -> None:
        self.causal, self.offset, self.window = causal, offset, window
        self.n_queries, self.n_keys = n_queries, n_keys

    def keys_of(self, rows: slice) -> slice:
        """The keys that some query of the rows may look at."""
        if not self.causal:
            return slice(0, self.n_keys)
        first = 0 if self.window is None else self.offset + rows.start - self.window + 1
        return slice(max(0, first), min(self.n_keys, self.offset + rows.stop))

    def rows_of(self, keys: slice) -> slice:
        """The queries that may look at some of the keys."""
        if not self.causal:
            return slice(0, self.n_queries)
        stop = self.n_queries
        if self.window is not None:
            stop = min(stop, keys.stop - 1 + self.window - self.offset)
        return slice(max(0, keys.start - self.offset), stop)

    def mask(self, s: Any, rows: slice, keys: slice, triangle: Any) -> None:
        """Give −∞ to scores s (..., n, m) of a block where a query may not look, in place.

        triangle: a future_mask, which is as large as the part that the band's end can cut.
        """
        if not self.causal:
            return
        m = s.shape[-1]
        own = self.offset + rows.start - keys.start  # the column of the first query's own key, >= 0
        if own < m:
            later = s[..., : m - own, own:]
            later += triangle[: later.shape[-2], : later.shape[-1]]
        if self.window is None:
            return
        oldest = own - self.window + 1  # the column of the oldest key that the first query sees
        if oldest > 0:
            s[..., :oldest] = -math.inf
        earlier = s[..., max(0, -oldest) :, max(0, oldest) :]
        earlier = earlier[..., : earlier.shape[-2]]  # row i of it loses its columns 0 … i − 1
        earlier += triangle.T[: earlier.shape[-2], : earlier.shape[-1]]


def heads_in_cache(q: Any, k: Any) -> list[tuple]:
    """Indices (batch, slice of H) into q (..., H, R, L, E): BLOCK_BYTES of weights each."""
    *batches, n_heads, group, n_rows, _ = q.shape
    one_block = (n_heads, group, BLOCK_ROWS, max(n_rows, k.shape[-2]))
    parts = row_blocks(xp_of(q).broadcast_to(q[:0].sum(), one_block), BLOCK_BYTES)
    return [(*i, heads) for i in itertools.product(*map(range, batches)) for heads in parts]


def slices(n: int, size: int | None = None) -> list[slice]:
    """0 … n in slices of a size, BLOCK_ROWS if it is not given."""
    size = size or BLOCK_ROWS
    return [slice(i, min(i + size, n)) for i in range(0, n, size)]


def mixes(band: Band, *results: Any) -> bool:
    """Whether blocks may have mixed what a query sees with what it may not see, NaN or infinite.

    In a block that the band cuts, a hidden key has the weight 0, and 0·∞ and 0·NaN are NaN. Blocks
    of one query, or of one key, are cut to exactly what is seen. On a GPU this is not looked at,
    because reading the results would mean waiting.
    """
    if not band.causal or band.n_queries == 1 or not isinstance(results[0], np.ndarray):
        return False
    return not all(np.isfinite(a).all() for a in results)


def merged(a: Any) -> Any:
    """(h, R, n, ·) -> (h, R·n, ·): one matrix for each head of the keys."""
    return a.reshape(len(a), a.shape[1] * a.shape[2], a.shape[-1])


def unmerged(values: Any, part: Any) -> Any:
    """The inverse of merged: (h, R·n, ·) -> (h, R, n, ·), the leading dimensions of `part`."""
    return values.reshape(*part.shape[:-1], values.shape[-1])


def with_column(a: Any, column: Any, scale: float = 1.0) -> Any:
    """[a·scale, column]: (..., C) -> (..., C + 1)."""
    both = xp_of(a).empty((*a.shape[:-1], a.shape[-1] + 1), a.dtype)
    xp_of(a).multiply(a, scale, out=both[..., :-1])
    both[..., -1:] = column
    return both


def exp_of_scores(scores: Callable[[], Any], always_top: bool = False) -> tuple[Any, Any, Any]:
    """p = exp(s − top), Σ p over a row and top, for s = scores(): top is 0 or a row's maximum.

    Most scores need no maximum: Σ exp(s) shows whether something overflowed, or something that
    matters became 0, and then they are computed again. On a GPU the maximum is always taken,
    because reading Σ would mean waiting for the GPU. always_top: take the maximum in any case.
    """
    p = scores()
    if not always_top and isinstance(p, np.ndarray) and p.dtype.itemsize > 2 and p.size:
        with np.errstate(over="ignore"):
            total = sum_along(np.exp(p, out=p))
        if total.min() > 1e-25 and total.max() < 1e20:
            return p, total, 0.0
        p = scores()
    xp = xp_of(p)
    top = xp.maximum(max_along(p), float(xp.finfo(p.dtype).min))  # finite even if all are −∞
    p -= top
    total = sum_along(xp.exp(p, out=p))
    return p, xp.maximum(total, float(xp.finfo(p.dtype).tiny)), top  # Σ is 0 only if all are −∞


def weights(
    scores: Callable[[Any, Any], Any], q_l: Any, k_1: Any, log_sum: Any, linear: bool = True
) -> Any:
    """p = exp(s − l) for q_l = [q·scale, −l], k_1 = [k, 1] and scores(q, k) = q·kᵀ, masked.

    linear: whether scores is linear in q and k, so that l can be subtracted inside the product.
    Where s is far from 0, l is subtracted afterwards, so that s is rounded as it was in forward;
    and p is then kept at 1 or below, as it must be because l = log Σ exp(s) is at least every s.
    """
    if linear and isinstance(q_l, np.ndarray) and np.abs(log_sum).max(initial=0.0) < 1e3:
        p = scores(q_l, k_1)
    else:
        p = scores(q_l[..., :-1], k_1[..., :-1])
        p += q_l[..., -1:]
        xp_of(p).minimum(p, 0.0, out=p)
    return xp_of(p).exp(p, out=p)
