"""Pictures of a run. Matplotlib is imported when the first one is drawn, and needs no display."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..files.atomic import atomic_write
from ..files.paths import local_path
from ..files.plain_text import one_line
from .plot_fonts import letters_shown

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ..models.config import ModelConfig

__all__ = [
    "label_text", "new_figure", "plot_losses", "plot_memory", "plot_schedule", "save_figure",
]  # fmt: skip


def new_figure(width: float = 8.0, height: float = 4.8) -> Figure:
    """A matplotlib figure of this size in inches that no window shows."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def label_text(text: str) -> str:
    """A name from outside as matplotlib shows it: "$" starts no formula, one line stays one line.

    matplotlib leaves labels that begin with "_" out of legends, so that a blank stands before it.
    """
    shown = one_line(text).replace("$", r"\$")
    return f" {shown}" if shown.startswith("_") else shown


def save_figure(figure: Figure, path: str | Path) -> Path:
    """Writes a figure as a PNG, whole or not at all; returns its path."""
    buffer = io.BytesIO()
    letters_shown(figure)
    with warnings.catch_warnings():  # letters that no font has: shown as boxes
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        figure.savefig(buffer, format="png", dpi=120)
    with atomic_write(path) as file:
        file.write(buffer.getvalue())
    return local_path(path)


def _smooth(values: Sequence[float], keep: float) -> list[float]:
    """Exponential moving average, corrected for its start (as Adam corrects its moments)."""
    average, weight, out = 0.0, 0.0, []
    for value in values:
        average = keep * average + (1.0 - keep) * value
        weight = keep * weight + (1.0 - keep)
        out.append(average / weight)
    return out


_OWN = {
    "step", "tokens", "loss", "lr", "grad_norm", "seconds", "val_loss", "bits_per_byte", "mfu",
}  # fmt: skip


def plot_losses(
    lines: Sequence[Mapping[str, Any]], path: str | Path, title: str = "", unit: str = "token",
    steps_per_epoch: float | None = None,
) -> Path:  # fmt: skip
    """Draws training and validation loss in nats and the learning rate to a PNG; returns its path.

    lines: what `read_metrics` returns. unit: what the loss is a mean over, in the singular.
    steps_per_epoch: the x axis shows epochs if it is given, else steps; the axis at the top shows
    the tokens (or what `unit` names). Other numbers of the validations, such as accuracies, are
    drawn in separate panels below.
    """
    reported = dict.fromkeys(
        name for line in lines if "val_loss" in line for name in line if name not in _OWN
    )
    panels = [
        (label, names)
        for label, names in (
            ("accuracy", [n for n in reported if "accuracy" in n]),
            ("reward", [n for n in reported if "accuracy" not in n]),
        )
        if names
    ]
    figure = new_figure(8.0, 4.8 + 2.4 * len(panels))
    heights = [2.0] + [1.0] * len(panels)
    grid = figure.subplots(1 + len(panels), sharex=True, height_ratios=heights, squeeze=False)
    scale = 1.0 / steps_per_epoch if steps_per_epoch else 1.0  # x = step · scale
    _draw_losses(grid[0, 0], lines, unit, scale)
    validation = [line for line in lines if "val_loss" in line]
    for axes, (label, names) in zip(grid[1:, 0], panels, strict=True):
        for name in names:
            having = [line for line in validation if name in line]
            x, y = [line["step"] * scale for line in having], [line[name] for line in having]
            shown, color = name.removeprefix("val_").replace("_", " "), None
            if f"train_{name.removeprefix('val_')}" in names:  # the same colours as above
                shown, color = f"validation {shown}", "tab:orange"
            elif name.startswith("train_"):
                shown, color = shown.replace("train", "training", 1), "tab:blue"
            axes.plot(
                x, y, "o-", color=color, markersize=3, label=f"{label_text(shown)} ({y[-1]:.3f})"
            )
        axes.set_ylabel(label_text(label))
        axes.grid(alpha=0.3)
        axes.legend(loc="best", fontsize=8)
    below = f"epochs of {steps_per_epoch:,.4g} steps" if steps_per_epoch else "steps"
    grid[-1, 0].set_xlabel(below)
    if title:
        grid[0, 0].set_title(label_text(title), fontsize=10)
    return save_figure(figure, path)


def _draw_losses(axes: Axes, lines: Sequence[Mapping[str, Any]], unit: str, scale: float) -> None:
    from matplotlib.ticker import EngFormatter

    train = [line for line in lines if "loss" in line]
    x = [line["step"] * scale for line in train]
    losses = [line["loss"] for line in train]
    if train:
        axes.plot(x, losses, color="tab:blue", alpha=0.25, linewidth=0.8)
        keep = 1.0 - 1.0 / max(1.0, min(50.0, len(x) / 80.0))
        axes.plot(x, _smooth(losses, keep), color="tab:blue", label="training (smoothed)")
    validation = [line for line in lines if "val_loss" in line]
    if validation:
        at = [line["step"] * scale for line in validation]
        y = [line["val_loss"] for line in validation]
        axes.plot(at, y, "o-", color="tab:orange", markersize=4, label=f"validation ({y[-1]:.3f})")
    axes.set_ylabel(f"loss (nats per {unit})")
    axes.grid(alpha=0.3)
    if train and x[-1] and train[-1].get("tokens"):
        each = train[-1]["tokens"] / x[-1]
        above = axes.secondary_xaxis("top", functions=(lambda s: s * each, lambda t: t / each))
        above.set_xlabel(f"{unit}s")
        above.xaxis.set_major_formatter(EngFormatter(sep=""))
    if any("lr" in line for line in train):
        _draw_rate(axes.twinx(), x, [line.get("lr", 0.0) for line in train])
    if train or validation:
        axes.legend(loc="upper right")


def _draw_rate(axes: Axes, x: Sequence[float], rates: Sequence[float]) -> None:
    axes.plot(x, rates, color="gray", linewidth=0.8)
    axes.set_ylabel("learning rate", color="gray")
    axes.set_ylim(bottom=0.0)
    axes.tick_params(axis="y", colors="gray")


def plot_schedule(
    rates: Sequence[float] | Mapping[str, Sequence[float]], path: str | Path, title: str = ""
) -> Path:
    """Draws the learning rate of each step to a PNG; returns its path.

    rates: a list of rates (see analysis.schedule_rates), or several lists by name.
    """
    named = rates if isinstance(rates, Mapping) else {"": rates}
    figure = new_figure()
    axes = figure.add_subplot()
    for name, row in named.items():
        axes.plot(range(len(row)), row, label=label_text(name))
    axes.set_xlabel("steps")
    axes.set_ylabel("learning rate")
    axes.set_ylim(bottom=0.0)
    axes.grid(alpha=0.3)
    if any(named):
        axes.legend(loc="best")
    if title:
        axes.set_title(label_text(title), fontsize=10)
    return save_figure(figure, path)


def plot_memory(
    configs: Mapping[str, ModelConfig], path: str | Path, batch: int = 1, dtype: str = "bfloat16",
    context_length: int | None = None,
) -> Path:  # fmt: skip
    """Draws the bytes of each model's cache against the context to a PNG; returns its path.

    configs: by name; context_length: the longest text, that of the first model if None. A dotted
    line shows the weights.
    """
    from ..models.estimate import estimate

    first = next(iter(configs.values()))
    longest = first.context_length if context_length is None else context_length
    lengths = sorted({max(1, longest >> n) for n in range(9)})
    figure = new_figure()
    axes = figure.subplots()
    for name, config in configs.items():
        made = [estimate(config, batch=batch, context_length=T, dtype=dtype) for T in lengths]
        (line,) = axes.plot(lengths, [e.cache_bytes / 1e9 for e in made], "o-", label=name)
        axes.axhline(made[0].weight_bytes / 1e9, color=line.get_color(), ls=":", lw=1)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xlabel(f"tokens of a text, batch {batch}")
    axes.set_ylabel(f"GB of cache in {dtype}; dotted: weights")
    axes.grid(alpha=0.3)
    axes.legend()
    return save_figure(figure, path)
