"""Results on pairs of texts: scores with intervals beside a baseline, worst examples, plots."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...evaluation import Interval, bootstrap, paired_difference, pearson, spearman
from ...files.plain_text import one_line
from ..report import ClassificationReport
from .rows import Row

__all__ = [
    "ChoiceReport",
    "Compared",
    "RegressionReport",
    "compared_accuracy",
    "class_report",
    "compared_correlations",
    "plot_choices",
    "plot_scores",
]


@dataclass(frozen=True)
class Compared:
    """A score, a baseline's on the same test set, and how much better the first is."""

    name: str
    score: Interval
    baseline: Interval
    difference: Interval
    baseline_name: str

    def lines(self) -> str:
        """Two lines of output."""
        return (
            f"test {self.name:<13} {self.score}   (95 % interval)\n"
            f"baseline           {self.baseline}   {self.baseline_name}; "
            f"difference {self.difference}"
        )

    def stored(self) -> dict[str, Any]:
        """As test.json holds it: [value, low, high] of each."""
        parts = {"score": self.score, "baseline": self.baseline, "difference": self.difference}
        rows = {name: [i.value, i.low, i.high] for name, i in parts.items()}
        return {**rows, "baseline_name": self.baseline_name}


def compared_accuracy(right: Any, baseline_right: Any, baseline_name: str) -> Compared:
    """The accuracy of answers that are right or not, (N) bools each, beside a baseline's."""
    a, b = (np.asarray(x, np.float64) for x in (right, baseline_right))
    return Compared("accuracy", bootstrap(a), bootstrap(b), paired_difference(a, b), baseline_name)


def compared_correlations(
    scores: Any, baseline: Any, labels: Any, baseline_name: str
) -> list[Compared]:  # fmt: skip
    """Pearson's and Spearman's correlation of scores (N) with labels (N), beside a baseline's."""
    made = []
    rows = [np.stack([np.asarray(x, np.float64), np.asarray(labels, np.float64)], 1)
            for x in (scores, baseline)]  # fmt: skip
    for name, function in (("pearson", pearson), ("spearman", spearman)):

        def statistic(part: np.ndarray, function: Any = function) -> float:
            return float(function(part[:, 0], part[:, 1]))

        ours, theirs = (bootstrap(r, statistic) for r in rows)
        difference = paired_difference(rows[0], rows[1], statistic)
        made.append(Compared(name, ours, theirs, difference, baseline_name))
    return made


def class_report(scores: np.ndarray, labels: np.ndarray, names: list[str]) -> ClassificationReport:
    """The report of classes from scores (N, K) and labels (N)."""
    shifted = scores - scores.max(1, keepdims=True)  # (N, K)
    logs = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))  # (N, K)
    losses = -logs[np.arange(len(labels)), labels]  # (N)
    return ClassificationReport(labels.copy(), logs.argmax(1), np.exp(logs), losses, names)


def _shown(text: str, room: int) -> str:
    text = one_line(" ".join(text.split()))
    return text if len(text) <= room else text[: room - 1] + "…"


@dataclass
class RegressionReport:
    """Numbers that were predicted: labels and predictions, (N) each."""

    labels: np.ndarray
    predictions: np.ndarray

    def worst(self, n: int = 5) -> list[int]:
        """The numbers of the n examples with the largest errors, the largest first."""
        errors = np.abs(self.labels - self.predictions)
        return [int(i) for i in np.argsort(-errors, kind="stable")[:n]]

    def worst_table(self, rows: Sequence[Row], n: int = 5, width: int = 100) -> str:
        """Those examples, two lines each: the label, the prediction, and the two texts."""
        lines = []
        for i in self.worst(n):
            head = f"is {self.labels[i]:5.2f}  predicted {self.predictions[i]:5.2f}  "
            first, second = (_shown(t, width - len(head)) for t in
                             (rows[i].first, rows[i].seconds[0]))  # fmt: skip
            lines += [head + first, " " * len(head) + second]
        return "\n".join(lines)


@dataclass
class ChoiceReport:
    """Questions that were answered: labels (N), probabilities of the answers (N, answers)."""

    labels: np.ndarray
    probabilities: np.ndarray

    @property
    def right(self) -> np.ndarray:
        """Whether each question was answered correctly, (N) bool."""
        return self.probabilities.argmax(1) == self.labels

    def worst(self, n: int = 5) -> list[int]:
        """The numbers of the n questions whose right answer had the least probability."""
        given = self.probabilities[np.arange(len(self.labels)), self.labels]
        return [int(i) for i in np.argsort(given, kind="stable")[:n]]

    def worst_table(self, rows: Sequence[Row], n: int = 5, width: int = 100) -> str:
        """Those questions, with the right answer, the chosen one and their probabilities."""
        lines = []
        for i in self.worst(n):
            right, chosen = int(self.labels[i]), int(self.probabilities[i].argmax())
            answers, p = rows[i].seconds, self.probabilities[i]
            lines += [
                _shown(rows[i].first, width),
                f"    right {_shown(answers[right], 30)} ({p[right]:.1%}), chosen "
                f"{_shown(answers[chosen], 30)} ({p[chosen]:.1%})",
            ]
        return "\n".join(lines)


def plot_scores(report: RegressionReport, path: str | Path, title: str = "") -> Path:
    """Draws predictions over labels to a PNG, a point for each example; returns its path."""
    from ...training.plots import new_figure, save_figure

    figure = new_figure(5.2, 4.6)
    axes = figure.add_subplot()
    axes.plot(report.labels, report.predictions, ".", alpha=0.25, markersize=5)
    ends = [float(report.labels.min()), float(report.labels.max())]
    axes.plot(ends, ends, color="black", linewidth=0.8, label="prediction = label")
    axes.set_xlabel("label")
    axes.set_ylabel("prediction")
    axes.set_title(title, fontsize=10)
    axes.legend(fontsize=8)
    return save_figure(figure, path)


def plot_choices(report: ChoiceReport, path: str | Path, title: str = "") -> Path:
    """Draws the share of right answers for questions by how sure the model was; returns the path.

    Questions are sorted by the chosen answer's probability and cut into five parts.
    """
    from ...training.plots import new_figure, save_figure

    sure = report.probabilities.max(1)  # (N)
    parts = [p for p in np.array_split(np.argsort(sure, kind="stable"), 5) if len(p)]
    figure = new_figure(5.2, 4.0)
    axes = figure.add_subplot()
    places = np.arange(len(parts))
    axes.bar(places - 0.2, [float(sure[p].mean()) for p in parts], 0.4, label="probability")
    axes.bar(places + 0.2, [float(report.right[p].mean()) for p in parts], 0.4, label="right")
    axes.axhline(1.0 / report.probabilities.shape[1], color="black", linewidth=0.8, linestyle="--",
                 label="chance")  # fmt: skip
    axes.set_xticks(places, [f"part {i + 1}" for i in places])
    axes.set_xlabel("questions, from unsure to sure")
    axes.set_ylabel("mean")
    axes.set_ylim(0.0, 1.0)
    axes.set_title(title, fontsize=10)
    axes.legend(fontsize=8)
    return save_figure(figure, path)
