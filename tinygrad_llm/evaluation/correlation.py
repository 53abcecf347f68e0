"""Correlations between two rows of numbers, such as the similarities of a model and of people.

    pearson(x, y)      how well a line with a positive gradient fits the points
    spearman(x, y)     the same of their ranks: how well any increasing curve does
    correlation_intervals(x, y)     both with their 95 % intervals

A model is right for Spearman's if it orders pairs as people do; for Pearson's its numbers must be
theirs, except for a factor and a shift.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..files.packages import importing, install_extra
from .intervals import Interval, bootstrap

__all__ = ["correlation_intervals", "kendall", "pearson", "ranks", "spearman"]


def pearson(x: Any, y: Any) -> float:
    """r = Σ(x − x̄)(y − ȳ)/√(Σ(x − x̄)²·Σ(y − ȳ)²), between −1 and 1; NaN if all of one are equal.

    x, y: numbers (N) each, at least two; computed in float64
    Raises: ValueError for other shapes or numbers that are not finite.
    Source: Pearson, "Note on regression and inheritance in the case of two parents" (1895).
    """
    a, b = _pairs(x, y)
    if (a == a[0]).all() or (b == b[0]).all():
        return float("nan")
    a, b = _centred(a), _centred(b)
    r = float(a @ b)  # both have the length 1
    return min(1.0, max(-1.0, r))


def _centred(x: np.ndarray) -> np.ndarray:
    """x − x̄ with the length 1, divided by its largest entry first, so that no square overflows."""
    x = x / float(np.abs(x).max())
    x = x - x.mean()
    x = x / float(np.abs(x).max())
    return x / float(np.sqrt(x @ x))


def ranks(x: Any) -> np.ndarray:
    """The place of each number in the order of all, 1 for the smallest: (N) -> (N) float64.

    Equal numbers share the mean of their places: ranks([7, 3, 7]) is [2.5, 1, 2.5].
    """
    values = np.asarray(x, np.float64)
    _, which, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)  # the last place of each different number
    middle = last - (counts - 1) / 2.0
    return middle[which]  # (different numbers) -> (N)


def spearman(x: Any, y: Any) -> float:
    """Pearson's correlation of the ranks: 1 if y grows wherever x does; NaN as `pearson`.

    Raises: ValueError as `pearson`.
    Source: Spearman, "The proof and measurement of association between two things" (1904).
    """
    a, b = _pairs(x, y)
    return pearson(ranks(a), ranks(b))


def kendall(x: Any, y: Any) -> float:
    """τ-b: pairs in the same order minus pairs in the other, per all, without ties; by scipy.

    Raises: ValueError as `pearson`; MissingPackage without the extra `evaluation`.
    Source: Kendall, "The treatment of ties in ranking problems" (1945).
    """
    with importing("Kendall's correlation needs scipy", install_extra("evaluation")):
        from scipy.stats import kendalltau
    return float(kendalltau(*_pairs(x, y)).statistic)


def correlation_intervals(x: Any, y: Any, *, n: int = 1000, seed: int = 0) -> dict[str, Interval]:
    """{"pearson": ..., "spearman": ...}, each with its 95 % interval by the bootstrap.

    n: how many test sets are drawn; seed: of the draws
    Raises: ValueError as `pearson`.
    """
    rows = np.stack(_pairs(x, y), axis=1)  # (N, 2)
    return {
        "pearson": bootstrap(rows, lambda r: pearson(r[:, 0], r[:, 1]), n=n, seed=seed),
        "spearman": bootstrap(rows, lambda r: spearman(r[:, 0], r[:, 1]), n=n, seed=seed),
    }


def _pairs(x: Any, y: Any) -> tuple[np.ndarray, np.ndarray]:
    """Both as float64 (N).

    Raises: ValueError unless they are as long as each other, two numbers or more, and finite.
    """
    both = []
    for name, values in (("x", x), ("y", y)):
        values = values.tolist() if hasattr(values, "tolist") else values
        array = np.asarray(values, np.float64)
        if array.ndim != 1:
            raise ValueError(f"{name} must be a row of numbers (N), got the shape {array.shape}")
        if not np.isfinite(array).all():
            at = int((~np.isfinite(array)).argmax())
            raise ValueError(f"{name}[{at}] is {array[at]}: a correlation needs finite numbers")
        both.append(array)
    if len(both[0]) != len(both[1]) or len(both[0]) < 2:
        raise ValueError(
            f"a correlation needs as many x as y, two or more: got {len(both[0])} and "
            f"{len(both[1])}"
        )
    return both[0], both[1]
