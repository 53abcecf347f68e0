"""SentencePiece's precompiled rules of normalisation: a trie of bytes, and what its keys become.

The bytes: the size of the trie (4 bytes, little-endian), the trie as a double array of 32-bit units
(S. Yata's darts-clone), then the replacements, each ended by a zero byte. A value of the trie is
the place of a replacement.
"""

from __future__ import annotations

import re
import unicodedata
from array import array
from functools import cache

import numpy as np

__all__ = ["Charsmap"]

_SMALL = 6  # bytes: shorter clusters of characters are looked up as a whole
_LONGEST_KEY = 256  # bytes; the rules of NFKC have keys of up to 18
_CONTROL = ("Cc", "Zl", "Zp")
_PREPENDED = re.compile("[\u0600-\u0605\u06dd\u070f]")


class Charsmap:
    """The rules in `data`, the bytes of a SentencePiece model's precompiled_charsmap.

    Raises: ValueError if the sizes in it are wrong.
    """

    def __init__(self, data: bytes) -> None:
        size = int.from_bytes(data[:4], "little")
        if len(data) < 8 or size % 4 or not 4 <= size <= len(data) - 4:
            raise ValueError(
                f"a charsmap of {len(data):,} bytes says that its trie has {size:,} bytes"
            )
        units = np.frombuffer(data, "<u4", size // 4, 4)  # (n)
        self._units = array("L", units.tolist())
        self._texts = data[4 + size :]
        self._keys: dict[str, bool] = {}

    def longest(self, text: str) -> str:
        """The text after the rules as SentencePiece applies them: the longest key at each place."""
        return self._apply(text, clusters=False)

    def by_cluster(self, text: str) -> str:
        """The text after the rules as `tokenizers` applies them.

        A cluster (a character with its combining marks) of less than 6 bytes becomes what the
        shortest key at its beginning becomes; otherwise each character is looked up alone.
        """
        return self._apply(text, clusters=True)

    def _apply(self, text: str, clusters: bool) -> str:
        active = "".join(sorted(c for c in set(text) if self._begins_a_key(c)))
        if not active:
            return text
        done = 0
        written = []
        for match in _any_of(active).finditer(text):
            i = match.start()
            if i < done:
                continue
            replacement = self._cluster(text, i) if clusters else self._longest_at(text, i)
            if replacement is not None:
                written += [text[done:i], replacement[0]]
                done = i + replacement[1]
        return "".join([*written, text[done:]])

    def _longest_at(self, text: str, i: int) -> tuple[str, int] | None:
        """The replacement of the longest key at place i, and how many characters that key has."""
        data = text[i : i + _LONGEST_KEY].encode("utf-8")[:_LONGEST_KEY]
        matches = self._matches(data)
        if not matches:
            return None
        n_bytes, place = matches[-1]
        return self._text_at(place), len(data[:n_bytes].decode("utf-8", "ignore"))

    def _cluster(self, text: str, i: int) -> tuple[str, int] | None:
        """As _longest_at, for the cluster at place i, or else its first character."""
        start, end = _cluster_around(text, i)
        cluster = text[start:end].encode("utf-8")
        if start == i and end > i + 1 and len(cluster) < _SMALL:
            matches = self._matches(cluster)
            if matches:
                return self._text_at(matches[0][1]), end - i
        matches = self._matches(text[i].encode("utf-8"))
        return (self._text_at(matches[0][1]), 1) if matches else None

    def _begins_a_key(self, c: str) -> bool:
        if c not in self._keys:
            if len(self._keys) > 1 << 16:
                self._keys.clear()
            self._keys[c] = self._walk(c.encode("utf-8"))[1]
        return self._keys[c]

    def _matches(self, key: bytes) -> list[tuple[int, int]]:
        return self._walk(key)[0]

    def _walk(self, key: bytes) -> tuple[list[tuple[int, int]], bool]:
        """(length, value) of every key of the trie that `key` begins with, shortest first; and
        whether the trie has keys that begin with all of `key`, or that it begins with."""
        units = self._units
        matches: list[tuple[int, int]] = []
        node = _offset(units[0])
        for n, byte in enumerate(key, 1):
            node ^= byte
            if not byte or node >= len(units) or units[node] & 0x800000FF != byte:
                return matches, bool(matches)
            unit = units[node]
            node ^= _offset(unit)
            if unit >> 8 & 1 and node < len(units):
                matches.append((n, units[node] & 0x7FFFFFFF))
        return matches, True

    def _text_at(self, place: int) -> str:
        end = self._texts.find(b"\0", place)
        end = end if end >= 0 else len(self._texts)
        return self._texts[place : min(end, place + _LONGEST_KEY)].decode("utf-8", "replace")


def _offset(unit: int) -> int:
    return unit >> 10 << ((unit & 0x200) >> 6)


@cache
def _any_of(characters: str) -> re.Pattern[str]:
    return re.compile(f"[{re.escape(characters)}]")


def _extends(c: str) -> bool:
    """Whether a character continues the cluster before it (Unicode's rules GB9 and GB9a)."""
    return (
        unicodedata.category(c)[0] == "M"
        or c in "\u200c\u200d\uff9e\uff9f\u0e33\u0eb3"
        or "\U0001f3fb" <= c <= "\U0001f3ff"
    )


def _cluster_around(text: str, i: int) -> tuple[int, int]:
    """Where the cluster of character i begins and ends, as far as clusters below 6 bytes go."""
    start = i
    while start > 0 and i - start < _SMALL and _joined(text[start - 1], text[start]):
        start -= 1
    end = i + 1
    while end < len(text) and end - i <= _SMALL and _joined(text[end - 1], text[end]):
        end += 1
    return start, end


def _joined(a: str, b: str) -> bool:
    if a == "\r" and b == "\n":
        return True
    if unicodedata.category(a) in _CONTROL or unicodedata.category(b) in _CONTROL:
        return False
    return _extends(b) or bool(_PREPENDED.match(a))
