"""Terminal output: rich's tables and panels as text that prints itself."""

from __future__ import annotations

import shutil
import sys
from typing import Any

__all__ = ["Text", "render", "terminal_width"]


class Text(str):
    """A string that a REPL shows as it prints, with its line ends."""

    def __repr__(self) -> str:
        return str(self)


def terminal_width() -> int:
    """Columns of the terminal, or 120 where there is none."""
    return shutil.get_terminal_size((120, 24)).columns if sys.stdout.isatty() else 120


def render(*parts: Any, width: int | None = None, color: bool = False) -> Text:
    """Rich renderables as text; width None takes the terminal's, or 120 where there is none."""
    import io

    from rich.console import Console

    width = width or terminal_width()
    out = io.StringIO()
    console = Console(
        file=out, width=width, force_terminal=color, color_system="standard" if color else None
    )
    for part in parts:
        console.print(part)
    lines = out.getvalue().split("\n")
    return Text("\n".join(line if color else line.rstrip() for line in lines).rstrip("\n"))
