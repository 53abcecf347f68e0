"""RMSNorm with a weight stored as a distance from one: y = (1 + w)·x/√(mean(x²) + ε).

Gemma's norm. w starts at zero, so that weight decay pulls the factor to one. No mean is subtracted:
only the size of a row is brought to one.
"""

import tinygrad_llm as torch
from tinygrad_llm import nn


class OffsetRMSNorm(nn.Module):
    """x (..., C) -> (..., C)."""

    def __init__(self, dim, eps=1e-6):
        super().__init__()
        self.eps = eps
        # >>> self.weight
        self.weight = nn.Parameter(torch.zeros(dim))
        # <<<

    def forward(self, x):
        """(1 + w)·x/√(mean(x²) + ε)."""
        # >>> the mean with keepdim=True, ε inside the root
        size = torch.sqrt((x * x).mean(-1, keepdim=True) + self.eps)
        return (1.0 + self.weight) * (x / size)
        # <<<
