"""Work that several processes share: each takes the next piece that nobody has taken.

share(train, pieces, 4, collected)        # collected(piece, result) is called here, as results come
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence
from typing import Any

from ...functions.settings import set_num_threads
from ...multiprocessing import ProcessException, start_processes
from ..checkpoint import StorageError
from ..options import OptionError

__all__ = ["share"]

_STEP = 0.2  # seconds between looks for results
_GRACE = 20.0  # seconds in which a process that is stopped may save its run


def share(
    work: Callable[[Any], Any], pieces: Sequence[Any], n: int, collected: Callable[[Any, Any], None]
) -> None:
    """Calls work(piece) for each piece, in n processes of one thread each.

    work, pieces: as pickle takes them; collected: called in this process with (piece, result), as
    results come.
    After an interruption each process stops as its work does, and the results so far are kept.
    Raises: OptionError as `work` does; StorageError if a process ended before its work was done.
    """
    context = multiprocessing.get_context("spawn")
    taken, results = context.Value("q", 0), context.SimpleQueue()
    started: Any = start_processes(
        _take, (work, list(pieces), taken, results), min(n, len(pieces)), join=False, daemon=True
    )

    def collect() -> None:
        while not results.empty():
            place, result, refusal = results.get()
            if refusal is not None:
                raise OptionError(refusal)
            collected(pieces[place], result)

    try:
        while not started.join(_STEP, _GRACE):
            collect()
        collect()
    except ProcessException as error:
        collect()
        last = str(error).strip().splitlines()[-1]
        raise StorageError(f"a process ended before its work was done: {last}") from error
    finally:
        started.stop(_GRACE)


def _take(i: int, work: Callable[[Any], Any], pieces: list[Any], taken: Any, results: Any) -> None:
    """What a process does: the next piece that nobody has taken, until there are none."""
    set_num_threads(1)
    while True:
        with taken.get_lock():
            place = taken.value
            taken.value += 1
        if place >= len(pieces):
            return
        try:
            result = work(pieces[place])
        except OptionError as error:
            results.put((place, None, error.message))
            return
        results.put((place, result, None))
