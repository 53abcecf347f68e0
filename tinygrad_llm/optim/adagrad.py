"""Adagrad: a step divided by the root of the sum of all squared gradients so far."""

from __future__ import annotations

from typing import Any

from ..arrays.devices import xp_of
from ..arrays.twins import cpu_twins
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
    step_count,
    zeros_like,
)

__all__ = ["Adagrad"]


class Adagrad(Optimizer):
    """s ← s + g²,   p ← p − lr / (1 + (t − 1)·lr_decay) · g / (√s + eps)  at step t.

    (Duchi, Hazan and Singer, 2011.) weight_decay adds weight_decay·p to the gradient. s starts at
    initial_accumulator_value.
    Raises: ValueError if a hyperparameter is negative.
    """

    def __init__(
        self, params: Params, lr: float = 1e-2, lr_decay: float = 0, weight_decay: float = 0,
        initial_accumulator_value: float = 0, eps: float = 1e-10, foreach: bool | None = None, *,
        maximize: bool = False, differentiable: bool = False, fused: bool | None = None,
    ) -> None:  # fmt: skip
        check_range("learning rate", lr)
        check_range("lr_decay value", lr_decay)
        check_range("weight_decay value", weight_decay)
        check_range("initial_accumulator_value value", initial_accumulator_value)
        check_range("epsilon value", eps)
        super().__init__(params, {
            "lr": lr, "lr_decay": lr_decay, "eps": eps, "weight_decay": weight_decay,
            "initial_accumulator_value": initial_accumulator_value, "foreach": foreach,
            "maximize": maximize, "differentiable": differentiable, "fused": fused,
        })  # fmt: skip

    def update(self, p: Any, g: Any, state: dict[str, Any], group: dict[str, Any]) -> None:
        t = step_count(state)
        if "sum" not in state:
            state["sum"] = zeros_like(p)
            state["sum"].array[...] = group["initial_accumulator_value"]
        eps, decay = group["eps"], group["weight_decay"]
        rate = number(group["lr"]) / (1 + (t - 1) * group["lr_decay"])
        total = state["sum"].array
        loops = cpu_twins(p)
        if loops is not None and loops.adagrad and loops.takes_update(p, g, total):  # type: ignore
            loops.adagrad(p, g, total, -1 if group["maximize"] else 1, decay, eps, rate)
            return
        xp = xp_of(p)

        def change(g: Any, p: Any, total: Any) -> None:
            g = full_gradient(g, p, group["maximize"], decay)
            total += g * g
            p += g * -rate / (xp.sqrt(total) + eps)

        def rounded(g: Tensor, p: Tensor, total: Tensor) -> None:
            g = full_gradient(g, p, group["maximize"], decay)
            total.addcmul_(g, g)
            p.addcdiv_(g, total.sqrt().add_(eps), value=-rate)

        if rounds(p):
            in_tensors(rounded, g, p, total)
        else:
            in_blocks(change, g, p, total)
