"""Errors of the command line: one clear line and an exit code, never a traceback unless asked."""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Iterable
from typing import Any

import typer

from ..training.autopsy import NonFiniteError
from ..training.checkpoint import (
    Checkpoint,
    StorageError,
    explain_os_error,
    find_checkpoint,
)

__all__ = ["BadValue", "did_you_mean", "newest_checkpoint", "run"]

# The base of what typer raises for options that it cannot read: typer does not export it.
_UsageError: Any = typer.BadParameter.__mro__[2]


class BadValue(ValueError):
    """A value that the user gave and that cannot be used: its message is the line to print."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """ " (did you mean ...?)", or the known words when none is close."""
    known = list(known)
    close = difflib.get_close_matches(word, known, n=1)
    return f" (did you mean {close[0]}?)" if close else f"; known: {', '.join(known)}"


def newest_checkpoint(path: str | os.PathLike[str]) -> Checkpoint:
    """`find_checkpoint`, and a line on stderr for every newer one that is damaged."""
    found = find_checkpoint(os.fspath(path))
    for problem in found.passed_over:
        _say(f"{problem}; going back to {found.path}", 0)
    return found


def run(app: typer.Typer, arguments: list[str], debug: bool = False) -> int:
    """Runs a command; what it raises becomes a line on stderr and the exit code."""
    command = typer.main.get_command(app)
    try:
        code = command.main(arguments, prog_name="tinygrad-llm", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except typer.Exit as error:
        return error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        return _say("stopped", 130)
    except BrokenPipeError:  # the reader of our output (head, less) has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        if debug:
            raise
        return _explain(error)


def _explain(error: Exception) -> int:
    if isinstance(error, _UsageError):
        context = getattr(error, "ctx", None)
        if type(error).__name__ == "NoArgsIsHelpError":  # no command: its message is the help
            print(error.format_message(), file=sys.stderr)  # type: ignore[attr-defined]
            return 2
        path = context.command_path if context is not None else "tinygrad-llm"
        return _say(f"{error.format_message()} (see {path} --help)", 2)  # type: ignore[attr-defined]
    if isinstance(error, (BadValue, StorageError)):
        return _say(str(error), 2)
    if isinstance(error, NonFiniteError):
        return _say(str(error), 1)
    if isinstance(error, MemoryError):
        return _say(f"not enough memory ({error}): take a smaller model, batch or context", 2)
    if isinstance(error, OSError) and error.errno is not None:
        return _say(explain_os_error(error, error.filename or "a file"), 2)
    if isinstance(error, OSError):  # a download that failed; its message says what to do
        return _say(str(error), 2)
    kind = type(error).__name__
    return _say(f"internal error: {kind}: {error} (--debug shows where)", 1)


def _say(message: str, code: int) -> int:
    line = " ".join(message.split())
    print(f"tinygrad-llm: {line}", file=sys.stderr)
    return code
