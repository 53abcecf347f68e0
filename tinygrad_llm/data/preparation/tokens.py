"""The second pass over a unit: what stays of its documents becomes tokens in two shards.

A shard is train-00012.bin or val-00012.bin: the tokens of its documents one after the other, uint16
or, of more than 65,536 different ones, uint32, the lowest byte first; each document ends with the
tokenizer's token for that, if it has one. train-00012.idx has the place after each document's last
token, uint64. Both can be mapped into memory as they are.
"""

from __future__ import annotations

import hashlib
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from ...files.atomic import atomic_write
from ...text import TRAINED_KINDS, CharTokenizer, GPT2Tokenizer, Tokenizer, from_pretrained
from ...text.tokenizer import END_OF_TEXT
from ...text.trainers.kinds import train_largest
from .pipeline import paragraphs_of
from .settings import Settings
from .store import Store

__all__ = [
    "PARTS",
    "check_tokenizer",
    "dtype_for",
    "end_token",
    "make_tokenizer",
    "tokenize_unit",
]

PARTS = ("train", "val")
LEARN_FROM = 16 << 20  # bytes of text from which a tokenizer is trained
_ENDS = ("</s>", "<eos>", "<|end_of_text|>", "<|im_end|>", "[SEP]")


def dtype_for(vocab_size: int) -> np.dtype:
    """The type of a shard's numbers."""
    return np.dtype("<u2" if vocab_size <= 1 << 16 else "<u4")


def end_token(tokenizer: Tokenizer) -> int | None:
    """The token that ends a document: <|endoftext|>, or what the tokenizer has in its place."""
    if tokenizer.eot_token is not None:
        return tokenizer.eot_token
    known = tokenizer.special_tokens
    return next((known[name] for name in _ENDS if name in known), None)


def check_tokenizer(settings: Settings) -> None:
    """Looks whether the tokenizer can be made, before the texts are cleaned, which may take hours.

    Of one that is trained here only the least vocabulary is looked at; the texts may need more.
    Raises: ValueError if it cannot be made, FileNotFoundError if its file does not exist.
    """
    kind = settings.tokenizer
    if kind in TRAINED_KINDS:
        train_largest(kind, ["a"], settings.vocab_size)
    elif kind != "char":
        _named(kind)


def _named(kind: str) -> Tokenizer:
    """A published tokenizer, or the one of a file."""
    return GPT2Tokenizer() if kind == "gpt2" else from_pretrained(kind)


def make_tokenizer(store: Store, n_units: int, settings: Settings) -> Tokenizer:
    """The tokenizer that the settings name; one that is trained learns from the training texts.

    Raises: ValueError if it cannot be made, FileNotFoundError if its file does not exist.
    """
    kind = settings.tokenizer
    if kind == "char":
        characters = np.concatenate([store.arrays(n, "characters")[0] for n in range(n_units)])
        points = np.unique(characters).astype("<u4")
        return CharTokenizer(points.tobytes().decode("utf-32-le"), (END_OF_TEXT,))
    if kind in TRAINED_KINDS:
        return train_largest(kind, _sample(store, n_units, settings), settings.vocab_size)
    return _named(kind)


def _sample(store: Store, n_units: int, settings: Settings) -> list[str]:
    """Training documents of about LEARN_FROM bytes together, from everywhere."""
    total = sum(store.facts(n)["bytes"] for n in range(n_units))
    every = max(1, -(-total // LEARN_FROM))
    texts = []
    for n in range(n_units):
        (hashes,) = store.arrays(n, "hashes")
        chosen = (hashes // np.uint64(7) % np.uint64(every) == 0).tolist()
        for i, text, val in _kept(store, n, settings):
            if chosen[i] and not val:
                texts.append(text)
    return texts


def _kept(store: Store, number: int, settings: Settings) -> Any:
    """(place, text, whether it is for validation) of a unit's documents that stay."""
    dropped, validation, repeated = store.arrays(
        number, "documents", "validation", "paragraphs", ending="kept.npz"
    )
    (counts,) = store.arrays(number, "paragraphs")
    begin = 0
    for i, text in enumerate(store.texts(number)):
        n = int(counts[i])
        gone = repeated[begin : begin + n]
        begin += n
        if dropped[i]:
            continue
        if gone.any():
            pairs = zip(paragraphs_of(text), gone.tolist(), strict=True)
            text = "\n\n".join(paragraph for paragraph, out in pairs if not out)
        if len(text) >= max(1, settings.least_characters):
            yield i, text, bool(validation[i])


def tokenize_unit(number: int, settings: Settings, store: Store, tokenizer: Tokenizer) -> None:
    """Write the two shards of a unit and their counts; a unit that is done is left as it is."""
    if store.done(number, "tokens.json"):
        return
    with ExitStack() as stack:
        shards = {part: _Shard(stack, store.shard(part, number, "bin"), tokenizer)
                  for part in PARTS}  # fmt: skip
        for _, text, val in _kept(store, number, settings):
            shards["val" if val else "train"].add(text)
    facts = {}
    for part, shard in shards.items():
        facts[part] = shard.finish(store.shard(part, number, "idx"))
    store.write_facts(number, "tokens.json", facts)


class _Shard:
    """A shard that is being written, and what is counted of it."""

    def __init__(self, stack: ExitStack, path: Path, tokenizer: Tokenizer) -> None:
        self.path, self.tokenizer = path, tokenizer
        self.file = stack.enter_context(atomic_write(path))
        self.dtype = dtype_for(tokenizer.vocab_size)
        end = end_token(tokenizer)
        self.end = np.array([] if end is None else [end], self.dtype)
        self.ends: list[int] = []
        self.tokens = self.bytes = self.characters = 0
        self.digest = hashlib.sha256()

    def add(self, text: str) -> None:
        """Append a document."""
        ids = self.tokenizer.encode_to_array(text, disallowed_special=(), dtype=self.dtype)
        for data in (ids.astype(self.dtype, copy=False).tobytes(), self.end.tobytes()):
            self.file.write(data)
            self.digest.update(data)
        self.tokens += len(ids) + len(self.end)
        self.ends.append(self.tokens)
        self.characters += len(text)
        self.bytes += len(text) if text.isascii() else len(text.encode("utf-8"))

    def finish(self, index: Path) -> dict[str, Any]:
        """Write the index; the counts. A shard without documents is removed."""
        if not self.ends:
            self.path.unlink()
            return {}
        with atomic_write(index) as file:
            file.write(np.array(self.ends, "<u8").tobytes())
        return {
            "file": self.path.name, "tokens": self.tokens, "documents": len(self.ends),
            "characters": self.characters, "bytes": self.bytes,
            "sha256": self.digest.hexdigest(),
        }  # fmt: skip
