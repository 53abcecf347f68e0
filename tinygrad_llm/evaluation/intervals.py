"""Confidence intervals of a score by the bootstrap: how much another test set would change it.

A test set is a sample. The bootstrap draws test sets of the same size from it, with repetition,
and computes the score of each; the middle 95 % of these scores are the interval (the percentile
interval of Efron, "Bootstrap methods: another look at the jackknife", 1979).

    items = np.asarray([label == answer for ...], float)         # (N)
    print(bootstrap(items))                                      # 0.843 [0.812, 0.871]

Scores that are not a mean over examples (BLEU, F1, a correlation) pass a statistic: a function from
the counts of all examples (N, K), of which some appear several times, to a number.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["Interval", "bootstrap", "paired_difference"]

Statistic = Callable[[np.ndarray], float]


@dataclass(frozen=True)
class Interval:
    """A score and the interval that holds it with probability `level`."""

    value: float
    low: float
    high: float
    level: float = 0.95

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"

    def _repr_html_(self) -> str:
        """The score and its interval in a notebook, in words."""
        ends = f"{self.low:.3f} to {self.high:.3f}"
        return f"<p><b>{self.value:.3f}</b>, {self.level:.0%} interval {ends}</p>"

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high

    def overlaps(self, other: Interval) -> bool:
        """Whether the two intervals share a point."""
        return self.low <= other.high and other.low <= self.high


def bootstrap(
    examples: Any, statistic: Statistic | None = None, *, n: int = 1000, level: float = 0.95,
    seed: int = 0,
) -> Interval:  # fmt: skip
    """The score of a test set and its percentile interval.

    examples: numbers (N) or (N, K), a row for each example of the test set
    statistic: a function from examples, shaped as `examples`, to a number; None: their mean
    n: how many test sets are drawn; level: between 0 and 1; seed: of the draws
    Raises: ValueError without examples, or for an n or a level that is not possible.
    """
    rows = _rows(examples)
    compute = _mean if statistic is None else statistic
    scores = [compute(rows[chosen]) for chosen in _draws(len(rows), n, seed)]
    return _interval(compute(rows), scores, level)


def paired_difference(
    ours: Any, theirs: Any, statistic: Statistic | None = None, *, n: int = 1000,
    level: float = 0.95, seed: int = 0,
) -> Interval:  # fmt: skip
    """The score of `ours` minus that of `theirs`, with its interval; both on the same test set.

    Each draw takes the same examples for both, so what makes an example hard cancels out (Koehn,
    "Statistical significance tests for machine translation evaluation", 2004). An interval without
    0 says that the difference is not chance.
    Raises: ValueError for different numbers of examples, and as bootstrap.
    """
    a, b = _rows(ours), _rows(theirs)
    if len(a) != len(b):
        raise ValueError(f"the two have {len(a)} and {len(b)} examples: pair them")
    compute = _mean if statistic is None else statistic
    scores = [compute(a[i]) - compute(b[i]) for i in _draws(len(a), n, seed)]
    return _interval(compute(a) - compute(b), scores, level)


def _mean(rows: np.ndarray) -> float:
    return float(rows.mean())


def _rows(examples: Any) -> np.ndarray:
    rows = np.asarray(examples, np.float64)
    if rows.ndim == 0 or len(rows) == 0:
        raise ValueError(f"a score needs examples (N) or (N, K), got shape {rows.shape}")
    return rows


def _draws(size: int, n: int, seed: int) -> list[np.ndarray]:
    n = operator.index(n)
    if n < 1:
        raise ValueError(f"n must be 1 or more draws, got {n}")
    generator = np.random.default_rng(seed)
    return [generator.integers(0, size, size) for _ in range(n)]


def _interval(value: float, scores: list[float], level: float) -> Interval:
    if not 0.0 < level < 1.0:
        raise ValueError(f"level must be between 0 and 1, got {level}")
    tail = (1.0 - float(level)) / 2.0
    # a draw without a defined score (a correlation of equal numbers) says nothing
    drawn = np.asarray(scores, np.float64)
    if np.isnan(drawn).all():
        return Interval(float(value), math.nan, math.nan, float(level))
    low, high = np.nanquantile(drawn, [tail, 1.0 - tail])
    return Interval(float(value), float(low), float(high), float(level))
