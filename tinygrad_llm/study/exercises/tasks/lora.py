"""LoRA: a frozen Linear, and two small matrices that learn.

y = linear(x) + (α/r)·x·Aᵀ·Bᵀ, with A (r, in_features) random and B (out_features, r) zero, so that
the layer starts unchanged. Only A and B get gradients.
"""

import tinygrad_llm as torch
from tinygrad_llm import nn


class LinearWithLoRA(nn.Module):
    """x (..., in_features) -> (..., out_features)."""

    def __init__(self, linear, rank, alpha):
        super().__init__()
        self.linear, self.scaling = linear, alpha / rank
        n_out, n_in = linear.weight.shape
        # >>> freeze linear's parameters; self.lora_A and self.lora_B
        for parameter in linear.parameters():
            parameter.requires_grad = False
        self.lora_A = nn.Parameter(torch.randn(rank, n_in) * n_in**-0.5)
        self.lora_B = nn.Parameter(torch.zeros(n_out, rank))
        # <<<

    def forward(self, x):
        """linear(x) + (α/r)·x·Aᵀ·Bᵀ: never B·A itself, which is as big as W."""
        # >>> one line
        return self.linear(x) + (x @ self.lora_A.T) @ self.lora_B.T * self.scaling
        # <<<

    def merged_weight(self):
        """W + (α/r)·B·A (out_features, in_features): what a plain Linear would need."""
        # >>> one line
        return self.linear.weight + self.lora_B @ self.lora_A * self.scaling
        # <<<
