"""Where gradients arrive: at ops whose backward has not run yet, and in the .grad of leaves.

To the .grad of a leaf one thread at a time adds. The engine's docstring says who may write into a
gradient.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from heapq import heappop, heappush
from typing import Any

from ..arrays.devices import asarray
from ..arrays.layout import copied, empty_as, is_dense, same_layout
from ..arrays.memory import ndarray
from ..arrays.twins import cpu_twins, twins
from ..tensor import Tensor, wrap

__all__ = ["Arrivals", "accumulate", "add_into", "added", "lock_of"]


def accumulate(leaf: Tensor, g: Any, owned: bool) -> None:
    """leaf.grad += g. An owned array becomes .grad itself; a borrowed one is copied."""
    with _adding[id(leaf) % 61]:  # lock_of(leaf)
        if leaf._grad is None:
            if g.strides != leaf.array.strides and not same_layout(g, leaf.array):
                g, owned = _laid_out_as(leaf.array, g)
            leaf._grad = wrap(g if owned else copied(g))
        else:
            add_into(leaf._grad.array, g)


def add_into(total: Any, g: Any) -> None:
    """total += g, in the array's own memory."""
    loops = cpu_twins(total)
    if loops is not None and loops.add_into is not None and loops.add_into(total, g):
        return
    gpu = twins.gpu
    if gpu is None or isinstance(total, ndarray) or not gpu.add_into(total, g):
        total += g


_adding: list[Any] = []  # locks; a leaf has one of them, and few leaves share one


def lock_of(leaf: Tensor) -> Any:
    """The lock of a leaf, which a thread holds while it adds to its .grad."""
    return _adding[id(leaf) % 61]


def _new_locks() -> None:
    """Also in a forked process, where nobody would release those that other threads hold."""
    _adding[:] = [threading.Lock() for _ in range(61)]


_new_locks()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_new_locks)


def _laid_out_as(array: Any, g: Any) -> tuple[Any, bool]:
    """g in the leaf's layout, or in row order if that has gaps, and whether it was copied."""
    laid_out = empty_as(array, order=None if is_dense(array) else "C")
    if same_layout(g, laid_out):
        return g, False
    laid_out[...] = g
    return laid_out, True


class Arrivals:
    """The gradients that have arrived at ops whose backward has not run yet."""

    def __init__(self) -> None:
        self.waiting: list[int] = []  # a heap of -order: the newest first
        self._slots: dict[int, list] = {}  # order: [op, gradient, owned, gradient, owned, ...]

    def add(self, g: Any, owned: bool, op: Any, output: int) -> None:
        """Add g to ∂L/∂output of an op: borrowed if it is the first, else an owned sum."""
        order = op.order
        slots = self._slots.get(order)
        if slots is None:
            heappush(self.waiting, -order)
            if len(op.outputs) == 1:
                self._slots[order] = [op, g, owned]
                return
            slots = self._slots[order] = [op] + [None, False] * len(op.outputs)
        at = 1 + 2 * output
        there = slots[at]
        if there is None:
            slots[at], slots[at + 1] = g, owned
        elif slots[at + 1]:
            add_into(there, g)
        elif owned:
            add_into(g, there)
            slots[at], slots[at + 1] = g, True
        else:
            slots[at], slots[at + 1] = asarray(there + g, g), True

    def added_by(self, op: Any, g: Any, edge: Any) -> Any:
        """What op.adder returns, its sum stored; None if it does not add, or nothing is there."""
        slots, at = self._slots.get(edge.target.order), 1 + 2 * (edge.output or 0)
        if slots is None or slots[at] is None:
            return None
        grads = op.adder(g, slots[at], slots[at + 1])
        if grads is not None:
            slots[at], slots[at + 1] = grads[0], True
        return grads

    def newest(self) -> tuple[Any, Any]:
        """The newest op, with ∂L/∂output: an array, or a tuple if it has several outputs."""
        slots = self._slots.pop(-heappop(self.waiting))
        return slots[0], slots[1] if len(slots) == 3 else tuple(slots[1::2])


def added(
    op: Any, g: Any, arrivals: Arrivals, to_leaf: Any, observers: Sequence[Callable[..., None]]
) -> Any:
    """op.backward(g), or with None for ∂L/∂(first input) if the op has added it to what was there.

    That spares a table's gradient that is as large as the table, and a pass over the gradient of a
    residual stream. Only where no observer wants to see it: those with the attribute without_leaves
    do not.
    """
    edge, grads = op.edges[0], None
    seen = any(not getattr(watch, "without_leaves", False) for watch in observers)
    if seen or edge is None or op.half is not None:
        return op.backward(g)
    if edge.output is not None:
        grads = arrivals.added_by(op, g, edge)
    elif to_leaf is accumulate and edge.target.grad is not None:
        with lock_of(edge.target):
            grads = op.adder(g, edge.target.grad.array, True)
    return op.backward(g) if grads is None else (None, *grads[1:])
