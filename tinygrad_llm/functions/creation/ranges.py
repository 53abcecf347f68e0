"""Numbers in equal steps: arange, linspace, logspace."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...arrays.devices import range_on_gpu
from ...arrays.silence import quiet
from ...tensor import Tensor, dtypes, wrap
from ...tensor.device import DeviceLike, defaults
from ...tensor.dtypes import DtypeLike
from ..convert import place_of
from ..method import function
from .arguments import as_number, placed_tensor

_REAL = frozenset({int, float})
_FEW = 32  # numbers that Python computes sooner than NumPy
_MODERATE = 1e30  # what stays in float32's range


@function
def arange(
    *args: Any, start: Any = None, end: Any = None, step: Any = None, dtype: DtypeLike = None,
    device: DeviceLike = None, requires_grad: bool = False, layout: Any = None,
    pin_memory: bool = False,
) -> Tensor:  # fmt: skip
    """start, start + step, start + 2·step, ... below end (above it for a negative step).

    arange(end), arange(start, end), arange(start, end, step). int64 if all three are integers,
    else the default dtype.
    Raises: RuntimeError if step is 0 or end is on the wrong side of start.
    """
    names = ("end",) if len(args) == 1 and end is None else ("start", "end", "step")
    given = {"start": start, "end": end, "step": step}
    if len(args) > 3 or any(given[name] is not None for name in names[: len(args)]):
        raise TypeError("arange() takes (end), (start, end) or (start, end, step)")
    given.update(zip(names, args))  # noqa: B905
    if given["end"] is None:
        raise TypeError('arange() missing 1 required positional arguments: "end"')
    first = 0 if given["start"] is None else as_number("arange", "start", given["start"])
    last = as_number("arange", "end", given["end"], names.index("end") + 1)
    by = 1 if given["step"] is None else as_number("arange", "step", given["step"], 3)
    whole = not any(isinstance(v, float) for v in (first, last, by))
    array_dtype = np.dtype(np.int64) if whole and dtype is None else dtypes.numpy_dtype(dtype)
    if array_dtype.kind in "iu" and not whole:
        first, last, by = (int(v) if math.isfinite(v) else v for v in (first, last, by))
    if not (math.isfinite(first) and math.isfinite(last)):
        raise RuntimeError(f"unsupported range: {first} -> {last}")
    if by == 0:
        raise RuntimeError("step must be nonzero")
    if (last - first) * by < 0:
        raise RuntimeError(
            f"upper bound and lower bound inconsistent with step sign: from {first} to {last} "
            f"in steps of {by}"
        )
    if array_dtype.kind == "b":
        raise RuntimeError("\"arange_cpu\" not implemented for 'Bool'")
    if array_dtype.kind in "iu":
        place = None if device is None and not defaults.changed else place_of(device)
        if place is not None and place.type == "cuda" and not requires_grad:
            return wrap(range_on_gpu(first, last, by, array_dtype, place.index))
        return placed_tensor(np.arange(first, last, by).astype(array_dtype), device, requires_grad)
    count = math.ceil((last - first) / by)
    return placed_tensor(_stepped(first, by, count, array_dtype), device, requires_grad)


def _wide(dtype: np.dtype) -> np.dtype:
    """A type in which first + by·i, rounded to `dtype`, is as if it had been rounded once."""
    return np.dtype(np.float64 if dtype.itemsize <= 4 else np.longdouble)


def _stepped(first: float, by: float, count: int, dtype: np.dtype) -> np.ndarray:
    """first + by·i for i < count, to the last bit as PyTorch computes it on a CPU.

    It fills two registers of 32 bytes at a time. The first number of a register is first + by·i,
    rounded; the others are counted from that one. The numbers that do not fill two registers are
    first + by·i again.
    """
    lanes = 32 // dtype.itemsize
    step_type = np.dtype(np.float32 if dtype.itemsize == 2 else np.float64)
    start, step = (np.asarray(v, step_type).astype(np.longdouble) for v in (first, by))
    i = np.arange(count)
    in_registers = i < count - count % (2 * lanes)
    lane = np.where(in_registers, i % lanes, 0)
    exact = start + step * (i - lane)
    base = exact.astype(step_type).astype(dtype)  # a fused multiply-add rounds once
    if dtype.name == "bfloat16":  # two roundings here
        counted = base.astype(np.float32) + step.astype(np.float32) * lane.astype(np.float32)
    else:
        counted = (base.astype(np.longdouble) + step * lane).astype(step_type)
    counted = counted.astype(dtype)
    return np.where(in_registers, counted, base)


@quiet
def _evenly(name: str, start: Any, end: Any, steps: Any, dtype: np.dtype) -> np.ndarray:
    """`steps` numbers from start to end: the first half counted from start, the rest from end."""
    first, last = as_number(name, "start", start), as_number(name, "end", end, 2)
    if isinstance(steps, bool) or not hasattr(steps, "__index__"):
        raise TypeError(
            f"{name}(): argument 'steps' (position 3) must be int, not {type(steps).__name__}"
        )
    count = steps.__index__()
    if count < 0:
        raise RuntimeError(f"number of steps must be non-negative, got {count}")
    whole = dtype.kind in "iub"
    exact = np.dtype(np.float64) if whole else dtype
    wide = exact if exact.itemsize == 2 else _wide(exact)  # half precision rounds at every step
    a, b = (np.asarray(int(v) if whole else v, exact) for v in (first, last))
    by = ((b - a) / np.asarray(max(count - 1, 1), exact)).astype(wide)
    i = np.arange(count)
    up = a.astype(wide) + by * i.astype(wide)
    down = b.astype(wide) - by * (count - 1 - i).astype(wide)
    return np.where(i < count // 2 if count > 1 else True, up, down).astype(exact)


def _evenly_few(first: float, last: float, count: int) -> np.ndarray:
    """As `_evenly`, of a few float32 numbers: Python's numbers are float64, as `_wide` wants."""
    a, b = np.float32(first), np.float32(last)
    by, half = float((b - a) / np.float32(count - 1)), count // 2
    low, high = float(a), float(b)
    up = [low + by * i for i in range(half)]
    return np.array(up + [high - by * i for i in range(count - 1 - half, -1, -1)], np.float32)


@function
def linspace(
    start: Any, end: Any, steps: int, *, dtype: DtypeLike = None, device: DeviceLike = None,
    requires_grad: bool = False, layout: Any = None,
) -> Tensor:  # fmt: skip
    """`steps` numbers at equal distances from start to end, both included."""
    array_dtype = dtypes.numpy_dtype(dtype)
    few = type(steps) is int and 1 < steps < _FEW and array_dtype.char == "f"
    if few and type(start) in _REAL and type(end) in _REAL and abs(start) + abs(end) < _MODERATE:
        return placed_tensor(_evenly_few(start, end, steps), device, requires_grad)
    values = _evenly("linspace", start, end, steps, array_dtype)
    return placed_tensor(values.astype(array_dtype), device, requires_grad)


@function
def logspace(
    start: Any, end: Any, steps: int, base: float = 10.0, *, dtype: DtypeLike = None,
    device: DeviceLike = None, requires_grad: bool = False, layout: Any = None,
) -> Tensor:  # fmt: skip
    """base to the power of `linspace(start, end, steps)`."""
    exponents = _evenly("logspace", start, end, steps, np.dtype(np.float64))
    values = np.power(np.float64(base), exponents)
    return placed_tensor(values.astype(dtypes.numpy_dtype(dtype)), device, requires_grad)
