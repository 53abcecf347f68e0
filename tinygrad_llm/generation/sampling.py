"""Which token is next: greedy, or drawn with a temperature, of the k likeliest, of a nucleus."""

from __future__ import annotations

import math

from ..functions.creation.filled import zeros_like
from ..functions.order import sort, topk
from ..functions.sampling import multinomial
from ..functions.softmax import softmax
from ..random import Generator
from ..tensor import Tensor

__all__ = ["next_token", "top_k_filter", "top_p_filter"]


def top_k_filter(logits: Tensor, k: int) -> Tensor:
    """Logits (..., V) with all but the k largest of each row at −∞; ties with the k-th stay."""
    k = min(k, logits.shape[-1])
    smallest = topk(logits, k, dim=-1)[0][..., -1:]  # (..., 1)
    return logits.masked_fill(logits < smallest, -math.inf)


def top_p_filter(logits: Tensor, p: float) -> Tensor:
    """Logits (..., V) with all but the nucleus of each row at −∞ (Holtzman and others, 2020).

    The nucleus: the fewest most likely tokens (one at least) whose probabilities add up to p.
    """
    ordered, order = sort(logits, dim=-1, descending=True)
    probabilities = softmax(ordered, dim=-1)
    before = probabilities.cumsum(-1) - probabilities  # what the more likely tokens add up to
    outside = before >= p
    return logits.masked_fill(zeros_like(outside).scatter(-1, order, outside), -math.inf)


def next_token(
    logits: Tensor, temperature: float = 0.0, top_k: int | None = None, top_p: float | None = None,
    generator: Generator | None = None,
) -> Tensor:  # fmt: skip
    """One token id for each row of logits: (B, V) -> (B, 1).

    temperature 0 takes the largest logit. Otherwise the ids are drawn from softmax(logits /
    temperature), of the top_k largest and of the top_p nucleus only, where given (in this order).
    """
    if temperature == 0.0:
        return logits.argmax(-1, keepdim=True)
    logits = logits / temperature
    if top_k is not None:
        logits = top_k_filter(logits, top_k)
    if top_p is not None and top_p < 1.0:
        logits = top_p_filter(logits, top_p)
    return multinomial(softmax(logits, dim=-1), 1, generator=generator)  # (B, 1)
