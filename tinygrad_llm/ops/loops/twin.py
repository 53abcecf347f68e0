"""What the twins share: which arrays they take, and the memory of their results."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = [
    "Loop", "dense", "dense_bits", "even_rows", "flat", "in_rows", "row_steps", "rows", "vector",
]  # fmt: skip

FLOATS = (np.dtype(np.float32), np.dtype(np.float64))


class Loop:
    """An op whose forward and backward are compiled loops, for calls that `takes` accepts.

    The engine asks `takes` first. Where it returns False, the NumPy class runs.
    """

    @classmethod
    def takes(cls, *arrays: Any, **options: Any) -> bool:
        """Whether the loops serve a call of the op with these inputs and options."""
        return dense(*arrays)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for parent in cls.__bases__:
            if not issubclass(parent, Loop):
                cls.__name__ = parent.__name__  # it is the same op: printed and named as such


def dense(*arrays: Any) -> bool:
    """Whether all that are not None are float32, or all float64, in row order and writeable.

    A kernel is compiled for such arrays. Read-only ones, rare among large arrays, would need
    another compilation.
    """
    dtype = arrays[0].dtype
    if dtype not in FLOATS:
        return False
    for a in arrays:
        if a is not None:
            flags = a.flags
            if type(a) is not np.ndarray or a.dtype != dtype or not flags.c_contiguous:
                return False
            if not (flags.writeable and flags.aligned):
                return False
    return True


def dense_bits(w: Any) -> bool:
    """Whether an array is bfloat16, in row order and writeable."""
    if type(w) is not np.ndarray or w.dtype.name != "bfloat16":
        return False
    return bool(w.flags.c_contiguous and w.flags.writeable and w.flags.aligned)


def even_rows(*arrays: Any) -> bool:
    """Whether all are float32, or all float64, and consist of rows that lie equally far apart.

    So do the pieces of an array that was split along its last dimension.
    """
    dtype = arrays[0].dtype
    if dtype not in FLOATS:
        return False
    for a in arrays:
        if type(a) is not np.ndarray or a.dtype != dtype or not a.size:
            return False
        if not (a.flags.writeable and a.flags.aligned):
            return False
        if not (a.flags.c_contiguous or _equally_far(a)):
            return False
    return True


def _equally_far(a: Any) -> bool:
    if a.ndim < 2 or a.strides[-1] != a.itemsize or a.strides[-2] % a.itemsize:
        return False
    if a.strides[-2] < a.shape[-1] * a.itemsize:
        return False
    return all(a.strides[d - 1] == a.strides[d] * a.shape[d] for d in range(1, a.ndim - 1))


def row_steps(*arrays: Any) -> tuple[int, list[int]]:
    """(columns of a row, and for each array how many numbers lie between two rows).

    Arrays in row order are one long row.
    """
    if all(a.flags.c_contiguous for a in arrays):
        return arrays[0].size, [arrays[0].size] * len(arrays)
    columns = arrays[0].shape[-1]
    return columns, [
        columns if a.flags.c_contiguous else a.strides[-2] // a.itemsize for a in arrays
    ]


def flat(a: Any) -> Any:
    """All of the memory between a's first and last element, as an array with one dimension."""
    if a.flags.c_contiguous:
        return a.reshape(-1)
    n = 1 + sum((m - 1) * s for m, s in zip(a.shape, a.strides, strict=True)) // a.itemsize
    return np.lib.stride_tricks.as_strided(a, (n,), (a.itemsize,))


def in_rows(g: Any) -> Any:
    """The gradient that arrived, in row order and writeable."""
    flags = g.flags
    return g if flags.c_contiguous and flags.writeable and flags.aligned else g.copy("C")


def rows(a: Any) -> Any:
    """A view as rows: (..., C) -> (N, C)."""
    return a.reshape(a.size // max(a.shape[-1], 1), a.shape[-1])


def vector(w: Any, n: int, fill: float, like: Any) -> Any:
    """w, or for None n numbers `fill` of like's dtype."""
    return np.full(n, fill, like.dtype) if w is None else w
