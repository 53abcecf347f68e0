"""Questions about a tensor."""

from __future__ import annotations

from typing import Any

from ..tensor import Tensor
from .method import function, method


@method
def is_nonzero(input: Tensor) -> bool:
    """Whether the only element is not 0.

    Raises: RuntimeError if there is not exactly one element.
    """
    return bool(input)


def is_tensor(obj: Any) -> bool:
    """Whether obj is a Tensor."""
    return isinstance(obj, Tensor)


@function
def numel(input: Tensor) -> int:
    """How many elements the tensor has."""
    return input.numel()


def is_floating_point(input: Tensor) -> bool:
    """Whether the tensor's dtype is a floating one."""
    return input.is_floating_point()
