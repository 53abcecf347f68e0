"""Python source in HTML, its keywords, strings, numbers and comments coloured."""

from __future__ import annotations

import keyword
import re

from .html import escape

__all__ = ["highlighted"]

PIECE = re.compile(
    r'''(?P<comment>\#[^\n]*)
    | (?P<string>[rbf]{0,2}(?:"""[\s\S]*?"""|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'))
    | (?P<number>\b\d[\d_.]*(?:e[-+]?\d+)?\b)
    | (?P<name>[^\W\d]\w*)''',
    re.X,
)
CALLED = re.compile(r"\s*\(")


def highlighted(source: str) -> str:
    """The source as HTML with a <span class> around each piece that has a colour."""
    parts, at = [], 0
    for match in PIECE.finditer(source):
        parts.append(escape(source[at : match.start()]))
        kind, text = match.lastgroup or "", match[0]
        if kind == "name":
            kind = "keyword" if keyword.iskeyword(text) or text == "self" else ""
            if not kind and CALLED.match(source, match.end()):
                kind = "called"
        shown = escape(text)
        parts.append(f'<span class="{kind}">{shown}</span>' if kind else shown)
        at = match.end()
    return "".join(parts) + escape(source[at:])
