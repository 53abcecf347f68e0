"""A rise and then a fall along 1/√step: the schedule of "Attention Is All You Need"."""

from __future__ import annotations

from typing import Any

from ..optimizer import Optimizer
from .base import LRScheduler

__all__ = ["WarmupInverseSqrtLR"]


class WarmupInverseSqrtLR(LRScheduler):
    """A linear rise to the initial lr in warmup_steps, then initial lr · √(warmup_steps / step).

    Steps are counted from 1, so that the first one has the rate initial lr / warmup_steps. With the
    initial lr 1/√(C·warmup_steps), C the model's channels, it is the paper's
    C^(−1/2) · min(step^(−1/2), step·warmup_steps^(−3/2)). It does not need to know the last step.
    Source: Vaswani et al. (2017), equation 3.
    Raises: ValueError unless 1 <= warmup_steps.
    """

    def __init__(self, optimizer: Optimizer, warmup_steps: int, last_epoch: int = -1) -> None:
        if warmup_steps < 1:
            raise ValueError(f"warmup_steps must be at least 1, got {warmup_steps}")
        self.warmup_steps = warmup_steps
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[Any]:
        step, warmup = self.last_epoch + 1, self.warmup_steps
        factor = min((warmup / step) ** 0.5, step / warmup)
        return [base * factor for base in self.base_lrs]
