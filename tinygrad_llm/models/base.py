"""What is the same for all models: modes, device, context, and checks of their configs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from .. import random
from ..autograd.grad_mode import no_grad
from ..tensor import device

__all__ = [
    "context_length_of",
    "device_of",
    "evaluation",
    "require_flags",
    "require_integers",
    "undisturbed",
]


@contextmanager
def evaluation(model: Any) -> Iterator[None]:
    """Within it the model is in evaluation mode; afterwards each of its modules is as it was.

    A model that is in evaluation mode already, or is not a module, is left alone.
    """
    modules = list(model.modules()) if getattr(model, "training", False) else []
    before = [module.training for module in modules]
    for module in modules:
        module.training = False
    try:
        yield
    finally:
        for module, training in zip(modules, before, strict=True):
            module.training = training


@contextmanager
def undisturbed(model: Any) -> Iterator[None]:
    """For a look at a model in the middle of its training: nothing of the run changes.

    Within it the model is in evaluation mode and no graph is recorded; afterwards the modes and the
    default random generator are as they were.
    """
    with no_grad(), random.fork_rng(), evaluation(model):
        yield


def require_integers(owner: str, config: Any, *names: str) -> None:
    """Raises: TypeError if one of these fields of a config is not an int (a bool is not one)."""
    for name in names:
        value = getattr(config, name)
        if isinstance(value, bool) or not isinstance(value, int):
            raise TypeError(f"{owner}: {name} must be an integer, got {value!r}")


def require_flags(owner: str, config: Any, *names: str) -> None:
    """Raises: TypeError if one of these fields of a config is not True or False."""
    for name in names:
        value = getattr(config, name)
        if not isinstance(value, bool):
            raise TypeError(f"{owner}: {name} must be True or False, got {value!r}")


def device_of(model: Any) -> device | None:
    """The device of the model's first parameter; None if it has no parameters."""
    first = next(iter(model.parameters()), None) if hasattr(model, "parameters") else None
    return None if first is None else first.device


def context_length_of(model: Any) -> int | None:
    """The most tokens that the model sees, from its config; None if it does not say."""
    return getattr(getattr(model, "config", None), "context_length", None)
