"""observing(): functions that look at every op of a `with` block, forward and backward.

drop_gradient: for a backward pass that is only looked at, and changes no .grad.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ..tensor import Tensor
from .engine import Op, backward_observers, observers, start_observers

__all__ = ["drop_gradient", "observing"]


@contextmanager
def observing(
    after_forward: Callable[[Op, tuple, Any], None] | None = None,
    after_backward: Callable[[Op, Any, tuple], None] | None = None,
    *,
    before_forward: Callable[[type[Op], tuple, dict[str, Any]], None] | None = None,
) -> Iterator[None]:
    """Within it the engine calls these functions for every op, in every thread.

    before_forward   (the op's class, inputs, options) before each forward
    after_forward    (op, inputs, results) after each forward
    after_backward   (op, ∂L/∂output, ∂L/∂inputs) after each backward, before the gradients are
                     delivered
    """
    added: list[tuple[list[Any], Any]] = [
        (start_observers, before_forward),
        (observers, after_forward),
        (backward_observers, after_backward),
    ]
    added = [(functions, function) for functions, function in added if function is not None]
    for functions, function in added:
        functions.append(function)
    try:
        yield
    finally:
        for functions, function in added:
            functions.remove(function)


def drop_gradient(leaf: Tensor, gradient: Any, owned: bool) -> None:
    """As `deliver` of backward_steps, in place of accumulation into .grad: nothing is kept."""
