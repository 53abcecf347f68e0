"""Precision, recall and F1 of named entities, and what is wrong with those that are not right.

    report = entity_report([[Entity(0, 2, "person")]], [[Entity(0, 2, "place")]])
    print(report, report.f1, report.errors)

An entity is right if start, end and type are those of a true one; there is no half a point. The
numbers equal those of the package seqeval (Nakayama, 2018), which reads them from tags.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..data.bio import Entity, from_bio
from ..files.notebooks import cell_table
from ..files.plain_text import one_line
from .intervals import Interval, bootstrap

__all__ = [
    "EntityReport",
    "Mistake",
    "Score",
    "entity_report",
    "micro_f1",
    "plot_entities",
    "tag_report",
]

RIGHT, TYPE, BOUNDARY, BOTH, MISSED, SPURIOUS = (
    "right", "wrong type", "wrong boundary", "wrong type and boundary", "missed", "spurious",
)  # fmt: skip
NOTHING = "(none)"


class Score(NamedTuple):
    """Precision, recall, F1 = 2·p·r/(p + r), and support: how many true entities there are.

    A share of no entities is 0.
    """

    precision: float
    recall: float
    f1: float
    support: int


class Mistake(NamedTuple):
    """What happened to an entity: `true` is None if it is spurious, `predicted` if it is missed."""

    kind: str
    text: int  # which of the texts
    true: Entity | None
    predicted: Entity | None


def _score(right: float, predicted: float, true: float) -> Score:
    precision = right / predicted if predicted else 0.0
    recall = right / true if true else 0.0
    both = precision + recall
    return Score(precision, recall, 2.0 * precision * recall / both if both else 0.0, int(true))


def micro_f1(rows: np.ndarray) -> float:
    """F1 of rows (N, 3) of right, predicted and true entities of each text."""
    right, predicted, true = rows.sum(0)
    return 2.0 * right / (predicted + true) if predicted + true else 0.0


@dataclass
class EntityReport:
    """The true and the predicted entities of N texts, and the scores that follow from them."""

    true: list[list[Entity]]
    predicted: list[list[Entity]]

    @cached_property
    def types(self) -> list[str]:
        """Every type that occurs, true or predicted, in alphabetical order."""
        return sorted({e.type for rows in (self.true, self.predicted) for row in rows for e in row})

    @cached_property
    def counts(self) -> np.ndarray:
        """How many entities of each text are right, predicted and true: (N, types, 3) int64."""
        place = {name: k for k, name in enumerate(self.types)}
        counts = np.zeros((len(self.true), len(place), 3), np.int64)
        for n, (true, predicted) in enumerate(zip(self.true, self.predicted, strict=True)):
            kinds = (set(true) & set(predicted), set(predicted), set(true))
            for k, entities in enumerate(kinds):
                for entity in entities:
                    counts[n, place[entity.type], k] += 1
        return counts

    @property
    def per_type(self) -> dict[str, Score]:
        """The scores of each type."""
        totals = self.counts.sum(0)  # (N, types, 3) -> (types, 3)
        return {n: _score(*map(int, row)) for n, row in zip(self.types, totals, strict=True)}

    @property
    def micro(self) -> Score:
        """The scores of all entities together: a frequent type counts for more."""
        return _score(*map(int, self.counts.sum((0, 1))))

    @property
    def macro(self) -> Score:
        """The mean of the types' scores: every type counts the same."""
        rows = list(self.per_type.values())
        p, r, f1 = np.array([row[:3] for row in rows] or [(0.0, 0.0, 0.0)]).mean(0).tolist()
        return Score(p, r, f1, sum(row.support for row in rows))

    @property
    def f1(self) -> float:
        """The F1 of all entities together."""
        return self.micro.f1

    @cached_property
    def rows(self) -> np.ndarray:
        """Right, predicted and true entities of each text, (N, 3): for paired differences."""
        return self.counts.sum(1)  # (N, types, 3) -> (N, 3)

    @cached_property
    def interval(self) -> Interval:
        """The F1 with its 95 % interval: texts are drawn, because entities of one depend on it."""
        return bootstrap(self.rows, micro_f1)

    @cached_property
    def mistakes(self) -> list[Mistake]:
        """Every entity that is not right: what was predicted in place of a true one, and the rest.

        A true entity goes with the predicted one that shares most characters with it and is not
        right for another.
        """
        mistakes = []
        for n, (true, predicted) in enumerate(zip(self.true, self.predicted, strict=True)):
            right = set(true) & set(predicted)
            free = [e for e in predicted if e not in right]
            for entity in (e for e in true if e not in right):
                near = [e for e in free if e.overlaps(entity)]
                if not near:
                    mistakes.append(Mistake(MISSED, n, entity, None))
                    continue
                best = max(near, key=lambda e: _shared(e, entity))
                free.remove(best)
                mistakes.append(Mistake(_kind(entity, best), n, entity, best))
            mistakes += [Mistake(SPURIOUS, n, None, e) for e in free]
        return mistakes

    @property
    def errors(self) -> dict[str, int]:
        """How many entities are right, and how many mistakes of each kind there are."""
        counts = Counter(m.kind for m in self.mistakes)
        counts[RIGHT] = int(self.rows[:, 0].sum())
        return {k: counts[k] for k in (RIGHT, TYPE, BOUNDARY, BOTH, MISSED, SPURIOUS)}

    @property
    def confusion(self) -> np.ndarray:
        """Counts (types + 1, types + 1): row = true type, column = predicted; the last is nothing.

        Entities with another boundary count here too.
        """
        place = {name: k for k, name in enumerate([*self.types, NOTHING])}
        matrix = np.zeros((len(place), len(place)), np.int64)
        for k, right in enumerate(self.counts[:, :, 0].sum(0)):
            matrix[k, k] = right
        for m in self.mistakes:
            names = (NOTHING if e is None else e.type for e in (m.true, m.predicted))
            row, column = (place[name] for name in names)
            matrix[row, column] += 1
        return matrix

    def worst(self, n: int = 5) -> list[int]:
        """The numbers of the n texts with most mistakes, the worst first."""
        counts = Counter(m.text for m in self.mistakes)
        return sorted(counts, key=lambda text: (-counts[text], text))[:n]

    def worst_table(self, texts: Sequence[str], n: int = 5) -> str:
        """The n texts with most mistakes, each with a line for every mistake."""
        lines = []
        for number in self.worst(n):
            text = texts[number]
            lines.append(one_line(text))
            for m in (m for m in self.mistakes if m.text == number):
                sides = [
                    "" if e is None else f"{one_line(text[e.start : e.end])} ({one_line(e.type)})"
                    for e in (m.true, m.predicted)
                ]
                lines.append(f"  {m.kind:<23}  {' -> '.join(filter(None, sides))}")
        return "\n".join(lines)

    def __str__(self) -> str:
        names = [one_line(name) for name in self.types]
        wide = max([9, *(_width(name) for name in names)])
        rows = [*self.per_type.values(), self.micro, self.macro]
        lines = [f"{'type':<{wide}}  precision  recall      f1  entities"]
        for name, row in zip([*names, "all", "mean"], rows, strict=True):
            gap = " " * (wide - _width(name))
            lines.append(
                f"{name}{gap}  {row.precision:9.2%} {row.recall:7.2%} {row.f1:7.2%} "
                f"{row.support:9,}"
            )
        return "\n".join([*lines, "", *(f"{k:<23}  {n:6,}" for k, n in self.errors.items())])

    def _repr_html_(self) -> str:
        """Two tables in a notebook: the scores of each type, and the mistakes of each kind."""
        names = [*map(one_line, self.types), "all", "mean"]
        scores = [*self.per_type.values(), self.micro, self.macro]
        rows = [
            (name, f"{s.precision:.2%}", f"{s.recall:.2%}", f"{s.f1:.2%}", f"{s.support:,}")
            for name, s in zip(names, scores, strict=True)
        ]
        head = ("type", "precision", "recall", "f1", "entities")
        mistakes = cell_table((kind, f"{n:,}") for kind, n in self.errors.items())
        return cell_table(rows, head) + mistakes


def _width(text: str) -> int:
    """The columns of a terminal that a text takes: characters of East Asia take two."""
    from unicodedata import east_asian_width

    return sum(2 if east_asian_width(c) in "WF" else 1 for c in text)


def _shared(a: Entity, b: Entity) -> int:
    return min(a.end, b.end) - max(a.start, b.start)


def _kind(true: Entity, predicted: Entity) -> str:
    if true[:2] == predicted[:2]:
        return TYPE
    return BOUNDARY if true.type == predicted.type else BOTH


def entity_report(
    true: Sequence[Sequence[Entity]], predicted: Sequence[Sequence[Entity]]
) -> EntityReport:
    """The report of texts: for each the true entities, and those that were predicted.

    Raises: ValueError for different numbers of texts.
    """
    if len(true) != len(predicted):
        raise ValueError(f"{len(true)} texts with true entities, {len(predicted)} with predicted")
    return EntityReport([sorted(set(row)) for row in true], [sorted(set(row)) for row in predicted])


def tag_report(
    true: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]], strict: bool = False
) -> EntityReport:
    """The report of rows of BIO tags; strict: see data.bio.from_bio.

    Raises: ValueError for rows of different lengths, or another tag than O, B-… and I-….
    """
    for n, (a, b) in enumerate(zip(true, predicted, strict=False)):
        if len(a) != len(b):
            raise ValueError(f"row {n} has {len(a)} true and {len(b)} predicted tags")
    rows = ([from_bio(tags, strict) for tags in side] for side in (true, predicted))
    return entity_report(*rows)


def plot_entities(report: EntityReport, path: str | Path, baseline: Any = None) -> Path:
    """Draws F1 per type (beside that of a baseline's report) and the confusion of types to a PNG.

    Returns its path.
    """
    from ..training.plots import label_text, new_figure, save_figure

    K = len(report.types)
    figure = new_figure(9.0 + 0.45 * K, 2.6 + 0.45 * K)
    bars, cells = figure.subplots(1, 2)
    names = [label_text(name) for name in report.types]
    places = np.arange(K)
    scores = [report.per_type[name].f1 for name in report.types]
    others = {} if baseline is None else baseline.per_type
    high = 0.4 if others else 0.8
    bars.barh(places - high / 2 if others else places, scores, high, label="model")
    if others:
        values = [others[name].f1 if name in others else 0.0 for name in report.types]
        bars.barh(places + high / 2, values, high, label="baseline", color="0.7")
        bars.legend()
    bars.set_yticks(places, names)
    bars.invert_yaxis()
    bars.set_xlim(0.0, 1.0)
    bars.set_xlabel("F1")
    bars.set_title(f"F1 {report.interval}", fontsize=10)
    matrix = report.confusion
    cells.imshow(matrix / np.maximum(1, matrix.sum(1, keepdims=True)), cmap="Blues", vmin=0, vmax=1)
    for i, row in enumerate(matrix):
        for j, count in enumerate(row):
            if count:
                dark = count > 0.5 * row.sum()
                color = "white" if dark else "black"
                cells.text(j, i, f"{count}", ha="center", va="center", color=color, fontsize=8)
    cells.set_xticks(range(K + 1), [*names, NOTHING], rotation=90)
    cells.set_yticks(range(K + 1), [*names, NOTHING])
    cells.set_xlabel("predicted")
    cells.set_ylabel("true")
    return save_figure(figure, path)
