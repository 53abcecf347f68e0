"""What collectives consist of: generators over arrays, which yield a request whenever they wait.

Each collective begins with an agreement: the ranks exchange a line that says what each is about to
do, and compare. A rank that calls something else, with another shape or dtype, or that has left, is
an error with both lines on every rank, in place of wrong numbers or of waiting for ever. It is also
where early ranks wait for late ones.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..arrays.devices import xp_of
from .errors import DistBackendError, DistError
from .gpu_steps import native_on_gpu, reduced_on_gpu, reduced_part_on_gpu, unfinished
from .process_group import ProcessGroup
from .reductions import ReduceOp, divided, joined
from .transport import Request, Steps, Transport

__all__ = [
    "agree", "all_gathered", "all_gathered_bytes", "as_bytes", "divided", "leave", "reduced",
    "reduced_part",
]  # fmt: skip

LINE = 128  # bytes of the line that ranks exchange
LEFT = "has left the group"
# Below so many bytes, every rank gets all arrays and adds them: one exchange in place of two.
SMALL = 8192
LAST_LINES = 1.0  # seconds for the others' last lines when their goodbyes have come


def as_bytes(flat: np.ndarray) -> np.ndarray:
    """A contiguous array of one dimension as bytes, in the same memory."""
    return flat.view(np.uint8)  # (n,) -> (n * itemsize,)


def _exchange_lines(group: ProcessGroup, line: str) -> Steps:
    """Every rank's line, in rank order."""
    text = line.encode()
    if len(text) > LINE:  # the digest differs where only what does not fit here differs
        text = text[: LINE - 20] + b"... " + hashlib.sha256(text).hexdigest()[:16].encode()
    mine = np.frombuffer(text.ljust(LINE), np.uint8)
    everyones = np.empty(group.size() * LINE, np.uint8)
    yield group.transport.all_gather(mine, everyones, [LINE] * group.size(), agreement=True)
    if (everyones.reshape(group.size(), LINE) == mine).all():
        return [line] * group.size()
    rows = everyones.reshape(group.size(), LINE)  # (R * LINE,) -> (R, LINE)
    return [bytes(row).decode("utf-8", "replace").rstrip() for row in rows]


def agree(group: ProcessGroup, what: str) -> Steps:
    """Wait until every rank is about to do the same.

    Raises: DistBackendError if a rank has left; DistError if the ranks are about to do different
    things.
    """
    if group.size() == 1:
        return
    lines = yield from _exchange_lines(group, what)
    if len(set(lines)) == 1:
        return
    for rank, line in zip(group.ranks, lines, strict=True):
        if line == LEFT:
            group.broken = (
                f"rank {rank} {LEFT}, because it ended or called destroy_process_group, while rank "
                f"{group.ranks[group.rank()]} waits in {what}"
            )
            raise DistBackendError(group.broken)
    texts = (f"rank {rank} {line}" for rank, line in zip(group.ranks, lines, strict=True))
    raise DistError("the ranks called different collectives: " + "; ".join(texts))


def leave(group: ProcessGroup) -> Steps:
    """Let the others know that this rank leaves; done when every rank has come to its next line.

    Where all others leave too, what connects the group is given back. A rank that had an error says
    only goodbye, and is not waited for.
    """
    group.transport.say_goodbye()
    mine = np.frombuffer(LEFT.ljust(LINE).encode(), np.uint8)
    everyones = np.empty((group.size(), LINE), np.uint8)
    flat = everyones.reshape(-1)  # (R, LINE) -> (R * LINE,)
    lines = _LastLines(
        group, group.transport.all_gather(mine, flat, [LINE] * group.size(), agreement=True)
    )
    yield lines
    if lines.came and (everyones == mine).all() and not group.queue.loose:
        group.transport.close()


class _LastLines:
    """Done when every rank's last line is here, or every other rank has said goodbye."""

    def __init__(self, group: ProcessGroup, request: Request) -> None:
        self._transport: Transport = group.transport
        self._others = [rank for rank in range(group.size()) if rank != group.rank()]
        self._request, self._until = request, float("inf")
        self.came = False

    def done(self) -> bool:
        """Whether there is nothing to wait for."""
        self.came = self._request.done()
        if self.came:
            return True
        now = time.perf_counter()
        if now > self._until:
            return True
        if self._until == float("inf") and self._transport.gone(self._others) == self._others:
            self._until = now + LAST_LINES
        return False


def all_gathered_bytes(group: ProcessGroup, mine: np.ndarray) -> Steps:
    """Every rank's bytes, of any lengths, as a list of arrays."""
    own = np.array([mine.size], np.int64)
    lengths = np.empty(group.size(), np.int64)
    yield group.transport.all_gather(as_bytes(own), as_bytes(lengths), [8] * group.size())
    everyones = np.empty(int(lengths.sum()), np.uint8)
    yield group.transport.all_gather(mine, everyones, lengths.tolist())
    ends = np.cumsum(lengths)[:-1]
    return np.split(everyones, ends)


def all_gathered(
    group: ProcessGroup, mine: np.ndarray, counts: Sequence[int] | None = None, into: Any = None
) -> Steps:
    """The ranks' arrays one after the other; counts: how many elements each has, if they differ.

    into: an array for the result.
    """
    counts = [mine.size] * group.size() if counts is None else counts
    everyones = xp_of(mine).empty(sum(counts), mine.dtype) if into is None else into
    in_bytes = [count * mine.itemsize for count in counts]
    yield group.lane(mine).all_gather(as_bytes(mine), as_bytes(everyones), in_bytes)
    return everyones


def reduced_part(
    group: ProcessGroup, flat: np.ndarray, op: ReduceOp, counts: Sequence[int]
) -> Steps:
    """This rank's part of the reduction of the ranks' arrays; counts: the length of each part.

    The result may be a view of an array R times as large, in which the ranks' parts arrived.
    """
    size, mine = group.size(), counts[group.rank()]
    if size == 1:
        return flat.copy()
    if group.lane(flat) is group.nccl and native_on_gpu(flat, op):
        return (yield from reduced_part_on_gpu(group, flat, op, counts))
    received = xp_of(flat).empty((size, mine), flat.dtype)
    out_counts = [count * flat.itemsize for count in counts]
    into_counts = [mine * flat.itemsize] * size
    into = as_bytes(received.reshape(-1))  # (R, n) -> (R * n,)
    yield unfinished(group.lane(flat).all_to_all(as_bytes(flat), out_counts, into, into_counts))
    return joined(received, op, size)


def reduced(group: ProcessGroup, flat: np.ndarray, op: ReduceOp, into: Any = None) -> Steps:
    """The reduction of the ranks' arrays, the same bits on every rank.

    Rank r receives part r of every array, adds them in rank order, and sends the sum to all. Small
    arrays go to all ranks in one exchange, and each adds them in the same order.
    """
    size = group.size()
    if size == 1:
        return flat
    if group.lane(flat) is group.nccl and native_on_gpu(flat, op):
        return (yield from reduced_on_gpu(group, flat, op, into))
    if flat.nbytes * size <= SMALL:
        everyones = yield from all_gathered(group, flat)
        return joined(everyones.reshape(size, flat.size), op, size)  # (R * n,) -> (R, n)
    counts = divided(flat.size, size)
    part = yield from reduced_part(group, flat, op, counts)
    return (yield from all_gathered(group, part, counts, into))
