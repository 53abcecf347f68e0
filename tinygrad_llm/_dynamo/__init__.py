"""PyTorch's compiler switches, which programs set: nothing is compiled here, so nothing changes."""

from __future__ import annotations

from typing import Any

from ..functions.settings import as_it_is
from . import config

__all__ = [
    "allow_in_graph",
    "config",
    "disable",
    "graph_break",
    "is_compiling",
    "mark_dynamic",
    "mark_static",
    "optimize",
    "reset",
]


def reset() -> None:
    """Forget compiled code: there is none."""


def graph_break(msg: str = "") -> None:
    """Break the compiled graph here: there is none."""


def is_compiling() -> bool:
    """False: nothing is ever compiled here."""
    return False


def disable(fn: Any = None, recursive: bool = True, *, reason: str | None = None) -> Any:
    """The function itself; as `@disable()` too."""
    return as_it_is(fn)


def allow_in_graph(fn: Any) -> Any:
    """The function itself."""
    return fn


def optimize(*args: Any, **kwargs: Any) -> Any:
    """A decorator that returns the function itself."""
    return as_it_is(None)


def mark_dynamic(t: Any, index: Any, **bounds: Any) -> None:
    """Note that a size changes between calls, which needs no note here."""


def mark_static(t: Any, index: Any = None) -> None:
    """Note that a size never changes, which needs no note here."""
