"""The layer Linear: y = x·Wᵀ + b, with W (out_features, in_features) and b (out_features).

Build it with nn.Parameter and the operators of tensors alone (@, +, .T). Its parameters are called
weight and bias, as in PyTorch, so that state_dict() has the same names.
"""

import tinygrad_llm as torch
from tinygrad_llm import nn


class Linear(nn.Module):
    """x (..., in_features) -> (..., out_features)."""

    def __init__(self, in_features, out_features):
        super().__init__()
        scale = in_features**-0.5
        # >>> self.weight and self.bias, uniform between -scale and scale
        self.weight = nn.Parameter((torch.rand(out_features, in_features) * 2 - 1) * scale)
        self.bias = nn.Parameter((torch.rand(out_features) * 2 - 1) * scale)
        # <<<

    def forward(self, x):
        """x·Wᵀ + b."""
        # >>> one line
        return x @ self.weight.T + self.bias
        # <<<
