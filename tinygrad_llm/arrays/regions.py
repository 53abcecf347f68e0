"""Where views lie: the region of a base's memory that a view shows, and views that are adjacent.

Arrays are adjacent along a dim if they lie one directly after another in one memory, as the pieces
of a split array do. Then one view shows them all, and nothing needs to be copied to join them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .devices import xp_of
from .memory import address, storage_of

__all__ = [
    "adjacent_view",
    "concatenated",
    "diagonal_view",
    "empty_adjacent",
    "in_region",
    "overlap",
    "region_of",
]


def region_of(base: Any, view: Any) -> tuple[Any, ...]:
    """Where a view lies in base's memory: (order of base's dimensions, offset, shape, strides).

    The order is that in memory, the offset is in bytes, and the shape has 1 where the view repeats
    an element.

    Raises: RuntimeError if base has gaps in its memory.
    """
    layout = sorted(range(base.ndim), key=lambda d: -base.strides[d])
    if not base.transpose(layout).flags.c_contiguous:
        raise RuntimeError(
            "an in-place change of a view whose base has gaps in its memory has no backward: "
            "call .contiguous() on the base first"
        )
    offset = address(view) - address(base)
    strides = view.strides
    shape = tuple(
        1 if s == 0 and n > 1 and view.size else n for n, s in zip(view.shape, strides, strict=True)
    )
    return layout, offset, shape, strides


def in_region(array: Any, region: tuple[Any, ...]) -> tuple[Any, Any]:
    """A copy of an array of the base's shape, and the view of the copy at the region."""
    layout, offset, shape, strides = region
    copy = xp_of(array).array(array.transpose(layout), order="C")
    whole = copy.transpose(sorted(range(copy.ndim), key=layout.__getitem__))
    if isinstance(copy, np.ndarray):
        return whole, np.ndarray(shape, copy.dtype, copy, offset, strides)
    return whole, xp_of(copy).ndarray(shape, copy.dtype, copy.data + offset, strides)


def diagonal_view(x: Any, offset: int, dim1: int, dim2: int) -> Any:
    """x[i, i + offset] of two dimensions as a new last one: a view that can be written."""
    if isinstance(x, np.ndarray):
        view = x.diagonal(offset, dim1, dim2)
        view.flags.writeable = x.flags.writeable  # NumPy's own is read-only
        return view
    first = x.swapaxes(0, dim1)[max(-offset, 0) :].swapaxes(0, dim1)
    first = first.swapaxes(0, dim2)[max(offset, 0) :].swapaxes(0, dim2)
    kept = [d for d in range(x.ndim) if d not in (dim1, dim2)]
    shape = (*[x.shape[d] for d in kept], min(first.shape[dim1], first.shape[dim2]))
    strides = (*[x.strides[d] for d in kept], x.strides[dim1] + x.strides[dim2])
    return xp_of(x).ndarray(shape, x.dtype, first.data, strides)


def overlap(a: Any, b: Any) -> str:
    """How much of their memory two arrays share: "" none, "part", or "all" in the same order.

    As in PyTorch, arrays with gaps between their elements count as sharing none.
    """
    if a.base is None and b.base is None and a is not b:
        return ""
    if type(a) is type(b) is np.ndarray:
        if not np.may_share_memory(a, b):
            return ""
        if a.size == b.size == 1:
            return "all"
    if not a.size or not b.size or storage_of(a) is not storage_of(b):
        return ""
    first, second = _span(a), _span(b)
    if first is None or second is None:
        return ""
    if first == second:
        return "all" if _steps(a) == _steps(b) else "part"
    return "part" if first[0] < second[1] and second[0] < first[1] else ""


def _span(array: Any) -> tuple[int, int] | None:
    """Where an array without gaps begins and ends in memory; None if it has gaps."""
    if any(s <= 0 and n > 1 for n, s in zip(array.shape, array.strides, strict=True)):
        return None
    length = sum((n - 1) * s for n, s in zip(array.shape, array.strides, strict=True))
    if length + array.itemsize != array.nbytes:
        return None
    start = address(array)
    return start, start + array.nbytes


def _steps(array: Any) -> list[tuple[int, int]]:
    return [(n, s) for n, s in zip(array.shape, array.strides, strict=True) if n > 1]


def adjacent_view(arrays: Sequence[Any], dim: int) -> Any:
    """One view of arrays that are adjacent along dim, found by their addresses; None if not."""
    first, memory = arrays[0], storage_of(arrays[0])
    if first.ndim < abs(dim):
        return None
    next_address, length = address(first), 0
    for a in arrays:
        alike = a.strides == first.strides and a.swapaxes(0, dim)[:0].shape == (
            first.swapaxes(0, dim)[:0].shape
        )
        if not alike or address(a) != next_address or storage_of(a) is not memory:
            return None
        next_address += a.shape[dim] * a.strides[dim]
        length += a.shape[dim]
    shape = list(first.shape)
    shape[dim] = length
    if isinstance(first, np.ndarray):
        return np.lib.stride_tricks.as_strided(first, shape, first.strides)
    return xp_of(first).ndarray(tuple(shape), first.dtype, first.data, first.strides)


def concatenated(arrays: Sequence[Any], dim: int) -> Any:
    """The arrays one after another along dim: a view of them if they are adjacent, else a copy."""
    view = adjacent_view(arrays, dim)
    return xp_of(arrays[0]).concatenate(arrays, axis=dim) if view is None else view


def empty_adjacent(arrays: Sequence[Any], dim: int) -> list[Any]:
    """Empty arrays like these, adjacent along dim if these are: `concatenated` copies nothing."""
    view = adjacent_view(arrays, dim)
    if view is None:
        return [xp_of(a).empty_like(a) for a in arrays]
    remaining, empty = xp_of(view).empty_like(view).swapaxes(0, dim), []
    for a in arrays:
        empty.append(remaining[: a.shape[dim]].swapaxes(0, dim))
        remaining = remaining[a.shape[dim] :]
    return empty
