"""The end of a gradient's way: it is added to the .grad of a leaf, by one thread at a time."""

from __future__ import annotations

import os
import threading
from typing import Any

from ..arrays.layout import copied, empty_as, is_dense, same_layout
from ..arrays.memory import ndarray
from ..arrays.twins import cpu_twins, twins
from ..tensor import Tensor, wrap

__all__ = ["accumulate", "add_into", "lock_of"]


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
