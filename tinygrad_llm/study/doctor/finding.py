"""What the doctor finds: one line per finding, with what to do about it."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["SEVERITIES", "Finding", "guarded", "installed", "pip_install", "run_python", "version"]

SEVERITIES = ("ok", "note", "slow", "broken")  # from good to bad


@dataclass(frozen=True)
class Finding:
    """One thing that was examined.

    area       its heading
    name       a short key, the same on every machine, such as "matrix products"
    severity   ok; note: an optional piece that is missing; slow: works, but could be faster;
               broken: something that should work does not
    text       what was found, for a reader who does not know the subject
    advice     what it means and what to do; "" if there is nothing to do
    command    the command that repairs it, to be copied; "" if there is none
    facts      the numbers in it, by name
    """

    area: str
    name: str
    severity: str
    text: str
    advice: str = ""
    command: str = ""
    facts: dict[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """The fields as a dict."""
        return asdict(self)


def guarded(area: str, name: str, look: Callable[[], list[Finding]]) -> list[Finding]:
    """The findings of `look`; a note if it raises, so that the report is always complete."""
    try:
        return look()
    except Exception as error:
        text = f"{name}: could not be examined ({type(error).__name__}: {error})"
        return [Finding(area, name, "note", text)]


def installed(package: str) -> bool:
    """Whether a package can be imported, without importing it."""
    try:
        return importlib.util.find_spec(package) is not None
    except (ImportError, ValueError):
        return False


def version(distribution: str) -> str:
    """The version of an installed distribution, "" if it is unknown."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return ""


def pip_install(*packages: str) -> str:
    """The command that installs packages for this Python; "" where nothing here could install them.

    An environment made by uv has no pip, and a Python of Linux distributions no ensurepip.
    """
    python = sys.executable or "python"
    relative = os.path.relpath(python) if os.name != "nt" else python
    inside = len(relative) < len(python) and not relative.startswith("..")
    short = relative if inside else python
    quoted = [f"'{p}'" if "[" in p else p for p in packages]
    words = " ".join(quoted)
    if installed("pip"):
        return f"{short} -m pip install {words}"
    if shutil.which("uv"):
        return f"uv pip install --python {short} {words}"
    if installed("ensurepip"):
        return f"{short} -m ensurepip && {short} -m pip install {words}"
    return ""


def run_python(
    arguments: Sequence[str], environment: Mapping[str, str] | None = None, timeout: float = 30.0
) -> tuple[int | None, str, str]:
    """Run this Python in a child process: (exit code, output, errors).

    The exit code is None if it ran longer than `timeout` seconds.
    """
    env = dict(os.environ if environment is None else environment)
    package = str(Path(__file__).resolve().parents[3])  # the folder of tinygrad_llm
    env["PYTHONPATH"] = os.pathsep.join(filter(None, [env.get("PYTHONPATH"), package]))
    try:
        done = subprocess.run(
            [sys.executable, *arguments], env=env, capture_output=True, text=True, timeout=timeout,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return None, "", f"it had not ended after {timeout:g} seconds"
    return done.returncode, done.stdout, done.stderr
