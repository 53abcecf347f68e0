"""Python's multiprocessing, with PyTorch's `spawn`: one function in several new processes.

Each process is a new Python that imports the program again, so the call of `spawn` stands under
`if __name__ == "__main__":`. Processes share no tensors: pass NumPy arrays or paths of files.
"""

from __future__ import annotations

import multiprocessing as _python
import os
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from multiprocessing import *  # noqa: F403  as PyTorch's module does
from multiprocessing import connection
from typing import Any

__all__ = [
    *_python.__all__,
    "ProcessContext",
    "ProcessExitedException",
    "ProcessRaisedException",
    "get_all_sharing_strategies",
    "get_sharing_strategy",
    "set_sharing_strategy",
    "spawn",
    "start_processes",
]


GRACE = 5.0  # seconds that processes have to end after Ctrl-C


class ProcessException(Exception):
    """A process that was started here did not end well: its number and its id."""

    def __init__(self, message: str, error_index: int, pid: int) -> None:
        super().__init__(message)
        self.msg, self.error_index, self.pid = message, error_index, pid


class ProcessRaisedException(ProcessException):
    """A process ended with a Python error, whose traceback is the message."""


class ProcessExitedException(ProcessException):
    """A process was killed or exited by itself: exit_code, and signal_name if it was killed."""

    def __init__(
        self, message: str, error_index: int, pid: int, exit_code: int,
        signal_name: str | None = None,
    ) -> None:  # fmt: skip
        super().__init__(message, error_index, pid)
        self.exit_code, self.signal_name = exit_code, signal_name


def _run(fn: Callable[..., Any], i: int, args: tuple, error_file: str) -> None:
    """What a process does: fn(i, *args). An error's traceback is written to a file."""
    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    try:
        fn(i, *args)
    except KeyboardInterrupt:
        pass  # the parent was interrupted too, and says so
    except Exception as error:
        sys.last_value = error  # as Python does where nobody handles an error, for atexit functions
        with open(error_file, "w", encoding="utf-8", errors="replace") as file:
            file.write(traceback.format_exc())
        sys.exit(1)


def _end_with_the_parent() -> None:
    """End this process when the one that started it is killed, so that it does not work on."""
    parent = _python.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


class ProcessContext:
    """The processes that `spawn(..., join=False)` started."""

    def __init__(self, processes: list[Any], error_files: list[str]) -> None:
        self.processes = processes
        self.error_files = error_files
        self.sentinels = {process.sentinel: i for i, process in enumerate(processes)}

    def pids(self) -> list[int]:
        """The ids of the processes."""
        return [int(process.pid) for process in self.processes]

    def join(self, timeout: float | None = None, grace_period: float | None = None) -> bool:
        """Wait until a process ends, at most timeout seconds; whether all have ended.

        Raises: ProcessRaisedException or ProcessExitedException if one did not end well, after the
        others were stopped.
        """
        if not self.sentinels:
            return True
        for sentinel in connection.wait(list(self.sentinels), timeout):
            i = self.sentinels.pop(sentinel)
            self.processes[i].join()
            if self.processes[i].exitcode != 0:
                self.stop(grace_period)
                self._fail(i)
        if not self.sentinels:
            self._clean()
        return not self.sentinels

    def stop(self, grace_period: float | None = None) -> None:
        """End all processes; those that have not ended after grace_period seconds are killed."""
        for process in self.processes:
            if process.is_alive():
                process.terminate()
        until = None if grace_period is None else time.monotonic() + grace_period
        for process in self.processes:
            process.join(None if until is None else max(until - time.monotonic(), 0))
            if process.is_alive():
                process.kill()
                process.join()

    def _fail(self, i: int) -> None:
        process, name = self.processes[i], self.error_files[i]
        text = ""
        if os.path.exists(name):
            with open(name, encoding="utf-8") as file:
                text = file.read()
        self._clean()
        if text:
            message = f"\n\n-- Process {i} terminated with the following error:\n{text}"
            raise ProcessRaisedException(message, i, process.pid)
        code = process.exitcode
        if code < 0:
            killed = signal.Signals(-code).name
            message = f"process {i} terminated with signal {killed}"
            raise ProcessExitedException(message, i, process.pid, code, killed)
        message = f"process {i} terminated with exit code {code}"
        raise ProcessExitedException(message, i, process.pid, code)

    def _clean(self) -> None:
        for name in self.error_files:
            if os.path.exists(name):
                os.unlink(name)


SpawnContext = ProcessContext


def start_processes(
    fn: Callable[..., Any], args: tuple = (), nprocs: int = 1, join: bool = True,
    daemon: bool = False, start_method: str = "spawn",
) -> ProcessContext | None:  # fmt: skip
    """Start nprocs processes that run fn(i, *args), i = 0, ..., nprocs − 1; see `spawn`.

    Raises: ProcessRaisedException or ProcessExitedException as ProcessContext.join does.
    """
    context = _python.get_context(start_method)
    processes, files = [], []
    for i in range(nprocs):
        handle, name = tempfile.mkstemp(prefix="tinygrad_llm_", suffix=".error")
        os.close(handle)
        os.unlink(name)  # it exists again only if the process fails
        process = context.Process(target=_run, args=(fn, i, args, name), daemon=daemon)  # type: ignore[attr-defined]
        process.start()
        processes.append(process)
        files.append(name)
    started = ProcessContext(processes, files)
    if not join:
        return started
    try:
        while not started.join():
            pass
    except KeyboardInterrupt:
        started.stop(GRACE)
        raise
    return None


def spawn(
    fn: Callable[..., Any], args: tuple = (), nprocs: int = 1, join: bool = True,
    daemon: bool = False, start_method: str = "spawn",
) -> ProcessContext | None:  # fmt: skip
    """Run fn(i, *args) in nprocs new processes, i = 0, ..., nprocs − 1, and wait for all.

    fn: a function at the top level of a module. args: what can be sent to another process, which
    tensors cannot. join=False returns a ProcessContext, whose join() waits.
    Raises: ProcessRaisedException or ProcessExitedException as ProcessContext.join does.
    """
    return start_processes(fn, args, nprocs, join, daemon, start_method)


def get_all_sharing_strategies() -> set[str]:
    """{"file_system"}: tensors are not shared between processes."""
    return {"file_system"}


def get_sharing_strategy() -> str:
    """ "file_system": see get_all_sharing_strategies."""
    return "file_system"


def set_sharing_strategy(new_strategy: str) -> None:
    """Accept "file_system" and "file_descriptor", which change nothing: no tensor is shared.

    Raises: ValueError for another name.
    """
    if new_strategy not in ("file_system", "file_descriptor"):
        raise ValueError(
            f"sharing strategy {new_strategy!r}: expected 'file_system' or 'file_descriptor'"
        )
