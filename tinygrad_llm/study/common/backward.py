"""The engine's backward pass, step by step, with copies of every gradient.

`backward_steps` is a generator: each step runs the backward of one op. An observer copies the
gradients between the op's backward and their delivery, because later steps add to them in place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ...arrays.devices import asarray
from ...arrays.reductions import unbroadcast
from ...autograd import engine
from ...autograd.engine import Op
from ...autograd.observing import drop_gradient, observing
from ...tensor import Tensor
from .lines import LineRun, watch_lines

__all__ = ["BackwardStep", "watched_backward"]


@dataclass
class BackwardStep:
    """One op's backward: what arrived at each output, what it sent to each input, its lines."""

    op: Op
    arriving: list[Any]  # ∂L/∂output for each output, None where nothing arrived
    leaving: list[Any]  # ∂L/∂input for each input, in its shape; None where none is wanted
    lines: list[LineRun]


def watched_backward(
    roots: Tensor | Sequence[Tensor],
    gradient: Any = None,
    *,
    retain_graph: bool = False,
    functions: Iterable[Callable[..., Any]] = (),
    limit: int = 400,
) -> Iterator[BackwardStep]:
    """Run the backward pass from the roots and yield every step; no .grad changes.

    gradient     ∂L/∂root, a sequence of them for several roots; None for 1
    functions    the functions whose lines are recorded, at most `limit` lines per step
    """
    arriving: list[Any] = []
    leaving: list[Any] = []

    def copy_gradients(op: Op, g: Any, grads: tuple) -> None:
        arriving[:] = [_copy(a) for a in (g if isinstance(g, tuple) else (g,))]
        leaving[:] = [
            None if grad is None or edge is None else unbroadcast(_copy(grad), edge.shape)
            for grad, edge in zip(grads, op.edges, strict=False)
        ]

    steps = engine.backward_steps(roots, gradient, retain_graph, drop_gradient)
    watched = watch_lines(*functions, limit=limit)
    while True:
        with observing(after_backward=copy_gradients), watched:
            step = next(steps, None)
        if step is None:
            return
        yield BackwardStep(step[0], list(arriving), list(leaving), list(watched.lines))
        watched.lines.clear()


def _copy(gradient: Any) -> Any:
    """A copy that is an array, even of a NumPy scalar; None stays None."""
    return None if gradient is None else asarray(gradient.copy(), gradient)
