"""A drawing as one SVG: the rows of graph.py with coordinates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..common.html import escape
from ..common.numbers import norm, number_text, shape_text
from .data import node_label
from .graph import Box, Graph, Node
from .steps import Step

__all__ = ["svg"]

GAP_X, GAP_Y, PAD, HEAD, LETTER, LINE = 18, 30, 14, 22, 7.0, 15
HALF_GAP = 5.0  # half the distance between an edge and its gradient's arrow

STYLE = """
svg { font-family: ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace; font-size: 12px;
  --ink: #1d2430; --soft: #5a6575; --line: #aab2bf; --card: #fff; --box: #f6f4ee; --page: #fbfaf7;
  --op: #1f5fbf; --leaf: #22733a; --grad: #b4500a; }
@media (prefers-color-scheme: dark) { svg { --ink: #e6e9ee; --soft: #a3adba; --line: #5c6675;
  --card: #1d2128; --box: #191d23; --page: #14171c; --op: #82b1ff; --leaf: #7fd398;
  --grad: #ffb074; } }
.page { fill: var(--page); } text { fill: var(--ink); } .soft { fill: var(--soft); }
.grad { fill: var(--grad); } .box { fill: var(--box); stroke: var(--line); }
.node { fill: var(--card); stroke-width: 1.5; } .op { stroke: var(--op); }
.leaf, .parameter { stroke: var(--leaf); } .edge { fill: none; stroke: var(--line);
  stroke-width: 1.4; } .tip { fill: var(--line); }
.edge.back { stroke: var(--grad); } .tip.back { fill: var(--grad); }
.head { fill: var(--soft); stroke: var(--box); stroke-width: 6; stroke-linejoin: round;
  paint-order: stroke; }
"""


@dataclass
class Placed:
    """The place of an item: its upper left corner and its size."""

    x: float
    y: float
    width: float
    height: float


def svg(
    graph: Graph, steps: list[Step], folded: set[int], title: str, back: bool = False
) -> str:  # fmt: skip
    """The drawing as SVG. Boxes in `folded` are shown closed.

    back: every edge that a gradient passed has a second arrow, which points to where it went
    """
    gradients = _gradients(graph, steps)
    lines = {id(n): _lines(n, gradients.get(n.id)) for n in graph.nodes}
    sizes: dict[int, tuple[float, float]] = {}
    whole = graph.boxes[0]
    width, height = _size(whole, folded, lines, sizes)
    at: dict[int, Placed] = {}
    _place(whole, 0.0, 0.0, folded, sizes, at)
    boxes = _boxes(whole, folded)
    parts = [_frame(at[id(box)]) for box in boxes]
    passed = {id(arrival.edge) for step in steps for arrival in step.leaving} if back else set()
    ends: dict[Any, tuple[Placed, Placed, bool]] = {}
    for e in graph.edges:
        a, b = _visible(e.source, folded), _visible(e.target, folded)
        if a is not b:
            key = id(a), id(b), e.out
            ends[key] = (at[id(a)], at[id(b)], id(e) in passed or (key in ends and ends[key][2]))
    lanes: list[float] = []
    for start, end, both in ends.values():
        parts.append(_edge(start, end, at, lanes, both))
    parts += [_head(box, at[id(box)], box.id in folded) for box in boxes]  # no line crosses them
    for node in graph.nodes:
        if _visible(node, folded) is node:
            parts += _node(node, lines[id(node)], at[id(node)])
    left = min([0.0, *(lane - 12 for lane in lanes)])
    wide = max([width, *(lane + 12 for lane in lanes)]) - left
    head = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{left:.0f} 0 {wide:.0f} {height:.0f}" '
        f'width="{wide:.0f}" height="{height:.0f}" role="img">',
        f"<title>{escape(title)}</title><style>{STYLE}</style>",
        f'<rect class="page" x="{left:.0f}" width="{wide:.0f}" height="{height:.0f}"/>',
    ]
    return "\n".join(head + parts) + "\n</svg>\n"


def _gradients(graph: Graph, steps: list[Step]) -> dict[int, Any]:
    """{id of a node: ∂L/∂ its first output}, where it is known."""
    gradients = {s.node.id: s.arriving[0] for s in steps}
    for s in steps:
        for a in s.leaving:
            if a.edge.source.kind != "op":
                gradients[a.edge.source.id] = a.total
    if not steps:
        for n in graph.nodes:
            if n.tensor is not None and n.tensor.grad is not None:
                gradients[n.id] = n.tensor.grad.array
    return gradients


def _lines(node: Node, gradient: Any) -> list[tuple[str, str]]:
    """(class, text) of each line in a node."""
    name = node_label(node)
    if node.names:
        name += f" → {', '.join(node.names)}"
    lines = [("", name)]
    value = node.values[0] if node.values else None
    if node.shapes[0] or len(node.shapes) > 1:
        shapes = [shape_text(s) for s in node.shapes]
        same = len(shapes) > 1 and len(set(shapes)) == 1
        lines.append(("soft", f"{len(shapes)} × {shapes[0]}" if same else " ".join(shapes)))
    elif value is not None:
        lines.append(("soft", number_text(value.item(), 5)))
    if gradient is not None:
        if gradient.size == 1:
            lines.append(("grad", f"grad {number_text(gradient.item(), 5)}"))
        else:
            lines.append(("grad", f"|grad| {number_text(norm(gradient), 3)}"))
    return lines


def _size(
    item: Node | Box,
    folded: set[int],
    lines: dict[int, list[tuple[str, str]]],
    sizes: dict[int, tuple[float, float]],
) -> tuple[float, float]:
    """Width and height of an item, after those of everything inside it."""
    if isinstance(item, Node):
        longest = max(len(text) for _, text in lines[id(item)])
        size = (max(longest * LETTER + 20, 56.0), len(lines[id(item)]) * LINE + 12.0)
    elif item.id in folded:
        size = (max(len(_heading(item)) * LETTER + 28, 90.0), 34.0)
    else:
        rows = [[_size(i, folded, lines, sizes) for i in row] for row in item.rows]
        wide = max((sum(w for w, _ in row) + GAP_X * (len(row) - 1) for row in rows), default=0)
        high = sum(max(h for _, h in row) for row in rows) + GAP_Y * max(len(rows) - 1, 0)
        head = HEAD if item.parent is not None else 0
        title = len(_heading(item)) * LETTER if item.parent is not None else 0
        size = (max(wide, title) + 2 * PAD, high + 2 * PAD + head)
    sizes[id(item)] = size
    return size


def _heading(box: Box) -> str:
    return box.label if box.label == box.kind else f"{box.label}: {box.kind}"


def _place(
    item: Node | Box,
    x: float,
    y: float,
    folded: set[int],
    sizes: dict[int, tuple[float, float]],
    at: dict[int, Placed],
) -> None:
    """Set the place of an item and of everything inside it; rows are centred."""
    width, height = sizes[id(item)]
    at[id(item)] = Placed(x, y, width, height)
    if isinstance(item, Node) or item.id in folded:
        return
    top = y + PAD + (HEAD if item.parent is not None else 0)
    for row in item.rows:
        high = max(sizes[id(i)][1] for i in row)
        left = x + (width - sum(sizes[id(i)][0] for i in row) - GAP_X * (len(row) - 1)) / 2
        for i in row:
            _place(i, left, top + (high - sizes[id(i)][1]) / 2, folded, sizes, at)
            left += sizes[id(i)][0] + GAP_X
        top += high + GAP_Y


def _visible(node: Node, folded: set[int]) -> Node | Box:
    """The node, or the outermost folded box that hides it."""
    visible: Node | Box = node
    box = node.box
    while box is not None:
        if box.id in folded:
            visible = box
        box = box.parent
    return visible


def _boxes(box: Box, folded: set[int]) -> list[Box]:
    """The boxes that are visible in one, and itself unless it is the whole drawing."""
    shown = [] if box.parent is None else [box]
    if box.id not in folded:
        for item in box.items:
            if isinstance(item, Box):
                shown += _boxes(item, folded)
    return shown


def _frame(p: Placed) -> str:
    return (
        f'<rect class="box" x="{p.x:.1f}" y="{p.y:.1f}" width="{p.width:.1f}" '
        f'height="{p.height:.1f}" rx="8"/>'
    )


def _head(box: Box, p: Placed, closed: bool) -> str:
    return (
        f'<text class="head" x="{p.x + 10:.1f}" y="{p.y + (21 if closed else 17):.1f}">'
        f"{escape(_heading(box))}</text>"
    )


def _edge(a: Placed, b: Placed, at: dict[int, Placed], lanes: list[float], both: bool) -> str:
    """A curve downwards; where other items are in between, it goes around them.

    both: with a second one beside it, from b to a
    """
    x1, y1, x2, y2 = a.x + a.width / 2, a.y + a.height, b.x + b.width / 2, b.y
    low, high = min(x1, x2) - 4, max(x1, x2) + 4
    between = [
        p
        for p in at.values()
        if p.y > y1 and p.y + p.height < y2 and p.x < high and p.x + p.width > low
    ]
    if not between:
        if not both:
            return _curve(x1, y1, x2, y2) + _tip(x2, y2, 0)
        down = _curve(x1 - HALF_GAP, y1, x2 - HALF_GAP, y2) + _tip(x2 - HALF_GAP, y2, 0)
        up = _curve(x1 + HALF_GAP, y1, x2 + HALF_GAP, y2, " back")
        return down + up + _tip(x1 + HALF_GAP, y1, 180, " back")
    y1, y2 = a.y + a.height / 2, b.y + b.height / 2
    same_height = [p for p in at.values() if p.y < y1 < p.y + p.height]
    on_right = any(p.x >= a.x + a.width for p in same_height)
    on_left = any(p.x + p.width <= a.x for p in same_height)
    side = -1 if on_right and not on_left else 1

    def edge(p: Placed) -> float:
        return p.x + p.width if side > 0 else -p.x

    lane = max(map(edge, (a, b, *between))) + 10
    wide = 2 * HALF_GAP if both else 0
    while any(abs(lane * side - other) < 6 + wide for other in lanes):
        lane += 7
    lanes += [lane * side, (lane + wide) * side]
    x1, x2 = edge(a) * side, edge(b) * side
    if not both:
        return _around(x1, y1, x2, y2, lane * side) + _tip(x2, y2, 90 * side)
    up = _around(x1, y1 - HALF_GAP, x2, y2 + HALF_GAP, (lane + wide) * side, " back")
    down = _around(x1, y1 + HALF_GAP, x2, y2 - HALF_GAP, lane * side)
    back = _tip(x1, y1 - HALF_GAP, 90 * side, " back")
    return up + back + down + _tip(x2, y2 - HALF_GAP, 90 * side)


def _curve(x1: float, y1: float, x2: float, y2: float, kind: str = "") -> str:
    bend = max(12.0, (y2 - y1) / 2)
    path = f"M{x1:.1f} {y1:.1f}C{x1:.1f} {y1 + bend:.1f} "
    path += f"{x2:.1f} {y2 - bend:.1f} {x2:.1f} {y2:.1f}"
    return f'<path class="edge{kind}" d="{path}"/>'


def _around(x1: float, y1: float, x2: float, y2: float, lane: float, kind: str = "") -> str:
    path = f"M{x1:.1f} {y1:.1f}C{lane:.1f} {y1:.1f} {lane:.1f} {y1:.1f} "
    path += f"{lane:.1f} {y1 + 24:.1f}L{lane:.1f} {y2 - 24:.1f}"
    path += f"C{lane:.1f} {y2:.1f} {lane:.1f} {y2:.1f} {x2:.1f} {y2:.1f}"
    return f'<path class="edge{kind}" d="{path}"/>'


def _tip(x: float, y: float, turned: int, kind: str = "") -> str:
    return (
        f'<path class="tip{kind}" d="M0 0L-4 -8L4 -8Z" '
        f'transform="translate({x:.1f} {y:.1f}) rotate({turned})"/>'
    )


def _node(node: Node, lines: list[tuple[str, str]], p: Placed) -> list[str]:
    parts = [
        f'<rect class="node {node.kind}" x="{p.x:.1f}" y="{p.y:.1f}" width="{p.width:.1f}" '
        f'height="{p.height:.1f}" rx="{6 if node.kind == "op" else 14}"/>'
    ]
    for i, (kind, text) in enumerate(lines):
        parts.append(
            f'<text class="{kind}" x="{p.x + p.width / 2:.1f}" y="{p.y + 18 + i * LINE:.1f}" '
            f'text-anchor="middle">{escape(text)}</text>'
        )
    return parts
