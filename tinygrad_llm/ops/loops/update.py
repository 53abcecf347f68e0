"""Rows added to rows of a table."""

from __future__ import annotations

from typing import Any

import numpy as np

from .compiling import kernel, shared
from .twin import dense

__all__ = ["scatter_add_rows", "takes_scatter"]


@kernel
def chains_loop(out, ids, first, following, start, stop):
    """The places of each id as a chain: i, following[i], ... in their order, −1 behind the last.

    first[v]: the first place of id v, −1 if there is none.
    """
    first[:] = -1
    for back in range(ids.size):
        i = ids.size - 1 - back
        following[i] = first[ids[i]]
        first[ids[i]] = i


@kernel
def scatter_loop(out, rows, ids, first, following, total, start, stop):
    """out[v] += Σ rows[i] over the chain of v: Σ first, so that it does not depend on out.

    In the columns start to stop: no two cores write into one number.
    """
    for i in range(ids.size):
        if first[ids[i]] == i:
            to, row, sums = out[ids[i], start:stop], rows[i, start:stop], total[start:stop]
            for j in range(row.size):
                sums[j] = row[j]
            k = following[i]
            while k >= 0:
                row = rows[k, start:stop]
                for j in range(row.size):
                    sums[j] += row[j]
                k = following[k]
            for j in range(row.size):
                to[j] += sums[j]


def takes_scatter(out: Any, ids: Any, rows: Any) -> bool:
    """Whether scatter_add_rows serves these arrays."""
    return out.ndim == 2 and out.size > 0 and dense(out, rows) and type(ids) is np.ndarray


def scatter_add_rows(out: Any, ids: Any, rows: Any) -> None:
    """out[v] += Σ rows[i] over every i with ids[i] = v, in place, in the order of i."""
    ids = np.array(ids, np.int64).reshape(-1)
    if ids.size:
        first, following = np.empty(len(out), np.int64), np.empty(ids.size, np.int64)
        chains_loop(out, ids, first, following, 0, 1)
        total = np.empty(out.shape[1], out.dtype)
        shared(scatter_loop, total.size, rows.size, out, rows, ids, first, following, total)
