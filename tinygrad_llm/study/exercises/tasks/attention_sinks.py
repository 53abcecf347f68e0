"""Attention sinks: softmax must give its weight to something; a sink lets a head look nowhere.

Two forms. Learned (gpt-oss): each head has a logit that takes part in softmax and has no value, so
that the weights of the keys sum to less than 1. Streaming (Xiao et al., 2023): models without such
a logit use the first tokens of a text for it, so a sliding window must keep these.
"""

import tinygrad_llm as torch


def with_sinks(scores, sinks):
    """The weights (B, H, T, S) of the keys: scores (B, H, T, S), one sink's logit per head (H)."""
    # >>> the sinks as one more column, (B, H, T, 1); softmax over S + 1; leave the column out
    b, h, t, _ = scores.shape
    column = sinks.reshape(1, h, 1, 1).expand(b, h, t, 1)
    return torch.softmax(torch.cat([scores, column], dim=-1), dim=-1)[..., :-1]
    # <<<


def streaming_mask(n, window, keep_first):
    """bool (n, n): True where token i may look at token j, in a window with the first keys kept."""
    # >>> j <= i, and j is one of the last `window` or of the first `keep_first`
    i, j = torch.arange(n).unsqueeze(1), torch.arange(n)
    return (j <= i) & ((i - j < window) | (j < keep_first))
    # <<<


def kept(n, window, keep_first):
    """The positions of the keys that a cache needs for the token at position n, in order."""
    # >>> a list: the first keep_first, then the window; no position twice
    first = max(0, n - window + 1)
    return list(range(min(keep_first, first))) + list(range(first, n + 1))
    # <<<
