"""Arrays of NumPy and CuPy: which array owns the memory of a view, and at which address it is."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["address", "is_array", "memory_key", "ndarray", "storage_of"]

ndarray = np.ndarray


def is_array(value: Any) -> bool:
    """Whether `value` is an array of NumPy or CuPy (0-d arrays included, NumPy's scalars not)."""
    return isinstance(value, np.ndarray) or hasattr(type(value), "__cuda_array_interface__")


def storage_of(array: Any) -> Any:
    """The array that owns the memory: `array` itself, or the one it is a view of."""
    while True:
        base = getattr(array, "base", None)
        if base is None or not is_array(base):
            return array
        array = base


def address(array: Any) -> int:
    """The address of the array's first element."""
    if isinstance(array, np.ndarray):
        return array.__array_interface__["data"][0]
    return array.data.ptr


def memory_key(array: Any) -> tuple[Any, ...]:
    """Equal for two arrays that are the same memory, as the arrays of tied weights are."""
    strides = None if array.flags.c_contiguous else array.strides
    return address(array), array.shape, strides, str(array.dtype)
