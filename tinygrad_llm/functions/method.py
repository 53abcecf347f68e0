"""The decorator that makes a function a method of Tensor too: defined once, called both ways."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
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
        hints, more = function.__annotations__, _parameters(function)[1:]
        takes_two = any(name == "other" or hints.get(name) == "Tensor" for name in more)
        named = checked(taken, 1) if takes_two else taken
        for name in names:
            setattr(Tensor, name, taken if name.startswith("__") else named)
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


def checked(function: F, before: int = 0) -> F:
    """The function, which raises TypeError for an argument that is no tensor and should be one.

    Nothing is looked at until something went wrong: a list has no array, no dtype, no dimensions.
    `before` arguments come before the first that the caller writes: the self of a method.
    """

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            result = function(*args, **kwargs)
        except AttributeError:
            wrong = _no_tensor(function, args, kwargs, before)
            if wrong is None:
                raise
        else:
            if result is not NotImplemented:  # what operators answer to what they don't know
                return result
            wrong = _no_tensor(function, args, kwargs, before, known=("input", "other"))
        raise wrong or TypeError(f"{function.__name__}(): got arguments that it does not know")

    return call  # type: ignore[return-value]


def _no_tensor(
    function: Any, args: tuple, kwargs: dict, before: int, known: tuple[str, ...] = ()
) -> TypeError | None:
    """An error for the first argument that by its annotation (or its name) should be a tensor."""
    called = f"{function.__name__}(): "
    names, star = _parameters(function), _collected(function)
    hints = dict(function.__annotations__, **dict.fromkeys(known, "Tensor"))
    by_place = names[: _code(function).co_argcount]
    given = {**dict(zip(by_place, args, strict=False)), **kwargs}
    lists = [(names.index(n), v) for n, v in given.items() if hints.get(n) == "Sequence[Tensor]"]
    if star in ("tensors", "operands"):
        n = _code(function).co_argcount
        rest = args[n:]
        one = len(rest) == 1 and isinstance(rest[0], tuple | list)
        lists.append((n, rest[0] if one else rest))
    for at, values in lists:
        if isinstance(values, Tensor) or not isinstance(values, Iterable):
            return TypeError(
                f"{called}argument {names[at]!r} (position {at + 1 - before}) must be tuple of "
                f"Tensors, not {type(values).__name__}"
            )
        for i, x in enumerate(values):
            if not isinstance(x, Tensor):
                return TypeError(
                    f"{called}expected Tensor as element {i} in argument {at - before}, but got "
                    f"{type(x).__name__}"
                )
    for at, name in enumerate(names):
        if name in given and hints.get(name) == "Tensor" and not isinstance(given[name], Tensor):
            place = "" if name in kwargs else f" (position {at + 1 - before})"
            return TypeError(
                f"{called}argument {name!r}{place} must be Tensor, not {type(given[name]).__name__}"
            )
    return None


def _called_by_name(function: F) -> F:
    """The function as it stands in a module, where nothing says yet that it is given a tensor."""
    first = _parameters(function)[0]

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            result = function(*args, **kwargs)
        except TypeError:
            again = _renamed(function, args, kwargs)
            if again is None:
                raise
            result = function(*again[0], **again[1])
        except AttributeError:
            wrong = _no_tensor(function, args, kwargs, 0, known=(first,))
            if wrong is None:
                raise
            raise wrong from None
        if result is NotImplemented:
            wrong = _no_tensor(function, args, kwargs, 0, known=(first, "other"))
            raise wrong or TypeError(f"{function.__name__}(): got arguments that it does not know")
        return result

    return call  # type: ignore[return-value]
