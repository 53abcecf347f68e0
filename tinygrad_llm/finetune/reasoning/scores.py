"""Log-probabilities of each token that counts, as reinforcement learning needs them.

Shapes: N answers, T tokens, C channels, V vocabulary, M tokens that count.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...functions.selection import where
from ...functions.softmax import log_softmax
from ...models.base import LanguageModel
from ...nn import functional as F
from ...tensor import Tensor, wrap

__all__ = ["mean_entropy", "token_log_probabilities", "token_logits", "token_values"]


def token_logits(
    model: Any, ids: Tensor, mask: Tensor, temperature: float = 1.0
) -> tuple[Tensor, Tensor]:
    """(logits (M, V) from which the tokens that count are drawn, these tokens (M)).

    ids (N, T), padded at the right; mask (N, T) bool. Only rows of logits that are needed are
    computed.
    """
    row, place = _places(mask)
    if isinstance(model, LanguageModel):
        hidden = model.hidden_states(ids)  # (N, T, C)
        logits = model.head(hidden[row, place])  # (N, T, C) -> (M, C) -> (M, V)
    else:
        logits = model(ids)[row, place]  # (N, T, V) -> (M, V)
    if temperature != 1.0:
        logits = logits / temperature
    return logits, ids[row, place + 1]


def token_values(model: Any, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """(hidden states (M, C) from which the tokens that count are drawn, their values (N, T)).

    A token's value is what the model's value head expects before it is drawn; 0 elsewhere.
    """
    row, place = _places(mask)
    hidden = model.hidden_states(ids)[row, place]  # (N, T, C) -> (M, C)
    return hidden, spread(model.value_head(hidden)[:, 0], mask)  # (M, 1) -> (M) -> (N, T)


def _places(mask: Tensor) -> tuple[Tensor, Tensor]:
    """(rows, places) of the tokens before those that count, (M) each."""
    from ...arrays.devices import xp_of

    row, place = (wrap(i) for i in xp_of(mask.array).nonzero(mask.array[:, 1:]))
    return row, place


def token_log_probabilities(
    model: Any, ids: Tensor, mask: Tensor, temperature: float = 1.0
) -> Tensor:
    """log π of each token, (N, T): at the tokens that count, and 0 elsewhere.

    ids (N, T) int64; mask (N, T) bool, False at the first token, which nothing predicts;
    temperature: with which the tokens were drawn
    """
    logits, tokens = token_logits(model, ids, mask, temperature)  # (M, V), (M)
    return spread(-F.cross_entropy(logits, tokens, reduction="none"), mask)  # (M) -> (N, T)


def log_probabilities(
    model: Any, hidden: Tensor, ids: Tensor, mask: Tensor, temperature: float = 1.0
) -> Tensor:
    """As token_log_probabilities, (N, T), from hidden states (M, C) of token_values."""
    row, place = _places(mask)
    logits = model.head(hidden) / temperature  # (M, C) -> (M, V)
    tokens = ids[row, place + 1]  # (N, T) -> (M)
    return spread(-F.cross_entropy(logits, tokens, reduction="none"), mask)  # (M) -> (N, T)


def spread(values: Tensor, mask: Tensor) -> Tensor:
    """Numbers (M) of the tokens that count, at their places (N, T); 0 elsewhere."""
    from ...arrays.devices import xp_of

    xp, counts = xp_of(mask.array), mask.array
    order = xp.cumsum(counts.reshape(-1)).reshape(counts.shape) - 1  # (N, T)
    return where(mask, values[wrap(xp.maximum(order, 0))], 0.0)  # (M) -> (N, T)


def mean_entropy(logits: Tensor) -> float:
    """The mean entropy of the distributions (M, V), in nats."""
    log_p = log_softmax(logits, dim=-1)  # (M, V)
    return float(-(log_p.exp() * log_p).sum(-1).mean().item())


def as_mask(mask: np.ndarray, like: Any) -> Tensor:
    """A mask (N, T) of NumPy on the device of a model."""
    from ...training.step import to_device_of

    moved: Tensor = to_device_of(like, wrap(mask))
    return moved
