"""PyTorch's `profiler`: labels do nothing, and what would record says where to measure instead."""

from __future__ import annotations

import contextlib
import enum
from typing import Any

__all__ = ["ProfilerActivity", "profile", "record_function", "schedule"]


class ProfilerActivity(enum.Enum):
    """What is recorded."""

    CPU = 0
    CUDA = 1


class record_function(contextlib.ContextDecorator):
    """A block or function with a name in the record: there is none, so nothing changes."""

    def __init__(self, name: str, args: str | None = None) -> None:
        self.name = name

    def __enter__(self) -> record_function:
        return self

    def __exit__(self, *exc: object) -> None:
        return None


def schedule(**steps: int) -> Any:
    """A schedule of steps, as `profile` takes it."""
    return lambda step: None


def profile(*args: Any, **kwargs: Any) -> Any:
    """Raises: NotImplementedError, because there is no profiler here."""
    raise NotImplementedError(
        "profiler.profile: there is no profiler here. study.trace shows the ops of a step with "
        "their times and memory; Python's cProfile shows the functions"
    )
