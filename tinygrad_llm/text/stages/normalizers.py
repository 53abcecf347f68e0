"""Normalisers: text to text, before anything is cut. Each is described as in tokenizer.json."""

from __future__ import annotations

import base64
import binascii
import re
import unicodedata
from collections.abc import Callable
from functools import partial
from typing import Any, Literal

from ..split import SPACE
from . import patterns
from .charsmap import Charsmap
from .part import Part

__all__ = ["IDEOGRAPHS", "STRIP", "Normalizer", "build_normalizer", "read_charsmap"]

Normalizer = Callable[[str], str]
MOST_CHARSMAP = 1 << 24  # bytes; that of NFKC has 240,000
MOST_GROWTH = 1 << 16  # characters of a text that a file wants to insert
IDEOGRAPHS = (
    "\u4e00-\u9fff\u3400-\u4dbf\U00020000-\U0002a6df\U0002a700-\U0002b73f"
    "\U0002b740-\U0002b81f\U0002b820-\U0002ceaf\uf900-\ufaff\U0002f800-\U0002fa1f"
)
_IDEOGRAPH = re.compile(f"[{IDEOGRAPHS}]")
_SPACES = re.compile(f"[{SPACE}]")
STRIP = {
    (True, True): re.compile(rf"\A[{SPACE}]+|[{SPACE}]+\Z"),
    (True, False): re.compile(rf"\A[{SPACE}]+"),
    (False, True): re.compile(rf"[{SPACE}]+\Z"),
}


def build_normalizer(part: Part | None) -> Normalizer:
    """The function that a description stands for; without one it changes nothing.

    Raises: ValueError if the type is not known or a field is wrong.
    """
    if part is None:
        return _same
    make = _KINDS.get(part.type)
    if make is None:
        raise part.unknown(list(_KINDS))
    return make(part)


def _same(text: str) -> str:
    return text


def _form(name: Literal["NFC", "NFD", "NFKC", "NFKD"], text: str) -> str:
    return text if text.isascii() else unicodedata.normalize(name, text)


def lowercase(text: str) -> str:
    """Each character in lower case alone: a sigma at the end of a word is like any other."""
    return text.lower() if "Σ" not in text else "".join(c.lower() for c in text)


def _without(categories: str, text: str) -> str:
    if text.isascii():
        return text
    return "".join(c for c in text if not unicodedata.category(c).startswith(categories))


def _sequence(part: Part) -> Normalizer:
    stages = [build_normalizer(p) for p in part.parts("normalizers")]

    def run(text: str) -> str:
        for stage in stages:
            text = stage(text)
        return text

    return run


def _strip(part: Part) -> Normalizer:
    key = part.get("strip_left", bool, True), part.get("strip_right", bool, True)
    return partial(STRIP[key].sub, "") if any(key) else _same


def _replace(part: Part) -> Normalizer:
    pattern, content = patterns.of_part(part), _short(part, "content")
    return partial(pattern.sub, content)


def _short(part: Part, name: str) -> str:
    text = part.get(name, str)
    if len(text) > MOST_GROWTH:
        raise ValueError(f"{part.where}: {name!r} has {len(text):,} characters")
    return text


def _prepend(part: Part) -> Normalizer:
    prefix = _short(part, "prepend")
    return lambda text: prefix + text if text else text


def read_charsmap(part: Part) -> Charsmap | None:
    """The rules in the field "precompiled_charsmap", in base64; None if there are none.

    Raises: ValueError if they are damaged or too large.
    """
    text = part.get("precompiled_charsmap", str, "")
    if len(text) > MOST_CHARSMAP:
        raise ValueError(f"{part.where}: a charsmap of {len(text):,} characters")
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError(f"{part.where}: the charsmap is not base64: {error}") from error
    return Charsmap(data) if data else None


def _precompiled(part: Part) -> Normalizer:
    charsmap = read_charsmap(part)
    return charsmap.by_cluster if charsmap else _same


def _bert(part: Part) -> Normalizer:
    """BERT's: control characters out, ideographs apart, accents out, lower case (each optional)."""
    clean = part.get("clean_text", bool, True)
    ideographs = part.get("handle_chinese_chars", bool, True)
    lower = part.get("lowercase", bool, True)
    accents = part.get("strip_accents", bool, lower)

    def run(text: str) -> str:
        if clean:
            text = "".join(map(_cleaned, text))
        if ideographs and not text.isascii():
            text = _IDEOGRAPH.sub(r" \g<0> ", text)
        if accents:
            text = _without("Mn", _form("NFD", text))
        return lowercase(text) if lower else text

    return run


def _cleaned(c: str) -> str:
    if c in "\t\n\r":
        return " "
    if c in "\0\ufffd" or unicodedata.category(c)[0] == "C":
        return ""
    return " " if _SPACES.match(c) else c


def _sentencepiece(part: Part) -> Normalizer:
    """SentencePiece's own: rules, spaces, the mark ▁ for a space and at the beginning of a text.

    symbols: user-defined pieces, which the rules leave as they are
    """
    charsmap = read_charsmap(part)
    prefix = part.get("add_dummy_prefix", bool, True)
    tidy = part.get("remove_extra_whitespaces", bool, True)
    escape = part.get("escape_whitespaces", bool, True)
    suffix = part.get("treat_whitespace_as_suffix", bool, False)
    symbols = part.strings("symbols") if "symbols" in part.fields else []
    kept = _either(symbols)
    mark = "▁" if escape else " "

    def rules(text: str) -> list[str]:
        pieces = kept.split(text) if kept else [text]  # between the symbols, and the symbols
        if charsmap is not None:
            pieces[::2] = map(charsmap.longest, pieces[::2])
        return pieces

    def run(text: str) -> str:
        new = _single_spaces(rules(text)) if tidy else "".join(rules(text))
        if not new and (not text or (tidy and all(rules(c) == [" "] for c in text))):
            return ""
        new = new.replace(" ", mark)
        if prefix and suffix:
            return new + mark
        return mark + new if prefix and (new or not tidy) else new

    return run


def _single_spaces(pieces: list[str]) -> str:
    """The pieces joined, without spaces at both ends or next to each other; every second piece is a
    symbol, which keeps the spaces inside."""
    written = []
    after_space = True
    for i, piece in enumerate(pieces):
        piece = piece if i % 2 else re.sub(" {2,}", " ", piece)
        piece = piece.lstrip(" ") if after_space else piece
        written.append(piece)
        after_space = piece.endswith(" ") if piece else after_space
    return "".join(written).rstrip(" ")


def _either(symbols: list[str]) -> re.Pattern[str] | None:
    names = sorted({s for s in symbols if s}, key=lambda s: (-len(s), s))
    return re.compile("(" + "|".join(map(re.escape, names)) + ")") if names else None


_KINDS: dict[str, Callable[[Part], Any]] = {
    "NFC": lambda part: partial(_form, "NFC"),
    "NFD": lambda part: partial(_form, "NFD"),
    "NFKC": lambda part: partial(_form, "NFKC"),
    "NFKD": lambda part: partial(_form, "NFKD"),
    "Lowercase": lambda part: lowercase,
    "StripAccents": lambda part: partial(_without, "M"),
    "Nmt": lambda part: _nmt,
    "Strip": _strip,
    "Replace": _replace,
    "Prepend": _prepend,
    "Precompiled": _precompiled,
    "BertNormalizer": _bert,
    "SentencePiece": _sentencepiece,
    "Sequence": _sequence,
}
_NMT_GONE = re.compile("[\x01-\x08\x0b\x0e-\x1f\x7f\x8f\x9f]")
_NMT_SPACE = re.compile("[\t\n\x0c\r\u1680\u200b-\u200f\u2028\u2029\u2581\ufeff\ufffd]")


def _nmt(text: str) -> str:
    return _NMT_SPACE.sub(" ", _NMT_GONE.sub("", text))
