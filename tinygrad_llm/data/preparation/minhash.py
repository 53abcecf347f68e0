"""MinHash: how similar two texts are, estimated from a few numbers of each; LSH finds the pairs.

A text is the set of its shingles, runs of 5 words. Two texts are as similar as their sets A and B:
J = |A ∩ B| / |A ∪ B| (Jaccard). A hash function puts all shingles into a random order; that the
first one of A is the first one of B has the probability J (Broder, 1997, "On the resemblance and
containment of documents"). With K functions the share of equal minima estimates J with the standard
error √(J·(1 − J)/K): 0.044 at most for K = 128.

LSH cuts the K minima into b bands of r rows. Texts that agree in a whole band become candidates,
with the probability 1 − (1 − Jʳ)ᵇ (Leskovec, Rajaraman and Ullman, "Mining of Massive Datasets",
section 3.4). For 16 bands of 8 rows:
    J          0.5     0.6     0.7     0.8     0.9     0.95
    found      0.061   0.237   0.613   0.947   0.9999  1.0
A candidate is dropped if its estimate reaches the threshold, 0.8 unless another one is chosen.

    for pair in near_duplicates(texts): print(pair.similarity, texts[pair.first])

evaluation.duplicates compares all pairs exactly, for thousands of texts; this is for millions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from .shingles import shingles_of

__all__ = [
    "BANDS",
    "NearDuplicate",
    "ROWS",
    "band_keys",
    "check_similarity",
    "detection_probability",
    "jaccard",
    "near_duplicates",
    "similar_earlier",
    "signatures",
]

BANDS, ROWS = 16, 8
EMPTY = np.uint32(0xFFFFFFFF)  # the minimum of no shingles
_BLOCK = 1 << 13  # shingles that are hashed at a time: all hashes of them stay in the cache
_draw = np.random.RandomState(20011)
_FACTORS = (_draw.randint(0, 1 << 31, BANDS * ROWS).astype(np.uint32) << 1 | 1)[:, None]  # odd
_OFFSETS = _draw.randint(0, 1 << 32, BANDS * ROWS, dtype=np.uint32)[:, None]
_MIX = _draw.randint(0, 1 << 63, ROWS, dtype=np.uint64) << np.uint64(1) | np.uint64(1)


class NearDuplicate(NamedTuple):
    """Two places in a list of texts, the first one lower, and their similarity between 0 and 1."""

    first: int
    second: int
    similarity: float


def check_similarity(texts: Sequence[str], threshold: float, longest: int) -> None:
    """What searches for near-duplicates accept.

    Raises: ValueError for a threshold outside of (0, 1], or a longest run below 1; TypeError for
    one text instead of several.
    """
    if isinstance(texts, str):
        raise TypeError("near_duplicates takes a list of texts, got one text")
    if not 0 < threshold <= 1 or longest < 1:
        raise ValueError(
            f"threshold must be in (0, 1] and longest 1 or more, got {threshold} and {longest}"
        )


def jaccard(a: str, b: str) -> float:
    """|A ∩ B| / |A ∪ B| of the shingles of two texts; 0 if one has none."""
    first, second = (np.unique(shingles_of([text])[0]) for text in (a, b))
    both = len(np.intersect1d(first, second, assume_unique=True))
    return both / max(1, len(first) + len(second) - both)


def detection_probability(similarity: float, bands: int = BANDS, rows: int = ROWS) -> float:
    """The probability that LSH makes candidates of two texts with this Jaccard similarity."""
    return 1.0 - (1.0 - similarity**rows) ** bands


def signatures(shingles: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """The K minima of each of N texts: (N, K) uint32.

    shingles: of all texts, one after the other, uint64; starts (N + 1): where each begins, and the
    end. A text without shingles has minima 2³² − 1.
    """
    N = len(starts) - 1
    minima = np.full((len(_FACTORS), N), EMPTY, np.uint32)  # (K, N)
    short = (shingles >> np.uint64(32)).astype(np.uint32)  # the upper half is the better mixed one
    for begin in range(0, len(short), _BLOCK):
        block = short[begin : begin + _BLOCK]
        hashes = _FACTORS * block + _OFFSETS  # (K, n), modulo 2³²
        first = int(np.searchsorted(starts, begin, "right")) - 1
        last = int(np.searchsorted(starts, begin + len(block), "left"))
        own = np.maximum(starts[first:last] - begin, 0)
        filled = np.flatnonzero(starts[first:last] < starts[first + 1 : last + 1])
        least = np.minimum.reduceat(hashes, own[filled], axis=1)  # (K, n) -> (K, texts)
        places = first + filled
        minima[:, places] = np.minimum(minima[:, places], least)
    return np.ascontiguousarray(minima.T)  # (K, N) -> (N, K)


def band_keys(minima: np.ndarray) -> np.ndarray:
    """For each text and band one number that equal bands share: (N, K) -> (N, bands) uint64."""
    rows = minima.reshape(len(minima), BANDS, ROWS).astype(np.uint64)
    keys = (rows * _MIX).sum(-1, dtype=np.uint64)  # (N, bands, rows) -> (N, bands)
    return keys ^ (keys >> np.uint64(29))


def estimate(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The estimated similarity of texts side by side: (n, K) and (n, K) -> (n)."""
    same = (a == b) & (a != EMPTY)
    return same.mean(-1)


def similar_earlier(
    keys: np.ndarray, places: np.ndarray, minima: np.ndarray, threshold: float
) -> np.ndarray:
    """Pairs (earlier, later) of places with an equal key in one band: (n, 2) int64.

    keys (n): of one band; places (n): which text each belongs to; minima: indexed by place, an
    array or what answers as one. Of the texts with one key each is compared with the first of them
    and with the one before it, not with all.
    """
    order = np.lexsort((places, keys))
    keys, places = keys[order], places[order]
    same = np.flatnonzero(keys[1:] == keys[:-1]) + 1
    begins = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]]))
    leader = begins[np.searchsorted(begins, same, "right") - 1]
    pairs = np.concatenate([
        np.stack([places[leader], places[same]], 1),  # (n, 2)
        np.stack([places[same - 1], places[same]], 1),
    ])  # fmt: skip
    pairs = np.unique(pairs, axis=0)
    kept = [
        part[estimate(minima[part[:, 0]], minima[part[:, 1]]) >= threshold]
        for part in np.array_split(pairs, max(1, len(pairs) >> 14))
    ]
    return np.concatenate(kept)


def near_duplicates(texts: Sequence[str], threshold: float = 0.8) -> list[NearDuplicate]:
    """Pairs of texts whose estimated similarity is `threshold` or more, the most similar first.

    Not all pairs are compared, see `similar_earlier`: of many copies each is in some pair. Texts of
    fewer than 5 words are similar to nothing.
    Raises: as check_similarity.
    """
    check_similarity(texts, threshold, 1)
    minima = signatures(*shingles_of(texts))
    places = np.flatnonzero(minima[:, 0] != EMPTY)
    keys = band_keys(minima)[places]
    pairs = [similar_earlier(keys[:, i], places, minima, threshold) for i in range(BANDS)]
    chosen = np.unique(np.concatenate(pairs), axis=0)
    similar = estimate(minima[chosen[:, 0]], minima[chosen[:, 1]])
    rows = zip(chosen.tolist(), similar.tolist(), strict=True)
    duplicates = [NearDuplicate(first, second, s) for (first, second), s in rows]
    return sorted(duplicates, key=lambda pair: (-pair.similarity, pair.first, pair.second))
