"""A KV cache: keys and values of the past are kept, so that one new token costs one new row.

Without it, generating the T-th token computes all T keys again. Keys do not change once they are
computed, because no position sees a later one.
"""

import tinygrad_llm as torch


class KVCache:
    """The keys and values so far, each (B, H, T, D)."""

    def __init__(self):
        self.keys = self.values = None

    def update(self, k, v):
        """Append k and v (B, H, n, D) along time; returns all keys and all values so far."""
        # >>> torch.cat along dim 2, if there is something already
        if self.keys is not None:
            k = torch.cat([self.keys, k], dim=2)
        if self.values is not None:
            v = torch.cat([self.values, v], dim=2)
        self.keys, self.values = k, v
        return k, v
        # <<<


def attend(q, cache, k, v):
    """Attention of n new positions, q, k, v (B, H, n, D), to themselves and to all in the cache."""
    keys, values = cache.update(k, v)
    # >>> scores and a mask: new position i sees the past and the first i + 1 new ones
    n, total = q.shape[2], keys.shape[2]
    scores = q @ keys.transpose(-2, -1) / q.shape[-1] ** 0.5  # (B, H, n, T)
    future = torch.triu(torch.ones(n, total), diagonal=total - n + 1) > 0
    scores = scores.masked_fill(future, float("-inf"))
    return torch.softmax(scores, dim=-1) @ values
    # <<<
