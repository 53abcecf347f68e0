"""torch.distributed for one process: it is rank 0 of 1, and collectives return what it has.

Programs that ask for their rank and the number of processes run here as they do under PyTorch when
they are started alone. A group of several processes is refused when it is asked for, with an error,
never ignored: training would silently use a part of the data.
"""

from __future__ import annotations

import os
from enum import Enum
from typing import Any

from ..functions.settings import as_it_is
from ..tensor import Tensor
from ..tensor.missing_names import missing

__all__ = [
    "GroupMember",
    "ProcessGroup",
    "ReduceOp",
    "all_gather",
    "all_gather_into_tensor",
    "all_gather_object",
    "all_reduce",
    "barrier",
    "broadcast",
    "broadcast_object_list",
    "destroy_process_group",
    "gather",
    "get_backend",
    "get_rank",
    "get_world_size",
    "init_process_group",
    "is_available",
    "is_gloo_available",
    "is_initialized",
    "is_mpi_available",
    "is_nccl_available",
    "is_torchelastic_launched",
    "new_group",
    "reduce",
    "reduce_scatter_tensor",
    "scatter",
]


class ReduceOp(Enum):
    """How a reduction joins the ranks' numbers; over one rank each returns the number itself."""

    SUM = "sum"
    AVG = "avg"
    PRODUCT = "product"
    MIN = "min"
    MAX = "max"


class ProcessGroup:
    """A group of processes: here always this process alone."""

    def __init__(self, backend: str) -> None:
        self.backend = backend

    def rank(self) -> int:
        """This process's number in the group: 0."""
        return 0

    def size(self) -> int:
        """The number of processes in the group: 1."""
        return 1


class GroupMember:
    """Names of the group of all processes, and of those outside of a group."""

    WORLD: ProcessGroup | None = None
    NON_GROUP_MEMBER = object()


class _Done:
    """The handle of a collective with async_op=True: it has finished already."""

    def wait(self, timeout: Any = None) -> bool:
        """True: it has finished."""
        return True

    def is_completed(self) -> bool:
        """True: it has finished."""
        return True


# ------------------------------------------------------------------------------------ the group
def is_available() -> bool:
    """True: groups can be made, of this process alone."""
    return True


def is_initialized() -> bool:
    """Whether init_process_group was called."""
    return GroupMember.WORLD is not None


def is_nccl_available() -> bool:
    """False: there are no groups over NCCL."""
    return False


def is_mpi_available() -> bool:
    """False: there are no groups over MPI."""
    return False


def is_gloo_available() -> bool:
    """False: there are no groups over Gloo."""
    return False


def is_torchelastic_launched() -> bool:
    """Whether torchrun started this process."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def init_process_group(
    backend: str | None = None, init_method: str | None = None, timeout: Any = None,
    world_size: int = -1, rank: int = -1, store: Any = None, group_name: str = "",
    pg_options: Any = None, device_id: Any = None,
) -> None:  # fmt: skip
    """Make the group of all processes, which can be this process alone.

    world_size, rank: −1 takes WORLD_SIZE and RANK from the environment, as torchrun sets them.
    backend, init_method and the others may be given and change nothing: nothing is sent.
    Raises: ValueError for a second call, without a world size or a rank, and for a rank outside
    of it; RuntimeError for more than one process.
    """
    if is_initialized():
        raise ValueError("trying to initialize the default process group twice!")
    size = _given("world_size", "WORLD_SIZE", world_size)
    number = _given("rank", "RANK", rank)
    if size > 1:
        raise RuntimeError(
            f"init_process_group: {size} processes were asked for (rank {number}), but groups here "
            "hold one process: start the program alone, without torchrun or mpiexec"
        )
    if size != 1 or number != 0:
        raise ValueError(f"init_process_group: rank {number} of {size} processes does not exist")
    GroupMember.WORLD = ProcessGroup(backend or "gloo")


def _given(name: str, variable: str, value: int) -> int:
    """A number from an argument, or from the environment for a negative one."""
    if value >= 0:
        return value
    text = os.environ.get(variable, "")
    if not text:
        raise ValueError(
            "Error initializing torch.distributed using env:// rendezvous: environment variable "
            f"{variable} expected, but not set. For one process pass world_size=1, rank=0; "
            f"{name} was not given"
        )
    return int(text)


def destroy_process_group(group: Any = None) -> None:
    """Forget the group of all processes; nothing if there is none."""
    if group is None or group is GroupMember.WORLD:
        GroupMember.WORLD = None


def _group(group: Any = None) -> ProcessGroup:
    """The group given, or that of all processes.

    Raises: ValueError if there is none.
    """
    if group is None:
        group = GroupMember.WORLD
    if group is None:
        raise ValueError(
            "Default process group has not been initialized, please make sure to call "
            "init_process_group."
        )
    return group


def get_rank(group: Any = None) -> int:
    """This process's number in the group: 0.

    Raises: ValueError before init_process_group.
    """
    return _group(group).rank()


def get_world_size(group: Any = None) -> int:
    """The number of processes in the group: 1.

    Raises: ValueError before init_process_group.
    """
    return _group(group).size()


def get_backend(group: Any = None) -> str:
    """The backend that was named for the group.

    Raises: ValueError before init_process_group.
    """
    return _group(group).backend


def new_group(ranks: Any = None, timeout: Any = None, backend: str | None = None) -> ProcessGroup:
    """A group of some of the ranks: of this process.

    Raises: ValueError before init_process_group, and for a rank other than 0.
    """
    world = _group()
    if any(rank != 0 for rank in ranks or ()):
        raise ValueError(f"new_group: the only rank is 0, got {list(ranks)}")
    return ProcessGroup(backend or world.backend)


# ---------------------------------------------------------------------------------- collectives
def _one(group: Any, async_op: bool, *ranks: int | None) -> _Done | None:
    """What a collective over one process returns, after its ranks were checked."""
    _group(group)
    for rank in ranks:
        if rank not in (0, None):
            raise ValueError(f"rank {rank} is not in the group, whose only rank is 0")
    return _Done() if async_op else None


def _copied(tensors: Any, source: Tensor, group: Any, async_op: bool, rank: int = 0) -> Any:
    """Copy the only rank's tensor into the first of the list given for the ranks."""
    done = _one(group, async_op, rank)
    if tensors is not None:
        if len(tensors) != 1:
            raise ValueError(f"expected one tensor per rank, 1 in all, got {len(tensors)}")
        tensors[0].copy_(source)
    return done


def all_reduce(
    tensor: Tensor, op: Any = ReduceOp.SUM, group: Any = None, async_op: bool = False
) -> Any:
    """Replace the tensor by the reduction over all ranks: it stays as it is."""
    return _one(group, async_op)


def reduce(
    tensor: Tensor, dst: int = 0, op: Any = ReduceOp.SUM, group: Any = None, async_op: bool = False
) -> Any:
    """all_reduce whose result only rank dst has."""
    return _one(group, async_op, dst)


def broadcast(tensor: Tensor, src: int = 0, group: Any = None, async_op: bool = False) -> Any:
    """Replace the tensor by that of rank src: it stays as it is."""
    return _one(group, async_op, src)


def broadcast_object_list(
    object_list: list[Any], src: int = 0, group: Any = None, device: Any = None
) -> None:
    """Replace the list's objects by those of rank src: they stay as they are."""
    _one(group, False, src)


def barrier(group: Any = None, async_op: bool = False, device_ids: Any = None) -> Any:
    """Wait until every rank is here: return immediately."""
    return _one(group, async_op)


def all_gather(
    tensor_list: list[Tensor], tensor: Tensor, group: Any = None, async_op: bool = False
) -> Any:
    """Copy every rank's tensor into the list's tensor of that rank."""
    return _copied(tensor_list, tensor, group, async_op)


def all_gather_into_tensor(
    output_tensor: Tensor, input_tensor: Tensor, group: Any = None, async_op: bool = False
) -> Any:
    """Copy the ranks' tensors, one after the other, into output_tensor."""
    shape = output_tensor.shape
    return _copied([output_tensor], input_tensor.reshape(shape), group, async_op)


def all_gather_object(object_list: list[Any], obj: Any, group: Any = None) -> None:
    """Put every rank's object into the list."""
    _one(group, False)
    object_list[0] = obj


def gather(
    tensor: Tensor, gather_list: list[Tensor] | None = None, dst: int = 0, group: Any = None,
    async_op: bool = False,
) -> Any:  # fmt: skip
    """all_gather whose result only rank dst has."""
    return _copied(gather_list, tensor, group, async_op, dst)


def scatter(
    tensor: Tensor, scatter_list: list[Tensor] | None = None, src: int = 0, group: Any = None,
    async_op: bool = False,
) -> Any:  # fmt: skip
    """Replace the tensor by this rank's tensor of rank src's list."""
    return _copied([tensor], (scatter_list or [tensor])[0], group, async_op, src)


def reduce_scatter_tensor(
    output: Tensor, input: Tensor, op: Any = ReduceOp.SUM, group: Any = None, async_op: bool = False
) -> Any:
    """Replace output by this rank's part of the sum over the ranks' inputs."""
    return _copied([output], input.reshape(output.shape), group, async_op)


record = as_it_is  # a decorator of torchelastic that writes errors to a file: the function itself


def __getattr__(name: str) -> object:
    raise missing(__name__, name, __all__)
