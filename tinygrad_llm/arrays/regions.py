"""The part of an array's memory that a view of it takes: where it lies, and the same of a copy."""

from __future__ import annotations

from typing import Any

import numpy as np

from .devices import xp_of
from .memory import address

__all__ = ["in_region", "region_of"]


def region_of(base: Any, view: Any) -> tuple[Any, ...]:
    """Where in base's memory a view lies: base's order of dimensions in memory, and the view's
    distance in bytes, shape (1 where it repeats an element) and strides."""
    layout = sorted(range(base.ndim), key=lambda d: -base.strides[d])
    if not base.transpose(layout).flags.c_contiguous:
        raise RuntimeError(
            "an in-place change of a view whose base has gaps in its memory can't go backward: "
            "call .contiguous() on the base first"
        )
    offset = address(view) - address(base)
    strides = view.strides
    shape = tuple(
        1 if s == 0 and n > 1 and view.size else n for n, s in zip(view.shape, strides, strict=True)
    )
    return layout, offset, shape, strides


def in_region(array: Any, region: tuple[Any, ...]) -> tuple[Any, Any]:
    """A copy of an array of the base's shape, and the part of it that region_of found."""
    layout, offset, shape, strides = region
    copy = xp_of(array).array(array.transpose(layout), order="C")
    whole = copy.transpose(sorted(range(copy.ndim), key=layout.__getitem__))
    if isinstance(copy, np.ndarray):
        return whole, np.ndarray(shape, copy.dtype, copy, offset, strides)
    return whole, xp_of(copy).ndarray(shape, copy.dtype, copy.data + offset, strides)
