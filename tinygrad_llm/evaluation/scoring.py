"""ln p of the last tokens of many rows; what rows have in common at their beginning is read once.

The choices of a question share the question, and all questions share the shots before them. So the
shots are read once and stay in a KV cache; then comes each question, after which the cache becomes
a batch with a row for each choice, of which only the choice's own tokens are left to read:

    shots | question 1 | " Paris"            one pass for the shots, one for each question,
                       | " Rome"             one for all of its choices, in a batch
          | question 2 | ...                 (none if a choice is one token, such as a letter)

The numbers are those of reading each row alone, up to rounding.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..arrays.devices import device_of as device_of_array
from ..arrays.devices import move, to_numpy
from ..autograd.grad_mode import no_grad
from ..functions.creation.from_data import tensor
from ..functions.shape.join import cat
from ..layers.cache import Cache
from ..models.base import LanguageModel, device_of, evaluation
from ..nn import functional as F
from ..tensor import Tensor, dtypes

__all__ = ["Scored", "score_rows"]

SCORED = 1 << 24  # logits at a time: 64 MB in float32
LEAST_SHARED = 16  # tokens; to read fewer again costs less than separate passes

Ids = Sequence[int]


class Scored(NamedTuple):
    """Of the last n tokens of a row: ln p (n) in float64, and whether each was the likeliest."""

    log_probs: np.ndarray
    greedy: np.ndarray


@no_grad()
def score_rows(
    model: LanguageModel, rows: Sequence[Ids], counts: Sequence[int], batch_size: int
) -> list[Scored]:
    """The scores of the last counts[i] tokens of each row, which has more tokens than that."""
    groups: dict[tuple[int, ...], list[int]] = {}
    for i, (row, n) in enumerate(zip(rows, counts, strict=True)):
        groups.setdefault(tuple(row[: len(row) - n]), []).append(i)
    shared = _shared(list(groups)) if len(groups) > 1 else 0
    shared = shared if shared >= LEAST_SHARED else 0
    alone = [i for own in groups.values() for i in own if len(own) == 1 and not shared]
    scored: dict[int, Scored] = {}
    with evaluation(model):
        scored.update(_apart(model, rows, counts, alone, batch_size))
        cache = None
        for context, own in groups.items():
            if own[0] in scored:
                continue
            cache = _with_shared(model, cache, context[:shared])
            scored.update(_choices(model, cache, len(context), rows, own, batch_size))
    return [scored[i] for i in range(len(rows))]


def _shared(contexts: Sequence[tuple[int, ...]]) -> int:
    """How many tokens all contexts begin with, and each goes on after them."""
    n = len(os.path.commonprefix(contexts))
    return min(n, min(map(len, contexts)) - 1)


def _apart(
    model: LanguageModel, rows: Sequence[Ids], counts: Sequence[int], chosen: Sequence[int],
    batch_size: int,
) -> dict[int, Scored]:  # fmt: skip
    """The scores of the chosen rows, which share nothing.

    Rows of about the same length share a batch, padded at the right, where no token looks.
    """
    order = sorted(chosen, key=lambda i: -len(rows[i]))
    scored = {}
    for start in range(0, len(order), batch_size):
        some = order[start : start + batch_size]
        hidden = _read(model, [rows[i][:-1] for i in some], None)  # (B, T, C)
        for b, i in enumerate(some):
            n, end = counts[i], len(rows[i]) - 1
            places, targets = np.arange(n), np.asarray(rows[i][-n:], np.int64)
            scored[i] = _scored(model, hidden[b, end - n : end], places, targets)
    return scored


def _read(model: LanguageModel, rows: Sequence[Ids], cache: Cache | None) -> Tensor:
    """The hidden states (B, T, C) after rows of tokens, the longest first, padded at the right."""
    ids = np.zeros((len(rows), len(rows[0])), np.int64)
    for line, row in zip(ids, rows, strict=True):
        line[: len(row)] = row
    hidden: Tensor = model.hidden_states(tensor(ids).to(device_of(model)), cache)
    return hidden


def _with_shared(model: LanguageModel, cache: Cache | None, shared: Ids) -> Cache:
    """A cache of one row that holds the shared tokens alone: the old one if it can go back."""
    n = len(shared)
    if cache is not None and n and all(layer.can_truncate(n) for layer in cache.layers):
        cache.truncate(n)
        cache.reorder([0])
        return cache
    cache = model.new_cache()
    if n:
        _read(model, [shared], cache)
    return cache


def _choices(
    model: LanguageModel, cache: Cache, end: int, rows: Sequence[Ids], own: Sequence[int],
    batch_size: int,
) -> dict[int, Scored]:  # fmt: skip
    """The scores of rows with the same first `end` tokens, of which the cache holds some."""
    order = sorted(own, key=lambda i: -len(rows[i]))
    hidden = [_read(model, [rows[order[0]][len(cache) : end]], cache)[0, -1:]]  # (1, C)
    places, total = {}, 1
    for start in range(0, len(order), batch_size):
        some = [i for i in order[start : start + batch_size] if len(rows[i]) > end + 1]
        if some:
            cache.truncate(end)
            cache.reorder([0] * len(some))
            states = _read(model, [rows[i][end:-1] for i in some], cache)  # (B, T, C)
        for b, i in enumerate(order[start : start + batch_size]):
            n = len(rows[i]) - end - 1  # tokens of the choice after its first
            places[i] = [0, *range(total, total + n)]
            total += n
            if n:
                hidden.append(states[b, :n])
    targets = {i: rows[i][end:] for i in order}
    joined = np.concatenate([np.asarray(places[i], np.int64) for i in order])
    scores = _scored(
        model, cat(hidden, 0), joined,
        np.concatenate([np.asarray(targets[i], np.int64) for i in order]),
    )  # fmt: skip
    ends = np.cumsum([len(places[i]) for i in order])[:-1]  # (rows - 1)
    parts = zip(np.split(scores.log_probs, ends), np.split(scores.greedy, ends), strict=True)
    return {i: Scored(*part) for i, part in zip(order, parts, strict=True)}


def _scored(
    model: LanguageModel, hidden: Tensor, places: np.ndarray, targets: np.ndarray
) -> Scored:  # fmt: skip
    """The scores of targets (N), each after one of the hidden states (U, C), by its place (N)."""
    log_probs, greedy = np.empty(len(targets)), np.empty(len(targets), bool)
    step = max(1, SCORED // model.config.vocab_size)
    for start in range(0, hidden.shape[0], step):
        logits = model.head(hidden[start : start + step]).to(dtypes.float32)  # (u, V)
        each = F.log_softmax(logits, -1)
        some = np.flatnonzero((places >= start) & (places < start + logits.shape[0]))
        at, target = places[some] - start, targets[some]
        index = tuple(move(i, *device_of_array(each.array)) for i in (at, target))
        log_probs[some] = to_numpy(each.array[index])  # (u, V) -> (some)
        greedy[some] = to_numpy(logits.argmax(-1).array)[at] == target
    return Scored(log_probs, greedy)
