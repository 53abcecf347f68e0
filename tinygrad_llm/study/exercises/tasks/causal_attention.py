"""One attention head: softmax(q·kᵀ/√D)·v, and no position sees a later one.

Made of matmul, a mask and softmax. The mask writes −∞ into the scores *before* softmax, so that the
weights of each row still add up to 1.
"""

import math

import tinygrad_llm as torch


def causal_attention(q, k, v):
    """q, k, v (..., T, D) -> (..., T, D)."""
    # >>> scores, mask (torch.triu), softmax, product
    n = q.shape[-2]
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])  # (..., T, T)
    future = torch.triu(torch.ones(n, n), diagonal=1) > 0
    scores = scores.masked_fill(future, -math.inf)
    return torch.softmax(scores, dim=-1) @ v
    # <<<
