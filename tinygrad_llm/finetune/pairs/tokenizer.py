"""Tokenizers for an encoder without a base: characters or BPE, with [CLS], [SEP] and [PAD]."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Sequence
from typing import Any

from ...files.paths import local_path
from ...text import BPETokenizer, PipelineTokenizer, Tokenizer, load_tokenizer, train_largest
from ...text.tokenizer import ENCODER_TOKENS
from ...training.options import OptionError, blame

__all__ = ["character_tokenizer", "make_tokenizer"]

LARGEST = 4096  # tokens of a vocabulary, unless another size is given


def make_tokenizer(kind: str, texts: Sequence[str], vocab_size: int | None = None) -> Tokenizer:
    """The tokenizer of the options: "char", "bpe", or a file.

    texts: those of the training, from which it is learned; vocab_size: of bpe, of char at most;
        None for 4096, or for what the texts can fill
    Raises: OptionError if it is neither a name nor a file, or lacks an encoder's special tokens.
    """
    if kind == "char":
        return character_tokenizer(texts, vocab_size or LARGEST)
    if kind == "bpe":
        if vocab_size is None:
            return train_largest("bpe", texts, LARGEST, ENCODER_TOKENS)
        with blame("`vocab_size`", ValueError):
            return BPETokenizer.train(texts, vocab_size, ENCODER_TOKENS)
    if not local_path(kind).is_file():
        raise OptionError(f"`tokenizer`: {kind} is neither char or bpe nor a file")
    with blame("`tokenizer`", ValueError):
        tokenizer = load_tokenizer(kind)
    if tokenizer.pad_token is None or not tokenizer.with_special_tokens([], [])[0]:
        raise OptionError(
            f"`tokenizer`: {kind} does not put tokens such as [CLS] and [SEP] around two texts, or "
            "has no [PAD]: take one of an encoder"
        )
    return tokenizer


def character_tokenizer(
    texts: Sequence[str], vocab_size: int = LARGEST, name: str = "char"
) -> PipelineTokenizer:  # fmt: skip
    """A character is a token, an unknown one [UNK]; [CLS] and [SEP] stand around a text or two.

    Texts are normalised (NFKC, small letters) and lose their white space between characters.
    texts: the characters that occur in them are known, the most frequent ones if they are more
    than vocab_size less the five special tokens
    Raises: ValueError if vocab_size leaves room for no character.
    """
    if vocab_size <= len(ENCODER_TOKENS):
        raise ValueError(f"vocab_size must be above {len(ENCODER_TOKENS)}, got {vocab_size}")
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update("".join(unicodedata.normalize("NFKC", text).lower().split()))
    ordered = sorted(counts, key=lambda c: (-counts[c], c))[: vocab_size - len(ENCODER_TOKENS)]
    vocabulary = {token: i for i, token in enumerate([*ENCODER_TOKENS, *ordered])}
    description: dict[str, Any] = {
        "version": "1.0",
        "added_tokens": [_added(vocabulary[token], token) for token in ENCODER_TOKENS],
        "normalizer": {
            "type": "Sequence", "normalizers": [{"type": "NFKC"}, {"type": "Lowercase"}]
        },
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [
                {"type": "WhitespaceSplit"},
                {"type": "Split", "pattern": {"Regex": "."}, "behavior": "Isolated",
                 "invert": False},
            ],
        },
        "model": {
            "type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100, "vocab": vocabulary,
        },
        "post_processor": {
            "type": "BertProcessing", "sep": ["[SEP]", vocabulary["[SEP]"]],
            "cls": ["[CLS]", vocabulary["[CLS]"]],
        },
        "decoder": {"type": "Fuse"},
    }  # fmt: skip
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]"}
    return PipelineTokenizer(description, names=names, name=name)


def _added(token_id: int, content: str) -> dict[str, Any]:
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {"id": token_id, "content": content, **flags, "special": True}
