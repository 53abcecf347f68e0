"""StreamWork: a collective over arrays on GPUs, which is put on a stream when it is started.

The steps run until their last launch; what follows (numbers stored into tensors) runs on the
current stream in wait(), which lets that stream wait for the GPU, not the process. All ranks start
the same collectives in the same order: nothing is agreed upon before, and ranks that differ are
found by the watchdog's time limit. TORCH_DISTRIBUTED_DEBUG=DETAIL compares them first, over MPI.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from ..arrays.capture import capturing
from . import traffic
from .errors import DistBackendError
from .nccl import NCCLTransport
from .transport import Steps
from .work import in_seconds

__all__ = ["StreamWork"]


class StreamWork:
    """A collective or a message on GPUs that has been started; see Work, whose methods it has."""

    def __init__(self, group: Any, what: str, steps: Steps, later: bool) -> None:
        self.group, self.what = group, what
        self.then: list[Callable[[], None]] = []  # called once, when wait() has returned
        self._steps = steps
        self._last: Any = None  # the last launch, behind which the rest of the steps waits
        self._ended, self._result = False, None
        self._error: BaseException | None = None
        transport: NCCLTransport = group.nccl
        self.exchange = traffic.begin(group.ranks, group.ranks[group.rank()], what)
        before = transport.what, transport.in_order
        transport.what = what
        transport.in_order = capturing.graph is not None and not later
        try:
            self._go_on()
        finally:
            transport.what, transport.in_order = before

    def _go_on(self) -> None:
        """Launch what can be launched without waiting for the last launch."""
        self.group.nccl.exchange = self.exchange
        try:
            while True:
                request = next(self._steps)
                if getattr(request, "last", False):
                    self._last = request
                    return
                getattr(request, "join", bool)()
        except StopIteration as end:
            self._finish(end.value)
        except BaseException as error:
            self._ended, self._error = True, error
            raise
        finally:
            self.group.nccl.exchange = None

    def _finish(self, result: Any) -> None:
        self._ended, self._result = True, result
        if self.exchange is not None:
            self.exchange.ended = time.perf_counter()
        for function in self.then:
            function()

    def behind(self, launched: Any) -> None:
        """Wait for this launch, of which its own is a part."""
        if self._last is not None:
            self._last = launched

    def is_completed(self) -> bool:
        """Whether it has ended on the GPU."""
        return self._ended or self._last.done()

    def is_success(self) -> bool:
        """Whether it has ended without an error."""
        return self.is_completed() and self._error is None

    def exception(self) -> BaseException | None:
        """The error with which it ended, or None."""
        return self._error

    def wait(self, timeout: Any = None) -> bool:
        """Let the current stream wait; with a timeout in seconds the process waits too.

        Raises: DistBackendError if the limit has passed.
        """
        self.result(timeout)
        return True

    def result(self, timeout: Any = None) -> Any:
        """Wait as `wait` does; what the collective returned, None for most.

        Raises: as `wait`.
        """
        start = time.perf_counter()
        if timeout is not None and not self._ended:
            self._wait_here(in_seconds(timeout))
        while not self._ended:
            self._last.join()
            self._go_on()
        if self.exchange is not None:
            self.exchange.blocked += time.perf_counter() - start
        return self._result

    def _wait_here(self, limit: float) -> None:
        until = time.monotonic() + limit
        while not self._last.done():
            if time.monotonic() > until:
                rank = self.group.ranks[self.group.rank()]
                self.group.broken = (
                    f"rank {rank} waited in {self.what}: the time limit of {limit:g} seconds has "
                    "passed: another rank did not come"
                )
                self.group.nccl.abort()
                raise DistBackendError(self.group.broken)
            time.sleep(1e-4)
