"""Work: a collective that has been started, and how a rank waits for others.

A collective is a generator that yields requests and continues when each has ended. The works of a
group are driven one after the other, in the order in which they were started: every rank starts
the same collectives in the same order, so the requests of two works never meet in another order.

A rank that waits tests its request, gives its time slice away for the first milliseconds, and then
sleeps between tests: an idle rank uses a few per cent of a core. It sleeps less once every rank has
come to the collective, because then numbers arrive. It stops waiting when the time limit has
passed, or when a rank that it waits for has ended.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

from . import traffic
from .errors import DistBackendError, DistError
from .process_group import ProcessGroup
from .transport import Request, Steps

__all__ = ["Work", "in_seconds"]

BUSY = 0.02  # seconds in which a waiting rank tests without sleeping
LONGEST_SLEEP = 1e-3
# While numbers arrive. Where MPI cannot read another process's memory, as in many containers, they
# come in pieces of some kilobytes, and each test moves on by a few: 43 MB took 560 ms with the
# longer sleep, and 100 ms without any.
BUSY_WHILE_THEY_ARRIVE = 0.5
SLEEP_WHILE_THEY_ARRIVE = 5e-5
LOOK_FOR_LOST = 0.25  # seconds between two questions whether a rank has ended


def in_seconds(timeout: Any) -> float:
    """A time limit as seconds: a number, or a timedelta.

    Raises: TypeError for anything else, ValueError for a limit that is not above 0.
    """
    seconds = timeout.total_seconds() if hasattr(timeout, "total_seconds") else timeout
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
        raise TypeError(f"timeout: expected a timedelta or seconds, got {type(timeout).__name__}")
    if not seconds > 0:
        raise ValueError(f"timeout: expected more than 0 seconds, got {seconds}")
    return float(seconds)


class Work:
    """A collective or a message that has been started: the handle that async_op=True returns.

    what: its name and arguments, for messages. ordered: whether it is a collective. others: the
    ranks without which it cannot end.
    """

    def __init__(
        self, group: ProcessGroup, what: str, steps: Steps, others: Any = None,
        ordered: bool = True,
    ) -> None:  # fmt: skip
        self.group, self.what, self.ordered = group, what, ordered
        self.others = list(range(group.size())) if others is None else others
        self._steps = steps
        self._request: Request | None = None
        self._requests = 0  # how many there were; the first of a collective is the agreement
        self._ended = False
        self._error: BaseException | None = None
        self._result: Any = None
        self.limit: float | None = None  # seconds; None: the group's
        self.then: list[Callable[[], None]] = []  # called once, when it has ended well
        self.exchange = traffic.begin(group.ranks, group.ranks[group.rank()], what)
        queue = group.queue
        (queue.ordered if ordered else queue.loose).append(self)
        queue.move_on()
        if self.exchange is not None:
            self.exchange.blocked = time.perf_counter() - self.exchange.began

    def test(self) -> bool:
        """Go as far as possible without waiting; whether it has ended, well or with an error.

        Raises: KeyboardInterrupt if the user stops the program here, after which the group cannot
        be used any more.
        """
        if self._ended:
            return True
        self.group.transport.exchange = self.exchange
        try:
            while self._request is None or self._request.done():
                self._request = next(self._steps)
                self._requests += 1
        except StopIteration as end:
            self._ended, self._result = True, end.value
            for function in self.then:
                function()
        except BaseException as error:
            self._ended, self._error = True, error
            if not (isinstance(error, ValueError) or type(error) is DistError):
                self._left_in_the_middle(error)
            if not isinstance(error, Exception):
                raise
        if self._ended and self.exchange is not None:
            self.exchange.ended = time.perf_counter()
        return self._ended

    def arrives(self) -> bool:
        """Whether every rank has come, and so what they send is on the way."""
        return self._requests > 1

    def is_completed(self) -> bool:
        """Whether it has ended."""
        self.group.queue.move_on()
        return self._ended

    def is_success(self) -> bool:
        """Whether it has ended without an error."""
        return self._ended and self._error is None

    def exception(self) -> BaseException | None:
        """The error with which it ended, or None."""
        return self._error

    def wait(self, timeout: Any = None) -> bool:
        """Return True when it has ended. timeout: seconds or a timedelta; None: the limit that it
        was started with, or the group's.

        Raises: DistError if the ranks did not do the same; DistBackendError if a rank has ended, or
        the limit has passed, after which the group cannot be used any more.
        """
        self.result(timeout)
        return True

    def result(self, timeout: Any = None) -> Any:
        """Wait as `wait` does; what the collective returned, None for most.

        Raises: as `wait`.
        """
        limit = self.group.timeout if self.limit is None else self.limit
        limit = limit if timeout is None else in_seconds(timeout)
        start = look = since = time.perf_counter()
        arrives = False
        while not self._ended:
            for queue in self.group.queue.moving():
                queue.move_on()
            if self._ended:
                break
            now = time.perf_counter()
            if now - look > LOOK_FOR_LOST:
                look = now
                self._check_lost()
            if now - start > limit and not self._ended:
                raise self._broken(
                    f"the time limit of {limit:g} seconds has passed: another rank did not come"
                )
            before, arrives = arrives, any(q.arrives() for q in self.group.queue.moving())
            since = now if arrives is not before else since
            _pause(now - since, arrives)
        if self.exchange is not None:
            self.exchange.blocked += time.perf_counter() - start
        if self._error is not None:
            raise self._error
        return self._result

    def _check_lost(self) -> None:
        """Raises: DistBackendError if a rank has ended without which this work cannot end."""
        lost = self.group.transport.lost(self.others)
        if not self.ordered:
            lost += self.group.transport.gone(self.others)
        if lost and not self.test():
            ranks = ", ".join(str(self.group.ranks[rank]) for rank in lost)
            raise self._broken(f"rank {ranks} has ended")

    def _left_in_the_middle(self, error: BaseException) -> None:
        """This rank alone has an error, and the others go on: the next collectives do not fit."""
        if not self.group.broken:
            rank = self.group.ranks[self.group.rank()]
            self.group.broken = f"rank {rank} left {self.what} in the middle: {error!r}"

    def _broken(self, reason: str) -> DistBackendError:
        """The error for a work that will not end, after which the group is not used any more."""
        self.group.broken = f"rank {self.group.ranks[self.group.rank()]} waited in {self.what}"
        self.group.broken += f": {reason}"
        self._ended = True
        self._error = DistBackendError(self.group.broken)
        return self._error


def _pause(waited: float, arrives: bool) -> None:
    """Give the core to others: for a moment at first, then for longer; less if numbers arrive."""
    if waited > (BUSY_WHILE_THEY_ARRIVE if arrives else BUSY):
        time.sleep(SLEEP_WHILE_THEY_ARRIVE if arrives else min(waited / 200, LONGEST_SLEEP))
    elif hasattr(os, "sched_yield"):
        os.sched_yield()
    else:
        time.sleep(0)
