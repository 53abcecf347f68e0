"""An explanation as an HTML page in one file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ..common.formulas import with_formulas, with_lines
from ..common.highlight import highlighted
from ..common.html import escape, leads, table
from ..common.html import page as whole
from .prose import prose
from .sections import Code, Doc, Grid, Lines, Prose, Sides, Voices, sections

__all__ = ["page"]

FIGURE = "Its graph, forward and backward"
FIGURES = {"optimizer": "One step, drawn", "schedule": "Its rates, drawn"}
SIDE_BY_SIDE = 62  # columns of code for which two pieces have room side by side


def page(
    data: dict[str, Any],
    diagram: tuple[str, str] = ("", ""),
    links: Mapping[str, str] | None = None,
) -> str:
    """The page as HTML.

    diagram: SVG and the words under it; links: word -> address, shown at the top
    """
    parts = [
        f"<main>\n{leads(links)}<h1>{escape(data['name'])}</h1>",
        f"<p>{with_formulas(data['title'])}</p>",
        f'<p class="soft mono">{escape(data["file"])}</p>',
    ]
    if diagram[0]:  # a picture before the formulas
        parts.append(_figure(_heading(data), *diagram))
    for section in sections(data):
        parts.append(f"<section>\n<h2>{escape(section.title)}</h2>")
        parts += [_shown(part) for part in section.parts]
        parts.append("</section>")
    parts.append("</main>")
    title, body = f"{data['name']} · tinygrad_llm", "\n".join(parts)
    return whole(title, body, styles=("explain.css",), scripts=("formulas.js",))


def _heading(data: dict[str, Any]) -> str:
    if data["kind"] == "layer" and not data["example"]["gradients"]:
        return "What goes in, and what comes out"
    return FIGURES.get(data["kind"], FIGURE)


def _figure(title: str, svg: str, words: str) -> str:
    """A section with the diagram, which scrolls in its own box where the page is narrow."""
    svg = re.sub(r' xmlns="[^"]*"', "", svg, count=1)  # within HTML no address is needed
    svg = re.sub(r' width="(\d+)"', r' width="\1" style="--width: \1px"', svg, count=1)
    return (
        f'<section>\n<h2>{escape(title)}</h2>\n<p class="soft">{escape(words)}</p>'
        f'<div class="diagram" tabindex="0">{svg}</div></section>'
    )


def _shown(part: Any) -> str:
    if isinstance(part, Doc):
        return prose(part.text)
    if isinstance(part, Prose):
        return f"<pre class=prose>{escape(part.text)}</pre>"
    if isinstance(part, Code):
        return f"<h3>{escape(part.title)}</h3>\n{_code(part.text)}"
    if isinstance(part, Voices):
        return "".join(
            f"<h3>{escape(step)}</h3>"
            f'<div class="plain"><span class="voice">in plain words</span>{escape(plain)}</div>'
            f'<div class="exact"><span class="voice">exactly</span>{with_lines(exact)}</div>'
            for step, plain, exact in part.rows
        )
    if isinstance(part, Sides):
        sides = (part.left, part.right)
        columns = max(len(line) for code in sides for line in code.text.splitlines())
        shown = "".join(f"<div>{_shown(code)}</div>" for code in sides)
        return f'<div class="two">{shown}</div>' if columns <= SIDE_BY_SIDE else shown
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
