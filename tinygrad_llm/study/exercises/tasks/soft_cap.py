"""A soft cap: c·tanh(x/c) stays between −c and c, and bends where clamp would cut.

Gemma 2 caps the scores of attention, before softmax, and the logits of its output layer. Near zero
the cap changes almost nothing; the gradient becomes small far outside, never exactly zero.
"""

import math

import tinygrad_llm as torch
from tinygrad_llm import nn


def soft_cap(x, c):
    """Every element between −c and c."""
    # >>> one line
    return torch.tanh(x / c) * c
    # <<<


def capped_attention(q, k, v, c):
    """Causal attention with capped scores: q, k, v (..., T, D) -> (..., T, D)."""
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])  # (..., T, T)
    future = torch.triu(torch.ones(scores.shape[-2:]), diagonal=1) > 0
    # >>> soft_cap, masked_fill with −∞ and softmax, in the right order
    scores = soft_cap(scores, c).masked_fill(future, -math.inf)
    return torch.softmax(scores, dim=-1) @ v
    # <<<


class SoftCappedHead(nn.Module):
    """The output layer: x (..., C) -> capped logits (..., V)."""

    def __init__(self, dim, vocab_size, c):
        super().__init__()
        self.c = c
        self.linear = nn.Linear(dim, vocab_size, bias=False)

    def forward(self, x):
        """The logits, capped."""
        # >>> one line
        return soft_cap(self.linear(x), self.c)
        # <<<
