"""Start a program in several processes with mpiexec, with the variables that torchrun sets."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence

from ..files.packages import install_extra
from . import rank_start
from .mpi_library import find_mpiexec, with_mpi_library

__all__ = ["Interrupted", "command_of", "launch"]

GRACE = 5.0  # seconds that the ranks have to end after Ctrl-C


class Interrupted(Exception):
    """The user stopped the program."""


def command_of(
    program: Sequence[str], ranks: int, hosts: Sequence[str] = (), mpiexec: str | None = None
) -> list[str]:
    """The command that starts `ranks` processes per machine; hosts: the machines, if several.

    Raises: RuntimeError if there is no mpiexec.
    """
    program_path = mpiexec or find_mpiexec()
    if program_path is None:
        raise RuntimeError(
            f"launch needs mpiexec, which is not there: {install_extra('mpi')} installs it"
        )
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
    command = command_of(program, ranks, hosts)
    environment = environment_of(master or (hosts[0] if hosts else None), port)
    process = subprocess.Popen(command, env=environment)
    before = signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    try:
        return process.wait()
    except KeyboardInterrupt:  # mpiexec has it too, and ends the ranks
        try:
            process.wait(GRACE)
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            process.kill()
            process.wait()
        raise Interrupted from None
    finally:
        signal.signal(signal.SIGTERM, before)
