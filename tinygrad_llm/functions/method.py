"""The decorator that makes a function a method of Tensor too: defined once, called both ways."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

from ..tensor import Tensor

F = TypeVar("F", bound=Callable[..., Any])


def method(*names: Any) -> Any:
    """Attach a function whose first argument is a tensor to Tensor.

    `@method` uses the function's own name, `@method("add", "__add__")` the names given. Called as
    a function, it raises TypeError for a first argument that is no tensor and no good in its place.
    """
    if len(names) == 1 and callable(names[0]):
        return method(names[0].__name__)(names[0])

    def attach(function: F) -> F:
        for name in names:
            setattr(Tensor, name, function)
        return _called_by_name(function)

    return attach


def _called_by_name(function: F) -> F:
    """The function as it stands in a module, where nothing says yet that it is given a tensor."""

    names = function.__code__.co_varnames

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            result = function(*args, **kwargs)
        except AttributeError:  # a list has no array, no dtype, no dimensions
            if not args and names[0] not in kwargs:
                raise
            if isinstance(args[0] if args else kwargs[names[0]], Tensor):
                raise
            result = NotImplemented
        if result is NotImplemented:  # what operators answer to an operand that they don't know
            given = {**dict(zip(names, args, strict=False)), **kwargs}
            at = 1 if isinstance(given[names[0]], Tensor) else 0
            raise TypeError(
                f"{function.__name__}(): argument {names[at]!r} (position {at + 1}) must be "
                f"Tensor, not {type(given[names[at]]).__name__}"
            )
        return result

    return call  # type: ignore[return-value]
