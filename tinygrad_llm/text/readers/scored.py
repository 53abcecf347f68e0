"""SentencePiece's vocabulary, from its own file or from GGUF: pieces, scores and types."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

from ...files.untrusted import describe
from ..pipeline import PipelineTokenizer
from ..stages.part import checked_vocabulary
from ..stages.pieces import BPE, PieceModel
from ..stages.templates import Template
from ..stages.unigram import Unigram

__all__ = ["BYTE", "CONTROL", "NORMAL", "UNKNOWN", "UNUSED", "USER_DEFINED", "scored_tokenizer"]

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)
LARGEST_SCORE = 1e30


def scored_tokenizer(
    pieces: Sequence[str],
    scores: Sequence[float],
    types: Sequence[int],
    *,
    unigram: bool,
    normalizer: Mapping[str, Any],
    charsmap: bytes,
    template: Template,
    names: Mapping[str, str],
    raw_symbols: bool,
    name: str,
    where: str,
) -> PipelineTokenizer:
    """The tokenizer of these pieces.

    normalizer: add_dummy_prefix, remove_extra_whitespaces, escape_whitespaces,
        treat_whitespace_as_suffix; raw_symbols: user-defined pieces are found before normalising
    Raises: ValueError if the lists do not fit together or a value is out of range.
    """
    _check(pieces, scores, types, where)
    of_type = {k: [i for i, t in enumerate(types) if t == k] for k in range(1, 7)}
    symbols = [pieces[i] for i in of_type[USER_DEFINED] if pieces[i]]
    unknown = of_type[UNKNOWN][0] if of_type[UNKNOWN] else None
    make = _unigram if unigram else _bpe
    model = make(pieces, scores, of_type, unknown, where)
    special = [i for kind in (CONTROL, UNKNOWN) for i in of_type[kind] if pieces[i]]
    added = [{"id": i, "content": pieces[i], "special": True} for i in special]
    if not unigram:  # Unigram finds them among its tokens
        for i in of_type[USER_DEFINED]:
            content = pieces[i].replace("▁", " ") if raw_symbols else pieces[i]
            if content:
                added.append({"id": i, "content": content, "normalized": not raw_symbols})
    rules = base64.b64encode(charsmap).decode("ascii")
    prefix = bool(normalizer.get("add_dummy_prefix"))
    strip = [{"type": "Strip", "content": " ", "start": 1, "stop": 0}] if prefix else []
    description = {
        "added_tokens": added,
        "normalizer": {
            "type": "SentencePiece",
            "precompiled_charsmap": rules,
            "symbols": [] if raw_symbols else symbols,
            **normalizer,
        },
        "decoder": {
            "type": "Sequence",
            "decoders": [
                {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
                {"type": "ByteFallback"},
                {"type": "Fuse"},
                *strip,
            ],
        },
    }
    return PipelineTokenizer(
        description, model=model, template=template, names=names, name=name, where=where
    )


def _check(
    pieces: Sequence[str], scores: Sequence[float], types: Sequence[int], where: str
) -> None:
    if not len(pieces) == len(scores) == len(types):
        raise ValueError(
            f"{where}: {len(pieces):,} tokens, {len(scores):,} scores and {len(types):,} types"
        )
    vocabulary = dict(zip(pieces, range(len(pieces)), strict=True))
    checked_vocabulary(vocabulary, where)
    for piece, score, kind in zip(pieces, scores, types, strict=True):
        if not (isinstance(score, int | float) and abs(score) < LARGEST_SCORE):
            raise ValueError(
                f"{where}: the token {describe(piece)} has the score {describe(score)}"
            )
        if type(kind) is not int or not NORMAL <= kind <= BYTE:
            raise ValueError(f"{where}: the token {describe(piece)} has the type {describe(kind)}")


def _bpe(
    pieces: Sequence[str],
    scores: Sequence[float],
    of_type: Mapping[int, list[int]],
    unknown: int | None,
    where: str,
) -> PieceModel:
    vocabulary = {piece: i for i, piece in reversed(list(enumerate(pieces)))}
    joined = sorted([*of_type[NORMAL], *of_type[USER_DEFINED]])
    order = {s: rank for rank, s in enumerate(sorted({scores[i] for i in joined}, reverse=True))}
    ranks = {pieces[i]: order[scores[i]] for i in joined}
    for i in of_type[UNUSED]:
        piece = pieces[i]
        if any(piece[:n] in ranks and piece[n:] in ranks for n in range(1, len(piece))):
            raise ValueError(
                f"{where}: the token {describe(piece)} is marked as unused, but other tokens make "
                "it; such a restricted vocabulary is not known here"
            )
    bytes_known = len(of_type[BYTE]) == 256
    return BPE(vocabulary, ranks, False, unknown=unknown, fuse_unknown=True,
               byte_fallback=bytes_known)  # fmt: skip


def _unigram(
    pieces: Sequence[str],
    scores: Sequence[float],
    of_type: Mapping[int, list[int]],
    unknown: int | None,
    where: str,
) -> PieceModel:
    outside = frozenset(i for k in (UNKNOWN, CONTROL, UNUSED, BYTE) for i in of_type[k])
    normal = [scores[i] for i in of_type[NORMAL]] or [0.0]
    return Unigram(
        pieces,
        scores,
        unknown,
        len(of_type[BYTE]) == 256,
        user_defined=frozenset(of_type[USER_DEFINED]),
        unused=outside,
        single=True,
        bounds=(min(normal), max(normal)),
    )
