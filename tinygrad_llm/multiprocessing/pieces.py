"""Work that several processes share: each takes the next piece that nobody has taken.

share(begin, pieces, 4, collected, (OSError,), 5.0)     # collected(place, result) is called here
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence
from typing import Any

from . import ProcessException, start_processes

__all__ = ["EndedError", "share"]

_STEP = 0.2  # seconds between looks for results


class EndedError(RuntimeError):
    """A process ended before its work was done: how it ended, in one line."""


def share(
    begin: Callable[[], Callable[[Any], Any]],
    pieces: Sequence[Any],
    n: int,
    collected: Callable[[int, Any], None],
    refusals: tuple[type[Exception], ...],
    grace: float,
) -> None:
    """Calls work(piece) for each piece in n processes, each of which got its work from begin().

    begin, pieces, results, refusals: as pickle takes them; collected: called in this process with
    the place of a piece and its result, as results come; grace: seconds in which a process that is
    stopped may end by itself
    After an interruption each process stops as its work does, and the results so far are kept.
    Raises: what begin or work raised, if it is of `refusals`; EndedError if a process ended in
    another way.
    """
    context = multiprocessing.get_context("spawn")
    taken, results = context.Value("q", 0), context.SimpleQueue()
    started: Any = start_processes(
        _take, (begin, list(pieces), taken, results, refusals), n, join=False, daemon=True
    )

    def collect() -> None:
        while not results.empty():
            place, result, refusal = results.get()
            if refusal is not None:
                raise refusal
            collected(place, result)

    try:
        while not started.join(_STEP, grace):
            collect()
        collect()
    except ProcessException as error:
        collect()
        raise EndedError(str(error).strip().splitlines()[-1]) from error
    finally:
        started.stop(grace)


def _take(
    i: int, begin: Callable[[], Callable[[Any], Any]], pieces: list[Any], taken: Any, results: Any,
    refusals: tuple[type[Exception], ...],
) -> None:  # fmt: skip
    """What a process does: the next piece that nobody has taken, until all are taken."""
    try:
        work = begin()
        while True:
            with taken.get_lock():
                place = taken.value
                taken.value += 1
            if place >= len(pieces):
                return
            results.put((place, work(pieces[place]), None))
    except refusals as error:
        results.put((None, None, error))
