r"""GPT-2's way to cut a text into pieces: no token ever crosses the edge of a piece.

The pattern, as one writes it for the package `regex`, is

    's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+

that is: an English ending; letters, or numbers, or other signs, each with at most one space before
them; white space up to the last one before a word; white space. Python's `re` has no \p{L}
(letters) and \p{N} (numbers), and its \s differs from Unicode's White_Space by four control
characters. So the classes are spelled out here, from Python's Unicode table.

A character that this Python's Unicode table does not know yet is neither letter nor number.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from functools import cache

PATTERN = (
    r"'(?:s|t|re|ve|m|ll|d)| ?{letters}+| ?{numbers}+| ?[^{space_}{letters_}{numbers_}]+"
    r"|{space}+(?![^{space_}])|{space}+"
)
SPACE = r"\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
BASIC_PLANE = 0x10000  # the end of the characters that most texts are made of
LETTERS_END = 0x40000  # no letter and no number lies at or above this
BLOCK = 1 << 16

_EDGE = re.compile(rf"[^{SPACE}](?=[{SPACE}])")


def split(text: str) -> list[str]:
    """The pieces of a text, in order; together they are the text."""
    return [piece for block in split_in_blocks(text) for piece in block]


def count_pieces(text: str) -> Counter[str]:
    """How often each piece occurs in the text."""
    counts: Counter[str] = Counter()
    for block in split_in_blocks(text):
        counts.update(block)
    return counts


def split_in_blocks(text: str) -> Iterator[list[str]]:
    """The pieces, some thousands at a time, so that a large text is never in memory twice.

    A block ends where white space follows something else. A piece starts there in any case, and the
    pattern never looks back, so the cuts change nothing.
    """
    start = 0
    while start < len(text):
        edge = _EDGE.search(text, start + BLOCK)
        end = edge.end() if edge else len(text)
        block = text[start:end]
        plain = block.isascii() or max(block) < chr(BASIC_PLANE)
        yield _pattern(BASIC_PLANE if plain else LETTERS_END).findall(block)
        start = end


@cache
def _pattern(end: int) -> re.Pattern[str]:
    """The pattern for texts whose letters and numbers all lie below `end`.

    `re` looks up a character of the basic plane in a table, but tries the ranges above it one by
    one, at the end of every word. The pattern without them is five times faster.
    """
    letters, numbers = _class("L", end), _class("N", end)
    return re.compile(
        PATTERN.format(
            letters=f"[{letters}]",
            numbers=f"[{numbers}]",
            space=f"[{SPACE}]",
            letters_=letters,
            numbers_=numbers,
            space_=SPACE,
        )
    )


def _class(category: str, end: int) -> str:
    """The characters below `end` whose Unicode category starts with `category`, as ranges."""
    ranges = []
    start = None
    for point in range(end + 1):
        inside = point < end and unicodedata.category(chr(point))[0] == category
        if inside and start is None:
            start = point
        elif not inside and start is not None:
            ranges.append(f"{re.escape(chr(start))}-{re.escape(chr(point - 1))}")
            start = None
    return "".join(ranges)
