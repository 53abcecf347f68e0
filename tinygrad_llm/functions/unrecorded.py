"""The short way of a call that nobody records: straight to the array, past the engine.

An op costs the engine a few microseconds, which is nothing for a model and everything for a loop
over single numbers. Where no gradient is wanted and no observer looks on, views and copies of a
NumPy array need only `view_of` and `wrap`.
"""

from __future__ import annotations

from typing import Any

from ..arrays.layout import in_rows
from ..arrays.memory import as_array, ndarray
from ..arrays.silence import is_silent, silent
from ..arrays.twins import large
from ..autograd.engine import Edge, observers, start_observers
from ..autograd.grad_mode import mode
from ..autograd.inplace_versions import clock
from ..tensor import Tensor, wrap

_YES = (True,)
_NOTHING = (False, False, False)  # what an op's inputs need


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


def past_the_engine(op: Any, input: Tensor, *options: Any) -> Tensor | None:
    """op of a few floats by its forward alone; None if it is recorded, watched or replaced.

    options: forward's arguments after the input.
    """
    x = input.array
    if type(x) is not ndarray or x.size >= large.least or x.dtype.char not in "fd":
        return None
    if recorded(input) or op.forward is not op._written[0]:
        return None
    one = op()
    one.needs = _NOTHING
    y = one.forward(x, *options) if is_silent() else silent.run(one.forward, x, *options)
    if type(y) is not ndarray:
        y = as_array(y)
    return wrap(in_rows(y) if op.in_rows else y)


def view_of(x: Tensor, array: Any) -> Tensor:
    """A tensor that shows `array`, a part of x's memory, where nothing is recorded."""
    y = wrap(array)
    base = x._view_of
    y._view_of = x if base is None else base
    y._tick = next(clock)
    return y


_new_edge = tuple.__new__  # half the time of calling Edge(...)


def recorded_view(op: Any, x: Tensor, array: Any) -> Tensor:
    """view_of(x, array) with op as its maker: what op.forward would return, computed already.

    op holds what its backward needs, and nobody watches. x is a floating tensor that `recorded`
    holds for.
    """
    y = view_of(x, array)
    if x._view_of is not None and x._view_of._tick > x._tick:
        x._refresh_history()
    if x._needs:
        a = x.array
        maker, output = (x, None) if x._op is None else (x._op, x._out)
        op.needs, op.order = _YES, next(clock)
        op.edges = (_new_edge(Edge, (maker, output, a.shape, a.dtype)),)
        y._needs, y._op = True, op
    return y
