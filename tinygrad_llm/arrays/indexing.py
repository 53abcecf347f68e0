"""Adding into rows and positions that repeat, and index tuples along one dimension."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .devices import to_numpy, xp_of
from .memory import is_array
from .twins import cpu_twins, twins

__all__ = ["index_add", "is_basic", "extreme_at", "multiply_at", "scatter_add_rows", "take_along"]


def scatter_add_rows(out: Any, ids: Any, rows: Any) -> None:
    """out[ids[i]] += rows[i] for every i, in place, where ids may repeat.

    out (V, C), ids (N) integers in [0, V), rows (N, C). `out[ids] += rows` would add only one row
    of each repeated id. On the CPU the rows of an id are added up first, and their sum to out, so
    that adding to `out` or to zeros makes no difference; in float16 one after another.
    """
    if not isinstance(out, np.ndarray):
        if twins.gpu is not None and twins.gpu.takes_scatter(out, ids, rows):
            twins.gpu.scatter_add_rows(out, ids, rows)
        else:
            xp_of(out).add.at(out, ids, rows)
        return
    n = len(ids)
    if n == 0 or out.size == 0:
        return
    loops = cpu_twins(rows)
    if loops is not None and loops.takes_scatter and loops.takes_scatter(out, ids, rows):
        loops.scatter_add_rows(out, ids, rows)  # type: ignore[misc]
        return
    if out.dtype == np.float16:  # rounded at each sum, as PyTorch and bfloat16's sums are
        np.add.at(out, ids, rows)
        return
    order = np.argsort(ids, kind="stable")
    ordered = ids[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])  # (number of distinct ids)
    if len(starts) == n:  # no id repeats
        out[ids] += rows
        return
    out[ordered[starts]] += np.add.reduceat(rows[order], starts, axis=0)


def is_basic(index: Any) -> bool:
    """Whether an index has only integers, slices, None and ..., and so picks no element twice."""
    parts = index if isinstance(index, tuple) else (index,)
    return all(p is None or p is Ellipsis or isinstance(p, int | slice) for p in parts)


def index_add(out: Any, index: Any, values: Any) -> None:
    """out[index] += values in place, where the index may pick an element more than once."""
    first = index[0] if isinstance(index, tuple) and len(index) == 1 else index
    if is_basic(index):
        out[index] = values  # `out` is fresh zeros wherever this is called
    elif is_array(first) and first.dtype.kind in "iu" and out.ndim > 1:
        rows, width = len(out), math.prod(out.shape[1:])
        ids = first.reshape(-1)
        scatter_add_rows(
            out.reshape(rows, width), ids % rows if rows else ids, values.reshape(ids.size, width)
        )
    elif is_array(first) and first.dtype.kind == "b":
        out[first] = values
    else:
        xp_of(out).add.at(out, index, values)


def multiply_at(out: Any, index: Any, values: Any) -> None:
    """out[index] *= values in place, where the index may pick an element more than once."""
    _combine_at(np.multiply, out, index, values)


def extreme_at(out: Any, index: Any, values: Any, largest: bool) -> None:
    """out[index] = the larger (or smaller) of it and values, in place, as multiply_at."""
    _combine_at(np.maximum if largest else np.minimum, out, index, values)


def _combine_at(ufunc: np.ufunc, out: Any, index: Any, values: Any) -> None:
    """ufunc.at. CuPy has none for products, and rounds float64 to float32 in those of extremes:
    numbers on a GPU are combined on the CPU."""
    if isinstance(out, np.ndarray):
        ufunc.at(out, index, values)
        return
    on_cpu = to_numpy(out).copy()
    ufunc.at(on_cpu, tuple(to_numpy(i) for i in index), to_numpy(values))
    out[...] = xp_of(out).asarray(on_cpu)


def take_along(x: Any, ids: Any, dim: int) -> tuple:
    """The index tuple with which x[...] picks ids along dim; ids may be smaller in other dims."""
    xp = xp_of(x)
    grid = [
        xp.arange(n).reshape([-1 if i == d else 1 for i in range(ids.ndim)])
        for d, n in enumerate(ids.shape)
    ]
    grid[dim] = ids
    return tuple(grid)
