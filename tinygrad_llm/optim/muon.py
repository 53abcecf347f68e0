"""Muon: momentum whose singular values are all made about 1, for the matrices of hidden layers."""

from __future__ import annotations

import math
from typing import Any

from ..arrays.devices import xp_of
from ..tensor import Tensor, wrap
from .adamw import AdamW
from .optimizer import Optimizer, Params, number, zeros_like

__all__ = ["Muon", "MuonWithAdamW", "newton_schulz"]

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
_RULES = (None, "original", "match_rms_adamw")


class Muon(Optimizer):
    """b ← momentum·b + (1 − momentum)·g,   u = momentum·b + (1 − momentum)·g  (b without nesterov),
    p ← p − lr·weight_decay·p − lr·a·newton_schulz(u)

    for p of shape (A, B), in place of the step along u itself: newton_schulz(u) has the singular
    vectors of u, and all its singular values lie near 1, so that rare directions are learned as
    fast as frequent ones. Embeddings, the output layer, biases and norms want AdamW beside it.
    adjust_lr_fn   a = √max(1, A / B) for "original" and None; a = 0.2·√max(A, B) for
                   "match_rms_adamw", whose steps are as large as AdamW's at the same lr
    ns_coefficients, ns_steps, eps   of newton_schulz
    Source: Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks"; the
    second rule: Liu et al. 2025, "Muon is Scalable for LLM Training".
    Raises: ValueError if a hyperparameter is negative, the rule is not known, or a parameter does
    not have 2 dimensions.
    """

    def __init__(
        self, params: Params, lr: float = 1e-3, weight_decay: float = 0.1, momentum: float = 0.95,
        nesterov: bool = True, ns_coefficients: tuple[float, float, float] = COEFFICIENTS,
        eps: float = 1e-7, ns_steps: int = 5, adjust_lr_fn: str | None = None,
    ) -> None:  # fmt: skip
        _at_least_0("Learning rate", lr)
        _at_least_0("momentum", momentum)
        _at_least_0("weight decay", weight_decay)
        _check_rule(adjust_lr_fn)
        super().__init__(params, {
            "lr": lr, "weight_decay": weight_decay, "momentum": momentum, "nesterov": nesterov,
            "ns_coefficients": ns_coefficients, "eps": eps, "ns_steps": ns_steps,
            "adjust_lr_fn": adjust_lr_fn,
        })  # fmt: skip

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group of matrices.

        Raises: as every optimizer; ValueError if a parameter does not have 2 dimensions.
        """
        super().add_param_group(param_group)
        _check_matrices(self.param_groups[-1]["params"])

    def update(self, p: Any, g: Any, state: dict[str, Any], group: dict[str, Any]) -> None:
        lr, momentum = number(group["lr"]), group["momentum"]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = zeros_like(p)
        buffer, gradient, weights = state["momentum_buffer"], wrap(g), wrap(p)
        buffer.lerp_(gradient, 1 - momentum)
        u = gradient.lerp(buffer, momentum) if group["nesterov"] else buffer
        u = newton_schulz(u.array, group["ns_coefficients"], group["ns_steps"], group["eps"])
        rate = lr * _factor(group["adjust_lr_fn"], *p.shape)
        weights.mul_(1 - lr * group["weight_decay"])
        weights.add_(wrap(u.astype(p.dtype)), alpha=-rate)


class MuonWithAdamW(AdamW):
    """Muon for groups with use_muon=True and AdamW for the others, in one optimizer.

    params: groups, each with "params", "use_muon" (False if it is left out) and hyperparameters.
    lr, betas, eps and weight_decay are AdamW's; lr and weight_decay serve both. The steps of Muon
    are scaled by the rule "match_rms_adamw", so that one learning rate and one schedule fit both.
    Raises: as Muon and AdamW do.
    """

    def __init__(
        self, params: Params, lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8, weight_decay: float = 1e-2, momentum: float = 0.95,
        ns_steps: int = 5, adjust_lr_fn: str | None = "match_rms_adamw",
    ) -> None:  # fmt: skip
        _at_least_0("momentum", momentum)
        _check_rule(adjust_lr_fn)
        self._of_muon = {
            "use_muon": False, "momentum": momentum, "ns_steps": ns_steps,
            "adjust_lr_fn": adjust_lr_fn,
        }  # fmt: skip
        super().__init__(params, lr, betas, eps, weight_decay)
        self.defaults |= self._of_muon

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group; with use_muon=True one of matrices.

        Raises: as every optimizer; ValueError if a parameter of Muon does not have 2 dimensions.
        """
        super().add_param_group({**self._of_muon, **param_group})
        if self.param_groups[-1]["use_muon"]:
            _check_matrices(self.param_groups[-1]["params"])

    def obstacle_to_capture(self) -> str | None:
        """What keeps a step from being captured in a CUDA graph, or None."""
        if any(group["use_muon"] for group in self.param_groups):
            return "Muon changes one matrix after another, by a learning rate that Python reads"
        return super().obstacle_to_capture()

    def update_together(self, params: list[Tensor], group: dict[str, Any]) -> bool:
        """As AdamW, for its groups."""
        return not group["use_muon"] and super().update_together(params, group)

    def update(self, p: Any, g: Any, state: dict[str, Any], group: dict[str, Any]) -> None:
        if group["use_muon"]:
            fixed = {"nesterov": True, "ns_coefficients": COEFFICIENTS, "eps": 1e-7}
            Muon.update(self, p, g, state, {**group, **fixed})  # type: ignore[arg-type]
        else:
            super().update(p, g, state, group)


def newton_schulz(
    g: Any, coefficients: tuple[float, float, float] = COEFFICIENTS, steps: int = 5,
    eps: float = 1e-7,
) -> Any:  # fmt: skip
    """The matrix g (A, B) with all its singular values near 1: float32 (A, B).

    x = g / ‖g‖, then in each step x ← a·x + (b·s + c·s²)·x with s = x·xᵀ: a singular value σ
    becomes a·σ + b·σ³ + c·σ⁵. With (a, b, c) of the default 5 steps bring all that are not tiny
    to about 0.7 to 1.2. Numbers are rounded to bfloat16 after each product, as in PyTorch.
    Source: Jordan et al. 2024.
    Raises: ValueError for 100 steps or more, other than 2 dimensions or 3 coefficients.
    """
    if steps >= 100:
        raise ValueError("Number of steps must be less than 100 for computational efficiency")
    if g.ndim != 2:
        raise ValueError("Input tensor gradient must be a 2D matrix")
    if len(coefficients) != 3:
        raise ValueError("Coefficients must be a tuple of exactly 3 values")
    a, b, c = coefficients
    xp = xp_of(g)
    tall = g.shape[0] > g.shape[1]
    x = _rounded(g.astype("float32", copy=True))
    x = x.T if tall else x  # (n, m), n <= m
    norm = _rounded(xp.sqrt((x * x).sum()).reshape(1))  # (1)
    x = _rounded(x / xp.maximum(norm, _rounded(xp.full(1, eps, "float32"))))
    for _ in range(steps):
        s = _rounded(x @ x.T)  # (n, n)
        s = _rounded(s * b + (s @ s) * c)
        x = _rounded(x * a + s @ x)  # (n, m)
    return x.T if tall else x  # (A, B)


def _rounded(x: Any) -> Any:
    """float32 numbers rounded to the nearest bfloat16, the even one of two: kept as float32."""
    bits = xp_of(x).ascontiguousarray(x).view("uint32")
    out = bits >> 16
    out &= 1
    out += 0x7FFF
    out += bits
    out &= 0xFFFF0000
    return out.view("float32")


def _factor(rule: str | None, rows: int, columns: int) -> float:
    """By what the learning rate is multiplied for a matrix of this shape."""
    if rule == "match_rms_adamw":
        return 0.2 * math.sqrt(max(rows, columns))
    return math.sqrt(max(1, rows / columns)) if columns else 1.0


def _at_least_0(name: str, value: Any) -> None:
    if not number(value) >= 0:
        raise ValueError(f"{name} should be >= 0 but is: {value}")


def _check_rule(rule: str | None) -> None:
    if rule not in _RULES:
        raise ValueError(f"Adjust learning rate function {rule} is not supported")


def _check_matrices(params: list[Tensor]) -> None:
    for p in params:
        if p.ndim != 2:
            raise ValueError(
                "Muon only supports 2D parameters whereas we found a parameter with size: "
                f"{p.shape}"
            )
