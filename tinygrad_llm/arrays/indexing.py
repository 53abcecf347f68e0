"""Adding into rows and positions that repeat, and index tuples along one dimension."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np

from .devices import to_numpy, xp_of
from .memory import is_array
from .twins import cpu_twins, twins

__all__ = [
    "BASIC",
    "add_at",
    "extreme_at",
    "has_arrays",
    "index_add",
    "is_basic",
    "multiply_at",
    "row_starts",
    "scatter_add_rows",
    "stable_order",
    "take_along",
]


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
            add_at(out, ids, rows)
        return
    n = len(ids)
    if n == 0 or out.size == 0:
        return
    loops = cpu_twins(rows)
    if loops is not None and loops.takes_scatter and loops.takes_scatter(out, ids, rows):
        loops.scatter_add_rows(out, ids, rows)  # type: ignore[misc]
        return
    # float16 is rounded at each sum, as PyTorch and bfloat16's sums are; sums of bool are integers
    if out.dtype == np.float16 or out.dtype.kind == "b":
        np.add.at(out, ids, rows)
        return
    order = ids.argsort(kind="stable")
    ordered = ids[order]
    first = np.empty(n, bool)
    first[0] = True
    np.not_equal(ordered[1:], ordered[:-1], out=first[1:])
    starts = first.nonzero()[0]  # (number of distinct ids)
    if len(starts) == n:  # no id repeats
        out[ids] += rows
        return
    out[ordered[starts]] += np.add.reduceat(rows[order], starts, axis=0)


def has_arrays(parts: tuple) -> bool:
    """Whether one part of an index is an array."""
    for p in parts:  # any() would begin a generator, which costs more than all of it
        if type(p) not in BASIC and is_array(p):
            return True
    return False


def is_basic(index: Any) -> bool:
    """Whether an index has only integers, slices, None and ..., and so picks no element twice."""
    parts = index if isinstance(index, tuple) else (index,)
    if BASIC.issuperset(map(type, parts)):
        return True
    return all(p is None or p is Ellipsis or isinstance(p, int | slice) for p in parts)


_FEW = 512  # numbers that are added one by one sooner than their positions are sorted
BASIC = frozenset({int, slice, type(None), type(Ellipsis)})  # what makes a view


def index_add(out: Any, index: Any, values: Any) -> None:
    """out[index] += values in place, where the index may pick an element more than once."""
    first = index[0] if isinstance(index, tuple) and len(index) == 1 else index
    if is_array(first) and first.dtype.kind in "iu" and out.ndim > 1:
        rows, width = len(out), math.prod(out.shape[1:])
        if type(out) is np.ndarray and values.size < _FEW and out.dtype.char in "fd":
            if out.size < 8 * _FEW and first.dtype.kind == "i":
                at = _places(rows, width).take(first.reshape(-1), 0)  # (...) -> (N) -> (N, width)
            else:
                ids = first.reshape(-1, 1)  # (...) -> (N, 1)
                if ids.size and ids.item(ids.argmin()) < 0:
                    ids = ids % rows
                at = ids * width + _steps(np, width, 0, 1)  # (N, width)
            np.add.at(out.reshape(-1), at.reshape(-1), values.reshape(-1))
            return
        ids = first.reshape(-1)
        scatter_add_rows(
            out.reshape(rows, width), ids % rows if rows else ids, values.reshape(ids.size, width)
        )
    elif (is_array(first) and first.dtype.kind == "b") or is_basic(index):
        out[index] = values  # `out` is fresh zeros wherever this is called
    else:
        add_at(out, index, values)


ATOMIC = frozenset("ilqILQefd")  # the dtypes, by letter, that CuPy adds at positions that repeat


def add_at(out: Any, index: Any, values: Any) -> None:
    """out[index] += values in place, for an index with arrays that may pick an element repeatedly.

    CuPy does it in some dtypes only: bfloat16 is added up in float32 and rounded once, other
    integers and booleans in int64, complex numbers by their real and imaginary parts.
    """
    if isinstance(out, np.ndarray) or out.dtype.char in ATOMIC:
        xp_of(out).add.at(out, index, values)
    elif out.dtype.kind == "c":
        add_at(out.real, index, values.real)
        add_at(out.imag, index, values.imag)
    else:
        wide = out.astype(np.int64 if out.dtype.kind in "biu" else np.float32)
        if wide.ndim == 2 and is_array(index):
            scatter_add_rows(wide, index, values.astype(wide.dtype))
        else:
            add_at(wide, index, values.astype(wide.dtype))
        out[...] = wide.astype(out.dtype)


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
    steps = _steps if type(x) is np.ndarray and ids.size < 1024 else _new_steps
    xp, ndim = xp_of(x), ids.ndim
    return tuple([ids if d == dim else steps(xp, n, d, ndim) for d, n in enumerate(ids.shape)])


def _new_steps(xp: Any, n: int, dim: int, ndim: int) -> Any:
    """0 … n − 1 along one of ndim dimensions: (1, ..., n, ..., 1)."""
    return xp.arange(n).reshape([-1 if i == dim else 1 for i in range(ndim)])


_steps = functools.lru_cache(256)(_new_steps)  # nobody writes into them


@functools.lru_cache(32)
def _places(rows: int, width: int) -> np.ndarray:
    """Where the elements of each row stand among all: (rows, width). Not to be changed."""
    return np.arange(rows * width).reshape(rows, width)


def row_starts(x: Any) -> Any:
    """Where the rows of a matrix begin, counted in elements: (N, C) -> (N). Not to be changed."""
    n, width = x.shape
    if type(x) is np.ndarray and n <= 1024:
        return _starts(n, width)
    return xp_of(x).arange(0, x.size, width)


@functools.lru_cache(256)
def _starts(n: int, width: int) -> np.ndarray:
    return np.arange(0, n * width, width)


def stable_order(x: Any, dim: int) -> Any:
    """The positions that sort x along dim, equal elements in their order, NaN the largest."""
    if type(x) is np.ndarray:
        return x.argsort(dim, kind="stable")
    return xp_of(x).argsort(x, axis=dim, kind="stable")
