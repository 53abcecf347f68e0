"""The selective memory of a Mamba: each channel keeps N numbers, and the token decides how long.

h (D, N) of each row. A token with step Δ keeps the share exp(Δ·A) of each number, A < 0: a large
step forgets. It writes Δ·x·b, and what it reads is c·h. Gu and Dao (2023).
"""

import tinygrad_llm as torch


class SelectiveMemory:
    """A: the rates (D, N), negative; h: what the channels keep, (B, D, N)."""

    def __init__(self, n_rows, A):
        self.A = A
        self.h = torch.zeros(n_rows, *A.shape)

    def step(self, x, delta, b, c):
        """One token: x and delta (B, D), b and c (B, N) -> what it reads, (B, D)."""
        # >>> forget; write; read. unsqueeze gives all four the shape of h
        step = delta.unsqueeze(-1)
        new = step * x.unsqueeze(-1) * b.unsqueeze(1)
        self.h = torch.exp(step * self.A) * self.h + new
        return (self.h * c.unsqueeze(1)).sum(dim=-1)
        # <<<

    def append(self, x, delta, b, c):
        """Several tokens, time last: x and delta (B, D, T), b and c (B, N, T) -> (B, D, T)."""
        # >>> one after the other, stacked along the last dimension
        rows = [
            self.step(x[:, :, t], delta[:, :, t], b[:, :, t], c[:, :, t]) for t in range(x.shape[2])
        ]
        return torch.stack(rows, dim=-1)
        # <<<
