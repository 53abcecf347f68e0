"""Adafactor: the mean of squared gradients kept as one number per row and one per column."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..arrays.devices import use_gpu_of, xp_of
from ..tensor import Tensor, wrap
from ..tensor.dtypes import finfo
from .optimizer import Optimizer, Params, number, step_count, zeros_like

__all__ = ["Adafactor"]


class Adafactor(Optimizer):
    """r ← r + w·(mean(g², columns) − r),   c ← c + w·(mean(g², rows) − c),   w = t^beta2_decay,
    v = r·c / max(mean(r), eps₁),   u = g / max(√v, eps₁),
    p ← p − lr·weight_decay·p − α·u / max(1, rms(u) / d),   α = max(eps₂, rms(p))·min(lr, 1/√t)

    at step t, rms(x) = √mean(x²). For p of shape (..., A, B) the state r has the shape (..., A, 1)
    and c (..., 1, B): A + B numbers in place of A·B. A parameter of one dimension keeps v itself.
    eps is (eps₁, eps₂); eps₁ is the machine epsilon of p's dtype if it is None. maximize climbs
    instead of descending. foreach is PyTorch's and makes no difference here.
    Source: Shazeer and Stern 2018, "Adafactor: Adaptive Learning Rates with Sublinear Memory
    Cost"; PyTorch's eps₁ and lr.
    Raises: ValueError if a hyperparameter is out of range.
    """

    def __init__(
        self, params: Params, lr: float = 1e-2, beta2_decay: float = -0.8,
        eps: tuple[float | None, float] = (None, 1e-3), d: float = 1.0, weight_decay: float = 0.0,
        *, foreach: bool | None = None, maximize: bool = False,
    ) -> None:  # fmt: skip
        for name, value, right, bound in (
            ("Learning rate", lr, number(lr) >= 0, ">= 0"),
            ("beta2_decay", beta2_decay, number(beta2_decay) <= 0, "<= 0"),
            ("epsilon1", eps[0], eps[0] is None or eps[0] >= 0, ">= 0"),
            ("epsilon2", eps[1], eps[1] >= 0, ">= 0"),
            ("Clipping threshold d", d, number(d) >= 1, ">= 1"),
            ("weight_decay", weight_decay, number(weight_decay) >= 0, ">= 0"),
        ):
            if not right:
                raise ValueError(f"{name} should be {bound} but is: {value}")
        super().__init__(params, {
            "lr": lr, "beta2_decay": beta2_decay, "eps": eps, "d": d,
            "weight_decay": weight_decay, "foreach": foreach, "maximize": maximize,
        })  # fmt: skip

    def shape_of(self, name: str, p: Any) -> tuple[int, ...]:
        """The shape of an entry of p's state."""
        shape = tuple(p.shape)
        if name == "row_var":
            return (*shape[:-1], 1)
        return (*shape[:-2], 1, shape[-1]) if name == "col_var" else shape

    def update(self, p: Any, g: Any, state: dict[str, Any], group: dict[str, Any]) -> None:
        lr, (eps1, eps2) = number(group["lr"]), group["eps"]
        t = step_count(state)
        weights, gradient = wrap(p), wrap(-g if group["maximize"] else g)
        eps1 = finfo(weights.dtype).eps if eps1 is None else eps1
        w = t ** group["beta2_decay"]
        size = max(eps2, _rms(weights))
        rate = size * min(lr, 1 / t**0.5)
        if group["weight_decay"] != 0:
            weights.mul_(1 - lr * group["weight_decay"])
        if g.ndim > 1:
            v = self._factored(gradient, state, w, eps1)
        else:
            if "variance" not in state:
                state["variance"] = zeros_like(p)
            v = state["variance"].lerp_(gradient * gradient, w).clone()
        u = v.clamp_(min=eps1 * eps1).rsqrt_().mul_(gradient)
        weights.add_(u, alpha=-rate / max(1.0, _rms(u) / group["d"]))

    def _factored(self, g: Tensor, state: dict[str, Any], w: float, eps1: float) -> Tensor:
        """The mean of squared gradients (..., A, B), from the means of rows and columns."""
        for name, axis in (("row_var", -1), ("col_var", -2)):
            if name not in state:
                use_gpu_of(g.array)
                shape = self.shape_of(name, g)
                state[name] = wrap(xp_of(g.array).zeros(shape, g.array.dtype))
            squares = g.norm(dim=axis, keepdim=True).square_().div_(g.shape[axis])
            state[name].lerp_(squares, w)  # (..., A, 1), (..., 1, B)
        row, column = state["row_var"], state["col_var"]
        v = row @ column  # (..., A, B)
        return v.div_(row.mean(dim=-2, keepdim=True).clamp_(min=eps1))


def _rms(x: Tensor) -> float:
    """√mean(x²); NumPy's NaN of a mean over nothing is 0 here."""
    n = x.numel()
    return float(np.float64(x.norm(2).item())) / math.sqrt(n) if n else 0.0
