"""The layer LayerNorm, composed of primitives: mean, subtraction, square, root.

y = w·(x − μ)/√(σ² + ε) + b, μ and σ² over the last axis, σ² divided by C (unbiased=False). weight
starts as ones and bias as zeros. Backward follows from the chain rule; the fused op computes it in
one step.
"""

import tinygrad_llm as torch
from tinygrad_llm import nn


class LayerNorm(nn.Module):
    """x (..., C) -> (..., C), each row brought to mean 0 and variance 1, then scaled and moved."""

    def __init__(self, emb_dim, eps=1e-5):
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(emb_dim))
        self.bias = nn.Parameter(torch.zeros(emb_dim))

    def forward(self, x):
        """w·x̂ + b."""
        # >>> mean and variance with keepdim=True, ε inside the root
        mean = x.mean(-1, keepdim=True)
        centred = x - mean
        variance = (centred * centred).mean(-1, keepdim=True)
        return self.weight * (centred / torch.sqrt(variance + self.eps)) + self.bias
        # <<<
