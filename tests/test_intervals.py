"""Confidence intervals of scores by the bootstrap."""

from __future__ import annotations

import numpy as np
import pytest

from tinygrad_llm.evaluation import Interval, bootstrap, paired_difference


def test_the_interval_of_a_mean_is_the_normal_one():
    x = np.random.default_rng(0).standard_normal(400)
    got = bootstrap(x, n=4000)
    half = 1.96 * x.std() / 20.0
    assert got.value == x.mean()
    assert abs(got.low - (x.mean() - half)) < 0.1 * half
    assert abs(got.high - (x.mean() + half)) < 0.1 * half


def test_95_of_100_intervals_hold_the_true_share():
    generator = np.random.default_rng(1)
    held = [
        0.7 in bootstrap(generator.random(80) < 0.7, n=200, seed=seed) for seed in range(200)
    ]  # fmt: skip
    assert 0.89 <= np.mean(held) <= 0.99


def test_a_statistic_of_several_numbers():
    counts = np.random.default_rng(2).integers(0, 9, (50, 2)).astype(float)  # (N, 2)
    ratio = bootstrap(counts, lambda rows: float(rows[:, 0].sum() / rows[:, 1].sum()))
    assert ratio.value == counts[:, 0].sum() / counts[:, 1].sum() and ratio.value in ratio


def test_pairs_are_drawn_together():
    hard = np.random.default_rng(3).standard_normal(100) * 10.0  # the same for both
    difference = paired_difference(hard + 0.1, hard)
    assert np.allclose([difference.low, difference.high], 0.1)
    assert 0.0 in paired_difference(hard, hard[::-1])


def test_equal_seeds_give_equal_intervals():
    x = np.arange(30.0)
    assert bootstrap(x, seed=4) == bootstrap(x, seed=4) != bootstrap(x, seed=5)


def test_what_it_prints_and_says():
    assert str(Interval(0.5, 0.25, 0.75)) == "0.500 [0.250, 0.750]"
    assert Interval(0.5, 0.4, 0.6).overlaps(Interval(0.7, 0.6, 0.8))
    assert not Interval(0.5, 0.4, 0.6).overlaps(Interval(0.8, 0.7, 0.9))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: bootstrap([]), "needs examples"),
        (lambda: bootstrap([1.0], n=0), "1 or more"),
        (lambda: bootstrap([1.0], level=1.0), "between 0 and 1"),
        (lambda: paired_difference([1.0], [1.0, 2.0]), "1 and 2 examples"),
    ],
)
def test_bad_input(call, words):
    with pytest.raises(ValueError, match=words):
        call()
