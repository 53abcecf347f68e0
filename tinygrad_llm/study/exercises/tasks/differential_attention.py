"""Differential attention: the difference of two softmaxes, so that what both see is taken away.

Each head has two queries and two keys of D channels and one value of 2·D. Noise that both softmaxes
give weight to cancels; λ, learned from four vectors, says how much. Ye et al. (2024), "Differential
Transformer", section 2.1.
"""

import tinygrad_llm as torch
from tinygrad_llm import nn


class DifferentialAttention(nn.Module):
    """x (B, T, C) -> (B, T, C), causal; C = 2·H·D."""

    def __init__(self, dim, n_heads, lambda_init=0.8):
        super().__init__()
        self.n_heads, self.head_dim = n_heads, dim // n_heads // 2
        self.lambda_init = lambda_init
        self.q, self.k, self.v, self.out_proj = (nn.Linear(dim, dim, bias=False) for _ in range(4))
        for name in ("lambda_q1", "lambda_k1", "lambda_q2", "lambda_k2"):
            setattr(self, name, nn.Parameter(0.1 * torch.randn(self.head_dim)))

    def strength(self):
        """λ = exp(λ_q1·λ_k1) − exp(λ_q2·λ_k2) + λ_init."""
        # >>> dot products of vectors of D numbers
        first = torch.exp((self.lambda_q1 * self.lambda_k1).sum())
        second = torch.exp((self.lambda_q2 * self.lambda_k2).sum())
        return first - second + self.lambda_init
        # <<<

    def forward(self, x):
        """(softmax(q1·k1) − λ·softmax(q2·k2))·v, each head's norm, times 1 − λ_init, joined."""
        b, t, c = x.shape
        h, d = self.n_heads, self.head_dim
        # >>> q and k as (B, 2·H, T, D): heads 2·i and 2·i + 1 are a pair; v as (B, H, T, 2·D)
        q, k = (f(x).reshape(b, t, 2 * h, d).transpose(1, 2) for f in (self.q, self.k))
        v = self.v(x).reshape(b, t, h, 2 * d).transpose(1, 2)  # (B, H, T, 2·D)
        future = torch.triu(torch.ones(t, t), diagonal=1) > 0
        scores = (q @ k.transpose(-2, -1) / d**0.5).masked_fill(future, float("-inf"))
        p = torch.softmax(scores, dim=-1)  # (B, 2·H, T, T)
        y = (p[:, 0::2] - self.strength() * p[:, 1::2]) @ v  # (B, H, T, 2·D)
        y = nn.functional.rms_norm(y, (2 * d,), eps=1e-5) * (1 - self.lambda_init)
        return self.out_proj(y.transpose(1, 2).reshape(b, t, c))
        # <<<
