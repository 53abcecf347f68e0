"""The critic of PPO: a value for each token's place, and the loss that trains it.

Shapes: B answers, T tokens of each, C channels.
"""

from __future__ import annotations

import math
from typing import Any

from ..functions.selection import maximum, where
from ..nn.linear import Linear
from ..nn.module import Module
from ..nn.utils import skip_init
from ..tensor import Tensor

__all__ = ["VALUE_HEAD", "ValueLoss", "add_value_head", "remove_value_head"]

VALUE_HEAD = "value_head"  # the attribute of a model, and the entry of a checkpoint's config


class ValueLoss(Module):
    """½·(V − R)² of each token, the larger of the plain and of the clipped error.

        e = V − R        e' = clip(V − V_old, −ε, ε) + V_old − R        L = ½·mean(max(e², e'²))

    V estimates what reward will still come; R is what came. The clip holds V near the value at the
    time when the answer was drawn, as PPO's clip holds the policy.
    Backward, for one of n tokens that count:
        ∂L/∂V = e/n where the plain error is the larger one, or V is within ε of V_old; else 0
    At equal errors of which one is clipped both take half.

    clip: ε, None does not clip
    Raises: ValueError for a clip below 0.
    Source: Schulman et al. (2017), "PPO", equation 9, with the clip of OpenAI's baselines.
    """

    def __init__(self, clip: float | None = 0.2) -> None:
        super().__init__()
        if clip is not None and not 0.0 <= clip < math.inf:
            raise ValueError(f"ValueLoss: clip must be 0 or more, or None, got {clip!r}")
        self.clip = None if clip is None else float(clip)

    def forward(
        self, values: Tensor, old: Tensor, returns: Tensor, mask: Tensor | None = None
    ) -> Tensor:
        """The mean over the tokens that count, 0-d.

        values (B, T): with a graph; old, returns (B, T): constants; mask (B, T) bool, None: all
        Raises: ValueError for shapes that differ, or no token that counts.
        """
        for name, x in (("old", old), ("returns", returns), ("mask", mask)):
            if x is not None and x.shape != values.shape:
                raise ValueError(
                    f"ValueLoss: {name} must have the shape {tuple(values.shape)} of values, got "
                    f"{tuple(x.shape)}"
                )
        old, returns = old.detach(), returns.detach()
        counts = old == old if mask is None else mask  # (B, T)
        if not bool(counts.any().item()):
            raise ValueError("ValueLoss: no token counts")
        errors = where(counts, values - returns, 0.0) ** 2  # (B, T)
        if self.clip is not None:
            change = (values - old).clamp(-self.clip, self.clip)
            errors = maximum(errors, where(counts, old + change - returns, 0.0) ** 2)
        return errors.sum() / counts.sum().to(errors.dtype) * 0.5

    def extra_repr(self) -> str:
        """The option, for printing."""
        return f"clip={self.clip}"


def add_value_head(model: Any) -> None:
    """Gives a language model the layer `value_head`, hidden states (..., C) -> values (..., 1).

    It begins with zeros, so that every value is 0 at first. It changes no text of the model.
    """
    if hasattr(model, VALUE_HEAD):
        return
    first = next(iter(model.parameters()))
    head = skip_init(Linear, model.config.emb_dim, 1)
    for parameter in head.parameters():
        parameter.array[...] = 0.0
    model.value_head = head.to(first.dtype).to(first.device)


def remove_value_head(model: Any) -> None:
    """Takes the layer `value_head` out of a model that has one: what is written needs none."""
    if hasattr(model, VALUE_HEAD):
        delattr(model, VALUE_HEAD)
