"""The watchdog of NCCL's calls: a rank that waits for one that has ended must not wait for ever.

A process that waits for a GPU cannot be interrupted, and what comes after a call that was aborted
computes with wrong numbers. So a call that does not end within the group's time limit, an error
that NCCL reports, or a rank that has ended, leads to this: the reason is written to standard error,
and the process ends with exit code 1 without another call of CUDA; the driver frees its GPU.

Two threads look on. The observer asks CUDA which calls have ended: while another thread copies
from the GPU, CUDA lets it wait as well. The watchdog itself asks only the clock and the other
processes, so that nothing on a GPU can hold it up.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
import weakref
from typing import Any

from ..arrays.devices import cupy, use_gpu
from .nccl_library import has_come

__all__ = ["END_LIMIT", "Watchdog", "say", "watchdog"]

INTERVAL = 0.2  # seconds between two looks
END_LIMIT = 5.0  # seconds in which NCCL gives back a communicator, or aborts it
GRACE = 2.0  # seconds for a rank that ended, in which its last messages are used


class Watchdog:
    """Two threads that look at what was launched; they start with the first call of NCCL."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # by transport: event, name, since when
        self._calls: dict[int, list[tuple[Any, str, float]]] = {}
        self._groups: dict[int, Any] = {}  # by transport: (transport, group), weakly
        self._threads: list[threading.Thread] = []
        self._errors: dict[int, str] = {}  # by transport: what NCCL reports
        self._lost_since: dict[int, float] = {}
        self.say, self.end = say, os._exit

    def add(self, transport: Any, group: Any) -> None:
        """Watch a group's transport."""
        with self._lock:
            self._groups[id(transport)] = transport, weakref.ref(group)
            self._calls[id(transport)] = []
        if not self._threads:
            for run, name in ((self._observe, "NCCL observer"), (self._run, "NCCL watchdog")):
                self._threads.append(threading.Thread(target=run, name=name, daemon=True))
            for thread in self._threads:
                thread.start()

    def forget(self, transport: Any) -> None:
        """Watch it no more."""
        with self._lock:
            self._groups.pop(id(transport), None)
            self._calls.pop(id(transport), None)
            self._errors.pop(id(transport), None)

    def watch(self, transport: Any, event: Any, what: str) -> None:
        """Expect that the event comes within the group's time limit."""
        with self._lock:
            calls = self._calls.get(id(transport))
            if calls is not None:
                calls.append((event, what, time.monotonic()))

    def watch_replays(self, transport: Any, capture: Any, what: str) -> None:
        """Expect the end of each replay of a graph in which a call is captured."""
        known = [f for f in capture.after_replay if getattr(f, "transport", None) is transport]
        if not known:
            capture.after_replay.append(_Replayed(self, transport, what))

    def _observe(self) -> None:
        gpu = -1
        while True:
            time.sleep(INTERVAL)
            for transport, _ in list(self._groups.values()):
                if transport.gpu != gpu:
                    gpu = transport.gpu
                    use_gpu(gpu)
                self.refresh(transport)

    def refresh(self, transport: Any) -> None:
        """Take off the calls that have ended, and note what NCCL reports; may wait for CUDA."""
        with self._lock:
            calls = list(self._calls.get(id(transport), ()))
        ended = 0
        while ended < len(calls) and has_come(calls[ended][0]):
            ended += 1
        error = transport.check() if ended < len(calls) else ""
        with self._lock:
            if id(transport) in self._calls:
                del self._calls[id(transport)][:ended]
                self._errors[id(transport)] = error

    def _run(self) -> None:
        while True:
            time.sleep(INTERVAL)
            for transport, reference in list(self._groups.values()):
                group = reference()
                if group is not None:
                    reason = self.look(transport, group)
                    if reason:
                        self._end(group, reason)
                        return

    def look(self, transport: Any, group: Any) -> str:
        """Why the group cannot continue, or "" if it can; nothing on a GPU is asked."""
        with self._lock:
            calls = self._calls.get(id(transport))
            first = calls[0] if calls else None
            error = self._errors.get(id(transport), "")
        if first is None:
            self._lost_since.pop(id(transport), None)
            return ""
        _, what, since = first
        if error:
            return f"{what}: {error}"
        now = time.monotonic()
        lost = group.transport.lost(range(group.size()))
        if lost:
            if now - self._lost_since.setdefault(id(transport), now) > GRACE:
                return f"{what} waits for rank {group.ranks[lost[0]]}, which has ended"
        if now - since > group.timeout:
            return f"{what} has not ended within the time limit of {group.timeout:g} seconds"
        return ""

    def _end(self, group: Any, reason: str) -> None:
        group.broken = f"rank {group.ranks[group.rank()]}: NCCL: {reason}"
        self.say(group.broken)
        self.end(1)


class _Replayed:
    """After a replay: an event that the watchdog expects."""

    def __init__(self, dog: Watchdog, transport: Any, what: str) -> None:
        self.dog, self.transport, self.what = dog, transport, f"{what}, in a CUDA graph"

    def __call__(self) -> None:
        event = cupy().cuda.Event(block=False, disable_timing=True)
        event.record(cupy().cuda.get_current_stream())
        self.dog.watch(self.transport, event, self.what)


def say(reason: str, then: str = "; this process ends") -> None:
    """Write to standard error what has happened, and what follows."""
    with contextlib.suppress(OSError, ValueError):
        print(f"tinygrad_llm.distributed: {reason}{then}", file=sys.stderr, flush=True)
        sys.stdout.flush()


watchdog = Watchdog()
