"""What a run reports while it trains: losses, samples, metrics, a picture, its speed."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..models.base import undisturbed
from .analysis import peak_flops
from .live import layer_norms
from .options import TrainingOptions
from .progress import Progress, make_progress
from .step import Setup, evaluate
from .storage import Counters, Storage

__all__ = ["Pace", "Reporter", "Reports"]


@dataclass
class Reports:
    """What the caller wants to see of a run, beside its losses.

    sample: model -> a text by it; report: model -> more numbers by name, at every validation, which
    are drawn too. For both the model is in evaluation mode and no graph is recorded. unit: what the
    loss is a mean over, in the singular; bytes_per_token: of the validation text, then bits per
    byte are reported as well; flops: batch -> floating-point operations of a step, for the plan,
    None computes them from the number of tokens; progress: None a bar in a terminal and plain lines
    elsewhere, True plain lines, False nothing.
    """

    sample: Callable[[Any], str] | None = None
    report: Callable[[Any], Mapping[str, float]] | None = None
    unit: str = "token"
    bytes_per_token: float | None = None
    flops: Callable[[Any], float] | None = None
    progress: bool | Progress | None = None

    def shown(self) -> Progress:
        """What shows the run's lines, in the unit."""
        progress = make_progress(self.progress)
        progress.unit = f"{self.unit}s"
        return progress


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

    def skip(self, seconds: float) -> None:
        """The run has waited: this time is not of training."""
        self._began += seconds
        self._measured_at += seconds

    def left(self, done: int, steps: int) -> float:
        """Seconds for `steps` more steps, where `done` have been made since the pace began."""
        return (self.seconds - self._earlier) / max(1, done) * steps


class Reporter:
    """Validates, writes samples, and keeps, shows and draws the numbers of a run.

    storage: has the metrics and the folder; counters: of the run, of which the reporter sets the
    seconds and the validation loss.
    """

    def __init__(
        self, reports: Reports, options: TrainingOptions, setup: Setup, storage: Storage,
        counters: Counters, validation: Sequence[Any] | None,
    ) -> None:  # fmt: skip
        self.reports, self.options, self.setup = reports, options, setup
        self.storage, self.counters, self.validation = storage, counters, validation
        self.flops_per_unit = 0.0  # operations of the model for one token, once there is a plan
        self.peak: float | None = None  # FLOP/s of a rank's large matrix products, if measured

    @property
    def progress(self) -> Progress:
        """What shows the lines of the run."""
        return self.storage.progress

    @property
    def steps_per_epoch(self) -> float | None:
        """Steps in which all of the training data is gone through, None where it does not say."""
        batches = self.setup.stream.batches
        return len(batches) / self.setup.accumulation if hasattr(batches, "__len__") else None

    def step(self, lr: float, norm: float | None, pace: Pace, first: int) -> None:
        """Keeps and shows the numbers of the step that was just made.

        lr: its learning rate; norm: its gradient's norm, None if no target counted; first: the
        step at which the pace began.
        """
        c = self.counters
        pace.update(c.tokens)
        c.seconds = pace.seconds
        used = self._used(self.flops_per_unit * pace.rate / self.setup.ranks.size)
        self.progress.utilization = used
        if norm is not None:
            more = {} if used is None else {"mfu": float(f"{used:.4g}")}
            self.storage.metrics.log(
                step=c.step, tokens=c.tokens, loss=c.last_loss, lr=lr, grad_norm=norm,
                seconds=round(c.seconds, 3), **more,
            )  # fmt: skip
        left = pace.left(c.step - first, (self.options.steps or 0) - c.step)
        self.progress.step(c.step, c.last_loss, lr, pace.rate, left)

    def _used(self, flops: float) -> float | None:
        """The share of the machine's FLOP/s that these of one rank are; None if its rate was not
        measured.

        More than the machine can do says that its rate was measured beside other work: it is
        measured again, and is at least what the run has reached.
        """
        if self.peak is None:
            return None
        if flops > self.peak:
            self.peak = max(flops, peak_flops(seconds=0.1))
        return flops / self.peak

    def validate(self) -> bool:
        """Measures the validation loss, and asks `report`; both are kept and shown.

        Returns whether the loss is a finite number, or there is nothing to measure.
        """
        c = self.counters
        if self.validation is None:
            return True
        value, targets = evaluate(
            self.setup.model, self.validation, self.setup.loss, self.setup.count, self.setup.ranks
        )
        if targets and not math.isfinite(value):
            return False
        c.val_loss = value
        numbers = {"step": c.step, "tokens": c.tokens, "val_loss": value}
        text = f"step {c.step}: validation loss {value:.4f}"
        if self.reports.bytes_per_token:
            bits = value / math.log(2.0) / self.reports.bytes_per_token
            numbers["bits_per_byte"] = bits
            text += f", {bits:.3f} bits per byte"
        noise = None if self.setup.noise is None else self.setup.noise.value
        if noise is not None:
            numbers["noise_scale"] = noise
            text += f", noise scale {noise:,.0f} {self.reports.unit}s"
        for name, number in self._reported().items():
            numbers[name] = number
            text += f", {name.removeprefix('val_').replace('_', ' ')} {number:.4f}"
        self.storage.metrics.log(**numbers, seconds=round(c.seconds, 3))
        self.progress.note(text)
        return True

    def _reported(self) -> Mapping[str, float]:
        if self.reports.report is None:
            return {}
        model, ranks = self.setup.model, self.setup.ranks
        with ranks.whole(model), undisturbed(model):
            if not ranks.first:
                return {}
            return self.reports.report(self.setup.model)

    def gradients(self, norm: float) -> None:
        """Writes the gradient norm of each layer, before clipping; norm: that of all of them.

        Nothing is written where the ranks divide the parameters among them.
        """
        live, ranks = self.storage.live, self.setup.ranks
        if live.folder is None or not ranks.first or ranks.sharded:
            return
        clipped = max(1.0, (norm + 1e-6) / self.setup.largest_norm)
        norms = layer_norms(self.setup.model.named_parameters(), clipped)
        if norms:
            live.gradients.log(step=self.counters.step, norms=norms)

    def sample(self) -> None:
        """Shows a text by the model."""
        assert self.reports.sample is not None
        with undisturbed(self.setup.model):
            text = self.reports.sample(self.setup.model)
        self.storage.live.samples.log(step=self.counters.step, text=text)
        self.progress.sample(text)

    def plot(self) -> Path | None:
        """Draws the losses so far; the picture's path, None if there is none."""
        folder, metrics = self.storage.folder, self.storage.metrics
        if folder is None or not metrics.lines or not self.setup.ranks.first:
            return None
        from .plots import plot_losses

        try:
            title = f"{folder.name}, step {self.counters.step}"
            return plot_losses(
                metrics.lines, folder / "loss.png", title, unit=self.reports.unit,
                steps_per_epoch=self.steps_per_epoch,
            )  # fmt: skip
        except (OSError, ImportError) as error:
            self.progress.note(f"no plot was drawn: {error}")
            return None
