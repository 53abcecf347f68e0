"""Tables that a notebook shows for a result, in place of the result's repr."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence

from .plain_text import visible

__all__ = ["cell_table"]


def cell_table(rows: Iterable[Sequence[object]], head: Sequence[object] = ()) -> str:
    """An HTML table: the first cell of each row is its name. All texts are escaped.

    head: the names of the columns, if there are more than two
    """
    top = "".join(_cell("th", name) for name in head)
    lines = [f"<tr>{top}</tr>"] if head else []
    for first, *others in rows:
        lines.append(f"<tr>{_cell('th', first)}{''.join(_cell('td', c) for c in others)}</tr>")
    return f"<table>{''.join(lines)}</table>"


def _cell(tag: str, what: object) -> str:
    return f"<{tag}>{html.escape(visible(str(what)))}</{tag}>"
