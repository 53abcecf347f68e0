"""Stochastic gradient descent, with momentum."""

from __future__ import annotations

from typing import Any

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
    zeros_like,
)

__all__ = ["SGD"]


class SGD(Optimizer):
    """p ← p − lr·g, or with momentum m:  b ← m·b + (1 − dampening)·g,  p ← p − lr·b.

    weight_decay adds weight_decay·p to the gradient. nesterov steps by g + m·b instead of b
    (Sutskever et al., 2013). maximize climbs instead of descending. The first b is g itself.
    foreach, differentiable and fused are PyTorch's and make no difference here.
    Raises: ValueError if a hyperparameter is negative, or nesterov is used without momentum.
    """

    def __init__(
        self, params: Params, lr: float = 1e-3, momentum: float = 0, dampening: float = 0,
        weight_decay: float = 0, nesterov: bool = False, *, maximize: bool = False,
        foreach: bool | None = None, differentiable: bool = False, fused: bool | None = None,
    ) -> None:  # fmt: skip
        check_range("learning rate", lr)
        check_range("momentum value", momentum)
        check_range("weight_decay value", weight_decay)
        if nesterov and (momentum <= 0 or dampening != 0):
            raise ValueError("Nesterov momentum requires a momentum and zero dampening")
        super().__init__(params, {
            "lr": lr, "momentum": momentum, "dampening": dampening, "weight_decay": weight_decay,
            "nesterov": nesterov, "maximize": maximize, "foreach": foreach,
            "differentiable": differentiable, "fused": fused,
        })  # fmt: skip

    def update(self, p: Any, g: Any, state: dict[str, Any], group: dict[str, Any]) -> None:
        lr, decay = number(group["lr"]), group["weight_decay"]
        momentum, dampening = group["momentum"], group["dampening"]
        first = momentum != 0 and state.get("momentum_buffer") is None
        if first:
            state["momentum_buffer"] = zeros_like(p)
        kept = [state["momentum_buffer"].array] if momentum != 0 else []
        loops = cpu_twins(p)
        if loops is not None and loops.sgd and loops.takes_update(p, g, *kept):  # type: ignore
            loops.sgd(
                p, g, kept[0] if kept else None, -1 if group["maximize"] else 1, decay, momentum,
                1 if first else 1 - dampening, group["nesterov"], lr,
            )  # fmt: skip
            return

        def change(g: Any, p: Any, *b: Any) -> None:
            g = full_gradient(g, p, group["maximize"], decay)
            if momentum != 0:
                buffer = b[0]
                if first:
                    buffer[...] = g
                else:
                    buffer *= momentum
                    buffer += g * (1 - dampening)
                g = g + buffer * momentum if group["nesterov"] else buffer
            p += g * -lr

        def rounded(g: Tensor, p: Tensor, *b: Tensor) -> None:
            g = full_gradient(g, p, group["maximize"], decay)
            if momentum != 0:
                buffer = (
                    b[0].copy_(g) if first else b[0].mul_(momentum).add_(g, alpha=1 - dampening)
                )
                g = g.add(buffer, alpha=momentum) if group["nesterov"] else buffer
            p.add_(g, alpha=-lr)

        if rounds(p):
            in_tensors(rounded, g, p, *kept)
        else:
            in_blocks(change, g, p, *kept)
