"""Pairs of texts as token ids, and how they become batches.

Shapes: N pairs, B batch, S tokens of the source, T tokens of the target.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...data.batches import IGNORED
from ...tensor import Tensor, wrap
from ...text import Tokenizer
from ...utils.data import Dataset
from ..data import Encoder

__all__ = ["Pair", "PairDataset", "collate_pairs", "encoded", "padded"]

Pair = tuple[list[int], list[int]]  # ids of a source and of its target, each with its end


class PairDataset(Dataset[Pair]):
    """Example i is (ids of source i, ids of target i), each text with its end token.

    rows                 (source, target) texts
    source_tokenizer, target_tokenizer   may be one tokenizer
    ends                 the ids that end a source and a target
    max_source, max_target   the most tokens, the end included; longer texts are cut. A target that
                         is cut has no end, so that the model does not learn to end there

    `lengths` (N, 2) are the tokens of both; `cut` is how many pairs were cut.
    Raises: ValueError without rows, for a text without tokens, and for a limit below 2.
    """

    def __init__(
        self, rows: Sequence[tuple[str, str]], source_tokenizer: Encoder,
        target_tokenizer: Encoder, ends: tuple[int, int], max_source: int | None = None,
        max_target: int | None = None,
    ) -> None:  # fmt: skip
        if not len(rows):
            raise ValueError("there are no pairs of texts")
        for name, limit in (("max_source", max_source), ("max_target", max_target)):
            if limit is not None and limit < 2:
                raise ValueError(f"{name} must be at least 2, a token and the end, got {limit}")
        self.cut = 0
        self.sources: list[list[int]] = []
        self.targets: list[list[int]] = []
        for i, row in enumerate(rows):
            source, target = (
                encoded(f"pair {i}, {side}", text, tokenizer, end)
                for side, text, tokenizer, end in zip(
                    ("source", "target"), row, (source_tokenizer, target_tokenizer), ends,
                    strict=True,
                )
            )  # fmt: skip
            long = max_source is not None and len(source) > max_source
            self.cut += long or (max_target is not None and len(target) > max_target)
            if long and max_source is not None:
                source = [*source[: max_source - 1], ends[0]]
            self.sources.append(source)
            self.targets.append(target[:max_target])
        both = zip(map(len, self.sources), map(len, self.targets), strict=True)
        self.lengths = np.array(list(both), np.int64)  # (N, 2)

    def __len__(self) -> int:
        return len(self.sources)

    def __getitem__(self, index: int) -> Pair:
        return self.sources[index], self.targets[index]


def encoded(where: str, text: str, tokenizer: Any, end: int) -> list[int]:
    """The ids of a text and the end, once. The spelling of a special token is ordinary text.

    where: which text it is, for messages; "" if there is one alone
    tokenizer: one of ours, or anything with encode(text)
    Raises: ValueError, which begins with `where`, for a text without tokens.
    """
    where = f"{where}: " if where else ""
    options = {"disallowed_special": ()} if isinstance(tokenizer, Tokenizer) else {}
    try:
        ids = list(tokenizer.encode(text, **options))
    except ValueError as error:
        raise ValueError(f"{where}{error}") from error
    ids = ids if ids and ids[-1] == end else [*ids, end]
    if len(ids) < 2:
        raise ValueError(f"{where}the text {text!r} has no tokens")
    return ids


def collate_pairs(examples: Sequence[Pair]) -> tuple[Tensor, Tensor, Tensor]:
    """(source ids (B, S), their mask (B, S), labels (B, T)), int64, padded at the right.

    Sources are padded with token 0, which could be any token, because the mask is 0 there; labels
    with -100, which loss and training ignore.
    """
    ids, mask = padded([source for source, _ in examples])
    labels = np.full((len(examples), max(len(t) for _, t in examples)), IGNORED, np.int64)
    for row, (_, target) in zip(labels, examples, strict=True):
        row[: len(target)] = target
    return ids, mask, wrap(labels)


def padded(texts: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """(ids, mask) of texts, (B, S) int64 each: the mask is 1 for tokens and 0 for padding."""
    ids = np.zeros((len(texts), max(map(len, texts))), np.int64)
    mask = np.zeros_like(ids)
    for i, text in enumerate(texts):
        ids[i, : len(text)] = text
        mask[i, : len(text)] = 1
    return wrap(ids), wrap(mask)
