"""Latent attention: one short vector per token, from which the keys and values of all heads come.

c = norm(kv_down(x)) has R channels; kv_up makes H keys and H values of D channels from it: for each
head D rows of its key, then D of its value. While text is written only c is kept, and q·(W_K·c) =
(W_Kᵀ·q)·c: queries move to c's channels, so that no key is ever computed. DeepSeek-AI (2024).
"""

import tinygrad_llm as torch
from tinygrad_llm import nn


class LatentAttention(nn.Module):
    """x (B, T, C) -> (B, T, C), causal; without positions."""

    def __init__(self, dim, n_heads, kv_rank):
        super().__init__()
        self.n_heads, self.kv_rank, self.head_dim = n_heads, kv_rank, dim // n_heads
        self.q = nn.Linear(dim, dim, bias=False)
        self.kv_down = nn.Linear(dim, kv_rank, bias=False)
        self.kv_norm = nn.RMSNorm(kv_rank, eps=1e-6)
        self.kv_up = nn.Linear(kv_rank, 2 * dim, bias=False)
        self.out_proj = nn.Linear(dim, dim, bias=False)

    def forward(self, x):
        """Expanded: keys and values (B, H, T, D) of all heads from c, then attention."""
        b, t, c = x.shape
        h, d = self.n_heads, self.head_dim
        # >>> latent (B, T, R); kv_up's rows are (H, 2·D); scaled_dot_product_attention; join
        q = self.q(x).reshape(b, t, h, d).transpose(1, 2)  # (B, H, T, D)
        latent = self.kv_norm(self.kv_down(x))  # (B, T, R)
        both = self.kv_up(latent).reshape(b, t, h, 2 * d).transpose(1, 2)  # (B, H, T, 2·D)
        k, v = torch.split(both, d, dim=-1)
        y = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.out_proj(y.transpose(1, 2).reshape(b, t, c))
        # <<<

    def step(self, x, latents):
        """One new token x (B, 1, C) after those whose c are in latents (B, S, R), by c alone.

        Returns its output (B, 1, C), and the latents with its own c, (B, S + 1, R).
        """
        b, _, c = x.shape
        h, d = self.n_heads, self.head_dim
        # >>> absorbed: q·W_K (B, H, 1, R); attend to the latents as keys and values; then W_V
        latents = torch.cat([latents, self.kv_norm(self.kv_down(x))], dim=1)  # (B, S + 1, R)
        up = self.kv_up.weight.reshape(h, 2 * d, self.kv_rank)
        q = self.q(x).reshape(b, 1, h, d).transpose(1, 2)  # (B, H, 1, D)
        moved = q @ up[:, :d]  # (B, H, 1, D) @ (H, D, R) -> (B, H, 1, R)
        scores = moved @ latents.transpose(1, 2).unsqueeze(1) / d**0.5  # (B, H, 1, S + 1)
        y = torch.softmax(scores, dim=-1) @ latents.unsqueeze(1)  # (B, H, 1, R)
        y = y @ up[:, d:].transpose(1, 2)  # (B, H, 1, R) @ (H, R, D) -> (B, H, 1, D)
        return self.out_proj(y.transpose(1, 2).reshape(b, 1, c)), latents
        # <<<
