"""A cache that can go back and change its rows: truncate and reorder.

truncate(n) forgets all tokens except the first n: a guess that was wrong is taken back. reorder
moves the rows of the batch: in beam search the best continuation of row 0 may become row 2, or both
row 0 and row 1. Row i becomes what row indices[i] was. Both hold for every layer.
"""

import tinygrad_llm as torch


class Cache:
    """One pair (keys, values) for each layer, (B, H, T, D) each."""

    def __init__(self, n_layers):
        self.layers: list = [None] * n_layers

    def append(self, layer, k, v):
        """Add the tokens k, v (B, H, n, D) to a layer; returns all its keys and values."""
        if self.layers[layer] is not None:
            old_k, old_v = self.layers[layer]
            k, v = torch.cat([old_k, k], dim=2), torch.cat([old_v, v], dim=2)
        self.layers[layer] = k, v
        return k, v

    def __len__(self):
        return 0 if self.layers[0] is None else self.layers[0][0].shape[2]

    def truncate(self, n):
        """Forget all tokens except the first n."""
        # >>> every layer, keys and values, along dim 2
        self.layers = [(k[:, :, :n], v[:, :, :n]) for k, v in self.layers]
        # <<<

    def reorder(self, indices):
        """Row i of the batch becomes what row indices[i] was; indices: ids (new B)."""
        # >>> every layer, keys and values, along dim 0
        self.layers = [(k[indices], v[indices]) for k, v in self.layers]
        # <<<
