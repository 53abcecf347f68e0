"""Masks select, they do not multiply: what was not selected is 0, even where it is infinite or NaN.

0·∞ and 0·NaN are NaN, so g·mask would let an infinite gradient into elements that took no part.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from .devices import xp_of

__all__ = ["equal_or_nan", "lower_triangle", "selected", "upper_triangle"]

_BITS = {1: np.int8, 2: np.int16, 4: np.int32, 8: np.int64}  # by bytes of an element


def selected(a: Any, mask: Any) -> Any:
    """a where the boolean mask holds, else exactly 0: (...), (...) -> (...).

    The product of the mask and a's bits, read as integers: as fast as a·mask and many times as fast
    as where(mask, a, 0). The mask broadcasts to a's shape. The result is a new array.
    """
    xp = xp_of(a)
    if a.dtype.itemsize == 16:  # complex128
        return xp.where(mask, a, xp.zeros((), a.dtype))
    bits = _BITS[a.dtype.itemsize]
    result = xp.empty_like(a)
    xp.multiply(a.view(bits), mask, out=result.view(bits))
    return result


def equal_or_nan(x: Any, y: Any) -> Any:
    """Where x equals y, or both are NaN; the shapes broadcast. y is much smaller than x."""
    equal, unknown = x == y, y != y
    if not isinstance(y, np.ndarray) or unknown.any():  # reading it on a GPU would mean waiting
        equal |= unknown & (x != x)
    return equal


_FEW = 4096  # numbers of a matrix whose triangle's mask is kept


def lower_triangle(x: Any, k: int) -> Any:
    """x on and below diagonal k of its matrices, else 0: (..., N, M) -> (..., N, M)."""
    if type(x) is not np.ndarray or x.size > _FEW:
        return xp_of(x).tril(x, k)
    return np.where(_triangle(*x.shape[-2:], k), x, _zero(x.dtype))


def upper_triangle(x: Any, k: int) -> Any:
    """x on and above diagonal k of its matrices, else 0: (..., N, M) -> (..., N, M)."""
    if type(x) is not np.ndarray or x.size > _FEW:
        return xp_of(x).triu(x, k)
    return np.where(_triangle(*x.shape[-2:], k - 1), _zero(x.dtype), x)


@functools.lru_cache(128)
def _triangle(n: int, m: int, k: int) -> np.ndarray:
    """True on and below diagonal k: (N, M). Not to be changed."""
    return np.tri(n, m, k, dtype=bool)


@functools.lru_cache(32)
def _zero(dtype: Any) -> np.ndarray:
    return np.zeros((), dtype)
