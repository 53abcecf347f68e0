"""Runs that several processes share, of one thread each.

share(train, points, 4, collected)        # collected(point, result) is called here, as results come
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from ...functions.settings import set_num_threads
from ...multiprocessing import pieces as shared
from ..checkpoint import StorageError
from ..options import OptionError

__all__ = ["share"]

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
    try:
        shared.share(
            partial(_with_one_thread, work), pieces, min(n, len(pieces)),
            lambda place, result: collected(pieces[place], result), (OptionError,), _GRACE,
        )  # fmt: skip
    except shared.EndedError as error:
        raise StorageError(f"a process ended before its work was done: {error}") from error


def _with_one_thread(work: Callable[[Any], Any]) -> Callable[[Any], Any]:
    set_num_threads(1)
    return work
