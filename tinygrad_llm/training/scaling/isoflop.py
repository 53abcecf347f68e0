"""Curves of equal compute: which size is best for C operations, without any law.

    curves = equal_compute(parameters, tokens, losses, [1e11, 3e11, 1e12])
    curves.bottoms[0]                       # the best N at 1e11
    curves.power, curves.power_interval     # a in N_best ~ C^a, by a line through the bottoms

Hoffmann et al. (2022, section 3.2), their second approach. Intervals are those of seeds drawn with
repetition at each point: they hold what chance does, not what the parabola's form misses.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from .fit import Interval, checked, interval_of

__all__ = ["Curve", "EqualCompute", "cells_of", "equal_compute", "isoflop"]

_MOST_WITHOUT = 0.025  # share of the resampled curves without a bottom; above it, no interval


class Curve(NamedTuple):
    """The sizes and losses at C operations, the best N (None without one) and its interval."""

    flops: float
    points: list[tuple[float, float]]
    best: float | None
    interval: Interval | None


class EqualCompute(NamedTuple):
    """Some curves; power: a in N_best ~ C^a, None for less than 3 bottoms; its interval."""

    curves: list[Curve]
    power: float | None
    power_interval: Interval | None


def cells_of(
    N: np.ndarray, D: np.ndarray, losses: np.ndarray
) -> dict[tuple[float, float], np.ndarray]:
    """(N, D) -> the losses of its runs, which differ in their seed; smallest first."""
    cells = sorted(set(zip(N.tolist(), D.tolist(), strict=True)))
    return {(n, d): losses[(N == n) & (D == d)] for n, d in cells}


class _Means:
    """The losses of runs, in cells of one size and one number of tokens."""

    def __init__(
        self, parameters: Sequence[float], tokens: Sequence[float], losses: Sequence[float]
    ) -> None:
        cells = cells_of(*checked(parameters, tokens, losses))
        self.runs = list(cells.values())
        self.N, self.D = np.array(list(cells)).T  # (cells) each

    def mean(self) -> np.ndarray:
        """The mean loss of each cell: (cells)."""
        return np.array([runs.mean() for runs in self.runs])

    def drawn(self, rng: np.random.Generator) -> np.ndarray:
        """As mean, with as many of a cell's runs drawn with repetition."""
        return np.array([rng.choice(runs, len(runs)).mean() for runs in self.runs])

    def curve(self, losses: np.ndarray, flops: float) -> tuple[list[tuple[float, float]], float]:
        """See isoflop; the bottom is NaN where there is none."""
        points = []
        for size in sorted(set(self.N)):
            own = size == self.N
            x, y = np.log(self.D[own]), losses[own]
            at = math.log(flops / (6.0 * size))
            if x[0] <= at <= x[-1]:
                points.append((float(size), _between(x, y, at)))
        if len(points) < 3:
            return points, math.nan
        logs = np.log([size for size, _ in points])
        a, b, _ = np.polyfit(logs - logs.mean(), [loss for _, loss in points], 2)
        bottom = float(logs.mean() - b / (2 * a)) if a > 0 else math.inf
        inside = logs[0] <= bottom <= logs[-1]
        return points, math.exp(bottom) if inside else math.nan


def _between(x: np.ndarray, y: np.ndarray, at: float) -> float:
    """The value of the parabola through the three points that are nearest; a line through two."""
    near = np.sort(np.argsort(np.abs(x - at), kind="stable")[:3])
    return float(np.polyval(np.polyfit(x[near] - at, y[near], len(near) - 1), 0.0))


def isoflop(
    parameters: Sequence[float], tokens: Sequence[float], losses: Sequence[float], flops: float
) -> tuple[list[tuple[float, float]], float | None]:
    """The losses of each size at C = 6·N·D, and the N at the bottom of a parabola through them.

    A size's loss at a D between those that were measured is interpolated, in the logarithm of D,
    by a parabola through the means at the three nearest; sizes without one on each side are left
    out. The parabola in log N needs three sizes, a bottom, and that within them; None otherwise.
    """
    means = _Means(parameters, tokens, losses)
    points, bottom = means.curve(means.mean(), flops)
    return points, None if math.isnan(bottom) else bottom


def equal_compute(
    parameters: Sequence[float], tokens: Sequence[float], losses: Sequence[float],
    budgets: Sequence[float], resamples: int = 200, seed: int = 0,
) -> EqualCompute:  # fmt: skip
    """`isoflop` for several C, and a line through the bottoms.

    parameters, tokens, losses: one entry for each run; intervals need several runs at some point
    """
    means = _Means(parameters, tokens, losses)
    rng = np.random.default_rng(seed)
    if max(len(runs) for runs in means.runs) < 2:
        resamples = 0
    drawn = [means.drawn(rng) for _ in range(resamples)]
    every = np.array([[means.curve(losses, c)[1] for c in budgets] for losses in drawn])  # (R, C)
    mean, curves = means.mean(), []
    for k, flops in enumerate(budgets):
        points, bottom = means.curve(mean, flops)
        best = None if math.isnan(bottom) else bottom
        own = None if best is None or not resamples else _interval(every[:, k])
        curves.append(Curve(float(flops), points, best, own))
    bottoms = np.array([math.nan if curve.best is None else curve.best for curve in curves])
    power = _power(budgets, bottoms)
    powers = np.array([_power(budgets, row) for row in every])
    if math.isnan(power):
        return EqualCompute(curves, None, None)
    return EqualCompute(curves, power, _interval(powers) if resamples else None)


def _power(budgets: Sequence[float], bottoms: np.ndarray) -> float:
    """a in log N = a·log C + b, by least squares; NaN for less than 3 bottoms."""
    known = np.isfinite(bottoms)
    if known.sum() < 3:
        return math.nan
    return float(np.polyfit(np.log(np.asarray(budgets)[known]), np.log(bottoms[known]), 1)[0])


def _interval(values: np.ndarray) -> Interval | None:
    known = values[np.isfinite(values)]
    return interval_of(known) if len(known) >= (1.0 - _MOST_WITHOUT) * len(values) else None
