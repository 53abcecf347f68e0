"""One step of training up to the update: the gradient of several batches as if they were one."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from .. import random
from ..data.batches import IGNORED
from ..models.base import device_of, undisturbed
from ..nn import Module
from ..nn.utils import clip_grad_norm_
from ..optim import Optimizer
from ..tensor import Tensor

__all__ = [
    "BadLossError",
    "Loss",
    "add_gradients",
    "count_targets",
    "evaluate",
    "model_loss",
    "to_device_of",
    "update",
]

Loss = Callable[[Any, Any], Any]  # (model, batch) -> mean loss, a scalar tensor


class BadLossError(FloatingPointError):
    """A loss that is NaN or infinite, with what is needed to compute it again.

    random_state: the default generator's before the loss was computed.
    """

    def __init__(self, value: float, batch: Any, random_state: np.ndarray) -> None:
        super().__init__(f"the loss is {value}")
        self.value, self.batch, self.random_state = value, batch, random_state


def to_device_of(model: Any, batch: Any) -> Any:
    """The batch on the model's device: its tensors moved, in tuples, lists and dicts of any depth.

    A tensor that is there already is returned itself, and so is the batch where the model has no
    parameters.
    """
    device = device_of(model)
    return batch if device is None else _moved(batch, device)


def _moved(value: Any, device: Any) -> Any:
    if isinstance(value, Tensor):
        return value if value.device == device else value.to(device)
    if isinstance(value, Mapping):
        return {key: _moved(item, device) for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(_moved(item, device) for item in value)
    return value


def model_loss(model: Any, batch: Any) -> Any:
    """The loss that a language model computes itself: model.loss(inputs, targets)."""
    inputs, targets = batch
    return model.loss(inputs, targets)


def count_targets(batch: Any) -> int:
    """How many targets of a batch count: elements of its last tensor that are not -100."""
    targets = batch[-1].array
    return int((targets != IGNORED).sum())


def add_gradients(
    model: Any,
    batches: Sequence[Any],
    loss: Loss = model_loss,
    count: Callable[[Any], int] = count_targets,
) -> tuple[float, int]:
    """Adds ∂(mean loss over every target of every batch) to the gradients.

    `loss` returns a batch's mean, so a batch that has n of the N targets is weighted by n / N:
    the result does not depend on how the targets are divided into batches. (In a mean of means a
    target in a short batch would have more weight.) Batches go to the model's device one at a time.
    Returns that mean loss and N; N = 0 leaves the gradients as they are.
    Raises: BadLossError before the backward pass of a loss that is not finite.
    """
    counts = [count(batch) for batch in batches]
    total = sum(counts)
    mean = 0.0
    for batch, n in zip(batches, counts, strict=True):
        if n == 0:
            continue
        batch = to_device_of(model, batch)
        before = random.get_rng_state()
        value = loss(model, batch)
        number = float(value.item())
        if not math.isfinite(number):
            raise BadLossError(number, batch, before)
        mean += number * (n / total)
        (value if n == total else value * (n / total)).backward()
    return mean, total


def update(
    model: Module, optimizer: Optimizer, batches: Sequence[Any], *, loss: Loss = model_loss,
    count: Callable[[Any], int] = count_targets, clip: float | None = None,
) -> tuple[float, int]:  # fmt: skip
    """One step of training: gradients, clipping, optimizer. Returns what add_gradients returns.

    clip: the largest gradient norm; None or 0 does not clip. Without a target nothing changes.
    """
    optimizer.zero_grad()
    mean, targets = add_gradients(model, batches, loss, count)
    if targets:
        if clip:
            clip_grad_norm_(model.parameters(), clip)
        optimizer.step()
    return mean, targets


def evaluate(
    model: Any,
    batches: Any,
    loss: Loss = model_loss,
    count: Callable[[Any], int] = count_targets,
) -> tuple[float, int]:
    """(mean loss per target, number of targets) over batches: no dropout, no gradients.

    The model's mode and the default random generator are left as they were. NaN for no target.
    """
    total, targets = 0.0, 0
    with undisturbed(model):
        for batch in batches:
            n = count(batch)
            if n:
                total += float(loss(model, to_device_of(model, batch)).item()) * n
                targets += n
    return (total / targets if targets else math.nan), targets
