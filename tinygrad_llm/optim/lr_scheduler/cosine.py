"""Schedules along a cosine: annealing, with restarts, with a warm-up, and one cycle."""

from __future__ import annotations

import math
from typing import Any

from ..optimizer import Optimizer
from .base import LRScheduler, each_group, for_group


class CosineAnnealingLR(LRScheduler):
    """lr = eta_min + (lr₀ − eta_min)·(1 + cos(π·step/T_max))/2, lr₀ the initial rate.

    It falls for T_max steps and then rises again (Loshchilov and Hutter, 2017).
    """

    def __init__(
        self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0, last_epoch: int = -1
    ) -> None:
        self.T_max = T_max
        self.eta_min = eta_min
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[Any]:
        step, low = self.last_epoch, self.eta_min
        if self._starting:
            return self._rates()
        if self._step_count == 1 and step > 0:
            return self.closed_form()
        if (step - 1 - self.T_max) % (2 * self.T_max) == 0:  # the lowest point: up again
            rise = (1 - math.cos(math.pi / self.T_max)) / 2
            return [
                lr + (base - low) * rise
                for lr, base in zip(self._rates(), self.base_lrs, strict=True)
            ]
        ratio = 1 + math.cos(math.pi * step / self.T_max)
        ratio /= 1 + math.cos(math.pi * (step - 1) / self.T_max)
        return [ratio * (lr - low) + low for lr in self._rates()]

    def closed_form(self) -> list[Any]:
        cosine = 1 + math.cos(math.pi * self.last_epoch / self.T_max)
        return [self.eta_min + (base - self.eta_min) * cosine / 2 for base in self.base_lrs]


class CosineAnnealingWarmRestarts(LRScheduler):
    """Cosine from the initial lr to eta_min, repeated; each time T_mult times as long.

    The first fall takes T_0 steps (Loshchilov and Hutter, 2017).
    Raises: ValueError if T_0 or T_mult is not a positive integer.
    """

    def __init__(
        self, optimizer: Optimizer, T_0: int, T_mult: int = 1, eta_min: float = 0.0,
        last_epoch: int = -1,
    ) -> None:  # fmt: skip
        if not isinstance(T_0, int) or T_0 <= 0:
            raise ValueError(f"Expected positive integer T_0, but got {T_0}")
        if not isinstance(T_mult, int) or T_mult < 1:
            raise ValueError(f"Expected integer T_mult >= 1, but got {T_mult}")
        self.T_0 = T_0
        self.T_mult = T_mult
        self.eta_min = eta_min
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[Any]:
        step, length = self.last_epoch, self.T_0
        while step >= length:
            step -= length
            length *= self.T_mult
        cosine = 1 + math.cos(math.pi * step / length)
        return [self.eta_min + (base - self.eta_min) * cosine / 2 for base in self.base_lrs]


class WarmupCosineLR(LRScheduler):
    """A linear rise to the initial lr in warmup_steps, then a cosine to min_lr at total_steps.

    Step k (from 0) of the rise has the rate initial lr · (k + 1) / (warmup_steps + 1), so that no
    step is wasted on a rate of zero; from total_steps on the rate is min_lr (a number, or a list of
    one for each group).
    Raises: ValueError unless 0 <= warmup_steps < total_steps.
    """

    def __init__(
        self, optimizer: Optimizer, warmup_steps: int, total_steps: int,
        min_lr: float | list[float] = 0.0, last_epoch: int = -1,
    ) -> None:  # fmt: skip
        if not 0 <= warmup_steps < total_steps:
            raise ValueError(
                f"warmup_steps must be at least 0 and less than total_steps ({total_steps}), "
                f"got {warmup_steps}"
            )
        self.warmup_steps = warmup_steps
        self.total_steps = total_steps
        self.min_lr = min_lr
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[Any]:
        step = self.last_epoch
        if step < self.warmup_steps:
            return [base * ((step + 1) / (self.warmup_steps + 1)) for base in self.base_lrs]
        done = min(1.0, (step - self.warmup_steps) / (self.total_steps - self.warmup_steps))
        cosine = (1 + math.cos(math.pi * done)) / 2
        lows = each_group("min_lr", self.min_lr, len(self.base_lrs))
        return [low + (base - low) * cosine for low, base in zip(lows, self.base_lrs, strict=True)]


class OneCycleLR(LRScheduler):
    """One rise from max_lr / div_factor to max_lr, then a fall to that start / final_div_factor.

    The rise takes the part pct_start of total_steps (or of epochs · steps_per_epoch). The momentum
    (or β₁) moves the other way, between max_momentum and base_momentum, unless
    cycle_momentum=False. three_phase falls to the start first, as slowly as it rose (Smith and
    Topin, 2018).
    Raises: ValueError if a value is out of range, and in `step` after the last step.
    """

    def __init__(
        self, optimizer: Optimizer, max_lr: Any, total_steps: int | None = None,
        epochs: int | None = None, steps_per_epoch: int | None = None, pct_start: float = 0.3,
        anneal_strategy: str = "cos", cycle_momentum: bool = True, base_momentum: Any = 0.85,
        max_momentum: Any = 0.95, div_factor: float = 25.0, final_div_factor: float = 1e4,
        three_phase: bool = False, last_epoch: int = -1,
    ) -> None:  # fmt: skip
        if total_steps is None:
            if epochs is None or steps_per_epoch is None:
                raise ValueError(
                    "You must define either total_steps OR (epochs AND steps_per_epoch)"
                )
            _positive("epochs", epochs)
            _positive("steps_per_epoch", steps_per_epoch)
            total_steps = epochs * steps_per_epoch
        _positive("total_steps", total_steps)
        if not isinstance(pct_start, float) or not 0 <= pct_start <= 1:
            raise ValueError(f"Expected float between 0 and 1 pct_start, but got {pct_start}")
        if anneal_strategy not in ("cos", "linear"):
            raise ValueError(
                f"anneal_strategy must be one of 'cos' or 'linear', instead got {anneal_strategy}"
            )
        self.total_steps = total_steps
        self.anneal_strategy = anneal_strategy
        self.cycle_momentum = cycle_momentum
        top = pct_start * total_steps - 1
        # (last step, rate at its start, rate at its end, momentum at its start, at its end)
        self._phases = [(top, "initial_lr", "max_lr", "max_momentum", "base_momentum")]
        if three_phase:
            self._phases += [
                (2 * top, "max_lr", "initial_lr", "base_momentum", "max_momentum"),
                (total_steps - 1, "initial_lr", "min_lr", "max_momentum", "max_momentum"),
            ]
        else:
            last = (total_steps - 1, "max_lr", "min_lr", "base_momentum", "max_momentum")
            self._phases.append(last)
        if cycle_momentum and not {"momentum", "betas"} & set(optimizer.defaults):
            raise ValueError(
                "optimizer must support momentum or beta1 with `cycle_momentum` option enabled"
            )
        if last_epoch == -1:
            groups = optimizer.param_groups
            for i, group in enumerate(groups):
                group["max_lr"] = for_group("max_lr", max_lr, i, len(groups))
                group["initial_lr"] = group["max_lr"] / div_factor
                group["min_lr"] = group["initial_lr"] / final_div_factor
                if cycle_momentum:
                    high = for_group("max_momentum", max_momentum, i, len(groups))
                    group["max_momentum"] = high
                    low = for_group("base_momentum", base_momentum, i, len(groups))
                    group["base_momentum"] = low
        super().__init__(optimizer, last_epoch)

    def _between(self, start: float, end: float, part: float) -> float:
        """The value at a part (0 to 1) of the way from start to end."""
        if self.anneal_strategy == "linear":
            return (end - start) * part + start
        return end + (start - end) / 2.0 * (math.cos(math.pi * part) + 1)

    def get_lr(self) -> list[Any]:
        """The learning rates of this step, one per group.

        Raises: ValueError after total_steps steps.
        """
        step = self.last_epoch
        if step > self.total_steps:
            raise ValueError(
                f"Tried to step {step} times. The specified number of total steps is "
                f"{self.total_steps}"
            )
        start = 0.0
        for end, lr0, lr1, momentum0, momentum1 in self._phases:  # noqa: B007
            if step <= end or end == self.total_steps - 1:
                break
            start = end
        part = (step - start) / (end - start)
        rates = []
        for group in self.optimizer.param_groups:
            rates.append(self._between(group[lr0], group[lr1], part))
            if self.cycle_momentum:
                momentum = self._between(group[momentum0], group[momentum1], part)
                if "betas" in self.optimizer.defaults:
                    group["betas"] = (momentum, *group["betas"][1:])
                else:
                    group["momentum"] = momentum
        return rates


def _positive(name: str, value: Any) -> None:
    if not isinstance(value, int) or value <= 0:
        raise ValueError(f"Expected positive integer {name}, but got {value}")
