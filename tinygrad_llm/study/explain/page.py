"""An explanation as an HTML page in one file."""

from __future__ import annotations

from typing import Any

from ..common.formulas import with_formulas
from ..common.highlight import highlighted
from ..common.html import escape, table
from ..common.html import page as whole
from .prose import prose
from .sections import Code, Doc, Grid, Lines, Prose, Sides, sections

__all__ = ["page"]

BESIDE = 62  # columns of code for which two pieces have room side by side


def page(data: dict[str, Any]) -> str:
    """The page as HTML."""
    parts = [
        f"<main>\n<h1>{escape(data['name'])}</h1>\n<p>{with_formulas(data['title'])}</p>",
        f'<p class="soft mono">{escape(data["file"])}</p>',
    ]
    for section in sections(data):
        parts.append(f"<section>\n<h2>{escape(section.title)}</h2>")
        parts += [_shown(part) for part in section.parts]
        parts.append("</section>")
    parts.append("</main>")
    title, body = f"{data['name']} · tinygrad_llm", "\n".join(parts)
    return whole(title, body, styles=("explain.css",), scripts=("formulas.js",))


def _shown(part: Any) -> str:
    if isinstance(part, Doc):
        return prose(part.text)
    if isinstance(part, Prose):
        return f"<pre class=prose>{escape(part.text)}</pre>"
    if isinstance(part, Code):
        return f"<h3>{escape(part.title)}</h3>\n{_code(part.text)}"
    if isinstance(part, Sides):
        sides = (part.left, part.right)
        columns = max(len(line) for code in sides for line in code.text.splitlines())
        shown = "".join(f"<div>{_shown(code)}</div>" for code in sides)
        return f'<div class="two">{shown}</div>' if columns <= BESIDE else shown
    if isinstance(part, Grid):
        left = [i for i in range(len(part.head)) if i not in part.right]
        return table(part.head, part.rows, left, head_row=any(part.head))
    if isinstance(part, Lines):
        rows = "".join(
            f"<tr><td>{highlighted(code)}</td><td>{escape(values)}</td></tr>"
            for code, values in part.rows
        )
        return (
            f"<h3>{escape(part.title)}</h3>"
            f'<div class="wide" tabindex="0"><table class="lines">{rows}</table></div>'
        )
    raise TypeError(type(part).__name__)


def _code(source: str) -> str:
    return f'<pre tabindex="0"><code>{highlighted(source)}</code></pre>'
