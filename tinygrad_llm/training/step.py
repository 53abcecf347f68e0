"""One step of training up to the update: the gradient of several batches as if they were one."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from itertools import islice
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
from .averaging import WeightAverage
from .noise import NoiseScale
from .optimizer_state import at_gradients, averaged
from .ranks import ALONE, Ranks, part_of_rows

__all__ = [
    "AnotherRanksLossError",
    "BadLossError",
    "Loss",
    "Part",
    "Setup",
    "add_gradients",
    "count_targets",
    "evaluate",
    "model_loss",
    "reduce_gradients",
    "to_device_of",
]

# (model, batch) -> mean loss, a scalar tensor; `exchanges = True` if ranks exchange something in it
Loss = Callable[[Any, Any], Any]
Part = Callable[[Any, int, int], Any]  # (batch, rank, ranks) -> this rank's examples of it, or None


class BadLossError(FloatingPointError):
    """A loss that is NaN or infinite, with what is needed to compute it again.

    random_state: the default generator's before the loss was computed.
    """

    def __init__(self, value: float, batch: Any, random_state: np.ndarray) -> None:
        super().__init__(f"the loss is {value}")
        self.value, self.batch, self.random_state = value, batch, random_state


class AnotherRanksLossError(BadLossError):
    """Another rank's loss is NaN or infinite: it says so, this one only stops."""

    def __init__(self) -> None:
        super().__init__(math.nan, None, random.get_rng_state())


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
    ranks: Ranks = ALONE,
    part: Part = part_of_rows,
    noise: NoiseScale | None = None,
) -> tuple[float, int]:
    """Adds ∂(mean loss over every target of every batch) to the gradients.

    `loss` returns a batch's mean, so a batch that has n of the N targets is weighted by n / N:
    the result does not depend on how the targets are divided into batches. (In a mean of means a
    target in a short batch would have more weight.) Batches go to the model's device one at a time.
    Of several ranks each takes its part of every batch, and adds its share of that mean.
    noise: looks at the gradients after each batch; they are those of these batches alone then.
    Returns that mean loss (of ranks: the share) and N; N = 0 leaves the gradients as they are.
    Raises: BadLossError before the backward pass of a loss that is not finite.
    """
    counts = [count(batch) for batch in batches]
    total = sum(counts)
    exchanges = ranks.several and (ranks.sharded or getattr(loss, "exchanges", False))
    mean = 0.0
    for batch, of_all in zip(batches, counts, strict=True):
        if of_all == 0:
            continue
        batch, n = _own_part(batch, of_all, count, ranks, part)
        value, error = None, None
        if batch is not None:
            batch = to_device_of(model, batch)
            before = random.get_rng_state()
            value = loss(model, batch)
            number = float(value.item())
            if not math.isfinite(number):
                error = BadLossError(number, batch, before)
        if exchanges and ranks.settle(0.0, error is not None)[1] and error is None:
            raise AnotherRanksLossError()  # no rank may begin the backward pass alone
        if error is not None:
            raise error
        if value is not None:
            mean += number * (n / total)
            weight = n * ranks.averaged / total
            (value if weight == 1 else value * weight).backward()
            if noise is not None:
                noise.batch(model.parameters(), weight, n)
    return mean, total


def _own_part(
    batch: Any, targets: int, count: Callable[[Any], int], ranks: Ranks, part: Part
) -> tuple[Any, int]:
    """(a rank's examples of a batch, how many targets they have), or (None, 0) for no target.

    Where the parameters are sharded a rank without targets takes the whole batch, which counts
    nothing: all ranks gather the parameters together.
    """
    if not ranks.several:
        return batch, targets
    own = part(batch, ranks.rank, ranks.size)
    n = 0 if own is None else count(own)
    if n:
        return own, n
    return (batch if ranks.sharded else None), 0


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
    see reduce_gradients; ranks: the processes that make a step together, see `join`; part: what one
    of them takes of a batch; average: of the weights, which Stepper updates, or None; ramp: in so
    many first steps the batches of a step rise from 1 to accumulation; noise: what is learned of
    the gradients' noise, or None.
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
    part: Part = part_of_rows
    average: WeightAverage | None = field(default=None, init=False)
    ramp: int = field(default=0, init=False)
    noise: NoiseScale | None = field(default=None, init=False)
    ranks: Ranks = field(default=ALONE, init=False)

    def join(self, ranks: Ranks) -> None:
        """Makes the steps of one of several ranks; their gradients are added up by `reduce`."""
        self.ranks = ranks
        ranks.sharded = any(hasattr(p, "division") for p in self.model.parameters())
        if ranks.several:
            self.reduce = ranks.reduce
        if ranks.sharded:
            self.loss = _with_parameters(self.loss)

    @property
    def largest_norm(self) -> float:
        """The gradient norm above which a step is clipped; infinite for none."""
        return self.clip or math.inf

    def batches_of(self, step: int) -> int:
        """How many batches the step of this number has, from 1 on."""
        if step > self.ramp:
            return self.accumulation
        return min(self.accumulation, 1 + self.accumulation * (step - 1) // max(1, self.ramp))

    def take(self, step: int | None = None) -> list[Any]:
        """The batches of the next step; step: its number, where the run has a ramp."""
        n = self.accumulation if step is None else self.batches_of(step)
        return [self.stream.next() for _ in range(n)]

    def averaged(self) -> None:
        """Puts averaged weights into the model, where there are some: to measure and to save."""
        averaged(self.optimizer)
        if self.average is not None:
            self.average.eval()

    def at_gradients(self) -> None:
        """Puts the weights at which gradients are taken back into the model, after `averaged`."""
        at_gradients(self.optimizer)
        if self.average is not None:
            self.average.train()

    def own_targets(self, batch: Any) -> int:
        """How many targets of a batch this rank computes."""
        return _own_part(batch, self.count(batch), self.count, self.ranks, self.part)[1]

    def gradients(self, batches: Sequence[Any]) -> tuple[float, int]:
        """Sets the gradients of a step; (mean loss, targets), and no gradients for no target.

        Raises: BadLossError before the backward pass of a loss that is not finite, on all ranks.
        """
        self.at_gradients()
        self.optimizer.zero_grad()
        if self.noise is not None:
            self.noise.begin()
        error, mean, targets = None, 0.0, 0
        try:
            with self.ranks.own_random():
                mean, targets = add_gradients(
                    self.model, batches, self.loss, self.count, self.ranks, self.part, self.noise
                )
        except BadLossError as fault:
            error = fault
        mean, failed = self.ranks.settle(mean, error is not None)
        if error is not None or failed:
            raise error or AnotherRanksLossError()
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
    ranks: Ranks = ALONE,
) -> tuple[float, int]:
    """(mean loss per target, number of targets) over batches: no dropout, no gradients.

    The model's mode and the default random generator are left as they were. NaN for no target.
    Several ranks divide the batches among them.
    """
    total, targets = 0.0, 0
    with undisturbed(model):
        for batch, n in _share(batches, ranks, count):
            if batch is not None:
                mean = float(loss(model, to_device_of(model, batch)).item())
                total += mean * n if n else 0.0
                targets += n
    total, counted = ranks.sums(total, targets)
    return (total / counted if counted else math.nan), round(counted)


def _share(batches: Any, ranks: Ranks, count: Any) -> Iterator[tuple[Any, int]]:
    """(every size-th batch from the rank's own number on, its targets); None without targets.

    Where the parameters are sharded all ranks compute equally often: a rank that has no batch with
    targets, while another has one, takes that one, of which nothing counts.
    """
    if not ranks.sharded:
        if ranks.several and isinstance(batches, Sequence):
            own: Any = (batches[i] for i in range(ranks.rank, len(batches), ranks.size))
        else:
            own = (batch for i, batch in enumerate(batches) if i % ranks.size == ranks.rank)
        for batch in own:
            n = count(batch)
            yield (batch if n else None), n
        return
    rest = iter(batches)
    while some := list(islice(rest, ranks.size)):
        targets = [count(batch) for batch in some]
        if ranks.rank < len(some) and targets[ranks.rank]:
            yield some[ranks.rank], targets[ranks.rank]
        elif any(targets):
            yield next(b for b, n in zip(some, targets, strict=True) if n), 0


def _with_parameters(loss: Loss) -> Loss:
    """The loss of a divided model, whose own parameters are there whichever of its methods is
    called."""

    @functools.wraps(loss)
    def computed(model: Any, batch: Any) -> Any:
        unit = model.__dict__.get("_unit")
        with nullcontext() if unit is None else unit.whole():
            return loss(model, batch)

    return computed
