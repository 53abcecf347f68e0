"""Arrays of NumPy and CuPy: which array owns the memory of a view, and at which address it is."""

from __future__ import annotations

from typing import Any

import numpy as np

from .meta import MetaArray, is_meta

__all__ = ["address", "as_array", "generic", "is_array", "memory_key", "ndarray", "storage_of"]

ndarray, generic, as_array = np.ndarray, np.generic, np.asarray


def is_array(value: Any) -> bool:
    """Whether `value` is an array of NumPy or CuPy (0-d arrays included, NumPy's scalars not)."""
    if type(value) is ndarray or isinstance(value, np.ndarray):
        return True
    return hasattr(type(value), "__cuda_array_interface__")


def storage_of(array: Any) -> Any:
    """The array that owns the memory: `array` itself, or the one it is a view of."""
    if type(array) is ndarray:  # as nearly always, in two steps
        base = array.base
        if base is None:
            return array
        if type(base) is ndarray and base.base is None:
            return base
    base = None if type(array) is MetaArray else getattr(array, "base", None)
    while base is not None and (type(base) is ndarray or is_array(base)):
        array = base
        base = getattr(array, "base", None)
    return array


def address(array: Any) -> int:
    """The address of the array's first element; 0 for an array of the meta device."""
    if isinstance(array, np.ndarray):
        if is_meta(array):
            return 0
        return array.__array_interface__["data"][0]
    return array.data.ptr


def memory_key(array: Any) -> tuple[Any, ...]:
    """Equal for two arrays that are the same memory, as the arrays of tied weights are."""
    if is_meta(array):
        return (id(array),)  # no memory that another could share
    strides = None if array.flags.c_contiguous else array.strides
    return address(array), array.shape, strides, str(array.dtype)
