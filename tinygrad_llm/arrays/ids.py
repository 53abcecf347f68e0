"""Integers that choose rows: whether they are in range, with as few reads from a GPU as possible.

Reading a number from a GPU means waiting for it. So the range of ids that come from the CPU, or
that arange made, is remembered for the array.
"""

from __future__ import annotations

import weakref
from typing import Any

import numpy as np

from .capture import capturing, refuse_in_capture
from .memory import storage_of
from .meta import is_meta

__all__ = [
    "INT32",
    "INT64",
    "UINT8",
    "all_within",
    "check_ids",
    "id_ranges",
    "ids_in_range",
    "remember_ids",
    "remember_range",
    "seen_within",
    "smallest_and_largest",
]

INT64, INT32, UINT8 = map(np.dtype, ("int64", "int32", "uint8"))  # a dtype's name costs 1 µs
_UINT64 = np.dtype("uint64")
_LONG = 2048  # from so many int64 on one reduction is faster than the places of two extremes
_FEW = 8  # up to so many a list is faster even than the two places
_SHORT = 64  # up to so many numbers a list is faster than two of them

id_ranges: dict[int, tuple] = {}  # id of a GPU array: the ids below 0, the largest, a weakref


def remember_ids(array: Any, host: np.ndarray) -> None:
    """Note which numbers a GPU array holds, so that checking ids need not wait for the GPU."""
    negative = np.unique(host[host < 0]) if host.dtype.kind == "i" else ()
    if len(negative) <= 4:
        remember_range(array, {int(i) for i in negative}, int(host.max()))


def remember_range(array: Any, negative: set[int], largest: int) -> None:
    """Note the numbers below 0 and the largest one of a GPU array, for as long as it lives."""
    key = id(array)
    id_ranges[key] = negative, largest, weakref.ref(array, lambda _: id_ranges.pop(key, None))


def ids_in_range(ids: Any, n: int, ignored: int | None = None, name: str = "target") -> bool:
    """Whether all ids of a GPU array are known to be in [0, n) or `ignored`, without reading it.

    A CUDA graph checks again before each replay.
    """
    owner = storage_of(ids)
    known = id_ranges.get(id(owner))
    in_range = known is not None and known[1] < n and known[0] <= {ignored}
    if in_range and capturing.graph is not None:
        capturing.graph.check(owner, n, ignored, name)
    return in_range


def all_within(ids: Any, n: int) -> bool:
    """Whether 0 <= id < n for every one of an array of integers."""
    if type(ids) is np.ndarray and 0 < ids.size < _LONG:  # NumPy's min and max begin slowly
        if ids.size <= _FEW and ids.ndim == 1:
            numbers = ids.tolist()
            return min(numbers) >= 0 and max(numbers) < n
        return ids.item(ids.argmin()) >= 0 and ids.item(ids.argmax()) < n
    if type(ids) is np.ndarray and ids.dtype is INT64 and ids.size:
        # one pass: negative numbers are large ones there
        return bool(np.maximum.reduce(ids.view(_UINT64), None) < n)
    if not ids.size:
        return True
    smallest, largest = smallest_and_largest(ids)
    return smallest >= 0 and largest < n


def seen_within(ids: Any, n: int) -> bool:
    """As all_within on the CPU; False for ids on a GPU, because to look at them is to wait."""
    return type(ids) is np.ndarray and all_within(ids, n)


def smallest_and_largest(ids: Any) -> tuple[int, int]:
    """The smallest and the largest of an array of integers that is not empty."""
    if type(ids) is np.ndarray and ids.size <= _SHORT:
        numbers = ids.ravel().tolist()
        return min(numbers), max(numbers)
    return int(ids.min()), int(ids.max())


def check_ids(ids: Any, n: int, name: str) -> None:
    """Check that 0 <= id < n for every id. NumPy and CuPy would silently read another row.

    Ids without numbers pass.
    Raises: IndexError if an id is out of range.
    """
    if is_meta(ids):
        return
    if id_ranges and ids_in_range(ids, n, None, name):
        return
    if not isinstance(ids, np.ndarray):
        refuse_in_capture(f"{name}: a check of ids that did not come from the CPU")
    if not all_within(ids, n):
        wrong = int(ids[(ids < 0) | (ids >= n)][0])
        raise IndexError(f"{name}: index out of range: {wrong}, expected 0 <= index < {n}")
