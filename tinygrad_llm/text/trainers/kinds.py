"""One function that trains a tokenizer by the name of its kind: what the commands call."""

from __future__ import annotations

from typing import Any

from ...files.untrusted import describe
from ..bpe import BPETokenizer
from ..tokenizer import END_OF_TEXT, Tokenizer
from .bpe import train_bpe
from .unigram import train_unigram
from .wordpiece import BERT_TOKENS, train_wordpiece
from .words import Texts, VocabularyTooLargeError, check_words

__all__ = ["TRAINED_KINDS", "train_largest", "train_tokenizer"]

TRAINED_KINDS = ("bpe", "wordpiece", "unigram")


def train_tokenizer(kind: str, text: Texts, vocab_size: int, *, words: str = "spaces") -> Tokenizer:
    """A tokenizer for a language model, with <|endoftext|>, learned from a text or several.

    kind: "bpe", "wordpiece" or "unigram"; vocab_size: all tokens
    words: "spaces", or "mecab" for Japanese (the extra "ja"): BPE then starts from characters, and
        from bytes otherwise
    Raises: ValueError if the kind is not known, or as train_bpe, train_wordpiece and train_unigram;
    ImportError for "mecab" without MeCab.
    """
    check_words(words)
    if kind == "wordpiece":
        special = (*BERT_TOKENS, END_OF_TEXT)
        return train_wordpiece(text, vocab_size, words=words, special_tokens=special)
    if kind == "unigram":
        return train_unigram(text, vocab_size, words=words)
    if kind != "bpe":
        raise ValueError(f"kind must be one of {', '.join(TRAINED_KINDS)}, got {describe(kind)}")
    if words == "mecab":
        return train_bpe(text, vocab_size, words=words)
    texts: Any = text
    return BPETokenizer.train(texts, vocab_size)


def train_largest(kind: str, text: Texts, vocab_size: int) -> Tokenizer:
    """train_tokenizer for "wordpiece" or "unigram"; if the text cannot fill a vocabulary of
    vocab_size, the largest that it can fill.

    text: as train_tokenizer's, but one that can be read twice
    Raises: see train_tokenizer.
    """
    try:
        return train_tokenizer(kind, text, vocab_size)
    except VocabularyTooLargeError as error:
        return train_tokenizer(kind, text, error.most)
