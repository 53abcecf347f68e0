"""Grouped-query attention: H heads of queries share KV heads of keys and values.

Neighbouring query heads share one key head: with H = 4 and KV = 2, heads 0 and 1 read key head 0,
heads 2 and 3 read key head 1. The cache of keys and values is then H/KV times smaller. qkv has H·D
rows for the queries, then KV·D for the keys, then KV·D for the values. Ainslie et al. (2023).
"""

import tinygrad_llm as torch
from tinygrad_llm import nn


class GroupedQueryAttention(nn.Module):
    """x (B, T, C) -> (B, T, C), causal."""

    def __init__(self, dim, n_heads, n_kv_heads):
        super().__init__()
        self.n_heads, self.n_kv_heads, self.head_dim = n_heads, n_kv_heads, dim // n_heads
        self.qkv = nn.Linear(dim, (n_heads + 2 * n_kv_heads) * self.head_dim)
        self.out_proj = nn.Linear(dim, dim)

    def forward(self, x):
        """Split into heads, repeat keys and values for their query heads, attend, join."""
        b, t, c = x.shape
        h, kv = self.n_heads, self.n_kv_heads
        # >>> heads (B, H + 2·KV, T, D), torch.split along dim 1, repeat_interleave, attention
        heads = self.qkv(x).reshape(b, t, h + 2 * kv, self.head_dim).transpose(1, 2)
        q, k, v = torch.split(heads, [h, kv, kv], dim=1)  # (B, H, T, D), (B, KV, T, D) twice
        k, v = (y.repeat_interleave(h // kv, dim=1) for y in (k, v))  # (B, H, T, D)
        y = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.out_proj(y.transpose(1, 2).reshape(b, t, c))
        # <<<
