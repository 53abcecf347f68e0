"""The learning-rate finder: try rates from tiny to too large, see where the loss falls fastest.

    search = find_learning_rate(model, optimizer, batches)
    print(search)                 # learning rate 1.2e-03: ...
    search.plot("lr.png")

A step is made with each rate, larger by the same factor each time, until the loss runs away. The
best rate is where the smoothed loss falls fastest. Weights, optimizer, data and random numbers are
put back. Source: Smith, 2017, "Cyclical Learning Rates", section 3.3.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..data.batches import Stream
from ..models.base import Model
from ..nn import Module
from ..optim import Optimizer
from .snapshot import restored_afterwards
from .step import BadLossError, Loss, Setup, count_targets, model_loss

__all__ = ["FoundRate", "find_learning_rate", "search_rates"]


@dataclass
class FoundRate:
    """The result of a search: rates, the loss before each step, and the smoothed losses.

    steepest: the rate at which the smoothed loss fell fastest, among those from a hundredth of
        `lowest` on (below that, it only jumps from batch to batch); None if it never fell
    lowest: the rate at which it was lowest; `suggestion`: the steepest, but at most a third of that
    """

    rates: list[float]
    losses: list[float]
    smoothed: list[float] = field(repr=False)
    steepest: float | None
    lowest: float
    diverged: bool

    @property
    def suggestion(self) -> float | None:
        """A highest learning rate to try first; None if the loss never fell."""
        return None if self.steepest is None else min(self.steepest, self.lowest / 3.0)

    def __str__(self) -> str:
        tried = f"tried {self.rates[0]:.0e} to {self.rates[-1]:.0e}"
        if self.suggestion is None:
            return f"learning rate: the loss never fell ({tried})"
        end = "where it ran away" if self.diverged else "where the search ended"
        return (
            f"learning rate {self.suggestion:.1e}: the loss fell fastest at {self.steepest:.1e}, "
            f"was lowest at {self.lowest:.1e}, {tried}, {end}"
        )

    def plot(self, path: str | Path, title: str = "") -> Path:
        """Draws loss over rate to a PNG; its path."""
        from .plots import label_text, new_figure, save_figure

        figure = new_figure()
        axes = figure.add_subplot()
        axes.plot(self.rates, self.losses, color="tab:blue", alpha=0.3, linewidth=0.8, label="loss")
        axes.plot(self.rates, self.smoothed, color="tab:blue", label="smoothed")
        if self.suggestion is not None:
            axes.axvline(
                self.suggestion, color="tab:orange", label=f"suggestion {self.suggestion:.1e}"
            )
        low, high = min(self.smoothed), self.losses[0]
        axes.set_ylim(low - 0.2 * (high - low + 1e-3), high + 1.0 * (high - low + 1e-3))
        axes.set_xscale("log")
        axes.set_xlabel("learning rate")
        axes.set_ylabel("loss (nats)")
        axes.grid(alpha=0.3)
        axes.legend(loc="lower left")
        if title:
            axes.set_title(label_text(title), fontsize=10)
        return save_figure(figure, path)


def find_learning_rate(
    model: Module, optimizer: Optimizer, batches: Iterable[Any] | Stream, *,
    lowest: float = 1e-6, highest: float = 1.0, steps: int = 100, smoothing: float = 0.9,
    loss: Loss = model_loss, count: Callable[[Any], int] = count_targets, accumulation: int = 1,
    clip: float | None = None, progress: Callable[[int, int], None] | None = None,
) -> FoundRate:  # fmt: skip
    """Makes up to `steps` steps with rates from `lowest` to `highest` and puts everything back.

    batches: what Trainer takes, or its `stream`; loss, count, accumulation, clip: see Trainer; the
    other arguments: see search_rates.
    Raises: ValueError for rates or steps that make no sense, or if no loss was finite.
    """
    stream = batches if isinstance(batches, Stream) else Stream(batches)
    setup = Setup(model, optimizer, stream, loss, count, accumulation, clip)
    return search_rates(setup, lowest, highest, steps, smoothing, progress)


def search_rates(
    setup: Setup, lowest: float = 1e-6, highest: float = 1.0, steps: int = 100,
    smoothing: float = 0.9, progress: Callable[[int, int], None] | None = None,
) -> FoundRate:  # fmt: skip
    """The same with the steps of a setup.

    smoothing: how much of the last average the next one keeps. The search ends early when the
    smoothed loss is 1.5 times its lowest and above the first, or is NaN or infinite. progress is
    called as progress(done, steps).
    Raises: ValueError for rates or steps that make no sense, or if no loss was finite.
    """
    if not 0.0 < lowest < highest < math.inf:
        raise ValueError(f"expected 0 < lowest < highest, got {lowest:g} and {highest:g}")
    if steps < 10:
        raise ValueError(f"steps must be at least 10, got {steps}")
    if not 0.0 <= smoothing < 1.0:
        raise ValueError(f"smoothing must be at least 0 and less than 1, got {smoothing}")
    course = _Course(smoothing)
    factor = (highest / lowest) ** (1.0 / (steps - 1))
    with (
        setup.ranks.kept_random(),
        restored_afterwards(setup),
    ):
        setup.model.train()
        shares = _shares(setup)
        for i in range(steps):
            rate = lowest * factor**i
            for group, share in zip(setup.optimizer.param_groups, shares, strict=True):
                group["lr"] = rate * share
            taken = setup.take()
            try:
                with np.errstate(all="ignore"):
                    value, n = setup.update(taken)
            except BadLossError:
                course.diverged = True
                break
            if not n:
                continue
            course.add(rate, value)
            if progress is not None:
                progress(i + 1, steps)
            if course.diverged:
                break
    return course.result()


def _shares(setup: Setup) -> list[float]:
    """By what each group's rate is multiplied: 1, except with µP (models/mup.py)."""
    groups = setup.optimizer.param_groups
    if isinstance(setup.model, Model) and setup.model.width_multiplier != 1.0:
        return [float(group["lr"]) / float(groups[0]["lr"]) for group in groups]
    return [1.0] * len(groups)


class _Course:
    """The losses of a search, rate by rate, and the rates that follow from them."""

    def __init__(self, smoothing: float) -> None:
        self.smoothing = smoothing
        self.rates: list[float] = []
        self.losses: list[float] = []
        self.smoothed: list[float] = []
        self.diverged = False
        self._average = 0.0

    def add(self, rate: float, loss: float) -> None:
        """The loss before the step with this rate; sets `diverged` once the loss runs away."""
        self._average = self.smoothing * self._average + (1.0 - self.smoothing) * loss
        self.rates.append(rate)
        self.losses.append(loss)
        self.smoothed.append(self._average / (1.0 - self.smoothing ** len(self.rates)))
        limit = max(1.5 * min(self.smoothed), self.smoothed[0])
        self.diverged = self.smoothed[-1] > limit and len(self.rates) >= 10

    def result(self) -> FoundRate:
        """The rates of the search.

        Raises: ValueError if there is not a single loss.
        """
        rates, losses, smoothed = self.rates, self.losses, self.smoothed
        if not rates:
            raise ValueError("not one step had a finite loss: there is no rate to find")
        bottom = int(np.argmin(smoothed))
        fell = smoothed[0] - min(smoothed) > 1e-3 * abs(smoothed[0])
        jumping = sum(rate < rates[bottom] / 100.0 for rate in rates)
        first = min(max(jumping, len(rates) // 10), bottom)
        best = _steepest(np.array(smoothed[: bottom + 1]), first)
        steepest = rates[best] if fell else None
        return FoundRate(rates, losses, smoothed, steepest, rates[bottom], self.diverged)


def _steepest(values: np.ndarray, first: int, reach: int = 5) -> int:
    """Where the values fall fastest, by straight lines through 2·reach + 1 of them each.

    The first ones are left out: an average of few losses still jumps.
    """
    falls = []
    for i in range(first, len(values)):
        part = values[max(0, i - reach) : i + reach + 1]
        falls.append(np.polyfit(np.arange(len(part)), part, 1)[0] if len(part) > 1 else 0.0)
    return first + int(np.argmin(falls))
