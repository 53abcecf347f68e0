"""BERTScore: words are compared by the vectors that a BERT makes of them, not by their letters.

    scores = bert_score(["a cat sat there"], ["a kitten was sitting"])     # with MiniLM
    print(scores)

Both texts go through the encoder; x_i are the hidden states of the text's tokens, y_j those of the
reference's, all of length 1. Each token is matched with the most similar one of the other text:

    precision = Σ_i w_i · max_j x_i·y_j / Σ_i w_i
    recall    = Σ_j w_j · max_i x_i·y_j / Σ_j w_j

w is 1 for every token, or with idf log((N + 1)/(n + 1)) for a token that n of N references have.
[CLS] and [SEP] weigh nothing, but a token may match them. Scores of different encoders cannot be
compared, and even unrelated texts do not score 0: compare with a baseline. Source: Zhang et al.
(2020), "BERTScore: evaluating text generation with BERT"; the numbers are those of bert-score.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from ..autograd.grad_mode import no_grad
from ..models.base import device_of, evaluation
from ..tensor import Tensor, wrap
from .text_scores import TextScores

__all__ = ["bert_score", "match_tokens"]

MINILM = "all-minilm-l6-v2"


def match_tokens(
    x: np.ndarray, y: np.ndarray, x_weights: np.ndarray | None = None,
    y_weights: np.ndarray | None = None,
) -> tuple[float, float]:  # fmt: skip
    """Precision and recall of the greedy matches of x (M, C) with the reference y (N, C).

    x_weights (M) and y_weights (N): of the tokens, None for 1 each. Vectors may have any length.
    Returns 0 and 0 if one of the two weighs nothing, such as an empty text.
    """
    w = np.ones(len(x)) if x_weights is None else np.asarray(x_weights, np.float64)
    v = np.ones(len(y)) if y_weights is None else np.asarray(y_weights, np.float64)
    if not w.sum() or not v.sum():
        return 0.0, 0.0
    cosines = _unit(x) @ _unit(y).T  # (M, C) and (N, C) -> (M, N)
    precision = cosines.max(1) @ w / w.sum()  # (M, N) -> (M) -> ()
    recall = cosines.max(0) @ v / v.sum()  # (M, N) -> (N) -> ()
    return float(precision), float(recall)


def _unit(x: np.ndarray) -> np.ndarray:
    x = np.asarray(x, np.float64)
    return x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-12)


def bert_score(
    hypotheses: Sequence[str], references: Sequence[str], *, model: Any = None,
    tokenizer: Any = None, idf: bool = False, layer: int | None = None, batch_size: int = 32,
) -> TextScores:  # fmt: skip
    """BERTScore of N texts against their references.

    model: an encoder such as Bert with its tokenizer; None for MiniLM, from an installed package or
        a download (English; for Japanese pass a Japanese one)
    idf: whether rare tokens weigh more, by the references; layer: after which block the hidden
        states are taken, None for the last; batch_size: texts per step
    Texts longer than the encoder's context are cut.
    Raises: ValueError or TypeError for lists that do not fit; what models.from_pretrained raises
    if MiniLM is not there.
    """
    for texts in (hypotheses, references):
        if isinstance(texts, str):
            raise TypeError("BERTScore takes lists of texts, got one text: put it into a list")
    if not len(hypotheses) or len(hypotheses) != len(references):
        raise ValueError(f"there are {len(hypotheses)} texts and {len(references)} references")
    if (model is None) != (tokenizer is None):
        raise ValueError("pass both a model and its tokenizer, or neither")
    if model is None:
        model, tokenizer = _minilm()
    hypotheses, references = list(map(str.strip, hypotheses)), list(map(str.strip, references))
    empty, limit = tokenizer.encode(""), model.context_length
    ids = {
        text: _cut(tokenizer.encode(text), limit) for text in dict.fromkeys(hypotheses + references)
    }
    weight = _Idf([ids[text] for text in references]) if idf else _Plain(empty)
    vectors = _hidden_states(model, ids, layer, batch_size)
    weights = {text: np.array([weight[i] for i in row]) for text, row in ids.items()}
    pairs = [
        match_tokens(vectors[a], vectors[b], weights[a], weights[b])
        for a, b in zip(hypotheses, references, strict=True)
    ]
    return TextScores.of(pairs)


@cache
def _minilm() -> tuple[Any, Any]:
    from .. import models, text

    return models.from_pretrained(MINILM), text.from_pretrained(MINILM)


def _cut(ids: Sequence[int], limit: int) -> list[int]:
    """At most `limit` ids, the last of them the text's last: [SEP]."""
    return list(ids) if len(ids) <= limit else [*ids[: limit - 1], ids[-1]]


class _Plain(dict[int, float]):
    """Weight 1 for every token except those of an empty text: [CLS] and [SEP]."""

    def __init__(self, empty: Sequence[int]) -> None:
        super().__init__({i: 0.0 for i in empty})

    def __missing__(self, token: int) -> float:
        return 1.0


class _Idf(dict[int, float]):
    """log((N + 1)/(n + 1)) for a token that n of N references have."""

    def __init__(self, references: Sequence[Sequence[int]]) -> None:
        counts = Counter(token for row in references for token in set(row))
        self.most = len(references) + 1
        super().__init__({i: math.log(self.most / (n + 1)) for i, n in counts.items()})

    def __missing__(self, token: int) -> float:
        return math.log(self.most)


def _hidden_states(
    model: Any, ids: dict[str, list[int]], layer: int | None, batch_size: int
) -> dict[str, np.ndarray]:
    """The vectors (T, C) of each text's T tokens."""
    seen: list[Tensor] = []
    handle = None
    if layer is not None:
        blocks = model.trf_blocks
        if not 1 <= layer <= len(blocks):
            raise ValueError(f"layer must be between 1 and {len(blocks)}, got {layer}")
        handle = blocks[layer - 1].register_forward_hook(lambda *call: seen.append(call[-1]))
    texts = sorted((text for text in ids if ids[text]), key=lambda text: len(ids[text]))
    vectors = {text: np.zeros((0, 1)) for text in ids if not ids[text]}
    try:
        with evaluation(model), no_grad():
            for first in range(0, len(texts), batch_size):
                batch = texts[first : first + batch_size]
                x = model.hidden_states(*_padded([ids[text] for text in batch], device_of(model)))
                x = seen.pop() if seen else x  # (B, T, C)
                for text, row in zip(batch, x.cpu().numpy(), strict=True):
                    vectors[text] = row[: len(ids[text])].copy()  # (T, C) -> without padding
    finally:
        if handle is not None:
            handle.remove()
    return vectors


def _padded(rows: Sequence[Sequence[int]], device: Any) -> tuple[Tensor, Tensor]:
    """ids and attention mask (B, T) int64, padded at the right."""
    ids = np.zeros((len(rows), max(map(len, rows))), np.int64)  # (B, T)
    mask = np.zeros_like(ids)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = row
        mask[i, : len(row)] = 1
    return wrap(ids).to(device), wrap(mask).to(device)
