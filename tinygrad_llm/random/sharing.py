"""One generator for several threads: one draw at a time, so that no number is lost or repeated.

Which thread gets which numbers of the stream is decided by who comes first, as in PyTorch. A
process is forked between two draws: its copy of a generator is whole, and can be used immediately.
"""

from __future__ import annotations

import functools
import os
import threading
import weakref
from collections.abc import Callable
from typing import Any, TypeVar

from ..arrays import forking  # noqa: F401 - its locks are registered before these: see there

__all__ = ["new_lock", "one_at_a_time"]

F = TypeVar("F", bound=Callable[..., Any])


class _Lock:
    """A lock of one generator, which the same thread may take again."""

    __slots__ = ("__weakref__", "acquire", "inner", "release")

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        """A lock that nobody holds."""
        self.inner = threading.RLock()
        self.acquire, self.release = self.inner.acquire, self.inner.release


_locks: Any = weakref.WeakSet()  # those of all generators
_forking = threading.Lock()
_taken: list[_Lock] = []  # while this process is being forked


def new_lock() -> _Lock:
    """A lock for a new generator; it is held while the process is forked, and free afterwards."""
    lock = _Lock()
    _locks.add(lock)
    return lock


def one_at_a_time(method: F) -> F:
    """A decorator: the method holds its generator's `_lock`, and other threads wait for it."""

    @functools.wraps(method)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        with self._lock.inner:
            return method(self, *args, **kwargs)

    return call  # type: ignore[return-value]


def _before_fork() -> None:
    _forking.acquire()
    for lock in list(_locks):
        lock.acquire()
        _taken.append(lock)


def _in_parent() -> None:
    for lock in _taken:
        lock.release()
    _taken.clear()
    _forking.release()


def _in_child() -> None:
    """The child's only thread has another number than the one that holds the locks."""
    global _forking
    for lock in _taken:
        lock.renew()
    _taken.clear()
    _forking = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_in_parent, after_in_child=_in_child)
