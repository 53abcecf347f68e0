"""An explanation as an HTML page in one file."""

from __future__ import annotations

from typing import Any

from ..common.html import escape, table
from ..common.html import page as whole
from .sections import Code, Grid, Lines, Prose, Sides, sections

__all__ = ["page"]


def page(data: dict[str, Any]) -> str:
    """The page as HTML."""
    parts = [
        f"<main>\n<h1>{escape(data['name'])}</h1>\n<p>{escape(data['title'])}</p>",
        f'<p class="soft mono">{escape(data["file"])}</p>',
    ]
    for section in sections(data):
        parts.append(f"<section>\n<h2>{escape(section.title)}</h2>")
        parts += [_shown(part) for part in section.parts]
        parts.append("</section>")
    parts.append("</main>")
    return whole(f"{data['name']} · tinygrad_llm", "\n".join(parts), styles=("explain.css",))


def _shown(part: Any) -> str:
    if isinstance(part, Prose):
        return f"<pre class=prose>{escape(part.text)}</pre>"
    if isinstance(part, Code):
        return f"<h3>{escape(part.title)}</h3>\n{_code(part.text)}"
    if isinstance(part, Sides):
        return (
            f'<div class="two"><div>{_shown(part.left)}</div><div>{_shown(part.right)}</div></div>'
        )
    if isinstance(part, Grid):
        left = [i for i in range(len(part.head)) if i not in part.right]
        return table(part.head, part.rows, left, head_row=any(part.head))
    if isinstance(part, Lines):
        rows = "".join(
            f"<tr><td>{escape(code)}</td><td>{escape(values)}</td></tr>"
            for code, values in part.rows
        )
        return (
            f"<h3>{escape(part.title)}</h3>"
            f'<div class="wide" tabindex="0"><table class="lines">{rows}</table></div>'
        )
    raise TypeError(type(part).__name__)


def _code(source: str) -> str:
    return f'<pre tabindex="0"><code>{escape(source)}</code></pre>'
