"""The decorator that makes a function a method of Tensor too: defined once, called both ways."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from ..tensor import Tensor

F = TypeVar("F", bound=Callable[..., Any])


def method(*names: Any) -> Any:
    """Attach a function whose first argument is a tensor to Tensor.

    `@method` uses the function's own name, `@method("add", "__add__")` the names given.
    """
    if len(names) == 1 and callable(names[0]):
        return method(names[0].__name__)(names[0])

    def attach(function: F) -> F:
        for name in names:
            setattr(Tensor, name, function)
        return function

    return attach
