"""Byte-pair encoding: learning the merges, and applying them.

Start from single bytes. Count the pairs of neighbours in all words, join the most frequent pair
into a new symbol everywhere, and go on: each join is a merge (Sennrich, Haddow and Birch 2016,
"Neural machine translation of rare words with subword units"; over bytes as in GPT-2, Radford et
al. 2019). `textbook.py` says it in 30 lines, and slowly; this file gives the same merges.

Where the time goes, and how it is saved:
- the words of a text repeat: each is handled once, with its count;
- a merge changes few pairs: only the neighbours of the joined places are counted anew, and each
  pair knows
  its places;
- the most frequent pair comes from a heap. Counts of old pairs only ever fall, and every pair with
  the new
  symbol is new. So what the heap says is never too low: if the top is too high, it sinks to its
  true place.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from heapq import heapify, heappop, heappush, heapreplace
from itertools import pairwise

Pair = tuple[int, int]

FIRST_MERGE = 256
LONG = 200
_NEVER = 1 << 62
_EDGE = -1


def learn_merges(counts: Mapping[bytes, int], n_merges: int, min_count: int = 2) -> list[Pair]:
    """The first merges for words with their counts; merge i joins a pair into the symbol 256 + i.

    Of pairs with the same count the smaller one goes first: by its left symbol, then by its right
    one. So the result depends on the words and counts alone. Fewer than n_merges come back if no
    pair is left that occurs min_count times.
    """
    # All words in one row, with an edge before, between and after them, and linked both ways, so
    # that a symbol can leave it. symbol[i] is what stands at place i, _EDGE if nothing (any more).
    symbol = [_EDGE]
    weight = [0]
    pair_count: dict[Pair, int] = defaultdict(int)
    places: dict[Pair, list[int]] = defaultdict(list)
    for word, n in counts.items():
        start = len(symbol)
        for place, pair in enumerate(pairwise(word), start):
            pair_count[pair] += n
            places[pair].append(place)
        symbol += word
        symbol.append(_EDGE)
        weight += [n] * (len(word) + 1)
    before = list(range(-1, len(symbol) - 1))
    after = list(range(1, len(symbol) + 1))

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

        new = FIRST_MERGE + len(merges)
        merges.append(pair)
        a, b = pair
        fresh: set[Pair] = set()
        for i in places.pop(pair):  # from left to right: "aaa" becomes (aa)a
            j = after[i]
            if symbol[i] != a or symbol[j] != b:
                continue  # an earlier merge took one of the two
            n = weight[i]
            h, k = before[i], after[j]
            symbol[i], symbol[j] = new, _EDGE
            after[i] = k
            left = symbol[h]
            if left != _EDGE:
                pair_count[left, a] -= n
                joined = (left, new)
                pair_count[joined] += n
                places[joined].append(h)
                fresh.add(joined)
            right = symbol[k]
            before[k] = i
            if right != _EDGE:
                pair_count[b, right] -= n
                joined = (new, right)
                pair_count[joined] += n
                places[joined].append(i)
                fresh.add(joined)
        pair_count[pair] = 0
        for joined in fresh:
            if pair_count[joined] >= min_count:
                heappush(heap, (-pair_count[joined], joined))
    return merges


def apply_merges(ids: Sequence[int], rank: Mapping[Pair, int]) -> list[int]:
    """Join the symbols of one word as the merges say, the earliest merge first.

    rank: pair -> the symbol that it becomes; of two merges the one with the smaller symbol is the
        earlier
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
    """apply_merges in n·log n steps: a heap of what can be joined, by merge, then left to right."""
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
