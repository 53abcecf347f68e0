"""How the user called this program: commands that are printed can be typed as they are."""

from __future__ import annotations

import os
import shlex
import shutil
import sys

__all__ = ["command_line", "program"]

_NAME = "tinygrad-llm"


def program() -> str:
    """The words that call the command line again: "tinygrad-llm" if a shell finds that program.

    Otherwise as it was called: ".venv/bin/tinygrad-llm" (an environment that was not activated),
    or "python -m tinygrad_llm".
    """
    called = sys.argv[0] if sys.argv else ""
    name = os.path.basename(called)
    if name in (_NAME, f"{_NAME}.exe"):
        return _NAME if _same(shutil.which(_NAME), called) else shlex.quote(called)
    if name == "__main__.py" and os.path.basename(os.path.dirname(called)) in (
        "tinygrad_llm",
        "cli",
    ):
        known = next(
            (p for p in ("python", "python3") if _same(shutil.which(p), sys.executable)), ""
        )
        return f"{known or shlex.quote(sys.executable)} -m tinygrad_llm"
    return _NAME


def command_line(*words: object) -> str:
    """A command of this program as a line for a shell, each word quoted where it must be."""
    return " ".join([program(), *(shlex.quote(str(word)) for word in words)])


def _same(path: str | None, other: str) -> bool:
    """Whether both name one file; the links of a virtual environment are files of their own."""
    return path is not None and os.path.abspath(path) == os.path.abspath(other)
