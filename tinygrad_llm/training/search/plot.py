"""The picture of a search: parallel coordinates, a line for each trial."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ...files.paths import local_path
from ..plots import label_text, new_figure, save_figure
from .run import Trial
from .space import Choice, Range, Space

__all__ = ["plot_trials"]

_CHOICES = 12  # that are named at an axis


def plot_trials(
    trials: Sequence[Trial], space: Space, path: str | Path, metric: str = "val_loss",
    maximise: bool = False,
) -> Path:  # fmt: skip
    """Draws an axis for each searched option and one for the score, and a line for each trial.

    trials: those without a score are left out; the best one is drawn thick and last. Colours
    follow the rank, so that one bad trial does not hide the others' differences.
    """
    scored = [t for t in trials if t.score is not None]
    scored.sort(key=lambda t: (t.score or 0.0) if maximise else -(t.score or 0.0))  # worst first
    names = list(space.searched)
    figure = new_figure(max(6.0, 1.9 * (len(names) + 1)), 4.8)
    axes = figure.subplots()
    scores = np.array([t.score for t in scored], np.float64)
    low, high = (scores.min(), scores.max()) if len(scores) else (0.0, 1.0)
    for rank, trial in enumerate(scored):
        places = [_place(space.searched[name], trial.values[name]) for name in names]
        height = 0.5 if low == high else float((scores[rank] - low) / (high - low))
        best = rank == len(scored) - 1
        shade = rank / max(1, len(scored) - 1)
        axes.plot(
            range(len(names) + 1),
            [*places, height],
            zorder=2 + shade,
            color="tab:red" if best else (0.75 - 0.75 * shade, 0.8 - 0.5 * shade, 0.9),
            linewidth=2.5 if best else 1.2,
            label=f"best: trial {trial.number}, {trial.score:.4f}" if best else None,
        )
    for x, name in enumerate(names):
        axes.axvline(x, color="gray", linewidth=0.8)
        for height, text in _ticks(space.searched[name]):
            axes.text(x + 0.03, height, label_text(text), fontsize=7, va="center", color="dimgray")
    axes.axvline(len(names), color="gray", linewidth=0.8)
    for height, value in ((0.0, low), (1.0, high)):
        axes.text(len(names) + 0.03, height, f"{value:.4g}", fontsize=7, va="center")
    axes.set_xticks(range(len(names) + 1), [label_text(n) for n in [*names, metric]])
    axes.set_yticks([])
    axes.set_xlim(-0.15, len(names) + 0.35)
    if scored:
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.08), fontsize=8)
    for side in axes.spines.values():
        side.set_visible(False)
    return save_figure(figure, local_path(path))


def _place(each: Range | Choice, value: object) -> float:
    return each.place(value)  # type: ignore[arg-type]


def _ticks(each: Range | Choice) -> list[tuple[float, str]]:
    """(height, text) at an axis."""
    if isinstance(each, Choice):
        return [(each.place(value), str(value)) for value in each.values[:_CHOICES]]
    values = each.points(5)
    return [(each.place(value), f"{value:.3g}") for value in values]
