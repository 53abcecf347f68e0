"""Parameter: a tensor that a module trains."""

from __future__ import annotations

import math

from ..functions.creation.filled import empty
from ..tensor import Tensor
from ..tensor.device import DeviceLike
from ..tensor.dtypes import DtypeLike

__all__ = ["Parameter", "new_parameter", "whole_numel"]


class Parameter(Tensor):
    """A tensor that requires grad and that a Module finds when it is set as an attribute.

    data is any tensor: its memory is shared, its graph is left behind.
    Raises: TypeError if data is not a tensor, RuntimeError if it requires grad and is not of a
    floating dtype.
    """

    def __init__(self, data: Tensor | None = None, requires_grad: bool = True) -> None:
        if data is None:
            data = empty(0)
        if not isinstance(data, Tensor):
            raise TypeError(
                f"Parameter(data) expects a Tensor, got {type(data).__name__}: "
                "make one with tensor(data)"
            )
        self.array = data.array
        self.requires_grad = requires_grad

    def __repr__(self) -> str:
        return "Parameter containing:\n" + super().__repr__()


def whole_numel(parameter: Tensor) -> int:
    """The elements of a parameter; of one that is divided among ranks, those of all parts."""
    shape = getattr(parameter, "whole_shape", None)
    return parameter.numel() if shape is None else math.prod(shape)


def new_parameter(*shape: int, device: DeviceLike = None, dtype: DtypeLike = None) -> Parameter:
    """A parameter of the shape given, its numbers not yet set."""
    return Parameter(empty(shape, dtype=dtype, device=device))
