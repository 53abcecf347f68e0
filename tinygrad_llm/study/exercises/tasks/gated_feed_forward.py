"""The gated feed-forward layer of Llama: W_d·(silu(W_g·x)·(W_u·x)).

One half of what the wider layer computes opens and closes the other half. gate_up is one Linear for
both: its first `hidden` rows are the gate W_g, the others W_u. Shazeer (2020), "SwiGLU".
"""

import tinygrad_llm as torch
from tinygrad_llm import nn


class GatedFeedForward(nn.Module):
    """x (..., C) -> (..., C)."""

    def __init__(self, dim, hidden):
        super().__init__()
        # >>> self.gate_up and self.down, both nn.Linear without bias
        self.gate_up = nn.Linear(dim, 2 * hidden, bias=False)
        self.down = nn.Linear(hidden, dim, bias=False)
        # <<<

    def forward(self, x):
        """down(silu(gate)·up)."""
        # >>> torch.chunk cuts in two along dim −1; nn.functional.silu
        gate, up = torch.chunk(self.gate_up(x), 2, dim=-1)
        return self.down(nn.functional.silu(gate) * up)
        # <<<
