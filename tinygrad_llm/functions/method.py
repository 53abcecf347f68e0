"""The decorator that makes a function a method of Tensor too: defined once, called both ways."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

from ..tensor import Tensor

F = TypeVar("F", bound=Callable[..., Any])
_VARARGS = 0x04  # the flag of a function with *args in its code object


def method(*names: Any) -> Any:
    """Attach a function whose first argument is a tensor to Tensor.

    `@method` uses the function's own name, `@method("add", "__add__")` the names given. Called as
    a function, it raises TypeError for a first argument that is no tensor and no good in its place.
    """
    if len(names) == 1 and callable(names[0]):
        return method(names[0].__name__)(names[0])

    def attach(function: F) -> F:
        taken = other_names(function)
        for name in names:
            setattr(Tensor, name, taken)
        return _called_by_name(function)

    return attach


# Other names of arguments that PyTorch takes as well, most of them NumPy's.
_ALSO = {
    "axis": "dim", "keepdims": "keepdim", "x": "input", "a": "input", "x1": "input", "x2": "other",
    "axis0": "dim0", "axis1": "dim1", "split_size": "split_size_or_sections", "tensor": "input",
}  # fmt: skip


def other_names(function: F) -> F:
    """The function, which takes its arguments under their other names too: sum(x, axis=1).

    What `*sizes` collects may be given as one tuple by name: x.permute(dims=(1, 0)). A function
    that has none of these stays as it is.
    """
    wanted = {"dim", "keepdim", "dim0"}
    if not wanted & set(_parameters(function)) and not _collected(function):
        return function

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except TypeError:
            again = _renamed(function, args, kwargs)
            if again is None:
                raise
        return function(*again[0], **again[1])

    return call  # type: ignore[return-value]


def _code(function: Any) -> Any:
    while hasattr(function, "__wrapped__"):
        function = function.__wrapped__
    return function.__code__


def _parameters(function: Any) -> tuple[str, ...]:
    code = _code(function)
    return code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]


def _collected(function: Any) -> str:
    """The name behind the star in f(input, *sizes); "" if there is none."""
    code = _code(function)
    has = code.co_flags & _VARARGS
    return code.co_varnames[code.co_argcount + code.co_kwonlyargcount] if has else ""


def _renamed(function: Any, args: tuple, kwargs: dict) -> tuple[tuple, dict] | None:
    """The arguments under the names that the function has; None if they have them already."""
    known, star = _parameters(function), _collected(function)
    new = {
        _ALSO[k] if k in _ALSO and k not in known and _ALSO[k] in known else k: v
        for k, v in kwargs.items()
    }
    if star and star in new:
        first = (new.pop(known[0]),) if known[0] in new else ()
        several = new.pop(star)
        return (*first, *args, *(several if isinstance(several, tuple | list) else [several])), new
    return None if new == kwargs else (args, new)


def _called_by_name(function: F) -> F:
    """The function as it stands in a module, where nothing says yet that it is given a tensor."""

    names = function.__code__.co_varnames

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            result = function(*args, **kwargs)
        except TypeError:
            again = _renamed(function, args, kwargs)
            if again is None:
                raise
            result = function(*again[0], **again[1])
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
