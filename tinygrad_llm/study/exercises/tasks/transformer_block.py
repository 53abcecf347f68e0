"""A transformer block, GPT-2's: x + attention(norm1(x)), then x + feed_forward(norm2(x)).

The additions are the residual stream: backward, g passes along it unchanged, and what the layers
send back is added. The layers themselves are given.
"""

from tinygrad_llm import nn


class TransformerBlock(nn.Module):
    """x (B, T, C) -> (B, T, C); attention and feed_forward are modules of the same shape."""

    def __init__(self, emb_dim, attention, feed_forward):
        super().__init__()
        self.attention, self.feed_forward = attention, feed_forward
        # >>> self.norm1 and self.norm2
        self.norm1 = nn.LayerNorm(emb_dim)
        self.norm2 = nn.LayerNorm(emb_dim)
        # <<<

    def forward(self, x):
        """Two residual branches, the norm at the beginning of each."""
        # >>> two lines
        x = x + self.attention(self.norm1(x))
        return x + self.feed_forward(self.norm2(x))
        # <<<
