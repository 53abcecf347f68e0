"""The small diagram on a page that explains: values downwards, gradients upwards.

It is the drawing of the worked example, with the engine's numbers. An optimizer, a cache and a
collective are not a graph of ops: their diagram has what goes in and what comes out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...autograd.engine import Op
from ...tensor import Tensor, wrap
from ..common.op_examples import Example, example_of, upstream
from ..common.source import input_name
from ..draw.descent import Descent
from ..draw.drawing import Drawing, draw
from ..draw.graph import Box, Edge, Graph, Node
from ..draw.replay import Replay
from ..draw.steps import Arrival, Step
from ..draw.svg import svg
from .cache_steps import MEMORIES, memory_steps
from .collective_steps import collective_steps
from .descents import drawn_descent
from .op import as_tensors, call
from .scene import drawn_example
from .schedule import rates_chart

__all__ = ["diagram_of", "drawing_of", "drawn_op"]

WORDS = {
    "op": "The example as a graph. Grey arrows: values, forward. Orange arrows: gradients, "
    "backward, from the output to what wants one; |grad| is the length √(Σ g²) of what arrives.",
    "layer": "The example as a graph, from its inputs to a loss (Σ y², unless it is a loss "
    "itself). Grey arrows: values, forward. Orange arrows: gradients, backward; |grad| is the "
    "length √(Σ g²) of what arrives. Closed boxes are modules.",
    "cache": "What goes in and what comes out, while tokens are written one by one: no gradient.",
    "optimizer": "One step. The backward pass has computed g = ∂L/∂p before it; the optimizer "
    "changes p and its own state, and no gradient passes through it.",
    "schedule": "The learning rate of each step of the example.",
    "collective": "Two ranks. Grey arrows: what each receives forward; orange arrows: the "
    "gradients, which the same ranks exchange backward.",
}


def diagram_of(
    data: dict[str, Any], kind: type, inputs: Sequence[Any] | None = None, **options: Any
) -> tuple[str, str]:  # fmt: skip
    """(SVG, the words under it) of what an explanation's data is of; ("", "") if it has no example.

    kind: the class; inputs, options: of an op, in place of its example's
    """
    what = data["kind"]
    of_kind = {"schedule": rates_chart, "collective": _collective, "optimizer": _optimizer}
    if what in of_kind:
        return of_kind[what](data), WORDS[what]
    drawing = drawing_of(data, kind, inputs, **options)
    if isinstance(drawing, Drawing):
        return drawing.diagram(), WORDS[what]
    return ("", "") if data["example"] is None else (_cache(data), WORDS["cache"])


def drawing_of(
    data: dict[str, Any], kind: type, inputs: Sequence[Any] | None = None, **options: Any
) -> Drawing | Descent | Replay | None:
    """What can be stepped through; None for a layer without an example.

    Of an op's or a layer's example it is the graph, of an optimizer or a schedule its descent, of a
    collective what each rank holds, of a cache what is stored token by token.
    """
    if data["kind"] == "op":
        return drawn_op(kind, inputs, **options)
    if data["kind"] == "collective":
        return collective_steps(data)
    if kind in MEMORIES:
        return memory_steps(kind)
    if data["kind"] == "layer":
        return None if data["example"] is None else drawn_example(data["name"])
    return drawn_descent(kind)


def drawn_op(op: type[Op], inputs: Sequence[Any] | None = None, **options: Any) -> Drawing:
    """The graph of an op's worked example, its inputs under their names.

    The gradient that arrives is that of the example; several outputs are multiplied by theirs and
    added up.
    """
    example = example_of(op) if inputs is None else Example(list(inputs), options)
    tensors = as_tensors(example.inputs, example.constant)
    blank = op()
    names = {input_name(blank, i): x for i, x in enumerate(tensors) if isinstance(x, Tensor)}

    def output() -> Tensor:
        outputs = [y for y in call(op, example, tensors) if y.requires_grad]
        if len(outputs) == 1:
            return outputs[0]
        parts = [(y * wrap(upstream(y.array.shape).astype(y.array.dtype))).sum() for y in outputs]
        return sum(parts[1:], parts[0])

    first = call(op, example, as_tensors(example.inputs, example.constant))
    differentiable = [y for y in first if y.requires_grad]
    if not differentiable:
        return _constant(op, first, names)
    gradient = None
    if len(differentiable) == 1:
        gradient = wrap(
            upstream(differentiable[0].array.shape).astype(differentiable[0].array.dtype)
        )
    return draw(output, names=names, gradient=gradient, title=f"{op.name}, the worked example")


def _constant(op: type[Op], outputs: list[Tensor], names: dict[str, Tensor]) -> Drawing:
    """The drawing of an op through which no gradient passes."""
    tops = [_node(i, "leaf", name, [x.array]) for i, (name, x) in enumerate(names.items())]
    middle = _node(len(tops), "op", op.name, [y.array for y in outputs])
    edges = [Edge(top, 0, middle, i, top.label) for i, top in enumerate(tops)]
    return Drawing(_graph([tops, [middle]], edges), [], set(), op.name)


# -------------------------------------------------------- optimizers, caches and collectives
def _node(number: int, kind: str, label: str, values: list[Any]) -> Node:
    arrays = [np.asarray(v) for v in values]
    dtype = str(arrays[0].dtype) if arrays else ""
    node = Node(number, kind, label, [a.shape for a in arrays] or [()], dtype)
    node.values = arrays
    return node


def _graph(rows: list[list[Node]], edges: list[Edge]) -> Graph:
    """A graph whose rows are given."""
    nodes = [node for row in rows for node in row]
    whole = Box(0, "", "", None, list(nodes), [list(row) for row in rows if row])
    for node in nodes:
        node.box = whole
    return Graph(nodes, edges, [whole], nodes[-1], 0, {})


def _through(name: str, tops: list[Node], bottoms: list[Node], title: str) -> str:
    """Everything above goes into one box, everything below comes out of it."""
    middle = _node(len(tops), "op", name, [])
    edges = [Edge(top, 0, middle, i, top.label) for i, top in enumerate(tops)]
    edges += [Edge(middle, i, bottom, 0, "") for i, bottom in enumerate(bottoms)]
    return svg(_graph([tops, [middle], bottoms], edges), [], set(), title)


def _optimizer(data: dict[str, Any]) -> str:
    example = data["example"]
    first, second = example["steps"]
    state = [(k, np.asarray(v)) for k, v in second["state"].items() if np.asarray(v).size > 1]
    before = [("p", first["parameters"]), ("g = ∂L/∂p", second["gradient"])]
    before += [(name, np.asarray(first["state"][name])) for name, _ in state
               if name in first["state"]]  # fmt: skip
    after = [("p, changed", second["parameters"]), *((f"{k}, changed", v) for k, v in state)]
    tops = [_node(i, "leaf", name, [value]) for i, (name, value) in enumerate(before)]
    bottoms = [
        _node(len(tops) + 1 + i, "leaf", name, [value]) for i, (name, value) in enumerate(after)
    ]
    return _through(f"{data['name']}.update", tops, bottoms, f"one step of {data['name']}")


def _cache(data: dict[str, Any]) -> str:
    example = data["example"]
    tops = [_node(i, "leaf", x["name"], [x["value"]]) for i, x in enumerate(example["inputs"])]
    bottoms = [
        _node(len(tops) + 1 + i, "leaf", f"output {i}" if i else "output", [y])
        for i, y in enumerate(example["output"])
    ]
    return _through(data["class"], tops, bottoms, data["name"])


def _collective(data: dict[str, Any]) -> str:
    example = data["example"]
    ranks = range(len(example["inputs"]))
    tops = [_node(r, "leaf", f"x on rank {r}", [example["inputs"][r]]) for r in ranks]
    middle = _node(len(tops), "op", data["name"], [])
    bottoms = [
        _node(len(tops) + 1 + r, "leaf", f"y on rank {r}", [example["output"][r]]) for r in ranks
    ]
    into = [Edge(top, 0, middle, r, "x") for r, top in enumerate(tops)]
    out = [Edge(middle, r, bottom, 0, "y") for r, bottom in enumerate(bottoms)]
    steps = [
        Step(1 + r, bottom, [example["upstream"][r]],
             [Arrival(edge, example["upstream"][r], example["upstream"][r], 1, 1 + r)])
        for r, (bottom, edge) in enumerate(zip(bottoms, out, strict=True))
    ]  # fmt: skip
    leaving = [
        Arrival(edge, g, g, 1, len(ranks) + 1)
        for edge, g in zip(into, example["gradients"], strict=True)
    ]
    steps.append(Step(len(ranks) + 1, middle, [None], leaving))
    graph = _graph([tops, [middle], bottoms], [*into, *out])
    return svg(graph, steps, set(), f"{data['name']} on two ranks", back=True)
