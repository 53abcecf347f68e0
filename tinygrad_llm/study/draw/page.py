"""A drawing as an HTML page: the graph as nested boxes, and the script that steps through it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..common.html import data, escape, leads
from ..common.html import page as whole
from ..common.numbers import number_text
from .data import drawing_data

__all__ = ["page"]

CONTROLS = """<nav class="controls" aria-label="steps">
<button id="first" type="button" aria-label="to the start">|◀</button>
<button id="back" type="button" aria-label="one step back">◀</button>
<input id="slider" type="range" min="0" value="0" step="1" aria-label="step">
<button id="next" type="button" aria-label="one step forward">▶</button>
<button id="last" type="button" aria-label="to the end">▶|</button>
<output id="where" for="slider"></output>
<button id="close" type="button">close boxes</button>
<button id="open" type="button">open boxes</button>
<span class="soft words">← → steps, Tab shows a node, Enter goes to its step or closes a box</span>
</nav>"""


def page(drawing: Any, links: Mapping[str, str] | None = None) -> str:
    """The page as HTML; links: word -> address, shown at the top."""
    contents = drawing_data(drawing.graph, drawing.steps, drawing.folded, drawing.title)
    body = f"""<main class="draw">
{leads(links)}<h1>{escape(drawing.title)}</h1>
{CONTROLS}
<div class="layout">
<section id="graph" aria-label="graph: inputs above, the result below">
<div class="canvas"><svg id="edges" aria-hidden="true"></svg>
{_rows(contents["tree"], contents["nodes"], contents["arrays"])}
</div></section>
<aside id="panel">
<section id="step" aria-live="polite"></section>
<section id="inspect"></section>
</aside>
</div>
</main>
{data("drawing", contents)}"""
    return whole(
        drawing.title, body, styles=("heat.css", "draw.css"), scripts=("heat.js", "draw.js")
    )


def _rows(tree: Any, nodes: Any, arrays: Any) -> str:
    rows = []
    for row in tree["rows"]:
        items = [
            _box(item, nodes, arrays) if isinstance(item, dict) else _node(nodes[item], arrays)
            for item in row
        ]
        rows.append(f'<div class="row">{"".join(items)}</div>')
    return '<div class="rows">' + "\n".join(rows) + "</div>"


def _box(tree: Any, nodes: Any, arrays: Any) -> str:
    name = tree["label"] if tree["label"] == tree["kind"] else f"{tree['label']}: {tree['kind']}"
    closed = " folded" if tree["folded"] else ""
    return (
        f'<div class="box{closed}" id="b{tree["id"]}">'
        f'<button class="head" type="button" aria-expanded="{str(not closed).lower()}">'
        f"{escape(name)}</button>{_rows(tree, nodes, arrays)}</div>"
    )


def _node(node: Any, arrays: Any) -> str:
    names = f" → {', '.join(node['names'])}" if node["names"] else ""
    shapes = node["shapes"]
    same = len(shapes) > 1 and len(set(shapes)) == 1
    what = f"{len(shapes)} × {shapes[0]}" if same else " ".join(shapes)
    value = node["values"][0] if node["values"] else None
    if what == "()" and value is not None and "numbers" in arrays[value]:
        what = number_text(arrays[value]["numbers"][0][0], 5)
    return (
        f'<button class="node {node["kind"]}" type="button" id="n{node["id"]}">'
        f"<span>{escape(node['label'] + names)}</span>"
        f'<span class="soft">{escape(what)}</span><span class="g"></span></button>'
    )
