"""HTML pages in one file: no server, no network, light and dark, readable on a phone.

Styles and scripts are files in page/; their text is put into the page.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import math
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ...files.paths import local_path
from ...files.plain_text import visible

__all__ = [
    "FilePath",
    "InNotebooks",
    "asset",
    "data",
    "escape",
    "leads",
    "line_chart",
    "page",
    "policy_of",
    "table",
    "written",
]

FilePath = str | os.PathLike[str]


class InNotebooks:
    """What has `html()`, a whole page: a notebook shows it below the cell, in a frame.

    The frame keeps the page's styles and scripts apart from those of the notebook.
    """

    frame_height = 640  # pixels

    def _repr_html_(self) -> str:
        whole: str = self.html()  # type: ignore[attr-defined]
        return (
            f'<iframe srcdoc="{html.escape(whole)}" sandbox="allow-scripts" title="tinygrad_llm" '
            f'style="width: 100%; height: {self.frame_height}px; border: 0"></iframe>'
        )


def escape(text: str) -> str:
    """A text for a page or a drawing: it can neither end an element nor an attribute.

    Control characters, which XML does not have, and halves of characters are shown as signs.
    """
    return html.escape(visible(text))


def asset(name: str | Path) -> str:
    """The text of a file in page/, or of one whose whole path is given."""
    return (Path(__file__).parent / "page" / name).read_text("utf-8")


def page(
    title: str, body: str, *, styles: Sequence[str | Path] = (), scripts: Sequence[str | Path] = (),
    policy: str | None = None,
) -> str:  # fmt: skip
    """A whole HTML document; `styles` and `scripts` name files of page/ in addition to base.css.

    Paths of files elsewhere may stand there too. policy: parts of a Content-Security-Policy that
    the page states, beside the hashes of the styles and scripts in it; everything else is forbidden
    """
    css = "\n" + "\n".join(asset(name) for name in ("base.css", *styles))
    texts = [f"\n{asset(name)}" for name in scripts]
    js = "".join(f"<script>{text}</script>\n" for text in texts)
    stated = "" if policy is None else _policy(css, texts, policy)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'{stated}<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<link rel="icon" href="data:,">\n'
        f"<title>{escape(title)}</title>\n<style>{css}</style>\n</head>\n"
        f"<body>\n{body}\n{js}</body>\n</html>\n"
    )


def leads(links: Mapping[str, str] | None) -> str:
    """A line of links, word -> address, for the top of a page; nothing without links."""
    shown = (f'<a href="{escape(to)}">{escape(word)}</a>' for word, to in (links or {}).items())
    return f"<nav>{' · '.join(shown)}</nav>\n" if links else ""


def _policy(style: str, scripts: Iterable[str], more: str) -> str:
    def source(text: str) -> str:
        return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"

    rules = (
        f"default-src 'none'; img-src data:; base-uri 'none'; form-action 'none'; "
        f"style-src {source(style)}; script-src {' '.join(map(source, scripts))}; {more}"
    )
    return f'<meta http-equiv="Content-Security-Policy" content="{rules.strip("; ")}">\n'


def policy_of(text: str) -> str:
    """The Content-Security-Policy that a page of `page` states, for a server's header too."""
    match = re.search(r'Content-Security-Policy" content="([^"]*)"', text)
    return "" if match is None else match[1]


def data(name: str, value: Any) -> str:
    """A value for the page's script, as JSON with an id; NaN and infinities become strings."""
    text = json.dumps(finite(value), ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    text = text.replace("<", "\\u003c")  # no text can end the script element, or begin a comment
    text = text.encode("utf-8", "backslashreplace").decode()  # half a character becomes \\ud800
    return f'<script type="application/json" id="{name}">{text}</script>'


def finite(value: Any) -> Any:
    """The value with "nan", "inf" and "-inf" in place of the floats that JSON does not have."""
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, dict):
        return {str(k): finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [finite(v) for v in value]
    return value


def table(
    head: Sequence[str],
    rows: Iterable[Sequence[str]],
    left: Iterable[int] = (0,),
    head_row: bool = True,
) -> str:
    """A table of texts, which are escaped; `left` are the columns aligned to the left."""
    left = set(left)

    def cells(tag: str, row: Sequence[str]) -> str:
        return "".join(
            f"<{tag}{' class=left' if i in left else ''}>{escape(str(c))}</{tag}>"
            for i, c in enumerate(row)
        )

    body = "\n".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    top = f"<thead><tr>{cells('th', head)}</tr></thead>\n" if head_row else ""
    return f'<div class="wide" tabindex="0"><table>\n{top}<tbody>\n{body}\n</tbody></table></div>'


def line_chart(
    points: Sequence[tuple[float, float]],
    *,
    label: str,
    x_label: str,
    log: bool = False,
    steps: bool = False,
    y_text: Callable[[float], str] | None = None,
    marks: Sequence[tuple[float, str]] = (),
) -> str:
    """A line through (x, y) points as SVG in the page's colours.

    log: a logarithmic scale for y. steps: y keeps its value until the next x. marks: (x, word),
    written above the line. y_text: a function from a number to its label on the y axis.
    """
    width, height, left, right, top, bottom = 560, 240, 64, 12, 26, 30
    y_text = y_text or (lambda v: f"{v:.3g}")
    points = [(x, y) for x, y in points if math.isfinite(y) and (y > 0 or not log)]
    if not points:
        return '<p class="soft">no data to draw</p>'
    scale = (lambda v: math.log10(v)) if log else (lambda v: v)
    xs, ys = [x for x, _ in points], [scale(y) for _, y in points]
    x0, x1 = min(xs), max(xs)
    y0, y1 = (min(ys), max(ys)) if log else (0.0, max(ys))
    x1, y1 = x1 if x1 > x0 else x0 + 1, y1 if y1 > y0 else y0 + 1

    def at(x: float, y: float) -> tuple[float, float]:
        return (
            left + (x - x0) / (x1 - x0) * (width - left - right),
            height - bottom - (y - y0) / (y1 - y0) * (height - top - bottom),
        )

    path = _path([at(x, y) for x, y in zip(xs, ys, strict=True)], steps)
    base = height - bottom
    first, last = path[0].split(",")[0], path[-1].split(",")[0]
    area = f'<polygon class="area" points="{first},{base} {" ".join(path)} {last},{base}"/>'
    ticks = "".join(
        f'<text x="{left - 6}" y="{at(x0, y)[1] + 4:.1f}" text-anchor="end">'
        f"{escape(y_text(10**y if log else y))}</text>"
        for y in (y0, (y0 + y1) / 2, y1)
    )
    words = "".join(
        f'<text x="{at(x, y0)[0]:.1f}" y="14" text-anchor="middle">{escape(word)}</text>'
        f'<line class="axis" x1="{at(x, y0)[0]:.1f}" x2="{at(x, y0)[0]:.1f}" y1="18" y2="{base}"/>'
        for x, word in marks
    )
    return (
        f'<svg class="chart" viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="{escape(label)}">'
        f"{'' if log else area}{words}"
        f'<polyline class="axis" points="{left},{top} {left},{base} {width - right},{base}"/>'
        f'<polyline class="one" points="{" ".join(path)}"/>{ticks}'
        f'<text x="{(left + width - right) / 2}" y="{height - 8}" text-anchor="middle">'
        f"{escape(x_label)}</text></svg>"
    )


def _path(places: Sequence[tuple[float, float]], steps: bool) -> list[str]:
    """The "x,y" of a line through these places; `steps` adds the corners of a step function."""
    path: list[str] = []
    before: float | None = None
    for x, y in places:
        if steps and before is not None:
            path.append(f"{x:.1f},{before:.1f}")
        path.append(f"{x:.1f},{y:.1f}")
        before = y
    return path


def written(text: str, file: FilePath | None) -> str:
    """The text, which is also written to `file` if there is one."""
    if file is not None:
        local_path(file).write_text(text, "utf-8")
    return text
