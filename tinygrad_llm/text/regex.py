"""Words as tokens, cut with one regular expression: the tokenizer to begin with.

Its limits show why others exist: a word that the training text did not have is <|unk|>, "run" and
"runs" share nothing, and the line breaks are gone.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from ..files.untrusted import describe
from .tokenizer import (
    END_OF_TEXT,
    StreamDecoder,
    Tokenizer,
    TokenizerFields,
    check_text,
    split_on_special,
)

UNKNOWN = "<|unk|>"
_CUT = re.compile(r"""([,.:;?_!"()']|--|\s)""")
CUTS = ("punctuation", "blanks")
_NO_SPACE_BEFORE = frozenset(""",.:;?!"()'""")


def split_words(text: str) -> list[str]:
    """Words, punctuation marks and double hyphens, in order, without white space."""
    return [piece for piece in _CUT.split(text) if piece and not piece.isspace()]


def cut_into_words(text: str, cut: str) -> list[str]:
    """The words of a text, cut at "punctuation" and blanks, or at "blanks" alone."""
    return split_words(text) if cut == "punctuation" else text.split()


class SimpleTokenizer(Tokenizer):
    """A dictionary of words and punctuation marks.

    vocab: word -> id, the ids 0 .. n-1. <|endoftext|> and <|unk|> in it are special tokens. With
        <|unk|> an unknown word becomes it; without, an unknown word is a ValueError.
    cut: "punctuation" makes a word of each mark; "blanks" is for texts that are cut into words
        already, such as those of a translation corpus

    decode() puts one space between tokens and, if marks were cut off, none before punctuation, so
    it does not return every text unchanged.
    """

    kind = "simple"

    def __init__(
        self, vocab: Mapping[str, int], name: str = "simple", cut: str = "punctuation"
    ) -> None:
        if cut not in CUTS:
            raise ValueError(f"cut must be {' or '.join(CUTS)}, got {describe(cut)}")
        self.cut = cut
        if not vocab:
            raise ValueError("a vocabulary needs at least one word")
        if sorted(vocab.values()) != list(range(len(vocab))):
            raise ValueError(f"the ids of the vocabulary must be 0 .. {len(vocab) - 1}, each once")
        self.vocab = dict(vocab)
        special = {t: vocab[t] for t in (END_OF_TEXT, UNKNOWN) if t in vocab}
        super().__init__(name, special)
        self._words = sorted(vocab, key=self.vocab.__getitem__)
        for word in self._words:
            if word not in special and cut_into_words(word, cut) != [word]:
                raise ValueError(f"{describe(word)} is not one word: encode() would never find it")
        check_text("".join(self._words))

    @classmethod
    def train(
        cls,
        text: str,
        special_tokens: Collection[str] = (END_OF_TEXT, UNKNOWN),
        name: str = "simple",
        *,
        cut: str = "punctuation",
        min_count: int = 1,
    ) -> SimpleTokenizer:
        """The tokenizer of a text's words, sorted, with the special tokens after them.

        special_tokens: any of <|endoftext|> and <|unk|>
        cut: see the class; min_count: how often a word must occur to become a token
        Raises: ValueError if there are other special tokens, or if no word is left.
        """
        check_text(text)
        if not set(special_tokens) <= {END_OF_TEXT, UNKNOWN}:
            raise ValueError(
                f"special_tokens must be among {END_OF_TEXT!r} and {UNKNOWN!r}, "
                f"got {list(special_tokens)}"
            )
        counts: Counter[str] = Counter()
        for part in split_on_special(text, special_tokens):
            counts.update(cut_into_words(part, cut))
        if not counts:
            raise ValueError("the text is empty: there are no words to learn")
        words = [word for word, n in counts.items() if n >= min_count]
        if not words:
            raise ValueError(f"no word occurs {min_count} times: take a lower min_count")
        vocab = dict.fromkeys([*sorted(words), *special_tokens])  # in this order, each once
        return cls({word: i for i, word in enumerate(vocab)}, name, cut)

    @property
    def vocab_size(self) -> int:
        return len(self._words)

    def encode_ordinary(self, text: str) -> list[int]:
        """The id of each word.

        Raises: ValueError if a word is not in the vocabulary, which has no token for unknown words.
        """
        unknown = self.special_tokens.get(UNKNOWN)
        ids = []
        for word in cut_into_words(text, self.cut):
            token_id = self.vocab.get(word) if word not in self.special_tokens else None
            token_id = unknown if token_id is None else token_id
            if token_id is None:
                raise ValueError(
                    f"the word {describe(word)} is not among the {self.vocab_size} that this "
                    f"tokenizer knows; train it with {UNKNOWN!r} among its special tokens, or on "
                    "more text"
                )
            ids.append(token_id)
        return ids

    def token_bytes(self, token_id: int) -> bytes:
        return self._words[token_id].encode("utf-8")

    def decode_bytes(self, ids: Any) -> bytes:
        return self._join(self._flat(ids), first=True).encode("utf-8")

    def _join(self, ids: list[int], first: bool) -> str:
        pieces = []
        for i in ids:
            word = self._words[i]
            joined = self.cut == "punctuation" and word[0] in _NO_SPACE_BEFORE
            pieces.append(word if first or joined else " " + word)
            first = False
        return "".join(pieces)

    def stream(self, after: Sequence[int] = ()) -> StreamDecoder:
        return _WordStream(self)

    def count_bytes(self, ids: Any) -> int:
        """The number of UTF-8 bytes of decode(ids), special tokens left out."""
        special = set(self.special_tokens.values())
        return len(self.decode_bytes([i for i in self._flat(ids) if i not in special]))

    def _fields(self) -> dict[str, Any]:
        cut = {} if self.cut == CUTS[0] else {"cut": self.cut}
        return {"words": self._words, **cut}

    @classmethod
    def _from_fields(cls, fields: TokenizerFields) -> SimpleTokenizer:
        cut = fields.get_as("cut", str) if "cut" in fields else CUTS[0]
        return cls({word: i for i, word in enumerate(fields.strings("words"))}, cut=cut)


class _WordStream(StreamDecoder):
    """Whole words one at a time, with the spaces that decode() puts between them."""

    def __init__(self, tokenizer: SimpleTokenizer) -> None:
        self._words = tokenizer
        self._first = True

    def push(self, token_id: int) -> str:
        text = self._words._join(self._words._flat(token_id), self._first)
        self._first = False
        return text

    def finish(self) -> str:
        return ""
