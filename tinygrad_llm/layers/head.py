"""The output layer: hidden states to logits, and the loss without all logits in memory.

What class an output layer is, only this file asks. Shapes: B batch, T time, C channels, V
vocabulary.
"""

from __future__ import annotations

import math
from typing import Any

from ..autograd.function import Function
from ..autograd.grad_mode import enable_grad, is_grad_enabled
from ..nn import functional as F
from ..nn.linear import Linear
from ..nn.module import Module, is_watched
from ..tensor import Tensor
from ..utils.checkpoint import checkpoint
from .quantized import QuantizedLinear

__all__ = ["SoftCappedHead", "head_loss", "is_plain_linear", "linear_of"]

CHUNK = 1 << 22  # logits that exist at a time in a chunked loss of a SoftCappedHead
QUANTIZED_CHUNK = 1 << 26  # the same of a quantised layer, which is widened for every chunk


class SoftCappedHead(Module):
    """logits = c·tanh(W·x/c), which stay between −c and c: x (..., dim) -> (..., vocab_size).

    softcap: c. W is `linear.weight`; assign an embedding's weight to it to tie them.
    Source: Gemma Team (2024), "Gemma 2", section 2.
    Raises: ValueError if softcap is not positive and finite.
    """

    def __init__(self, dim: int, vocab_size: int, softcap: float, bias: bool = False) -> None:
        super().__init__()
        if not 0.0 < softcap < math.inf:
            raise ValueError(f"SoftCappedHead: softcap must be positive and finite, got {softcap}")
        self.softcap = softcap
        self.linear = Linear(dim, vocab_size, bias=bias)

    @property
    def in_features(self) -> int:
        """dim, the channels of x."""
        return int(self.linear.in_features)

    def forward(self, x: Tensor) -> Tensor:
        return (self.linear(x) / self.softcap).tanh() * self.softcap  # (..., dim) -> (..., V)

    def extra_repr(self) -> str:
        return f"softcap={self.softcap:g}"


def is_plain_linear(head: Module) -> bool:
    """Whether calling head is x·Wᵀ + b and nothing else: no hooks, no LoRA, no other forward."""
    plain = isinstance(head, Linear) and type(head).forward is Linear.forward
    return plain and not is_watched(head)


def linear_of(head: Module) -> Linear:
    """The layer that holds the weight (V, C) of an output layer.

    Raises: TypeError if the output layer is neither a plain Linear nor a SoftCappedHead.
    """
    linear = head.linear if isinstance(head, SoftCappedHead) else head
    if not (isinstance(linear, Linear) and is_plain_linear(linear)):
        raise TypeError(
            f"the output layer is a {type(linear).__name__}, whose rows cannot be counted (LoRA: "
            "merge it first; hooks: remove them)"
        )
    return linear


def head_loss(head: Module, hidden: Tensor, targets: Tensor, ignore_index: int = -100) -> Tensor:
    """The mean cross-entropy of targets (B, T) for the logits head(hidden), hidden (B, T, C); 0-d.

    Targets equal to ignore_index do not count. The logits of a plain Linear (see is_plain_linear),
    of a SoftCappedHead and of a QuantizedLinear exist for some rows at a time; any other module is
    called once.
    """
    if is_plain_linear(head):
        return F.linear_cross_entropy(
            hidden, head.weight, targets, linear_bias=head.bias, ignore_index=ignore_index
        )
    hidden, targets = hidden.flatten(0, -2), targets.flatten()  # (B, T, C), (B, T) -> (N, C), (N)
    linear: Any = head.linear if isinstance(head, SoftCappedHead) else head
    quantised = isinstance(linear, QuantizedLinear)
    rows = len(targets)
    if (linear is not head or quantised) and not is_watched(head):
        rows = max(1, (QUANTIZED_CHUNK if quantised else CHUNK) // linear.out_features)
    if len(targets) <= rows:
        return F.cross_entropy(head(hidden), targets, ignore_index=ignore_index)  # (N, V), (N)

    def sum_of(x: Tensor, t: Tensor) -> Tensor:
        return F.cross_entropy(head(x), t, ignore_index=ignore_index, reduction="sum")

    def part_of(x: Tensor, t: Tensor) -> Tensor:
        if not is_grad_enabled():
            return sum_of(x, t)
        if quantised:  # frozen: only x has a gradient
            loss: Tensor = _WithGradient.apply(x, t, sum_of)
            return loss
        recomputed: Tensor = checkpoint(sum_of, x, t)
        return recomputed

    parts = zip(hidden.split(rows), targets.split(rows), strict=True)  # (n, C), (n)
    sums = [part_of(x, t) for x, t in parts]
    total = sums[0]
    for one in sums[1:]:
        total = total + one
    return total / (targets != ignore_index).sum().to(total.dtype)


class _WithGradient(Function):
    """L = f(x, t), a number, whose gradient is computed in forward: what f keeps is free then.

    Backward: ∂L/∂x = g·G, G = ∂f/∂x from forward. Saves G, as large as x. t has no gradient.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, t: Tensor, function: Any) -> Tensor:
        with enable_grad():
            x = x.detach().requires_grad_()
            loss = function(x, t)
            loss.backward()
        ctx.save_for_backward(x.grad)
        return loss.detach()

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = ctx.saved_tensors
        return g * gradient, None, None
