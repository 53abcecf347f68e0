"""Pre-tokenisers: a text into pieces that no token crosses. Each is described as in tokenizer.json.

A pre-tokeniser takes a piece, and whether the text begins with it, and returns pieces.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..split import split as gpt2_split
from . import patterns
from .japanese import japanese_words, mecab
from .part import Part
from .patterns import Pattern

__all__ = ["Cut", "PreTokenizer", "build_pre_tokenizer"]

Cut = Callable[[str, bool], list[str]]
_BEHAVIOURS = ("Isolated", "Removed", "MergedWithPrevious", "MergedWithNext", "Contiguous")
_ASCII_SIGNS = r"!-/:-@\[-`{-~"


class PreTokenizer:
    """All cuts of a tokenizer, one after the other.

    cuts: from the first to the last; byte_level: whether pieces are spelled in GPT-2's letters, one
    for each byte, before they are looked up
    """

    def __init__(self, cuts: list[Cut], byte_level: bool) -> None:
        self.cuts = cuts
        self.byte_level = byte_level

    def __call__(self, text: str, first: bool) -> list[str]:
        """The pieces of a text; first: whether nothing stands before it."""
        if len(self.cuts) == 1:
            return self.cuts[0](text, first)
        pieces = [text]
        for cut in self.cuts:
            following = cut(pieces[0], first) if pieces else []
            for piece in pieces[1:]:
                following += cut(piece, False)
            pieces = following
        return pieces


def build_pre_tokenizer(part: Part | None) -> PreTokenizer:
    """The cuts that a description stands for; without one a text stays whole.

    Raises: ValueError if a type is not known, a field is wrong, or anything follows ByteLevel.
    """
    stages = _flat(part) if part is not None else []
    cuts: list[Cut] = []
    byte_level = False
    for stage in stages:
        make = _KINDS.get(stage.type)
        if make is None:
            raise stage.unknown([*_KINDS, "Sequence"])
        if byte_level:
            raise ValueError(f"{stage.where}: nothing can be cut after ByteLevel")
        byte_level = stage.type == "ByteLevel"
        cut = make(stage)
        if cut is not None:
            cuts.append(cut)
    return PreTokenizer(cuts, byte_level)


def _flat(part: Part, depth: int = 0) -> list[Part]:
    if part.type != "Sequence":
        return [part]
    if depth > 4:
        raise ValueError(f"{part.where}: sequences nested too deeply")
    return [stage for p in part.parts("pretokenizers") for stage in _flat(p, depth + 1)]


def separated(pieces: list[tuple[str, bool]], behaviour: str) -> list[str]:
    """The texts of pieces, of which those with True are separators, by one of five behaviours."""
    if behaviour == "Isolated":
        return [piece for piece, _ in pieces]
    if behaviour == "Removed":
        return [piece for piece, match in pieces if not match]
    joined: list[str] = []
    before = None
    if behaviour == "MergedWithNext":
        for piece, match in reversed(pieces):
            if match and before is False:
                joined[-1] = piece + joined[-1]
            else:
                joined.append(piece)
            before = match
        return joined[::-1]
    for piece, match in pieces:
        together = match and before is False
        if together if behaviour == "MergedWithPrevious" else match == before:
            joined[-1] += piece
        else:
            joined.append(piece)
        before = match
    return joined


def _by_pattern(pattern: Pattern, behaviour: str, invert: bool = False) -> Cut:
    def cut(text: str, first: bool) -> list[str]:
        pieces = pattern.find(text)
        if invert:
            pieces = [(piece, not match) for piece, match in pieces]
        return separated(pieces, behaviour)

    return cut


def _isolated(pattern: Pattern) -> Cut:
    """As _by_pattern with "Isolated", without the pairs where the pattern matches everything."""

    def cut(text: str, first: bool) -> list[str]:
        pieces = pattern.of(text).findall(text)
        if sum(map(len, pieces)) == len(text) and "" not in pieces:
            return pieces
        return [piece for piece, _ in pattern.find(text)]

    return cut


def _split(part: Part) -> Cut:
    behaviour = part.choice("behavior", _BEHAVIOURS, "Isolated")
    pattern = patterns.of_part(part)
    if behaviour == "Isolated":
        return _isolated(pattern)
    return _by_pattern(pattern, behaviour, part.get("invert", bool, False))


def _byte_level(part: Part) -> Cut | None:
    prefix = part.get("add_prefix_space", bool, True)
    regex = part.get("use_regex", bool, True)
    if not prefix:
        return (lambda text, first: gpt2_split(text)) if regex else None

    def cut(text: str, first: bool) -> list[str]:
        text = text if text.startswith(" ") else " " + text
        return gpt2_split(text) if regex else [text]

    return cut


def _metaspace(part: Part) -> Cut:
    mark = part.get("replacement", str, "▁")
    old = "always" if part.get("add_prefix_space", bool, True) else "never"
    scheme = part.choice("prepend_scheme", ("always", "first", "never"), old)
    if len(mark) != 1:
        raise ValueError(f"{part.where}: 'replacement' should be one character")
    split = part.get("split", bool, True)

    def cut(text: str, first: bool) -> list[str]:
        text = text.replace(" ", mark)
        if (scheme == "always" or (scheme == "first" and first)) and not text.startswith(mark):
            text = mark + text
        if not split:
            return [text]
        begin, *rest = text.split(mark)
        return [begin, *(mark + piece for piece in rest)] if begin else [mark + p for p in rest]

    return cut


def _punctuation(part: Part) -> Cut:
    return _by_pattern(
        Pattern(rf"[{_ASCII_SIGNS}\p{{P}}]"), part.choice("behavior", _BEHAVIOURS, "Isolated")
    )


def _bert(part: Part) -> Cut:
    words = _by_pattern(Pattern(r"\s"), "Removed")
    signs = _isolated(Pattern(rf"[{_ASCII_SIGNS}\p{{P}}]"))
    return lambda text, first: [
        piece for word in words(text, first) for piece in signs(word, False)
    ]


def _digits(part: Part) -> Cut:
    if part.get("individual_digits", bool, False):
        return _isolated(Pattern(r"\p{N}"))
    return _isolated(Pattern(r"\p{N}+"))


def _delimiter(part: Part) -> Cut:
    delimiter = part.get("delimiter", str)
    if len(delimiter) != 1:
        raise ValueError(f"{part.where}: 'delimiter' should be one character")
    return lambda text, first: [piece for piece in text.split(delimiter) if piece]


def _mecab(part: Part) -> Cut:
    """Words of Japanese. `tokenizers` has no such stage: this one is ours.

    Raises: ImportError without MeCab.
    """
    keep = part.get("keep_spaces", bool, True)
    mecab()  # says now what is missing
    return lambda text, first: japanese_words(text, keep)


_KINDS: dict[str, Callable[[Part], Any]] = {
    "ByteLevel": _byte_level,
    "Split": _split,
    "Digits": _digits,
    "Metaspace": _metaspace,
    "Whitespace": lambda part: _by_pattern(Pattern(r"\w+|[^\w\s]+"), "Removed", invert=True),
    "WhitespaceSplit": lambda part: _by_pattern(Pattern(r"\s"), "Removed"),
    "BertPreTokenizer": _bert,
    "Punctuation": _punctuation,
    "CharDelimiterSplit": _delimiter,
    "MeCab": _mecab,
}
