"""PyTorch's `jit`: nothing is compiled to a script here, functions and modules stay as they are.

Decorators and questions answer so; what would store or trace a script says that it can't.
"""

from __future__ import annotations

from typing import Any, Final

from ..functions.settings import as_it_is

__all__ = [
    "Final",
    "export",
    "freeze",
    "ignore",
    "is_scripting",
    "is_tracing",
    "load",
    "optimize_for_inference",
    "save",
    "script",
    "script_if_tracing",
    "trace",
    "unused",
]


def script(obj: Any = None, *args: Any, **kwargs: Any) -> Any:
    """The function or module itself, as `compile` returns it; as a decorator too."""
    return as_it_is(obj)


def script_if_tracing(fn: Any) -> Any:
    """The function itself."""
    return fn


def export(fn: Any) -> Any:
    """The function itself."""
    return fn


def unused(fn: Any) -> Any:
    """The function itself."""
    return fn


def ignore(drop: Any = False, **kwargs: Any) -> Any:
    """The function itself; as `@ignore()` too."""
    return as_it_is(drop if callable(drop) else None)


def freeze(mod: Any, *args: Any, **kwargs: Any) -> Any:
    """The module itself."""
    return mod


def optimize_for_inference(mod: Any, *args: Any, **kwargs: Any) -> Any:
    """The module itself."""
    return mod


def is_scripting() -> bool:
    """False: nothing is ever a script here."""
    return False


def is_tracing() -> bool:
    """False: nothing is ever traced here."""
    return False


def _refused(name: str, instead: str) -> NotImplementedError:
    return NotImplementedError(f"jit.{name}: there are no programs as graphs here. {instead}")


def trace(func: Any, *args: Any, **kwargs: Any) -> Any:
    """Raises: NotImplementedError, because a call can't be recorded as a program here."""
    raise _refused("trace", "Call the function itself; study.trace shows the ops of a call")


def save(m: Any, f: Any, *args: Any, **kwargs: Any) -> None:
    """Raises: NotImplementedError, because there is no script that a file could hold."""
    raise _refused("save", "torch.save(model.state_dict(), file) stores a model's weights")


def load(f: Any, *args: Any, **kwargs: Any) -> Any:
    """Raises: NotImplementedError, because a script in a file can't be run here."""
    raise _refused("load", "Build the model and load its weights with load_state_dict")
