"""A rise, a long constant rate and a short fall: warm-up, stable, decay (WSD)."""

from __future__ import annotations

from typing import Any

from ..optimizer import Optimizer
from .base import LRScheduler, each_group

__all__ = ["WarmupStableDecayLR"]


class WarmupStableDecayLR(LRScheduler):
    """A linear rise to the initial lr, that rate, and in the last decay_steps a fall to min_lr.

    The rise takes warmup_steps, as in WarmupCosineLR. The fall ends at total_steps; with u from 0
    to 1 along it the rate is min_lr + (initial lr − min_lr)·(1 − √u) for shape "sqrt", or ·(1 − u)
    for "linear". A run can be continued from any step of the stable part, with another last step.
    decay_steps 0 stays at the initial lr for ever. min_lr may be a list, of one for each group.
    Source: Hu et al. 2024, "MiniCPM", section 4; the root: Hägele et al. 2024, "Scaling Laws and
    Compute-Optimal Training Beyond Fixed Training Durations".
    Raises: ValueError if warm-up and fall do not fit into total_steps, or the shape is not known.
    """

    def __init__(
        self, optimizer: Optimizer, warmup_steps: int, total_steps: int, decay_steps: int,
        min_lr: float | list[float] = 0.0, shape: str = "sqrt", last_epoch: int = -1,
    ) -> None:  # fmt: skip
        if min(warmup_steps, decay_steps) < 0 or warmup_steps + decay_steps > total_steps:
            raise ValueError(
                f"warmup_steps ({warmup_steps}) and decay_steps ({decay_steps}) must be at least 0 "
                f"and fit into total_steps ({total_steps})"
            )
        if shape not in ("sqrt", "linear"):
            raise ValueError(f"shape must be 'sqrt' or 'linear', got {shape!r}")
        self.warmup_steps = warmup_steps
        self.total_steps = total_steps
        self.decay_steps = decay_steps
        self.min_lr = min_lr
        self.shape = shape
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[Any]:
        step = self.last_epoch
        if step < self.warmup_steps:
            return [base * ((step + 1) / (self.warmup_steps + 1)) for base in self.base_lrs]
        begin = self.total_steps - self.decay_steps
        if step <= begin or not self.decay_steps:
            return list(self.base_lrs)
        u = min(1.0, (step - begin) / self.decay_steps)
        left = 1 - (u**0.5 if self.shape == "sqrt" else u)
        lows = each_group("min_lr", self.min_lr, len(self.base_lrs))
        return [low + (base - low) * left for low, base in zip(lows, self.base_lrs, strict=True)]
