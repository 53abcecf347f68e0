"""Several processes for one run: --ranks starts them, and those of a launcher find each other."""

from __future__ import annotations

import importlib
import os
import signal
import socket
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

from ..files.packages import install_extra
from .errors import BadValue, print_error
from .places import CHILD, arguments_of_program, place

__all__ = ["take_part"]

GRACE = 5.0  # seconds that the other ranks have to end after one ended with an error
PER_CORE = 4  # ranks per core at most that --ranks starts


def take_part(run: Any, given: Mapping[str, Any]) -> None:
    """Makes this process one of the run's, or starts them and ends with their exit code.

    run: of pretraining or fine-tuning, with its options; given: the options of the command line
    Raises: BadValue if there cannot be so many ranks; SystemExit where other processes did the run.
    """
    o, here = run.o, place()
    if here is not None and given.get("ranks") not in (None, here.size):
        raise BadValue(
            f"--ranks {o.ranks}: what started this program made {here.size} "
            f"{'process' if here.size == 1 else 'processes'} (WORLD_SIZE): leave --ranks out, or "
            "start as many"
        )
    if here is not None:
        o.ranks = here.size
    if o.ranks == 1:
        return
    check(o)
    if here is None:
        raise SystemExit(start(o.ranks))
    join(o)
    run.join()
    if (note := os.environ.get(CHILD)) and here.rank == 0:
        run.begun = lambda command: Path(note).write_text(command, encoding="utf-8")


def check(o: Any) -> None:
    """Raises: BadValue if a batch has no row for each rank, or mpi4py is not installed."""
    from .. import distributed

    if o.batch_size < o.ranks and getattr(o, "batch_tokens", None) is None:
        raise BadValue(
            f"--ranks {o.ranks}: a batch has {o.batch_size} rows, and each rank takes one or more: "
            f"take a --batch-size of {o.ranks} or more, or fewer ranks"
        )
    if not o.device.startswith("cuda") and not distributed.is_mpi_available():
        raise BadValue(
            f"--ranks {o.ranks}: several processes need mpi4py and an MPI library: "
            f"{install_extra('mpi')} installs both"
        )


def join(o: Any) -> None:
    """Connects this process with the others.

    Raises: BadValue if they do not find each other.
    """
    from .. import distributed

    nccl = o.device.startswith("cuda") and distributed.is_nccl_available()
    try:
        distributed.init_process_group("nccl" if nccl else "mpi")
    except (RuntimeError, ValueError) as error:
        raise BadValue(f"{o.ranks} ranks: {error}") from error


# --------------------------------------------------------------------- processes started here
def start(ranks: int) -> int:
    """Runs this program in so many processes, waits for them, and returns the exit code.

    Raises: BadValue if this machine has too few cores, or cannot connect them.
    """
    from .. import multiprocessing
    from ..arrays.parallel import core_count

    most = max(8, PER_CORE * core_count())
    if ranks > most:
        raise BadValue(
            f"--ranks {ranks}: this machine has {core_count()} cores, and more than {most} ranks "
            "would only wait for each other; several machines: tinygrad-llm launch or mpiexec"
        )
    if os.name != "posix":
        raise BadValue(
            f"--ranks: on this system start the program with mpiexec -n {ranks} and without --ranks"
        )
    with tempfile.TemporaryDirectory() as folder, socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        note = Path(folder, "resume")
        arguments = (ranks, port, str(note), list(arguments_of_program))
        started = multiprocessing.start_processes(work, arguments, ranks, join=False)
        assert started is not None
        return _Waiting(started.processes, note).until_all_have_ended()


def work(rank: int, ranks: int, port: int, note: str, arguments: list[str]) -> None:
    """What each process does: the program, as one of several ranks."""
    with suppress(OSError):
        os.setpgid(0, 0)  # Ctrl-C reaches the process that waits, which passes it on once
    numbers = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": ranks, "LOCAL_WORLD_SIZE": ranks}
    os.environ.update({name: str(number) for name, number in numbers.items()})
    os.environ.update({"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), CHILD: note})
    importlib.import_module(__package__).main(arguments)


class _Waiting:
    """Waits for the ranks' processes; passes signals on to them.

    note: the file in which rank 0 says how its run is resumed
    """

    def __init__(self, processes: list[Any], note: Path) -> None:
        self.processes, self.note = processes, note
        self.failed: list[tuple[int, int]] = []  # (rank, exit code) of those with an error
        self.signals: list[int] = []
        self.until: float | None = None  # when the ranks that are left are killed

    def until_all_have_ended(self) -> int:
        """The exit code: 0, or that of the rank with an error."""
        numbers = [getattr(signal, name, None) for name in ("SIGINT", "SIGTERM", "SIGHUP")]
        before = {
            number: signal.signal(number, self._pass_on)
            for number in numbers
            if number is not None and signal.getsignal(number) is not signal.SIG_IGN
        }
        left = {process.sentinel: rank for rank, process in enumerate(self.processes)}
        try:
            while left:
                for sentinel in wait(list(left), self._seconds()):
                    self._ended(left.pop(sentinel))
                if self.until is not None and time.monotonic() > self.until:
                    for rank in left.values():
                        self.processes[rank].kill()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        return self._explain()

    def _seconds(self) -> float | None:
        return None if self.until is None else max(0.05, self.until - time.monotonic())

    def _pass_on(self, number: int, frame: Any) -> None:
        self.signals.append(number)
        if len(self.signals) > 1:  # the user does not want to wait
            self.until = time.monotonic() + GRACE
        for process in self.processes:
            if process.is_alive():
                with suppress(ProcessLookupError):
                    os.kill(process.pid, number)

    def _ended(self, rank: int) -> None:
        process = self.processes[rank]
        process.join()
        if process.exitcode != 0:
            self.failed.append((rank, process.exitcode))
            if self.until is None:
                self.until = time.monotonic() + GRACE

    def _explain(self) -> int:
        """Says which rank was killed, and how to resume; the exit code."""
        if not self.failed:
            return 0
        rank, code = self.failed[0]
        if code > 0:  # a rank has said what was wrong; one that only stopped has the code 1
            return max(code for _, code in self.failed)
        name = signal.Signals(-code).name
        resume = self.note.read_text(encoding="utf-8") if self.note.exists() else None
        again = "the run had not begun: start it again with the same command"
        what = again if resume is None else f"to continue: {resume}"
        print_error(f"rank {rank} was ended by {name}, and the other ranks were stopped; {what}")
        return 128 - code
