"""Linear attention: without the softmax the sum over the past can be kept as one matrix.

A weight is φ(q)·φ(k) in place of exp(q·k), φ(x) = elu(x) + 1. All tokens together it is attention;
one after the other it is a memory S += φ(k)·vᵀ and a sum z += φ(k) for each head. Both return
S·φ(q) divided by z·φ(q), and here ε = 1e-6 is added to that. Katharopoulos et al. (2020).
"""

import tinygrad_llm as torch
from tinygrad_llm import nn


def feature(x):
    """φ(x), positive everywhere."""
    # >>> nn.functional.elu is between −1 and 0 below zero
    return nn.functional.elu(x) + 1.0
    # <<<


def all_together(q, k, v):
    """Causal linear attention of all tokens: q, k (B, H, T, D), v (B, H, T, M) -> (B, H, T, M)."""
    # >>> all T × T weights, those of later tokens 0 (torch.tril); divide by each row's sum + 1e-6
    weights = torch.tril(feature(q) @ feature(k).transpose(-1, -2))
    return weights @ v / (weights.sum(dim=-1, keepdim=True) + 1e-6)
    # <<<


class LinearMemory:
    """state: S of each head (B, H, D, M); total: z (B, H, D)."""

    def __init__(self, n_rows, n_heads, key_dim, value_dim):
        self.state = torch.zeros(n_rows, n_heads, key_dim, value_dim)
        self.total = torch.zeros(n_rows, n_heads, key_dim)

    def step(self, q, k, v):
        """One token: q and k (B, H, D), v (B, H, M) -> what it reads, (B, H, M)."""
        # >>> φ of both; write k·vᵀ and k; read with q, the token itself included
        q, k = feature(q), feature(k)
        self.state = self.state + k.unsqueeze(-1) * v.unsqueeze(-2)
        self.total = self.total + k
        read = (self.state * q.unsqueeze(-1)).sum(dim=-2)
        return read / ((self.total * q).sum(dim=-1, keepdim=True) + 1e-6)
        # <<<
