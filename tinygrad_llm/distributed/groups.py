"""Groups of processes: the one of all, parts of it, and who this process is in each."""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
import warnings
from typing import Any

import numpy as np

from ..arrays.capture import capturing
from ..arrays.devices import check_gpu, choose_gpu
from ..tensor.arriving import wait_for_all
from ..tensor.device import device
from .backends import DEFAULT_BACKENDS, known_backend, say_what_serves
from .cores import share_cores
from .errors import DistBackendError, DistError
from .nccl_library import gpu_name, nccl_is_available, nccl_module
from .process_group import LIMIT, ProcessGroup, held
from .rank_start import NAMES as LAUNCHER_NAMES
from .steps import agree, all_gathered_bytes, leave
from .transport import Steps, Transport
from .work import Work, in_seconds

__all__ = [
    "GroupMember",
    "ProcessGroup",
    "destroy_process_group",
    "get_backend",
    "get_default_backend_for_device",
    "get_global_rank",
    "get_group_rank",
    "get_node_local_rank",
    "get_process_group_ranks",
    "get_rank",
    "get_world_size",
    "group",
    "init_process_group",
    "is_available",
    "is_gloo_available",
    "is_initialized",
    "is_mpi_available",
    "is_nccl_available",
    "is_torchelastic_launched",
    "member_group",
    "new_group",
    "run",
]


class GroupMember:
    """Names of the group of all processes, and of those outside of a group."""

    WORLD: ProcessGroup | None = None
    NON_GROUP_MEMBER = object()


group = GroupMember  # PyTorch's second name: dist.group.WORLD
_groups: list[ProcessGroup] = []  # all that exist, WORLD first
_connection: dict[str, Any] = {}  # what the first init_process_group found, for later ones


# ------------------------------------------------------------------------------------ questions
def is_available() -> bool:
    """True: groups can be made."""
    return True


def is_initialized() -> bool:
    """Whether init_process_group was called."""
    return GroupMember.WORLD is not None


def is_nccl_available() -> bool:
    """Whether groups over NCCL can be made: CuPy and NCCL are installed."""
    return nccl_is_available()


def is_mpi_available() -> bool:
    """Whether groups of several processes can be made: mpi4py is installed."""
    from .mpi import is_available as mpi_is_available

    return mpi_is_available()


def is_gloo_available() -> bool:
    """False: there are no groups over Gloo; MPI serves programs that ask for it."""
    return False


def is_torchelastic_launched() -> bool:
    """Whether torchrun started this process."""
    return "TORCHELASTIC_RUN_ID" in os.environ


LOCAL_RANKS = ("LOCAL_RANK", *LAUNCHER_NAMES["LOCAL_RANK"], "SLURM_LOCALID")


def get_node_local_rank(fallback_rank: int | None = None) -> int:
    """This process's number on its machine: LOCAL_RANK, or what MPI's or Slurm's launcher set.

    Raises: RuntimeError if none is set and fallback_rank is None.
    """
    for name in LOCAL_RANKS:
        if os.environ.get(name):
            return int(os.environ[name])
    if fallback_rank is None:
        raise RuntimeError("LOCAL_RANK is not in the environment. Pass fallback_rank")
    return int(fallback_rank)


# ------------------------------------------------------------------------------- making, leaving
def init_process_group(
    backend: str | None = None, init_method: str | None = None, timeout: Any = None,
    world_size: int = -1, rank: int = -1, store: Any = None, group_name: str = "",
    pg_options: Any = None, device_id: Any = None,
) -> None:  # fmt: skip
    """Make the group of all processes, which can be this process alone.

    backend      "cpu:gloo,cuda:nccl", as None is too: NCCL for tensors on GPUs, MPI for others;
                 "nccl" is the same. "mpi", "gloo": MPI for all
    init_method  "env://" or "tcp://host:port": where processes meet that mpiexec did not start
    timeout      seconds or a timedelta: how long a rank waits for others, half an hour if None
    world_size, rank   −1 takes them from WORLD_SIZE and RANK, or from mpiexec
    device_id    the GPU of this process, as cuda.set_device(device_id) chooses it

    Raises: ValueError for a second call, an unknown backend, without a world size or a rank, and
    for a rank outside of it; RuntimeError if MPI is not installed or the processes do not find each
    other.
    """
    from .rendezvous import who_am_i

    if is_initialized():
        raise ValueError("trying to initialize the default process group twice!")
    if store is not None:
        raise ValueError("init_process_group: a store is not used here; pass init_method")
    number, size = who_am_i(rank, world_size)
    backend = known_backend(backend, "init_process_group")
    limit = LIMIT if timeout is None else in_seconds(timeout)
    if device_id is not None and (index := _gpu_index(device_id)) is not None:
        choose_gpu(check_gpu(index))
    if size == 1:
        world = ProcessGroup(backend or "gloo", timeout=limit)
    else:
        say_what_serves(backend, number)
        over_sockets = _over_sockets(backend)
        connect = _connected_by_sockets if over_sockets else _connected
        transport = connect(number, size, init_method, limit)
        world = ProcessGroup(backend or "cpu:mpi,cuda:nccl", transport, range(size), limit)
    GroupMember.WORLD = world
    _groups[:] = [world]


def _gpu_index(device_id: Any) -> int | None:
    """The number of the GPU that device_id names: an int, or a device such as "cuda:1"."""
    if isinstance(device_id, int):
        return device_id
    place = device(device_id)
    return None if place.type == "cpu" else place.index


def _over_sockets(backend: str | None) -> bool:
    """Whether tensors on the CPU travel over sockets: nothing of MPI started this process, and MPI
    is not installed, or NCCL is what the program asked for."""
    from .rendezvous import started_by_mpi

    if started_by_mpi():
        return False
    return not is_mpi_available() or ("nccl" in (backend or "") and nccl_is_available())


def _connected_by_sockets(
    rank: int, size: int, init_method: str | None, timeout: float
) -> Transport:
    """The transport of all processes over sockets; a second call uses the same connections."""
    from . import rendezvous, sockets

    if "mesh" not in _connection:
        place = rendezvous.address(init_method)
        _connection["mesh"] = sockets.connect(rank, size, place.host, place.port, timeout)
        _connection["times"] = 0
        atexit.register(_leave_at_exit)
        here = int(os.environ.get("LOCAL_WORLD_SIZE", size))
        share_cores(rank, here, here)
    _connection["times"] += 1
    return sockets.SocketTransport(
        _connection["mesh"], range(size), f"world {_connection['times']}"
    )


def _leave_at_exit() -> None:
    """At the end of a program without error: leave every group."""
    if getattr(sys, "last_value", None) is None:
        with contextlib.suppress(DistError):
            _leave_all()


def _connected(rank: int, size: int, init_method: str | None, timeout: float) -> Transport:
    """The transport of all processes; a second call uses the connections of the first."""
    from . import mpi, rendezvous

    if "watch" not in _connection:
        watch = None
        if not rendezvous.started_by_mpi():
            if not mpi.is_available():
                mpi.load()  # the error that says what to install
            watch = rendezvous.meet(rank, size, rendezvous.address(init_method), timeout)
        _connection["watch"] = watch
        here = mpi.wait_until_all_ranks_call_init_process_group(timeout, mpi.ranks_here)
        rendezvous.forget_launcher()
        share_cores(rank, *here)
    transport = mpi.wait_until_all_ranks_call_init_process_group(
        timeout, lambda: mpi.world(rank, size, _connection["watch"])
    )
    mpi.on_exit(_leave_all)
    return transport


def _leave_all() -> None:
    """Leave every group, and wait until the others do."""
    leaving, works = _groups[:], [_leaving(each, "the end of the program") for each in _groups]
    _groups.clear()
    GroupMember.WORLD = None
    _wait_to_leave(leaving, works)


def _leaving(group: ProcessGroup, what: str) -> Work | None:
    """What lets the others know that this rank leaves; None where nothing is waited for."""
    if group.broken:
        group.transport.say_goodbye()
    return None if group.broken or group.size() == 1 else Work(group, what, leave(group))


def _wait_to_leave(groups: list[ProcessGroup], works: list[Work | None]) -> None:
    """Wait as long as the others have something to do: their work may take longer than a limit."""
    wait_for_all()  # gradients that DistributedDataParallel has not waited for
    for group, work in zip(groups, works, strict=True):
        if work is not None:
            work.wait(float("inf"))
        if group.nccl is not None:
            if group.broken:
                group.nccl.abort()
            else:
                group.nccl.close()
            group.nccl = None
        group.broken = group.broken or "it was destroyed"


def destroy_process_group(group: Any = None) -> None:
    """Leave a group; without one, or for that of all processes, leave all groups.

    Waits for the others to do the same. Nothing if there is none.
    """
    launch_messages()
    if group is None or group is GroupMember.WORLD:
        _leave_all()
    elif group in _groups:
        _groups.remove(group)
        _wait_to_leave([group], [_leaving(group, "destroy_process_group")])


def _group(group: Any = None) -> Any:
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


def _own_group(group: Any) -> ProcessGroup:
    """The group given, or that of all processes, of which this one is a member.

    Raises: ValueError if there is none, or if this process is not in it.
    """
    chosen = _group(group)
    if chosen is GroupMember.NON_GROUP_MEMBER:
        raise ValueError(f"rank {get_rank()} is not in this group, and does not know its ranks")
    return chosen


def member_group(group: Any, name: str) -> ProcessGroup | None:
    """The group for a collective, or None, with a warning, where this process is not in it.

    Raises: ValueError if there is no group; DistBackendError if it cannot be used any more.
    """
    chosen = _group(group)
    if chosen is GroupMember.NON_GROUP_MEMBER:
        warnings.warn(
            f"Running {name} on global rank {get_rank()} which does not belong to the given group.",
            stacklevel=3,
        )
        return None
    if chosen.broken:
        raise DistBackendError(f"the group cannot be used any more: {chosen.broken}")
    return chosen


def run(
    group: ProcessGroup, what: str, steps: Steps, async_op: bool = False, array: Any = None,
    hold: bool = False,
) -> Any:  # fmt: skip
    """Start a collective: its Work if async_op, else its result when it has ended.

    what: its name and what must agree on all ranks. array: one of those that are sent, where they
    may be on a GPU. hold: of a message between GPUs, whether it waits for the next launch.
    """
    if held and not hold:
        launch_messages()
    if array is not None and not isinstance(array, np.ndarray) and group.size() > 1:
        from .stream_work import StreamWork

        connect_gpus(group, array)
        if os.environ.get("TORCH_DISTRIBUTED_DEBUG") == "DETAIL" and capturing.graph is None:
            Work(group, what, agree(group, what)).result()
        started = StreamWork(group, what, steps, async_op, hold)
        return started if async_op else started.result()

    def agreed() -> Steps:
        yield from agree(group, what)
        return (yield from steps)

    work = Work(group, what, agreed())
    return work if async_op else work.result()


def launch_messages() -> None:
    """Launch the messages between GPUs that are held back."""
    if held:
        from .stream_work import launch_held

        launch_held()


def connect_gpus(group: ProcessGroup, array: Any) -> None:
    """Make the group's transport over NCCL, if this is the first array on a GPU; all ranks do.

    Raises: DistError if two ranks use one GPU, or this rank another GPU than before.
    """
    gpu = int(array.device.id)
    if group.nccl is None:
        if capturing.graph is not None:
            raise RuntimeError(
                "the first collective of a group cannot be captured in a CUDA graph: run the step "
                "once before"
            )
        group.nccl = _connected_gpus(group, gpu)
    if group.nccl.gpu != gpu:
        raise DistError(
            f"rank {get_rank()} uses cuda:{group.nccl.gpu} in this group, and this tensor is on "
            f"cuda:{gpu}"
        )


def _connected_gpus(group: ProcessGroup, gpu: int) -> Any:
    """The transport over NCCL for this rank's GPU; rank 0's unique id connects the ranks."""
    from .nccl import NCCLTransport
    from .nccl_watch import watchdog

    unique = nccl_module().get_unique_id() if group.rank() == 0 else b""
    mine = b"%s %s" % (gpu_name(gpu).encode(), bytes(unique).hex().encode())
    numbers = np.frombuffer(mine, np.uint8)
    everyones = run(group, "the first collective over NCCL", all_gathered_bytes(group, numbers))
    names = [bytes(each).split(b" ")[0] for each in everyones]
    for rank, name in enumerate(names):
        if (first := names.index(name)) != rank:
            raise DistError(
                f"ranks {group.ranks[first]} and {group.ranks[rank]} both use cuda:{gpu} of one "
                "machine: call cuda.set_device(LOCAL_RANK), or pass device_id to "
                "init_process_group, so that each has its own GPU"
            )
    unique_id = bytes.fromhex(bytes(everyones[0]).split(b" ")[1].decode())
    made = NCCLTransport(group.rank(), group.size(), gpu, unique_id)
    watchdog.add(made, group)
    return made


def get_rank(group: Any = None) -> int:
    """This process's number in the group; −1 if it is not in it.

    Raises: ValueError before init_process_group.
    """
    chosen = _group(group)
    return -1 if chosen is GroupMember.NON_GROUP_MEMBER else chosen.rank()


def get_world_size(group: Any = None) -> int:
    """The number of processes in the group; −1 if this one is not in it.

    Raises: ValueError before init_process_group.
    """
    chosen = _group(group)
    return -1 if chosen is GroupMember.NON_GROUP_MEMBER else chosen.size()


def get_backend(group: Any = None) -> str:
    """The backend that was named for the group.

    Raises: ValueError before init_process_group, and in a process that is not in the group.
    """
    return _own_group(group).backend


def get_default_backend_for_device(place: Any) -> str:
    """The backend that PyTorch's programs take for a device: "gloo" for the CPU, "nccl" for GPUs.

    place: a device or its name
    Raises: ValueError for a device without a backend.
    """
    kind = device(place).type
    if kind not in DEFAULT_BACKENDS:
        raise ValueError(f"Default backend not registered for device : {place}")
    return DEFAULT_BACKENDS[kind]


def get_process_group_ranks(group: Any = None) -> list[int]:
    """For each rank in the group, its rank among all processes.

    Raises: ValueError in a process that is not in the group.
    """
    return list(_own_group(group).ranks)


def get_group_rank(group: Any, global_rank: int) -> int:
    """The rank in the group of a process that has global_rank among all.

    Raises: ValueError if it, or this process, is not in the group.
    """
    return _own_group(group).local(global_rank)


def get_global_rank(group: Any, group_rank: int) -> int:
    """The rank among all processes of the one that has group_rank in the group.

    Raises: ValueError if the group has no such rank, or this process is not in it.
    """
    ranks = _own_group(group).ranks
    if not 0 <= group_rank < len(ranks):
        raise ValueError(f"Group rank {group_rank} is not part of group {ranks}")
    return ranks[group_rank]


def new_group(
    ranks: Any = None, timeout: Any = None, backend: str | None = None, pg_options: Any = None,
    use_local_synchronization: bool = False, group_desc: str | None = None, device_id: Any = None,
    sort_ranks: bool = True,
) -> Any:  # fmt: skip
    """A group of some of the ranks, all if None. Every process calls it, also those outside of it.

    ranks      their numbers among all processes; the group has them in order, or if sort_ranks is
               False as they are given, which must be the same everywhere
    timeout, backend   as of init_process_group, whose values are taken for None
    The other options may be given and change nothing, except use_local_synchronization.
    Returns the group, or GroupMember.NON_GROUP_MEMBER for a process that is not in it.
    Raises: ValueError before init_process_group, for ranks that do not exist or come twice, an
    unknown backend, and use_local_synchronization, which lets the processes outside not call it.
    """
    if use_local_synchronization:
        raise ValueError(
            "new_group: use_local_synchronization is not offered: every process calls new_group, "
            "also those outside of the group"
        )
    backend = known_backend(backend, "new_group")
    world = member_group(None, "new_group")
    assert world is not None
    members = [*range(world.size())] if ranks is None else [int(r) for r in ranks]
    if sort_ranks:
        members.sort()
    if len(set(members)) < len(members):
        raise ValueError(f"new_group: a rank comes twice in {members}")
    for rank in members:
        if not 0 <= rank < world.size():
            last = (
                "the only rank is 0" if world.size() == 1 else f"ranks are 0 to {world.size() - 1}"
            )
            raise ValueError(f"new_group: {last}, got {members}")
    run(world, f"new_group({members})", _nothing())
    if world.rank() not in members:
        return GroupMember.NON_GROUP_MEMBER
    limit = world.timeout if timeout is None else in_seconds(timeout)
    part = world.transport.part(members)
    made = ProcessGroup(backend or world.backend, part, members, limit)
    _groups.append(made)
    return made


def _nothing() -> Steps:
    """The steps of a collective that is only an agreement."""
    yield from ()
