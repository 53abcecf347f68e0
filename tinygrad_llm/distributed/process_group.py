"""ProcessGroup: who is in a group, what connects them, and the works that are under way in it."""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Sequence
from typing import Any

import numpy as np

from .nccl_library import nccl_is_available
from .traffic import Counted
from .transport import Alone, Transport

__all__ = ["LIMIT", "ProcessGroup", "Queue", "divided_within", "held", "queues"]

LIMIT = 1800.0  # seconds: PyTorch's half an hour

# The queue of every group that still exists: waiting for one group moves the others on too.
queues: weakref.WeakSet[Queue] = weakref.WeakSet()
# Messages between GPUs that were begun and are not launched yet (see stream_work.py).
held: list[Any] = []


class Queue:
    """The works of a group that have not ended, in the order in which they were started.

    alone: waiting for other groups does not move this one on, as of a rank that is a thread
    """

    def __init__(self, alone: bool = False) -> None:
        self.ordered: deque[Any] = deque()  # collectives: only the first moves
        self.loose: list[Any] = []  # messages between two ranks: all move
        self.alone = alone
        if not alone:
            queues.add(self)

    def moving(self) -> list[Queue]:
        """The queues that move on while this one is waited for."""
        return [self] if self.alone else list(queues)

    def arrives(self) -> bool:
        """Whether the collective that moves now has come to what the ranks send each other."""
        return bool(self.ordered) and self.ordered[0].arrives()

    def move_on(self) -> None:
        """Test what is under way; start what comes next."""
        while self.ordered and self.ordered[0].test():
            self.ordered.popleft()
        if self.loose:
            self.loose = [work for work in self.loose if not work.test()]


class ProcessGroup:
    """Some of the processes, each with a rank from 0.

    backend    the name that was asked for
    ranks      for each rank in this group, its rank among all processes
    timeout    seconds after which a rank stops waiting for others
    alone      whether its works move on by themselves only (see Queue)
    """

    def __init__(
        self, backend: str, transport: Transport | None = None, ranks: Sequence[int] = (0,),
        timeout: float = LIMIT, alone: bool = False,
    ) -> None:  # fmt: skip
        self.backend = backend
        self.ranks = list(ranks)
        self.transport = Counted(Alone() if transport is None else transport)
        self.timeout = timeout
        self.queue = Queue(alone)
        self.broken = ""  # why it cannot be used any more
        self.for_gpus = "nccl" in backend  # whether arrays on GPUs travel over NCCL
        self.nccl: Any = None  # the transport for them, made when one is first sent

    def __deepcopy__(self, memo: Any) -> ProcessGroup:
        return self  # the copy of a module works with the same processes

    def takes(self, array: Any) -> bool:
        """Whether an array is sent from where it is; others are copied to the CPU before."""
        if isinstance(array, np.ndarray) or self.size() == 1:
            return True
        return self.for_gpus and nccl_is_available()

    def lane(self, array: Any) -> Transport:
        """What moves an array that the group takes."""
        if isinstance(array, np.ndarray) or self.size() == 1:
            return self.transport
        transport: Transport = self.nccl
        return transport

    def rank(self) -> int:
        """This process's number in the group."""
        return self.transport.rank

    def size(self) -> int:
        """The number of processes in the group."""
        return self.transport.size

    def name(self) -> str:
        """The name of the backend."""
        return self.backend

    def local(self, rank: int) -> int:
        """The rank in this group of a process that has `rank` among all.

        Raises: ValueError if it is not in the group.
        """
        if rank not in self.ranks:
            which = "whose only rank is 0" if self.ranks == [0] else f"of the ranks {self.ranks}"
            raise ValueError(f"rank {rank} is not in the group, {which}")
        return self.ranks.index(rank)

    def named(self, rank: int | None, in_group: int | None, default: int | None = None) -> int:
        """The rank in this group of a process that is named by its rank among all, or by in_group,
        its rank in this group. default: its rank among all, if neither is given.

        Raises: ValueError if both are given, or neither without a default, or it is not in the
        group.
        """
        if rank is not None and in_group is not None:
            raise ValueError("Can't specify both group_rank and global_rank")
        if in_group is not None:
            if not 0 <= in_group < self.size():
                raise ValueError(f"Group rank {in_group} is not part of group {self.ranks}")
            return in_group
        if rank is None and default is None:
            raise ValueError("Must specify global_rank or group_rank")
        return self.local(default if rank is None else rank)  # type: ignore[arg-type]


def divided_within(parameter: Any, group: ProcessGroup) -> bool:
    """Whether the ranks of the group have different parts of the parameter.

    Raises: ValueError if some of them have the same part and others another.
    """
    among = getattr(parameter, "divided_among", ())
    common = [{*each.ranks} & {*group.ranks} for each in among]
    if any(1 < len(ranks) < group.size() for ranks in common):
        raise ValueError(
            f"of the ranks {group.ranks} some have the same part of a parameter of shape "
            f"{tuple(parameter.shape)} and others another: take the group along one dimension of "
            "the mesh over which it is divided"
        )
    return any(len(ranks) > 1 for ranks in common)
