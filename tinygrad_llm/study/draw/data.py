"""A drawing as data for its page: nodes, boxes, edges, steps, and each array once."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..common.formulas import with_lines
from ..common.lines import shown_values, with_numbers
from ..common.numbers import norm, plain, shape_text
from ..common.plain_words import PLAIN_WORDS
from ..common.source import backward_text, first_line
from ..common.watch import place_of_call
from .graph import Box, Graph, Node
from .steps import Step

__all__ = ["Arrays", "drawing_data", "heat", "node_label"]

SMALL = 64  # elements: up to here every number is shown
CELLS = 20  # rows and columns of a heat map, at most


class Arrays:
    """The arrays of a page, each once: `add` returns the number of the array."""

    def __init__(self) -> None:
        self.list: list[dict[str, Any]] = []
        self._known: dict[Any, int] = {}

    def add(self, array: Any) -> int | None:
        """The number of an array, which is added if it is new; None for None."""
        if array is None:
            return None
        a = np.asarray(plain(array))
        key = (a.shape, str(array.dtype), a.tobytes())
        if key not in self._known:
            self._known[key] = len(self.list)
            self.list.append(_described(a, str(array.dtype)))
        return self._known[key]


def _described(a: np.ndarray, dtype: str) -> dict[str, Any]:
    data: dict[str, Any] = {"shape": shape_text(a.shape), "dtype": dtype, "size": int(a.size)}
    if a.size and a.dtype.kind in "fiub":
        numbers = a.astype(np.float64)
        data["low"], data["high"] = float(numbers.min()), float(numbers.max())
        data["norm"] = norm(numbers)
        data["heat"] = heat(numbers)
    if 0 < a.size <= SMALL and a.dtype.kind in "fiub":
        rows = a.reshape(-1, a.shape[-1]) if a.ndim > 1 else a.reshape(1, -1)  # (rows, columns)
        data["numbers"] = [[_six(v) for v in row] for row in rows.tolist()]
    return data


def _six(value: Any) -> Any:
    return float(f"{value:.6g}") if isinstance(value, float) else value


def heat(a: np.ndarray) -> dict[str, Any]:
    """An array as at most 20 × 20 cells from −100 to 100, where 100 is the largest |element|.

    The leading dimensions become rows. A cell for several elements shows the one with the largest
    absolute value, so that none is hidden.
    """
    rows = a.reshape(-1, a.shape[-1]) if a.ndim > 1 else a.reshape(1, -1)  # (rows, columns)
    high, wide = (-(-n // CELLS) for n in rows.shape)  # elements of a cell
    down, across = -(-rows.shape[0] // high), -(-rows.shape[1] // wide)
    padded = np.zeros((down * high, across * wide))
    padded[: rows.shape[0], : rows.shape[1]] = np.nan_to_num(rows)
    blocks = padded.reshape(down, high, across, wide).swapaxes(1, 2).reshape(down, across, -1)
    at = np.abs(blocks).argmax(-1)  # (down, across)
    cells = np.take_along_axis(blocks, at[..., None], -1)[..., 0]
    top = float(np.abs(cells).max()) or 1.0
    return {
        "top": top,
        "cell": [high, wide],
        "rows": np.rint(cells / top * 100).astype(int).tolist(),
    }


def node_label(node: Node) -> str:
    """The label of a node: the op's name, or the leaf's name within its box."""
    if node.kind == "op":
        return node.label
    label = node.label
    for box in _boxes_around(node):
        label = label.removeprefix(f"{box.label}.")
    return label or "tensor"


def _boxes_around(node: Node) -> list[Box]:
    boxes: list[Box] = []
    box = node.box
    while box is not None and box.parent is not None:
        boxes.append(box)
        box = box.parent
    return boxes[::-1]


def drawing_data(graph: Graph, steps: list[Step], folded: set[int], title: str) -> dict[str, Any]:
    """Everything that the page's script needs, in JSON's types."""
    arrays = Arrays()
    nodes = []
    for node in graph.nodes:
        place = place_of_call(node.op)
        line = None if place is None else place.line
        grad = None
        if not steps and node.tensor is not None and node.tensor.grad is not None:
            grad = arrays.add(node.tensor.grad.array)
        nodes.append(
            {
                "id": node.id,
                "kind": node.kind,
                "label": node_label(node),
                "full": node.label,
                "shapes": [shape_text(s) for s in node.shapes],
                "dtype": node.dtype,
                "names": node.names,
                "values": [arrays.add(v) for v in node.values],
                "others": node.others,
                "line": str(line) if line else "",
                "path": "" if place is None else place.path,
                "text": first_line(type(node.op)) if node.op is not None else "",
                "plain": PLAIN_WORDS.get(node.label, ("", ""))[0] if node.op is not None else "",
                "grad": grad,
            }
        )
    return {
        "title": title,
        "nodes": nodes,
        "edges": [
            {"from": e.source.id, "out": e.out, "to": e.target.id, "input": e.input, "name": e.name}
            for e in graph.edges
        ],
        "tree": _tree(graph.boxes[0], folded),
        "steps": [_step(step, arrays) for step in steps],
        "root": graph.root.id,
        "arrays": arrays.list,
    }


def _tree(box: Box, folded: set[int]) -> dict[str, Any]:
    return {
        "id": box.id,
        "label": box.label,
        "kind": box.kind,
        "folded": box.id in folded,
        "rows": [
            [_tree(item, folded) if isinstance(item, Box) else item.id for item in row]
            for row in box.rows
        ],
    }


def _step(step: Step, arrays: Arrays) -> dict[str, Any]:
    op = step.node.op
    assert op is not None
    formulas = with_numbers(op, step.lines)
    shown = step.lines[:80]
    lines = [
        {"text": line.text, "values": [list(pair) for pair in values]}
        for line, values in zip(shown, shown_values(shown, 32), strict=True)
    ]
    return {
        "node": step.node.id,
        "arriving": [arrays.add(g) for g in step.arriving],
        "plain": PLAIN_WORDS.get(op.name, ("", ""))[1],
        "derivation": backward_text(type(op)),
        "exact": with_lines(backward_text(type(op))),
        "formulas": {str(i): text for i, text in formulas.items()},
        "lines": lines,
        "more": max(0, len(step.lines) - 80),
        "leaving": [
            {
                "input": a.edge.input,
                "name": a.edge.name,
                "to": a.edge.source.id,
                "out": a.edge.out,
                "gradient": arrays.add(a.gradient),
                "total": arrays.add(a.total),
                "count": a.count,
            }
            for a in step.leaving
        ],
    }
