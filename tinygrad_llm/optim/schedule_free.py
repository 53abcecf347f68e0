"""Schedule-Free SGD and AdamW: an average of all iterates takes the place of a schedule."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..arrays.devices import use_gpu_of, xp_of
from ..autograd.inplace_versions import mark_modified
from ..tensor import wrap
from .optimizer import (
    Optimizer,
    Params,
    check_range,
    full_gradient,
    in_blocks,
    number,
    step_count,
    zeros_like,
)

__all__ = ["AdamWScheduleFree", "SGDScheduleFree"]


class SGDScheduleFree(Optimizer):
    """y = (1 − β)·z + β·x,   z ← z − γ·(g(y) + weight_decay·y),   x ← (1 − c)·x + c·z

    at step t, with γ = lr·min(1, t / warmup_steps) and c = γ² / Σγ² over all steps so far (1/t for
    a constant rate). The gradient is taken at y, and x, the average of all z, is the result: no
    schedule has to know the last step. z and x start at the parameters, β is `momentum`.
    While it trains the parameters are y. `eval()` puts x there, for validation and for use, and
    `train()` puts back y, the same bits. maximize climbs instead of descending.
    Source: Defazio et al. 2024 (arXiv 2405.15682), equations 3 to 5 and 23.
    Raises: ValueError if a hyperparameter is out of range; RuntimeError for a step after eval().
    """

    scalars = ("step", "weight_sum")

    def __init__(
        self, params: Params, lr: float = 1.0, momentum: float = 0.9, weight_decay: float = 0.0,
        warmup_steps: int = 0, *, maximize: bool = False,
    ) -> None:  # fmt: skip
        check_range("learning rate", lr)
        check_range("momentum value", momentum, below=1.0)
        if momentum == 0:
            raise ValueError("Invalid momentum value: 0: Schedule-Free needs more than 0")
        check_range("weight_decay value", weight_decay)
        check_range("warmup_steps value", warmup_steps)
        super().__init__(params, {
            "lr": lr, "momentum": momentum, "weight_decay": weight_decay,
            "warmup_steps": warmup_steps, "maximize": maximize,
        })  # fmt: skip

    def beta(self, group: dict[str, Any]) -> float:
        """The share of x in y."""
        return float(group["momentum"])

    def train(self) -> None:
        """Put y, at which gradients are taken, into the parameters; nothing if it is there."""
        for p in self._with_state():
            y = self.state[p].pop("y", None)
            if y is not None:
                use_gpu_of(p.array)
                p.array[...] = y.array
                mark_modified(p.array, f"{type(self).__name__}.train()")

    def eval(self) -> None:
        """Put x, the average, into the parameters; y is kept in the state until train()."""
        for group in self.param_groups:
            beta = self.beta(group)
            for p in group["params"]:
                state = self.state.get(p)
                if not state or "y" in state:
                    continue
                use_gpu_of(p.array)
                state["y"] = wrap(p.array.copy())
                z = state["z"].array
                xp = xp_of(p.array)
                p.array[...] = z + (p.array - z) * xp.asarray(1 / beta, z.dtype)
                mark_modified(p.array, f"{type(self).__name__}.eval()")

    def _with_state(self) -> list[Any]:
        return [p for group in self.param_groups for p in group["params"] if self.state.get(p)]

    def weight(self, state: dict[str, Any], rate: float) -> float:
        """c of this step: rate² over the sum of all squares so far."""
        if "weight_sum" not in state:
            state["weight_sum"] = wrap(np.zeros((), np.float64))
        state["weight_sum"].array += rate * rate
        total = float(state["weight_sum"].array)
        return rate * rate / total if total else 0.0

    def begin(self, p: Any, state: dict[str, Any], group: dict[str, Any]) -> float:
        """Count a step and make z; returns the count.

        Raises: RuntimeError if the parameters are the average, after eval().
        """
        if "y" in state:
            raise RuntimeError(
                f"{type(self).__name__}.step(): the parameters are the average that eval() put "
                "there: call optimizer.train() before the forward pass"
            )
        if "z" not in state:
            state["z"] = wrap(p.copy())
        return step_count(state)

    def update(self, p: Any, g: Any, state: dict[str, Any], group: dict[str, Any]) -> None:
        decay, beta, warmup = group["weight_decay"], self.beta(group), group["warmup_steps"]
        t = self.begin(p, state, group)
        rate = number(group["lr"]) * (min(1.0, t / warmup) if warmup else 1.0)
        c = self.weight(state, rate)

        def change(g: Any, y: Any, z: Any) -> None:
            g = full_gradient(g, y, group["maximize"], decay)
            y += (z - y) * c
            y -= g * (rate * (1 - beta * (1 - c)))
            z -= g * rate

        in_blocks(change, g, p, state["z"].array)


class AdamWScheduleFree(SGDScheduleFree):
    """v ← β₂·v + (1 − β₂)·g²,   z ← z − γ·(g / (√v + eps) + weight_decay·y),   x ← (1 − c)·x + c·z

    at step t, with y = (1 − β₁)·z + β₁·x, γ = lr·√(1 − β₂ᵗ)·min(1, t / warmup_steps) and
    c = γ² / Σγ². x, y, `train()` and `eval()` as in SGDScheduleFree.
    Source: Defazio et al. 2024 (arXiv 2405.15682), algorithm 1.
    Raises: ValueError if a hyperparameter is out of range; RuntimeError for a step after eval().
    """

    def __init__(
        self, params: Params, lr: float = 2.5e-3, betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8, weight_decay: float = 0.0, warmup_steps: int = 0, *,
        maximize: bool = False,
    ) -> None:  # fmt: skip
        check_range("epsilon value", eps)
        check_range("beta parameter at index 0", betas[0], below=1.0)
        check_range("beta parameter at index 1", betas[1], below=1.0)
        if betas[0] == 0:
            raise ValueError("Invalid beta parameter at index 0: 0: Schedule-Free needs more")
        check_range("learning rate", lr)
        check_range("weight_decay value", weight_decay)
        check_range("warmup_steps value", warmup_steps)
        Optimizer.__init__(self, params, {
            "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay,
            "warmup_steps": warmup_steps, "maximize": maximize,
        })  # fmt: skip

    def beta(self, group: dict[str, Any]) -> float:
        """The share of x in y."""
        return float(group["betas"][0])

    def update(self, p: Any, g: Any, state: dict[str, Any], group: dict[str, Any]) -> None:
        decay, warmup, eps = group["weight_decay"], group["warmup_steps"], group["eps"]
        beta1, beta2 = group["betas"]
        t = self.begin(p, state, group)
        if "exp_avg_sq" not in state:
            state["exp_avg_sq"] = zeros_like(p)
        rate = number(group["lr"]) * (1 - beta2**t) ** 0.5 * (min(1.0, t / warmup) if warmup else 1)
        c = self.weight(state, rate)
        xp = xp_of(p)

        def change(g: Any, y: Any, z: Any, v: Any) -> None:
            g = full_gradient(g, y, group["maximize"], 0)
            v *= beta2
            v += g * g * (1 - beta2)
            u = g / (xp.sqrt(v) + eps)
            if decay != 0:
                u += y * decay
            y += (z - y) * c
            y -= u * (rate * (1 - beta1 * (1 - c)))
            z -= u * rate

        in_blocks(change, g, p, state["z"].array, state["exp_avg_sq"].array)
