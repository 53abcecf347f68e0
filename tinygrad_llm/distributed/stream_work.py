"""StreamWork: a collective over arrays on GPUs, which is put on a stream when it is started.

The steps run until their last launch; what follows (numbers stored into tensors) runs on the
current stream in wait(), which lets that stream wait for the GPU, not the process. All ranks start
the same collectives in the same order: nothing is agreed upon before, and ranks that differ are
found by the watchdog's time limit. TORCH_DISTRIBUTED_DEBUG=DETAIL compares them first, over MPI.

Messages that isend and irecv begin are held back, and launched together at the first wait() or
before the next collective. On one stream a message waits for those before it: two ranks that both
send first and then receive would wait for each other without end.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from ..arrays.capture import capturing
from . import traffic
from .errors import DistBackendError
from .nccl import NCCLTransport
from .process_group import held
from .transport import Steps
from .work import in_seconds

__all__ = ["StreamWork", "launch_held", "launch_together"]


class StreamWork:
    """A collective or a message on GPUs that has been started; see Work, whose methods it has.

    later: whether wait() is called by the user; hold: whether launch_held launches it.
    """

    def __init__(
        self, group: Any, what: str, steps: Steps, later: bool, hold: bool = False
    ) -> None:
        self.group, self.what = group, what
        self.then: list[Callable[[], None]] = []  # called once, when wait() has returned
        self._steps = steps
        self._last: Any = None  # the last launch, behind which the rest of the steps waits
        self._ended, self._result = False, None
        self._error: BaseException | None = None
        self._later = later
        self.exchange = traffic.begin(group.ranks, group.ranks[group.rank()], what)
        if hold:
            held.append(self)
        else:
            self.launch()

    def launch(self) -> None:
        """Put it on the stream."""
        transport: NCCLTransport = self.group.nccl
        before = transport.what, transport.in_order
        transport.what = self.what
        transport.in_order = capturing.graph is not None and not self._later
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
        launch_held()
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
        launch_held()
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


def launch_held() -> None:
    """Launch the messages that are held back, those of a group as one launch."""
    works = list(held)
    held.clear()
    for group in dict.fromkeys(work.group for work in works):
        own = [work for work in works if work.group is group]

        def start(own: list[StreamWork] = own) -> list[StreamWork]:
            for work in own:
                work.launch()
            return own

        launch_together(group, start)


def launch_together(group: Any, start: Callable[[], list[StreamWork]]) -> list[StreamWork]:
    """The works that start() makes or launches, as one launch: none of them waits for another."""
    works: list[StreamWork] = []
    launched = group.nccl.together(lambda: works.extend(start()))
    for work in works:
        work.behind(launched)
    return works
