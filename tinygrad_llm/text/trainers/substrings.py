"""The substrings that occur often in many words, counted length by length in NumPy."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping

import numpy as np

__all__ = ["frequent_substrings"]

_SPACES = "▁ "  # a space, which stands at the beginning of a piece only
_KINDS = {"L": 1, "M": 1, "N": 2}  # letters, digits; all other signs are 3, white space is 4


def frequent_substrings(
    counts: Mapping[str, int], longest: int, min_count: int = 2
) -> list[tuple[str, int]]:
    """(substring, how often it occurs) of all that can become pieces, of two characters and more.

    counts: words with their counts; longest: characters of a piece
    A piece has letters, or digits, or other signs, and at most one space, at its beginning. A
    substring that is always followed by the same character, with which it is a piece again, is left
    out: the longer one says more.

    A substring of n + 1 characters is frequent only if both its parts of n characters are. So the
    places that can begin one become fewer from length to length.
    """
    text = "\0".join(counts) + "\0"
    weight = np.repeat(
        np.fromiter(counts.values(), np.float64, len(counts)), [len(word) + 1 for word in counts]
    )  # (N)
    codes = np.frombuffer(text.encode("utf-32-le"), np.uint32)  # (N)
    characters, ids = np.unique(codes, return_inverse=True)  # (N)  the number of each character
    kind = np.array([_kind(chr(c)) for c in characters.tolist()])[ids]  # (N)
    joins = (kind[1:] > 0) & ((kind[:-1] == kind[1:]) | (kind[:-1] == 0))  # (N - 1)
    here = np.flatnonzero(joins)  # places where a substring of `length` characters can begin
    pieces: list[tuple[str, int]] = []
    parents = np.zeros(0, np.int64), np.zeros(0, np.int64)  # first places and counts, one shorter
    for length in range(2, longest + 2):
        here = here if length <= longest else here[:0]
        keys = ids[here] * (int(ids.max()) + 1) + ids[here + 1]
        _, first, number = np.unique(keys, return_index=True, return_inverse=True)
        n = np.bincount(number, weight[here], len(first)).astype(np.int64)
        if length > 2:
            longer = np.zeros(len(parents[0]), np.int64)
            np.maximum.at(longer, ids[here[first]], n)
            pieces += [
                (text[place : place + length - 1], count)
                for place, count, most in zip(
                    *map(np.ndarray.tolist, (*parents, longer)), strict=True
                )
                if count > most
            ]
        often = n >= min_count
        parents = here[first[often]], n[often]
        alive = often[number]
        here, number = here[alive], (np.cumsum(often) - 1)[number[alive]]
        ids = np.full(len(codes), -1)
        ids[here] = number
        here = here[ids[here + 1] >= 0]
        if not len(parents[0]):
            break
    return pieces


def _kind(c: str) -> int:
    """What a character is: pieces do not mix kinds; -1 for what no piece has, 0 for a space."""
    if c == "\0":
        return -1
    if c in _SPACES:
        return 0
    return 4 if c.isspace() else _KINDS.get(unicodedata.category(c)[0], 3)
