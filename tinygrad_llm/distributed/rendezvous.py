"""Who this process is, and how processes find each other that no mpiexec started.

Rank and number of processes come from the arguments, from RANK and WORLD_SIZE as torchrun and this
package's launcher set them, or from what mpiexec and Slurm set. Processes that mpiexec started are
connected already. Others, such as those of `multiprocessing.spawn`, meet at MASTER_ADDR and
MASTER_PORT: rank 0 starts the server of pmi_server.py there, and MPI asks it for what it would ask
mpiexec. That needs an MPI library of MPICH's family.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from typing import NamedTuple
from urllib.parse import urlsplit

from . import pmi_server
from .errors import DistNetworkError

__all__ = ["Watch", "address", "forget_launcher", "meet", "started_by_mpi", "who_am_i"]

# Variables in which launchers of MPI programs write (rank, number of processes).
LAUNCHERS = (
    ("PMI_RANK", "PMI_SIZE"),
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
    ("SLURM_PROCID", "SLURM_NTASKS"),
)
_kept: list[object] = []  # the server's process and the sockets that MPI uses until the end


class Place(NamedTuple):
    """The host and the port at which the processes meet."""

    host: str
    port: int


def _from_environment(variable: str, text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"the environment variable {variable} is a number, got {text!r}") from None


def who_am_i(rank: int, size: int) -> tuple[int, int]:
    """(rank, number of processes); −1 takes it from the environment.

    Raises: ValueError if neither the arguments nor the environment say it, or they do not fit.
    """
    given = {"rank": rank, "world_size": size}
    for name, variable, place in (("world_size", "WORLD_SIZE", 1), ("rank", "RANK", 0)):
        for source in (variable, *(pair[place] for pair in LAUNCHERS)):
            if given[name] >= 0:
                break
            if os.environ.get(source):
                given[name] = _from_environment(source, os.environ[source])
        if given[name] < 0:
            raise ValueError(
                "Error initializing torch.distributed using env:// rendezvous: environment "
                f"variable {variable} expected, but not set. Start the program with tinygrad-llm "
                f"launch or mpiexec, or pass {name} (for one process world_size=1, rank=0)"
            )
    rank, size = given["rank"], given["world_size"]
    if not 0 <= rank < size:
        raise ValueError(f"init_process_group: rank {rank} of {size} processes does not exist")
    return rank, size


def started_by_mpi() -> bool:
    """Whether mpiexec, or another launcher that MPI knows, started this very process.

    A process that such a process started has the variables too, but not the open connection.
    """
    if "PMI_FD" in os.environ:
        try:
            return bool(os.fstat(int(os.environ["PMI_FD"])))
        except (OSError, ValueError):
            return False
    return any(name in os.environ for name in ("PMIX_RANK", "PMI_RANK", "OMPI_COMM_WORLD_RANK"))


def address(init_method: str | None) -> Place:
    """Where the processes meet: from "tcp://host:port", or MASTER_ADDR and MASTER_PORT.

    Raises: ValueError for another init_method, and if the environment does not say it.
    """
    if init_method not in (None, "", "env://"):
        parts = urlsplit(init_method)
        if parts.scheme != "tcp" or not parts.hostname or not parts.port:
            raise ValueError(
                f"init_process_group: init_method is 'env://' or 'tcp://host:port', got "
                f"{init_method!r}"
            )
        return Place(parts.hostname, parts.port)
    for variable in ("MASTER_ADDR", "MASTER_PORT"):
        if not os.environ.get(variable):
            raise ValueError(
                "Error initializing torch.distributed using env:// rendezvous: environment "
                f"variable {variable} expected, but not set. Set it, or start the program with "
                "tinygrad-llm launch or mpiexec"
            )
    port = _from_environment("MASTER_PORT", os.environ["MASTER_PORT"])
    return Place(os.environ["MASTER_ADDR"], port)


class Watch:
    """The connection on which the server says which ranks have ended."""

    def __init__(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        self._connection, self._text = connection, b""

    def lost(self) -> set[int]:
        """The ranks that have ended without finalising MPI."""
        try:
            self._text += self._connection.recv(4096)
        except OSError:
            pass
        lines = self._text.split(b"\n")[:-1]
        return {int(line.split()[1]) for line in lines if line.startswith(b"lost ")}


def meet(rank: int, size: int, place: Place, timeout: float) -> Watch:
    """Find the other processes; then MPI can be initialised, and takes the rest from there.

    timeout: seconds to wait for all. Returns the watch over the others.
    Raises: DistNetworkError if they do not come, or the place cannot be used.
    """
    if os.name != "posix":
        raise DistNetworkError(
            "init_process_group: on this system start the program with mpiexec -n "
            f"{size} python ..., or tinygrad-llm launch"
        )
    if rank == 0:
        _start_server(place, size, timeout)
    until = time.monotonic() + timeout
    connections = [_connect(kind, rank, size, place, until) for kind in ("pmi", "watch")]
    connections[0].settimeout(max(until - time.monotonic(), 0.1) + 5)
    try:
        line = pmi_server.read_line(connections[0])
    except OSError as error:
        raise DistNetworkError(f"{_where(place)}: {error}") from error
    if line != "ok":
        raise DistNetworkError(f"{_where(place)}: {line.removeprefix('error ')}")
    connections[0].settimeout(None)
    _kept.extend(connections)
    forget_launcher()
    os.environ.update(PMI_FD=str(connections[0].detach()), PMI_RANK=str(rank), PMI_SIZE=str(size))
    return Watch(connections[1])


def forget_launcher() -> None:
    """Remove what a launcher said to MPI, so that no process started from here takes it."""
    for name in list(os.environ):
        if name.startswith(("PMI_", "PMIX_", "OMPI_COMM_", "HYDI_", "MPI_LOCAL")):
            del os.environ[name]


def _where(place: Place) -> str:
    return f"init_process_group: at {place.host}:{place.port}"


def _start_server(place: Place, size: int, timeout: float) -> None:
    """In rank 0: listen at the place, and let a separate process serve it."""
    try:
        listening = socket.create_server((place.host, place.port), backlog=2 * size)
    except OSError as error:
        raise DistNetworkError(
            f"{_where(place)}: rank 0 cannot listen there ({error}); choose another MASTER_PORT"
        ) from error
    listening.set_inheritable(True)
    command = [sys.executable, "-I", "-S", pmi_server.__file__]
    arguments = [str(listening.fileno()), str(size), str(timeout)]
    server = subprocess.Popen(
        [*command, *arguments], stdin=subprocess.DEVNULL, start_new_session=True,
        pass_fds=[listening.fileno()],
    )  # fmt: skip
    listening.close()
    _kept.append(server)


def _connect(kind: str, rank: int, size: int, place: Place, until: float) -> socket.socket:
    """A connection to the server, which may not be there yet."""
    while True:
        try:
            connection = socket.create_connection((place.host, place.port), timeout=5)
            greeting = f"tinygrad_llm {kind} {rank} {size} {socket.gethostname()}\n"
            connection.sendall(greeting.encode())
            return connection
        except OSError as error:
            if time.monotonic() > until:
                raise DistNetworkError(
                    f"{_where(place)}: rank {rank} found no rank 0 in time ({error})"
                ) from error
            time.sleep(0.02)
