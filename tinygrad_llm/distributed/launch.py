"""Start a program in several processes with mpiexec, with the variables that torchrun sets."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence

from ..files.packages import install_extra
from . import rank_start
from .mpi_library import find_mpiexec, is_open_mpi, with_mpi_library

__all__ = ["Interrupted", "command_of", "launch"]

GRACE = 5.0  # seconds that the ranks have to end after Ctrl-C
# Variables that ranks on other machines need too; MPICH's mpiexec gives them all variables.
PASSED_ON = (
    "MASTER_ADDR", "MASTER_PORT", "MPI4PY_LIBMPI", "PYTHONPATH", "LD_LIBRARY_PATH",
    "OMP_NUM_THREADS", "TINYGRAD_LLM_DATA",
)  # fmt: skip


class Interrupted(Exception):
    """The user stopped the program."""


def command_of(
    program: Sequence[str], ranks: int, hosts: Sequence[str] = (), mpiexec: str | None = None,
    environment: Mapping[str, str] = os.environ,
) -> list[str]:  # fmt: skip
    """The command that starts `ranks` processes per machine; hosts: the machines, if several.

    Open MPI binds one or two ranks to a core each, where all threads of a rank would share it:
    --bind-to none. MPICH and Intel MPI leave a rank all cores, or several.
    Raises: RuntimeError if there is no mpiexec.
    """
    program_path = mpiexec or find_mpiexec()
    if program_path is None:
        raise RuntimeError(
            f"launch needs mpiexec, which is not there: {install_extra('mpi')} installs it"
        )
    if is_open_mpi(program_path):  # a:2 are two places on a; it has one per core if none are named
        places = ",".join(f"{host}:{ranks}" for host in hosts or ("localhost",))
        names = [name for name in PASSED_ON if hosts and name in environment]
        passed = [word for name in names for word in ("-x", name)]
        where = ["--host", places, "--bind-to", "none", *passed]
    else:
        where = ["-hosts", ",".join(hosts), "-ppn", str(ranks)] if hosts else []
    total = str(ranks * max(len(hosts), 1))
    start = [sys.executable, "-I", "-S", rank_start.__file__]
    return [program_path, *where, "-n", total, *start, *program]


def environment_of(master: str | None, port: int | None) -> dict[str, str]:
    """The environment of all ranks, with MASTER_ADDR and MASTER_PORT."""
    environment = with_mpi_library(dict(os.environ))
    environment["MASTER_ADDR"] = master or "127.0.0.1"
    environment["MASTER_PORT"] = str(port or _free_port())
    return environment


def _free_port() -> int:
    """A port that nothing uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def launch(
    program: Sequence[str], ranks: int, hosts: Sequence[str] = (), master: str | None = None,
    port: int | None = None,
) -> int:  # fmt: skip
    """Run the program in `ranks` processes per machine, and wait; the exit code of mpiexec.

    program         the words of a command, the first an executable's path
    hosts           the machines, reached by ssh; empty for this one
    master, port    MASTER_ADDR and MASTER_PORT for the program, which MPI does not need

    When a rank ends with an error, mpiexec ends the others. Ctrl-C and SIGTERM end all.
    Raises: RuntimeError if there is no mpiexec; Interrupted after Ctrl-C.
    """
    environment = environment_of(master or (hosts[0] if hosts else None), port)
    command = command_of(program, ranks, hosts, environment=environment)
    process = subprocess.Popen(command, env=environment)
    before = signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    try:
        return process.wait()
    except KeyboardInterrupt:  # Ctrl-C: mpiexec has it too, and ends the ranks
        _end(process)
        raise Interrupted from None
    finally:
        signal.signal(signal.SIGTERM, before)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Wait for mpiexec; end it, and so its ranks, where it has not got the signal or goes on."""
    for ask in (process.terminate, process.kill):
        try:
            process.wait(GRACE)
            return
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            ask()
    process.wait()
