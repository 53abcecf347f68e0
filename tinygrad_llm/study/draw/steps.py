"""The backward pass of a graph, step by step: the gradients that each op receives and sends."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ...autograd.engine import FREED
from ...tensor import Tensor
from ..common.backward import watched_backward
from ..common.lines import LineRun
from .graph import Edge, Graph, Node

__all__ = ["Arrival", "Step", "backward_pass"]

LINES = 200  # statements recorded of one backward: loops over blocks can have thousands


@dataclass
class Arrival:
    """A gradient that an op sent along one edge, and the sum at its end so far."""

    edge: Edge
    gradient: Any
    total: Any  # the sum of all that has arrived there
    count: int  # how many have arrived there, this one included
    step: int


@dataclass
class Step:
    """One op's backward: what arrived at each output, its lines with their values, what left."""

    number: int  # counted from 1
    node: Node
    arriving: list[Any]  # ∂L/∂output for each output, None where nothing arrived
    leaving: list[Arrival] = field(default_factory=list)
    lines: list[LineRun] = field(default_factory=list)


def backward_pass(
    graph: Graph, root: Tensor, gradient: Any = None, lines: bool = True
) -> list[Step]:
    """Every step of the backward pass from `root`; no .grad changes, and the graph stays usable.

    gradient: ∂L/∂root. lines: whether the statements of each backward are recorded. Empty if a
    backward pass has freed what the ops had saved.
    """
    ops = [node.op for node in graph.nodes if node.op is not None]
    if any(op.saved is FREED for op in ops):
        return []
    edges = {(id(e.target), e.input): e for e in graph.edges}
    totals: dict[tuple[int, int], tuple[Any, int]] = {}
    steps: list[Step] = []
    functions = {type(op).backward for op in ops} if lines else set()
    for at in watched_backward(root, gradient, retain_graph=True, functions=functions, limit=LINES):
        node = graph.node_of[id(at.op)]
        step = Step(len(steps) + 1, node, at.arriving, lines=at.lines)
        for i, grad in enumerate(at.leaving):
            edge = edges.get((id(node), i))
            if edge is None or grad is None:
                continue
            key = (id(edge.source), edge.out)
            total, count = totals.get(key, (None, 0))
            total = grad if total is None else total + grad
            totals[key] = total, count + 1
            step.leaving.append(Arrival(edge, grad, total, count + 1, step.number))
        steps.append(step)
    return steps
