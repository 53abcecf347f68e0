"""What is set for NumPy where this package computes: no warnings, and where arrays begin.

1/0 is infinite and log(−1) is NaN here without a warning, as in PyTorch. NumPy keeps its settings
in a context variable, and setting them for one call (np.errstate) costs more than many a small op.
So each thread has a context in which they were set once, where the engine runs the ops; and where
they are set already, a `quiet` function runs as it is. The caller's own settings for warnings stay
as they are. Where arrays begin is set in the caller's context too, for good: it changes no number.
"""

from __future__ import annotations

import contextvars
import functools
import threading
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

__all__ = ["is_silent", "place_arrays", "places", "quiet", "silent", "silently"]

F = TypeVar("F", bound=Callable[..., Any])

_silent = contextvars.ContextVar("silent", default=False)
is_silent = _silent.get  # is_silent(): whether NumPy's warnings are off here already


class places:
    """Who says where large arrays begin: set from above (ops/loops/pages.py), else None.

    `begin` is called once in each context (contextvars) in which large arrays are made.
    """

    begin: Callable[[], None] | None = None


_placed = contextvars.ContextVar("placed", default=False)


def place_arrays() -> None:
    """Let `places` say, in this context, where large arrays begin that NumPy makes from now on."""
    if places.begin is not None and not _placed.get():
        _placed.set(True)
        places.begin()


def _switch_off() -> None:
    np.seterr(all="ignore")
    _silent.set(True)
    place_arrays()


class _Silent(threading.local):
    """Each thread has its own context, because only one can be in it at a time."""

    run: Callable[..., Any]  # run(function, *args, **kwargs): the function's result

    def __init__(self) -> None:
        context = contextvars.copy_context()
        context.run(_switch_off)
        self.run = context.run


silent = _Silent()


def silently(function: Callable[..., Any], *args: Any) -> Any:
    """function(*args), such as a ufunc of NumPy's, without a warning."""
    return function(*args) if is_silent() else silent.run(function, *args)


def quiet(function: F) -> F:
    """A decorator: 1/0 is infinite and log(−1) is NaN in the function without a warning."""

    @functools.wraps(function)
    def call(*args: Any, **options: Any) -> Any:
        if is_silent():
            return function(*args, **options)
        before = _silent.set(True)
        place_arrays()
        try:
            with np.errstate(all="ignore"):
                return function(*args, **options)
        finally:
            _silent.reset(before)

    return call  # type: ignore[return-value]
