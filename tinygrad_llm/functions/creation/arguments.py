"""What the functions that create tensors share: the arguments they check, and the device."""

from __future__ import annotations

from typing import Any

from ...arrays.devices import move
from ...tensor import Tensor, wrap
from ...tensor.device import defaults
from ...tensor.numbers import plain
from ..convert import place_of

_INT = frozenset({int})
_SEQUENCES = (list, tuple)  # as list | tuple it would be made anew at each call


def as_size(name: str, args: tuple, size: Any = None) -> tuple[int, ...]:
    """The sizes in zeros(2, 3), zeros((2, 3)) or zeros(size=(2, 3)) as a tuple of ints.

    Raises: TypeError if there are no sizes or one is not an int; RuntimeError if one is negative.
    """
    size = args or (() if size is None else (size,))
    if len(size) == 1 and (size[0] is None or isinstance(size[0], _SEQUENCES)):
        size = size[0]
    elif not size:
        raise TypeError(f'{name}() missing 1 required positional arguments: "size"')
    if _INT.issuperset(map(type, size)) and (not size or min(size) >= 0):
        return tuple(size)
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


def as_number(
    name: str, argument: str, value: Any, position: int = 1, complex_too: bool = False
) -> Any:  # fmt: skip
    """A Python number from a number or a tensor of one element.

    Raises: TypeError if it is neither, or complex without complex_too.
    """
    if isinstance(value, Tensor):
        return value.item()
    value = plain(value)
    if not isinstance(value, bool | int | float) and not (complex_too and type(value) is complex):
        raise TypeError(
            f"{name}(): argument '{argument}' (position {position}) must be Number, "
            f"not {type(value).__name__}"
        )
    return value


def placed_tensor(array: Any, device: Any, requires_grad: bool) -> Tensor:
    """The array as a tensor on the device, for None on the default device.

    Raises: RuntimeError if an integer or boolean tensor should require a gradient.
    """
    if device is not None or defaults.changed:
        place = place_of(device)
        if place is not None:
            array = move(array, place.type, place.index)
    result = wrap(array)
    if requires_grad:
        if array.dtype.kind in "iub":
            raise RuntimeError(
                "Only Tensors of floating point and complex dtype can require gradients: "
                f"this one is {result.dtype}"
            )
        result.requires_grad = True
    return result
