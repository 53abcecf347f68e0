"""Multi-head attention: H heads side by side, each on D = C/H of the channels.

qkv is one Linear to 3·C channels, q first, then k, then v. The channels are split into heads, the
heads dimension is moved before time, (B, H, T, D), attention runs, the heads are joined again, and
out_proj is applied.
"""

import tinygrad_llm as torch
from tinygrad_llm import nn


class MultiHeadAttention(nn.Module):
    """x (B, T, C) -> (B, T, C), causal."""

    def __init__(self, emb_dim, n_heads):
        super().__init__()
        self.n_heads = n_heads
        self.qkv = nn.Linear(emb_dim, 3 * emb_dim)
        self.out_proj = nn.Linear(emb_dim, emb_dim)

    def forward(self, x):
        """Split into heads, attend (nn.functional.scaled_dot_product_attention), join, project."""
        b, t, c = x.shape
        # >>> view, transpose, attention with is_causal=True, transpose back, reshape
        heads = self.qkv(x).reshape(b, t, 3, self.n_heads, c // self.n_heads)
        q, k, v = torch.unbind(heads.permute(2, 0, 3, 1, 4))  # each (B, H, T, D)
        y = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.out_proj(y.transpose(1, 2).reshape(b, t, c))
        # <<<
