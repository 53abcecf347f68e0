"""The passes over all units, in one process or in several, each of which takes the next unit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

from ...multiprocessing.pieces import EndedError, share
from ...text import load_tokenizer
from .settings import Settings
from .sources import Unit
from .store import Store
from .tokens import tokenize_unit
from .units import clean_unit

__all__ = ["Job", "PreparationError", "run_pass"]

PASSES = {"clean": "json", "tokenize": "tokens.json"}  # name -> the file that says it is done
_GRACE = 1.0  # seconds in which a process that is stopped may end by itself


class PreparationError(RuntimeError):
    """A pass that could not end, such as on a full disk: one line for the user."""


class Job(NamedTuple):
    """What a process needs to know."""

    folder: Path
    out: Path
    units: list[Unit]
    settings: Settings


def run_pass(name: str, job: Job, processes: int, progress: Callable[[int, int], None]) -> None:
    """One pass over all units that are not done; progress is called with (done, of).

    Raises: PreparationError if a process ended before its work was done, OSError from the disk.
    """
    store = Store(job.out)
    left = [n for n in range(len(job.units)) if not store.done(n, PASSES[name])]
    of = len(job.units)
    done = of - len(left)
    progress(done, of)

    def collected(place: int, result: None) -> None:
        nonlocal done
        done += 1
        progress(done, of)

    processes = min(processes, len(left))
    if processes <= 1:
        work = _pass(name, job)
        for i, number in enumerate(left):
            collected(i, work(number))
        return
    try:
        begin = partial(_pass_in_a_process, name, job)
        share(begin, left, processes, collected, (PreparationError,), _GRACE)
    except EndedError as error:
        raise PreparationError(f"a process of the preparation ended: {error}") from error


def _pass(name: str, job: Job) -> Callable[[int], None]:
    """The function that does one unit."""
    store = Store(job.out)
    if name == "clean":
        return lambda n: clean_unit(job.folder, job.units[n], n, job.settings, store)
    tokenizer = load_tokenizer(job.out / "tokenizer.json")
    return lambda n: tokenize_unit(n, job.settings, store, tokenizer)


def _pass_in_a_process(name: str, job: Job) -> Callable[[int], None]:
    """As _pass; errors are those of one line for the user."""
    with _explained():
        work = _pass(name, job)

    def unit(n: int) -> None:
        with _explained():
            work(n)

    return unit


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        line = f"{error.filename}: {error.strerror}" if error.strerror else str(error)
        raise PreparationError(line) from error
    except ValueError as error:
        raise PreparationError(str(error)) from error
