"""Ranks as threads of one process: collectives as ops, tried without MPI.

    def on_rank(group):
        return AllReduce().forward(x[group.rank()], group=group)

    results = on_threads(2, on_rank)

The functions take arrays through the same collectives as ranks that are processes. The group is not
that of init_process_group: functions get it as an argument. The engine records what all threads do
in one process, so this is for the ops' own forward and backward.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np

from .process_group import ProcessGroup
from .transport import DONE, Request

__all__ = ["on_threads"]

T = TypeVar("T")
LIMIT = 60.0  # seconds for which a rank waits for the others


class _Meeting:
    """What the threads of a group share: what each has brought to each collective."""

    def __init__(self, size: int) -> None:
        self.size, self.lock = size, threading.Lock()
        self.rooms: dict[int, dict[int, Any]] = {}
        self.posts: dict[tuple[int, int, int], deque[np.ndarray]] = {}  # (source, to, tag)
        self.parts: dict[tuple[int, ...], _Meeting] = {}
        self.ended: set[int] = set()  # ranks whose function has ended, well or with an error

    def room(self, number: int) -> dict[int, Any]:
        """Where the ranks meet for their collective of this number."""
        with self.lock:
            return self.rooms.setdefault(number, {})

    def post(self, source: int, to: int, tag: int) -> deque[np.ndarray]:
        """The messages that wait."""
        with self.lock:
            return self.posts.setdefault((source, to, tag), deque())


class _Met:
    """Done when every rank has brought its part; then `take` reads them, once."""

    def __init__(self, room: dict[int, Any], size: int, take: Callable[[Any], None]) -> None:
        self._room, self._size, self._take, self._taken = room, size, take, False

    def done(self) -> bool:
        """Whether all are there."""
        if self._taken:
            return True
        if len(self._room) < self._size:
            return False
        self._take(self._room)
        self._taken = True
        return True


class _Received:
    """Done when a message is there."""

    def __init__(self, post: deque[np.ndarray], array: np.ndarray) -> None:
        self._post, self._array, self.length = post, array, -1

    def done(self) -> bool:
        """Whether the message is in the array."""
        if self.length < 0 and self._post:
            message = self._post.popleft()
            self.length = message.nbytes
            if message.size == self._array.size:
                self._array[...] = message
        return self.length >= 0


class _Waiting:
    """Done when a message with the tag waits; `source` is the rank that sent it."""

    def __init__(self, posts: Sequence[deque[np.ndarray]]) -> None:
        self._posts, self.source = posts, -1

    def done(self) -> bool:
        """Whether one waits."""
        waiting = [rank for rank, post in enumerate(self._posts) if post]
        self.source = waiting[0] if waiting else -1
        return bool(waiting)


class ThreadTransport:
    """Bytes between the threads of a process."""

    def __init__(self, meeting: _Meeting, rank: int) -> None:
        self._meeting, self.rank, self.size = meeting, rank, meeting.size
        self._count = 0

    def _meet(self, brings: Any, take: Callable[[Any], None]) -> Request:
        room = self._meeting.room(self._count)
        self._count += 1
        room[self.rank] = brings
        return _Met(room, self.size, take)

    def broadcast(self, array: np.ndarray, root: int) -> Request:
        """Copy root's array."""

        def take(room: Any) -> None:
            if self.rank != root:
                array[...] = room[root]

        return self._meet(array.copy() if self.rank == root else None, take)

    def all_gather(self, mine: np.ndarray, everyones: np.ndarray, counts: Sequence[int]) -> Request:
        """Copy every rank's array."""

        def take(room: Any) -> None:
            everyones[...] = np.concatenate([room[r] for r in range(self.size)])  # (n,) ... -> (N,)

        return self._meet(mine.copy(), take)

    def gather(
        self, mine: np.ndarray, everyones: np.ndarray, counts: Sequence[int], root: int
    ) -> Request:
        """all_gather on root."""

        def take(room: Any) -> None:
            if self.rank == root:
                everyones[...] = np.concatenate([room[r] for r in range(self.size)])

        return self._meet(mine.copy(), take)

    def scatter(
        self, everyones: np.ndarray, counts: Sequence[int], mine: np.ndarray, root: int
    ) -> Request:
        """Copy this rank's part of root's array."""

        def take(room: Any) -> None:
            mine[...] = room[root][self.rank]

        return self._meet(_cut(everyones, counts) if self.rank == root else None, take)

    def all_to_all(
        self, out: np.ndarray, out_counts: Sequence[int], into: np.ndarray,
        into_counts: Sequence[int],
    ) -> Request:  # fmt: skip
        """Copy this rank's part of every rank's array."""

        def take(room: Any) -> None:
            into[...] = np.concatenate([room[r][self.rank] for r in range(self.size)])

        return self._meet(_cut(out, out_counts), take)

    def send(self, array: np.ndarray, to: int, tag: int) -> Request:
        """Leave a copy for a rank."""
        self._meeting.post(self.rank, to, tag).append(array.copy())
        return DONE

    def receive(self, array: np.ndarray, source: int, tag: int) -> Any:
        """Take what a rank has left."""
        return _Received(self._meeting.post(source, self.rank, tag), array)

    def find(self, tag: int) -> Any:
        """Look for a message of any rank."""
        return _Waiting([self._meeting.post(r, self.rank, tag) for r in range(self.size)])

    def lost(self, ranks: Sequence[int]) -> list[int]:
        """Ranks whose function has ended."""
        return [r for r in ranks if r != self.rank and r in self._meeting.ended]

    def gone(self, ranks: Sequence[int]) -> list[int]:
        """None beyond those that are lost."""
        return []

    def say_goodbye(self) -> None:
        """Nothing: the end of the function is seen."""

    def close(self) -> None:
        """Nothing: the threads end."""

    def part(self, ranks: Sequence[int]) -> ThreadTransport:
        """The transport of some of the threads."""
        key = tuple(ranks)
        with self._meeting.lock:
            meeting = self._meeting.parts.setdefault(key, _Meeting(len(key)))
        return ThreadTransport(meeting, key.index(self.rank))


def _cut(array: np.ndarray, counts: Sequence[int]) -> list[np.ndarray]:
    """Copies of an array's parts."""
    return np.split(array.copy(), np.cumsum(counts)[:-1])


def on_threads(size: int, function: Callable[[ProcessGroup], T]) -> list[T]:
    """function(group) on `size` ranks, each a thread; what each returned, in rank order.

    Raises: what the first rank raised that was not only waiting for another one; ValueError for a
    size below 1.
    """
    if size < 1:
        raise ValueError(f"on_threads: expected at least 1 rank, got {size}")
    meeting = _Meeting(size)
    results: list[Any] = [None] * size
    errors: list[BaseException] = []

    def work(rank: int) -> None:
        transport = ThreadTransport(meeting, rank)
        group = ProcessGroup("threads", transport, range(size), LIMIT, alone=True)
        try:
            results[rank] = function(group)
        except BaseException as error:
            errors.append(error)
        finally:
            meeting.ended.add(rank)

    threads = [threading.Thread(target=work, args=(r,), daemon=True) for r in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return results
