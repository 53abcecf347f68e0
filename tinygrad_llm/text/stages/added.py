"""Tokens that are found as they stand in a text: a search for many texts together."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from functools import cached_property
from typing import NamedTuple

from ..split import SPACE
from .part import Part

__all__ = ["MARK", "AddedToken", "Finder", "cut_at_tokens", "read_added_tokens"]

MARK = "\ufdd0"  # not a character, by Unicode's definition; hides a spelled token
LONGEST = 1024  # characters of an added token
_WORD = re.compile(r"\w")
_SPACES_BEFORE = re.compile(rf"[{SPACE}]*\Z")
_SPACES_AFTER = re.compile(rf"[{SPACE}]*")


class AddedToken(NamedTuple):
    """A token outside the model's vocabulary, or a special one.

    single_word: only where no word continues; lstrip, rstrip: it takes the white space beside it;
    normalized: searched for in the normalised text; special: stands for something outside the text
    """

    content: str
    id: int
    single_word: bool = False
    lstrip: bool = False
    rstrip: bool = False
    normalized: bool = False
    special: bool = False

    def fields(self) -> dict[str, object]:
        """As tokenizer.json writes it."""
        return {"id": self.id, **{n: v for n, v in self._asdict().items() if n != "id"}}


def read_added_tokens(part: Part, most: int) -> list[AddedToken]:
    """The list "added_tokens" of a tokenizer.json; most: the largest id.

    Raises: ValueError if a field is wrong, or two tokens are equal.
    """
    tokens: dict[str, AddedToken] = {}
    for i, fields in enumerate(part.get("added_tokens", list, [])):
        one = Part(fields, f"{part.where}, added token {i}")
        content = one.get("content", str)
        if not 0 < len(content) <= LONGEST:
            raise ValueError(f"{one.where} has {len(content):,} characters")
        if content in tokens:
            raise ValueError(f"{one.where} repeats an earlier one")
        special = one.get("special", bool, False)
        tokens[content] = AddedToken(
            content,
            one.integer("id", 0, most),
            one.get("single_word", bool, False),
            one.get("lstrip", bool, False),
            one.get("rstrip", bool, False),
            one.get("normalized", bool, not special),
            special,
        )
    return list(tokens.values())


class Finder:
    """Finds any of many texts in a text, from left to right, the longest first.

    texts: what is searched for
    """

    def __init__(self, texts: Collection[str]) -> None:
        self.texts = frozenset(texts)

    @cached_property
    def _lengths(self) -> dict[str, list[int]]:
        """the first two characters -> the lengths of the texts that begin so, longest first"""
        lengths: dict[str, set[int]] = {}
        for text in self.texts:
            lengths.setdefault(text[:2], set()).add(len(text))
        return {c: sorted(different, reverse=True) for c, different in lengths.items()}

    @cached_property
    def _first(self) -> re.Pattern[str]:
        """Where a text can begin: by its first two characters."""
        seconds: dict[str, set[str]] = {}
        for begin in self._lengths:
            seconds.setdefault(begin[0], set()).add(begin[1:])
        return re.compile(
            "|".join(
                re.escape(c) + ("" if "" in after else f"[{re.escape(''.join(sorted(after)))}]")
                for c, after in sorted(seconds.items())
            )
        )

    def find(self, text: str) -> Iterator[tuple[int, int]]:
        """Where each match begins and ends; matches do not overlap."""
        place = 0
        while self.texts and (match := self._first.search(text, place)):
            place = match.start()
            begins = text[place : place + 2], text[place]
            candidates = (n for begin in begins for n in self._lengths.get(begin, ()))
            for n in candidates:
                if text[place : place + n] in self.texts:
                    yield place, place + n
                    place += n
                    break
            else:
                place += 1


def cut_at_tokens(
    text: str, finder: Finder, tokens: dict[str, AddedToken]
) -> Iterator[str | AddedToken]:
    """The text in order: texts between added tokens, and the tokens, which take spaces beside them
    if they say so."""
    done = 0
    for start, end in finder.find(text):
        token = tokens[text[start:end]]
        if start < done:
            continue
        if token.single_word and _inside_word(text, start, end):
            continue
        if token.lstrip:
            match = _SPACES_BEFORE.search(text, done, start)
            start = match.start() if match else start
        if token.rstrip and (match := _SPACES_AFTER.match(text, end)):
            end = match.end()
        if start > done:
            yield text[done:start]
        yield token
        done = end
    if done < len(text):
        yield text[done:]


def _inside_word(text: str, start: int, end: int) -> bool:
    before = start > 0 and _WORD.match(text[start - 1])
    return bool(before or (end < len(text) and _WORD.match(text[end])))
