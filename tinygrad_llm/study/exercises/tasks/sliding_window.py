"""Attention with a sliding window: a token sees the last `window` tokens, itself included.

With a window of 3, token 7 sees tokens 5, 6 and 7. The queries may be the last T of S tokens, as
when a cache holds the others: query i is then token S − T + i.
"""

import math

import tinygrad_llm as torch


def windowed_attention(q, k, v, window):
    """q (..., T, D), k and v (..., S, D) with S ≥ T -> (..., T, D)."""
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])  # (..., T, S)
    n, total = scores.shape[-2:]
    # >>> own (T, 1) and other (S): a bool mask of what is hidden; masked_fill, softmax, product
    own = torch.arange(total - n, total).unsqueeze(1)
    other = torch.arange(total)
    hidden = (other > own) | (own - other >= window)  # (T, S)
    scores = scores.masked_fill(hidden, -math.inf)
    return torch.softmax(scores, dim=-1) @ v
    # <<<
