"""To another dtype or device, and copies."""

from __future__ import annotations

from typing import Any

from .. import ops
from ..arrays.devices import device_of, no_data
from ..tensor import Tensor, attach, device, dtypes
from ..tensor.device import DeviceLike, default_device
from ..tensor.dtypes import DtypeLike
from ..tensor.formats import order_named
from .method import method


@method
def to(
    self: Tensor, *args: Any, dtype: DtypeLike = None, device: DeviceLike = None,
    copy: bool = False, non_blocking: bool = False, memory_format: Any = None,
) -> Tensor:  # fmt: skip
    """In another dtype, on another device, or both: x.to("cuda"), x.to(float64), x.to(other).

    The tensor itself if nothing changes, unless copy=True or a memory_format asks for another
    layout. Gradients flow back through it.
    Raises: NotImplementedError from the meta device to another one.
    """
    for a in args:
        if isinstance(a, bool):
            continue
        if isinstance(a, Tensor):
            dtype, device = a.dtype, a.device
        elif isinstance(a, str) or hasattr(a, "index") and hasattr(a, "type"):
            device = a
        elif isinstance(a, int):
            device = f"cuda:{a}"
        else:
            dtype = a
    result = self
    if dtype is not None:
        numpy_dtype = dtypes.numpy_dtype(dtype)
        if self.array.dtype != numpy_dtype:
            result = ops.Cast.apply(self, dtype=numpy_dtype)
    if device is not None:
        place = as_device(device)
        here, index = device_of(result.array)
        if here == "meta" and place.type != "meta":
            raise no_data()
        if here != place.type or (place.index not in (None, index) and here == "cuda"):
            result = ops.Move.apply(result, kind=place.type, index=place.index)
    order = order_named(memory_format, result.array.ndim)
    if order is not None and not result.is_contiguous(memory_format):
        return ops.Clone.apply(result, order=order)
    return ops.Clone.apply(result, order=order) if copy and result is self else result


def as_device(value: Any) -> device:
    """A device from its name, number, or itself."""
    return value if isinstance(value, device) else device(value)


def place_of(value: Any) -> device | None:
    """The device given, else the default one; None for the CPU where none was given."""
    if value is None:
        return default_device()
    return value if isinstance(value, device) else device(value)


@method
def type_as(self: Tensor, other: Tensor) -> Tensor:
    """In other's dtype."""
    return self.to(other.dtype)


@method("type")
def type_(self: Tensor, dtype: Any = None, non_blocking: bool = False) -> Any:
    """Without an argument the type's name, such as "torch.FloatTensor"; else as .to(dtype).

    dtype: also such a name, or the class LongTensor, cuda.FloatTensor and the like.
    Raises: ValueError for a name that is not a type's.
    """
    if dtype is None:
        place = "torch.cuda." if self.is_cuda else "torch."
        return f"{place}{dtypes.title(self.dtype)}Tensor"
    name = dtype if isinstance(dtype, str) else getattr(dtype, "type_name", None)
    if name is not None:
        place, dtype = dtypes.of_type_name(name)
        return self.to(device=place, dtype=dtype)
    return self.to(dtype)


@method
def cpu(self: Tensor) -> Tensor:
    """On the CPU."""
    return self.to(device="cpu")


@method
def cuda(self: Tensor, device: DeviceLike = None, non_blocking: bool = False) -> Tensor:
    """On a GPU.

    Raises: RuntimeError that says what is missing if there is no GPU or no CuPy.
    """
    return self.to(device="cuda" if device is None else device)


def _cast_method(name: str, dtype: str) -> None:
    target = getattr(dtypes, dtype)

    def convert(self: Tensor) -> Tensor:
        return self if self.array.dtype is target._numpy else self.to(target)

    convert.__name__ = convert.__qualname__ = name
    convert.__doc__ = f"As .to({dtype.rstrip('_')})."
    attach(name, convert)


for _name, _dtype in {
    "float": "float32", "double": "float64", "half": "float16", "bfloat16": "bfloat16",
    "long": "int64", "int": "int32", "short": "int16", "char": "int8", "byte": "uint8",
    "bool": "bool_",
}.items():  # fmt: skip
    _cast_method(_name, _dtype)


@method
def pin_memory(self: Tensor, device: DeviceLike = None) -> Tensor:
    """The tensor itself: memory is not pinned here."""
    return self


@method
def contiguous(input: Tensor, memory_format: Any = None) -> Tensor:
    """The tensor itself if its elements lie in row order, else a copy that does.

    memory_format: torch.channels_last for the order N, H, W, C of a tensor (N, C, H, W).
    Raises: RuntimeError for torch.preserve_format.
    """
    if memory_format is None:
        return input if input.array.flags.c_contiguous else ops.Clone.apply(input, order="C")
    order = order_named(memory_format, input.array.ndim)
    if order is None and not input.array.flags.c_contiguous:
        raise RuntimeError("preserve memory format is unsupported by the contiguous operator")
    if order is None or input.is_contiguous(memory_format):
        return input
    return ops.Clone.apply(input, order=order)


@method
def clone(input: Tensor, *, memory_format: Any = None) -> Tensor:
    """A copy with its own memory, in the same layout unless memory_format says another.

    The gradient flows back through it.
    """
    if memory_format is None:
        return ops.Clone.apply(input)
    return ops.Clone.apply(input, order=order_named(memory_format, input.array.ndim))
