"""qk-norm and rotary positions: queries and keys are normalised, then turned.

Each query and key, D numbers, goes through its own RMSNorm, q_norm or k_norm, so that no
score can become huge; then the rotary turns it by its position. Values are left as they are.
`self.rotary(q, k, positions=...)` returns q and k turned; they are (B, H, T, D).
"""

import tinygrad_llm as torch
from tinygrad_llm import nn


class NormedAttention(nn.Module):
    """x (B, T, C) -> (B, T, C), causal; rotary is a layers.rotary.Rotary."""

    def __init__(self, dim, n_heads, rotary):
        super().__init__()
        self.n_heads, self.head_dim, self.rotary = n_heads, dim // n_heads, rotary
        self.qkv = nn.Linear(dim, 3 * dim)
        # >>> self.q_norm and self.k_norm: nn.RMSNorm of how many channels?
        self.q_norm = nn.RMSNorm(self.head_dim)
        self.k_norm = nn.RMSNorm(self.head_dim)
        # <<<
        self.out_proj = nn.Linear(dim, dim)

    def forward(self, x):
        """Heads, norms, rotation, attention, out_proj."""
        b, t, c = x.shape
        heads = self.qkv(x).reshape(b, t, 3, self.n_heads, self.head_dim)
        q, k, v = torch.unbind(heads.permute(2, 0, 3, 1, 4))  # each (B, H, T, D)
        # >>> norms, then self.rotary with positions 0 … t − 1
        q, k = self.q_norm(q), self.k_norm(k)
        q, k = self.rotary(q, k, positions=torch.arange(t))
        # <<<
        y = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.out_proj(y.transpose(1, 2).reshape(b, t, c))
