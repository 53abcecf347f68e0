"""The choice of the next token: greedy, or drawn with a temperature, from the top k or top p."""

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
    """Logits (..., V), all except the k largest of each row set to −∞; ties with the k-th stay."""
    k = min(k, logits.shape[-1])
    smallest = topk(logits, k, dim=-1)[0][..., -1:]  # (..., 1)
    return logits.masked_fill(logits < smallest, -math.inf)


def top_p_filter(logits: Tensor, p: float) -> Tensor:
    """Logits (..., V), all except the nucleus of each row set to −∞.

    The nucleus: the fewest most likely tokens (at least one) whose probabilities add up to p.
    Source: Holtzman et al., 2020, "The Curious Case of Neural Text Degeneration".
    """
    ordered, order = sort(logits, dim=-1, descending=True)
    probabilities = softmax(ordered, dim=-1)
    before = probabilities.cumsum(-1) - probabilities  # the sum over the more likely tokens
    outside = before >= p
    return logits.masked_fill(zeros_like(outside).scatter(-1, order, outside), -math.inf)


def next_token(
    logits: Tensor, temperature: float = 0.0, top_k: int | None = None, top_p: float | None = None,
    generator: Generator | None = None,
) -> Tensor:  # fmt: skip
    """One token id for each row of logits: (B, V) -> (B, 1).

    temperature 0 takes the largest logit. Otherwise the ids are drawn from softmax(logits /
    temperature), only from the top_k largest and then only from the top_p nucleus, where given.
    """
    if temperature == 0.0:
        return logits.argmax(-1, keepdim=True)
    logits = logits / temperature
    if top_k is not None:
        logits = top_k_filter(logits, top_k)
    if top_p is not None and top_p < 1.0:
        logits = top_p_filter(logits, top_p)
    return multinomial(softmax(logits, dim=-1), 1, generator=generator)  # (B, 1)
