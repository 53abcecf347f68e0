"""Numbers from outside become Python numbers at the door, before anything is computed with them.

NumPy's scalars are numbers to the user, and np.float64 is even a Python float to isinstance. To
NumPy's arithmetic they are arrays: np.float64(2) times a float32 array is a float64 array. A 0-d
tensor may stand wherever PyTorch takes a number: a dimension, a size, an option.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .device import device
from .dtypes import dtype
from .size import Size
from .tensor import Tensor

# What is passed on as it is. Another type is looked at, which only costs time.
PLAIN: set[type] = {
    *(Tensor, int, float, bool, type(None), str, tuple, list, np.ndarray, slice),
    *(dtype, device, Size),
}
NUMBERS = PLAIN - {Tensor, np.ndarray}  # the same where a number is expected


def plain(value: Any) -> Any:
    """A NumPy scalar as a Python number; anything else itself."""
    if not isinstance(value, np.generic):
        return value
    number = value.item()
    return float(value) if isinstance(number, np.generic) else number  # np.longdouble


def unboxed(value: Any) -> Any:
    """As `plain`, and a 0-d NumPy array as its number."""
    return plain(value[()] if isinstance(value, np.ndarray) and not value.ndim else value)


def number(value: Any) -> Any:
    """As `unboxed`, and a 0-d tensor as its number."""
    if isinstance(value, Tensor):
        return value if value.array.ndim else value.item()
    return unboxed(value)


def real(value: Any) -> Any:
    """A complex number whose imaginary part is 0 as a float; anything else itself."""
    return value.real if isinstance(value, complex) and not value.imag else value


def number_to_fill(value: Any) -> Any:
    """As `number`; but np.bool_ is a float, as where PyTorch makes a tensor of a number."""
    return float(value) if isinstance(value, np.bool_) else number(value)


_C_NAMES = {
    **{"uint8": "uint8_t", "int8": "int8_t", "int16": "int16_t", "int32": "int"},
    **{"int64": "int64_t", "float32": "float", "float64": "double"},
    **{"float16": "c10::Half", "bfloat16": "c10::BFloat16"},
}
_INFINITE = {"e": 65520.0, "E": 3.39617752923046e38, "f": 3.4028235677973366e38}  # from here on
_GREATEST = {"e": 65504.0, "E": 3.3895313892515355e38, "f": 3.4028234663852886e38}  # finite ones


def filling(value: Any, dtype: np.dtype, n_elements: int) -> Any:
    """What fills n elements: as `fitted`, but one element of a half dtype may be infinite."""
    single = n_elements == 1 and dtype.itemsize == 2 and dtype.kind in "fV"
    return stored(_real_number(value, dtype), dtype) if single else fitted(value, dtype)


def fitted(value: Any, dtype: np.dtype, name: str | None = None) -> Any:
    """A number within a dtype; negative ones wrap around in unsigned types, as in C.

    name: what the error calls the dtype, C's name if not given.
    Raises: RuntimeError if the dtype cannot hold the number; OverflowError for more than 64 bits;
    TypeError if value is not a number.
    """
    value = _real_number(value, dtype, name)
    if type(value) is int and not -(2**63) <= value < 2**64:
        raise OverflowError(f"int too big to convert: {value} has more than 64 bits")
    if dtype.kind not in "iu":
        greatest = _GREATEST.get(dtype.char, math.inf)  # a dtype's name takes a microsecond
        if isinstance(value, complex) or not greatest < abs(value) < math.inf:
            return value
        name = _C_NAMES[dtype.name]
        raise RuntimeError(
            f"value cannot be converted to type {name} without overflow: {value!r} is outside "
            f"[-{greatest}, {greatest}]"
        )
    limits = np.iinfo(dtype)
    low = -limits.max if dtype.kind == "u" and isinstance(value, int) else limits.min
    if not math.isfinite(value) or not low <= value <= limits.max:
        name = name or _C_NAMES.get(dtype.name, dtype.name)
        raise RuntimeError(
            f"value cannot be converted to type {name} without overflow: {value!r} is outside "
            f"[{limits.min}, {limits.max}]"
        )
    return int(value) % (limits.max + 1) if dtype.kind == "u" else int(value)


def _real_number(value: Any, dtype: np.dtype, name: str | None = None) -> Any:
    """A number that is real unless the dtype is complex, or boolean: of those each has a value."""
    if isinstance(value, (int, float)):
        return value
    value = unboxed(value)
    if not isinstance(value, (int, float, complex)):
        raise TypeError(f"expected a number, got {type(value).__name__}")
    if not isinstance(value, complex) or dtype.kind in "cb":
        return value
    if value.imag:
        name = name or _C_NAMES.get(dtype.name, dtype.name)
        raise RuntimeError(
            f"value cannot be converted to type {name} without overflow: {value!r} is complex, "
            "expected a real number; take .real, or make the tensor complex"
        )
    return value.real


def stored(value: Any, dtype: np.dtype) -> Any:
    """A number, or the infinity to which a dtype rounds it; NumPy does the same with a warning."""
    limit = _INFINITE.get(dtype.char)
    if limit is None or isinstance(value, complex) or not limit <= abs(value):
        return value
    return math.inf if value > 0 else -math.inf


def wrapped(value: Any, dtype: np.dtype) -> Any:
    """An int that an integer dtype can't hold, cut to the dtype's bits as in C: 300 -> 44 in uint8.

    Arithmetic, comparisons and the operators on bits do so, as in PyTorch; what is stored must fit
    (`fitted`).
    Raises: OverflowError if the int has more than 64 bits.
    """
    if type(value) is not int or dtype.kind not in "iu":
        return value
    if not -(2**63) <= value < 2**64:
        raise OverflowError(f"int too big to convert: {value} has more than 64 bits")
    return int(np.asarray(value).astype(dtype))
