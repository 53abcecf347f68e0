"""The transport over MPI: mpi4py's non-blocking operations on bytes.

MPI is initialised when a group of several processes is made, and finalised at the end of the
program, except after an error that nobody handled: then the process ends immediately, and what
started it (mpiexec, or `multiprocessing.spawn`) ends the others.
"""

from __future__ import annotations

import atexit
import contextlib
import faulthandler
import os
import re
import sys
import zlib
from collections.abc import Callable, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from ..files.packages import install_extra
from .errors import DistBackendError, DistError
from .mpi_library import with_mpi_library
from .transport import Request

__all__ = [
    "MPITransport", "finish", "is_available", "load", "on_exit", "ranks_here",
    "wait_until_all_ranks_call_init_process_group", "world",
]  # fmt: skip

T = TypeVar("T")
LONGEST_LIMIT = 1e6  # seconds; a longer one is none
GOODBYE = 0  # the tag of a rank's last message; a user's tag t is t + 1
PARTS = 2**20 + 2  # the tag of the parts of an all_to_all: users' tags end before
_before_the_end: list[Callable[[], None]] = []  # called at the end of a program without error
# Requests that have not ended, with their arrays. MPI reads and writes the arrays until then, also
# where nobody waits any more, as after a time limit: another array in the same memory would change.
_under_way: set[Any] = set()


def on_exit(function: Callable[[], None]) -> None:
    """Call function at the end of a program that ends without error, before MPI ends."""
    if function not in _before_the_end:
        _before_the_end.append(function)


def is_available() -> bool:
    """Whether mpi4py is installed; whether its library loads is seen when a group is made."""
    from importlib.util import find_spec

    return find_spec("mpi4py") is not None


def wait_until_all_ranks_call_init_process_group(seconds: float, connect: Callable[[], T]) -> T:
    """connect(), in which MPI waits for all ranks and cannot be interrupted.

    After so many seconds the process ends, and writes "Timeout" and where it was: also this name.
    """
    error = sys.__stderr__
    if error is None or seconds > LONGEST_LIMIT:
        return connect()
    faulthandler.dump_traceback_later(seconds, exit=True, file=error)
    try:
        return connect()
    finally:
        faulthandler.cancel_dump_traceback_later()


def load() -> Any:
    """mpi4py's module MPI, loaded and initialised.

    Raises: RuntimeError if mpi4py or an MPI library is not installed.
    """
    library = with_mpi_library(dict(os.environ)).get("MPI4PY_LIBMPI")
    if library:
        os.environ["MPI4PY_LIBMPI"] = library
    try:
        import mpi4py

        mpi4py.rc.finalize = False  # it would wait for the others after an error too
        first = "mpi4py.MPI" not in sys.modules
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:
        raise RuntimeError(
            "init_process_group: several processes need mpi4py and an MPI library "
            f"({install_extra('mpi')} installs both): {error}"
        ) from error
    if first:
        atexit.register(finish)
    return MPI


def finish() -> None:
    """End MPI at the end of the program, unless an error ended it that nobody handled.

    Where another rank has ended by an error, this one, which has nothing left to do, ends too.
    """
    if getattr(sys, "last_value", None) is not None:
        return
    from mpi4py import MPI

    try:
        for function in _before_the_end:
            function()
    except DistError:
        return
    if not MPI.Is_finalized():
        MPI.Finalize()


def ranks_here() -> tuple[int, int]:
    """How many of the processes run on this machine, and how many of these on this one's cores."""
    mpi = load()
    here = mpi.COMM_WORLD.Split_type(mpi.COMM_TYPE_SHARED)
    affinity = getattr(os, "sched_getaffinity", None)
    cores = repr(sorted(affinity(0)) if affinity else "all")
    own, everyones = np.array([zlib.crc32(cores.encode())], np.int64), np.empty(here.size, np.int64)
    here.Allgather(own, everyones)
    here.Free()
    return everyones.size, int((everyones == own).sum())


def world(rank: int, size: int, watch: Any = None) -> MPITransport:
    """The transport of all processes, in which this one is `rank`.

    watch: an object whose lost() lists ranks that have ended, where something watches them.
    Raises: RuntimeError if MPI connects another number of processes than size.
    """
    mpi = load()
    comm = mpi.COMM_WORLD
    comm.Set_errhandler(mpi.ERRORS_RETURN)
    ordered = comm.Split(0, rank)
    ordered.Barrier()  # all have initialised MPI, and so opened the memory that they share
    _unlink_shared_memory()
    if comm.size != size:
        raise RuntimeError(
            f"init_process_group: {size} processes were asked for, but MPI connects {comm.size}: "
            "what started them belongs to another MPI library, or WORLD_SIZE and mpiexec's -n "
            "differ"
        )
    return MPITransport(ordered, watch)


def _unlink_shared_memory() -> None:
    """Remove the name of the memory that MPICH's ranks share, so that it ends with the last rank.

    MPICH removes it at the end of a program, but not where the program is killed: 3 MB each time.
    """
    try:
        maps = Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return  # another system than Linux
    for name in set(re.findall(r"/dev/shm/mpich_shm_\w+", maps)):
        with contextlib.suppress(OSError):  # another rank was first
            os.unlink(name)


class _MPIRequest:
    """A request of mpi4py and the arrays that MPI uses until it has ended; of a message that was
    received, `length` is its bytes, None for more than its array has: MPI does not say how many.
    """

    def __init__(self, request: Any, *arrays: Any, status: Any = None) -> None:
        self._request, self._arrays, self._status = request, arrays, status
        self.length: int | None = -1
        _under_way.add(self)

    def done(self) -> bool:
        """Whether it has ended."""
        from mpi4py import MPI

        try:
            if not self._request.Test(self._status):
                return False
        except MPI.Exception as error:
            _under_way.discard(self)
            if self._status is None or error.Get_error_class() != MPI.ERR_TRUNCATE:
                raise DistBackendError(f"MPI: {error}") from error
            self.length = None
            return True
        _under_way.discard(self)
        if self._status is not None:
            self.length = self._status.Get_count(MPI.BYTE)
        return True


class _MPIRequests:
    """Several requests of mpi4py and the arrays that MPI uses until all have ended."""

    def __init__(self, *arrays: Any) -> None:
        self._requests: list[Any] = []
        self._arrays = arrays
        _under_way.add(self)

    def add(self, request: Any) -> None:
        """One more that has been started."""
        self._requests.append(request)

    def done(self) -> bool:
        """Whether all have ended."""
        from mpi4py import MPI

        try:
            if not MPI.Request.Testall(self._requests):
                return False
        except MPI.Exception as error:  # the others may still be under way
            raise DistBackendError(f"MPI: {error}") from error
        _under_way.discard(self)
        return True


class _Probe:
    """Done when a message with a tag waits here; `source` is the rank that sent it."""

    def __init__(self, comm: Any, tag: int) -> None:
        self._comm, self._tag = comm, tag
        self.source = -1

    def done(self) -> bool:
        """Whether a message waits."""
        from mpi4py import MPI

        status = MPI.Status()
        if not self._comm.Iprobe(MPI.ANY_SOURCE, self._tag, status):
            return False
        self.source = status.source
        return True


class MPITransport:
    """Bytes between the processes of an MPI communicator."""

    def __init__(self, comm: Any, watch: Any = None, ranks: Sequence[int] | None = None) -> None:
        from mpi4py import MPI

        comm.Set_errhandler(MPI.ERRORS_RETURN)
        self._comm, self._mpi, self._watch = comm, MPI, watch
        self.rank, self.size = int(comm.rank), int(comm.size)
        self._in_world = list(range(self.size) if ranks is None else ranks)
        self._goodbyes: list[Any] = []

    def _parts(self, array: Any, counts: Sequence[int]) -> list[Any]:
        """What mpi4py calls a buffer in parts: the array, lengths, places, type."""
        places = list(accumulate(counts, initial=0))[:-1]
        return [array, list(counts), places, self._mpi.BYTE]

    def _whole(self, array: Any) -> list[Any]:
        return [array, self._mpi.BYTE]

    def broadcast(self, array: np.ndarray, root: int) -> Request:
        """MPI_Ibcast."""
        return _MPIRequest(self._comm.Ibcast(self._whole(array), root), array)

    def all_gather(self, mine: np.ndarray, everyones: np.ndarray, counts: Sequence[int]) -> Request:
        """MPI_Iallgather, or MPI_Iallgatherv if the ranks' counts differ."""
        if len(set(counts)) == 1:
            request = self._comm.Iallgather(self._whole(mine), self._whole(everyones))
        else:
            into = self._parts(everyones, counts)
            request = self._comm.Iallgatherv(self._whole(mine), into)
        return _MPIRequest(request, mine, everyones)

    def gather(
        self, mine: np.ndarray, everyones: np.ndarray, counts: Sequence[int], root: int
    ) -> Request:
        """MPI_Igatherv."""
        into = self._parts(everyones, counts) if self.rank == root else None
        return _MPIRequest(self._comm.Igatherv(self._whole(mine), into, root), mine, everyones)

    def scatter(
        self, everyones: np.ndarray, counts: Sequence[int], mine: np.ndarray, root: int
    ) -> Request:
        """MPI_Iscatterv."""
        out = self._parts(everyones, counts) if self.rank == root else None
        request = self._comm.Iscatterv(out, self._whole(mine), root)
        return _MPIRequest(request, everyones, mine)

    def all_to_all(
        self, out: np.ndarray, out_counts: Sequence[int], into: np.ndarray,
        into_counts: Sequence[int],
    ) -> Request:  # fmt: skip
        """MPI_Isend and MPI_Irecv between all pairs.

        MPICH's Ialltoallv takes three times as long for large arrays of ranks on one machine.
        """
        starts, ends = [0, *accumulate(out_counts)], [0, *accumulate(into_counts)]
        requests = _MPIRequests(out, into)
        for step in range(1, self.size):  # every rank begins with another one
            source, to = (self.rank - step) % self.size, (self.rank + step) % self.size
            if into_counts[source]:
                part = into[ends[source] : ends[source + 1]]
                requests.add(self._comm.Irecv(self._whole(part), source, PARTS))
            if out_counts[to]:
                part = out[starts[to] : starts[to + 1]]
                requests.add(self._comm.Isend(self._whole(part), to, PARTS))
        own = slice(starts[self.rank], starts[self.rank + 1])
        into[ends[self.rank] : ends[self.rank + 1]] = out[own]
        return requests

    def send(self, array: np.ndarray, to: int, tag: int) -> Request:
        """MPI_Isend."""
        return _MPIRequest(self._comm.Isend(self._whole(array), to, tag + 1), array)

    def receive(self, array: np.ndarray, source: int, tag: int) -> Any:
        """MPI_Irecv."""
        request = self._comm.Irecv(self._whole(array), source, tag + 1)
        return _MPIRequest(request, array, status=self._mpi.Status())

    def find(self, tag: int) -> Any:
        """MPI_Iprobe from any rank."""
        return _Probe(self._comm, tag + 1)

    def lost(self, ranks: Sequence[int]) -> list[int]:
        """Ranks whose connection to the watch has ended, where something watches them."""
        ended = set() if self._watch is None else self._watch.lost()
        return [r for r in ranks if r != self.rank and self._in_world[r] in ended]

    def gone(self, ranks: Sequence[int]) -> list[int]:
        """Ranks whose goodbye waits here: messages of one rank do not overtake each other."""
        return [r for r in ranks if r != self.rank and self._comm.Iprobe(r, GOODBYE)]

    def say_goodbye(self) -> None:
        """A message without content to every other rank."""
        nothing = np.empty(0, np.uint8)
        for rank in range(self.size):
            if rank != self.rank:
                request = self._comm.Isend(self._whole(nothing), rank, GOODBYE)
                self._goodbyes.append(request)

    def close(self) -> None:
        """MPI_Comm_free, when the goodbyes of this communicator are received.

        MPI has about two thousand communicators, and gives the number of a free one to the next,
        where an old goodbye must not arrive.
        """
        nothing = np.empty(0, np.uint8)
        for rank in range(self.size):
            if rank != self.rank:
                self._comm.Recv(self._whole(nothing), rank, GOODBYE)
        for request in self._goodbyes:
            request.Wait()
        self._goodbyes.clear()
        self._comm.Free()

    def part(self, ranks: Sequence[int]) -> MPITransport:
        """MPI_Comm_create_group.

        Raises: DistBackendError if MPI has no communicator left.
        """
        whole = self._comm.Get_group()
        group = whole.Incl(list(ranks))
        try:
            comm = self._comm.Create_group(group)
        except self._mpi.Exception as error:
            raise DistBackendError(
                f"MPI cannot make another group ({error}): destroy_process_group(group) those that "
                "are not needed any more"
            ) from error
        finally:
            group.Free()
            whole.Free()
        return MPITransport(comm, self._watch, [self._in_world[rank] for rank in ranks])
