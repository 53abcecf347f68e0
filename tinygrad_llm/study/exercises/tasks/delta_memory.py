"""The memory of a gated DeltaNet: it forgets, and writes only what it does not know yet.

S (K, D) of each head holds values under keys. A token with key k, value v: the memory keeps the
share exp(decay), the value that it then predicts for k is Sᵀ·k, and the share beta of the
difference is written. In place of a cache of all tokens there is S. Yang et al. (2024).
"""

import tinygrad_llm as torch


class DeltaMemory:
    """state: S of each head, (B, H, K, D)."""

    def __init__(self, n_rows, n_heads, key_dim, value_dim):
        self.state = torch.zeros(n_rows, n_heads, key_dim, value_dim)

    def step(self, q, k, v, decay, beta):
        """One token: q and k (B, H, K), v (B, H, D), decay and beta (B, H).

        Returns what the memory holds for q afterwards, (B, H, D).
        """
        # >>> forget; what is missing; write k·(beta·missing)ᵀ; read. unsqueeze adds dimensions
        state = self.state * torch.exp(decay).unsqueeze(-1).unsqueeze(-1)
        missing = v - (state * k.unsqueeze(-1)).sum(dim=-2)
        new = (missing * beta.unsqueeze(-1)).unsqueeze(-2)
        self.state = state + k.unsqueeze(-1) * new
        return (self.state * q.unsqueeze(-1)).sum(dim=-2)
        # <<<

    def append(self, q, k, v, decay, beta):
        """Several tokens, (B, H, T, …) each: what they read, (B, H, T, D)."""
        # >>> one after the other, stacked along dimension 2
        rows = [
            self.step(q[:, :, t], k[:, :, t], v[:, :, t], decay[:, :, t], beta[:, :, t])
            for t in range(q.shape[2])
        ]
        return torch.stack(rows, dim=2)
        # <<<
