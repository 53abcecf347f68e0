"""Data sets of pairs of texts as ids, and how their examples become batches.

Shapes: B examples, N pairs in an example (the answers of a question; otherwise 1), T time (tokens).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ...tensor import Tensor, wrap
from ...text import Tokenizer
from ...utils.data import Dataset
from ..buckets import padded_length
from .rows import Row

__all__ = ["PairDataset", "PairExample", "collate_pairs", "padded_ids", "pair_ids"]

Ids = tuple[list[int], list[int]]  # ids, and which of the two texts each belongs to


class PairExample(NamedTuple):
    """The N pairs of an example as (ids, token types), and its label: a class or a number."""

    pairs: list[Ids]
    label: int | float


def pair_ids(
    tokenizer: Tokenizer, first: str, second: str | None = None, limit: int | None = None
) -> Ids:
    """(ids, token types) of two texts as a BERT reads them: [CLS] first [SEP] second [SEP].

    second: None for one text alone. limit: the most ids; the longer text is cut at its end until
    both fit. The spelling of a special token is ordinary text.
    Raises: ValueError for a text without tokens, or a limit below the special tokens and two more.
    """
    texts = [first] if second is None else [first, second]
    parts = []
    for text in texts:
        ids = tokenizer.encode(text, disallowed_special=(), add_special_tokens=False)
        if not ids:
            raise ValueError(f"the text {text[:60]!r} has no tokens")
        parts.append(list(ids))
    special = len(tokenizer.with_special_tokens([], None if second is None else [])[0])
    if limit is not None:
        room = limit - special
        if room < len(parts):
            raise ValueError(
                f"max_length is {limit}: {special} special tokens leave too little room for "
                f"{len(parts)} texts"
            )
        parts = _cut(parts, room)
    return tokenizer.with_special_tokens(*parts)


def _cut(parts: list[list[int]], room: int) -> list[list[int]]:
    """The texts cut so that they have `room` ids together, the longer one first."""
    if len(parts) == 1:
        return [parts[0][:room]]
    a, b = parts
    half = room // 2
    if len(a) <= room - half:
        return [a, b[: room - len(a)]]
    if len(b) <= half:
        return [a[: room - len(b)], b]
    return [a[: room - half], b[:half]]


class PairDataset(Dataset[PairExample]):
    """Example i is a PairExample; the pairs are encoded when the data set is made.

    rows: with labels as classes' numbers, as numbers, or as the right answers' numbers
    max_length: ids of a pair, see pair_ids; None for no limit
    `lengths` are the ids of each example's longest pair; `cut` says how many examples were cut, and
    `alike` how many have two pairs with the same ids, which no model can tell apart.
    Raises: ValueError without rows; as pair_ids, with the row's place.
    """

    def __init__(
        self, rows: Sequence[Row], tokenizer: Tokenizer, max_length: int | None = None
    ) -> None:
        if not rows:
            raise ValueError("there are no rows")
        self.cut = self.alike = 0
        self.examples: list[PairExample] = []
        for i, row in enumerate(rows):
            try:
                pairs = [pair_ids(tokenizer, row.first, other, max_length) for other in row.seconds]
            except ValueError as error:
                raise ValueError(f"{row.place or f'row {i}'}: {error}") from error
            self.cut += max_length is not None and any(len(p[0]) == max_length for p in pairs)
            self.alike += len({tuple(ids) for ids, _ in pairs}) < len(pairs)
            assert not isinstance(row.label, str)
            self.examples.append(PairExample(pairs, row.label))
        self.max_length = max_length
        self.lengths = [max(len(ids) for ids, _ in e.pairs) for e in self.examples]
        self.labels = np.array([e.label for e in self.examples])  # (N)

    def __getitem__(self, index: int) -> PairExample:
        return self.examples[index]

    def __len__(self) -> int:
        return len(self.examples)


def collate_pairs(
    batch: Sequence[PairExample], pad_token_id: int = 0, buckets: Sequence[int] | None = None
) -> dict[str, Tensor]:
    """A batch of B examples with N pairs each, one under the other.

    "ids", "attention_mask" (1 for tokens, 0 for padding at the right) and "token_type_ids":
    (B·N, T) int64; "labels": (B), int64 for classes and answers, float32 for numbers. T is the
    longest pair's length, or the next of the lengths in `buckets`.
    """
    pairs = [pair for example in batch for pair in example.pairs]  # B·N
    made: dict[str, Any] = dict(padded_ids(pairs, pad_token_id, buckets))
    numbers = [example.label for example in batch]
    kind = np.int64 if all(isinstance(n, int) for n in numbers) else np.float32
    return {**made, "labels": wrap(np.array(numbers, kind))}  # (B)


def padded_ids(
    pairs: Sequence[Ids], pad_token_id: int, buckets: Sequence[int] | None = None
) -> Mapping[str, Tensor]:
    """ids, attention_mask and token_type_ids of (ids, token types), (N, T) int64 each."""
    T = padded_length(max(len(ids) for ids, _ in pairs), buckets)
    ids = np.full((len(pairs), T), pad_token_id, np.int64)  # (N, T)
    mask, types = np.zeros_like(ids), np.zeros_like(ids)  # (N, T) each
    for i, (own, kinds) in enumerate(pairs):
        n = len(own)
        ids[i, :n], mask[i, :n], types[i, :n] = own, 1, kinds
    return {"ids": wrap(ids), "attention_mask": wrap(mask), "token_type_ids": wrap(types)}
