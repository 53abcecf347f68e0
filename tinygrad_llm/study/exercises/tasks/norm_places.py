"""Three places for the norms of a transformer block.

pre:       x + f(norm(x))           GPT-2, Llama: the path of x itself is free of norms
post:      norm(x + f(x))           the first Transformer, BERT
sandwich:  x + after(f(norm(x)))    Gemma 2: a second norm at the end of the branch
f is attention first, then feed forward.
"""

from tinygrad_llm import nn


class Block(nn.Module):
    """x (B, T, C) -> (B, T, C); place is "pre", "post" or "sandwich"."""

    def __init__(self, dim, att, ff, place):
        super().__init__()
        self.place, self.att, self.ff = place, att, ff
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        if place == "sandwich":
            self.norm1_after, self.norm2_after = nn.LayerNorm(dim), nn.LayerNorm(dim)

    def branch(self, x, part, norm, after):
        """x and one branch: part is att or ff; after is None unless place is "sandwich"."""
        # >>> one line for each place
        if self.place == "pre":
            return x + part(norm(x))
        if self.place == "post":
            return norm(x + part(x))
        return x + after(part(norm(x)))
        # <<<

    def forward(self, x):
        """Attention, then feed forward."""
        x = self.branch(x, self.att, self.norm1, getattr(self, "norm1_after", None))
        return self.branch(x, self.ff, self.norm2, getattr(self, "norm2_after", None))
