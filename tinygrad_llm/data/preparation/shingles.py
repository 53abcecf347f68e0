"""Words and runs of words as numbers, by NumPy: no Python code runs for each word.

A word is a run of ASCII letters and digits, in lower case, or of letters of other scripts that are
written with spaces; each character of Japanese, Chinese or Thai is a word by itself. Everything
else only separates. The hash of a word is a polynomial in its characters modulo 2⁶⁴ and comes from
differences of one cumulative sum; a shingle is 5 words in a row, and its hash that of their hashes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

__all__ = ["WORDS", "code_points", "shingles_of"]

WORDS = 5  # of a shingle

_BASE = 0x9E3779B97F4A7C15  # odd, so that it has an inverse modulo 2⁶⁴
_INVERSE = pow(_BASE, -1, 1 << 64)
_SPAN = 1 << 16  # characters whose powers of the base are kept: a longer text goes piece by piece


def _powers(base: int) -> np.ndarray:
    """1, base, base², … modulo 2⁶⁴: (_SPAN + 1)."""
    powers = np.full(_SPAN + 1, base, np.uint64)
    powers[0] = 1
    return np.multiply.accumulate(powers)


_POWERS, _INVERSES = _powers(_BASE), _powers(_INVERSE)

# What a character below 0x10000 is: 0 separates, 1 is a letter, 2 a word by itself
_KIND = np.ones(0x10000, np.uint8)
_KIND[:0x80] = [chr(i).isalnum() for i in range(0x80)]
_KIND[0x80:0xC0] = 0
for _first, _last, _kind in (
    (0x2000, 0x2BFF, 0), (0x3000, 0x3004, 0), (0x3008, 0x3020, 0), (0x3030, 0x3030, 0),
    (0xFE30, 0xFE6F, 0), (0xFF00, 0xFF0F, 0), (0xFF1A, 0xFF20, 0), (0xFF3B, 0xFF40, 0),
    (0xFF5B, 0xFF65, 0), (0xD800, 0xF8FF, 0), (0x0E00, 0x0E7F, 2), (0x3005, 0x3007, 2),
    (0x3041, 0x30FF, 2), (0x3400, 0x9FFF, 2), (0xF900, 0xFAFF, 2), (0xFF66, 0xFF9F, 2),
):  # fmt: skip
    _KIND[_first : _last + 1] = _kind
_KIND[[0x30FB, 0x00AA, 0x00B5, 0x00BA, 0x00D7, 0x00F7]] = [0, 1, 1, 1, 0, 0]
_LOWER = np.arange(0x80, dtype=np.uint8)
_LOWER[65:91] += 32
_KIND_ASCII = _KIND[:0x80]


def code_points(text: str) -> np.ndarray:
    """The characters as numbers: uint8 of ASCII, else uint32."""
    if text.isascii():
        return np.frombuffer(text.encode("ascii"), np.uint8)
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)


def shingles_of(texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """The hashes of all shingles, uint64, and where each text's begin (N + 1).

    A text of n words has n − 4 shingles, one of fewer than 5 words none.
    """
    points = code_points("\n".join(texts))
    lengths = np.fromiter(map(len, texts), np.int64, len(texts))
    ends = np.cumsum(lengths + 1)  # one more than the line end after each text
    words, places = _words(points)
    text_of = np.searchsorted(places, np.concatenate([[0], ends]))  # words before each text
    n = np.maximum(np.diff(text_of) - (WORDS - 1), 0)
    starts = np.concatenate([[0], np.cumsum(n)])
    if not len(words) or not starts[-1]:
        return np.empty(0, np.uint64), np.zeros(len(texts) + 1, np.int64)
    m = max(0, len(words) - WORDS + 1)
    runs = np.zeros(m, np.uint64)
    for i in range(WORDS):
        runs *= np.uint64(_INVERSE)
        runs += words[i : i + m]
    if len(texts) > 1:  # those that reach into the next text do not count
        inside = np.ones(m, bool)
        for i in range(1, WORDS):
            cut = text_of[1:-1] - i
            inside[cut[(cut >= 0) & (cut < m)]] = False
        runs = runs[inside]
    return _mixed(runs), starts


def _mixed(hashes: np.ndarray) -> np.ndarray:
    """Each bit of the result depends on every bit (the finalizer of SplitMix64)."""
    hashes = (hashes ^ (hashes >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    hashes = (hashes ^ (hashes >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return hashes ^ (hashes >> np.uint64(31))


def _words(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(hash of each word, uint64; where it begins in the row of characters)."""
    hashes, places = [], []
    begin = 0
    while begin < len(points):
        piece = points[begin : begin + _SPAN]
        kinds = _kinds(piece)
        if begin + len(piece) < len(points):  # cut where no word is
            gaps = np.flatnonzero(kinds[len(kinds) // 2 :] != 1)
            if len(gaps):
                cut = len(kinds) // 2 + int(gaps[-1]) + 1
                piece, kinds = piece[:cut], kinds[:cut]
        values, at = _words_of_piece(piece, kinds)
        hashes.append(values)
        places.append(at + begin)
        begin += len(piece)
    if not hashes:
        return np.empty(0, np.uint64), np.empty(0, np.int64)
    return np.concatenate(hashes), np.concatenate(places)


def _kinds(points: np.ndarray) -> np.ndarray:
    if points.dtype == np.uint8:
        return _KIND_ASCII[points]
    kinds: np.ndarray = _KIND[np.minimum(points, 0xFFFF)]
    kinds[points > 0xFFFF] = 2
    return kinds


def _words_of_piece(points: np.ndarray, kinds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    letter = kinds == 1
    edge = np.diff(letter, prepend=False, append=False)
    at = np.flatnonzero(edge)
    begins, ends = at[::2], at[1::2]
    alone = np.flatnonzero(kinds == 2) if kinds.max(initial=0) == 2 else None
    if points.dtype == np.uint8:
        values = _LOWER[points].astype(np.uint64)
    else:
        values = points.astype(np.uint64)
        small = points < 0x80
        values[small] = _LOWER[points[small]]
    sums = np.zeros(len(points) + 1, np.uint64)
    np.cumsum((values + np.uint64(1)) * _POWERS[: len(points)], out=sums[1:])
    if alone is not None and len(alone):
        begins = np.concatenate([begins, alone])
        ends = np.concatenate([ends, alone + 1])
        order = np.argsort(begins, kind="stable")
        begins, ends = begins[order], ends[order]
    words = (sums[ends] - sums[begins]) * _INVERSES[begins]
    return _mixed(words), begins
