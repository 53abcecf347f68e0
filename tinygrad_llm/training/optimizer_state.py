"""The state of an optimizer over ranks, as one process would have it."""

from __future__ import annotations

from typing import Any

from ..optim import Optimizer
from .ranks import Ranks

__all__ = [
    "averaged",
    "at_gradients",
    "inner",
    "load_own_state",
    "load_whole_state",
    "own_state",
    "whole_state",
]


def inner(optimizer: Any) -> Any:
    """The optimizer that changes this rank's parameters: that in a ZeroRedundancyOptimizer."""
    return getattr(optimizer, "optim", optimizer)


def averaged(optimizer: Any) -> None:
    """Put the averaged weights into the model, if the optimizer has any: to measure and to save."""
    put = getattr(inner(optimizer), "eval", None)
    if put is not None:
        put()


def at_gradients(optimizer: Any) -> None:
    """Put the weights at which gradients are taken back into the model, after `averaged`."""
    put = getattr(inner(optimizer), "train", None)
    if put is not None:
        put()


def own_state(optimizer: Optimizer) -> dict[str, Any]:
    """state_dict() of what this rank keeps."""
    return dict(inner(optimizer).state_dict())


def load_own_state(optimizer: Any, state: dict[str, Any]) -> None:
    """Load what own_state returned."""
    inside = inner(optimizer)
    inside.load_state_dict(state)
    if inside is not optimizer:  # it shows the inner one's groups and state
        optimizer.param_groups, optimizer.state = inside.param_groups, inside.state


def whole_state(optimizer: Any, ranks: Ranks) -> dict[str, Any]:
    """The state of all parameters on rank 0, which writes it; every rank calls this."""
    if inner(optimizer) is optimizer:
        return own_state(optimizer)
    optimizer.consolidate_state_dict(to=0)
    return optimizer.state_dict() if ranks.first else {}


def load_whole_state(optimizer: Optimizer, state: dict[str, Any]) -> None:
    """Load the state of all parameters; this rank keeps its part.

    Raises: ValueError if it is of other parameters.
    """
    optimizer.load_state_dict(state)
