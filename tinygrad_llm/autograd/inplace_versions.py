"""In-place changes: which memory was changed, when and by whom.

The clock that stamps ops stamps changes too. The backward of an op that saved an array before its
memory changed would be wrong; `check_unmodified` refuses it, and forward pays nothing for that.
"""

from __future__ import annotations

import itertools
import weakref
from typing import Any

from ..arrays.ids import id_ranges
from ..arrays.memory import is_array, ndarray, storage_of

clock = itertools.count(1)  # creation order of ops and in-place changes

modified: dict[int, tuple[int, str, Any]] = {}  # id of a memory owner: when, by whom, a weakref


def mark_modified(array: Any, by: str) -> None:
    """Note that `by` changed the array in place: older ops that saved it refuse backward."""
    owner = storage_of(array)
    key = id(owner)
    if id_ranges:
        id_ranges.pop(key, None)
    known = modified.get(key)
    ref = known[2] if known else weakref.ref(owner, lambda _: modified.pop(key, None))
    modified[key] = (next(clock), by, ref)


def modified_at(array: Any) -> int:
    """When the array's memory was last changed in place, on the clock of creation order; or 0."""
    return modified.get(id(storage_of(array)), (0,))[0]


def check_unmodified(op: Any) -> None:
    """Raises: RuntimeError if an array that the op saved was changed in place afterwards."""
    for i, array in enumerate(op.saved):
        if type(array) is ndarray and array.base is None and id(array) not in modified:
            continue  # as nearly always, in one step
        if is_array(array) and modified_at(array) > op.order:
            by = modified[id(storage_of(array))][1]
            raise RuntimeError(
                f"one of the variables needed for gradient computation has been modified by an "
                f"inplace operation: {op.name} saved a tensor of shape {tuple(array.shape)} "
                f"(saved[{i}], {array.dtype}), and {by} changed it before backward. Use the "
                f"out-of-place form of {by}, or clone the tensor first."
            )
