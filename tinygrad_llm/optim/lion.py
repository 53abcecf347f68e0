"""Lion: steps of one size for every number, in the direction of a momentum's sign."""

from __future__ import annotations

from typing import Any

from ..arrays.devices import xp_of
from ..tensor import Tensor
from .optimizer import (
    Optimizer,
    Params,
    check_range,
    full_gradient,
    in_blocks,
    in_tensors,
    number,
    rounds,
    zeros_like,
)

__all__ = ["Lion"]


class Lion(Optimizer):
    """u = sign(β₁·m + (1 − β₁)·g),   p ← p − lr·(u + weight_decay·p),   m ← β₂·m + (1 − β₂)·g

    The step uses m before the gradient entered it with β₂. Every number moves by lr, so lr is 3 to
    10 times smaller than AdamW's and weight_decay as many times larger. One array of state, half of
    AdamW's. maximize climbs instead of descending.
    Source: Chen et al. 2023, "Symbolic Discovery of Optimization Algorithms", algorithm 2.
    Raises: ValueError if a hyperparameter is negative or a beta is outside [0, 1).
    """

    def __init__(
        self, params: Params, lr: float = 1e-4, betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.0, *, maximize: bool = False,
    ) -> None:  # fmt: skip
        check_range("learning rate", lr)
        check_range("beta parameter at index 0", betas[0], below=1.0)
        check_range("beta parameter at index 1", betas[1], below=1.0)
        check_range("weight_decay value", weight_decay)
        super().__init__(
            params, {"lr": lr, "betas": betas, "weight_decay": weight_decay, "maximize": maximize}
        )

    def update(self, p: Any, g: Any, state: dict[str, Any], group: dict[str, Any]) -> None:
        lr, decay = number(group["lr"]), group["weight_decay"]
        beta1, beta2 = group["betas"]
        if "exp_avg" not in state:
            state["exp_avg"] = zeros_like(p)
        xp = xp_of(p)

        def change(g: Any, p: Any, m: Any) -> None:
            g = full_gradient(g, p, group["maximize"], 0)
            u = xp.sign(m * beta1 + g * (1 - beta1))
            if decay != 0:
                p *= 1 - lr * decay
            p -= u * lr
            m *= beta2
            m += g * (1 - beta2)

        def rounded(g: Tensor, p: Tensor, m: Tensor) -> None:
            g = full_gradient(g, p, group["maximize"], 0)
            u = (m * beta1).add_(g, alpha=1 - beta1).sign_()
            if decay != 0:
                p.mul_(1 - lr * decay)
            p.add_(u, alpha=-lr)
            m.lerp_(g, 1 - beta2)

        if rounds(p):
            in_tensors(rounded, g, p, state["exp_avg"].array)
        else:
            in_blocks(change, g, p, state["exp_avg"].array)
