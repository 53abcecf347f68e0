"""Transport: what moves bytes between the processes of a group, and the one for one process.

A transport knows ranks, bytes and requests; it knows no dtypes and does no arithmetic, which stand
in collectives.py. Every method starts something and returns a request immediately; `done()` says
whether it has ended, and moves it on. mpi.py holds the transport over MPI.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any, Protocol

import numpy as np

__all__ = ["DONE", "Alone", "Request", "Steps", "Transport"]


class Request(Protocol):
    """Something that was started between processes."""

    def done(self) -> bool:
        """Whether it has ended; a call moves it on."""


Steps = Generator[Request, None, Any]  # a collective: yields requests, returns the result


class _Done:
    """A request that ended when it was made."""

    def done(self) -> bool:
        """True."""
        return True


DONE = _Done()


class Transport(Protocol):
    """Bytes between ranks 0, ..., size − 1. Arrays are contiguous and have one dimension of uint8.

    Collectives are started in the same order on every rank; point-to-point messages between two
    ranks with one tag arrive in the order in which they were sent.
    """

    rank: int
    size: int

    def broadcast(self, array: np.ndarray, root: int) -> Request:
        """Replace the array of every rank by root's."""

    def all_gather(self, mine: np.ndarray, everyones: np.ndarray, counts: Sequence[int]) -> Request:
        """Fill everyones with the ranks' arrays in rank order; counts: how long each is."""

    def gather(
        self, mine: np.ndarray, everyones: np.ndarray, counts: Sequence[int], root: int
    ) -> Request:
        """all_gather whose result only root has."""

    def scatter(
        self, everyones: np.ndarray, counts: Sequence[int], mine: np.ndarray, root: int
    ) -> Request:
        """Fill mine with this rank's part of root's array."""

    def all_to_all(
        self, out: np.ndarray, out_counts: Sequence[int], into: np.ndarray,
        into_counts: Sequence[int],
    ) -> Request:  # fmt: skip
        """Send part r of out to rank r; fill into with what each rank sent here, in rank order."""

    def send(self, array: np.ndarray, to: int, tag: int) -> Request:
        """Send the array to a rank."""

    def receive(self, array: np.ndarray, source: int, tag: int) -> Any:
        """Fill the array with a message; the request has `length`, its bytes, when it is done, and
        None if they are more than the array's and nobody knows how many."""

    def find(self, tag: int) -> Any:
        """A request that is done when a message with the tag waits here; then `source` is set."""

    def lost(self, ranks: Sequence[int]) -> list[int]:
        """Those of the ranks that are known to have ended without a goodbye."""

    def gone(self, ranks: Sequence[int]) -> list[int]:
        """Those of the ranks whose goodbye has arrived here, after all their other messages."""

    def say_goodbye(self) -> None:
        """Let every other rank know that no message will come from this one any more."""

    def close(self) -> None:
        """Give back what connects the ranks, after all have said goodbye; every rank calls it."""

    def part(self, ranks: Sequence[int]) -> Transport:
        """The transport of some of the ranks, which all of these call; rank i there is ranks[i]."""


class Alone:
    """The transport of a group of one process: what is sent has arrived."""

    rank = 0
    size = 1

    def broadcast(self, array: np.ndarray, root: int) -> Request:
        """Nothing: the array is root's."""
        return DONE

    def all_gather(self, mine: np.ndarray, everyones: np.ndarray, counts: Any) -> Request:
        """Copy mine."""
        everyones[...] = mine
        return DONE

    def gather(self, mine: np.ndarray, everyones: np.ndarray, counts: Any, root: int) -> Request:
        """Copy mine."""
        return self.all_gather(mine, everyones, counts)

    def scatter(self, everyones: np.ndarray, counts: Any, mine: np.ndarray, root: int) -> Request:
        """Copy everyones, which is this rank's part."""
        return self.all_gather(everyones, mine, counts)

    def all_to_all(
        self, out: np.ndarray, out_counts: Any, into: np.ndarray, into_counts: Any
    ) -> Request:
        """Copy out."""
        return self.all_gather(out, into, into_counts)

    def send(self, array: np.ndarray, to: int, tag: int) -> Request:
        """Raises: ValueError, always."""
        raise ValueError("there is no other rank to send to: the group has one process")

    def receive(self, array: np.ndarray, source: int, tag: int) -> Request:
        """Raises: ValueError, always."""
        raise ValueError("there is no other rank to receive from: the group has one process")

    def find(self, tag: int) -> Request:
        """Raises: ValueError, always."""
        raise ValueError("there is no other rank to receive from: the group has one process")

    def lost(self, ranks: Sequence[int]) -> list[int]:
        """None: there is no other."""
        return []

    def gone(self, ranks: Sequence[int]) -> list[int]:
        """None: there is no other."""
        return []

    def say_goodbye(self) -> None:
        """Nothing: there is no other."""

    def close(self) -> None:
        """Nothing: there is no other."""

    def part(self, ranks: Sequence[int]) -> Transport:
        """This transport: the only part of one."""
        return self
