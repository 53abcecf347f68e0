"""Threads that help: this thread works too, and waits for nobody who has not begun.

Helpers sleep on a queue and wake in some 20 µs. A call is shared as far as they come in time: on a
busy machine this thread does what is left itself, so that an op slows in proportion and no more.
"""

from __future__ import annotations

import contextvars
import os
import threading
from collections.abc import Callable
from typing import Any

from . import blas

__all__ = ["work_together"]

_helpers: list[threading.Thread] = []
_calls: Any = None  # a queue of _Share, made when first needed


class _Share:
    """One helper's part in one call."""

    __slots__ = ("begun", "context", "ended", "error", "work")

    def __init__(self, work: Callable[[], Any]) -> None:
        self.work: Callable[[], Any] | None = work
        self.context = contextvars.copy_context()  # np.errstate holds in the other threads too
        self.begun, self.ended = threading.Lock(), threading.Lock()
        self.ended.acquire()
        self.error: BaseException | None = None

    def run(self) -> None:
        if not self.begun.acquire(blocking=False):
            return  # too late: it is done already
        try:
            self.context.run(self.work)  # type: ignore[arg-type]
        except BaseException as error:
            self.error = error
        self.work = None  # its arrays are not to live until the next call
        self.ended.release()

    def wait(self) -> None:
        """Until the helper is done; not at all if it never began."""
        if self.begun.acquire(blocking=False):
            self.work = None
        else:
            self.ended.acquire()


def _help() -> None:
    while True:
        _calls.get().run()


def _forget() -> None:
    """In a forked process the threads are gone."""
    global _calls
    _helpers.clear()
    _calls = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def work_together(work: Callable[[], Any], n: int) -> None:
    """Call work() in n threads at once, this one among them, and return when all have ended.

    work takes turns until nothing is left to do, so a helper that comes too late is not needed. An
    error in any of them is raised here, after all have ended.
    """
    global _calls
    if _calls is None:
        from queue import SimpleQueue  # here, for the sake of import's time

        _calls = SimpleQueue()
    while len(_helpers) < n - 1:
        helper = threading.Thread(target=_help, name="tinygrad_llm", daemon=True)
        _helpers.append(helper)
        helper.start()
    shares = [_Share(work) for _ in range(n - 1)]
    with blas.one_thread:
        for share in shares:
            _calls.put(share)
        try:
            work()
        finally:
            for share in shares:
                share.wait()
    for share in shares:
        if share.error is not None:
            raise share.error
