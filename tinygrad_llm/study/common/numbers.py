"""Numbers as the instruments show them: norms and shares of arrays, bytes, times, small arrays."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...arrays.devices import to_numpy, xp_of
from ...arrays.memory import is_array

__all__ = [
    "array_text",
    "bytes_text",
    "is_value",
    "largest",
    "norm",
    "number_text",
    "plain",
    "seconds_text",
    "shape_text",
    "value_text",
    "worth_showing",
    "zeros",
]


def is_value(value: Any) -> bool:
    """Whether it is an array of NumPy or CuPy, or a NumPy scalar."""
    return isinstance(value, np.generic) or is_array(value)


def plain(array: Any) -> np.ndarray:
    """The array as a NumPy array on the CPU, bfloat16 as float32."""
    a = to_numpy(array)
    return a.astype(np.float32) if a.dtype.kind == "V" else a


def _floats(array: Any) -> Any:
    return array.astype("float32") if array.dtype.itemsize < 4 else array


def norm(*arrays: Any) -> float:
    """√(Σ x²) over all elements of all arrays; the squares are added in float64."""
    total = 0.0
    for array in arrays:
        if array is not None and array.size and array.dtype.kind in "fV":
            flat = _floats(array).reshape(-1)
            total += float((flat * flat).sum(dtype="float64"))
    return math.sqrt(total) if total == total else total


def largest(array: Any) -> float:
    """The largest |x|; 0 for an empty array, NaN if the array has one."""
    if not array.size or array.dtype.kind not in "fViub":
        return 0.0
    xp = xp_of(array)
    return float(xp.maximum(array.max(), -_floats(array).min()))


def zeros(array: Any) -> float:
    """The share of elements that are exactly 0."""
    return 1.0 - int(xp_of(array).count_nonzero(array)) / array.size if array.size else 0.0


# ------------------------------------------------------------------------------------- as text
def shape_text(shape: Any) -> str:
    """A shape as text, without the trailing comma: "(2, 3)", "(3)", "()"."""
    return "(" + ", ".join(map(str, shape)) + ")"


def bytes_text(n: float) -> str:
    """Bytes in the largest unit that fits: "812 B", "3.0 KiB", "1.25 GiB"; 1 KiB = 1024 bytes."""
    for unit in ("B", "KiB", "MiB"):
        if n < 1024:
            return f"{n:.0f} {unit}" if unit == "B" or n >= 100 else f"{n:.1f} {unit}"
        n /= 1024
    return f"{n:.2f} GiB"


def seconds_text(seconds: float | None) -> str:
    """Seconds as milliseconds, three decimals below 10 ms; "" for None."""
    if seconds is None:
        return ""
    ms = seconds * 1e3
    return f"{ms:.3f}" if ms < 10 else f"{ms:.1f}"


def number_text(x: Any, digits: int = 4) -> str:
    """A number with this many significant digits: 0.7311, -2.5, 3, 1.2e-09, nan, inf."""
    if isinstance(x, bool | np.bool_):
        return str(bool(x))
    if isinstance(x, int | np.integer):
        return str(int(x))
    return f"{float(x):.{digits}g}"


def array_text(array: Any, digits: int = 4, limit: int = 100) -> str:
    """A small array in aligned rows that Python can read; a larger one as its shape and range."""
    if array is None:
        return "None"
    if not is_value(array):
        return number_text(array, digits) if isinstance(array, int | float) else repr(array)
    a = plain(array)
    if a.ndim == 0:
        return number_text(a[()], digits)
    if a.size > limit:
        return f"{shape_text(a.shape)} {array.dtype}, {range_text(a)}"
    suppress = a.dtype.kind != "f" or not a.size
    suppress = suppress or float(np.nanmax(np.abs(a), initial=0.0)) >= 0.01
    return np.array2string(
        a, precision=digits, separator=", ", suppress_small=suppress, max_line_width=80
    )


def range_text(array: Any) -> str:
    """The smallest and the largest element, or how many elements are not finite."""
    a = plain(array)
    if not a.size:
        return "empty"
    if a.dtype.kind == "b":
        return f"{int(a.sum())} of {a.size} True"
    n = 0 if a.dtype.kind != "f" else int((~np.isfinite(a)).sum())
    if n:
        return f"{n:,} of {a.size:,} not finite"
    return f"from {number_text(a.min())} to {number_text(a.max())}"


def worth_showing(value: object) -> bool:
    """Whether a variable's value is shown with its line: numbers and arrays, not functions."""
    return value is None or isinstance(value, bool | int | float | tuple) or is_value(value)


def value_text(value: Any, limit: int = 64) -> str:
    """An array, a number or a tuple of them; arrays above `limit` elements as shape and range."""
    if isinstance(value, tuple | list):
        texts = [value_text(part, limit) for part in value]
        if any("\n" in text for text in texts):
            return "\n".join(texts)
        return "(" + ", ".join(texts) + ")"
    if isinstance(value, float):
        return number_text(value, 6)
    return array_text(value, 4, limit)
