"""Tensors filled by a rule: zeros, ones, full, arange, linspace, eye, meshgrid and their kin."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..arrays.devices import filled_on_gpu, move, range_on_gpu, xp_of
from ..tensor import Tensor, dtypes, wrap
from .convert import as_device
from .creation import finish, fitted, tensor
from .method import checked, method

_C_NAMES = {
    **{"uint8": "uint8_t", "int8": "int8_t", "int16": "int16_t", "int32": "int"},
    **{"int64": "int64_t"},
}
_GREATEST = 3.4028235677973366e38  # from here on a number rounds to infinity in float32


# ----------------------------------------------------------------------------------- arguments
def _size(name: str, size: Any) -> tuple[int, ...]:
    """The sizes in zeros(2, 3) or zeros((2, 3)) as a tuple of ints."""
    if len(size) == 1 and (size[0] is None or isinstance(size[0], list | tuple)):
        size = size[0]
    elif not size:
        raise TypeError(f'{name}() missing 1 required positional arguments: "size"')
    result = []
    for i, n in enumerate(size):
        if isinstance(n, bool) or not hasattr(n, "__index__"):
            raise TypeError(
                f"{name}(): argument 'size' (position {i + 1}) must be tuple of ints, "
                f"not {type(n).__name__}"
            )
        result.append(n.__index__())
        if result[-1] < 0:
            raise RuntimeError(f"{name}: Dimension size must be non-negative, got {result[-1]}")
    return tuple(result)


def _number(name: str, argument: str, value: Any, position: int = 1) -> Any:
    """A Python number from a number or a tensor of one element."""
    if isinstance(value, Tensor):
        return value.item()
    if isinstance(value, np.generic):
        return value.item()
    if not isinstance(value, bool | int | float):
        raise TypeError(
            f"{name}(): argument '{argument}' (position {position}) must be Number, "
            f"not {type(value).__name__}"
        )
    return value


def _is_tensor(name: str, input: Any) -> None:
    if not isinstance(input, Tensor):
        raise TypeError(
            f"{name}(): argument 'input' (position 1) must be Tensor, not {type(input).__name__}"
        )


def _filled(
    size: tuple[int, ...], value: Any, dtype: Any, device: Any, requires_grad: bool = False
) -> Tensor:
    """A tensor of one number; on a GPU it is made there."""
    wanted = dtypes.numpy_dtype(dtype)
    if value == 0 and device is None:
        return finish(np.zeros(size, wanted), None, requires_grad)
    if wanted == np.float32 and isinstance(value, float) and _GREATEST < abs(value) < math.inf:
        raise RuntimeError(f"value cannot be converted to type float without overflow: {value!r}")
    if value not in (0, 1):
        value = fitted(value, wanted, _C_NAMES.get(wanted.name, wanted.name))
    place = None if device is None else as_device(device)
    if place is not None and place.type != "cpu":
        if wanted.kind != "V":
            return finish(filled_on_gpu(size, value, wanted, place.index), None, requires_grad)
        one = move(np.full((1,) * len(size), value, wanted), place.type, place.index)
        return finish(xp_of(one).broadcast_to(one, size).copy(), None, requires_grad)
    with np.errstate(over="ignore"):
        return finish(np.full(size, value, wanted), None, requires_grad)


# --------------------------------------------------------------------------------- one number
def zeros(
    *args: Any, size: Any = None, dtype: Any = None, device: Any = None,
    requires_grad: bool = False, layout: Any = None, pin_memory: bool = False,
) -> Tensor:  # fmt: skip
    """Zeros of a shape, zeros(2, 3) or zeros((2, 3)), of the default dtype unless told."""
    shape = _size("zeros", args or (() if size is None else (size,)))
    return _filled(shape, 0, dtype, device, requires_grad)


def ones(
    *args: Any, size: Any = None, dtype: Any = None, device: Any = None,
    requires_grad: bool = False, layout: Any = None, pin_memory: bool = False,
) -> Tensor:  # fmt: skip
    """Ones of a shape, ones(2, 3) or ones((2, 3)), of the default dtype unless told."""
    shape = _size("ones", args or (() if size is None else (size,)))
    return _filled(shape, 1, dtype, device, requires_grad)


def empty(
    *args: Any, size: Any = None, dtype: Any = None, device: Any = None,
    requires_grad: bool = False, layout: Any = None, pin_memory: bool = False,
    memory_format: Any = None,
) -> Tensor:  # fmt: skip
    """A tensor of a shape whose numbers are whatever the memory held."""
    shape = _size("empty", args or (() if size is None else (size,)))
    if device is not None and as_device(device).type != "cpu":
        return _filled(shape, 0, dtype, device, requires_grad)
    return finish(np.empty(shape, dtypes.numpy_dtype(dtype)), None, requires_grad)


def full(
    size: Any, fill_value: Any, *, dtype: Any = None, device: Any = None,
    requires_grad: bool = False, layout: Any = None, pin_memory: bool = False,
) -> Tensor:  # fmt: skip
    """A tensor of a shape (a tuple) filled with one number.

    dtype None: the default dtype for a float, int64 for an integer, bool for a truth value.
    RuntimeError if the dtype cannot hold the number.
    """
    if not isinstance(size, list | tuple):
        raise TypeError(
            f"full(): argument 'size' (position 1) must be tuple of ints, not {type(size).__name__}"
        )
    value = _number("full", "fill_value", fill_value, 2)
    if dtype is None:
        dtype = {bool: dtypes.bool_, int: dtypes.int64}.get(type(value))
    return _filled(_size("full", (size,)), value, dtype, device, requires_grad)


def scalar_tensor(value: Any, *, dtype: Any = None, device: Any = None) -> Tensor:
    """A 0-d tensor of one number, of the default dtype unless told."""
    return _filled((), _number("scalar_tensor", "s", value), dtype, device)


# ------------------------------------------------------------------------- like another tensor
def _like(
    name: str, input: Tensor, value: Any, dtype: Any, device: Any, requires_grad: bool
) -> Tensor:
    """A tensor of input's shape, dtype, device and order of dimensions in memory."""
    _is_tensor(name, input)
    a = input.array
    wanted = a.dtype if dtype is None else dtypes.numpy_dtype(dtype)
    made = xp_of(a).empty_like(a, dtype=wanted)
    if value is not None:
        if value not in (0, 1):
            value = fitted(value, wanted, _C_NAMES.get(wanted.name, wanted.name))
        made.fill(value)
    return finish(made, device, requires_grad)


def zeros_like(
    input: Tensor, *, dtype: Any = None, device: Any = None, requires_grad: bool = False,
    memory_format: Any = None, layout: Any = None,
) -> Tensor:  # fmt: skip
    """Zeros of input's shape, dtype and device unless told."""
    return _like("zeros_like", input, 0, dtype, device, requires_grad)


def ones_like(
    input: Tensor, *, dtype: Any = None, device: Any = None, requires_grad: bool = False,
    memory_format: Any = None, layout: Any = None,
) -> Tensor:  # fmt: skip
    """Ones of input's shape, dtype and device unless told."""
    return _like("ones_like", input, 1, dtype, device, requires_grad)


def empty_like(
    input: Tensor, *, dtype: Any = None, device: Any = None, requires_grad: bool = False,
    memory_format: Any = None, layout: Any = None,
) -> Tensor:  # fmt: skip
    """A tensor of input's shape, dtype and device unless told, its numbers whatever they were."""
    return _like("empty_like", input, None, dtype, device, requires_grad)


def full_like(
    input: Tensor, fill_value: Any, *, dtype: Any = None, device: Any = None,
    requires_grad: bool = False, memory_format: Any = None, layout: Any = None,
) -> Tensor:  # fmt: skip
    """One number in input's shape, dtype and device unless told."""
    value = _number("full_like", "fill_value", fill_value, 2)
    return _like("full_like", input, value, dtype, device, requires_grad)


def _beside(self: Tensor, dtype: Any, device: Any) -> dict[str, Any]:
    """The dtype and device of a tensor unless told."""
    return {
        "dtype": self.dtype if dtype is None else dtype,
        "device": self.device if device is None else device,
    }


@method
def new_zeros(
    self: Tensor, *size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """Zeros of a shape, of this tensor's dtype and device unless told."""
    return zeros(*size, requires_grad=requires_grad, **_beside(self, dtype, device))


@method
def new_ones(
    self: Tensor, *size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """Ones of a shape, of this tensor's dtype and device unless told."""
    return ones(*size, requires_grad=requires_grad, **_beside(self, dtype, device))


@method
def new_empty(
    self: Tensor, *size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """A tensor of a shape, of this one's dtype and device unless told, its numbers not set."""
    return empty(*size, requires_grad=requires_grad, **_beside(self, dtype, device))


@method
def new_full(
    self: Tensor, size: Any, fill_value: Any, *, dtype: Any = None, device: Any = None,
    requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """One number in a shape, of this tensor's dtype and device unless told."""
    return full(size, fill_value, requires_grad=requires_grad, **_beside(self, dtype, device))


@method
def new_tensor(
    self: Tensor, data: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """tensor(data), of this tensor's dtype and device unless told."""
    return tensor(data, requires_grad=requires_grad, **_beside(self, dtype, device))


# ------------------------------------------------------------------------------------- in steps
def arange(
    *args: Any, start: Any = None, end: Any = None, step: Any = None, dtype: Any = None,
    device: Any = None, requires_grad: bool = False, layout: Any = None, pin_memory: bool = False,
) -> Tensor:  # fmt: skip
    """start, start + step, start + 2·step, ... below end (above it for a negative step).

    arange(end), arange(start, end), arange(start, end, step). int64 if all three are integers,
    else the default dtype. RuntimeError for step 0 and for an end on the wrong side of start.
    """
    names = ("end",) if len(args) == 1 and end is None else ("start", "end", "step")
    given = {"start": start, "end": end, "step": step}
    if len(args) > 3 or any(given[name] is not None for name in names[: len(args)]):
        raise TypeError("arange() takes (end), (start, end) or (start, end, step)")
    given.update(zip(names, args))  # noqa: B905
    if given["end"] is None:
        raise TypeError('arange() missing 1 required positional arguments: "end"')
    first = 0 if given["start"] is None else _number("arange", "start", given["start"])
    last = _number("arange", "end", given["end"], names.index("end") + 1)
    by = 1 if given["step"] is None else _number("arange", "step", given["step"], 3)
    whole = not any(isinstance(v, float) for v in (first, last, by))
    wanted = np.dtype(np.int64) if whole and dtype is None else dtypes.numpy_dtype(dtype)
    if wanted.kind in "iu" and not whole:
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
    if wanted.kind == "b":
        raise RuntimeError("\"arange_cpu\" not implemented for 'Bool'")
    if wanted.kind in "iu":
        place = None if device is None else as_device(device)
        if place is not None and place.type != "cpu" and not requires_grad:
            return wrap(range_on_gpu(first, last, by, wanted, place.index))
        return finish(np.arange(first, last, by).astype(wanted), device, requires_grad)
    count = math.ceil((last - first) / by)
    return finish(_stepped(first, by, count, wanted), device, requires_grad)


def _wide(dtype: np.dtype) -> np.dtype:
    """A type in which first + by·i, rounded to `dtype`, is as if it had been rounded once."""
    return np.dtype(np.float64 if dtype.itemsize <= 4 else np.longdouble)


def _stepped(first: float, by: float, count: int, wanted: np.dtype) -> np.ndarray:
    """first + by·i for i < count, to the last bit as PyTorch works it out on a CPU.

    It fills two registers of 32 bytes at a time. The first number of a register is first + by·i,
    rounded; the others are counted from that one. What is left at the end is first + by·i again.
    """
    lanes = 32 // wanted.itemsize
    step_type = np.dtype(np.float32 if wanted.itemsize == 2 else np.float64)
    wide = _wide(wanted)
    start, step = (np.asarray(v, step_type).astype(wide) for v in (first, by))
    i = np.arange(count)
    in_registers = i < count - count % (2 * lanes)
    lane = np.where(in_registers, i % lanes, 0)
    base = (start + step * (i - lane)).astype(step_type).astype(wanted)
    counted = (base.astype(wide) + step * lane).astype(step_type).astype(wanted)
    return np.where(in_registers, counted, base)


def _evenly(name: str, start: Any, end: Any, steps: Any, dtype: np.dtype) -> np.ndarray:
    """`steps` numbers from start to end: the first half counted from start, the rest from end."""
    first, last = _number(name, "start", start), _number(name, "end", end, 2)
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


def linspace(
    start: Any, end: Any, steps: int, *, dtype: Any = None, device: Any = None,
    requires_grad: bool = False, layout: Any = None,
) -> Tensor:  # fmt: skip
    """`steps` numbers at equal distances from start to end, both included."""
    wanted = dtypes.numpy_dtype(dtype)
    values = _evenly("linspace", start, end, steps, wanted)
    return finish(values.astype(wanted), device, requires_grad)


def logspace(
    start: Any, end: Any, steps: int, base: float = 10.0, *, dtype: Any = None, device: Any = None,
    requires_grad: bool = False, layout: Any = None,
) -> Tensor:  # fmt: skip
    """base to the power of `linspace(start, end, steps)`."""
    exponents = _evenly("logspace", start, end, steps, np.dtype(np.float64))
    values = np.power(np.float64(base), exponents)
    return finish(values.astype(dtypes.numpy_dtype(dtype)), device, requires_grad)


# ------------------------------------------------------------------------------------ matrices
def eye(
    n: int, m: int | None = None, *, dtype: Any = None, device: Any = None,
    requires_grad: bool = False, layout: Any = None,
) -> Tensor:  # fmt: skip
    """The n × m matrix (n × n unless told) with ones on its diagonal and zeros elsewhere."""
    for i, (name, size) in enumerate((("n", n), ("m", n if m is None else m)), 1):
        if isinstance(size, bool | float) or not hasattr(size, "__index__"):
            raise TypeError(
                f"eye(): argument '{name}' (position {i}) must be int, not {type(size).__name__}"
            )
        if size < 0:
            raise RuntimeError(f"{name} must be greater or equal to 0, got {size}")
    return finish(np.eye(n, m, dtype=dtypes.numpy_dtype(dtype)), device, requires_grad)


@checked
def meshgrid(*tensors: Any, indexing: str | None = None) -> tuple[Tensor, ...]:
    """The coordinates of the points of a grid, one tensor an axis.

    For 1-D tensors of sizes n₁, n₂, ... every result has the shape (n₁, n₂, ...) under
    indexing="ij" (the default), and with the first two swapped under "xy".
    """
    if len(tensors) == 1 and isinstance(tensors[0], list | tuple):
        tensors = tuple(tensors[0])
    if indexing not in (None, "ij", "xy"):
        raise RuntimeError(
            f'torch.meshgrid: indexing must be one of "xy" or "ij", but received: {indexing}'
        )
    if not tensors:
        raise ValueError("meshgrid expects a non-empty TensorList")
    for t in tensors:
        if t.array.ndim > 1:
            raise RuntimeError(
                "torch.meshgrid: Expected 0D or 1D tensor in the tensor list but got a tensor of "
                f"shape {list(t.array.shape)}"
            )
    swap = indexing == "xy" and len(tensors) > 1
    ordered = [tensors[1], tensors[0], *tensors[2:]] if swap else list(tensors)
    shape = tuple(t.array.size for t in ordered)
    grids = []
    for axis, t in enumerate(ordered):
        column = t.reshape((-1,) + (1,) * (len(shape) - axis - 1))  # (n) -> (n, 1, 1, ...)
        grids.append(column.expand(shape))
    if swap:
        grids[:2] = grids[1], grids[0]
    return tuple(grids)
