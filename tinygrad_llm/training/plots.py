"""Pictures of a run. Matplotlib is imported when the first one is drawn, and needs no display."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..weights import atomic_write

__all__ = ["plot_losses"]


def _smooth(values: Sequence[float], keep: float) -> list[float]:
    """Exponential moving average, corrected for its start (as Adam corrects its moments)."""
    average, weight, out = 0.0, 0.0, []
    for value in values:
        average = keep * average + (1.0 - keep) * value
        weight = keep * weight + (1.0 - keep)
        out.append(average / weight)
    return out


def plot_losses(lines: Sequence[Mapping[str, Any]], path: str | Path, title: str = "") -> Path:
    """Draws training and validation loss (nats a token) and the learning rate to a PNG.

    lines: what `read_metrics` gives. Steps stand below, tokens above. Returns the path.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import EngFormatter

    figure = Figure(figsize=(8.0, 4.8), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    train = [line for line in lines if "loss" in line]
    steps = [line["step"] for line in train]
    losses = [line["loss"] for line in train]
    if train:
        axes.plot(steps, losses, color="tab:blue", alpha=0.25, linewidth=0.8)
        keep = 1.0 - 1.0 / max(1.0, min(50.0, len(steps) / 80.0))
        axes.plot(steps, _smooth(losses, keep), color="tab:blue", label="training (smoothed)")
    validation = [line for line in lines if "val_loss" in line]
    if validation:
        x, y = [line["step"] for line in validation], [line["val_loss"] for line in validation]
        axes.plot(x, y, "o-", color="tab:orange", markersize=4, label=f"validation ({y[-1]:.3f})")
    axes.set_xlabel("steps")
    axes.set_ylabel("loss (nats a token)")
    axes.grid(alpha=0.3)
    if title:
        axes.set_title(title, fontsize=10)
    if train and steps[-1] and train[-1].get("tokens"):
        each = train[-1]["tokens"] / steps[-1]
        above = axes.secondary_xaxis("top", functions=(lambda s: s * each, lambda t: t / each))
        above.set_xlabel("tokens")
        above.xaxis.set_major_formatter(EngFormatter(sep=""))
    if any("lr" in line for line in train):
        rate = axes.twinx()
        rate.plot(steps, [line.get("lr", 0.0) for line in train], color="gray", linewidth=0.8)
        rate.set_ylabel("learning rate", color="gray")
        rate.set_ylim(bottom=0.0)
        rate.tick_params(axis="y", colors="gray")
    if train or validation:
        axes.legend(loc="upper right")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    with atomic_write(path) as file:
        file.write(buffer.getvalue())
    return Path(path)
