"""Named ranges that NVIDIA's profilers show: nothing without a GPU."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from ..arrays import devices
from ..arrays.availability import is_available

__all__ = ["mark", "range", "range_pop", "range_push"]


def _nvtx() -> Any:
    return devices.cupy().cuda.nvtx if is_available() else None


def range_push(msg: str) -> None:
    """Begin a range inside the ones that are open."""
    nvtx = _nvtx()
    if nvtx is not None:
        nvtx.RangePush(msg)


def range_pop() -> None:
    """End the innermost open range."""
    nvtx = _nvtx()
    if nvtx is not None:
        nvtx.RangePop()


def mark(msg: str) -> None:
    """Note that something happened now."""
    nvtx = _nvtx()
    if nvtx is not None:
        nvtx.Mark(msg)


@contextlib.contextmanager
def range(msg: str, *args: Any, **kwargs: Any) -> Iterator[None]:
    """A block as a range; msg is formatted with the arguments."""
    range_push(msg.format(*args, **kwargs))
    try:
        yield
    finally:
        range_pop()
