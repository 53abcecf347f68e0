"""Whether ops are recorded for backward: no_grad, enable_grad, inference_mode, set_grad_enabled.

Each thread has a mode of its own, as in PyTorch.
"""

from __future__ import annotations

import contextlib
import functools
import threading
from typing import Any


class _Mode(threading.local):
    grad = True


mode = _Mode()


class set_grad_enabled(contextlib.ContextDecorator):
    """Record ops for backward, or not: as a call, a context, or a decorator."""

    def __init__(self, enabled: bool) -> None:
        self.before, self.enabled = mode.grad, enabled
        mode.grad = enabled

    def __enter__(self) -> None:
        mode.grad = self.enabled

    def __exit__(self, *exc: Any) -> None:
        mode.grad = self.before


class no_grad(contextlib.ContextDecorator):
    """Within it nothing is recorded, so nothing can go backward: context or decorator."""

    enabled = False

    def __init__(self) -> None:
        self.before: list[bool] = []

    def __enter__(self) -> None:
        self.before.append(mode.grad)
        mode.grad = self.enabled

    def __exit__(self, *exc: Any) -> None:
        mode.grad = self.before.pop()

    def __call__(self, function: Any) -> Any:
        @functools.wraps(function)
        def within(*args: Any, **kwargs: Any) -> Any:
            with type(self)():
                return function(*args, **kwargs)

        return within


class enable_grad(no_grad):
    """Within it ops are recorded even inside no_grad: context or decorator."""

    enabled = True


class inference_mode(no_grad):
    """As no_grad: context or decorator."""

    def __init__(self, mode: bool = True) -> None:
        super().__init__()
        self.enabled = not mode


def is_grad_enabled() -> bool:
    """Whether ops are being recorded for backward."""
    return mode.grad
