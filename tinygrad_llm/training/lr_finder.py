"""The learning-rate finder: try rates from tiny to too large, see where the loss falls fastest.

    found = find_learning_rate(model, optimizer, batches)
    print(found)                  # learning rate 1.2e-03: ...
    found.plot("lr.png")

A step is made with each rate, larger by the same factor each time, until the loss runs away. Where
the smoothed loss falls most steeply a step does the most good. Weights, optimizer, data and random
numbers are put back. Source: Smith, 2017, "Cyclical Learning Rates", section 3.3.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from .. import random
from ..data.batches import Stream
from ..nn.utils import clip_grad_norm_
from ..weights import pack, unpack
from .step import BadLossError, Loss, add_gradients, count_targets, model_loss

__all__ = ["FoundRate", "find_learning_rate"]


@dataclass
class FoundRate:
    """What the search saw: rates, the loss before each step and its smoothed course.

    steepest: the rate at which the smoothed loss fell fastest, of those from a hundredth of
        `lowest` on (before, it only jumps from batch to batch); None if it never fell
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
        """A highest learning rate to begin with; None if the loss never fell."""
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
        from .plots import new_figure, save_figure

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
            axes.set_title(title, fontsize=10)
        return save_figure(figure, path)


def find_learning_rate(
    model: Any, optimizer: Any, batches: Any, *, lowest: float = 1e-6, highest: float = 1.0,
    steps: int = 100, smoothing: float = 0.9, loss: Loss = model_loss,
    count: Callable[[Any], int] = count_targets, accumulation: int = 1, clip: float | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> FoundRate:  # fmt: skip
    """Makes up to `steps` steps with rates from `lowest` to `highest` and puts everything back.

    batches: what Trainer takes, or its `stream`. smoothing: how much of the last average the next
    one keeps. The search ends early when the smoothed loss is 1.5 times its lowest and above the
    first, or no number any more. progress is called as progress(done, steps).
    ValueError for rates or steps that make no sense.
    """
    if not 0.0 < lowest < highest < math.inf:
        raise ValueError(f"wanted 0 < lowest < highest, got {lowest:g} and {highest:g}")
    if steps < 10:
        raise ValueError(f"steps must be at least 10, got {steps}")
    if not 0.0 <= smoothing < 1.0:
        raise ValueError(f"smoothing must be at least 0 and less than 1, got {smoothing}")
    stream = batches if isinstance(batches, Stream) else Stream(batches)
    place, random_state = stream.state_dict(), random.get_rng_state()
    tree, arrays = pack(optimizer.state_dict())
    arrays = {name: array.copy() for name, array in arrays.items()}
    weights = [(p, p.array.copy()) for p in [*model.parameters(), *model.buffers()]]
    was_training = model.training
    rates: list[float] = []
    losses: list[float] = []
    smoothed: list[float] = []
    average, diverged = 0.0, False
    factor = (highest / lowest) ** (1.0 / (steps - 1))
    model.train()
    try:
        for i in range(steps):
            rate = lowest * factor**i
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.zero_grad()
            step = [stream.next() for _ in range(accumulation)]
            with np.errstate(all="ignore"):
                try:
                    value, n = add_gradients(model, step, loss, count)
                except BadLossError:
                    diverged = True
                    break
                if not n:
                    continue
                if clip:
                    clip_grad_norm_(model.parameters(), clip)
                optimizer.step()
            average = smoothing * average + (1.0 - smoothing) * value
            rates.append(rate)
            losses.append(value)
            smoothed.append(average / (1.0 - smoothing ** len(rates)))
            if progress is not None:
                progress(i + 1, steps)
            if smoothed[-1] > max(1.5 * min(smoothed), smoothed[0]) and len(rates) >= 10:
                diverged = True
                break
    finally:
        for p, array in weights:
            p.array[...] = array
        optimizer.zero_grad()
        optimizer.load_state_dict(unpack(tree, arrays))
        stream.load_state_dict(place)
        random.set_rng_state(random_state)
        model.train(was_training)
    if not rates:
        raise ValueError("not one step had a finite loss: there is no rate to find")
    bottom = int(np.argmin(smoothed))
    fell = smoothed[0] - min(smoothed) > 1e-3 * abs(smoothed[0])
    near = sum(rate < rates[bottom] / 100.0 for rate in rates)
    first = min(max(near, len(rates) // 10), bottom)
    best = _steepest(np.array(smoothed[: bottom + 1]), first)
    return FoundRate(
        rates, losses, smoothed, rates[best] if fell else None,
        rates[bottom], diverged,
    )  # fmt: skip


def _steepest(values: np.ndarray, first: int, reach: int = 5) -> int:
    """Where a course falls fastest, by straight lines through 2·reach + 1 of its points.

    The first points are left out: an average of few losses still jumps.
    """
    slopes = []
    for i in range(first, len(values)):
        part = values[max(0, i - reach) : i + reach + 1]
        slopes.append(np.polyfit(np.arange(len(part)), part, 1)[0] if len(part) > 1 else 0.0)
    return first + int(np.argmin(slopes))
