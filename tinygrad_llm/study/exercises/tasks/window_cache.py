"""A KV cache for a sliding window: what no later token can see is dropped.

Token i sees the keys of tokens i − window + 1 … i. The cache therefore keeps window − 1 tokens for
the next call, and has to remember the position of its first one: the causal mask needs it.
"""

import tinygrad_llm as torch


class WindowCache:
    """length: how many tokens there were in all, dropped ones included."""

    def __init__(self, window):
        self.window = window
        self.length = 0
        self.keys = self.values = None  # (B, H, S, D)

    def append(self, k, v):
        """Add n tokens, k and v (B, H, n, D).

        Returns keys and values from the oldest that the first new token sees, and the position of
        that one.
        """
        # >>> cat with what is kept; first; then keep the last window − 1 and count
        if self.keys is not None:
            k = torch.cat([self.keys, k], dim=2)
        if self.values is not None:
            v = torch.cat([self.values, v], dim=2)
        n_kept = 0 if self.keys is None else self.keys.shape[2]
        first = self.length - n_kept
        self.length = first + k.shape[2]
        start = max(0, k.shape[2] - (self.window - 1))
        self.keys, self.values = k[:, :, start:], v[:, :, start:]
        return k, v, first
        # <<<
