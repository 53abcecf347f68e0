"""Messages between two ranks: send and recv, now or later."""

from __future__ import annotations

from typing import Any

from ..arrays.devices import on_gpu
from ..tensor import Tensor
from .collectives import filled, flat, store
from .errors import DistError
from .groups import connect_gpus, get_rank, launch_messages, member_group, run
from .process_group import ProcessGroup
from .steps import as_bytes
from .transport import Steps
from .work import Work

__all__ = ["P2POp", "batch_isend_irecv", "irecv", "isend", "recv", "send"]


def _other(group: ProcessGroup, rank: int | None, in_group: int | None, name: str) -> int:
    """The rank in the group to which a message goes, or from which it comes.

    Raises: ValueError if it is this rank, not in the group, or not named.
    """
    local = group.named(rank, in_group)
    if local == group.rank():
        kind = "destination" if name == "send" else "source"
        raise ValueError(
            f"Invalid {kind} rank: {kind} rank should not be the same as the rank of the current "
            "process."
        )
    return local


def _tag(tag: int) -> int:
    if not 0 <= tag < 2**20:
        raise ValueError(f"tag: expected a number from 0 to {2**20 - 1}, got {tag}")
    return int(tag)


def isend(
    tensor: Tensor, dst: int | None = None, group: Any = None, tag: int = 0,
    group_dst: int | None = None,
) -> Work | None:  # fmt: skip
    """Begin to send the tensor to rank dst; it is not changed until wait() of the result returns.

    dst: among all ranks; in its place group_dst, as below group_src: a rank in the group.
    Raises: ValueError if it is this rank, or not in the group.
    """
    chosen = member_group(group, "isend")
    if chosen is None:
        return None
    to, number = _other(chosen, dst, group_dst, "send"), _tag(tag)
    dst = chosen.ranks[to]
    numbers = flat(tensor, chosen)
    if on_gpu((numbers,)):
        return _on_gpu(chosen, f"send(dst={dst})", numbers, lambda lane: lane.send, to)
    numbers = numbers.copy()  # so that a late wait does not send what was written meanwhile

    def steps() -> Steps:
        yield chosen.transport.send(as_bytes(numbers), to, number)

    return Work(chosen, f"send(dst={dst})", steps(), [to], ordered=False)


def irecv(
    tensor: Tensor, src: int | None = None, group: Any = None, tag: int = 0,
    group_src: int | None = None,
) -> Work | None:  # fmt: skip
    """Begin to fill the tensor with a message from rank src; None: from the first that comes.

    wait() of the result raises DistError if the message has another number of bytes.
    Raises: ValueError if src is this rank, or not in the group.
    """
    chosen = member_group(group, "irecv")
    if chosen is None:
        return None
    number = _tag(tag)
    source = None
    if src is not None or group_src is not None:
        source = _other(chosen, src, group_src, "recv")
        src = chosen.ranks[source]
    numbers = filled(tensor, chosen)
    if on_gpu((numbers,)):
        if source is None:
            raise ValueError("recv of a tensor on a GPU: name the rank that sends, src")
        return _on_gpu(
            chosen, f"recv(src={src})", numbers, lambda lane: lane.receive, source, tensor
        )

    def steps() -> Steps:
        sender = source
        if sender is None:
            probe = chosen.transport.find(number)
            yield probe
            sender = probe.source
        request = chosen.transport.receive(as_bytes(numbers), sender, number)
        yield request
        rank = chosen.ranks[sender]
        if request.length != numbers.nbytes:
            more = f"more than {numbers.nbytes}"
            sent = more if request.length is None else request.length
            raise DistError(
                f"recv: rank {rank} sent {sent} bytes, and {tensor.dtype.name} "
                f"{tuple(tensor.shape)} has {numbers.nbytes}"
            )
        store(tensor, numbers, "recv")
        return rank

    others = [r for r in range(chosen.size()) if r != chosen.rank()] if source is None else [source]
    return Work(chosen, f"recv(src={src})", steps(), others, ordered=False)


def _on_gpu(
    group: ProcessGroup, what: str, numbers: Any, start: Any, other: int, into: Any = None
) -> Any:
    """A message between GPUs, held back unless it is one of a batch; NCCL has no tags."""

    def steps() -> Steps:
        yield start(group.nccl)(as_bytes(numbers), other, 0)
        if into is not None:
            store(into, numbers, "recv")
        return group.ranks[other]

    connect_gpus(group, numbers)
    return run(group, what, steps(), True, numbers, not group.nccl.batched)


def send(
    tensor: Tensor, dst: int | None = None, group: Any = None, tag: int = 0,
    group_dst: int | None = None,
) -> None:  # fmt: skip
    """Send the tensor to rank dst, which calls recv.

    Raises: ValueError as isend does; DistBackendError if the rank has ended.
    """
    work = isend(tensor, dst, group, tag, group_dst)
    if work is not None:
        work.wait()


def recv(
    tensor: Tensor, src: int | None = None, group: Any = None, tag: int = 0,
    group_src: int | None = None,
) -> int:  # fmt: skip
    """Fill the tensor with a message from rank src; None: from the first that comes.

    Returns the rank that sent it; −1 for a process that is not in the group.
    Raises: as irecv; DistBackendError if the rank has ended.
    """
    work = irecv(tensor, src, group, tag, group_src)
    return -1 if work is None else work.result()


class P2POp:
    """A message for batch_isend_irecv: op is isend or irecv, peer the other rank among all, or
    group_peer its rank in the group.
    """

    def __init__(
        self, op: Any, tensor: Tensor, peer: int | None = None, group: Any = None, tag: int = 0,
        group_peer: int | None = None,
    ) -> None:  # fmt: skip
        if op not in (isend, irecv):
            raise RuntimeError(
                "Invalid ``op``. Expected ``op`` to be of type ``torch.distributed.isend`` or "
                "``torch.distributed.irecv``."
            )
        self.op, self.tensor, self.peer, self.group, self.tag = op, tensor, peer, group, tag
        self.group_peer = group_peer
        chosen = member_group(group, "P2POp")
        if chosen is not None:
            self.group_peer = chosen.named(peer, group_peer)
            self.peer = chosen.ranks[self.group_peer]


def batch_isend_irecv(p2p_op_list: list[P2POp]) -> list[Any]:
    """Begin all messages; their Works in order.

    Raises: ValueError for an empty list.
    """
    if not p2p_op_list:
        raise ValueError(f"rank {get_rank()}: expected at least one P2POp, got none")
    transports = {id(chosen): chosen for chosen in map(_over_nccl, p2p_op_list) if chosen}
    if not transports:
        return [p.op(p.tensor, p.peer, p.group, p.tag) for p in p2p_op_list]
    if len(transports) > 1 or not all(map(_over_nccl, p2p_op_list)):
        raise ValueError("batch_isend_irecv: tensors on GPUs of one group, or on the CPU")
    (group,) = transports.values()
    connect_gpus(group, p2p_op_list[0].tensor.array)
    from .stream_work import launch_together

    launch_messages()

    def start() -> list[Any]:
        return [p.op(p.tensor, p.peer, p.group, p.tag) for p in p2p_op_list]

    return launch_together(group, start)


def _over_nccl(p: P2POp) -> ProcessGroup | None:
    """The group over whose NCCL a message travels, or None."""
    chosen = member_group(p.group, "batch_isend_irecv")
    array = p.tensor.array
    return chosen if chosen and on_gpu((array,)) and chosen.takes(array) else None
