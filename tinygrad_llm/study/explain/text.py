"""An explanation as text for the terminal."""

from __future__ import annotations

from typing import Any

from ..common.terminal import Text, render, terminal_width
from .names import catalogue
from .picture import picture
from .sections import Code, Grid, Lines, Prose, Section, Sides, Voices, sections

__all__ = ["listing", "text"]


def text(data: dict[str, Any], width: int | None = None, color: bool = False) -> Text:
    """The whole explanation, `width` columns wide (None: the terminal's width)."""
    from rich.rule import Rule
    from rich.text import Text as Line

    width = width or terminal_width()
    parts: list[Any] = [Line(f"{data['name']}   {data['title']}", style="bold"), data["file"]]
    drawn = Section("In a picture", [Prose(shown)] if (shown := picture(data)) else [])
    for section in [*([drawn] if drawn.parts else []), *sections(data)]:
        parts += ["", Rule(Line(section.title, style="bold cyan"), align="left", style="cyan")]
        parts += _parts(section, width)
    return render(*parts, width=width, color=color)


def _parts(section: Section, width: int) -> list[Any]:
    shown: list[Any] = []
    for part in section.parts:
        shown += _shown(part, width)
    return shown


def _shown(part: Any, width: int) -> list[Any]:
    from rich import box
    from rich.table import Table
    from rich.text import Text as Line

    if isinstance(part, Prose):
        return [Line(part.text)]
    if isinstance(part, Code):
        return [Line(part.title, style="italic"), _code(part.text)]
    if isinstance(part, Sides):
        longest = [max(map(len, c.text.split("\n")), default=0) for c in (part.left, part.right)]
        if sum(longest) + 3 > width:
            return [*_shown(part.left, width), "", *_shown(part.right, width)]
        sides = Table.grid(padding=(0, 3))
        sides.add_row(Line(part.left.title, style="italic"), Line(part.right.title, style="italic"))
        sides.add_row(_code(part.left.text), _code(part.right.text))
        return [sides]
    if isinstance(part, Voices):
        voices = Table.grid(padding=(0, 2), expand=False)
        voices.add_column(style="bold")
        voices.add_column(ratio=1, overflow="fold")
        for step, plain, exact in part.rows:
            voices.add_row(Line(step), Line(plain))
            voices.add_row("", Line(exact, style="cyan"))
        return [voices]
    if isinstance(part, Grid):
        bare = not any(part.head)
        table = Table(box=None if bare else box.SIMPLE_HEAD, show_header=not bare, pad_edge=False)
        for i, name in enumerate(part.head):
            table.add_column(name, justify="right" if i in part.right else "left", overflow="fold")
        for row in part.rows:
            table.add_row(*[Line(cell) for cell in row])
        return [table]
    if isinstance(part, Lines):
        table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
        table.add_column(overflow="fold", max_width=max(30, width // 2))
        table.add_column(overflow="fold", style="yellow")
        for statement, values in part.rows:
            table.add_row(_code(statement), Line(values))
        return ["", Line(part.title, style="italic"), table]
    raise TypeError(type(part).__name__)


def _code(source: str) -> Any:
    from rich.syntax import Syntax

    return Syntax(source, "python", theme="ansi_dark", background_color="default", word_wrap=True)


def listing(width: int | None = None, color: bool = False) -> Text:
    """Everything that can be explained, by family, one line each."""
    from rich.table import Table
    from rich.text import Text as Line

    width = width or terminal_width()
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    families = catalogue()
    longest = max(len(name) for members in families.values() for name, _ in members)
    table.add_column(no_wrap=True, style="cyan", min_width=longest + 2)
    table.add_column(no_wrap=True, overflow="ellipsis")
    for family, members in families.items():
        table.add_row(Line(family, style="bold"), "")
        for name, first in members:
            table.add_row(Line(f"  {name}"), Line(first))
    return render(table, width=width, color=color)
