"""The short way of a call that nobody records: straight to the array, past the engine.

An op costs the engine a few microseconds, which is nothing for a model and everything for a loop
over single numbers. Where no gradient is wanted and no observer looks on, views and copies of a
NumPy array need only `view_of` and `wrap`.
"""

from __future__ import annotations

from typing import Any

from ..arrays.memory import ndarray
from ..autograd.engine import observers, start_observers
from ..autograd.grad_mode import mode
from ..autograd.inplace_versions import clock
from ..tensor import Tensor, wrap


def recorded(x: Tensor, value: Any = None) -> bool:
    """Whether an op on x and value would be recorded, or is watched by an observer."""
    if observers or start_observers:
        return True
    if not mode.grad:
        return False
    if x._needs or (x._view_of is not None and _base_changed(x)):
        return True
    return isinstance(value, Tensor) and (
        value._needs or (value._view_of is not None and _base_changed(value))
    )


def _base_changed(x: Tensor) -> bool:
    base: Any = x._view_of
    return base._needs or base._tick > x._tick


def plain(x: Tensor) -> bool:
    """Whether x is a NumPy array on which no op would be recorded or watched."""
    return type(x.array) is ndarray and not recorded(x)


def direct(op: Any, x: Tensor) -> bool:
    """Whether op on x may go straight to NumPy: plain(x), and nobody has replaced op's forward."""
    return type(x.array) is ndarray and not recorded(x) and op.forward is op._written[0]


def view_of(x: Tensor, array: Any) -> Tensor:
    """A tensor that shows `array`, a part of x's memory, where nothing is recorded."""
    y = wrap(array)
    base = x._view_of
    y._view_of = x if base is None else base
    y._tick = next(clock)
    return y
