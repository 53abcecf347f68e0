"""Runs a learner's file in a child process, with limits of time, memory, output and file size.

The file may loop for ever, print for ever, end the program or take all memory: that happens in the
child, and the learner still reads what went wrong. The result comes back in a separate file: the
rows of the report, and the numbers that they were reached from. The file is data from outside, no
more: the parent reads it with `tinygrad_llm.load`, computes the verdict from the numbers itself
(`grading.verdict`), and there is no secret in the child that could be found. The limits
that the operating system sets (memory, file size) exist on Linux, in part on macOS, and not on
Windows; time and output are limited everywhere.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import secrets
import signal
import stat
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...files.paths import local_path
from ...serialization import load, save
from .grading import MEMORY_LIMIT, Row, graded, verdict

__all__ = ["OUTPUT_LIMIT", "TIME_LIMIT", "Report", "check_file", "main"]

TIME_LIMIT = 60.0  # seconds; a correct answer takes about one
OUTPUT_LIMIT = 1 << 20  # bytes that the file may print
FILE_LIMIT = 1 << 26  # bytes of a file that it may write
_LETTERS = 20_000  # of a row's text
_CODE = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
_CODE += "from tinygrad_llm.study.exercises.child import main; main(*sys.argv[2:])"


@dataclass(frozen=True)
class Report:
    """The result of a check: its rows, and what the file printed."""

    name: str
    rows: tuple[Row, ...]
    printed: str = ""

    @property
    def passed(self) -> bool:
        """Whether every row is right."""
        return all(row.ok for row in self.rows)


# ----------------------------------------------------------------------------------- in the child
def main(name: str, path: str) -> None:
    """In the child: grade the file, write the rows and their values, and end the process.

    Where to write them comes from standard input.
    """
    answer = json.loads(sys.stdin.readline())
    sys.stdin.close()
    sys.stdin = open(os.devnull)  # noqa: SIM115, it stays open
    _limit_this_process()
    rows, values = graded(name, Path(path))
    save({"rows": rows, "values": values}, answer["result"])
    with contextlib.suppress(Exception):  # the file may have closed them
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(0)  # without waiting for threads that the file has started


def _limit_this_process() -> None:
    """Limit memory and the size of files, where the operating system offers it."""
    try:
        import resource
    except ImportError:
        return
    limits = {"RLIMIT_CORE": 0, "RLIMIT_FSIZE": FILE_LIMIT}
    with contextlib.suppress(OSError, ValueError):
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limits["RLIMIT_AS"] = pages * resource.getpagesize() + MEMORY_LIMIT
    for name, limit in limits.items():
        with contextlib.suppress(AttributeError, OSError, ValueError):
            resource.setrlimit(getattr(resource, name), (limit, limit))


# ---------------------------------------------------------------------------------- in the parent
class _Output(threading.Thread):
    """Reads what the child prints, keeps OUTPUT_LIMIT bytes, and ends it if it prints more."""

    def __init__(self, process: subprocess.Popen) -> None:
        super().__init__(daemon=True)
        self.process, self.kept, self.too_long = process, bytearray(), False
        self.start()

    def run(self) -> None:
        stream: Any = self.process.stdout
        while chunk := stream.read1(1 << 16):
            self.kept += chunk[: OUTPUT_LIMIT - len(self.kept)]
            if len(self.kept) == OUTPUT_LIMIT and not self.too_long:
                self.too_long = True
                _end(self.process)

    def text(self) -> str:
        """What was printed; a process that left the child's group may hold the pipe open."""
        self.join(2.0)
        return bytes(self.kept).decode("utf-8", errors="replace")


def check_file(name: str, path: Path, time_limit: float = TIME_LIMIT) -> Report:
    """Grade a learner's file in a child process.

    An error in the child becomes a row of the report.
    Raises: FileNotFoundError if there is no such file.
    """
    path = local_path(path).resolve()
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    where = json.dumps([p or os.getcwd() for p in sys.path])
    command = [sys.executable, "-I", "-X", "utf8", "-c", _CODE, where, name, str(path)]
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        result = Path(folder) / secrets.token_hex(8)
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            cwd=path.parent, start_new_session=True,
            env={**os.environ, "TINYGRAD_LLM_KEEP_MEMORY": "0"},
        )  # fmt: skip
        output, code = _Output(process), None
        try:
            _send(process, json.dumps({"result": str(result)}))
            with contextlib.suppress(subprocess.TimeoutExpired):
                code = process.wait(time_limit)
        finally:
            _end(process)
        printed = output.text()
        sent = _sent(result) if code == 0 and not output.too_long else None
    rows = None if sent is None else verdict(name, *sent)
    if rows is None:
        why = _TOO_LONG if output.too_long else _why(code, time_limit, printed)
        rows = (Row("the file", False, why),)
    return Report(name, rows, printed)


def _send(process: subprocess.Popen, line: str) -> None:
    """Write a line to the standard input of the child, which may have ended, and close it."""
    stdin: Any = process.stdin
    with contextlib.suppress(OSError):
        stdin.write(line.encode() + b"\n")
    with contextlib.suppress(OSError):
        stdin.close()


def _sent(result: Path) -> tuple[tuple[Row, ...], list[list[Any]]] | None:
    """(rows, values) of the child's file; None if there is no such file or it is something else."""
    try:
        status = os.lstat(result)
        if not stat.S_ISREG(status.st_mode) or status.st_size > FILE_LIMIT:
            return None  # a pipe would be waited for, a link leads elsewhere
        with open(result, "rb") as file:
            answer = load(io.BytesIO(file.read(FILE_LIMIT)))
        rows = tuple(Row(r["aspect"], r["ok"], r["text"][:_LETTERS]) for r in answer["rows"])
        values = answer["values"]
        right = all(
            type(r.ok) is bool and isinstance(r.aspect, str) and isinstance(r.text, str)
            for r in rows
        ) and all(isinstance(v, list) for v in values)
        return (rows, list(values)) if right and rows else None
    except (OSError, RuntimeError, ValueError, TypeError, LookupError, AttributeError):
        return None


def _end(process: subprocess.Popen) -> None:
    """End the child and every process of its group, that is those that it started."""
    try:
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        elif process.poll() is None:
            process.kill()
    except (ProcessLookupError, PermissionError):
        pass
    process.wait()


_TOO_LONG = (
    f"it printed more than {OUTPUT_LIMIT:,} bytes and was stopped: is there a print in an endless "
    "loop?"
)


def _why(code: int | None, time_limit: float, printed: str) -> str:
    if code is None:
        return (
            f"it did not end within {time_limit:g} seconds and was stopped: is there an endless "
            "loop?"
        )
    if code < 0:
        names = {int(s): f" ({s.name})" for s in signal.Signals}
        return f"it was ended by signal {-code}{names.get(-code, '')}"
    last = printed.strip().splitlines()[-1:] or ["nothing was printed"]
    return f"it ended the process itself (exit code {code}): {last[0]}"
