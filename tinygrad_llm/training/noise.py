"""The gradient noise scale: up to which batch size a larger batch saves steps.

A gradient of a batch of B targets is the true one, G, with noise: E|g_B|² = |G|² + tr(Σ)/B. Two
batch sizes give two such equations, and so estimates of both unknowns, neither of them biased:

    |G|² ≈ (B·|g_B|² − b·|g_b|²) / (B − b)        tr(Σ) ≈ (|g_b|² − |g_B|²) / (1/b − 1/B)

B is a step, b its first batch. Single estimates are very noisy, so both are averaged over steps,
and the ratio of the averages is the simple noise scale tr(Σ)/|G|², in targets. Far below it twice
the batch saves half of the steps, far above it nearly none. It grows while the loss falls.
Source: McCandlish et al. (2018), "An Empirical Model of Large-Batch Training", appendix A.1.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from ..files.untrusted import describe
from ..nn.utils import get_total_norm
from ..tensor import Tensor

__all__ = ["NoiseScale", "two_unknowns"]


def two_unknowns(small: float, big: float, b: float, B: float) -> tuple[float, float]:
    """(|G|², tr(Σ)) from squared norms: small of the gradient of b targets, big of B > b."""
    return (B * big - b * small) / (B - b), (small - big) / (1.0 / b - 1.0 / B)


class NoiseScale:
    """Averages of |G|² and tr(Σ) over the steps of a run; `decay` says how long a step counts."""

    def __init__(self, decay: float = 0.98) -> None:
        self.decay = decay
        self.steps, self.signal, self.noise = 0, 0.0, 0.0
        self._first: tuple[float, int] | None = None  # |g_b|² and b of the step

    def begin(self) -> None:
        """Before the first batch of a step."""
        self._first = None

    def batch(self, parameters: Iterable[Tensor], weight: float, targets: int) -> None:
        """After the backward pass of a batch: the gradients are `weight` times its own.

        targets: how many it has. Only the first batch of a step counts.
        """
        if self._first is None:
            gradients = [p.grad for p in parameters if p.grad is not None]
            norm = float(get_total_norm(gradients).item()) / weight
            self._first = norm * norm, targets

    def step(self, norm: float, targets: int) -> None:
        """After the last batch: the norm of the gradient of all targets of the step."""
        if self._first is None or not math.isfinite(norm) or targets <= self._first[1]:
            return
        small, b = self._first
        signal, noise = two_unknowns(small, norm * norm, b, targets)
        self.signal += (1.0 - self.decay) * (signal - self.signal)
        self.noise += (1.0 - self.decay) * (noise - self.noise)
        self.steps += 1

    @property
    def value(self) -> float | None:
        """tr(Σ)/|G|² in targets; None while the averages say nothing."""
        if not self.steps or self.signal <= 0.0 or self.noise <= 0.0:
            return None
        return self.noise / self.signal

    def state_dict(self) -> dict[str, Any]:
        """The averages, for a checkpoint."""
        return {"steps": self.steps, "signal": self.signal, "noise": self.noise}

    def load_state_dict(self, state: Any) -> None:
        """Continues from the averages of a checkpoint; None begins with none.

        Raises: ValueError for anything else.
        """
        if state is None:
            return
        if not isinstance(state, dict) or set(state) != set(self.state_dict()):
            raise ValueError(f"noise scale is {describe(state)}")
        if not all(type(n) in (int, float) and math.isfinite(n) for n in state.values()):
            raise ValueError(f"noise scale is {describe(state)}")
        self.steps, self.signal, self.noise = state["steps"], state["signal"], state["noise"]
