"""In which order the elements of an array lie in memory, and where PyTorch and NumPy differ."""

from __future__ import annotations

from typing import Any

import numpy as np

from .devices import xp_of
from .twins import large, twins

__all__ = [
    "channels_at_the_end",
    "copied",
    "empty_as",
    "expanded",
    "in_rows",
    "is_dense",
    "order_of",
    "picked_array",
    "same_layout",
]


def in_rows(array: Any) -> Any:
    """The array itself if its elements lie in row order without gaps, else such a copy.

    NumPy gives many results the order of the inputs' dimensions in memory; PyTorch does so in
    element-wise functions only.
    """
    return array if array.flags.c_contiguous else array.copy()


def expanded(x: Any, shape: tuple[int, ...]) -> Any:
    """x with dimensions of size 1 repeated to a shape that it broadcasts to; a read-only view.

    NumPy's broadcast_to needs ten times as long to begin.
    """
    if type(x) is not np.ndarray or not x.flags.c_contiguous or not x.size or x.dtype.kind == "V":
        return xp_of(x).broadcast_to(x, shape)
    steps = x.strides
    if 1 in x.shape:
        steps = tuple([0 if n == 1 else step for n, step in zip(x.shape, steps)])  # noqa: B905
    view = np.ndarray(shape, x.dtype, x, 0, (0,) * (len(shape) - x.ndim) + steps)
    view.setflags(False)  # a quarter of the time of view.flags.writeable = False
    return view


def picked_array(x: Any, index: Any) -> Any:
    """x[index] for an index with arrays: a copy in row order."""
    ids = index[0] if type(index) is tuple and len(index) == 1 else index
    if type(ids) is np.ndarray and ids.dtype.kind == "i" and type(x) is np.ndarray and x.ndim > 1:
        if x.flags.c_contiguous:
            return x.take(ids, 0)  # whole rows: a fifth of the time, if they are few
    return in_rows(x[index])


def order_of(array: Any) -> str:
    """NumPy's `order` for a result that keeps the array's layout, as PyTorch's preserve_format.

    "K" keeps the order of its dimensions in memory; "C", row order, if elements share memory.
    """
    return "C" if 0 in array.strides else "K"


def empty_as(array: Any, dtype: Any = None, order: str | None = None) -> Any:
    """An empty array of the same shape and layout, or in an order.

    order: NumPy's, "C" for row order; "channels_last" for (N, C, ...) whose C lies innermost.
    """
    xp = xp_of(array)
    if order == "channels_last":
        n, c, *sizes = array.shape
        whole = xp.empty((n, *sizes, c), array.dtype if dtype is None else dtype)
        return xp.moveaxis(whole, -1, 1)  # (N, ..., C) -> (N, C, ...)
    return xp.empty_like(array, dtype=dtype, order=order or order_of(array))


def copied(array: Any, order: str | None = None) -> Any:
    """A copy in the array's layout, or in an order; see empty_as."""
    cpu = twins.cpu if order is None and array.size >= large.least else None
    if cpu is not None and cpu.copied and cpu.takes_copy(array):  # type: ignore[misc]
        return cpu.copied(array)
    if order != "channels_last":
        return array.copy(order or order_of(array))
    copy = empty_as(array, order=order)
    copy[...] = array
    return copy


def channels_at_the_end(array: Any) -> Any:
    """A view: (N, C, ...) -> (N, ..., C)."""
    return xp_of(array).moveaxis(array, 1, -1)


def is_dense(array: Any) -> bool:
    """Whether the elements fill a part of memory, in any order of the dimensions."""
    steps = [(n - 1) * s for n, s in zip(array.shape, array.strides, strict=True) if n > 1]
    return sum(steps) == (array.size - 1) * array.itemsize


def same_layout(a: Any, b: Any) -> bool:
    """Whether two arrays of one shape and dtype have their elements in the same order in memory."""
    return a.strides == b.strides or (a.flags.c_contiguous and b.flags.c_contiguous)
