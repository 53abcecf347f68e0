"""Byte-pair encoding as in a textbook: count all pairs, join the most frequent, start over.

The slow twin of merges.py: this one is for reading, and the tests compare the two.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise

Pair = tuple[int, int]


def textbook_merges(words: Iterable[bytes], n_merges: int, min_count: int = 2) -> list[Pair]:
    """The merges that learn_merges(Counter(words), ...) returns."""
    rows = [list(word) for word in words]
    merges: list[Pair] = []
    while len(merges) < n_merges:
        counts = Counter(pair for row in rows for pair in pairwise(row))
        if not counts:
            break
        best = min(counts, key=lambda pair: (-counts[pair], pair))
        if counts[best] < min_count:
            break
        rows = [join(row, best, 256 + len(merges)) for row in rows]
        merges.append(best)
    return merges


def textbook_encode(word: bytes, merges: Sequence[Pair]) -> list[int]:
    """The symbols of one word: one merge after the other, in the order they were learned in."""
    row = list(word)
    for i, pair in enumerate(merges):
        row = join(row, pair, 256 + i)
    return row


def join(row: list[int], pair: Pair, new: int) -> list[int]:
    """The row with `new` in the place of every `pair`, from left to right."""
    left, right = pair
    joined = []
    i = 0
    while i < len(row):
        if row[i] == left and i + 1 < len(row) and row[i + 1] == right:
            joined.append(new)
            i += 2
        else:
            joined.append(row[i])
            i += 1
    return joined
