"""Byte-pair encoding: learning the merges, and applying them.

Start from single bytes. Count the pairs of neighbours in all words, join the most frequent pair
into a new symbol everywhere, and repeat: each join is a merge (Sennrich, Haddow and Birch 2016,
"Neural machine translation of rare words with subword units"; over bytes as in GPT-2, Radford et
al. 2019). `textbook.py` does it in 30 lines, and slowly; this file returns the same merges.

Where the time goes, and how it is saved:
- the words of a text repeat: each is handled once, with its count;
- a merge changes few pairs: only the neighbours of the joined places are counted again, and for
  each pair its places are kept;
- the most frequent pair comes from a heap. The counts of old pairs only ever fall, and every pair
  with the new symbol is new. So a count in the heap is never too low: if the one at the top is too
  high, it sinks to its true place.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from heapq import heapify, heappop, heappush, heapreplace
from itertools import pairwise
from typing import TypeVar

__all__ = ["FIRST_MERGE", "Pair", "Word", "Words", "apply_merges", "learn_merges"]

Pair = tuple[int, int]
Word = bytes | tuple[int, ...]
W = TypeVar("W", bound=Word)

FIRST_MERGE = 256  # the symbol of the first merge: those below it are the bytes
LONG = 200  # symbols from which on a word is encoded with a heap
_NEVER = 1 << 62
_EDGE = -1


def learn_merges(
    counts: Mapping[W, int], n_merges: int, min_count: int = 2, first: int = FIRST_MERGE
) -> list[Pair]:
    """The first merges for words with their counts; merge i joins a pair into the symbol first + i.

    counts: a word is its bytes, or its symbols as numbers from 0 to first - 1

    Of pairs with the same count the smaller one goes first: by its left symbol, then by its right
    one. So the result depends on the words and counts alone. Fewer than n_merges are returned if no
    pair is left that occurs min_count times.
    """
    words = Words(counts)
    pair_count = words.pair_count
    heap = [(-n, pair) for pair, n in pair_count.items() if n >= min_count]
    heapify(heap)
    merges: list[Pair] = []
    while heap and len(merges) < n_merges:
        bound, pair = heap[0]
        n = pair_count[pair]
        if n < min_count:
            heappop(heap)
            continue
        if n < -bound:
            heapreplace(heap, (-n, pair))
            continue
        heappop(heap)
        new_pairs = words.join(pair, first + len(merges))
        merges.append(pair)
        for new_pair in new_pairs:
            if pair_count[new_pair] >= min_count:
                heappush(heap, (-pair_count[new_pair], new_pair))
    return merges


class Words:
    """All words in one row of symbols, with the count and the places of every pair.

    There is an edge before, between and after the words. symbol[i] is the symbol at place i, _EDGE
    if there is none (any more); before[i] and after[i] are the places of its neighbours, so that a
    symbol can be taken out of the row; weight[i] is the count of its word. joined: how often the
    last join found its pair.
    """

    def __init__(self, counts: Mapping[W, int]) -> None:
        self.joined = 0
        self.symbol = symbol = [_EDGE]
        self.weight = weight = [0]
        self.pair_count: dict[Pair, int] = defaultdict(int)
        self.places: dict[Pair, list[int]] = defaultdict(list)
        for word, n in counts.items():
            start = len(symbol)
            for place, pair in enumerate(pairwise(word), start):
                self.pair_count[pair] += n
                self.places[pair].append(place)
            symbol += word
            symbol.append(_EDGE)
            weight += [n] * (len(word) + 1)
        self.before = list(range(-1, len(symbol) - 1))
        self.after = list(range(1, len(symbol) + 1))

    def join(self, pair: Pair, new: int) -> set[Pair]:
        """Put the symbol `new` in the place of every `pair`; returns the pairs that are new."""
        symbol, before, after = self.symbol, self.before, self.after
        pair_count, places = self.pair_count, self.places
        a, b = pair
        new_pairs: set[Pair] = set()
        joined_places = 0
        for i in places.pop(pair):  # from left to right: "aaa" becomes (aa)a
            j = after[i]
            if symbol[i] != a or symbol[j] != b:
                continue  # an earlier merge took one of the two
            n = self.weight[i]
            joined_places += n
            h, k = before[i], after[j]
            symbol[i], symbol[j] = new, _EDGE
            after[i] = k
            left = symbol[h]
            if left != _EDGE:
                pair_count[left, a] -= n
                joined = (left, new)
                pair_count[joined] += n
                places[joined].append(h)
                new_pairs.add(joined)
            right = symbol[k]
            before[k] = i
            if right != _EDGE:
                pair_count[b, right] -= n
                joined = (new, right)
                pair_count[joined] += n
                places[joined].append(i)
                new_pairs.add(joined)
        pair_count[pair] = 0
        self.joined = joined_places
        return new_pairs


def apply_merges(ids: Sequence[int], rank: Mapping[Pair, int]) -> list[int]:
    """Join the symbols of one word by the merges, the earliest merge first.

    rank: pair -> the symbol that it becomes; the earlier of two merges has the smaller symbol
    """
    if len(ids) > LONG:
        return _apply_merges_long(ids, rank)
    ids = list(ids)
    joined = [rank.get(pair, _NEVER) for pair in pairwise(ids)]  # what each pair would become
    while joined and (new := min(joined)) != _NEVER:
        i = joined.index(new)  # from left to right: "aaa" becomes (aa)a
        ids[i : i + 2] = [new]
        del joined[i]
        if i > 0:
            joined[i - 1] = rank.get((ids[i - 1], new), _NEVER)
        if i < len(joined):
            joined[i] = rank.get((new, ids[i + 1]), _NEVER)
    return ids


def _apply_merges_long(ids: Sequence[int], rank: Mapping[Pair, int]) -> list[int]:
    """apply_merges in n·log n steps: a heap of the pairs to join, by merge, then left to right."""
    symbol = [*ids, _EDGE]
    before = list(range(-1, len(ids)))
    after = list(range(1, len(ids) + 2))
    heap = [(rank[pair], i) for i, pair in enumerate(pairwise(ids)) if pair in rank]
    heapify(heap)
    while heap:
        new, i = heappop(heap)
        j = after[i]
        if symbol[i] == _EDGE or rank.get((symbol[i], symbol[j])) != new:
            continue  # an earlier merge took one of the two
        h, k = before[i], after[j]
        symbol[i], symbol[j] = new, _EDGE
        after[i] = k
        before[k] = i
        if h >= 0 and (next_new := rank.get((symbol[h], new))) is not None:
            heappush(heap, (next_new, h))
        if (next_new := rank.get((new, symbol[k]))) is not None:
            heappush(heap, (next_new, i))
    return [s for s in symbol if s != _EDGE]
