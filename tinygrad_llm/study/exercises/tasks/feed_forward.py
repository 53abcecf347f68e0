"""The feed-forward layer of a transformer: up to four times as wide, GELU, and down again.

Each position is treated by itself; this is where most of a model's parameters are.
"""

from tinygrad_llm import nn


class FeedForward(nn.Module):
    """x (..., C) -> (..., C)."""

    def __init__(self, emb_dim):
        super().__init__()
        # >>> nn.Sequential of nn.Linear, nn.GELU, nn.Linear, called self.layers
        self.layers = nn.Sequential(
            nn.Linear(emb_dim, 4 * emb_dim), nn.GELU(), nn.Linear(4 * emb_dim, emb_dim)
        )
        # <<<

    def forward(self, x):
        """One layer after the other."""
        # >>> one line
        return self.layers(x)
        # <<<
