"""Characters as tokens: the smallest vocabulary, the longest sequences."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from functools import cached_property
from typing import Any

import numpy as np

from .tokenizer import (
    Tokenizer,
    TokenizerFields,
    check_text,
    number_special_tokens,
    split_on_special,
)


class CharTokenizer(Tokenizer):
    """One token for each character: ids are places in `characters`, special tokens come after.

    characters: the characters, each once
    Raises: ValueError if there are none, or a repeated one, or half a character.
    """

    kind = "char"

    def __init__(
        self, characters: Iterable[str], special_tokens: Collection[str] = (), name: str = "char"
    ) -> None:
        self.characters = "".join(characters)
        if not self.characters:
            raise ValueError("a character tokenizer needs at least one character")
        check_text(self.characters)
        self._ids = {c: i for i, c in enumerate(self.characters)}
        if len(self._ids) < len(self.characters):
            twice = next(c for i, c in enumerate(self.characters) if self._ids[c] != i)
            raise ValueError(f"the character {twice!r} is given more than once")
        super().__init__(name, number_special_tokens(special_tokens, len(self.characters)))
        self._bytes = [t.encode("utf-8") for t in [*self.characters, *self.special_tokens]]

    @classmethod
    def train(
        cls, text: str, special_tokens: Collection[str] = (), name: str = "char"
    ) -> CharTokenizer:
        """The tokenizer of a text's characters, sorted (as nanoGPT's).

        Raises: ValueError if the text is empty.
        """
        check_text(text)
        characters: set[str] = set().union(*split_on_special(text, special_tokens))
        if not characters:
            raise ValueError("the text is empty: there are no characters to learn")
        return cls(sorted(characters), special_tokens, name)

    @property
    def vocab_size(self) -> int:
        return len(self._bytes)

    def encode_ordinary(self, text: str) -> list[int]:
        """The id of each character.

        Raises: ValueError if a character is not in the vocabulary.
        """
        try:
            return list(map(self._ids.__getitem__, text))
        except KeyError:
            raise self._unknown(text) from None

    def _ordinary_array(self, text: str, dtype: np.dtype) -> np.ndarray:
        points = np.frombuffer(text.encode("utf-32-le"), np.uint32)
        table = self._id_of_point
        ids = table[np.minimum(points, len(table) - 1)]  # the last entry is -1: unknown
        if ids.min() < 0:
            raise self._unknown(text)
        return ids.astype(dtype, copy=False)

    @cached_property
    def _id_of_point(self) -> np.ndarray:
        points = np.frombuffer(self.characters.encode("utf-32-le"), np.uint32)
        table = np.full(int(points.max()) + 2, -1, np.int32)
        table[points] = np.arange(len(points), dtype=np.int32)
        return table

    def _unknown(self, text: str) -> ValueError:
        place, c = next((i, c) for i, c in enumerate(text) if c not in self._ids)
        return ValueError(
            f"the character {c!r} (U+{ord(c):04X}) at position {place} is not among the "
            f"{len(self.characters)} characters that this tokenizer knows"
        )

    def token_bytes(self, token_id: int) -> bytes:
        return self._bytes[token_id]

    def _fields(self) -> dict[str, Any]:
        return {"special_tokens": list(self.special_tokens), "characters": self.characters}

    @classmethod
    def _from_fields(cls, fields: TokenizerFields) -> CharTokenizer:
        return cls(fields.get_as("characters", str), fields.strings("special_tokens"))
