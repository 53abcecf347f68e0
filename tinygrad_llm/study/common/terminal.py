"""Text for the terminal: rich's tables and panels as strings."""

from __future__ import annotations

import html
import re
import shutil
import sys
from typing import Any

from ...files.plain_text import visible

__all__ = ["Text", "render", "terminal_width"]


class Text(str):
    """A string that Python's prompt shows as print() does, with its line breaks."""

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        """The same lines in a notebook."""
        return f"<pre>{html.escape(self)}</pre>"


def terminal_width() -> int:
    """The columns of the terminal, 120 if the output is not a terminal."""
    return shutil.get_terminal_size((120, 24)).columns if sys.stdout.isatty() else 120


def render(*parts: Any, width: int | None = None, color: bool = False) -> Text:
    """Rich's renderables as text, `width` columns wide (None: the terminal's width)."""
    import io

    from rich.console import Console

    width = width or terminal_width()
    out = io.StringIO()
    console = Console(
        file=out, width=width, force_terminal=color, color_system="standard" if color else None
    )
    for part in parts:
        console.print(part)
    text = out.getvalue()
    pieces = (
        re.split(r"(\x1b\[[0-9;]*m)", text) if color else [text]
    )  # at odd places rich's colours
    shown = "".join(p if i % 2 else visible(p) for i, p in enumerate(pieces))
    lines = shown.split("\n")
    return Text("\n".join(line if color else line.rstrip() for line in lines).rstrip("\n"))
