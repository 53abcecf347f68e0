"""Scaling laws fitted to measured losses, and how sure their constants are.

    fit = fit_law(parameters, tokens, losses)
    fit.law.alpha, fit.intervals["alpha"]         # 0.34, (0.31, 0.38)

As Hoffmann et al. (2022, section 3.3) did: the Huber loss (delta 0.001) of the logarithm's error,
from many starts, with BFGS. Intervals are those of fits to resampled points (Besiroglu et al.,
2024, "Chinchilla Scaling: A replication attempt").
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product
from typing import NamedTuple

import numpy as np

from .laws import Law
from .minimise import minimise

__all__ = ["Fit", "PowerFit", "checked", "fit_law", "fit_power", "huber", "interval_of"]

DELTA = 1e-3
_LEAST = 6  # different points from which intervals are computed

Interval = tuple[float, float]


class Fit(NamedTuple):
    """A law, 95 % intervals of its constants by name, and of `a` in N_best ~ C^a; error: the root
    mean square of log L's errors. intervals is empty where there are fewer than 6 different points.
    """

    law: Law
    intervals: dict[str, Interval]
    error: float
    laws: tuple[Law, ...] = ()  # of the resampled points

    @property
    def power(self) -> float:
        """a in N_best ~ C^a: β/(α + β)."""
        return self.law.beta / (self.law.alpha + self.law.beta)


class PowerFit(NamedTuple):
    """L(x) = E + A/x^alpha, with 95 % intervals by name."""

    E: float
    A: float
    alpha: float
    intervals: dict[str, Interval]
    error: float

    def loss(self, x: float) -> float:
        """The loss at x."""
        return float(self.E + self.A / x**self.alpha)


def huber(r: np.ndarray, delta: float = DELTA) -> tuple[np.ndarray, np.ndarray]:
    """(ρ(r), ρ'(r)): r²/2 within delta, beyond it delta·(|r| − delta/2)."""
    size = np.abs(r)
    inside = size <= delta
    value = np.where(inside, 0.5 * r * r, delta * (size - 0.5 * delta))
    return value, np.clip(r, -delta, delta)


class _Problem:
    """Σ weight·ρ(log L̂ − log L), L̂ = Σ_k exp(c_k − e^{s_k}·log x_k) + exp(c_E).

    x: shape (K, n), one row for each term; losses: shape (n); weights: shape (S, n), or None for
    ones. The parameters are (c_1, s_1, ..., c_K, s_K, c_E): the powers are e^s and stay positive.
    """

    def __init__(self, x: np.ndarray, losses: np.ndarray, weights: np.ndarray | None) -> None:
        self.log_x, self.target = np.log(x), np.log(losses)
        self.weights = np.ones((1, len(losses))) if weights is None else weights

    def __call__(self, theta: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        weights = self.weights[rows] if len(self.weights) > 1 else self.weights
        with np.errstate(all="ignore"):  # a step that goes too far is refused, not used
            power = np.exp(theta[:, 1:-1:2])  # (S, K)
            terms = theta[:, 0:-1:2, None] - power[:, :, None] * self.log_x  # (S, K, n)
            last = np.broadcast_to(theta[:, -1:, None], (len(theta), 1, len(self.target)))
            every = np.concatenate([terms, last], axis=1)  # (S, K + 1, n)
            top = every.max(axis=1, keepdims=True)
            share = np.exp(every - top)
            total = share.sum(axis=1, keepdims=True)  # (S, 1, n)
            share /= total
            residual = (np.log(total) + top)[:, 0] - self.target  # (S, n)
            value, derivative = huber(residual)
            derivative = derivative * weights
            gradient = np.empty_like(theta)
            weighted = share * derivative[:, None, :]  # (S, K + 1, n)
            gradient[:, 0:-1:2] = weighted[:, :-1].sum(2)
            gradient[:, 1:-1:2] = -(weighted[:, :-1] * self.log_x * power[:, :, None]).sum(2)
            gradient[:, -1] = weighted[:, -1].sum(1)
            value = (value * weights).sum(1)
        value = np.where(np.isfinite(value), value, np.inf)
        return value, np.nan_to_num(gradient, nan=0.0, posinf=0.0, neginf=0.0)


def _fit(
    x: np.ndarray, losses: np.ndarray, resamples: int, seed: int
) -> tuple[np.ndarray, np.ndarray, float]:
    """(the best parameters (P), those of resampled points (R, P), the error of log L)."""
    logs = np.log(x)
    starts = _starts(logs, float(losses.min()))
    ends, values_ = minimise(_Problem(x, losses, None), starts)
    order = np.argsort(values_)
    best = ends[order[0]]
    predicted = _predicted(best, logs)
    error = float(np.sqrt(np.mean((predicted - np.log(losses)) ** 2)))
    different, cell = np.unique(x, axis=1, return_inverse=True)  # (sizes, m), (n)
    m = different.shape[1]
    if m < _LEAST or not resamples:
        return best, np.empty((0, len(best))), error
    draw = np.random.default_rng(seed)
    # All runs of one x (the seeds of a size and its tokens) are drawn together: what the law misses
    # there, it misses in all of them, so more seeds must not make an interval narrower
    counts = draw.multinomial(m, np.full(m, 1.0 / m), size=resamples).astype(np.float64)
    counts = counts[:, cell]  # (R, m) -> (R, n)
    few = np.stack([ends[order[0]], starts[order[0]]])  # where the best one ended, and began
    everyone = np.tile(few, (resamples, 1))  # (R·2, P)
    weights = np.repeat(counts, len(few), axis=0)  # (R·2, n)
    others, values_ = minimise(_Problem(x, losses, weights), everyone)
    chosen = values_.reshape(resamples, len(few)).argmin(1)
    others = others.reshape(resamples, len(few), -1)  # (R, 2, P)
    return best, others[np.arange(resamples), chosen], error


def _starts(logs: np.ndarray, least: float) -> np.ndarray:
    """Starts from everywhere: each term is a share of the least loss in the middle of its x."""
    starts = []
    choices = [(0.1, 0.4, 1.0), (-1.6, -0.8)] * len(logs)
    for *values, last in product(*choices, (0.3, 0.8)):
        theta = list(values)
        for k, row in enumerate(logs):
            share, power = values[2 * k], math.exp(values[2 * k + 1])
            theta[2 * k] = math.log(share * least) + power * float(row.mean())
        starts.append([*theta, math.log(last * least)])
    return np.array(starts)


def _predicted(theta: np.ndarray, logs: np.ndarray) -> np.ndarray:
    terms = theta[0:-1:2, None] - np.exp(theta[1:-1:2, None]) * logs
    return np.log(np.exp(terms).sum(0) + math.exp(theta[-1]))


def checked(*rows: Sequence[float]) -> list[np.ndarray]:
    """The rows as arrays of float64.

    Raises: ValueError if they have other lengths, or a number is not finite and above 0.
    """
    arrays = [np.asarray(row, np.float64) for row in rows]
    if len({len(array) for array in arrays}) > 1:
        raise ValueError(f"expected as many of each, got {[len(array) for array in arrays]}")
    for array in arrays:
        if not np.isfinite(array).all() or not (array > 0).all():
            raise ValueError("sizes, tokens and losses must be finite and above 0")
    return arrays


def interval_of(values: np.ndarray) -> Interval:
    """The middle 95 % of some values."""
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)


def fit_law(
    parameters: Sequence[float], tokens: Sequence[float], losses: Sequence[float],
    resamples: int = 200, seed: int = 0,
) -> Fit:  # fmt: skip
    """L(N, D) = E + A/N^alpha + B/D^beta for measured losses.

    parameters, tokens, losses: one entry for each run; resamples: fits of points drawn with
    repetition, for the intervals. The runs of one size and one number of tokens are drawn together.
    Raises: ValueError for numbers that are not positive, and unless there are at least 5 runs,
    3 sizes and 3 numbers of tokens.
    """
    N, D, L = checked(parameters, tokens, losses)
    if len(L) < 5 or len(set(N)) < 3 or len(set(D)) < 3:
        raise ValueError(
            f"five constants need 5 runs, 3 sizes and 3 numbers of tokens at least, got {len(L)}, "
            f"{len(set(N))} and {len(set(D))}"
        )
    best, others, error = _fit(np.stack([N, D]), L, resamples, seed)
    laws = tuple(_law(theta) for theta in others)
    intervals = {name: interval_of(np.array([getattr(law, name) for law in laws]))
                 for name in Law._fields if laws}  # fmt: skip
    if laws:
        intervals["power"] = interval_of(
            np.array([law.beta / (law.alpha + law.beta) for law in laws])
        )
    return Fit(_law(best), intervals, error, laws)


def _law(theta: np.ndarray) -> Law:
    a, log_alpha, b, log_beta, e = (float(value) for value in np.clip(theta, -700, 700))
    return Law(math.exp(e), math.exp(a), math.exp(b), math.exp(log_alpha), math.exp(log_beta))


def fit_power(
    x: Sequence[float], losses: Sequence[float], resamples: int = 200, seed: int = 0
) -> PowerFit:
    """L(x) = E + A/x^alpha for measured losses, where x is a size, or a number of tokens.

    Raises: ValueError for numbers that are not positive, and unless there are 3 different x.
    """
    X, L = checked(x, losses)
    if len(set(X)) < 3:
        raise ValueError(f"three constants need 3 different x, got {len(set(X))}")
    best, others, error = _fit(X[None], L, resamples, seed)
    rows = np.exp(np.clip(others, -700, 700))  # (R, 3): A, alpha, E
    names = ("A", "alpha", "E")
    intervals = {name: interval_of(rows[:, i]) for i, name in enumerate(names) if len(rows)}
    A, alpha, E = (math.exp(value) for value in np.clip(best, -700, 700))
    return PowerFit(E, A, alpha, intervals, error)
