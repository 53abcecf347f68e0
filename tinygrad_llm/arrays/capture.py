"""A CUDA graph while it is captured, and what its replays need from the host.

A graph repeats launches with exactly the arguments that they had. Numbers that change from step to
step (a learning rate, the number of the step, a seed) are therefore kept in memory on the GPU, in
slots that are filled again before each replay. Inputs that may have changed since (ids) are checked
at that time.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

__all__ = ["Capture", "capturing", "refuse_in_capture"]


class _Now(threading.local):
    graph: Capture | None = None  # the graph that this thread is capturing


capturing = _Now()


def refuse_in_capture(what: str) -> None:
    """Raises: RuntimeError if a CUDA graph is being captured, of which `what` cannot be part."""
    if capturing.graph is not None:
        raise RuntimeError(f"{what} cannot be captured in a CUDA graph: do it outside the capture")


class Capture:
    """What a graph needs in addition to its launches.

    sources    functions that return the numbers of each replay, with their place in `slots`
    constants  arrays that are filled once, after the capture
    checks     arrays of ids (weak references), the number of valid ids, the ignored id, a name
    keep       arrays that the graph reads or writes, whose memory must not be used elsewhere, and
               cuDNN's plans, whose kernels must stay loaded
    before_end    functions that are called as the last part of what is captured
    after_replay  functions that are called after each replay was launched
    give_up    called with the reason if the graph cannot be replayed any more
    """

    N_SLOTS = 4096  # numbers of 8 bytes

    def __init__(self, xp: Any) -> None:
        self.xp = xp
        self.memory = xp.cuda.MemoryPool()  # of the constants
        self.slots = xp.zeros(self.N_SLOTS, np.int64)
        self.sources: list[tuple[int, int, Any, Callable[[], Sequence[float]]]] = []
        self.constants: list[tuple[Any, np.ndarray]] = []
        self.checks: dict[tuple, tuple[Any, int, int | None, str]] = {}
        self.keep: list[Any] = []
        self.before_end: list[Callable[[], Any]] = []
        self.after_replay: list[Callable[[], None]] = []
        self.give_up: Callable[[str], None] = lambda why: None
        self.used = 0

    def live(self, dtype: str, count: int, source: Callable[[], Sequence[float]]) -> Any:
        """An array on the GPU of `count` numbers that source() returns before each replay.

        dtype: "float64" or "int64".
        Raises: RuntimeError if the graph has no slots left.
        """
        first, self.used = self.used, self.used + count
        if self.used > self.N_SLOTS:
            raise RuntimeError(
                f"a CUDA graph has room for {self.N_SLOTS} numbers that change from replay to "
                "replay, and this one needs more: capture fewer steps in one graph"
            )
        self.sources.append((first, count, np.dtype(dtype), source))
        return self.slots[first : self.used].view(dtype)

    def constant(self, host: np.ndarray) -> Any:
        """An array on the GPU that holds the host's numbers when the graph runs.

        Its memory is not taken from the graph's pool, whose memory is reused within a replay.
        """
        with self.xp.cuda.using_allocator(self.memory.malloc):
            array = self.xp.empty(host.shape, host.dtype)
        self.constants.append((array, host))
        return array

    def check(self, ids: Any, n: int, ignored: int | None, name: str) -> None:
        """Have each replay check that the ids are in [0, n) or `ignored`."""
        self.checks[id(ids), n, ignored] = weakref.ref(ids), n, ignored, name

    def finish(self) -> None:
        """After the capture: fill the constants, and drop checks of ids that the graph computes."""
        for array, host in self.constants:
            array.set(host)
            self.keep.append(array)
        self.constants.clear()
        self.before_end.clear()
        self.checks = {key: check for key, check in self.checks.items() if check[0]() is not None}

    def refresh(self) -> None:
        """Before a replay: call the sources, and send all their numbers in one copy."""
        if not self.sources:
            return
        host = np.empty(self.used, np.int64)
        for first, count, dtype, source in self.sources:
            host[first : first + count].view(dtype)[...] = source()
        self.slots[: self.used] = self.xp.asarray(host)
