"""Runs a learner's file in a child process, with a time limit.

The file may loop for ever, end the program or take all memory: that happens in the child, and the
learner still reads what went wrong.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from .grading import Row, grade

__all__ = ["TIME_LIMIT", "Report", "check_file", "main"]

TIME_LIMIT = 60.0  # seconds; a correct answer takes about one
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


def main(name: str, path: str, result: str) -> None:
    """In the child: grade the file and write the rows to `result`, as JSON."""
    rows = grade(name, Path(path))
    Path(result).write_text(json.dumps(rows), "utf-8")


def check_file(name: str, path: Path, time_limit: float = TIME_LIMIT) -> Report:
    """Grade a learner's file in a child process.

    An error in the child becomes a row of the report.
    Raises: FileNotFoundError if there is no such file.
    """
    path = Path(path).resolve()
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    with tempfile.TemporaryDirectory() as folder:
        result, output = Path(folder) / "rows.json", Path(folder) / "printed.txt"
        where = json.dumps([p or os.getcwd() for p in sys.path])
        command = [sys.executable, "-I", "-X", "utf8", "-c", _CODE, where]
        with output.open("wb") as out:
            process = subprocess.Popen(
                [*command, name, str(path), str(result)],
                stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
                cwd=path.parent, start_new_session=True,
            )  # fmt: skip
            try:
                code = process.wait(time_limit)
            except subprocess.TimeoutExpired:
                code = None
            finally:
                _end(process)
        printed = output.read_text("utf-8", errors="replace")
        try:
            rows = tuple(Row(**row) for row in json.loads(result.read_text("utf-8")))
        except (OSError, ValueError):
            return Report(name, (Row("the file", False, _why(code, time_limit, printed)),))
    return Report(name, rows, printed)


def _end(process: subprocess.Popen) -> None:
    """End the child and every process that it started."""
    try:
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        elif process.poll() is None:
            process.kill()
    except (ProcessLookupError, PermissionError):
        pass
    process.wait()


def _why(code: int | None, time_limit: float, printed: str) -> str:
    if code is None:
        return (
            f"it did not end within {time_limit:g} seconds and was stopped: is there an endless "
            "loop?"
        )
    if code < 0:
        return f"it was ended by signal {-code} ({signal.Signals(-code).name})"
    last = printed.strip().splitlines()[-1:] or ["nothing was printed"]
    return f"it ended the process itself (exit code {code}): {last[0]}"
