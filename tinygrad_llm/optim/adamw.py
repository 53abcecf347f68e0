"""AdamW: Adam whose weight decay does not pass through the running means."""

from __future__ import annotations

from typing import ClassVar

from .adam import Adam
from .optimizer import Params

__all__ = ["AdamW"]


class AdamW(Adam):
    """p ← p − lr·weight_decay·p,   then Adam's step:
    m ← β₁·m + (1 − β₁)·g,   v ← β₂·v + (1 − β₂)·g²,
    p ← p − lr·m̂ / (√v̂ + eps),   m̂ = m / (1 − β₁ᵗ),   v̂ = v / (1 − β₂ᵗ)

    at step t (Loshchilov and Hutter, 2019). The decay shrinks every weight at the same rate, for
    small and large gradients alike. Arguments and errors as in Adam.
    """

    fixed: ClassVar = {"decoupled_weight_decay": True}

    def __init__(
        self, params: Params, lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8, weight_decay: float = 1e-2, amsgrad: bool = False, *,
        maximize: bool = False, foreach: bool | None = None, capturable: bool = False,
        differentiable: bool = False, fused: bool | None = None,
    ) -> None:  # fmt: skip
        super().__init__(
            params, lr, betas, eps, weight_decay, amsgrad, foreach=foreach, maximize=maximize,
            capturable=capturable, differentiable=differentiable, fused=fused,
            decoupled_weight_decay=True,
        )  # fmt: skip
