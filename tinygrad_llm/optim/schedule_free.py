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

    at step t, with γ = lr·min(1, t / warmup_steps). The step has the weight tʳ·(max γ)^p, with
    p = `weight_lr_power` and the largest γ so far, and c is its share in the sum of all weights so
    far (1/t for a constant rate and r = 0). The gradient is taken at y, and x, the average of all
    z, is the result: no schedule has to know the last step. z and x start at the parameters, β is
    `momentum`.
    While it trains the parameters are y. `eval()` puts x there, for validation and for use, and
    `train()` puts back y, the same bits. maximize climbs instead of descending.
    Source: Defazio et al. 2024 (arXiv 2405.15682), equations 3 to 5 and 23; schedulefree 1.4.1.
    Raises: ValueError if a hyperparameter is out of range; RuntimeError for a step after eval().
    """

    scalars = ("step", "weight_sum", "lr_max")

    def __init__(
        self, params: Params, lr: float = 1.0, momentum: float = 0.9, weight_decay: float = 0.0,
        warmup_steps: int = 0, *, r: float = 0.0, weight_lr_power: float = 2.0,
        maximize: bool = False,
    ) -> None:  # fmt: skip
        check_range("learning rate", lr)
        check_range("momentum value", momentum, below=1.0)
        if momentum == 0:
            raise ValueError("Invalid momentum value: 0: Schedule-Free needs more than 0")
        check_range("weight_decay value", weight_decay)
        check_range("warmup_steps value", warmup_steps)
        check_range("r value", r)
        check_range("weight_lr_power value", weight_lr_power)
        super().__init__(params, {
            "lr": lr, "momentum": momentum, "weight_decay": weight_decay,
            "warmup_steps": warmup_steps, "r": r, "weight_lr_power": weight_lr_power,
            "maximize": maximize,
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

    def rate_and_share(
        self, state: dict[str, Any], group: dict[str, Any], t: float
    ) -> tuple[float, float]:
        """(γ, c) of step t: the rate, and the share of the new z in the average."""
        warmup = group["warmup_steps"]
        rate = number(group["lr"]) * (min(1.0, t / warmup) if warmup else 1.0)
        for name in ("weight_sum", "lr_max"):
            if name not in state:
                state[name] = wrap(np.zeros((), np.float64))
        most = max(rate, float(state["lr_max"].array))
        state["lr_max"].array[...] = most
        # Groups of older checkpoints have neither r nor weight_lr_power
        weight = t ** group.get("r", 0.0) * most ** group.get("weight_lr_power", 2.0)
        state["weight_sum"].array += weight
        total = float(state["weight_sum"].array)
        return rate, weight / total if total else 0.0

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
        decay, beta = group["weight_decay"], self.beta(group)
        rate, c = self.rate_and_share(state, group, self.begin(p, state, group))

        def change(g: Any, y: Any, z: Any) -> None:
            g = full_gradient(g, y, group["maximize"], decay)
            y += (z - y) * c
            y -= g * (rate * (1 - beta * (1 - c)))
            z -= g * rate

        in_blocks(change, g, p, state["z"].array)


class AdamWScheduleFree(SGDScheduleFree):
    """v ← β₂·v + (1 − β₂)·g²,   u = g / (√(v / (1 − β₂ᵗ)) + eps),
    z ← z − γ·(u + weight_decay·y),   x ← (1 − c)·x + c·z

    at step t, with y = (1 − β₁)·z + β₁·x. γ, c, r, weight_lr_power, x, y, `train()` and `eval()`
    as in SGDScheduleFree. The paper's algorithm 1 has √(1 − β₂ᵗ) in γ instead, where it also makes
    the weights c and the weight decay of the first steps small; the authors' package corrects v, as
    Adam does, and so does this class.
    Source: Defazio et al. 2024 (arXiv 2405.15682), algorithm 1; schedulefree 1.4.1.
    Raises: ValueError if a hyperparameter is out of range; RuntimeError for a step after eval().
    """

    def __init__(
        self, params: Params, lr: float = 2.5e-3, betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8, weight_decay: float = 0.0, warmup_steps: int = 0, *,
        r: float = 0.0, weight_lr_power: float = 2.0, maximize: bool = False,
    ) -> None:  # fmt: skip
        check_range("epsilon value", eps)
        check_range("beta parameter at index 0", betas[0], below=1.0)
        check_range("beta parameter at index 1", betas[1], below=1.0)
        if betas[0] == 0:
            raise ValueError("Invalid beta parameter at index 0: 0: Schedule-Free needs more")
        check_range("learning rate", lr)
        check_range("weight_decay value", weight_decay)
        check_range("warmup_steps value", warmup_steps)
        check_range("r value", r)
        check_range("weight_lr_power value", weight_lr_power)
        Optimizer.__init__(self, params, {
            "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay,
            "warmup_steps": warmup_steps, "r": r, "weight_lr_power": weight_lr_power,
            "maximize": maximize,
        })  # fmt: skip

    def beta(self, group: dict[str, Any]) -> float:
        """The share of x in y."""
        return float(group["betas"][0])

    def update(self, p: Any, g: Any, state: dict[str, Any], group: dict[str, Any]) -> None:
        decay, eps = group["weight_decay"], group["eps"]
        beta1, beta2 = group["betas"]
        t = self.begin(p, state, group)
        if "exp_avg_sq" not in state:
            state["exp_avg_sq"] = zeros_like(p)
        rate, c = self.rate_and_share(state, group, t)
        unbiased = 1 / (1 - beta2**t)
        xp = xp_of(p)

        def change(g: Any, y: Any, z: Any, v: Any) -> None:
            g = full_gradient(g, y, group["maximize"], 0)
            v *= beta2
            v += g * g * (1 - beta2)
            u = g / (xp.sqrt(v * unbiased) + eps)
            if decay != 0:
                u += y * decay
            y += (z - y) * c
            y -= u * (rate * (1 - beta1 * (1 - c)))
            z -= u * rate

        in_blocks(change, g, p, state["z"].array, state["exp_avg_sq"].array)
