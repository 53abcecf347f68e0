"""Texts for the contrastive loss: alone, in pairs, or with a hard negative each.

Shapes: B examples, K texts of an example (2 or 3), T time (tokens).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ...distributed.steps import divided
from ...functions.shape.join import cat
from ...text import Tokenizer
from ...training.ranks import part_of_rows
from ...utils.data import Dataset
from ..files import read_columns
from ..pairs.data import Ids, padded_ids, pair_ids

__all__ = [
    "EmbeddingDataset", "SharedPieces", "collate_texts", "hard_negatives", "part_of_texts",
    "read_texts",
]  # fmt: skip

Texts = tuple[str, ...]  # a text alone, with its partner, or with a partner and a hard negative


def read_texts(path: str, columns: Sequence[tuple[str, str]]) -> list[Texts]:
    """The named columns of every row of a file, none of them empty; columns: see read_columns.

    Raises: ValueError, which names the place.
    """
    rows = []
    for place, values in read_columns(path, columns):
        for (_, name), value in zip(columns, values, strict=True):
            if not value.strip():
                raise ValueError(f"{place}: {name!r} is empty")
        rows.append(values)
    return rows


class EmbeddingDataset(Dataset[list[Ids]]):
    """Example i is the ids of its one, two or three texts.

    rows: texts; all rows have as many. max_length: ids of a text; longer ones are cut
    Raises: ValueError without rows, for rows of different sizes, or a text without tokens.
    """

    def __init__(
        self, rows: Sequence[Texts], tokenizer: Tokenizer, max_length: int | None = None
    ) -> None:
        if not rows:
            raise ValueError("there are no texts")
        if len({len(row) for row in rows}) > 1:
            raise ValueError("all rows need the same number of texts")
        self.examples: list[list[Ids]] = []
        for i, row in enumerate(rows):
            try:
                self.examples.append([pair_ids(tokenizer, t, None, max_length) for t in row])
            except ValueError as error:
                raise ValueError(f"row {i}: {error}") from error
        self.lengths = [max(len(ids) for ids, _ in example) for example in self.examples]

    def __getitem__(self, index: int) -> list[Ids]:
        return self.examples[index]

    def __len__(self) -> int:
        return len(self.examples)


def collate_texts(
    batch: Sequence[list[Ids]], pad_token_id: int = 0, buckets: Sequence[int] | None = None
) -> Mapping[str, Any]:
    """A batch: first all texts, then all partners, then all hard negatives, (K·B, T) int64.

    A text alone is its own partner: dropout makes the two vectors differ. "n": B.
    """
    texts = [list(column) for column in zip(*batch, strict=True)]  # K lists of B
    if len(texts) == 1:
        texts = texts * 2
    rows = [ids for column in texts for ids in column]  # K·B
    return {**padded_ids(rows, pad_token_id, buckets), "n": len(batch)}


def part_of_texts(batch: Mapping[str, Any], rank: int, size: int) -> dict[str, Any] | None:
    """The texts of a batch of collate_texts that belong to a rank, with their partners.

    "others": (number of the rank's first text, texts of all ranks): the texts of the other ranks
    are negatives too. A batch with fewer texts than ranks is that of rank 0.
    """
    B = batch["n"]
    if B < size:
        return dict(batch) if rank == 0 else None
    own: dict[str, Any] = {}
    for name, rows in batch.items():
        if name != "n":
            columns = [part_of_rows((column,), rank, size)[0] for column in rows.split(B)]
            own[name] = cat(columns)  # K times (b, T) -> (K·b, T)
    parts = divided(B, size)
    return {**own, "n": parts[rank], "others": (sum(parts[:rank]), B)}


class SharedPieces:
    """Texts, and how many pairs of characters each shares with another text.

    texts: N different ones
    """

    def __init__(self, texts: Sequence[str]) -> None:
        self.number = {text: i for i, text in enumerate(texts)}
        pieces = [_bigrams(text) for text in texts]
        self._sizes = np.array([len(p) for p in pieces])  # (N)
        where: dict[str, list[int]] = {}
        for i, own in enumerate(pieces):
            for piece in own:
                where.setdefault(piece, []).append(i)
        self._places = {piece: np.array(rows) for piece, rows in where.items()}

    def shares(self, text: str) -> np.ndarray:
        """|A ∩ B| / |A ∪ B| of the pairs of characters of a text and of each of the N (Jaccard)."""
        own = _bigrams(text)
        lists = [self._places[piece] for piece in own if piece in self._places]
        rows = np.concatenate(lists) if lists else np.empty(0, np.int64)
        shared = np.bincount(rows, minlength=len(self._sizes))  # (N)
        return np.asarray(shared / (self._sizes + len(own) - shared))


def hard_negatives(pairs: Sequence[tuple[str, str]], others: Sequence[str]) -> list[str]:
    """For each pair the text that shares most pairs of characters with the first, as Jaccard's.

    others: the texts to look in; those that a pair joins with the first text are left out. They may
    mean the same as the first: nobody read them.
    Raises: ValueError if nothing is left for a pair.
    """
    texts = list(dict.fromkeys(others))
    pieces = SharedPieces(texts)
    joined: dict[str, set[str]] = {}
    for a, b in pairs:
        joined.setdefault(a, {a}).add(b)
        joined.setdefault(b, {b}).add(a)
    chosen = []
    for a, _ in pairs:
        share = pieces.shares(a)  # (N)
        for text in joined[a]:
            if text in pieces.number:
                share[pieces.number[text]] = -1.0
        best = int(share.argmax())
        if share[best] < 0:
            raise ValueError(f"no text is left that could be a negative of {a[:60]!r}")
        chosen.append(texts[best])
    return chosen


def _bigrams(text: str) -> set[str]:
    letters = "".join(text.lower().split())
    return {letters[i : i + 2] for i in range(max(1, len(letters) - 1))}
