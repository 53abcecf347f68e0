"""What goes between the ranks, for those who want to see it: observers of collectives and messages.

    exchanges = []
    with watching(exchanges.append):
        dist.all_reduce(x)
    print(exchanges[0].what, exchanges[0].sent())

An Exchange is handed over when a collective or a message begins, and is filled in while it runs.
Its bytes go by what a collective delivers: where rank q has b bytes for each of the others, q sends
b to each of them. How the library below moves them (a ring, a tree) may differ.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np

from .transport import Request, Transport

__all__ = ["Counted", "Exchange", "Message", "begin", "watching"]

_observers: list[Callable[[Exchange], None]] = []


class Message(NamedTuple):
    """One operation of the transport: its kind, and the bytes that left for each rank of all.

    agreement: whether it is the line that ranks compare before a collective
    """

    kind: str
    sent: dict[int, int]
    agreement: bool


@dataclass(eq=False)
class Exchange:
    """One collective or message, as one rank sees it. Times by time.perf_counter.

    what       its name and arguments
    ranks      those of the group, by their numbers among all processes; rank: this one's number
    ended      None until it has ended
    blocked    seconds in which this rank did nothing else: it waited, copied and added
    messages   what was sent, in order
    """

    what: str
    ranks: tuple[int, ...]
    rank: int
    began: float
    ended: float | None = None
    blocked: float = 0.0
    messages: list[Message] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The first word of `what`: "all_reduce"."""
        return self.what.partition("(")[0].partition(" ")[0]

    def sent(self, agreement: bool = False) -> dict[int, int]:
        """Bytes that left for each other rank; with those of the agreement if it is True."""
        total: dict[int, int] = {}
        for message in self.messages:
            if agreement or not message.agreement:
                for rank, n in message.sent.items():
                    total[rank] = total.get(rank, 0) + n
        return total

    def note(self, kind: str, counts: Sequence[int], agreement: bool = False) -> None:
        """Note how many bytes go to each rank of the group; its own count is not sent."""
        sent = {
            rank: int(n)
            for rank, n in zip(self.ranks, counts, strict=True)
            if rank != self.rank and n
        }
        self.messages.append(Message(kind, sent, agreement))

    @property
    def bytes(self) -> int:
        """Bytes that left this rank, without the agreement."""
        return sum(self.sent().values())


@contextmanager
def watching(observer: Callable[[Exchange], None]) -> Iterator[None]:
    """A block in which observer gets every Exchange that begins in this process."""
    _observers.append(observer)
    try:
        yield
    finally:
        _observers.remove(observer)


def begin(ranks: Sequence[int], rank: int, what: str) -> Exchange | None:
    """The record of a collective or a message that begins now; None if nobody watches.

    ranks: of the group, by their numbers among all processes; rank: this one's number among all
    """
    if not _observers:
        return None
    exchange = Exchange(what, tuple(ranks), rank, perf_counter())
    for observer in _observers:
        observer(exchange)
    return exchange


class Counted:
    """A transport, and the record of the work under way, in which it notes what it sends."""

    def __init__(self, transport: Transport) -> None:
        self.transport = transport
        self.rank, self.size = transport.rank, transport.size
        self.exchange: Exchange | None = None

    def note(self, kind: str, counts: Sequence[int], agreement: bool = False) -> None:
        """Exchange.note, if somebody watches."""
        if self.exchange is not None:
            self.exchange.note(kind, counts, agreement)

    def _to(self, receiver: int, n: int) -> list[int]:
        return [n if r == receiver else 0 for r in range(self.size)]

    def broadcast(self, array: np.ndarray, root: int) -> Request:
        """As the transport's."""
        self.note("broadcast", [array.nbytes if self.rank == root else 0] * self.size)
        return self.transport.broadcast(array, root)

    def all_gather(
        self, mine: np.ndarray, everyones: np.ndarray, counts: Sequence[int],
        agreement: bool = False,
    ) -> Request:  # fmt: skip
        """As the transport's."""
        self.note("all_gather", [mine.nbytes] * self.size, agreement)
        return self.transport.all_gather(mine, everyones, counts)

    def gather(
        self, mine: np.ndarray, everyones: np.ndarray, counts: Sequence[int], root: int
    ) -> Request:
        """As the transport's."""
        self.note("gather", self._to(root, mine.nbytes))
        return self.transport.gather(mine, everyones, counts, root)

    def scatter(
        self, everyones: np.ndarray, counts: Sequence[int], mine: np.ndarray, root: int
    ) -> Request:
        """As the transport's."""
        self.note("scatter", counts if self.rank == root else [0] * self.size)
        return self.transport.scatter(everyones, counts, mine, root)

    def all_to_all(
        self, out: np.ndarray, out_counts: Sequence[int], into: np.ndarray,
        into_counts: Sequence[int],
    ) -> Request:  # fmt: skip
        """As the transport's."""
        self.note("all_to_all", out_counts)
        return self.transport.all_to_all(out, out_counts, into, into_counts)

    def send(self, array: np.ndarray, to: int, tag: int) -> Request:
        """As the transport's."""
        self.note("send", self._to(to, array.nbytes))
        return self.transport.send(array, to, tag)

    def receive(self, array: np.ndarray, source: int, tag: int) -> Any:
        """As the transport's."""
        return self.transport.receive(array, source, tag)

    def find(self, tag: int) -> Any:
        """As the transport's."""
        return self.transport.find(tag)

    def lost(self, ranks: Sequence[int]) -> list[int]:
        """As the transport's."""
        return self.transport.lost(ranks)

    def gone(self, ranks: Sequence[int]) -> list[int]:
        """As the transport's."""
        return self.transport.gone(ranks)

    def say_goodbye(self) -> None:
        """As the transport's."""
        self.transport.say_goodbye()

    def close(self) -> None:
        """As the transport's."""
        self.transport.close()

    def part(self, ranks: Sequence[int]) -> Transport:
        """As the transport's."""
        return self.transport.part(ranks)
