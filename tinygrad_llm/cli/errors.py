"""Errors of the command line: one clear line and an exit code; a traceback only with --debug."""

from __future__ import annotations

import difflib
import functools
import os
import sys
from typing import Any

import typer

from ..files.packages import MissingPackage
from ..files.paths import local_path
from ..files.plain_text import say, visible
from ..files.program import program
from ..training import runs
from ..training.autopsy import NonFiniteError
from ..training.checkpoint import Checkpoint, StorageError, explain_os_error
from ..training.options import OptionError, Options, blame
from .places import another_explains, prefix

__all__ = ["BadValue", "blame", "newest_checkpoint", "print_error", "published_names", "run"]

# The base of what typer raises for options that it cannot read: typer does not export it.
_UsageError: Any = typer.BadParameter.__mro__[2]
_STOPPED = 130  # the exit code after Ctrl-C


class BadValue(OptionError):
    """A value that the user gave and that cannot be used: its message is the line to print."""


def newest_checkpoint(path: str | os.PathLike[str], or_published: bool = False) -> Checkpoint:
    """The newest valid one, and a line on stderr for every newer checkpoint that is damaged.

    or_published: whether a published model could have been named instead, for the message
    Raises: BadValue if there is no such path and or_published; see runs.newest_checkpoint.
    """
    if or_published and not local_path(path).exists():
        names = published_names()
        near = difflib.get_close_matches(str(path), names, n=1, cutoff=0.4)
        hint = f"did you mean {near[0]}? " if near else ""
        raise BadValue(
            f"{path} does not exist: {hint}give a run's folder, a checkpoint in it, a folder or "
            f"file of weights, or a published model: {', '.join(names)}"
        )
    return runs.newest_checkpoint(os.fspath(path), print_error)


def published_names() -> list[str]:
    """The names of published models, as `models list` shows them."""
    from ..models.pretrained import PRETRAINED
    from ..weights.packaged import PACKAGED

    return [*PACKAGED, *PRETRAINED]


@functools.cache
def _command(app: typer.Typer) -> Any:
    """The app's command: typer makes those of all subcommands, which takes a tenth of a second."""
    return typer.main.get_command(app)


def run(app: typer.Typer, arguments: list[str], debug: bool = False) -> int:
    """Runs a command; an exception becomes a line on stderr and the exit code that is returned.

    Raises: the exception itself if debug is True.
    """
    try:
        code = _command(app).main(arguments, prog_name=program(), standalone_mode=False)
        if code == _STOPPED:  # a typer that makes an exit code of Ctrl-C itself
            raise KeyboardInterrupt
        return code if isinstance(code, int) else 0
    except typer.Exit as error:
        return error.exit_code
    except (KeyboardInterrupt, typer.Abort) as error:
        return _STOPPED if another_explains(error) else _fail("stopped", _STOPPED)
    except BrokenPipeError:  # the reader of our output (head, less) has ended
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        if another_explains(error):
            return 1
        if debug:
            raise
        return _explain(error)


def _explain(error: Exception) -> int:
    if isinstance(error, _UsageError):
        return _explain_usage(error)
    if isinstance(error, OptionError):
        return _fail(error.spelled(_flag), 2)
    if isinstance(error, StorageError):
        return _fail(str(error), 2)
    if isinstance(error, NonFiniteError):
        return _fail(str(error), 1)
    if isinstance(error, MemoryError):
        return _fail(f"not enough memory ({error}): take a smaller model, batch or context", 2)
    if isinstance(error, OSError) and error.errno is not None:
        return _fail(explain_os_error(error, error.filename or "a file"), 2)
    if isinstance(error, OSError):  # a download that failed; its message says what to do
        return _fail(str(error), 2)
    if isinstance(error, MissingPackage):
        return _fail(str(error), 2)
    kind = type(error).__name__
    return _fail(f"internal error: {kind}: {error} (--debug shows where)", 1)


def _explain_usage(error: Any) -> int:
    if type(error).__name__ == "NoArgsIsHelpError":  # no command: its message is the help
        say(error.format_message(), file=sys.stderr)
        return 2
    path = error.ctx.command_path if error.ctx is not None else program()
    return _fail(f"{error.format_message()} (see {path} --help)", 2)


def _flag(name: str) -> str:
    """How the command line spells an option: --batch-size, or CORPUS."""
    from ..finetune.commands import COMMANDS
    from ..training.presets import PretrainOptions

    kinds: tuple[type[Options], ...] = (PretrainOptions, *COMMANDS.values())
    for kind in kinds:
        if name in kind.declared():
            return kind.declared()[name].flag
    return f"--{name.replace('_', '-')}"


def print_error(message: str) -> None:
    """Prints a message on stderr, with its line breaks."""
    lines = (" ".join(line.split()) for line in visible(message).split("\n"))
    say("tinygrad-llm: " + "\n".join(line for line in lines if line), file=sys.stderr)


def _fail(message: str, code: int) -> int:
    """Prints one line on stderr; returns the exit code."""
    print_error(prefix() + message)
    return code
