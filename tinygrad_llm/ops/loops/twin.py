"""What the twins share: which arrays they take, and the memory of their results."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["Loop", "dense", "in_rows", "rows", "vector"]

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
