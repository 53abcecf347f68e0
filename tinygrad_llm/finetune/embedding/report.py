"""The results of vectors of sentences: cosines beside labels, before and after training."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ...evaluation.correlation import spearman

__all__ = ["plot_before_after", "scaled"]


def scaled(cosines: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Cosines (N) on the scale of labels (N): the line with the least squared error."""
    x = np.stack([cosines, np.ones_like(cosines)], 1)  # (N, 2)
    return np.asarray(x @ np.linalg.lstsq(x, labels, rcond=None)[0])  # (N, 2) @ (2) -> (N)


def plot_before_after(
    before: np.ndarray | None, after: np.ndarray, labels: np.ndarray, path: str | Path
) -> Path:
    """Draws cosines over labels, before training (None: not known any more) and after it."""
    from ...training.plots import new_figure, save_figure

    parts = [("before", before), ("after", after)]
    shown = [(name, cosines) for name, cosines in parts if cosines is not None]
    figure = new_figure(4.4 * len(shown), 4.0)
    for axes, (name, cosines) in zip(
        np.atleast_1d(figure.subplots(1, len(shown), sharey=True)), shown, strict=True
    ):
        axes.plot(labels, cosines, ".", alpha=0.25, markersize=5)
        axes.set_xlabel("label")
        axes.set_ylabel("cosine")
        axes.set_title(f"{name}: Spearman {spearman(cosines, labels):.3f}", fontsize=10)
    return save_figure(figure, path)
