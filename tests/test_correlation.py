"""Pearson's and Spearman's correlations, by hand and against SciPy."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tinygrad_llm.evaluation import correlation_intervals, pearson, ranks, spearman


def test_by_hand():
    """x − x̄ = (−2, −1, 0, 3), y − ȳ = (−1, 0, −1, 2): 8/√(14·6)."""
    x, y = [1, 2, 3, 6], [1, 2, 1, 4]
    assert pearson(x, y) == pytest.approx(8 / math.sqrt(84), abs=1e-12)
    assert ranks(y).tolist() == [1.5, 3.0, 1.5, 4.0]
    assert ranks([7, 3, 7]).tolist() == [2.5, 1.0, 2.5]
    # ranks − 2.5 = (−1.5, −0.5, 0.5, 1.5) and (−1, 0.5, −1, 1.5): 3/√(5·4.5)
    assert spearman(x, y) == pytest.approx(3 / math.sqrt(22.5), abs=1e-12)
    assert spearman([1, 2, 3], [1, 10, 1e9]) == pytest.approx(1.0)
    assert pearson([1, 2, 3], [3, 2, 1]) == pytest.approx(-1.0)


@pytest.mark.parametrize("levels", [None, 5, 2])
def test_equal_scipy(levels):
    stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(levels or 0)
    for size in (2, 3, 17, 400):
        x = rng.standard_normal(size) * 3 + 1e3
        y = x * 0.3 + rng.standard_normal(size)
        if levels:  # ties
            x, y = (np.floor(rng.integers(0, levels, size)) / 7 for _ in range(2))
            x[0], x[1], y[0], y[1] = 0, 1, 1, 0
        assert pearson(x, y) == pytest.approx(stats.pearsonr(x, y).statistic, abs=1e-12)
        assert spearman(x, y) == pytest.approx(stats.spearmanr(x, y).statistic, abs=1e-12)
        assert ranks(x).tolist() == stats.rankdata(x).tolist()


def test_large_and_equal_numbers():
    x = np.array([1.0, 2.0, 4.0]) * 1e200
    assert pearson(x, x * 1e-250) == pytest.approx(1.0)
    assert math.isnan(pearson([2, 2, 2], [1, 2, 3])) and math.isnan(spearman([1, 2], [3, 3]))


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        ([1], [2], "two or more: got 1 and 1"),
        ([1, 2], [1, 2, 3], "got 2 and 3"),
        ([[1, 2]], [1, 2], "x must be a row of numbers"),
        ([1, 2], [1, math.nan], r"y\[1\] is nan"),
    ],
)
def test_wrong_numbers(x, y, message):
    for function in (pearson, spearman):
        with pytest.raises(ValueError, match=message):
            function(x, y)


def test_intervals():
    """Of a model that is right half of the time; a known value lies in the interval."""
    rng = np.random.default_rng(4)
    y = rng.standard_normal(500)
    x = y + rng.standard_normal(500)
    intervals = correlation_intervals(x, y, n=200)
    assert intervals["pearson"].value == pearson(x, y) and 1 / math.sqrt(2) in intervals["pearson"]
    assert intervals["spearman"].value == spearman(x, y)
    assert 0.05 < intervals["spearman"].high - intervals["spearman"].low < 0.15
