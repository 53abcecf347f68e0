"""The layer Embedding: a table with a row for every token, and ids that pick rows.

The table is a parameter called weight, (num_embeddings, embedding_dim), drawn from N(0, 1).
"""

import tinygrad_llm as torch
from tinygrad_llm import nn


class Embedding(nn.Module):
    """ids (...) -> (..., embedding_dim)."""

    def __init__(self, num_embeddings, embedding_dim):
        super().__init__()
        # >>> self.weight
        self.weight = nn.Parameter(torch.randn(num_embeddings, embedding_dim))
        # <<<

    def forward(self, ids):
        """The rows of the table that ids name."""
        # >>> one line
        return self.weight[ids]
        # <<<
