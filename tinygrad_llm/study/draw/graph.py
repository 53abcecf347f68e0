"""The graph behind a tensor, as draw shows it: nodes, edges, boxes for modules, rows to lay it out.

Nodes are ops and the leaves that they start from. Each call of a module is a box. The items of a
box stand in rows, so that every edge leads downwards: from the inputs to the loss.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

from ...autograd.engine import Op
from ...nn.module import Module
from ...nn.parameter import Parameter
from ...tensor import Tensor
from ..common.source import input_name
from ..common.watch import Call, Place, Watch, place_of_call
from .rows import rows

__all__ = ["Box", "Edge", "Graph", "Node", "Recorder", "collect"]

KEEP = 1 << 20  # elements: larger outputs are kept as they are, smaller ones are copied


@dataclass(eq=False)
class Node:
    """An op, or a leaf: a tensor that no op made."""

    id: int
    kind: str  # "op", "parameter" or "leaf"
    label: str
    shapes: list[tuple[int, ...]]  # of the outputs, or of the leaf
    dtype: str
    op: Op | None = None
    tensor: Tensor | None = None
    # What is known once its place in the graph is.
    values: list[Any] = field(default_factory=list, init=False)  # arrays, where they are known
    names: list[str] = field(default_factory=list, init=False)  # variables that hold an output
    others: list[str] = field(default_factory=list, init=False)  # inputs that get no gradient
    box: Box | None = field(default=None, init=False)
    order: int = field(default=0, init=False)


@dataclass(eq=False)
class Edge:
    """Output `out` of the node `source` is input `input` of the op `target`."""

    source: Node
    out: int
    target: Node
    input: int
    name: str  # of the input, as the op's signature calls it


@dataclass(eq=False)
class Box:
    """One call of a module, or the whole drawing."""

    id: int
    label: str
    kind: str  # the module's class
    parent: Box | None
    items: list[Node | Box] = field(default_factory=list)
    rows: list[list[Node | Box]] = field(default_factory=list)  # the items, laid out

    @property
    def depth(self) -> int:
        """How many boxes are around it."""
        return 0 if self.parent is None else self.parent.depth + 1

    def nodes(self) -> list[Node]:
        """Every node in it, at any depth."""
        return [
            node
            for item in self.items
            for node in (item.nodes() if isinstance(item, Box) else [item])
        ]


@dataclass
class Graph:
    """nodes in order of creation, edges, boxes (the whole drawing first), and the root's node."""

    nodes: list[Node]
    edges: list[Edge]
    boxes: list[Box]
    root: Node
    out: int  # which output of `root` the drawing is of
    node_of: dict[int, Node]  # id of an op or of a leaf tensor: its node


class Recorder(Watch):
    """Keeps the outputs of every op that runs, and its inputs that get no gradient, as text."""

    def __init__(self, *models: Module) -> None:
        super().__init__(*models)
        self.values: WeakKeyDictionary[Op, list[Any]] = WeakKeyDictionary()  # arrays of outputs
        # Inputs without a gradient, and options, as text.
        self.others: WeakKeyDictionary[Op, list[str]] = WeakKeyDictionary()
        self.roots: list[Module] = list(models)

    def module_begins(self, call: Call, args: tuple) -> None:
        if call.parent is None and call.module not in self.roots:
            self.roots.append(call.module)

    def op_done(self, op: Op, place: Place, inputs: tuple, results: list) -> None:
        self.values[op] = [y.array.copy() if y.array.size <= KEEP else y.array for y in results]
        self.others[op] = [
            f"{name} = {_brief(x)}"
            for name, x in _named(op, inputs)
            if not (isinstance(x, Tensor) and x.requires_grad)
        ] + [f"{k} = {_brief(v)}" for k, v in place.options.items()]

    def parameter_names(self) -> dict[int, str]:
        """id of a parameter: its dotted name."""
        return {
            id(p): name
            for model in self.roots
            for name, p in model.named_parameters(self.names[id(model)][0])
        }


def _named(op: Op, inputs: Iterable[Any]) -> list[tuple[str, Any]]:
    return [(input_name(op, i), x) for i, x in enumerate(inputs)]


def _brief(value: Any) -> str:
    """A value as a short text: a number, or an array's shape and dtype."""
    array = getattr(value, "array", value)
    if hasattr(array, "dtype") and hasattr(array, "shape"):
        if array.size == 1:
            return f"{array.item():.6g}" if array.dtype.kind in "f" else str(array.item())
        return f"{tuple(array.shape)} {array.dtype}"
    text = f"{value:.6g}" if isinstance(value, float) else repr(value)
    return text if len(text) < 60 else text[:57] + "..."


# ------------------------------------------------------------------------------------ collecting
def collect(
    root: Tensor, recorder: Recorder | None = None, names: Mapping[str, Any] | None = None
) -> Graph:
    """The graph from the leaves to `root`.

    recorder    has recorded the values of the ops and the names of the parameters
    names       variables: a tensor that one of them holds gets its name, and its value is known

    Raises: RuntimeError if the root has no graph.
    """
    if not root.requires_grad:
        raise RuntimeError(
            "draw: this tensor has no graph: nothing that it was made from has "
            "requires_grad=True, or it was made under no_grad()"
        )
    ops, leaves, forms = _reached(root)
    variables, held = _variables(names or {})
    parameters = recorder.parameter_names() if recorder is not None else {}
    nodes: list[Node] = []
    for leaf in leaves:
        name = parameters.get(id(leaf)) or variables.get(id(leaf), "")
        kind = "parameter" if id(leaf) in parameters or isinstance(leaf, Parameter) else "leaf"
        node = Node(len(nodes), kind, name, [tuple(leaf.array.shape)], str(leaf.array.dtype))
        node.tensor, node.values = leaf, [leaf.array]
        nodes.append(node)
    whole = Box(0, "", "", None)
    boxes = [whole]
    box_of: dict[int, Box] = {}  # id of a Call: its box
    for op in ops:
        outputs = [(op.order, i) for i in range(len(op.outputs))]
        sizes = [tuple(forms[key][0]) for key in outputs]
        node = Node(len(nodes), "op", op.name, sizes, str(forms[outputs[0]][1]), op)
        node.order = op.order
        if recorder is not None:
            node.values = list(recorder.values.get(op, []))
            node.others = recorder.others.get(op, [])
        if not node.values:
            node.values = [held.get(key) for key in outputs]
        node.names = [variables[key] for key in outputs if key in variables]
        place = place_of_call(op)
        node.box = _box(place.call if place is not None else None, whole, boxes, box_of)
        node.box.items.append(node)
        nodes.append(node)
    node_of = {id(node.tensor if node.op is None else node.op): node for node in nodes}
    edges = _edges(nodes, node_of)
    _place_leaves(nodes, edges, whole)
    for box in boxes:
        box.rows = rows(box.items, edges)
    root_node = node_of[id(root if root._op is None else root._op)]
    return Graph(nodes, edges, boxes, root_node, root._out, node_of)


Output = tuple[int, int]  # the order of an op, and the number of its output


def _reached(root: Tensor) -> tuple[list[Op], list[Tensor], dict[Output, tuple[Any, Any]]]:
    """What the root was made from: ops in order of creation, leaves, (shape, dtype) of outputs."""
    ops: dict[int, Op] = {}
    forms: dict[Output, tuple[Any, Any]] = {}
    if root._op is not None:
        forms[root._op.order, root._out] = root.array.shape, root.array.dtype
    todo: list[Op] = [] if root._op is None else [root._op]
    while todo:
        op = todo.pop()
        if op.order in ops:
            continue
        ops[op.order] = op
        for i, form in enumerate(op.outputs):
            if form is not None:
                forms[op.order, i] = form
        for edge in op.edges:
            if edge is not None and edge.output is not None:
                forms[edge.target.order, edge.output] = edge.shape, edge.dtype
                todo.append(edge.target)
    ordered = [ops[order] for order in sorted(ops)]
    edges = [edge for op in ordered for edge in op.edges]
    leaves = {id(e.target): e.target for e in edges if e is not None and e.output is None}
    return ordered, list(leaves.values()) if ordered else [root], forms


def _variables(names: Mapping[str, Any]) -> tuple[dict[Any, str], dict[Any, Any]]:
    """Names and arrays of the tensors that variables hold, by Output, or by id for a leaf."""
    variables: dict[Any, str] = {}
    held: dict[Any, Any] = {}
    for name, value in names.items():
        if isinstance(value, Tensor) and not name.startswith("_"):
            key = id(value) if value._op is None else (value._op.order, value._out)
            variables.setdefault(key, name)
            held[key] = value.array
    return variables, held


def _edges(nodes: list[Node], node_of: dict[int, Node]) -> list[Edge]:
    """The edges between nodes, from the edges of their ops."""
    return [
        Edge(node_of[id(edge.target)], edge.output or 0, node, i, input_name(node.op, i))
        for node in nodes
        if node.op is not None
        for i, edge in enumerate(node.op.edges)
        if edge is not None
    ]


def _box(call: Call | None, whole: Box, boxes: list[Box], box_of: dict[int, Box]) -> Box:
    """The box of a module call; creates it, and the boxes around it, where they are missing."""
    if call is None:
        return whole
    box = box_of.get(id(call))
    if box is None:
        parent = _box(call.parent, whole, boxes, box_of)
        above = "" if call.parent is None else call.parent.path
        path = call.path[len(above) + 1 :] if above and call.path.startswith(above) else call.path
        kind = type(call.module).__name__
        label = path or kind
        if call.number:
            label += f" (call {call.number + 1})"
        box = box_of[id(call)] = Box(len(boxes), label, kind, parent)
        parent.items.append(box)
        boxes.append(box)
    return box


def _place_leaves(nodes: list[Node], edges: list[Edge], whole: Box) -> None:
    """Place parameters in the innermost box that holds all their uses, other leaves outside."""
    for node in nodes:
        if node.kind == "op":
            continue
        box = whole
        if node.kind == "parameter":
            paths = [_path(e.target.box) for e in edges if e.source is node]
            for level in zip(*paths, strict=False):
                if any(b is not level[0] for b in level):
                    break
                box = level[0]
        node.box = box
        box.items.append(node)


def _path(box: Box | None) -> list[Box]:
    """The boxes around, from the whole drawing to this box."""
    path: list[Box] = []
    while box is not None:
        path.append(box)
        box = box.parent
    return path[::-1]
