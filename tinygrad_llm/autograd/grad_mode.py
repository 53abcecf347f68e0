"""Whether ops are recorded for backward: no_grad, enable_grad, inference_mode, set_grad_enabled.

Each is a context and a decorator, as in PyTorch; each thread has its own mode.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import Any


class _Mode(threading.local):
    grad = True


mode = _Mode()


class _Switch:
    """Grad mode `enabled` within a `with`, or within every call of a decorated function."""

    enabled = False

    def __init__(self) -> None:
        self.before: list[bool] = []

    def __enter__(self) -> None:
        self.before.append(mode.grad)
        mode.grad = self.enabled

    def __exit__(self, *exc: Any) -> None:
        mode.grad = self.before.pop()

    def __call__(self, function: Callable[..., Any]) -> Any:
        import inspect  # here, because it is slow to import

        switch, enabled = _Switch, self.enabled

        def within() -> (
            _Switch
        ):  # a new one for each call: calls nest, and threads run at the same time
            context = switch()
            context.enabled = enabled
            return context

        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            with within():
                return function(*args, **kwargs)

        @functools.wraps(function)
        def steps(*args: Any, **kwargs: Any) -> Any:
            generator = function(*args, **kwargs)  # its caller keeps its own mode between steps
            resume: Callable[[], Any] = functools.partial(next, generator)
            while True:
                try:
                    with within():
                        value = resume()
                except StopIteration as end:
                    return end.value
                try:
                    sent = yield value
                    resume = functools.partial(generator.send, sent)
                except GeneratorExit:
                    with within():
                        generator.close()
                    raise
                except BaseException as error:
                    resume = functools.partial(generator.throw, error)

        return steps if inspect.isgeneratorfunction(function) else call


class no_grad(_Switch):
    """Within it nothing is recorded, so there is no backward: context or decorator."""

    def __new__(cls, function: Callable[..., Any] | None = None) -> Any:
        switch = super().__new__(cls)
        return switch if function is None else switch(function)  # @no_grad without parentheses

    def __init__(self, function: None = None) -> None:
        super().__init__()


class enable_grad(no_grad):
    """Within it ops are recorded even inside no_grad: context or decorator."""

    enabled = True


class inference_mode(_Switch):
    """As no_grad, or as enable_grad for mode=False: context or decorator."""

    def __new__(cls, mode: Any = True) -> Any:
        switch = super().__new__(cls)
        return switch(mode) if callable(mode) else switch  # @inference_mode without parentheses

    def __init__(self, mode: bool = True) -> None:
        super().__init__()
        self.enabled = not mode


class set_grad_enabled(_Switch):
    """Record ops for backward, or not: from now on, within a `with`, or in a decorated function."""

    def __init__(self, enabled: bool) -> None:
        super().__init__()
        self.enabled = enabled
        self.outside = mode.grad
        mode.grad = enabled

    def __enter__(self) -> None:
        mode.grad = self.enabled

    def __exit__(self, *exc: Any) -> None:
        mode.grad = self.outside

    def __call__(self, function: Callable[..., Any]) -> Any:
        mode.grad = self.outside  # decorating changes nothing
        return super().__call__(function)


def is_grad_enabled() -> bool:
    """Whether ops are being recorded for backward."""
    return mode.grad
