"""Tensors filled with one number: zeros, ones, empty, full, eye, and those like another tensor."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...arrays.devices import filled_on_gpu, move, xp_of
from ...arrays.layout import empty_as
from ...arrays.meta import is_meta, without_numbers
from ...arrays.silence import silently
from ...tensor import Tensor, dtypes, wrap
from ...tensor.device import DeviceLike, defaults
from ...tensor.dtypes import DtypeLike
from ...tensor.formats import order_named
from ...tensor.numbers import filling
from ...tensor.size import SizeLike
from ..convert import as_device, place_of
from ..method import function, method
from .arguments import as_number, as_size, placed_tensor
from .from_data import tensor


def _filled(
    size: tuple[int, ...], value: Any, dtype: Any, device: Any, requires_grad: bool = False
) -> Tensor:
    """A tensor of one number; on a GPU it is made there."""
    array_dtype = dtypes.numpy_dtype(dtype)
    if value == 0 and device is None and not defaults.changed:
        return placed_tensor(np.zeros(size, array_dtype), None, requires_grad)
    place = place_of(device)
    if value not in (0, 1):
        value = filling(value, array_dtype, math.prod(size))
    if place is not None and place.type == "meta":
        return placed_tensor(without_numbers(size, array_dtype), place, requires_grad)
    if place is not None and place.type != "cpu":
        if array_dtype.kind != "V":
            return placed_tensor(
                filled_on_gpu(size, value, array_dtype, place.index), place, requires_grad
            )
        one = move(np.full((1,) * len(size), value, array_dtype), place.type, place.index)
        return placed_tensor(xp_of(one).broadcast_to(one, size).copy(), place, requires_grad)
    return placed_tensor(silently(np.full, size, value, array_dtype), place, requires_grad)


# --------------------------------------------------------------------------------- one number
@function
def zeros(
    *args: SizeLike, size: SizeLike | None = None, dtype: DtypeLike = None,
    device: DeviceLike = None, requires_grad: bool = False, layout: Any = None,
    pin_memory: bool = False,
) -> Tensor:  # fmt: skip
    """Zeros of a shape, zeros(2, 3) or zeros((2, 3)), of the default dtype unless one is given."""
    shape = as_size("zeros", args, size)
    return _filled(shape, 0, dtype, device, requires_grad)


@function
def ones(
    *args: SizeLike, size: SizeLike | None = None, dtype: DtypeLike = None,
    device: DeviceLike = None, requires_grad: bool = False, layout: Any = None,
    pin_memory: bool = False,
) -> Tensor:  # fmt: skip
    """Ones of a shape, ones(2, 3) or ones((2, 3)), of the default dtype unless one is given."""
    shape = as_size("ones", args, size)
    return _filled(shape, 1, dtype, device, requires_grad)


@function
def empty(
    *args: SizeLike, size: SizeLike | None = None, dtype: DtypeLike = None,
    device: DeviceLike = None, requires_grad: bool = False, layout: Any = None,
    pin_memory: bool = False, memory_format: Any = None,
) -> Tensor:  # fmt: skip
    """A tensor of a shape whose memory is not initialised: its numbers can be any."""
    shape = as_size("empty", args, size)
    place = place_of(device)
    if place is not None and place.type != "cpu":
        return _filled(shape, 0, dtype, place, requires_grad)
    made = np.empty(shape, dtypes.numpy_dtype(dtype))
    order = order_named(memory_format, made.ndim)
    return placed_tensor(empty_as(made, order=order) if order else made, place, requires_grad)


@function
def full(
    size: SizeLike, fill_value: Any, *, dtype: DtypeLike = None, device: DeviceLike = None,
    requires_grad: bool = False, layout: Any = None, pin_memory: bool = False,
) -> Tensor:  # fmt: skip
    """A tensor of a shape (a tuple) filled with one number.

    dtype None: the default dtype for a float, the complex one for a complex number, int64 for an
    integer, bool for True and False.
    Raises: RuntimeError if the dtype cannot hold the number.
    """
    if not isinstance(size, list | tuple):
        raise TypeError(
            f"full(): argument 'size' (position 1) must be tuple of ints, not {type(size).__name__}"
        )
    value = as_number("full", "fill_value", fill_value, 2, complex_too=True)
    if dtype is None:
        dtype = {bool: dtypes.bool_, int: dtypes.int64}.get(type(value))
        if type(value) is complex:
            dtype = dtypes.get_default_dtype().to_complex()
    return _filled(as_size("full", (size,)), value, dtype, device, requires_grad)


def scalar_tensor(value: Any, *, dtype: DtypeLike = None, device: DeviceLike = None) -> Tensor:
    """A 0-d tensor of one number, of the default dtype unless dtype is given."""
    return _filled((), as_number("scalar_tensor", "s", value), dtype, device)


# ------------------------------------------------------------------------- like another tensor
def _like(
    name: str, input: Tensor, value: Any, dtype: Any, device: Any, requires_grad: bool, format: Any
) -> Tensor:
    """A tensor of input's shape, dtype, device, and layout unless a memory format is given."""
    a = input.array
    array_dtype = a.dtype if dtype is None else dtypes.numpy_dtype(dtype)
    if device is not None and (is_meta(a) or as_device(device).type == "meta"):
        return _filled(a.shape, value or 0, dtypes.of(array_dtype), device, requires_grad)
    made = empty_as(a, array_dtype, order_named(format, a.ndim))
    if value is not None:
        if value not in (0, 1):
            value = filling(value, array_dtype, a.size)
        made.fill(value)
    if device is None and not requires_grad:
        return wrap(made)  # where the input is
    return placed_tensor(made, input.device if device is None else device, requires_grad)


@function
def zeros_like(
    input: Tensor, *, dtype: DtypeLike = None, device: DeviceLike = None,
    requires_grad: bool = False, memory_format: Any = None, layout: Any = None,
) -> Tensor:  # fmt: skip
    """Zeros of input's shape, and of its dtype and device unless given."""
    return _like("zeros_like", input, 0, dtype, device, requires_grad, memory_format)


@function
def ones_like(
    input: Tensor, *, dtype: DtypeLike = None, device: DeviceLike = None,
    requires_grad: bool = False, memory_format: Any = None, layout: Any = None,
) -> Tensor:  # fmt: skip
    """Ones of input's shape, and of its dtype and device unless given."""
    return _like("ones_like", input, 1, dtype, device, requires_grad, memory_format)


@function
def empty_like(
    input: Tensor, *, dtype: DtypeLike = None, device: DeviceLike = None,
    requires_grad: bool = False, memory_format: Any = None, layout: Any = None,
) -> Tensor:  # fmt: skip
    """A tensor of input's shape, and of its dtype and device unless given, its numbers not set."""
    return _like("empty_like", input, None, dtype, device, requires_grad, memory_format)


@function
def full_like(
    input: Tensor, fill_value: Any, *, dtype: DtypeLike = None, device: DeviceLike = None,
    requires_grad: bool = False, memory_format: Any = None, layout: Any = None,
) -> Tensor:  # fmt: skip
    """One number in input's shape, and in its dtype and on its device unless given."""
    value = as_number("full_like", "fill_value", fill_value, 2, complex_too=True)
    return _like("full_like", input, value, dtype, device, requires_grad, memory_format)


def _options(self: Tensor, dtype: Any, device: Any) -> dict[str, Any]:
    """The dtype and device given, or else those of a tensor."""
    return {
        "dtype": self.dtype if dtype is None else dtype,
        "device": self.device if device is None else device,
    }


@method
def new_zeros(
    self: Tensor,
    *size: SizeLike,
    dtype: DtypeLike = None,
    device: DeviceLike = None,
    requires_grad: bool = False,
) -> Tensor:
    """Zeros of a shape, of this tensor's dtype and device unless given."""
    return zeros(*size, requires_grad=requires_grad, **_options(self, dtype, device))


@method
def new_ones(
    self: Tensor,
    *size: SizeLike,
    dtype: DtypeLike = None,
    device: DeviceLike = None,
    requires_grad: bool = False,
) -> Tensor:
    """Ones of a shape, of this tensor's dtype and device unless given."""
    return ones(*size, requires_grad=requires_grad, **_options(self, dtype, device))


@method
def new_empty(
    self: Tensor,
    *size: SizeLike,
    dtype: DtypeLike = None,
    device: DeviceLike = None,
    requires_grad: bool = False,
) -> Tensor:
    """A tensor of a shape, of this one's dtype and device unless given, its numbers not set."""
    return empty(*size, requires_grad=requires_grad, **_options(self, dtype, device))


@method
def new_full(
    self: Tensor, size: SizeLike, fill_value: Any, *, dtype: DtypeLike = None,
    device: DeviceLike = None, requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """One number in a shape, of this tensor's dtype and device unless given."""
    return full(size, fill_value, requires_grad=requires_grad, **_options(self, dtype, device))


@method
def new_tensor(
    self: Tensor,
    data: Any,
    *,
    dtype: DtypeLike = None,
    device: DeviceLike = None,
    requires_grad: bool = False,
) -> Tensor:
    """tensor(data), of this tensor's dtype and device unless given."""
    return tensor(data, requires_grad=requires_grad, **_options(self, dtype, device))


@function
def eye(
    n: int, m: int | None = None, *, dtype: DtypeLike = None, device: DeviceLike = None,
    requires_grad: bool = False, layout: Any = None,
) -> Tensor:  # fmt: skip
    """The n × m matrix (n × n unless m is given) with ones on its diagonal and zeros elsewhere.

    Raises: TypeError if n or m is not an int; RuntimeError if it is negative.
    """
    for i, (name, size) in enumerate((("n", n), ("m", n if m is None else m)), 1):
        if isinstance(size, bool | float) or not hasattr(size, "__index__"):
            raise TypeError(
                f"eye(): argument '{name}' (position {i}) must be int, not {type(size).__name__}"
            )
        if size < 0:
            raise RuntimeError(f"{name} must be greater or equal to 0, got {size}")
    return placed_tensor(np.eye(n, m, dtype=dtypes.numpy_dtype(dtype)), device, requires_grad)
