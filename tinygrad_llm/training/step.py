"""One step of training up to the update: the gradient of several batches as if they were one."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import random
from ..data.batches import IGNORED, Stream
from ..models.base import device_of, undisturbed
from ..nn import Module
from ..nn.utils import clip_grad_norm_
from ..optim import Optimizer
from ..optim.lr_scheduler import LRScheduler
from ..tensor import Tensor

__all__ = [
    "BadLossError",
    "Loss",
    "Setup",
    "add_gradients",
    "count_targets",
    "evaluate",
    "model_loss",
    "reduce_gradients",
    "to_device_of",
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


def reduce_gradients(parameters: Iterable[Tensor], targets: Any) -> Any:
    """The one place where the gradients of a step are combined: after the backward pass of all its
    batches, before clipping and the update.

    parameters: their gradients are those of the mean loss over the `targets` targets of this
    process. A function in its place (Setup.reduce) that combines several processes weights each
    process's gradients by its targets, leaves the gradients of the mean over all targets, and
    returns the number of all targets. One process has nothing to combine. In a captured step
    `targets` is a 0-d tensor.
    """
    return targets


@dataclass
class Setup:
    """What makes a step of training, and what it changes.

    model, optimizer; stream: where the batches come from; loss: (model, batch) -> mean loss; count:
    batch -> how many targets that is the mean of; accumulation: batches in a step; clip: the
    largest gradient norm, None or 0 does not clip; scheduler: stepped after the optimizer; reduce:
    see reduce_gradients.
    """

    model: Module
    optimizer: Optimizer
    stream: Stream
    loss: Loss = model_loss
    count: Callable[[Any], int] = count_targets
    accumulation: int = 1
    clip: float | None = None
    scheduler: LRScheduler | None = None
    reduce: Callable[[Iterable[Tensor], Any], Any] = reduce_gradients

    @property
    def largest_norm(self) -> float:
        """The gradient norm above which a step is clipped; infinite for none."""
        return self.clip or math.inf

    def take(self) -> list[Any]:
        """The batches of the next step."""
        return [self.stream.next() for _ in range(self.accumulation)]

    def gradients(self, batches: Sequence[Any]) -> tuple[float, int]:
        """Sets the gradients of a step; (mean loss, targets), and no gradients for no target.

        Raises: BadLossError before the backward pass of a loss that is not finite.
        """
        self.optimizer.zero_grad()
        mean, targets = add_gradients(self.model, batches, self.loss, self.count)
        return mean, self.reduce(self.model.parameters(), targets)

    def update(self, batches: Sequence[Any]) -> tuple[float, int]:
        """One step without its checks: gradients, clipping, optimizer. Returns as `gradients`."""
        mean, targets = self.gradients(batches)
        if targets:
            if self.clip:
                clip_grad_norm_(self.model.parameters(), self.clip)
            self.optimizer.step()
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
