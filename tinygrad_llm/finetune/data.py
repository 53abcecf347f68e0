"""Data sets for fine-tuning, and how their examples become batches.

TextClassificationDataset   a text and its class, all texts with the same length
InstructionDataset          prompt and response as one text; collate_instructions pads a batch
PreferenceDataset           a prompt with a chosen and a rejected response; collate_preferences

Shapes: B batch, T time (tokens). A tokenizer is anything with encode(text) -> list of ids. Ours
refuse a text that contains the spelling of a special token, so that none is added by accident.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

import numpy as np

from ..functions.shape.join import cat
from ..models.classifier import END_OF_TEXT, real_lengths
from ..tensor import Tensor, wrap
from ..text import Tokenizer
from ..training.ranks import part_of_rows
from ..utils.data import Dataset
from .buckets import padded_length
from .masks import loss_mask, targets_of
from .prompts import PromptStyle, style_of

__all__ = [
    "Encoder",
    "Examples",
    "InstructionDataset",
    "PreferenceDataset",
    "TextClassificationDataset",
    "collate_classification",
    "collate_instructions",
    "collate_preferences",
    "part_of_preferences",
    "real_lengths",
    "text_ids",
    "text_windows",
]

E = TypeVar("E")  # an example


class Examples(Protocol):
    """A data set of known length."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Any: ...


class Encoder(Protocol):
    """What the data sets need of a tokenizer."""

    def encode(self, text: str, /) -> Sequence[int]:
        """The ids of a text."""
        ...


def text_ids(
    tokenizer: Encoder, text: str, limit: int | None = None, **options: Any
) -> list[int]:  # fmt: skip
    """The ids of a text, at most `limit` of them: a long text is cut at its end.

    The special tokens that the tokenizer puts around a text, such as [CLS] and [SEP], stay.
    options: more arguments of tokenizer.encode
    """
    ids = list(tokenizer.encode(text, **options))
    if limit is None or len(ids) <= limit or not isinstance(tokenizer, Tokenizer):
        return ids[:limit]
    inner = tokenizer.encode(text, add_special_tokens=False, **options)
    room = max(0, limit - (len(ids) - len(inner)))
    return tokenizer.with_special_tokens(inner[:room])[0][:limit]


def text_windows(tokenizer: Encoder, text: str, limit: int, **options: Any) -> list[list[int]]:
    """A long text as windows that follow one another, each of at most `limit` tokens.

    Each window has the special tokens that the tokenizer puts around a text. A text that fits is
    one window. options: more arguments of tokenizer.encode
    """
    whole = list(tokenizer.encode(text, **options))
    if len(whole) <= limit:
        return [whole]
    if not isinstance(tokenizer, Tokenizer):
        return [whole[i : i + limit] for i in range(0, len(whole), limit)]
    inner = tokenizer.encode(text, add_special_tokens=False, **options)
    room = max(1, limit - (len(whole) - len(inner)))
    parts = (inner[i : i + room] for i in range(0, len(inner), room))
    return [tokenizer.with_special_tokens(part)[0][:limit] for part in parts]


@contextmanager
def _place(where: str) -> Iterator[None]:
    """Within it a tokenizer's error, such as a character that it does not know, names the row."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def _check_length(max_length: int | None) -> None:
    if max_length is not None and max_length < 1:
        raise ValueError(f"max_length must be at least 1, got {max_length}")


# ---------------------------------------------------------------------------- classification
class TextClassificationDataset(Dataset[tuple[Tensor, Tensor]]):
    """Example i is (ids (T) int64, label 0-d int64); every text has the same length T.

    rows: (text, label) pairs, labels 0, 1, 2 ...
    max_length: T; longer texts are cut at the end, shorter ones are padded. None: the longest text
        here (pass the training set's `max_length` to the validation and test sets)
    pad_token_id: the id that pads a short text

    `lengths` are the numbers of tokens without padding.
    Raises: ValueError without rows, for a text without tokens and for a max_length below 1;
    TypeError if a label is not an integer.
    """

    def __init__(
        self,
        rows: Sequence[tuple[str, int]],
        tokenizer: Encoder,
        max_length: int | None = None,
        pad_token_id: int = END_OF_TEXT,
    ) -> None:
        _check_length(max_length)
        if not rows:
            raise ValueError("there are no rows to classify")
        encoded = []
        for i, (text, _) in enumerate(rows):
            with _place(f"row {i}"):
                encoded.append(list(tokenizer.encode(text)))
        for i, ids in enumerate(encoded):
            if not ids:
                raise ValueError(f"row {i}: the text {rows[i][0]!r} has no tokens")
        for i, (_, label) in enumerate(rows):
            if isinstance(label, bool) or not isinstance(label, int | np.integer):
                raise TypeError(f"row {i}: the label must be an integer, got {label!r}")
            if label < 0:
                raise ValueError(f"row {i}: the label must be 0 or more, got {label}")
        self.pad_token_id = pad_token_id
        self.max_length = max(map(len, encoded)) if max_length is None else max_length
        self.lengths = [min(len(ids), self.max_length) for ids in encoded]
        self.labels = np.array([label for _, label in rows], np.int64)  # (N)
        self.ids = np.full((len(rows), self.max_length), pad_token_id, np.int64)  # (N, T)
        for row, ids, length in zip(self.ids, encoded, self.lengths, strict=True):
            row[:length] = ids[:length]

    def first(self, n: int) -> TextClassificationDataset:
        """The first n examples (all, if there are fewer) as another data set."""
        part = copy.copy(self)
        part.lengths, part.labels, part.ids = self.lengths[:n], self.labels[:n], self.ids[:n]
        return part

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return wrap(self.ids[index].copy()), wrap(np.array(self.labels[index]))

    def __len__(self) -> int:
        return len(self.ids)


def collate_classification(
    batch: Sequence[tuple[Tensor, Tensor]],
    pad_token_id: int = END_OF_TEXT,
    buckets: Sequence[int] | None = None,
) -> tuple[Tensor, Tensor]:
    """(ids (B, T), labels (B)) of examples of TextClassificationDataset, int64.

    buckets: T is cut to the next of these lengths, see buckets.py; None for the data set's length
    """
    ids = np.stack([ids.array for ids, _ in batch])  # (B, T)
    labels = np.stack([label.array for _, label in batch])  # (B)
    if buckets is not None:
        longest = int(real_lengths(wrap(ids), pad_token_id).max().item())
        ids = ids[:, : padded_length(longest, buckets)].copy()  # padding alone is cut off
    return wrap(ids), wrap(labels)


# ------------------------------------------------------------------------------ instructions
def _texts(entry: Any, i: int, names: Sequence[str]) -> Mapping[str, str]:
    if not isinstance(entry, Mapping):
        raise TypeError(f"entry {i} must be a dict of texts, got {type(entry).__name__}")
    for name in names:
        if name not in entry:
            raise ValueError(f"entry {i} has no {name!r}; it has {', '.join(entry) or 'nothing'}")
    for name in (*names, "input"):
        if not isinstance(entry.get(name, ""), str):
            kind = type(entry[name]).__name__
            raise TypeError(f"entry {i}: {name!r} must be a text, got {kind}")
    return entry


def _shared(a: Sequence[int], b: Sequence[int]) -> int:
    """The number of tokens that two texts share at their start."""
    for n, (x, y) in enumerate(zip(a, b, strict=False)):
        if x != y:
            return n
    return min(len(a), len(b))


class _EntryDataset(Dataset[E]):
    """One example for each entry, encoded when the data set is made.

    `names` are the texts that every entry must have; `_example` makes its example.
    """

    names: tuple[str, ...] = ()

    def __init__(
        self,
        entries: Sequence[Mapping[str, str]],
        tokenizer: Encoder,
        style: str | PromptStyle = "alpaca",
    ) -> None:
        self.style = style_of(style)
        self.entries = [_texts(entry, i, self.names) for i, entry in enumerate(entries)]
        self.examples: list[E] = []
        for i, entry in enumerate(self.entries):
            with _place(f"entry {i}"):
                self.examples.append(self._example(entry, tokenizer))

    def _example(self, entry: Mapping[str, str], tokenizer: Encoder) -> E:
        raise NotImplementedError(f"{type(self).__name__} must define _example")

    def __getitem__(self, index: int) -> E:
        return self.examples[index]

    def __len__(self) -> int:
        return len(self.examples)


class InstructionDataset(_EntryDataset[tuple[list[int], int]]):
    """Example i is (ids of prompt and response as one text, number of ids of the prompt).

    entries: dicts with "instruction", "output" and perhaps "input"
    style: "alpaca", "phi3", "chat", or a custom PromptStyle

    The prompt ends before the words that announce the response ("### Response:"). Batches are made
    by collate_instructions.
    Raises: ValueError if an entry lacks a text, TypeError if it has something else in its place.
    """

    names = ("instruction", "output")

    def _example(self, entry: Mapping[str, str], tokenizer: Encoder) -> tuple[list[int], int]:
        ids, prompt = self.style.example_ids(tokenizer, entry, entry["output"])
        return ids, _shared(ids, prompt)


def collate_instructions(
    batch: Sequence[tuple[Sequence[int], int] | Sequence[int]],
    pad_token_id: int = END_OF_TEXT,
    ignore_index: int = -100,
    max_length: int | None = None,
    mask_instruction: bool = False,
    buckets: Sequence[int] | None = None,
) -> tuple[Tensor, Tensor]:
    """(inputs (B, T), targets (B, T)) of examples, int64; targets are the inputs shifted by one.

    batch: (ids, length of the prompt) pairs, or ids alone
    pad_token_id: ends every text and pads it to T, the longest text of the batch
    ignore_index: the target that does not count in the loss: all padding except the first, which is
        the end that the model should learn; with mask_instruction also the prompt's tokens
    max_length: T at most; longer texts are cut at the end
    buckets: T is the next of these lengths, see buckets.py; None for the longest text's

    For a DataLoader: functools.partial(collate_instructions, max_length=1024).
    Raises: ValueError for an empty text, or if no target of the whole batch would count (its mean
    loss would be NaN).
    """
    _check_length(max_length)
    pairs = [item if isinstance(item, tuple) else (item, 0) for item in batch]
    longest = max((len(ids) for ids, _ in pairs), default=0)
    T = padded_length(longest, buckets)
    ids = np.full((len(pairs), T + 1), pad_token_id, np.int64)  # (B, T + 1)
    for i, (text, _) in enumerate(pairs):
        if not len(text):
            raise ValueError(f"example {i} of the batch has no tokens")
        ids[i, : len(text)] = text
    lengths = [len(text) for text, _ in pairs]
    spans = [[(n if mask_instruction else 0, len(text))] for text, n in pairs]
    inputs = ids[:, :-1].copy()  # (B, T)
    mask = loss_mask(lengths, spans, T + 1)  # (B, T + 1)
    targets = targets_of(ids, mask, ignore_index)[:, :-1].copy()  # (B, T + 1) -> (B, T)
    if max_length is not None:
        inputs, targets = inputs[:, :max_length].copy(), targets[:, :max_length].copy()
    if not (targets != ignore_index).any():
        raise ValueError(
            f"no target of this batch counts: its {len(pairs)} examples are cut at max_length="
            f"{max_length} before their responses begin; take a larger max_length or leave them out"
        )
    return wrap(inputs), wrap(targets)


# ------------------------------------------------------------------------------- preferences
class PreferenceDataset(_EntryDataset[dict[str, list[int]]]):
    """Example i is a dict of ids: "prompt", "chosen" and "rejected", the last two with the prompt.

    entries: dicts with "instruction", "chosen", "rejected" and perhaps "input"
    style: "alpaca", "phi3", "chat", or a custom PromptStyle

    Here the prompt includes the words that announce the response: they are the same in both texts,
    so they would only dilute an average over tokens. Batches are made by collate_preferences.
    Raises: ValueError if an entry lacks a text, TypeError if it has something else in its place.
    """

    names = ("instruction", "chosen", "rejected")

    def _example(self, entry: Mapping[str, str], tokenizer: Encoder) -> dict[str, list[int]]:
        start = self.style.prompt_ids(tokenizer, entry)
        chosen, rejected = (
            self.style.example_ids(tokenizer, entry, entry[name])[0]
            for name in ("chosen", "rejected")
        )
        n = min(_shared(start, chosen), _shared(start, rejected))
        return {"prompt": chosen[:n], "chosen": chosen, "rejected": rejected}


def part_of_preferences(batch: Mapping[str, Any], rank: int, size: int) -> dict[str, Any] | None:
    """The pairs of a batch of collate_preferences that belong to a rank: see part_of_rows."""
    both = ("ids", "targets")  # (2B, T), first the chosen texts
    own = part_of_rows({k: v for k, v in batch.items() if k not in both}, rank, size)
    if own is None:
        return None
    for name in both:
        halves = [part_of_rows((half,), rank, size)[0] for half in batch[name].chunk(2)]
        own[name] = cat(halves)  # (b, T), (b, T) -> (2b, T)
    return dict(own)


def collate_preferences(
    batch: Sequence[Mapping[str, Sequence[int]]],
    pad_token_id: int = END_OF_TEXT,
    max_length: int | None = None,
    mask_prompt: bool = True,
    buckets: Sequence[int] | None = None,
) -> dict[str, Any]:
    """A batch of preferences, all texts padded to one length T.

    "chosen", "rejected": ids (B, T) int64; "chosen_mask", "rejected_mask": bool (B, T), True for
    the tokens whose log-probability counts: the response, without padding, and with the prompt if
    mask_prompt is False; "prompt": the prompts' ids, a list of B tensors. The same as one text
    after the other, first the chosen ones: "ids" (2B, T), and "targets" (2B, T) int64, the token
    that follows each of them, -100 where it does not count.

    T is the longest text's length plus one, so that every text ends with a padding token, or the
    next of the lengths in `buckets`; at most max_length.
    Raises: ValueError for an empty batch, or if nothing of a response is left when its text is cut
    at max_length.
    """
    _check_length(max_length)
    if not batch:
        raise ValueError("an empty batch has no preferences")
    sides = ("chosen", "rejected")
    longest = 1 + max(len(item[side]) for item in batch for side in sides)
    T = padded_length(longest, buckets)
    T = T if max_length is None else min(T, max_length)
    out: dict[str, Any] = {"prompt": [wrap(np.array(i["prompt"], np.int64)) for i in batch]}
    for side in sides:
        ids = np.full((len(batch), T), pad_token_id, np.int64)  # (B, T)
        spans: list[tuple[int, list[tuple[int, int]]]] = []
        for i, item in enumerate(batch):
            n = min(len(item[side]), T)
            first = len(item["prompt"]) if mask_prompt else 0
            if first >= n:
                raise ValueError(
                    f"example {i} of the batch: nothing of its {side} response is left: the prompt "
                    f"has {first} tokens, and the text has {len(item[side])}, cut at {T}"
                )
            ids[i, :n] = item[side][:n]
            spans.append((n, [(first, n)]))
        lengths, parts = zip(*spans, strict=True)
        mask = loss_mask(lengths, parts, T, end=False)  # (B, T)
        out[side], out[f"{side}_mask"] = wrap(ids), wrap(mask)
    both = np.concatenate([out[side].array for side in sides])  # (2B, T)
    counted = np.concatenate([out[f"{side}_mask"].array for side in sides])  # (2B, T)
    out["ids"], out["targets"] = wrap(both), wrap(targets_of(both, counted))
    return out
