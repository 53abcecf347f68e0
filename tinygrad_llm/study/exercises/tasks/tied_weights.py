"""Tied weights: the table that reads tokens also scores them.

The output head uses the embedding's own weight (V, C): logits = hidden·Wᵀ. One parameter, two uses:
its gradient is the sum of both, and it is counted once.
"""

from tinygrad_llm import nn


class TiedModel(nn.Module):
    """ids (...) -> logits (..., V); `body` is any module from (..., C) to (..., C)."""

    def __init__(self, vocab_size, emb_dim, body):
        super().__init__()
        self.tok_emb, self.body = nn.Embedding(vocab_size, emb_dim), body
        self.out_head = nn.Linear(emb_dim, vocab_size, bias=False)
        # >>> make the head's weight the same parameter object
        self.out_head.weight = self.tok_emb.weight
        # <<<

    def forward(self, ids):
        """Embed, body, head."""
        # >>> one line
        return self.out_head(self.body(self.tok_emb(ids)))
        # <<<
