"""Weights in 8 bits: w ≈ scale·code, a scale for each row, codes of −127 to 127.

A quarter of float32's memory. The largest weight of a row becomes ±127; the others are rounded, by
half a step at most. The weight is frozen: only its input has a gradient.
"""

import tinygrad_llm as torch
from tinygrad_llm import nn


class QuantizedLinear(nn.Module):
    """x (..., I) -> (..., O), for a weight (O, I)."""

    def __init__(self, weight):
        super().__init__()
        # >>> self.scale (O, 1) and self.codes (O, I), torch.int8
        self.scale = weight.abs().amax(dim=1, keepdim=True) / 127
        self.codes = torch.round(weight / self.scale).to(torch.int8)
        # <<<

    def forward(self, x):
        """x·Ŵᵀ."""
        # >>> the weight again in float32, then the product
        return x @ (self.codes.to(torch.float32) * self.scale).T
        # <<<


class QuantizedEmbedding(nn.Module):
    """ids (...) -> (..., C), for a table (V, C)."""

    def __init__(self, weight):
        super().__init__()
        self.rows = QuantizedLinear(weight)

    def forward(self, ids):
        """The rows with these numbers: only they are widened."""
        # >>> codes and scales of the ids alone
        return self.rows.codes[ids].to(torch.float32) * self.rows.scale[ids]
        # <<<
