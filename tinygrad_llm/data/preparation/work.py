"""The passes over all units, in one process or in several, each of which takes the next unit."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from ...multiprocessing import ProcessException, start_processes
from ...text import load_tokenizer
from .settings import Settings
from .sources import Unit
from .store import Store
from .tokens import tokenize_unit
from .units import clean_unit

__all__ = ["Job", "PreparationError", "run_pass"]

PASSES = {"clean": "json", "tokenize": "tokens.json"}  # name -> the file that says it is done
_STEP = 0.2  # seconds between looks at how far the processes are


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
    progress(of - len(left), of)
    processes = min(processes, len(left))
    if processes <= 1:
        work = _pass(name, job)
        for i, number in enumerate(left):
            work(number)
            progress(of - len(left) + i + 1, of)
        return
    context = multiprocessing.get_context("spawn")
    taken, errors = context.Value("q", 0), context.SimpleQueue()
    started: Any = start_processes(
        _work, (name, job, left, taken, errors), processes, join=False, daemon=True
    )
    try:
        while not started.join(_STEP):
            done = max(0, min(taken.value, len(left)) - processes)
            progress(of - len(left) + done, of)
    except ProcessException as error:
        raise PreparationError(errors.get() if not errors.empty() else _last_line(error)) from error
    finally:
        started.stop(1.0)
    progress(of, of)


def _last_line(error: ProcessException) -> str:
    return f"a process of the preparation ended: {str(error).strip().splitlines()[-1]}"


def _pass(name: str, job: Job) -> Callable[[int], None]:
    """The function that does one unit."""
    store = Store(job.out)
    if name == "clean":
        return lambda n: clean_unit(job.folder, job.units[n], n, job.settings, store)
    tokenizer = load_tokenizer(job.out / "tokenizer.json")
    return lambda n: tokenize_unit(n, job.settings, store, tokenizer)


def _work(i: int, name: str, job: Job, left: list[int], taken: Any, errors: Any) -> None:
    """What a process does: the next unit that nobody has taken, until there are none."""
    try:
        work = _pass(name, job)
        while True:
            with taken.get_lock():
                place = taken.value
                taken.value += 1
            if place >= len(left):
                return
            work(left[place])
    except (OSError, ValueError) as error:
        errors.put(str(error))
        raise
