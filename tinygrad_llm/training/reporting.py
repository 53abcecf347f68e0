"""What a run reports while it trains: losses, samples, metrics, a picture, its speed."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..models.base import undisturbed
from .step import Loss, evaluate
from .storage import StoredRun

__all__ = ["Pace", "ReportedRun"]


class Pace:
    """How fast a run is: the smoothed rate of what it counts, and the time that is left.

    units, seconds: what earlier parts of the run have counted and taken.
    """

    def __init__(self, units: int, seconds: float) -> None:
        self.seconds = seconds  # of the whole run
        self.rate = 0.0  # units per second
        self._earlier = seconds
        self._began = time.perf_counter()
        self._measured_at, self._measured_units = self._began, units

    def update(self, units: int) -> None:
        """To be called after each step with what the run has counted so far."""
        now = time.perf_counter()
        self.seconds = self._earlier + now - self._began
        passed = now - self._measured_at
        if passed > 0.5 or not self.rate:
            rate = (units - self._measured_units) / max(passed, 1e-9)
            self.rate = 0.7 * self.rate + 0.3 * rate if self.rate else rate
            self._measured_at, self._measured_units = now, units

    def left(self, done: int, steps: int) -> float:
        """Seconds for `steps` more steps, where `done` have been made since the pace began."""
        return (self.seconds - self._earlier) / max(1, done) * steps


class ReportedRun(StoredRun):
    """A run that validates, writes samples, and keeps and draws its numbers; see Trainer."""

    validation: Sequence[Any] | None
    loss: Loss
    count: Callable[[Any], int]
    eval_every: int | None
    sample: Callable[[Any], str] | None
    sample_every: int | None
    bytes_per_token: float | None
    report: Callable[[Any], Mapping[str, float]] | None
    unit: str
    accumulation: int

    @property
    def steps_per_epoch(self) -> float | None:
        """Steps in which all of the training data is gone through, None where it does not say."""
        batches = self.stream.batches
        return len(batches) / self.accumulation if hasattr(batches, "__len__") else None

    @property
    def _eval_every(self) -> int:
        return self.eval_every or max(1, self.steps // 10)

    @property
    def _sample_every(self) -> int:
        return self.sample_every or max(1, self.steps // 5)

    def _report_step(self, lr: float, norm: float | None, pace: Pace, first: int) -> None:
        """Keeps and shows the numbers of the step that was just made.

        lr: its learning rate; norm: its gradient's norm, None if no target counted; first: the
        step at which the pace began.
        """
        pace.update(self.tokens)
        self.seconds = pace.seconds
        numbers = {"step": self.step, "tokens": self.tokens, "loss": self.last_loss, "lr": lr}
        if norm is not None:
            self.metrics.log(**numbers, grad_norm=norm, seconds=round(self.seconds, 3))
        left = pace.left(self.step - first, self.steps - self.step)
        self.progress.step(self.step, self.last_loss, lr, pace.rate, left)

    def _validate(self) -> None:
        """Measures the validation loss, and asks `report`; both are kept and shown."""
        if self.validation is None:
            return
        self.val_loss, _ = evaluate(self.model, self.validation, self.loss, self.count)
        numbers = {"step": self.step, "tokens": self.tokens, "val_loss": self.val_loss}
        text = f"step {self.step}: validation loss {self.val_loss:.4f}"
        if self.bytes_per_token:
            bits = self.val_loss / math.log(2.0) / self.bytes_per_token
            numbers["bits_per_byte"] = bits
            text += f", {bits:.3f} bits per byte"
        for name, value in self._reported().items():
            numbers[name] = value
            text += f", {name.removeprefix('val_').replace('_', ' ')} {value:.4f}"
        self.metrics.log(**numbers, seconds=round(self.seconds, 3))
        self.progress.note(text)

    def _reported(self) -> Mapping[str, float]:
        if self.report is None:
            return {}
        with undisturbed(self.model):
            return self.report(self.model)

    def _sample(self) -> None:
        """Shows a text by the model."""
        assert self.sample is not None
        with undisturbed(self.model):
            text = self.sample(self.model)
        self.progress.sample(text)

    def _plot(self) -> Path | None:
        """Draws the losses so far; the picture's path, None if there is none."""
        if self.folder is None or not self.metrics.lines:
            return None
        from .plots import plot_losses

        try:
            title = f"{self.folder.name}, step {self.step}"
            return plot_losses(
                self.metrics.lines, self.folder / "loss.png", title, unit=self.unit,
                steps_per_epoch=self.steps_per_epoch,
            )  # fmt: skip
        except (OSError, ImportError) as error:
            self.progress.note(f"no plot was drawn: {error}")
            return None
