"""PyTorch's old constructors LongTensor, FloatTensor, ...: one class for each dtype and device.

They make tensors, `isinstance(x, LongTensor)` asks for the dtype and the device, and they may be
passed to .type(). What they make is a plain Tensor.
"""

from __future__ import annotations

import warnings
from functools import cache
from typing import Any

from ...tensor import Size, Tensor, dtypes
from ...tensor.device import DeviceLike, set_default
from ...tensor.device import device as Device
from .filled import empty
from .from_data import tensor

__all__ = ["NAMES", "set_default_tensor_type", "typed_tensor"]

NAMES = {f"{title}Tensor": d for d, title in dtypes.TITLES.items() if d not in dtypes.LONE_UNSIGNED}


class TypedTensor(type):
    """The class of LongTensor, FloatTensor and the others."""

    dtype: dtypes.dtype
    place: str
    type_name: str  # "torch.LongTensor", "torch.cuda.LongTensor"
    is_cuda: bool
    is_sparse = False

    def __call__(cls, *args: Any, device: DeviceLike = None) -> Tensor:
        """LongTensor(2, 3) makes a tensor of that shape, its numbers not set; LongTensor([1, 2])
        one of these numbers; LongTensor(x) shows a tensor of this type itself.

        Raises: TypeError for a number that is not a size, and for a tensor of another dtype.
        """
        place = cls.place if device is None else device
        if len(args) == 1 and (hasattr(args[0], "__len__") or not hasattr(args[0], "__index__")):
            return cls._from_data(args[0], place)
        return empty(*args or (0,), dtype=cls.dtype, device=place)

    def _from_data(cls, data: Any, place: Any) -> Tensor:
        if isinstance(data, Tensor):
            if data.dtype is not cls.dtype:
                raise TypeError(
                    f"{cls.type_name}(tensor): expected a tensor of {cls.dtype}, got {data.dtype}: "
                    "use .to(dtype)"
                )
            return data.detach()
        if isinstance(data, Size):
            return empty(data, dtype=cls.dtype, device=place)
        if isinstance(data, str | bytes):
            raise TypeError(f"new(): invalid data type '{type(data).__name__}'")
        if isinstance(data, float) or not hasattr(data, "__len__"):
            raise TypeError(f"new(): data must be a sequence (got {type(data).__name__})")
        return tensor(data, dtype=cls.dtype, device=place)

    def __instancecheck__(cls, value: object) -> bool:
        return (
            isinstance(value, Tensor)
            and value.dtype is cls.dtype
            and value.device.type == cls.place
        )

    def __repr__(cls) -> str:
        return f"<class '{cls.type_name}'>"


@cache
def typed_tensor(name: str, place: str) -> TypedTensor:
    """The class of a name such as "LongTensor" for "cpu" or "cuda"."""
    module = "torch" if place == "cpu" else f"torch.{place}"
    about = {
        "dtype": NAMES[name],
        "place": place,
        "type_name": f"{module}.{name}",
        "is_cuda": place == "cuda",
        "__doc__": f"Tensors of {NAMES[name]} on a {place} device: see TypedTensor.",
        "__module__": module,
    }
    return TypedTensor(name, (), about)


def __getattr__(name: str) -> TypedTensor:
    """Raises: AttributeError if the name is not in NAMES."""
    if name not in NAMES:
        raise AttributeError(name)
    return typed_tensor(name, "cpu")


def set_default_tensor_type(t: Any) -> None:
    """Set the default dtype and device from FloatTensor, "torch.DoubleTensor" and the like.

    Raises: TypeError for what is not such a class or its name, or not of a floating-point dtype.
    """
    warnings.warn(
        "torch.set_default_tensor_type() is deprecated as of PyTorch 2.1, please use "
        "torch.set_default_dtype() and torch.set_default_device() as alternatives.",
        stacklevel=2,
    )
    name = t if isinstance(t, str) else getattr(t, "type_name", None)
    if name is None:
        raise TypeError("invalid type object: only floating-point types are supported")
    try:
        place, dtype = dtypes.of_type_name(name)
    except ValueError as error:
        raise TypeError(str(error)) from None
    dtypes.set_default_dtype(dtype)
    set_default(Device(place))
