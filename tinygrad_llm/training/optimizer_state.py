"""Weights and an optimizer's state over ranks, as one process would have them.

Of divided parameters either each rank's rows, for files that all ranks write; or the parts joined
one parameter after the other, in the CPU's memory of rank 0: no GPU holds the whole model.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..arrays.devices import to_numpy
from ..distributed.parts import own_slice
from ..distributed.sharded import joined_parts
from ..nn import Module
from ..optim import Optimizer
from ..tensor import Tensor, wrap
from ..weights.formats.parts import Part
from .ranks import Ranks

__all__ = [
    "are_rows",
    "averaged",
    "at_gradients",
    "inner",
    "load_own_state",
    "load_whole_state",
    "own_rows",
    "own_state",
    "state_of_rows",
    "whole_state",
    "whole_weights",
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
    if ranks.sharded:
        return _joined(optimizer, ranks)
    if inner(optimizer) is optimizer:
        return own_state(optimizer)
    optimizer.consolidate_state_dict(to=0)
    return optimizer.state_dict() if ranks.first else {}


def load_whole_state(optimizer: Optimizer, state: dict[str, Any]) -> None:
    """Load the state of all parameters; this rank keeps its part.

    Raises: ValueError if it is of other parameters.
    """
    parameters = _parameters(optimizer)
    entries = dict(state["state"])
    for number, entry in entries.items():
        if isinstance(number, int) and 0 <= number < len(parameters):
            entries[number] = _own_parts(entry, parameters[number])
    optimizer.load_state_dict({**state, "state": entries})


def whole_weights(model: Module, ranks: Ranks) -> dict[str, Any] | None:
    """The state dict of a divided model on rank 0, nothing on the others; None if it is not
    divided. Every rank calls this.
    """
    if not ranks.sharded:
        return None
    divided = {
        name: parameter for name, parameter in model.named_parameters(remove_duplicate=False)
        if hasattr(parameter, "division")
    }  # fmt: skip
    joined: dict[int, Any] = {}  # weights that are tied are joined once
    whole: dict[str, Any] = {}
    for name, value in model.state_dict().items():
        parameter = divided.get(name)
        if parameter is None:
            whole[name] = value
        elif id(parameter) not in joined:
            joined[id(parameter)] = _on_first(parameter, value, ranks)
        if parameter is not None:
            whole[name] = joined[id(parameter)]
    return whole if ranks.first else {}


def are_rows(model: Module, ranks: Ranks) -> bool:
    """Whether each divided parameter is divided once, by rows, among all ranks."""
    divided: list[Any] = [p for p in model.parameters() if _is_divided(p)]
    return all(
        p.division.dim == 0 and not p.earlier and p.division.group.size() == ranks.size
        for p in divided
    )


def own_rows(model: Module) -> dict[str, Any]:
    """The state dict with this rank's rows of divided parameters."""
    divided = dict(model.named_parameters(remove_duplicate=False))
    return {
        name: _rows(value.array, divided.get(name)) if _is_divided(divided.get(name)) else value
        for name, value in model.state_dict().items()
    }


def state_of_rows(optimizer: Optimizer) -> dict[str, Any]:
    """The optimizer's state with this rank's rows of what has a divided parameter's shape."""
    return _with_parts(optimizer, lambda parameter, value: _rows(value.array, parameter))


def _rows(array: Any, parameter: Any) -> Part:
    group, _, length = parameter.division
    return Part(array, own_slice(group, length).start, parameter.whole_shape)


def _is_divided(parameter: Any) -> bool:
    return hasattr(parameter, "division")


def _parameters(optimizer: Any) -> list[Any]:
    """The parameters, by their numbers in a state_dict()."""
    return [p for group in inner(optimizer).param_groups for p in group["params"]]


def _on_first(parameter: Any, part: Tensor, ranks: Ranks) -> Tensor | None:
    """The ranks' parts joined, on the CPU of rank 0."""
    array = joined_parts(parameter, part.array)
    return wrap(to_numpy(array)) if ranks.first else None


def _joined(optimizer: Optimizer, ranks: Ranks) -> dict[str, Any]:
    """The state with what has a divided parameter's shape joined, on rank 0."""
    state = _with_parts(optimizer, lambda parameter, value: _on_first(parameter, value, ranks))
    return state if ranks.first else {}


def _with_parts(optimizer: Optimizer, change: Callable[[Any, Tensor], Any]) -> dict[str, Any]:
    """The state with change(parameter, value) of each value of a divided parameter's shape."""
    state, parameters = own_state(optimizer), _parameters(optimizer)
    entries: dict[Any, Any] = {}
    for number, entry in state["state"].items():
        parameter = parameters[number]
        entries[number] = {
            name: change(parameter, value)
            if _is_divided(parameter) and _like(value, parameter.array.shape) else value
            for name, value in entry.items()
        }  # fmt: skip
    return {**state, "state": entries}


def _own_parts(entry: Any, parameter: Any) -> Any:
    """The entries of a parameter with this rank's parts of what has its whole shape."""
    if not hasattr(parameter, "division"):
        return entry
    shape = parameter.whole_shape
    return {
        name: wrap(parameter.part_of(value.array)) if _like(value, shape) else value
        for name, value in entry.items()
    }


def _like(value: Any, shape: tuple[int, ...]) -> bool:
    return isinstance(value, Tensor) and tuple(value.array.shape) == tuple(shape)
