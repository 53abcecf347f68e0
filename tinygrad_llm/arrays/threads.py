"""Helper threads that share a piece of work with the thread that calls.

The helpers sleep on a queue and wake up in 20 to 60 µs; where there are compiled loops, they listen
in machine code meanwhile and take those without Python (ops/loops/crew.py). The calling thread
works too, and waits only for helpers that have started: if they are late because the machine is
busy, it does their part itself, so that an op takes longer in proportion to the cores that are
missing, and no more.
"""

from __future__ import annotations

import contextvars
import os
import threading
from collections.abc import Callable
from typing import Any

from . import blas

__all__ = ["call_together", "let_listen", "start_helpers", "work_together"]

_helpers: list[threading.Thread] = []
_calls: Any = None  # a queue of _Share, made when first needed
_starting = threading.Lock()  # held while helpers are started
_crew: Any = None  # what helpers do without Python: ops/loops/crew.py


class _Share:
    """One helper's share of one call: it starts it, or is too late for it."""

    __slots__ = ("context", "ended", "error", "started", "work")

    def __init__(self, work: Callable[[], Any]) -> None:
        self.work: Callable[[], Any] | None = work
        self.context = contextvars.copy_context()  # np.errstate holds in the other threads too
        self.started, self.ended = threading.Lock(), threading.Lock()
        self.ended.acquire()  # released when the helper has ended
        self.error: BaseException | None = None

    def run(self) -> None:
        """Do the work in the helper's thread, unless the call has ended without it."""
        if not self.started.acquire(blocking=False):
            return
        try:
            self.context.run(self.work)  # type: ignore[arg-type]
        except BaseException as error:
            self.error = error
        self.work = None  # so that its arrays are freed now
        self.ended.release()

    def wait(self) -> None:
        """Wait until the helper has ended; if it has not started, keep it from starting."""
        if self.started.acquire(blocking=False):
            self.work = None
        else:
            self.ended.acquire()


def _help(helper: int) -> None:
    """What a helper thread does: take shares from the queue, forever."""
    from queue import Empty

    while True:
        crew = _crew
        if crew is None or helper >= crew.most:
            _calls.get().run()
            continue
        shares = crew.shares()  # before it looks: a share that comes later ends the listening
        try:
            share = _calls.get_nowait()
        except Empty:
            crew.listen(helper, shares)
        else:
            share.run()


def _forget() -> None:
    """In a forked process the threads no longer exist: the next call starts new ones."""
    global _calls, _starting
    _helpers.clear()
    _calls, _starting = None, threading.Lock()
    if _crew is not None:
        _crew.begin()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def start_helpers(n: int) -> None:
    """Start threads until there are n, or the system gives no more: nobody relies on a helper."""
    global _calls
    if len(_helpers) >= n:
        return
    with _starting:
        if _calls is None:
            from queue import SimpleQueue  # here, because it is slow to import

            _calls = SimpleQueue()
        while len(_helpers) < n:
            helper = threading.Thread(
                target=_help, args=(len(_helpers) + 1,), name="tinygrad_llm", daemon=True
            )
            try:
                helper.start()
            except RuntimeError:  # a limit of the system, or Python is about to end
                return
            _helpers.append(helper)


def let_listen(crew: Any) -> None:
    """From now on helpers without a share listen to a crew, which can call them to their shares.

    It has shares() and ring(n), listen(helper, shares) for helpers below `most`, and begin() for a
    forked process.
    """
    global _crew
    _crew = crew
    for _ in _helpers:
        _calls.put(_Share(_nothing))  # those that wait for one begin to listen


def _nothing() -> None:
    """Do nothing."""


def work_together(work: Callable[[], Any], n: int) -> None:
    """Call work() in n threads at the same time, this one included, and return when all have ended.

    work must take parts of the work one by one until none is left, so that a helper that comes too
    late is not needed. Meanwhile OpenBLAS has one thread.

    Raises: the error of any of the threads, after all have ended.
    """
    with blas.one_thread:
        call_together(work, n)


def call_together(work: Callable[[], Any], n: int) -> None:
    """work_together for work without products of OpenBLAS, whose threads stay as they are.

    Raises: the error of any of the threads, after all have ended.
    """
    start_helpers(n - 1)
    shares = [_Share(work) for _ in range(n - 1)]
    for share in shares:
        _calls.put(share)
    if _crew is not None:
        _crew.ring(n - 1)
    try:
        work()
    finally:
        for share in shares:
            share.wait()
    for share in shares:
        if share.error is not None:
            raise share.error
