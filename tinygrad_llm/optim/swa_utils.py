"""Averages of a model's weights over training, with PyTorch's names: SWA and EMA.

    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.999))
    ...
    optimizer.step()
    average.update_parameters(model)
    average(x)                          # the model with the averaged weights

The weights that a step leaves swing around a valley's floor; their average lies nearer to it, as if
the learning rate had fallen. SWA (Izmailov et al., 2018, "Averaging Weights Leads to Wider Optima
and Better Generalization") weights all alike, EMA (Polyak and Juditsky, 1992, for the idea) forgets
the older ones: weights w of n steps ago count (1 − decay)·decayⁿ.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from copy import deepcopy
from itertools import chain
from typing import Any

from ..autograd.grad_mode import no_grad
from ..functions.creation.filled import zeros
from ..nn.batchnorm import BatchNorm1d
from ..nn.module import Module
from ..tensor import Tensor, dtypes
from .lr_scheduler.base import LRScheduler, each_group
from .optimizer import Optimizer

__all__ = [
    "SWALR",
    "AveragedModel",
    "get_ema_avg_fn",
    "get_ema_multi_avg_fn",
    "get_swa_avg_fn",
    "get_swa_multi_avg_fn",
    "update_bn",
]

AvgFn = Callable[[Tensor, Tensor, Any], Tensor]  # (average, weight, how many so far) -> average
MultiAvgFn = Callable[[list[Tensor], list[Tensor], Any], None]  # the same of lists, in place


def _check_decay(decay: float) -> None:
    if not 0.0 <= decay <= 1.0:
        raise ValueError(
            f"Invalid decay value {decay} provided. Please provide a value in [0,1] range."
        )


def get_ema_multi_avg_fn(decay: float = 0.999) -> MultiAvgFn:
    """A function (averages, weights, n) that sets each average to decay·average + (1 − decay)·w.

    Raises: ValueError if decay is outside [0, 1].
    """
    _check_decay(decay)

    @no_grad()
    def ema_update(averages: list[Tensor], weights: list[Tensor], _: Any) -> None:
        for average, weight in zip(averages, weights, strict=True):
            if average.is_floating_point():
                average.lerp_(weight, 1 - decay)
            else:
                average.copy_(average * decay + weight * (1 - decay))

    return ema_update


def get_swa_multi_avg_fn() -> MultiAvgFn:
    """A function (averages, weights, n) that adds one to the n weights that were averaged."""

    @no_grad()
    def swa_update(averages: list[Tensor], weights: list[Tensor], n: Any) -> None:
        for average, weight in zip(averages, weights, strict=True):
            if average.is_floating_point():
                average.lerp_(weight, 1 / (float(n) + 1))
            else:
                average += (weight - average) // (int(n) + 1)

    return swa_update


def get_ema_avg_fn(decay: float = 0.999) -> AvgFn:
    """A function (average, weight, n) that returns decay·average + (1 − decay)·weight.

    Raises: ValueError if decay is outside [0, 1].
    """
    _check_decay(decay)

    @no_grad()
    def ema_update(average: Tensor, weight: Tensor, _: Any) -> Tensor:
        return average * decay + weight * (1 - decay)

    return ema_update


def get_swa_avg_fn() -> AvgFn:
    """A function (average, weight, n) that returns average + (weight − average) / (n + 1)."""

    @no_grad()
    def swa_update(average: Tensor, weight: Tensor, n: Any) -> Tensor:
        return average + (weight - average) / (n + 1)

    return swa_update


class AveragedModel(Module):
    """A copy of the model, `module`, whose weights become the average of those that it is shown.

    device          where the copy is; that of the model if None
    avg_fn          (average, weight, n_averaged) -> the new average, one parameter at a time
    multi_avg_fn    (averages, weights, n_averaged), which changes lists of averages in place
    use_buffers     whether buffers are averaged too; otherwise the model's are copied

    Without either function all weights count alike (SWA). The first update copies the weights.
    `n_averaged` counts the updates; the functions are not in the state_dict.
    Raises: AssertionError if both functions are passed.
    """

    def __init__(
        self, model: Module, device: Any = None, avg_fn: AvgFn | None = None,
        multi_avg_fn: MultiAvgFn | None = None, use_buffers: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        if avg_fn is not None and multi_avg_fn is not None:
            raise AssertionError("Only one of avg_fn and multi_avg_fn should be provided")
        self.module = deepcopy(model)
        if device is not None:
            self.module = self.module.to(device)
        self.register_buffer("n_averaged", zeros((), dtype=dtypes.int64, device=device))
        self.avg_fn, self.multi_avg_fn, self.use_buffers = avg_fn, multi_avg_fn, use_buffers

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.module(*args, **kwargs)

    @no_grad()
    def update_parameters(self, model: Module) -> None:
        """Takes the model's present weights into the average."""
        buffers = (self.module.buffers(), model.buffers()) if self.use_buffers else ((), ())
        averages = [p.detach() for p in chain(self.module.parameters(), buffers[0])]
        present = chain(model.parameters(), buffers[1])
        weights = [w.detach().to(p.device) for p, w in zip(averages, present, strict=True)]
        n = int(self.n_averaged.item())
        if n == 0:
            for average, weight in zip(averages, weights, strict=True):
                average.copy_(weight)
        elif self.multi_avg_fn is not None:
            self.multi_avg_fn(averages, weights, n)
        else:
            average_of = self.avg_fn or get_swa_avg_fn()
            for average, weight in zip(averages, weights, strict=True):
                average.copy_(average_of(average, weight, n))
        if not self.use_buffers:
            for own, other in zip(self.module.buffers(), model.buffers(), strict=True):
                own.copy_(other.detach().to(own.device))
        self.n_averaged += 1


@no_grad()
def update_bn(loader: Iterable[Any], model: Module, device: Any = None) -> None:
    """Computes the means and variances of all batch norms again, in one pass over the data.

    loader: batches, each a tensor or a list or tuple whose first entry is one; device: to which
    they are moved. An averaged model needs it: its norms have seen other weights.
    """
    norms = [m for m in model.modules() if isinstance(m, BatchNorm1d)]
    if not norms:
        return
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
    was_training = model.training
    model.train()
    for norm in norms:
        norm.momentum = None  # the mean over all batches
    for batch in loader:
        x = batch[0] if isinstance(batch, list | tuple) else batch
        model(x if device is None else x.to(device))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    model.train(was_training)


def _cosine(t: float) -> float:
    return (1 - math.cos(math.pi * t)) / 2


class SWALR(LRScheduler):
    """From the present rate to swa_lr in anneal_epochs steps, and then that: for weights that are
    averaged.

    swa_lr: one for all groups, or a list; anneal_strategy: "cos" or "linear".
    Raises: ValueError for another strategy, a list of another length, or anneal_epochs below 0.
    """

    def __init__(
        self, optimizer: Optimizer, swa_lr: Any, anneal_epochs: int = 10,
        anneal_strategy: str = "cos", last_epoch: int = -1,
    ) -> None:  # fmt: skip
        groups = optimizer.param_groups
        for group, rate in zip(groups, each_group("swa_lr", swa_lr, len(groups)), strict=True):
            group["swa_lr"] = rate
        if anneal_strategy not in ("cos", "linear"):
            raise ValueError(
                f"anneal_strategy must be one of 'cos' or 'linear', instead got {anneal_strategy}"
            )
        if not isinstance(anneal_epochs, int) or anneal_epochs < 0:
            raise ValueError(f"anneal_epochs must be equal or greater than 0, got {anneal_epochs}")
        self.anneal_epochs = anneal_epochs
        self._anneal_strategy = anneal_strategy
        super().__init__(optimizer, last_epoch)

    def _share(self, step: int) -> float:
        """How much of swa_lr is in the rate at a step, 0 to 1."""
        t = max(0.0, min(1.0, step / max(1, self.anneal_epochs)))
        return _cosine(t) if self._anneal_strategy == "cos" else t

    def get_lr(self) -> list[Any]:
        step = self._step_count - 1
        if self.anneal_epochs == 0:
            step = max(1, step)
        before, now = self._share(step - 1), self._share(step)
        rates = []
        for group in self.optimizer.param_groups:
            end = group["swa_lr"]
            start = end if before == 1 else (group["lr"] - before * end) / (1 - before)
            rates.append(end * now + start * (1 - now))
        return rates
