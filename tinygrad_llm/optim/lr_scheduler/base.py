"""The base of the schedules: counting steps and setting the rates."""

from __future__ import annotations

import warnings
from typing import Any

from ..optimizer import Optimizer

__all__ = ["LRScheduler", "each_group", "for_group"]


class LRScheduler:
    """The base of the schedules: counts steps in `last_epoch` and sets each group's "lr".

    A subclass defines `get_lr()`, the rates for step `last_epoch`, one per group; while `_starting`
    is set it returns those of the first step. `closed_form()`, if it has one, computes the rates
    from last_epoch alone. last_epoch=-1 starts from the beginning; another number continues there.
    Raises: TypeError if optimizer is not an Optimizer; KeyError if a schedule continues and a group
    has no "initial_lr".
    """

    _starting = False

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        if not isinstance(optimizer, Optimizer):
            raise TypeError(f"{type(optimizer).__name__} is not an Optimizer")
        self.optimizer = optimizer
        for i, group in enumerate(optimizer.param_groups):
            if last_epoch == -1:
                group.setdefault("initial_lr", group["lr"])
            elif "initial_lr" not in group:
                raise KeyError(
                    f"param 'initial_lr' is not specified in param_groups[{i}] when resuming a "
                    "scheduler with last_epoch >= 0: load the optimizer's state first"
                )
        self.base_lrs = [group["initial_lr"] for group in optimizer.param_groups]
        self.last_epoch = last_epoch
        self._begin()

    def _begin(self) -> None:
        """Make the first step, which sets the rates of step 0."""
        self._step_count = 0
        self._starting = True
        self.step()
        self._starting = False

    def _rates(self) -> list[Any]:
        """The rates that are in the groups now."""
        return [group["lr"] for group in self.optimizer.param_groups]

    def get_lr(self) -> list[Any]:
        """The rates of step `last_epoch`, one for each group."""
        return self._rates()

    def get_last_lr(self) -> list[Any]:
        """The rates that the last step set, one for each group."""
        return self._last_lr

    def step(self, epoch: int | None = None) -> None:
        """Go to the next step, or to the step `epoch`, and set the rates."""
        if self._step_count == 1 and not self.optimizer._opt_called:
            if type(self.optimizer).step is Optimizer.step:
                warnings.warn(
                    "Detected call of `lr_scheduler.step()` before `optimizer.step()`: the first "
                    "value of the schedule is skipped. Call optimizer.step() first.",
                    stacklevel=2,
                )
        self._step_count += 1
        self._go_to(epoch)

    def _go_to(self, epoch: int | None) -> None:
        """Set last_epoch (None: to the next step) and the rates."""
        if epoch is None:
            self.last_epoch += 1
            rates = self.get_lr()
        else:
            self.last_epoch = epoch
            rates = self.closed_form() if hasattr(self, "closed_form") else self.get_lr()
        for group, rate in zip(self.optimizer.param_groups, rates, strict=True):
            group["lr"] = rate
        self._last_lr = self._rates()

    def state_dict(self) -> dict[str, Any]:
        """All attributes except the optimizer, for load_state_dict."""
        return {k: v for k, v in self.__dict__.items() if k != "optimizer"}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load what state_dict() returned."""
        self.__dict__.update(state_dict)


def for_group(name: str, value: Any, i: int, n: int) -> Any:
    """A hyperparameter of group i of n: the value itself, or item i of a list of n values.

    Raises: ValueError if a list has another length.
    """
    if not isinstance(value, list | tuple):
        return value
    if len(value) != n:
        raise ValueError(
            f"{name} must have the same length as optimizer.param_groups. {name} has {len(value)} "
            f"values, param_groups has {n}."
        )
    return value[i]


def each_group(name: str, value: Any, n: int) -> list[Any]:
    """for_group for each of n groups."""
    return [for_group(name, value, i, n) for i in range(n)]
