"""Continuous batching: texts join and leave a running batch between two steps.

A text's prompt goes through the model alone, a chunk between two steps of the batch; then its row
of the KV cache joins the batch, aligned at the right, with padding at the left. So every text
equals itself alone ("Equal" in the design: the same ids wherever the best two logits are apart).
Source: Yu et al., 2022, "Orca: A Distributed Serving System for Transformer-Based Generative
Models" (scheduling by iterations).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any, NamedTuple

from ..autograd.grad_mode import no_grad
from ..functions.creation.from_data import tensor
from ..layers.cache import Cache
from ..models.base import device_of, evaluation
from ..random import Generator
from ..tensor import Tensor
from .options import Sampling
from .sampling import chosen

__all__ = ["ContinuousBatch", "NewToken", "Row"]


class Row:
    """One text: ids (prompt and what was written), how its tokens are chosen; `done` ends it."""

    def __init__(self, ids: Sequence[int], sampling: Sampling, seed: int | None = None) -> None:
        self.ids, self.sampling = list(ids), sampling
        self.generator = None if seed is None else Generator().manual_seed(seed)
        self.done = False
        self.cache: Cache | None = None  # its own, until it joins
        self.place = 0  # its row of the batch
        self.padding = 0


class NewToken(NamedTuple):
    """A token of a row, and the model's logits (1, V) that it was chosen from."""

    row: Row
    id: int
    logits: Tensor


class ContinuousBatch:
    """Texts that are written together.

    model      a LanguageModel; its new_cache must be able to join rows for more than one text
    most_rows  the most texts at a time; 1 where the model's cache can't join rows
    chunk      the most tokens of a prompt between two steps
    """

    def __init__(self, model: Any, most_rows: int = 8, chunk: int = 64) -> None:
        self.model, self.chunk = model, chunk
        self.most_rows = most_rows if model.new_cache().can_join else 1
        self.rows: list[Row] = []
        self._beginning: deque[Row] = deque()
        self._ready: list[Row] = []
        self._cache: Cache | None = None
        self._padding: Tensor | None = None

    @property
    def n_rows(self) -> int:
        """Texts that are in the batch or about to join it."""
        return len(self.rows) + len(self._beginning) + len(self._ready)

    def add(self, row: Row) -> None:
        """Let a text join; its prompt and all that it will write must fit in the context."""
        self._beginning.append(row)

    def clear(self) -> None:
        """Forget all texts, as after an error."""
        self.rows, self._ready, self._cache, self._padding = [], [], None, None
        self._beginning.clear()

    def step(self) -> list[NewToken]:
        """One token for each text of the batch, and a chunk of the prompt of one that joins.

        Texts whose `done` was set leave first.
        Raises: RuntimeError if the model's logits are NaN.
        """
        with no_grad(), evaluation(self.model):
            self._regroup()
            return [*self._next_tokens(), *self._begin()]

    def _regroup(self) -> None:
        rows = [row for row in [*self.rows, *self._ready] if not row.done]
        self._beginning = deque(row for row in self._beginning if not row.done)
        if len(rows) == len(self.rows) and not self._ready:
            return
        self._ready = []
        if not rows:
            self.rows, self._cache, self._padding = [], None, None
            return
        sources = [(row.cache or self._cache, row.place, row.padding) for row in rows]
        alone = len(rows) == 1 and rows[0].cache is not None
        self._cache = rows[0].cache if alone else Cache.of_rows(sources)  # type: ignore[arg-type]
        self.rows, length = rows, len(self._cache)  # type: ignore[arg-type]
        for place, row in enumerate(rows):  # all ids except the newest are in the cache
            row.cache, row.place, row.padding = None, place, length - (len(row.ids) - 1)
        padding = [row.padding for row in rows]
        device = device_of(self.model)
        self._padding = tensor(padding, device=device) if any(padding) else None  # (B)

    def _next_tokens(self) -> list[NewToken]:
        if not self.rows:
            return []
        newest = tensor([[row.ids[-1]] for row in self.rows], device=device_of(self.model))
        logits = self._logits(newest, self._cache, self._padding)  # (B, V)
        rows = zip(self.rows, logits.split(1), strict=True)  # (1, V) each
        return [self._choose(row, own) for row, own in rows]

    def _begin(self) -> list[NewToken]:
        if not self._beginning:
            return []
        row = self._beginning[0]
        row.cache = row.cache or self.model.new_cache()
        start = len(row.cache)
        ids = row.ids[start : start + self.chunk]
        logits = self._logits(tensor([ids], device=device_of(self.model)), row.cache)  # (1, V)
        if len(row.cache) < len(row.ids):
            return []
        self._beginning.popleft()
        self._ready.append(row)
        return [self._choose(row, logits)]

    def _logits(self, idx: Tensor, cache: Any, padding: Tensor | None = None) -> Tensor:
        options = {} if padding is None else {"padding": padding}
        logits: Tensor = self.model(idx, cache=cache, last_only=True, **options)
        return logits[:, -1]  # (B, 1, V) -> (B, V)

    def _choose(self, row: Row, logits: Tensor) -> NewToken:
        idx = tensor([row.ids], device=device_of(self.model))  # (1, T)
        token = int(chosen(logits, idx, row.sampling, [row.generator]).item())
        row.ids.append(token)
        return NewToken(row, token, logits)
