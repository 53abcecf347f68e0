"""The quality of a classifier: accuracy, confusion matrix, and the numbers of each class.

Shapes: N texts, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..evaluation import Interval, bootstrap
from ..files.plain_text import one_line

__all__ = ["ClassificationReport", "by_length", "confusion_matrix", "plot_confusion"]


def confusion_matrix(labels: Any, predictions: Any, n_classes: int) -> np.ndarray:
    """Counts (K, K) int64: row = the true class, column = the predicted class.

    Raises: ValueError for arrays of different lengths and for classes outside 0 … n_classes − 1.
    """
    labels, predictions = (_whole(name, v) for name, v in (
        ("labels", labels), ("predictions", predictions)))  # fmt: skip
    if labels.shape != predictions.shape:
        raise ValueError(f"{len(labels)} labels and {len(predictions)} predictions")
    for name, values in (("labels", labels), ("predictions", predictions)):
        wrong = (values < 0) | (values >= n_classes)
        if wrong.any():
            raise ValueError(
                f"{name}[{int(wrong.argmax())}] is {values[wrong][0]}, but the classes are 0 … "
                f"{n_classes - 1}"
            )
    counts = np.bincount(labels * n_classes + predictions, minlength=n_classes**2)
    return counts.reshape(n_classes, n_classes)  # (K·K) -> (K, K)


def _whole(name: str, values: Any) -> np.ndarray:
    if hasattr(values, "tolist"):
        values = values.tolist()
    array = np.asarray(values if len(values) else [], dtype=None if len(values) else np.int64)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise ValueError(f"{name} must be a row of whole numbers, got shape {array.shape}")
    return array.astype(np.int64)


@dataclass
class ClassificationReport:
    """The results of a classifier on N texts.

    labels, predictions (N) int64; probabilities (N, K), each row's sum is 1; losses (N), the
    cross-entropy of each text in nats; names: of the classes.
    """

    labels: np.ndarray
    predictions: np.ndarray
    probabilities: np.ndarray
    losses: np.ndarray
    names: list[str]

    @property
    def loss(self) -> float:
        """The mean cross-entropy in nats per text; NaN without texts."""
        return float(self.losses.mean()) if len(self.losses) else float("nan")

    @property
    def accuracy(self) -> float:
        """The share of texts whose class was predicted correctly; NaN without texts."""
        right = self.labels == self.predictions
        return float(right.mean()) if len(right) else float("nan")

    @property
    def right(self) -> np.ndarray:
        """1 for each text whose class was predicted correctly, else 0: (N) float64."""
        return (self.labels == self.predictions).astype(np.float64)

    @property
    def interval(self) -> Interval:
        """The accuracy with its 95 % interval, by the bootstrap.

        Raises: ValueError without texts.
        """
        return bootstrap(self.right)

    @property
    def confusion(self) -> np.ndarray:
        """Counts (K, K): row = true class, column = predicted class."""
        return confusion_matrix(self.labels, self.predictions, len(self.names))

    @property
    def per_class(self) -> list[dict[str, Any]]:
        """For each class its name, precision, recall, f1 and support.

        precision: the share of the texts predicted as this class that are of this class; recall:
        the share of the texts of this class that are predicted as it; f1: 2·p·r / (p + r); support:
        the number of texts of this class. A share of no texts is 0.
        """
        matrix = self.confusion
        rows = []
        for k, name in enumerate(self.names):
            right, predicted, support = matrix[k, k], matrix[:, k].sum(), matrix[k].sum()
            precision = float(right / predicted) if predicted else 0.0
            recall = float(right / support) if support else 0.0
            both = precision + recall
            f1 = 2.0 * precision * recall / both if both else 0.0
            rows.append(
                {"name": name, "precision": precision, "recall": recall, "f1": f1,
                 "support": int(support)}
            )  # fmt: skip
        return rows

    def worst(self, n: int = 5) -> list[int]:
        """The numbers of the n texts with the highest loss, the highest first."""
        return [int(i) for i in np.argsort(-self.losses, kind="stable")[:n]]

    def worst_table(self, texts: Sequence[str], n: int = 5, width: int = 100) -> str:
        """The n texts with the highest loss, a line each: loss, true class, prediction, text."""
        lines = []
        names = [one_line(name) for name in self.names]
        wide = max(map(len, names))
        for i in self.worst(n):
            true, predicted = names[self.labels[i]], names[self.predictions[i]]
            p = self.probabilities[i, self.predictions[i]]
            head = f"{self.losses[i]:6.2f}  is {true:<{wide}}  predicted {predicted:<{wide}} "
            head += f"({p:4.0%})  "
            text = one_line(" ".join(texts[i].split()))
            room = max(10, width - len(head))
            lines.append(head + (text if len(text) <= room else text[: room - 1] + "…"))
        return "\n".join(lines)

    def __str__(self) -> str:
        names = [one_line(name) for name in self.names]
        wide = max(9, *map(len, names))
        lines = [
            f"accuracy {self.accuracy:.2%} of {len(self.labels):,} texts, loss {self.loss:.4f}",
            "",
            f"{'class':<{wide}}  precision  recall      f1  texts",
        ]
        for name, row in zip(names, self.per_class, strict=True):
            lines.append(
                f"{name:<{wide}}  {row['precision']:9.2%} {row['recall']:7.2%} "
                f"{row['f1']:7.2%} {row['support']:6,}"
            )
        cell = max(7, *(len(name) + 2 for name in names))
        lines += [
            "",
            f"{'true/pred':<{wide}}" + "".join(f"{n:>{cell}}" for n in names),
        ]
        for name, counts in zip(names, self.confusion, strict=True):
            lines.append(f"{name:<{wide}}" + "".join(f"{c:>{cell},}" for c in counts))
        return "\n".join(lines)


def by_length(report: ClassificationReport, lengths: Sequence[int], limit: int) -> str:
    """The accuracy of texts that fit into `limit` tokens and of those that are longer.

    lengths: of the N texts, in tokens. '' if all fit.
    """
    longer = np.asarray(lengths) > limit
    if not longer.any():
        return ""
    rows = (("fit", ~longer), ("longer", longer))
    return "\n".join(
        f"{name:<7} {report.right[which].mean():7.2%} of {which.sum():,} texts, loss "
        f"{report.losses[which].mean():.4f}"
        for name, which in rows if which.any()
    )  # fmt: skip


def plot_confusion(report: ClassificationReport, path: str | Path, title: str = "") -> Path:
    """Draws the confusion matrix to a PNG and returns its path. Shades: the share of a row."""
    from ..training.plots import label_text, new_figure, save_figure

    matrix, K = report.confusion, len(report.names)
    share = matrix / np.maximum(1, matrix.sum(1, keepdims=True))  # (K, K)
    figure = new_figure(2.6 + 0.9 * K, 2.2 + 0.75 * K)
    axes = figure.add_subplot()
    axes.imshow(share, cmap="Blues", vmin=0.0, vmax=1.0)
    for i in range(K):
        for j in range(K):
            color = "white" if share[i, j] > 0.5 else "black"
            axes.text(j, i, f"{matrix[i, j]:,}", ha="center", va="center", color=color)
    names = [label_text(name) for name in report.names]
    axes.set_xticks(range(K), names)
    axes.set_yticks(range(K), names)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    axes.set_title(label_text(title) if title else f"accuracy {report.accuracy:.2%}", fontsize=10)
    return save_figure(figure, path)
