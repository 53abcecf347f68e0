"""Random tensors, with PyTorch's names, arguments and numbers.

With the same seed every function here returns the numbers that PyTorch returns on a CPU, from the
default generator or from the one passed as `generator`. For a GPU they are drawn on the CPU too,
and copied there. `tinygrad_llm.random` explains how each number is made.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, SupportsIndex

import numpy as np

from ..arrays.devices import asarray, to_numpy
from ..arrays.layout import empty_as
from ..arrays.meta import without_numbers
from ..random import (
    Generator,
    default_generator,
    initial_seed,
    manual_seed,
    seed,
    set_rng_state,
)
from ..random.sequences import in_memory_order, memory_order
from ..tensor import Tensor, device, dtypes, wrap
from ..tensor.device import DeviceLike
from ..tensor.dtypes import DtypeLike
from ..tensor.formats import order_named
from ..tensor.size import SizeLike
from .convert import as_device
from .creation.arguments import as_size, placed_tensor
from .method import function
from .sampling import bernoulli, check_std, floating, integer, multinomial, stream

__all__ = [
    "Generator",
    "bernoulli",
    "default_generator",
    "get_rng_state",
    "initial_seed",
    "manual_seed",
    "multinomial",
    "normal",
    "rand",
    "rand_like",
    "randint",
    "randint_like",
    "randn",
    "randn_like",
    "randperm",
    "seed",
    "set_rng_state",
]


_INT64 = np.dtype("int64")


# --------------------------------------------------------------------------------- of a shape
@function
def rand(
    *args: SizeLike, size: SizeLike | None = None, generator: Any = None, dtype: DtypeLike = None,
    device: DeviceLike = None, requires_grad: bool = False, layout: Any = None,
    pin_memory: bool = False,
) -> Tensor:  # fmt: skip
    """Uniform numbers in [0, 1): rand(2, 3) or rand((2, 3)).

    Of the default dtype unless dtype is given.
    Raises: NotImplementedError for a dtype that is not floating-point.
    """
    shape = as_size("rand", args, size)
    kind = floating("check_uniform_bounds", dtypes.numpy_dtype(dtype))
    return placed_tensor(stream(generator, device).rand(shape, kind), device, requires_grad)


@function
def randn(
    *args: SizeLike, size: SizeLike | None = None, generator: Any = None, dtype: DtypeLike = None,
    device: DeviceLike = None, requires_grad: bool = False, layout: Any = None,
    pin_memory: bool = False,
) -> Tensor:  # fmt: skip
    """Standard normal numbers: randn(2, 3) or randn((2, 3)).

    Of the default dtype unless dtype is given.
    Raises: NotImplementedError for a dtype that is not floating-point.
    """
    shape = as_size("randn", args, size)
    kind = floating("normal_kernel_cpu", dtypes.numpy_dtype(dtype))
    return placed_tensor(stream(generator, device).randn(shape, kind), device, requires_grad)


def _bounds(name: str, args: tuple[Any, ...], given: dict[str, Any]) -> tuple[Any, ...]:
    """(low, high, ...) from (high, ...) or (low, high, ...), by position or by name."""
    names = [key for key in given if given[key] is None]
    if len(args) == len(names) == len(given):  # all by position
        return (integer(name, "low", args[0]), integer(name, "high", args[1]), *args[2:])
    if "low" in names and len(args) < len(names):
        names.remove("low")
    if len(args) != len(names):
        names_left = ", ".join(key for key in given if key != "low")
        raise TypeError(f"{name}() takes ({names_left}) or (low, {names_left})")
    given.update(zip(names, args, strict=True))
    low = 0 if given["low"] is None else integer(name, "low", given["low"])
    return (low, integer(name, "high", given["high"]), *list(given.values())[2:])


@function
def randint(
    *args: SizeLike, low: SupportsIndex | None = None, high: SupportsIndex | None = None,
    size: SizeLike | None = None, generator: Any = None, dtype: DtypeLike = None,
    device: DeviceLike = None, requires_grad: bool = False, layout: Any = None,
    pin_memory: bool = False,
) -> Tensor:  # fmt: skip
    """Integers in [low, high), low 0 unless given: randint(10, (2, 3)) or randint(5, 10, (2, 3)).

    int64 unless dtype is given.
    Raises: RuntimeError unless low < high and both fit the dtype.
    """
    if len(args) == 3 and type(args[0]) is type(args[1]) is int and low is high is size is None:
        first, last, shape = args  # as nearly always
    else:
        first, last, shape = _bounds("randint", args, {"low": low, "high": high, "size": size})
    if not isinstance(shape, list | tuple):
        raise TypeError(f"randint(): argument 'size' must be tuple of ints, not {shape!r}")
    kind = _INT64 if dtype is None else dtypes.numpy_dtype(dtype)
    if not (len(shape) == 1 and type(shape[0]) is int and shape[0] >= 0):  # as often
        shape = as_size("randint", (shape,))
    array = stream(generator, device).randint(first, last, tuple(shape), kind)
    return placed_tensor(array, device, requires_grad)


@function
def randperm(
    n: int, *, generator: Any = None, dtype: DtypeLike = None, device: DeviceLike = None,
    requires_grad: bool = False, layout: Any = None, pin_memory: bool = False,
) -> Tensor:  # fmt: skip
    """The numbers 0, ..., n − 1 in random order: (n), int64 unless dtype is given.

    Raises: RuntimeError if n is negative or n − 1 is too large for the dtype.
    """
    n = integer("randperm", "n", n)
    if n < 0:
        raise RuntimeError(f"n must be non-negative, got {n}")
    kind = _INT64 if dtype is None else dtypes.numpy_dtype(dtype)
    if kind is not _INT64 and kind.kind in "iu" and n - 1 > np.iinfo(kind).max:
        raise RuntimeError(f"randperm: {n - 1} is too large for {kind.name}")
    return placed_tensor(stream(generator, device).randperm(n, kind), device, requires_grad)


@function
def normal(
    mean: Any, std: Any = 1.0, size: SizeLike | None = None, *, generator: Any = None,
    dtype: DtypeLike = None, device: DeviceLike = None, requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """Normal numbers: normal(0.0, 1.0, (2, 3)), or with a tensor of means, of stds, or of both.

    Tensors of means and stds broadcast; size is given for numbers only.
    Raises: RuntimeError for a negative std.
    """
    draw = stream(generator, device)
    if not isinstance(mean, Tensor) and not isinstance(std, Tensor):
        if size is None:
            raise TypeError("normal(): two numbers need a size: normal(mean, std, size)")
        check_std(std)
        kind = floating("normal_kernel_cpu", dtypes.numpy_dtype(dtype))
        shape = as_size("normal", (size,))
        return placed_tensor(draw.normal(shape, mean, std, kind), device, requires_grad)
    if size is not None:
        raise TypeError(
            "normal(): a tensor of means or of stds has a shape; size must not be given"
        )
    like = mean if isinstance(mean, Tensor) else std
    kind = floating("normal_kernel_cpu", like.array.dtype)
    means = to_numpy(mean.array) if isinstance(mean, Tensor) else mean
    if not isinstance(std, Tensor):
        check_std(std)
        values = draw.normal(like.array.shape, 0.0, std, kind)
    else:
        stds = to_numpy(std.array)
        if not bool((stds >= 0.0).all()):
            raise RuntimeError("normal expects all elements of std >= 0.0")
        try:
            shape = np.broadcast_shapes(np.shape(means), stds.shape)
        except ValueError:
            raise RuntimeError(
                f"normal: mean of shape {list(np.shape(means))} and std of shape "
                f"{list(stds.shape)} do not broadcast"
            ) from None
        values = (draw.randn(shape, kind) * stds).astype(kind, copy=False)
    values = (values + means).astype(kind, copy=False)
    return wrap(asarray(values, like.array))


# ------------------------------------------------------------------------- like another tensor
def _like(
    name: str, input: Any, dtype: Any, place: Any, requires_grad: bool,
    format: Any, draw: Callable[[Any, np.dtype, Any], Any],
) -> Tensor:  # fmt: skip
    """draw(shape, dtype, like) in input's shape, and in its layout or a memory format's."""
    kind = input.array.dtype if dtype is None else dtypes.numpy_dtype(dtype)
    place = input.device if place is None else as_device(place)
    if place.type == "meta":
        return placed_tensor(without_numbers(input.array.shape, kind), place, requires_grad)
    order = order_named(format, input.array.ndim)
    like = empty_as(input.array, order=order) if order else input.array
    values = in_memory_order(lambda shape: draw(shape, kind, like), like)
    return placed_tensor(values, place, requires_grad)


@function
def rand_like(
    input: Tensor, *, generator: Any = None, dtype: DtypeLike = None, device: DeviceLike = None,
    requires_grad: bool = False, memory_format: Any = None, layout: Any = None,
) -> Tensor:  # fmt: skip
    """Uniform numbers in [0, 1), of input's shape, and of its dtype and device unless given."""

    def draw(shape: Any, kind: np.dtype, like: Any) -> Any:
        return stream(generator).rand(shape, floating("check_uniform_bounds", kind))

    return _like("rand_like", input, dtype, device, requires_grad, memory_format, draw)


@function
def randn_like(
    input: Tensor, *, generator: Any = None, dtype: DtypeLike = None, device: DeviceLike = None,
    requires_grad: bool = False, memory_format: Any = None, layout: Any = None,
) -> Tensor:  # fmt: skip
    """Standard normal numbers, of input's shape, and of its dtype and device unless given."""

    def draw(shape: Any, kind: np.dtype, like: Any) -> Any:
        floating("normal_kernel_cpu", kind)
        ordered = _in_rows(like)
        return stream(generator).normal(shape, 0.0, 1.0, kind, contiguous=ordered)

    return _like("randn_like", input, dtype, device, requires_grad, memory_format, draw)


@function
def randint_like(
    input: Tensor, *args: SupportsIndex, low: SupportsIndex | None = None,
    high: SupportsIndex | None = None, generator: Any = None, dtype: DtypeLike = None,
    device: DeviceLike = None, requires_grad: bool = False, memory_format: Any = None,
    layout: Any = None,
) -> Tensor:  # fmt: skip
    """Integers in [low, high), of input's shape, and of its dtype and device unless given."""
    first, last = _bounds("randint_like", args, {"low": low, "high": high})

    def draw(shape: Any, kind: np.dtype, like: Any) -> Any:
        return stream(generator).randint(first, last, shape, kind)

    return _like("randint_like", input, dtype, device, requires_grad, memory_format, draw)


def _in_rows(array: Any) -> bool:
    """Whether PyTorch's empty_like of the array lies in row order without gaps."""
    if array.flags.c_contiguous:
        return True
    order = memory_order(array.shape, array.strides)
    big = [axis for axis in order if array.shape[axis] != 1]
    return big == sorted(big)


# ------------------------------------------------------------------------------ seed and state
def get_rng_state() -> Tensor:
    """The default generator's state, 5056 numbers of uint8 in PyTorch's own layout."""
    return wrap(default_generator.state())


def _get_state(self: Generator) -> Tensor:
    """The generator's state, 5056 numbers of uint8 in PyTorch's own layout."""
    return wrap(self.state())


def _device(self: Generator) -> device:
    """The device that the generator was made for."""
    return device(self._device)


for _name, _value in {"get_state": _get_state, "device": property(_device)}.items():
    setattr(Generator, _name, _value)
