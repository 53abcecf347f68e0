"""Adam: a step scaled by running means of the gradient and of its square."""

from __future__ import annotations

from functools import partial
from typing import Any

from ..arrays.capture import capturing, refuse_in_capture
from ..arrays.devices import use_gpu, xp_of
from ..arrays.twins import cpu_twins, twins
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
    steps_done,
    zeros_like,
)

__all__ = ["Adam"]

_Pair = tuple[Tensor, tuple[Any, Any, Any, Any]]  # a parameter, and the arrays p, g, m, v


class Adam(Optimizer):
    """m ← β₁·m + (1 − β₁)·g,   v ← β₂·v + (1 − β₂)·g²,
    p ← p − lr·m̂ / (√v̂ + eps),   m̂ = m / (1 − β₁ᵗ),   v̂ = v / (1 − β₂ᵗ)

    at step t (Kingma and Ba, 2015). weight_decay adds weight_decay·p to the gradient, or, with
    decoupled_weight_decay (which is AdamW), first subtracts lr·weight_decay·p from p. amsgrad
    divides by the largest v̂ so far (Reddi et al., 2018). maximize climbs instead of descending.
    foreach, capturable, differentiable and fused are PyTorch's and make no difference here.
    Raises: ValueError if a hyperparameter is negative or a beta is outside [0, 1).
    """

    def __init__(
        self, params: Params, lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8, weight_decay: float = 0, amsgrad: bool = False, *,
        foreach: bool | None = None, maximize: bool = False, capturable: bool = False,
        differentiable: bool = False, fused: bool | None = None,
        decoupled_weight_decay: bool = False,
    ) -> None:  # fmt: skip
        check_range("learning rate", lr)
        check_range("epsilon value", eps)
        check_range("beta parameter at index 0", betas[0], below=1.0)
        check_range("beta parameter at index 1", betas[1], below=1.0)
        check_range("weight_decay value", weight_decay)
        super().__init__(params, {
            "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay,
            "amsgrad": amsgrad, "maximize": maximize, "foreach": foreach,
            "capturable": capturable, "differentiable": differentiable, "fused": fused,
            "decoupled_weight_decay": decoupled_weight_decay,
        })  # fmt: skip

    def start(self, p: Any, state: dict[str, Any], amsgrad: bool) -> None:
        """Make m, v and the largest v, all zeros, before the first step."""
        if "exp_avg" not in state:
            state["exp_avg"] = zeros_like(p)
            state["exp_avg_sq"] = zeros_like(p)
            if amsgrad:
                state["max_exp_avg_sq"] = zeros_like(p)

    def obstacle_to_capture(self) -> str | None:
        """What keeps a step from being captured in a CUDA graph, or None."""
        if any(group["amsgrad"] for group in self.param_groups):
            return f"{type(self).__name__} with amsgrad changes one parameter after another"
        return None

    def update_together(self, params: list[Tensor], group: dict[str, Any]) -> bool:
        """On a GPU, change all parameters with the same number of steps in one launch."""
        if twins.gpu is None or group["amsgrad"] or not all(p.is_cuda for p in params):
            return False
        for p in params:
            if capturing.graph is not None and "exp_avg" not in self.state[p]:
                refuse_in_capture(f"{type(self).__name__}'s first step, which makes its state,")
            self.start(p.array, self.state[p], False)
        by_parameter = [
            (p.array, p.grad.array, self.state[p]["exp_avg"].array,
             self.state[p]["exp_avg_sq"].array)
            for p in params if p.grad is not None
        ]  # fmt: skip
        if not all(twins.gpu.takes_adam(*arrays) for arrays in by_parameter):
            return False
        by_step: dict[tuple[float, int], list[_Pair]] = {}
        for p, arrays in zip(params, by_parameter, strict=True):
            key = steps_done(self.state[p]), arrays[0].data.device_id
            by_step.setdefault(key, []).append((p, arrays))
        for (_, gpu), pairs in by_step.items():
            use_gpu(gpu)
            twins.gpu.adam(
                [arrays for _, arrays in pairs], partial(self._next_step, group, pairs),
                group["betas"], group["eps"], group["weight_decay"],
                group["decoupled_weight_decay"], group["maximize"], self.gradient_norm,
            )  # fmt: skip
        return True

    def _next_step(self, group: dict[str, Any], pairs: list[_Pair]) -> tuple[float, float, float]:
        """Count a step of these parameters; returns (learning rate, 1 − β₁ᵗ, √(1 − β₂ᵗ))."""
        for p, (array, _, m, _) in pairs:
            mean = self.state[p].get("exp_avg")
            if p.array is not array or mean is None or mean.array is not m:
                raise RuntimeError(
                    f"{type(self).__name__}: the model's weights or the optimizer's state have "
                    "moved since the CUDA graph was captured: capture it again"
                )
        t = [step_count(self.state[p]) for p, _ in pairs][0]
        beta1, beta2 = group["betas"]
        return number(group["lr"]), 1 - beta1**t, (1 - beta2**t) ** 0.5

    def update(self, p: Any, g: Any, state: dict[str, Any], group: dict[str, Any]) -> None:
        lr, eps, decay = number(group["lr"]), group["eps"], group["weight_decay"]
        beta1, beta2 = group["betas"]
        amsgrad, decoupled = group["amsgrad"], group["decoupled_weight_decay"]
        t = step_count(state)
        self.start(p, state, amsgrad)
        correction1 = 1 - beta1**t
        correction2 = (1 - beta2**t) ** 0.5
        arrays = [state["exp_avg"].array, state["exp_avg_sq"].array]
        if amsgrad:
            arrays.append(state["max_exp_avg_sq"].array)
        loops = cpu_twins(p)
        if loops is not None and loops.adam and loops.takes_update(p, g, *arrays):  # type: ignore
            loops.adam(
                p, g, *(arrays if amsgrad else [*arrays, None]), 1 - lr * decay if decoupled else 1,
                -1 if group["maximize"] else 1, 0 if decoupled else decay, beta1, beta2,
                eps * correction2, lr * correction2 / correction1,
            )  # fmt: skip
            return
        xp = xp_of(p)

        def change(g: Any, p: Any, m: Any, v: Any, *largest: Any) -> None:
            if decoupled and decay != 0:
                p *= 1 - lr * decay
            g = full_gradient(g, p, group["maximize"], 0 if decoupled else decay)
            a = xp.subtract(g, m, out=xp.empty_like(m))
            a *= 1 - beta1
            m += a
            xp.multiply(g, 1 - beta2, out=a)
            a *= g
            v *= beta2
            v += a
            if amsgrad:
                v = xp.maximum(largest[0], v, out=largest[0])
            xp.sqrt(v, out=a)
            a += eps * correction2  # √v̂ + eps, both times √(1 − β₂ᵗ)
            xp.divide(m, a, out=a)
            a *= -lr * correction2 / correction1
            p += a

        def rounded(g: Tensor, p: Tensor, m: Tensor, v: Tensor, *largest: Tensor) -> None:
            if decoupled and decay != 0:
                p.mul_(1 - lr * decay)
            g = full_gradient(g, p, group["maximize"], 0 if decoupled else decay)
            m.lerp_(g, 1 - beta1)
            v.mul_(beta2).addcmul_(g, g, value=1 - beta2)
            if amsgrad:
                v = largest[0].copy_(largest[0].maximum(v))
            p.addcdiv_(m, (v.sqrt() / correction2).add_(eps), value=-(lr / correction1))

        if rounds(p):
            in_tensors(rounded, g, p, *arrays)
        else:
            in_blocks(change, g, p, *arrays)
