"""Advantages: how much better than expected each answer, or each of its tokens, was.

    rewards 1, 1, 0, 0 of one question: their mean is 0.5, the sample standard deviation 0.5774
    grpo:  (r − mean)/(std + 1e-4) = ±0.8659        rloo: r − the mean of the others = ±0.6667

Without a model of the value, the other answers to the same question say what was to be expected.
Shapes: P questions, G answers to each, N = P·G answers in their order, T tokens, K rewards.
"""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["ADVANTAGES", "EPSILON", "gae", "group_advantages", "whitened"]

EPSILON = 1e-4  # beside a standard deviation, so that equal rewards have the advantage 0
ADVANTAGES = ("grpo", "dr_grpo", "rloo", "reinforce", "gdpo")


def group_advantages(
    rewards: Any, group_size: int, kind: str = "grpo", weights: Any = None
) -> np.ndarray:
    """The advantage of each answer, (N) float64.

    rewards: (N), or (N, K) of K kinds, which are added with `weights` (K), by default 1 each
    kind: "grpo": (r − mean)/(std + ε) of its group, with the sample standard deviation
        "dr_grpo": r − mean of its group; a question that nearly all answers solve counts no more
        "rloo": r − the mean of the other answers of its group (leave one out)
        "reinforce": r − the mean of all answers
        "gdpo": each kind of reward is normalised in its group by itself and then added, and the
            sums are normalised over all answers: a rare reward is not hidden by a frequent one
    Raises: ValueError for rewards that are not groups of this size, are not finite, or a kind that
    is not known.
    Sources: Shao et al. (2024), section 4.1; Liu et al. (2025), "Dr. GRPO"; Ahmadian et al. (2024),
    equation 8; Liu et al. (2026), "GDPO".
    """
    table = np.asarray(rewards, np.float64)
    table = table[:, None] if table.ndim == 1 else table  # (N) -> (N, K)
    if table.ndim != 2 or group_size < 1 or not len(table) or len(table) % group_size:
        raise ValueError(
            f"rewards of groups of {group_size} answers are (P·{group_size}) or "
            f"(P·{group_size}, K), got {np.shape(rewards)}"
        )
    if not np.isfinite(table).all():
        raise ValueError("a reward is NaN or infinite: look at the function that computed it")
    if kind not in ADVANTAGES:
        raise ValueError(f"kind must be one of {', '.join(ADVANTAGES)}, got {kind!r}")
    if kind in ("grpo", "rloo", "gdpo") and group_size < 2:
        raise ValueError(f"{kind} compares answers to one question: take at least 2, got 1")
    w = np.ones(table.shape[1]) if weights is None else np.asarray(weights, np.float64)  # (K)
    if kind == "gdpo":
        kinds = table.reshape(-1, group_size, table.shape[1])  # (P, G, K)
        total = (_normalised(kinds, 1) @ w).reshape(-1)  # (P, G, K) @ (K) -> (N)
        return _normalised(total, 0) if len(total) > 1 else total * 0.0
    total = table @ w  # (N, K) @ (K) -> (N)
    if kind == "reinforce":
        return total - total.mean()
    groups = total.reshape(-1, group_size)  # (P, G)
    if kind == "rloo":
        others = (groups.sum(1, keepdims=True) - groups) / (group_size - 1)
        return (groups - others).reshape(-1)  # (P, G) -> (N)
    if kind == "grpo":
        return _normalised(groups, 1).reshape(-1)
    return (groups - groups.mean(1, keepdims=True)).reshape(-1)


def _normalised(x: np.ndarray, axis: int) -> np.ndarray:
    """(x − mean)/(sample standard deviation + ε) along an axis."""
    std = x.std(axis, ddof=1, keepdims=True)
    return (x - x.mean(axis, keepdims=True)) / (std + EPSILON)


def gae(
    rewards: np.ndarray, values: np.ndarray, mask: np.ndarray, gamma: float = 1.0,
    lam: float = 0.95,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """(advantages, returns) of PPO, (B, T) each: generalised advantage estimation.

        δₜ = rₜ + γ·Vₜ₊₁ − Vₜ        Aₜ = δₜ + γ·λ·Aₜ₊₁        Rₜ = Aₜ + Vₜ

    rewards, values, mask: (B, T); of an answer that has ended both are 0 from there on. gamma: γ,
    what a reward one token later is worth; lam: λ, 0 trusts the values, 1 the rewards that came
    Where the mask is False both results are 0.
    Raises: ValueError for shapes that differ, or γ, λ outside [0, 1].
    Source: Schulman et al. (2015), "High-dimensional continuous control using GAE", equation 16.
    """
    if not (rewards.shape == values.shape == mask.shape and rewards.ndim == 2):
        raise ValueError(
            f"gae needs rewards, values and mask (B, T), got {rewards.shape}, {values.shape} and "
            f"{mask.shape}"
        )
    if not (0.0 <= gamma <= 1.0 and 0.0 <= lam <= 1.0):
        raise ValueError(f"gamma and lam must be between 0 and 1, got {gamma} and {lam}")
    B, T = rewards.shape
    advantages = np.zeros((B, T), np.float64)
    after, next_value = np.zeros(B), np.zeros(B)  # of the token that follows
    for t in reversed(range(T)):
        counts = mask[:, t]
        delta = rewards[:, t] + gamma * next_value - values[:, t]  # (B)
        here = np.where(counts, delta + gamma * lam * after, 0.0)
        advantages[:, t] = here
        after = np.where(counts, here, after)
        next_value = np.where(counts, values[:, t], next_value)
    return advantages, np.where(mask, advantages + values, 0.0)


def whitened(x: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """x (B, T) with the mean 0 and the standard deviation 1 over the tokens that count.

    One token alone, or equal numbers, become 0; so does what does not count. The sample standard
    deviation, as in trl's masked_whiten.
    """
    values = x[mask]
    std = values.std(ddof=1) if len(values) > 1 else 0.0
    return np.where(mask, (x - values.mean()) / (std + EPSILON), 0.0)
