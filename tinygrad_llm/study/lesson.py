"""What the lessons share: plots, --full, data that may be missing, a wrong backward."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from ..autograd.engine import OPS, Op
from ..files.downloads import DownloadError

__all__ = ["broken", "full_run", "get_or_explain", "save_plot"]

T = TypeVar("T")


def save_plot(figure: Any, name: str) -> Path:
    """Save a matplotlib figure as plots/NAME.png in the folder of the lesson; returns the path.

    In a notebook, which has no file, plots/ is created in the current folder.
    """
    file = sys._getframe(1).f_globals.get("__file__")
    folder = (Path(file).resolve().parent if file else Path.cwd()) / "plots"
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}.png"
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    print(f"plot: plots/{path.name}")
    return path


def full_run(what: str) -> bool:
    """Whether the lesson was started with --full. Prints what a full run does.

    what: a sentence with the time that it takes, such as "trains 5 epochs on the whole set: about
    4 minutes on two cores". A notebook has no command line: write `full = True` in place of the
    call there.
    """
    if "--full" not in sys.argv[1:]:
        print(f"(a short run; with --full: {what})")
        return False
    print(f"--full: {what}", flush=True)
    return True


def get_or_explain(get: Callable[[], T], instead: str) -> T | None:
    """What get() returns, or None after printing what is missing and what is done instead.

    For data that may be neither on this machine nor available without a network:

        corpus = get_or_explain(lambda: corpora.load("the-verdict"), "Python's manual is read.")
        corpus = corpus or corpora.load()
    """
    try:
        return get()
    except DownloadError as error:
        print(f"missing: {error}\nInstead: {instead}")
        return None


@contextlib.contextmanager
def broken(op: str, backward: Callable[[Any, Any], Any]) -> Iterator[type[Op]]:
    """A context in which the op of this name has another backward: broken("layer_norm", wrong).

    op          the op's name
    backward    a function (self, g), in the form of an op's backward

    Raises: ValueError if no op has this name.
    """
    if op not in OPS:
        raise ValueError(f"no op is called {op!r}")
    cls = OPS[op]
    true = cls.backward
    cls.backward = backward  # type: ignore[method-assign, assignment]
    try:
        yield cls
    finally:
        cls.backward = true  # type: ignore[method-assign]
