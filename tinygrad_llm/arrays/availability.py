"""Whether there is a GPU that works."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from . import devices

__all__ = ["is_available", "why_not"]


class _last:
    """The last answer, and the module in sys.modules for which it holds (None: not imported)."""

    answer: tuple[Any, str] | None = None


def why_not() -> str:
    """The reason why there is no usable GPU, in one line; "" if there is one.

    It is a real test: a kernel is compiled and run, and its result is compared. The answer is
    remembered for as long as the same CuPy is imported, or none.
    """
    last = _last.answer
    if last is None or last[0] is not sys.modules.get("cupy"):
        reason = _ask()  # this may import CuPy
        _last.answer = last = sys.modules.get("cupy"), reason
    return last[1]


def _ask() -> str:
    try:
        cupy = devices.cupy()
        devices.gpu_count(cupy)
    except RuntimeError as error:
        return str(error)
    try:
        result = (cupy.arange(5, dtype="float32") * 2 + 1).get()
    except Exception as error:
        return f"CuPy is installed, but a test kernel failed: {type(error).__name__}: {error}"
    if not np.array_equal(result, np.arange(5, dtype="float32") * 2 + 1):
        return f"CuPy is installed, but a test kernel returned wrong numbers: {result}"
    return ""


def is_available() -> bool:
    """Whether a GPU can be used, tested with a compiled and checked kernel; never raises."""
    return why_not() == ""
