"""Biases of scores by distance: fixed rates (ALiBi) and learned buckets (T5).

ALiBi adds −mₕ·|i − j| to the score of query i and key j in head h, with mₕ = 2^(−8h/H) for h = 1 …
H (H a power of two). T5 looks a number up in a table, whose row is the bucket of the distance
i − j: the first half of the buckets hold one distance each, those of later distances grow wider
with the logarithm, up to max_distance. Press et al. (2021); Raffel et al. (2019).
"""

import math

import tinygrad_llm as torch


def alibi(n_heads, n_tokens):
    """What is added to the scores, (H, T, T)."""
    # >>> the rates (H, 1, 1) times the distances (T, T)
    rates = 2.0 ** (-8.0 * torch.arange(1, n_heads + 1).float() / n_heads)
    places = torch.arange(n_tokens)
    distance = torch.abs(places.unsqueeze(1) - places)
    return -rates.view(-1, 1, 1) * distance
    # <<<


def bucket(distance, n_buckets=32, max_distance=128):
    """The row of the table for a key that stands `distance` tokens before the query, an int.

    Keys behind the query have a negative distance and share bucket 0.
    """
    # >>> one each below n_buckets / 2; above it the logarithm; the last bucket for all that is left
    distance, exact = max(distance, 0), n_buckets // 2
    if distance < exact:
        return distance
    share = math.log(distance / exact) / math.log(max_distance / exact)
    return min(exact + int(share * (n_buckets - exact) + 1e-6), n_buckets - 1)
    # <<<
