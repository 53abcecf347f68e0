"""Numbers of a run as JSON lines: one line per step, readable during the run.

{"step": 10, "tokens": 5120, "loss": 4.17, "lr": 0.0003, "grad_norm": 1.2, "seconds": 3.1,
 "mfu": 0.41}
{"step": 10, "tokens": 5120, "val_loss": 4.21, "seconds": 3.6}
"""

from __future__ import annotations

import json
from io import FileIO
from pathlib import Path
from typing import Any

from ..files.atomic import atomic_write
from ..files.json_files import parse_json
from ..files.paths import local_path
from .loggers import Logger

__all__ = ["Metrics", "read_metrics"]


def read_metrics(path: str | Path) -> list[dict[str, Any]]:
    """The lines of a metrics file; a last line that was cut short by a kill is left out."""
    lines = []
    for text in local_path(path).read_text("utf-8", errors="replace").split("\n"):
        try:
            line = parse_json(text, str(path))
        except ValueError:
            continue
        if isinstance(line, dict) and type(line.get("step")) is int:
            lines.append(line)
    return lines


class Metrics:
    """The numbers of a run: in memory, and appended to a file if there is one.

    `truncate(step)` forgets what came after a step: a run resumed from a checkpoint writes
    those lines again. A full disk stops the file, not the run: `problem` then says so.
    """

    def __init__(self, path: str | Path | None = None) -> None:
        self.path = None if path is None else local_path(path)
        self.lines: list[dict[str, Any]] = []
        self.problem: OSError | None = None
        self._file: FileIO | None = None
        self.logger: Logger | None = None  # gets every line besides
        self.logger_problem: Exception | None = None

    def truncate(self, step: int) -> None:
        """Continues the file, if there is one, without its lines past `step`."""
        self.close()
        if self.path is None or not self.path.exists():
            self.lines = [line for line in self.lines if line["step"] <= step]
            return
        self.lines = [line for line in read_metrics(self.path) if line["step"] <= step]
        self._rewrite()

    def _rewrite(self) -> None:
        assert self.path is not None
        with atomic_write(self.path) as file:
            file.write("".join(json.dumps(line) + "\n" for line in self.lines).encode("utf-8"))

    def log(self, **numbers: Any) -> None:
        """Adds one line and writes it, unbuffered, so that a kill does not lose it."""
        self.lines.append(numbers)
        if self.logger is not None:
            try:
                self.logger.log(numbers)
            except Exception as error:  # of another package: the run continues without it
                self.logger, self.logger_problem = None, error
        if self.path is None or self.problem is not None:
            return
        try:
            if self._file is None:
                self._file = open(self.path, "ab", buffering=0)
            self._file.write((json.dumps(numbers) + "\n").encode("utf-8"))
        except OSError as error:
            self.problem = error

    def recover(self) -> None:
        """After a write that failed: tries to write the whole file again."""
        if self.problem is not None:
            self.close()
            try:
                self._rewrite()
            except OSError as error:
                self.problem = error

    def close(self) -> None:
        """Closes the file; the next line opens it again."""
        if self._file is not None:
            self._file.close()
            self._file = None
        self.problem = None

    def close_logger(self) -> None:
        """The end of the run: the logger writes what it has in memory."""
        logger, self.logger = self.logger, None
        if logger is not None:
            try:
                logger.close()
            except Exception as error:  # as in `log`
                self.logger_problem = error

    def series(self, name: str) -> tuple[list[int], list[float]]:
        """(steps, values) of every line that has `name`."""
        lines = [line for line in self.lines if name in line]
        return [line["step"] for line in lines], [line[name] for line in lines]
