"""How the user called this program: commands that are printed can be typed as they are."""

from __future__ import annotations

import os
import shlex
import shutil
import sys

__all__ = ["command_line", "program"]

_NAME = "tinygrad-llm"
_MODULES = {"cli": "tinygrad_llm.cli", "tinygrad_llm": "tinygrad_llm"}  # by their folder


def program() -> str:
    """The words that call the command line again: "tinygrad-llm" if a shell finds that program.

    Otherwise as it was called: ".venv/bin/tinygrad-llm" (an environment that was not activated),
    or "python -m tinygrad_llm.cli".
    """
    called = sys.argv[0] if sys.argv else ""
    name, folder = os.path.basename(called), os.path.basename(os.path.dirname(called))
    if name in (_NAME, f"{_NAME}.exe"):
        return _NAME if _same(shutil.which(_NAME), called) else shlex.quote(called)
    if name == "__main__.py" and folder in _MODULES:
        names = [
            word for word in ("python", "python3") if _same(shutil.which(word), sys.executable)
        ]
        python = names[0] if names else shlex.quote(sys.executable)
        return f"{python} -m {_MODULES[folder]}"
    return _NAME


def command_line(*words: object) -> str:
    """A command of this program as a line for a shell, each word quoted where it must be."""
    return " ".join([program(), *(shlex.quote(str(word)) for word in words)])


def _same(path: str | None, other: str) -> bool:
    """Whether both name one file; each link of a virtual environment counts as a file."""
    return path is not None and os.path.abspath(path) == os.path.abspath(other)
