"""The layer Dropout: in training each element is dropped with probability p, in eval none is.

What is kept is scaled by 1/(1 − p), so that the expected value is the same in both modes. A fresh
mask is drawn at every call (torch.rand); self.training is True in training.
"""

import tinygrad_llm as torch
from tinygrad_llm import nn


class Dropout(nn.Module):
    """x (...) -> (...)."""

    def __init__(self, p=0.5):
        super().__init__()
        self.p = p

    def forward(self, x):
        """x·keep/(1 − p) in training, x in eval."""
        # >>> a mask from torch.rand(x.shape)
        if not self.training:
            return x
        keep = (torch.rand(x.shape) >= self.p).float()
        return x * keep / (1.0 - self.p)
        # <<<
