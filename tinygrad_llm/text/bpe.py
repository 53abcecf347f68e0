"""A byte-level BPE tokenizer, trained here, or from GPT-2's files."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..files.json_files import read_json_object
from ..files.paths import local_path
from ..files.untrusted import describe
from .letters import gpt2_byte_order
from .letters import spell as _spell
from .merges import FIRST_MERGE, Pair, apply_merges, learn_merges
from .split import count_pieces, split_in_blocks
from .tokenizer import (
    END_OF_TEXT,
    Tokenizer,
    TokenizerFields,
    check_text,
    number_special_tokens,
    split_on_special,
)

if TYPE_CHECKING:
    import tiktoken

GPT2_PATTERN = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
CACHE_WORDS = 1 << 18
MOST_TOKEN_BYTES = 1 << 28  # of all tokens together; GPT-2's have 320,000


class BPETokenizer(Tokenizer):
    """Runs of bytes as tokens. Every text can be encoded, and decodes to itself.

    The ids: 0 .. 255 are the bytes (in the order of `byte_order`), 256 + i is what merge i makes,
    and the special tokens come last.

    merges:         pairs of ids; merge i may use ids below 256 + i
    special_tokens: their spellings
    byte_order:     which byte has which id: "value" (id 65 is byte 65) or "gpt2" (printable bytes
        first)

    A text is first cut into pieces with GPT-2's pattern (see split.py); merges apply inside a
    piece.
    """

    kind = "bpe"

    def __init__(
        self,
        merges: Sequence[Pair],
        special_tokens: Collection[str] = (END_OF_TEXT,),
        byte_order: str = "value",
        name: str = "bpe",
    ) -> None:
        if byte_order not in ("value", "gpt2"):
            raise ValueError(f'byte_order must be "value" or "gpt2", got {describe(byte_order)}')
        self.byte_order = byte_order
        order = range(256) if byte_order == "value" else gpt2_byte_order()
        self._tokens = [bytes([byte]) for byte in order]
        self._byte_ids = {byte: i for i, byte in enumerate(order)}
        n_bytes = 0
        for i, (left, right) in enumerate(merges):
            if not (0 <= left < FIRST_MERGE + i and 0 <= right < FIRST_MERGE + i):
                raise ValueError(
                    f"merge {i} joins the ids {left} and {right}, "
                    f"but only 0 .. {FIRST_MERGE + i - 1} exist"
                )
            n_bytes += len(self._tokens[left]) + len(self._tokens[right])
            if n_bytes > MOST_TOKEN_BYTES:  # each merge may double the length of the last
                raise ValueError(
                    f"the tokens of the first {i + 1} merges have more than {MOST_TOKEN_BYTES:,} "
                    "bytes in all: these are not the merges of a text"
                )
            self._tokens.append(self._tokens[left] + self._tokens[right])
        if len(set(self._tokens)) < len(self._tokens):
            twice = next(token for token, n in Counter(self._tokens).items() if n > 1)
            raise ValueError(f"two merges make the same token {describe(twice)}")
        self.merges = [(left, right) for left, right in merges]
        self._rank = {pair: FIRST_MERGE + i for i, pair in enumerate(self.merges)}
        super().__init__(name, number_special_tokens(special_tokens, len(self._tokens)))
        self._tokens += [token.encode("utf-8") for token in self.special_tokens]
        self._cache = _WordCache(self._encode_piece)

    # -- making one ------------------------------------------------------------------------

    @classmethod
    def train(
        cls,
        text: str | Iterable[str],
        vocab_size: int,
        special_tokens: Collection[str] = (END_OF_TEXT,),
        min_count: int = 2,
        name: str = "bpe",
    ) -> BPETokenizer:
        """Learn the merges from a text, or from several.

        vocab_size: 256 bytes + merges + special tokens
        min_count:  a pair must occur that often to become a token

        The result is the same on every run and machine: of equally frequent pairs the one with the
        smaller ids goes first. Special tokens that the text spells are left out.
        Raises: ValueError if the text is empty, or if vocab_size is too small or larger than this
        text can fill (the message names the largest that it can).
        """
        fixed = 256 + len(special_tokens)
        if vocab_size < fixed:
            raise ValueError(
                f"vocab_size must be at least {fixed} (256 bytes and {len(special_tokens)} special "
                f"tokens), got {vocab_size}"
            )
        counts: Counter[str] = Counter()
        for one in [text] if isinstance(text, str) else text:
            check_text(one)
            for part in split_on_special(one, special_tokens):
                counts.update(count_pieces(part))
        if not counts:
            raise ValueError("the text is empty: there is nothing to learn from")
        words = {piece.encode("utf-8"): n for piece, n in counts.items()}
        merges = learn_merges(words, vocab_size - fixed, min_count)
        if len(merges) < vocab_size - fixed:
            raise ValueError(
                f"vocab_size {vocab_size} is too large for this text: after {len(merges)} merges, "
                f"which make {fixed + len(merges)} tokens, no pair of tokens in it occurs "
                f"{min_count} times. Use that vocab_size or less, or more text"
            )
        return cls(merges, special_tokens, name=name)

    @classmethod
    def from_gpt2_files(
        cls,
        vocab_bpe: str | os.PathLike[str],
        encoder_json: str | os.PathLike[str] | None = None,
        name: str = "gpt2",
    ) -> BPETokenizer:
        """A tokenizer from files in GPT-2's format: the merges, and the ids to check them against.

        vocab_bpe:    the file with the merges, or the folder that holds vocab.bpe and encoder.json
        encoder_json: the file with the ids; by default encoder.json next to vocab_bpe

        Raises: FileNotFoundError; ValueError that names the line or the token that is wrong.
        """
        vocab_bpe = local_path(vocab_bpe)
        if vocab_bpe.is_dir():
            vocab_bpe = vocab_bpe / "vocab.bpe"
        encoder_json = encoder_json or vocab_bpe.with_name("encoder.json")
        lines = _read_utf8(vocab_bpe).split("\n")
        lines = [line for line in lines if line and not line.startswith("#version")]
        merges = _merges_from_spelled(lines, "gpt2", str(vocab_bpe))
        encoder = read_json_object(encoder_json)
        if not all(type(i) is int for i in encoder.values()):
            raise ValueError(f"{encoder_json} should hold one JSON object, token -> id")
        n_tokens = 256 + len(merges)
        special = sorted((t for t, i in encoder.items() if i >= n_tokens), key=encoder.__getitem__)
        tokenizer = cls(merges, special, "gpt2", name)
        expected = [*map(_spell, tokenizer._tokens[:n_tokens]), *special]
        for i, token in enumerate(expected):
            if encoder.get(token) != i:
                raise ValueError(
                    f"{encoder_json} gives {describe(token)} the id "
                    f"{describe(encoder.get(token))}; by the merges in {vocab_bpe} it should be {i}"
                )
        if len(encoder) != len(expected):
            known = set(expected)
            extra = next(token for token in encoder if token not in known)
            raise ValueError(f"{encoder_json} has a token that no merge makes: {describe(extra)}")
        return tokenizer

    def to_tiktoken(self, name: str | None = None) -> tiktoken.Encoding:
        """The same tokenizer as a tiktoken.Encoding: the same ids for every text."""
        import tiktoken

        n_tokens = 256 + len(self.merges)
        return tiktoken.Encoding(
            name or self.name,
            pat_str=GPT2_PATTERN,
            mergeable_ranks={token: i for i, token in enumerate(self._tokens[:n_tokens])},
            special_tokens=self.special_tokens,
        )

    # -- text to ids and back --------------------------------------------------------------

    @property
    def vocab_size(self) -> int:
        return len(self._tokens)

    def encode_ordinary(self, text: str) -> list[int]:
        check_text(text)
        ids: list[int] = []
        for pieces in split_in_blocks(text):
            ids.extend(chain.from_iterable(map(self._cache.__getitem__, pieces)))
        return ids

    def _ordinary_array(self, text: str, dtype: np.dtype) -> np.ndarray:
        blocks = [
            np.fromiter(chain.from_iterable(map(self._cache.__getitem__, pieces)), dtype)
            for pieces in split_in_blocks(text)
        ]
        return np.concatenate(blocks)

    def _encode_piece(self, piece: str) -> tuple[int, ...]:
        ids = [self._byte_ids[byte] for byte in piece.encode("utf-8")]
        return tuple(apply_merges(ids, self._rank))

    def token_bytes(self, token_id: int) -> bytes:
        return self._tokens[token_id]

    def decode_bytes(self, ids: Any) -> bytes:
        return b"".join(map(self._tokens.__getitem__, self._flat(ids)))

    # -- files -----------------------------------------------------------------------------

    def _fields(self) -> dict[str, Any]:
        spelled = [_spell(token) for token in self._tokens]
        return {
            "special_tokens": list(self.special_tokens),
            "byte_order": self.byte_order,
            "merges": [f"{spelled[left]} {spelled[right]}" for left, right in self.merges],
        }

    @classmethod
    def _from_fields(cls, fields: TokenizerFields) -> BPETokenizer:
        order = fields.get_as("byte_order", str)
        merges = _merges_from_spelled(fields.strings("merges"), order, str(fields.path))
        return cls(merges, fields.strings("special_tokens"), order)


class _WordCache(dict[str, tuple[int, ...]]):
    """piece -> its ids, computed when they are first asked for."""

    def __init__(self, encode_piece: Callable[[str], tuple[int, ...]]) -> None:
        super().__init__()
        self._encode_piece = encode_piece

    def __missing__(self, piece: str) -> tuple[int, ...]:
        ids = self._encode_piece(piece)
        if len(self) >= CACHE_WORDS:
            self.clear()
        self[piece] = ids
        return ids


def _read_utf8(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8: {error}") from error


def _merges_from_spelled(lines: Sequence[str], byte_order: str, source: str) -> list[Pair]:
    """Merges such as "Ġ t" as pairs of ids.

    Raises: ValueError that names source and merge.
    """
    order = gpt2_byte_order() if byte_order == "gpt2" else range(256)
    ids = {_spell(bytes([byte])): i for i, byte in enumerate(order)}
    merges: list[Pair] = []
    for i, line in enumerate(lines):
        left, _, right = line.partition(" ")
        for part in (left, right):
            if part not in ids:
                raise ValueError(
                    f"{source}: merge {i} is {describe(line)}, but nothing before it makes "
                    f"{describe(part)}"
                )
        if left + right in ids:
            raise ValueError(
                f"{source}: merge {i}, {describe(line)}, makes a token that exists already"
            )
        merges.append((ids[left], ids[right]))
        ids[left + right] = FIRST_MERGE + i
    return merges
