"""A Unigram tokenizer trained here as SentencePiece's tokenizer.model: a protocol buffer.

Source: sentencepiece_model.proto of google/sentencepiece (field numbers below).
"""

from __future__ import annotations

import os
import struct

from ..files.atomic import atomic_write
from ..files.paths import local_path
from .pipeline import PipelineTokenizer
from .readers.scored import BYTE, CONTROL, NORMAL, UNKNOWN
from .stages.unigram import Unigram
from .trainers.words import BYTE_TOKENS, joined_cuts

__all__ = ["write_sentencepiece"]


def write_sentencepiece(tokenizer: PipelineTokenizer, path: str | os.PathLike[str]) -> None:
    """Write a tokenizer of train_unigram as a file that the package sentencepiece reads.

    tokenizer: with words "spaces" and without another normaliser, which such a file could not name
    path: such as tokenizer.model; an older file is replaced in one step

    The token that ends a text is its EOS; it has no BOS, which sentencepiece's nbest_encode wants.

    SentencePiece keeps scores in float32: where two cuts of a word are equally good to that
    precision it can choose the other one.
    Raises: ValueError if the tokenizer is of another kind.
    """
    model, cuts = tokenizer.model, joined_cuts("spaces", None)
    same = tokenizer.description.get("normalizer") == cuts.normalizer
    if not (isinstance(model, Unigram) and same and tokenizer.template.ids() == []):
        raise ValueError(
            "only a Unigram tokenizer of train_unigram with words='spaces' and without a "
            "normaliser can be written as a SentencePiece model; save() writes any"
        )
    bytes_known = model.bytes is not None
    types = {model.unknown: UNKNOWN}
    if bytes_known:
        types |= {model.vocabulary[token]: BYTE for token in BYTE_TOKENS}
    types |= {i: CONTROL for i in tokenizer.special_tokens.values() if i != model.unknown}
    scores = dict(enumerate(model.scores))
    data = b""
    for i in range(tokenizer.vocab_size):
        kind = types.get(i, NORMAL)
        score = scores[i] if kind == NORMAL else 0.0
        piece = _text(1, tokenizer.token(i)) + _score(2, score) + _number(3, kind)
        data += _message(1, piece)
    end = tokenizer.eot_token
    trainer = _number(3, 1) + _number(4, tokenizer.vocab_size) + _number(35, int(bytes_known))
    trainer += _number(40, model.unknown or 0) + _number(41, -1) + _number(43, -1)
    trainer += _number(42, -1 if end is None else end)
    if end is not None:
        trainer += _text(47, tokenizer.token(end))
    normalizer = _text(1, "identity") + _number(3, 0) + _number(4, 0) + _number(5, 1)
    with atomic_write(local_path(path)) as file:
        file.write(data + _message(2, trainer) + _message(3, normalizer))


def _varint(value: int) -> bytes:
    value &= 0xFFFFFFFFFFFFFFFF
    data = []
    while value > 127:
        data.append(value & 127 | 128)
        value >>= 7
    return bytes([*data, value])


def _number(number: int, value: int) -> bytes:
    return _varint(number << 3) + _varint(value)


def _message(number: int, data: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def _text(number: int, text: str) -> bytes:
    return _message(number, text.encode("utf-8"))


def _score(number: int, score: float) -> bytes:
    return _varint(number << 3 | 5) + struct.pack("<f", score)
