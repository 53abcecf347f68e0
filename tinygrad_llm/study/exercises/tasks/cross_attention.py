"""Cross-attention: the queries come from x, keys and values from another sequence, the memory.

A decoder looks at the encoder's output in this way. Every query sees the whole memory: nothing is
causal. The memory stays the same while text is generated, so that its keys and values are computed
in the first call and kept in the dict `cache`.
"""

import tinygrad_llm as torch
from tinygrad_llm import nn


class CrossAttention(nn.Module):
    """x (B, T, C), memory (B, S, C) -> (B, T, C)."""

    def __init__(self, dim, n_heads):
        super().__init__()
        self.n_heads = n_heads
        self.q = nn.Linear(dim, dim)
        self.kv = nn.Linear(dim, 2 * dim)  # rows of the keys, then of the values
        self.out_proj = nn.Linear(dim, dim)

    def heads(self, y):
        """(B, n, C) -> (B, H, n, D)."""
        b, n, c = y.shape
        return y.reshape(b, n, self.n_heads, c // self.n_heads).transpose(1, 2)

    def forward(self, x, memory=None, cache=None):
        """memory may be None if the cache (a dict) already holds its keys and values."""
        # >>> keys and values: from cache["memory"] if it is there, else self.kv(memory), then kept
        if cache is not None and "memory" in cache:
            k, v = cache["memory"]
        else:
            k, v = (self.heads(y) for y in torch.chunk(self.kv(memory), 2, dim=-1))
            if cache is not None:
                cache["memory"] = k, v
        y = nn.functional.scaled_dot_product_attention(self.heads(self.q(x)), k, v)
        return self.out_proj(y.transpose(1, 2).reshape(x.shape))
        # <<<
