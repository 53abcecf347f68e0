"""The output layer: hidden states to logits, and the loss without all logits in memory.

What class an output layer is, only this file asks. Shapes: B batch, T time, C channels, V
vocabulary.
"""

from __future__ import annotations

import math

from ..autograd.grad_mode import is_grad_enabled
from ..nn import functional as F
from ..nn.linear import Linear
from ..nn.module import Module, is_watched
from ..tensor import Tensor
from ..utils.checkpoint import checkpoint

__all__ = ["SoftCappedHead", "head_loss", "is_plain_linear", "linear_of"]

CHUNK = 1 << 22  # logits that exist at a time in a chunked loss of a SoftCappedHead


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

    Targets equal to ignore_index do not count. The logits of a plain Linear (see is_plain_linear)
    and of a SoftCappedHead exist for some rows at a time; any other module is called once.
    """
    if is_plain_linear(head):
        return F.linear_cross_entropy(
            hidden, head.weight, targets, linear_bias=head.bias, ignore_index=ignore_index
        )
    hidden, targets = hidden.flatten(0, -2), targets.flatten()  # (B, T, C), (B, T) -> (N, C), (N)
    chunked = isinstance(head, SoftCappedHead) and not is_watched(head)
    rows = max(1, CHUNK // head.linear.out_features) if chunked else len(targets)
    if len(targets) <= rows:
        return F.cross_entropy(head(hidden), targets, ignore_index=ignore_index)  # (N, V), (N)

    def sum_of(x: Tensor, t: Tensor) -> Tensor:
        return F.cross_entropy(head(x), t, ignore_index=ignore_index, reduction="sum")

    parts = zip(hidden.split(rows), targets.split(rows), strict=True)  # (n, C), (n)
    sums = [checkpoint(sum_of, *p) if is_grad_enabled() else sum_of(*p) for p in parts]
    total = sums[0]
    for one in sums[1:]:
        total = total + one
    return total / (targets != ignore_index).sum().to(total.dtype)
