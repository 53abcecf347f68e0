"""Scaling laws in closed form: what training costs, and how loss falls with size and tokens.

    training_flops(400e6, 8e9)             # C = 6·N·D
    CHINCHILLA.loss(70e9, 1.4e12)          # 1.937
    CHINCHILLA.tokens_for(400e6)           # 14.47e9: at which 400 M parameters are optimal

N parameters, D tokens, C floating-point operations. Hoffmann et al. (2022), "Training
Compute-Optimal Large Language Models".
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

__all__ = [
    "CHINCHILLA",
    "CHINCHILLA_TABLE",
    "Law",
    "regression",
    "tokens_by_regression",
    "training_flops",
]


def training_flops(parameters: float, tokens: float) -> float:
    """C = 6·N·D: each weight costs a multiplication and an addition per token, and each of them
    once forward and twice backward. Attention's scores and lookups in tables are not in it.
    """
    return 6.0 * parameters * tokens


class Law(NamedTuple):
    """L(N, D) = E + A/N^alpha + B/D^beta, in nats per token."""

    E: float
    A: float
    B: float
    alpha: float
    beta: float

    def loss(self, parameters: float, tokens: float) -> float:
        """The loss of N parameters after D tokens."""
        return float(self.E + self.A / parameters**self.alpha + self.B / tokens**self.beta)

    def tokens_for(self, parameters: float) -> float:
        """The D for which N parameters are the best use of 6·N·D operations.

        At the best N the two terms' derivatives by log N, along a line of equal N·D, cancel:
        α·A/N^α = β·B/D^β.
        """
        log_d = math.log(self.beta * self.B / (self.alpha * self.A))
        log_d += self.alpha * math.log(parameters)
        return math.exp(log_d / self.beta)

    def best_parameters(self, flops: float) -> float:
        """The N with the least loss for C = 6·N·D operations: G·(C/6)^(β/(α + β)),
        G = (α·A/(β·B))^(1/(α + β)).
        """
        power = 1.0 / (self.alpha + self.beta)
        G = (self.alpha * self.A / (self.beta * self.B)) ** power
        return float(G * (flops / 6.0) ** (self.beta * power))

    def best_tokens(self, flops: float) -> float:
        """The D that belongs to `best_parameters`."""
        return flops / (6.0 * self.best_parameters(flops))

    def flops_for(self, parameters: float) -> float:
        """The C for which N parameters are best."""
        return training_flops(parameters, self.tokens_for(parameters))


CHINCHILLA = Law(E=1.69, A=406.4, B=410.7, alpha=0.34, beta=0.28)
# Optimal (parameters, tokens) as Hoffmann et al. estimated them by curves of equal compute (their
# second approach, table A3, as nanoGPT's scaling_laws.ipynb has it): no law is behind them, each is
# the bottom of a parabola.
CHINCHILLA_TABLE: tuple[tuple[float, float], ...] = (
    (400e6, 7.7e9), (1e9, 20.0e9), (10e9, 219.5e9), (67e9, 1.7e12), (175e9, 4.3e12),
    (280e9, 7.1e12), (520e9, 13.4e12), (1e12, 26.5e12), (10e12, 292.0e12),
)  # fmt: skip
_POWER, _INTERCEPT = 1.041, 0.9354


def regression(pairs: Iterable[tuple[float, float]]) -> tuple[float, float]:
    """(power, intercept) of log10 y by log10 x, least squares: y = 10^intercept·x^power."""
    x, y = np.log10(np.asarray(list(pairs), np.float64)).T
    power, intercept = np.polyfit(x, y, 1)
    return float(power), float(intercept)


def tokens_by_regression(
    parameters: float, power: float = _POWER, intercept: float = _INTERCEPT
) -> float:
    """Optimal tokens by a straight line in log10: 10^(power·log10 N + intercept).

    The defaults are the `regression` of CHINCHILLA_TABLE, rounded.
    """
    return float(10.0 ** (power * math.log10(parameters) + intercept))
