"""Continuous batching: texts join and leave a running batch between two steps.

A step computes one token of each text whose prompt is in its cache, and together with these some
tokens of the prompts that are not. Each text has its own cache (layers.texts_cache): nothing
is copied when one joins or leaves. So every text equals itself alone ("Equal" in the design: the
same ids wherever the best two logits are apart). Source: Yu et al., 2022, "Orca: A Distributed
Serving System for Transformer-Based Generative Models" (scheduling by iterations).
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any, NamedTuple

from ..autograd.grad_mode import no_grad
from ..functions.creation.from_data import tensor
from ..layers.cache import Cache
from ..layers.texts_cache import TextsCache
from ..models.base import device_of, evaluation
from ..random import Generator
from ..tensor import Tensor
from .options import Sampling
from .prefixes import Prefixes
from .sampling import chosen

__all__ = ["ContinuousBatch", "NewToken", "Row"]


class Row:
    """One text: ids (prompt and what was written), how its tokens are chosen; `done` ends it.

    owner: who may share the beginning of its prompt, see Prefixes
    """

    def __init__(
        self, ids: Sequence[int], sampling: Sampling, seed: int | None = None,
        owner: Hashable = None,
    ) -> None:  # fmt: skip
        self.ids, self.sampling, self.owner = list(ids), sampling, owner
        self.generator = None if seed is None else Generator().manual_seed(seed)
        self.done = False
        self.cache: Cache | None = None
        self.n_prompt = len(self.ids)


class NewToken(NamedTuple):
    """A token of a row, and the model's logits (1, V) that it was chosen from."""

    row: Row
    id: int
    logits: Tensor


class ContinuousBatch:
    """Texts that are written together.

    model      a LanguageModel
    most_rows  the most texts at a time; 1 where the model's cache can't join others
    chunk      the most tokens of prompts in a step
    prefixes   where the beginnings of prompts are kept, or None
    """

    def __init__(
        self, model: Any, most_rows: int = 8, chunk: int = 64, prefixes: Prefixes | None = None
    ) -> None:
        self.model, self.chunk, self.prefixes = model, chunk, prefixes
        self.joins = model.new_cache().can_join
        self.most_rows = most_rows if self.joins else 1
        self.rows: list[Row] = []
        self._together = TextsCache()

    @property
    def n_rows(self) -> int:
        """Texts that are being written, or about to be."""
        return len(self.rows)

    def add(self, row: Row) -> None:
        """Let a text join; its prompt and all that it will write must fit in the context."""
        self.rows.append(row)

    def clear(self) -> None:
        """Forget all texts, as after an error."""
        self.rows, self._together = [], TextsCache()
        if self.prefixes is not None:
            self.prefixes.clear()

    def step(self) -> list[NewToken]:
        """One token for each text of the batch, and some tokens of the prompts of those that join.

        Texts whose `done` was set leave first.
        Raises: RuntimeError if the model's logits are NaN.
        """
        with no_grad(), evaluation(self.model):
            for row in self.rows:
                if row.done:
                    self._keep(row, row.ids[:-1])
            self.rows = [row for row in self.rows if not row.done]
            parts = self._parts()
            if not parts:
                return []
            logits = self._logits(parts)  # (rows of parts, V)
            whole = [len(row.cache) == len(row.ids) for row, _ in parts]
            if not all(whole):  # the others have more of a prompt before them
                logits = logits[[i for i, known in enumerate(whole) if known]]
            rows = [row for (row, _), known in zip(parts, whole, strict=True) if known]
            for row in rows:
                if len(row.ids) == row.n_prompt:
                    self._keep(row, row.ids)
            return self._chosen(rows, logits) if rows else []

    def _parts(self) -> list[tuple[Any, int]]:
        """The rows of this step, and how many of their ids each computes."""
        room, parts = self.chunk, []
        for row in self.rows:
            if row.cache is None:
                known = self.prefixes and self.joins and self.prefixes.begin(row.owner, row.ids)
                row.cache = known or self.model.new_cache()
            left = len(row.ids) - len(row.cache)
            if len(row.ids) == row.n_prompt:  # its prompt is being computed
                left = min(left, room)
                room -= left
            if left:
                parts.append((row, left))
        return parts

    def _keep(self, row: Row, ids: list[int]) -> None:
        """The beginning of a text, for those that begin so."""
        if self.prefixes is not None and row.cache is not None and len(row.cache) >= len(ids):
            self.prefixes.keep(row.owner, ids, row.cache)

    def _logits(self, parts: list[tuple[Any, int]]) -> Tensor:
        """The logits (rows of parts, V) after the new ids of each."""
        device = device_of(self.model)
        new = [row.ids[len(row.cache) : len(row.cache) + count] for row, count in parts]
        idx = tensor([[i for ids in new for i in ids]], device=device)  # (1, N)
        cache = parts[0][0].cache
        if self.joins:
            cache = self._together
            cache.take([row.cache for row, _ in parts], [count for _, count in parts])
        logits: Tensor = self.model(idx, cache=cache, last_only=True)  # (1, rows of parts, V)
        return logits[0]  # (1, rows of parts, V) -> (rows of parts, V)

    def _chosen(self, rows: list[Row], logits: Tensor) -> list[NewToken]:
        """The next token of each row, by its logits (rows, V).

        Rows that choose in the same way and do not look at their ids choose together.
        """
        tokens: list[tuple[Row, int, Tensor]] = []
        first = 0
        while first < len(rows):
            last, sampling = first + 1, rows[first].sampling
            if sampling.repetition_penalty == 1.0:
                while last < len(rows) and rows[last].sampling == sampling:
                    last += 1
            some, own = rows[first:last], logits[first:last]  # (rows, V) -> (some, V)
            idx = tensor([some[0].ids], device=device_of(self.model))  # (1, T), of one row alone
            ids = chosen(own, idx, sampling, [row.generator for row in some])  # (some, 1)
            tokens += zip(some, ids[:, 0].tolist(), own.split(1), strict=True)
            first = last
        for row, token, _ in tokens:
            row.ids.append(token)
        return [NewToken(row, token, own) for row, token, own in tokens]
