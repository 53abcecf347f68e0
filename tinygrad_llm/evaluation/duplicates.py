"""Near-duplicates in a list of texts: pairs that share most of their runs of characters.

    for pair in near_duplicates(texts): print(pair.similarity, texts[pair.first])

A text is a vector with one number for each run of 1 to 3 characters in it: how often it occurs,
times ln((1 + N) / (1 + n)) + 1 where n of N texts have it, so that rare runs weigh more. Two texts
are as similar as the cosine of their vectors. This is exact and compares all pairs: for thousands
of texts; data.preparation.minhash has an estimate for millions.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from ..data.preparation.minhash import NearDuplicate, check_similarity

__all__ = ["NearDuplicate", "later_duplicates", "near_duplicates"]

_ROWS = 256  # texts that are compared with all others at a time


def near_duplicates(
    texts: Sequence[str], threshold: float = 0.9, longest: int = 3, first_new: int = 0
) -> list[NearDuplicate]:  # fmt: skip
    """All pairs of texts with a similarity of `threshold` or more, the most similar first.

    Case does not count. Empty texts are similar to nothing. longest: characters of a run at most;
    first_new: only pairs whose second text is texts[first_new] or a later one
    Raises: as check_similarity.
    """
    check_similarity(texts, threshold, longest)
    counts = [_runs(text.lower(), longest) for text in texts]
    inverse = _postings(counts)
    pairs = []
    for start in range(first_new, len(texts), _ROWS):
        rows = counts[start : start + _ROWS]
        similar = np.zeros((len(rows), len(texts)))  # (rows, N)
        for i, own in enumerate(rows):
            for run, count in own.items():
                places, weights, idf = inverse[run]
                similar[i, places] += count * idf * weights
            norm = math.sqrt(sum((n * inverse[run][2]) ** 2 for run, n in own.items()))
            similar[i] /= norm or 1.0
        for j, i in np.argwhere(similar >= threshold - 1e-12).tolist():
            if i < start + j:
                pairs.append(NearDuplicate(i, start + j, min(1.0, float(similar[j, i]))))
    return sorted(pairs, key=lambda pair: (-pair.similarity, pair.first, pair.second))


def later_duplicates(pairs: Iterable[NearDuplicate]) -> dict[int, int]:
    """Which texts to leave out so that none of these pairs is left, and the earlier one of each."""
    dropped: dict[int, int] = {}
    for first, second, _ in sorted(pairs):
        if first not in dropped:
            dropped.setdefault(second, first)
    return dropped


def _runs(text: str, longest: int) -> Counter[str]:
    """How often each run of 1 to `longest` characters occurs."""
    return Counter(text[i : i + n] for n in range(1, longest + 1) for i in range(len(text) - n + 1))


def _postings(counts: Sequence[Counter[str]]) -> dict[str, tuple[np.ndarray, np.ndarray, float]]:
    """For each run: the texts that have it, its weights there in vectors of length 1, and idf."""
    having = Counter(run for own in counts for run in own)
    idf = {run: math.log((1 + len(counts)) / (1 + n)) + 1 for run, n in having.items()}
    lists: dict[str, tuple[list[int], list[float]]] = {run: ([], []) for run in having}
    for place, own in enumerate(counts):
        norm = math.sqrt(sum((n * idf[run]) ** 2 for run, n in own.items()))
        for run, n in own.items():
            lists[run][0].append(place)
            lists[run][1].append(n * idf[run] / norm)
    return {run: (np.array(p), np.array(w), idf[run]) for run, (p, w) in lists.items()}
