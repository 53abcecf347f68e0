"""SentencePiece's tokenizer.model: a protocol buffer, read here with every size checked.

Source: sentencepiece_model.proto of google/sentencepiece (field numbers below).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ...files.paths import local_path
from ...files.untrusted import translated
from ..pipeline import PipelineTokenizer
from ..stages.part import MOST_TOKENS, TokenizerError
from ..stages.templates import template_of
from ..stages.written import read_config, read_names
from .scored import NORMAL, scored_tokenizer

__all__ = ["charsmap_of", "read_sentencepiece"]

LARGEST = 1 << 28  # bytes of a file; that of Gemma has 4.7 million
_UNIGRAM, _BPE = 1, 2
_BEGINS = ("LlamaTokenizer", "GemmaTokenizer", "CodeLlamaTokenizer")
_ENDS = ("T5Tokenizer",)
_TRAINER = {3: "model_type", 24: "treat_whitespace_as_suffix", 35: "byte_fallback", 40: "unk_token",
            41: "bos_token", 42: "eos_token", 43: "pad_token"}  # fmt: skip
_NORMALIZER = {3: "add_dummy_prefix", 4: "remove_extra_whitespaces", 5: "escape_whitespaces"}


def read_sentencepiece(path: str | Path) -> PipelineTokenizer:
    """The tokenizer in a tokenizer.model; a tokenizer_config.json beside it says what is added.

    Raises: OSError; ValueError if the file is damaged, or of a kind other than BPE and Unigram.
    """
    path = local_path(path)
    size = path.stat().st_size
    if size > LARGEST:
        raise ValueError(f"{path} has {size:,} bytes: too large for a tokenizer.model")
    with translated(str(path), TokenizerError, "is not a SentencePiece model"):
        return _read(path.read_bytes(), path)


def _read(data: bytes, path: Path) -> PipelineTokenizer:
    pieces: list[str] = []
    scores: list[float] = []
    types: list[int] = []
    trainer: dict[str, Any] = {"model_type": _UNIGRAM, "unk_token": 0, "bos_token": 1,
                               "eos_token": 2, "pad_token": -1}  # fmt: skip
    normalizer: dict[str, Any] = {}
    charsmap = b""
    for number, value in _fields(data):
        if number == 1:
            piece = dict(_fields(_bytes(value)))
            if len(pieces) >= MOST_TOKENS:
                raise ValueError(f"more than {MOST_TOKENS:,} pieces")
            pieces.append(_bytes(piece.get(1, b"")).decode("utf-8"))
            scores.append(struct.unpack("<f", _fixed(piece.get(2, b"\0\0\0\0")))[0])
            types.append(_number(piece.get(3, NORMAL)))
        elif number == 2:
            trainer.update(_named(value, _TRAINER))
        elif number == 3:
            normalizer = _named(value, _NORMALIZER)
            charsmap = _rules(value)
    if trainer["model_type"] not in (_UNIGRAM, _BPE):
        raise ValueError("it is neither a Unigram nor a BPE model")
    settings = {name: bool(normalizer.get(name, 1)) for name in _NORMALIZER.values()}
    settings["treat_whitespace_as_suffix"] = bool(trainer.get("treat_whitespace_as_suffix"))
    ids = {name: i for name, i in trainer.items() if name.endswith("_token")}
    names = {n: pieces[i] for n, i in ids.items() if 0 <= i < len(pieces)}
    return scored_tokenizer(
        pieces,
        scores,
        types,
        unigram=trainer["model_type"] == _UNIGRAM,
        normalizer=settings,
        charsmap=charsmap,
        template=_template(read_config(path.parent), ids, len(pieces)),
        names={**names, **read_names(path.parent)},
        raw_symbols=False,
        name=path.parent.name or "sentencepiece",
        where=str(path),
    )


def _rules(normalizer: int | bytes) -> bytes:
    return _bytes(dict(_fields(_bytes(normalizer))).get(2, b""))


def charsmap_of(data: bytes) -> bytes:
    """The precompiled rules of normalisation in the bytes of a tokenizer.model; b"" without any.

    Raises: ValueError if the bytes are not a message.
    """
    return next((_rules(value) for number, value in _fields(data) if number == 3), b"")


def _template(config: dict[str, Any], ids: dict[str, int], n: int) -> Any:
    kind = str(config.get("tokenizer_class", "")).removesuffix("Fast")
    begins = config.get("add_bos_token", kind in _BEGINS) is True
    ends = config.get("add_eos_token", kind in _ENDS) is True
    bos, eos = ids["bos_token"], ids["eos_token"]
    return template_of([bos] if begins and 0 <= bos < n else [],
                       [eos] if ends and 0 <= eos < n else [])  # fmt: skip


# ------------------------------------------------------------------------- protocol buffers
def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """(number, value) of each field: an int, or the bytes of a text, a message or a fixed number.

    Raises: ValueError if a length or a kind is wrong.
    """
    place = 0
    while place < len(data):
        key, place = _varint(data, place)
        kind = key & 7
        if kind == 0:
            value, place = _varint(data, place)
            yield key >> 3, value
            continue
        if kind == 2:
            n, place = _varint(data, place)
        elif kind in (1, 5):
            n = 8 if kind == 1 else 4
        else:
            raise ValueError(f"a field of kind {kind} at byte {place}")
        if n > len(data) - place:
            raise ValueError(f"a field of {n:,} bytes at byte {place}, which is too long")
        yield key >> 3, data[place : place + n]
        place += n


def _varint(data: bytes, place: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if place >= len(data):
            break
        byte = data[place]
        place += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value & 0xFFFFFFFFFFFFFFFF, place
    raise ValueError(f"a number without an end at byte {place}")


def _bytes(value: int | bytes) -> bytes:
    if not isinstance(value, bytes):
        raise ValueError("a number where a text should be")
    return value


def _fixed(value: int | bytes) -> bytes:
    if not isinstance(value, bytes) or len(value) != 4:
        raise ValueError("a score that does not have 4 bytes")
    return value


def _number(value: int | bytes) -> int:
    if not isinstance(value, int):
        raise ValueError("a text where a number should be")
    return value - (1 << 64) if value >> 63 else value


def _named(value: int | bytes, names: dict[int, str]) -> dict[str, int]:
    fields = _fields(_bytes(value))
    return {names[number]: _number(v) for number, v in fields if number in names}
