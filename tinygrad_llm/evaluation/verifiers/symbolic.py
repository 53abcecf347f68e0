"""The first verifier: symbolic equality by sympy, in a child process with limits.

    with SymbolicJudge(seconds=3.0, megabytes=1024) as judge:
        judge(parse("\\frac{1}{\\sqrt{2}}"), parse("\\frac{\\sqrt{2}}{2}"))       # True

An answer of a model can be a formula on which sympy works for ever, or that fills the memory. So
the child is ended after `seconds`, the question stays open, and the next one gets a new child.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from queue import Empty, Queue
from typing import Any

from ...files.packages import MissingPackage, install_extra

__all__ = ["SymbolicJudge"]

Tree = list[Any]
START = 60.0  # seconds that Python and sympy may take to start


class SymbolicJudge:
    """Asks a child process whether two formulas are equal; see the top of this file.

    seconds: of one question; megabytes: of the child's memory, where the system can limit it
    `ended` counts the children that were ended, or that ended, before they had answered.
    Raises: MissingPackage without sympy.
    """

    def __init__(self, seconds: float = 3.0, megabytes: int = 1024) -> None:
        if find_spec("sympy") is None:
            raise MissingPackage(f"symbolic equality needs sympy: {install_extra('reasoning')}")
        self.seconds, self.megabytes = seconds, megabytes
        self.ended = 0
        self._child: subprocess.Popen[str] | None = None
        self._lines: Queue[str | None] = Queue()

    def __enter__(self) -> SymbolicJudge:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __call__(self, ours: Tree, theirs: Tree) -> bool | None:
        """Whether two formulas are equal; None if sympy cannot decide, or not in time."""
        child = self._child or self._start()
        assert child.stdin is not None
        try:
            child.stdin.write(json.dumps([ours, theirs]) + "\n")
            child.stdin.flush()
        except OSError:  # it has ended since the last question
            self._end()
            return None
        line = self._read(self.seconds)
        if line is None:
            self._end()
            return None
        answer: bool | None = json.loads(line)
        return answer

    def close(self) -> None:
        """Ends the child; the next question starts another one."""
        child, self._child = self._child, None
        if child is not None:
            child.kill()
            child.wait()
            for pipe in (child.stdin, child.stdout):
                if pipe is not None:
                    with suppress(OSError):  # what could not be written any more
                        pipe.close()

    def _end(self) -> None:
        self.ended += 1
        self.close()

    def _start(self) -> subprocess.Popen[str]:
        """Raises: RuntimeError if the child does not start, with its reason."""
        path = Path(__file__).with_name("symbolic_child.py")
        one_thread = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        child = subprocess.Popen(
            [sys.executable, "-I", str(path), str(self.megabytes)], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, encoding="utf-8",
            env={**os.environ, **one_thread},
        )  # fmt: skip
        self._child, self._lines = child, Queue()
        threading.Thread(target=_forward, args=(child, self._lines), daemon=True).start()
        if self._read(START) is None:
            self.close()
            raise RuntimeError(
                f"the process for sympy did not start with {self.megabytes} megabytes of memory"
            )
        return child

    def _read(self, seconds: float) -> str | None:
        try:
            return self._lines.get(timeout=seconds)
        except Empty:
            return None


def _forward(child: subprocess.Popen[str], lines: Queue[str | None]) -> None:
    """Puts what the child prints into the queue, and None at its end."""
    assert child.stdout is not None
    try:
        for line in child.stdout:
            lines.put(line)
    except ValueError:  # the pipe was closed
        pass
    lines.put(None)
