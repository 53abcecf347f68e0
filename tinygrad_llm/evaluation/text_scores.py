"""Precision, recall and F1 of each text of a test set: what ROUGE and BERTScore return."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..files.notebooks import cell_table
from .intervals import Interval, bootstrap

__all__ = ["TextScores", "best_of", "f1_of"]


def f1_of(precision: float, recall: float) -> float:
    """The harmonic mean 2·p·r/(p + r), a number between 0 and 1; 0 if both are 0."""
    both = precision + recall
    return 2.0 * precision * recall / both if both > 0.0 else 0.0


@dataclass(frozen=True)
class TextScores:
    """Scores of N texts, between 0 and 1: float64 arrays (N)."""

    precision: np.ndarray
    recall: np.ndarray
    f1: np.ndarray

    @staticmethod
    def of(pairs: Sequence[tuple[float, float]]) -> TextScores:
        """The scores of (precision, recall) pairs."""
        rows = np.array([(p, r, f1_of(p, r)) for p, r in pairs], np.float64).reshape(-1, 3)
        return TextScores(*rows.T.copy())  # (N, 3) -> (3, N)

    def interval(self, n: int = 1000, level: float = 0.95, seed: int = 0) -> Interval:
        """The mean F1 with its interval; see bootstrap."""
        return bootstrap(self.f1, n=n, level=level, seed=seed)

    def __str__(self) -> str:
        p, r = self.precision.mean(), self.recall.mean()
        return f"F1 {self.interval()} (precision {p:.3f}, recall {r:.3f})"

    def _repr_html_(self) -> str:
        """The means as a table in a notebook, F1 with its interval."""
        rows = [
            ("F1", self.interval()),
            ("precision", f"{self.precision.mean():.3f}"),
            ("recall", f"{self.recall.mean():.3f}"),
            ("texts", f"{len(self.f1):,}"),
        ]
        return cell_table(rows)


def best_of(choices: Sequence[TextScores]) -> TextScores:
    """For each text the scores with the highest F1: of several references the closest."""
    best = np.argmax([scores.f1 for scores in choices], 0)  # (R, N) -> (N)
    rows = np.arange(len(best))
    stacked = [
        np.array([getattr(scores, name) for scores in choices])[best, rows]  # (R, N) -> (N)
        for name in ("precision", "recall", "f1")
    ]
    return TextScores(*stacked)
