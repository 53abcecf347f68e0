"""RMSprop: a step divided by the root of the running mean square of the gradient."""

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

__all__ = ["RMSprop"]


class RMSprop(Optimizer):
    """v ← α·v + (1 − α)·g²,   p ← p − lr·g / (√v + eps)  (Hinton, lecture 6e, 2012).

    centered uses the variance in place of the mean square; momentum keeps b ← momentum·b + g / √v
    and steps by lr·b. weight_decay adds weight_decay·p to the gradient.
    Raises: ValueError if a hyperparameter is negative.
    """

    def __init__(
        self, params: Params, lr: float = 1e-2, alpha: float = 0.99, eps: float = 1e-8,
        weight_decay: float = 0, momentum: float = 0, centered: bool = False,
        capturable: bool = False, foreach: bool | None = None, maximize: bool = False,
        differentiable: bool = False,
    ) -> None:  # fmt: skip
        check_range("learning rate", lr)
        check_range("epsilon value", eps)
        check_range("momentum value", momentum)
        check_range("weight_decay value", weight_decay)
        check_range("alpha value", alpha)
        super().__init__(params, {
            "lr": lr, "momentum": momentum, "alpha": alpha, "eps": eps, "centered": centered,
            "weight_decay": weight_decay, "capturable": capturable, "foreach": foreach,
            "maximize": maximize, "differentiable": differentiable,
        })  # fmt: skip

    def update(self, p: Any, g: Any, state: dict[str, Any], group: dict[str, Any]) -> None:
        lr, alpha, eps = number(group["lr"]), group["alpha"], group["eps"]
        decay, momentum, centered = group["weight_decay"], group["momentum"], group["centered"]
        step_count(state)
        names = ["square_avg"]
        names += ["momentum_buffer"] if momentum > 0 else []
        names += ["grad_avg"] if centered else []
        for name in names:
            if name not in state:
                state[name] = zeros_like(p)
        kept = {n: state[n].array for n in names}
        loops = cpu_twins(p)
        if loops is not None and loops.rmsprop and loops.takes_update(p, g, *kept.values()):  # type: ignore
            loops.rmsprop(
                p, g, kept["square_avg"], kept.get("momentum_buffer"), kept.get("grad_avg"),
                -1 if group["maximize"] else 1, decay, alpha, momentum, eps, lr,
            )  # fmt: skip
            return
        xp = xp_of(p)

        def change(g: Any, p: Any, *arrays: Any) -> None:
            averages = dict(zip(names, arrays, strict=True))
            v = averages["square_avg"]
            g = full_gradient(g, p, group["maximize"], decay)
            v *= alpha
            v += g * (1 - alpha) * g
            scale = v
            if centered:
                mean = averages["grad_avg"]
                mean += (g - mean) * (1 - alpha)
                scale = v - mean * mean
            scale = xp.sqrt(scale)
            scale += eps
            if momentum > 0:
                buffer = averages["momentum_buffer"]
                buffer *= momentum
                buffer += g / scale
                p += buffer * -lr
            else:
                p += g * -lr / scale

        def rounded(g: Tensor, p: Tensor, *tensors: Tensor) -> None:
            averages = dict(zip(names, tensors, strict=True))
            g = full_gradient(g, p, group["maximize"], decay)
            v = averages["square_avg"].mul_(alpha).addcmul_(g, g, value=1 - alpha)
            if centered:
                mean = averages["grad_avg"].lerp_(g, 1 - alpha)
                v = v.addcmul(mean, mean, value=-1)
            scale = v.sqrt().add_(eps)
            if momentum > 0:
                buffer = averages["momentum_buffer"].mul_(momentum).addcdiv_(g, scale)
                p.add_(buffer, alpha=-lr)
            else:
                p.addcdiv_(g, scale, value=-lr)

        if rounds(p):
            in_tensors(rounded, g, p, *kept.values())
        else:
            in_blocks(change, g, p, *kept.values())
