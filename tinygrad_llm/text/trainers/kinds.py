"""One function that trains a tokenizer by the name of its kind: what the commands call."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from ...files.untrusted import describe
from ..bpe import BPETokenizer
from ..tokenizer import ENCODER_TOKENS, END_OF_TEXT, Tokenizer
from .bpe import train_bpe
from .unigram import train_unigram
from .wordpiece import train_wordpiece
from .words import Texts, VocabularyTooLargeError

__all__ = ["TRAINED_KINDS", "train_largest", "train_tokenizer"]

_JAPANESE = "-mecab"
TRAINED_KINDS = (
    "bpe", "wordpiece", "unigram", "bpe-mecab", "wordpiece-mecab", "unigram-mecab",
)  # fmt: skip


def train_tokenizer(
    kind: str, text: Texts, vocab_size: int, special_tokens: Collection[str] = (END_OF_TEXT,)
) -> Tokenizer:
    """A tokenizer for a model of this package, learned from a text or several.

    kind: "bpe", "wordpiece" or "unigram"; with "-mecab" after it Japanese is cut into words first
        (the extra "ja"), and BPE starts from characters, not from bytes
    vocab_size: all tokens
    special_tokens: <|endoftext|> for a language model, tokenizer.ENCODER_TOKENS for an encoder;
        WordPiece has the latter in any case
    Raises: ValueError if the kind is not known, or as train_bpe, train_wordpiece and train_unigram;
    ImportError without MeCab, if it is needed.
    """
    if kind not in TRAINED_KINDS:
        raise ValueError(f"kind must be one of {', '.join(TRAINED_KINDS)}, got {describe(kind)}")
    words = "mecab" if kind.endswith(_JAPANESE) else "spaces"
    name = kind
    if kind.startswith("wordpiece"):
        special = tuple(dict.fromkeys((*ENCODER_TOKENS, *special_tokens)))
        return train_wordpiece(text, vocab_size, words=words, special_tokens=special, name=name)
    if kind.startswith("unigram"):
        return train_unigram(
            text, vocab_size, words=words, special_tokens=special_tokens, name=name
        )
    if words == "mecab":
        return train_bpe(text, vocab_size, words=words, special_tokens=special_tokens, name=name)
    texts: Any = text
    return BPETokenizer.train(texts, vocab_size, special_tokens)


def train_largest(
    kind: str, text: Texts, vocab_size: int, special_tokens: Collection[str] = (END_OF_TEXT,)
) -> Tokenizer:
    """train_tokenizer; if the text cannot fill a vocabulary of vocab_size, a smaller one.

    The largest that the text can fill, except for "bpe", whose merges are halved until it can.
    text: as train_tokenizer's, but one that can be read twice
    Raises: see train_tokenizer.
    """
    if kind == "bpe":
        return _largest_bpe(text, vocab_size, special_tokens)
    try:
        return train_tokenizer(kind, text, vocab_size, special_tokens)
    except VocabularyTooLargeError as error:
        return train_tokenizer(kind, text, error.most, special_tokens)


def _largest_bpe(text: Texts, vocab_size: int, special_tokens: Collection[str]) -> Tokenizer:
    fixed = 256 + len(special_tokens)  # the bytes come first
    merges = vocab_size - fixed
    while True:
        try:
            return train_tokenizer("bpe", text, fixed + merges, special_tokens)
        except ValueError:
            if merges <= 0:
                raise
            merges //= 2
