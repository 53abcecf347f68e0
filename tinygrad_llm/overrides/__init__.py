"""PyTorch's `overrides`: no class can replace functions here, so nothing is ever overridden."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..tensor import Tensor

__all__ = [
    "handle_torch_function",
    "has_torch_function",
    "has_torch_function_unary",
    "has_torch_function_variadic",
    "is_tensor_like",
]


def has_torch_function(relevant_args: Iterable[Any]) -> bool:
    """False: no argument overrides functions."""
    return False


def has_torch_function_unary(tensor: Any) -> bool:
    """False: the argument overrides no functions."""
    return False


def has_torch_function_variadic(*args: Any) -> bool:
    """False: no argument overrides functions."""
    return False


def handle_torch_function(
    public_api: Any, relevant_args: Iterable[Any], *args: Any, **kwargs: Any
) -> Any:
    """The function itself is called, because no argument overrides it."""
    return public_api(*args, **kwargs)


def is_tensor_like(inp: Any) -> bool:
    """Whether it is a tensor."""
    return isinstance(inp, Tensor)
