"""The walk back, noted step by step: what the engine itself does, as `backward_steps` yields it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ...arrays.devices import asarray
from ...arrays.reductions import unbroadcast
from ...autograd import engine
from ...autograd.engine import FREED
from ...tensor import Tensor
from ..common.lines import LineRun, watch_lines
from .graph import Edge, Graph, Node

__all__ = ["Arrival", "Step", "walk"]


LINES = 200  # statements of one backward that are noted: loops over blocks can have thousands


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


def walk(graph: Graph, root: Tensor, gradient: Any = None, lines: bool = True) -> list[Step]:
    """Every step of the walk back from `root`; no .grad changes, and the graph can be used again.

    Empty if backward has passed already and freed what the ops had saved.
    """
    ops = [node.op for node in graph.nodes if node.op is not None]
    if any(op.saved is FREED for op in ops):
        return []
    edges = {(id(e.target), e.input): e for e in graph.edges}
    totals: dict[tuple[int, int], tuple[Any, int]] = {}
    steps: list[Step] = []
    functions = {type(op).backward for op in ops} if lines else set()
    arriving: list[Any] = []
    leaving: list[Any] = []  # copied at once: where two add up, the engine adds in place

    def note(op: Any, g: Any, grads: tuple) -> None:
        arriving[:] = [_copy(a) for a in _tuple(g)]
        leaving[:] = [_copy(a) for a in grads]

    engine.backward_observers.append(note)
    seen = watch_lines(*functions, limit=LINES)
    try:
        with seen:
            for op, _, _ in engine.backward_steps(root, gradient, True, _drop):
                node = graph.node_of[id(op)]
                step = Step(len(steps) + 1, node, list(arriving), lines=list(seen.lines))
                seen.lines.clear()
                for i, grad in enumerate(leaving):
                    edge = edges.get((id(node), i))
                    if edge is None or grad is None:
                        continue
                    expected = op.edges[i]
                    assert expected is not None
                    grad = unbroadcast(grad, expected.shape)
                    key = (id(edge.source), edge.out)
                    total, count = totals.get(key, (None, 0))
                    total = grad if total is None else total + grad
                    totals[key] = total, count + 1
                    step.leaving.append(Arrival(edge, grad, total, count + 1, step.number))
                steps.append(step)
    finally:
        engine.backward_observers.remove(note)
    return steps


def _tuple(value: Any) -> tuple:
    return value if isinstance(value, tuple) else (value,)


def _copy(gradient: Any) -> Any:
    """A copy that is an array, even of a NumPy scalar; None stays None."""
    return None if gradient is None else asarray(gradient.copy(), gradient)


def _drop(leaf: Tensor, gradient: Any, fresh: bool) -> None:
    """In place of accumulation into .grad: the walk only looks."""
