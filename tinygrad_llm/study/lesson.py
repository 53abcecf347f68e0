"""What lessons share: where a plot goes, and a planted mistake beside the true backward."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..engine import OPS, Op

__all__ = ["broken", "save_plot"]


def save_plot(figure: Any, name: str) -> Path:
    """Save a matplotlib figure as plots/NAME.png beside the lesson that calls; the path.

    In a notebook, which has no file, plots/ is made in the folder it runs in.
    """
    file = sys._getframe(1).f_globals.get("__file__")
    folder = (Path(file).resolve().parent if file else Path.cwd()) / "plots"
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}.png"
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    print(f"plot: plots/{path.name}")
    return path


@contextlib.contextmanager
def broken(op: str, backward: Any) -> Iterator[type[Op]]:
    """Within it the op of that name has another backward: broken("layer_norm", wrong).

    backward(self, g) has the form of an op's own. ValueError for a name that no op has.
    """
    if op not in OPS:
        raise ValueError(f"no op is called {op!r}")
    cls = OPS[op]
    true = cls.backward
    cls.backward = backward  # type: ignore[method-assign]
    try:
        yield cls
    finally:
        cls.backward = true  # type: ignore[method-assign]
