"""Whether there is a GPU that works."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from ..arrays import devices

__all__ = ["is_available", "why_not"]


@lru_cache(maxsize=1)
def why_not() -> str:
    """Why there is no usable GPU, in one line; "" if there is one.

    A real test: a kernel is compiled, run, and its result compared.
    """
    try:
        cupy = devices.cupy()
        devices.gpu_count(cupy)
    except RuntimeError as error:
        return str(error)
    try:
        got = (cupy.arange(5, dtype="float32") * 2 + 1).get()
    except Exception as error:
        return f"CuPy is installed, but a test kernel failed: {type(error).__name__}: {error}"
    if not np.array_equal(got, np.arange(5, dtype="float32") * 2 + 1):
        return f"CuPy is installed, but a test kernel gave wrong numbers: {got}"
    return ""


def is_available() -> bool:
    """Whether a GPU can be used, which a compiled and checked kernel decides; never raises."""
    return why_not() == ""
