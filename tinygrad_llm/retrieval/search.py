"""Exact search: the nearest of N vectors, by inner product or by Hamming distance of codes."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

__all__ = ["Hits", "best", "binary_codes", "search_codes", "search_vectors"]

BLOCK = 1 << 22  # scores at a time: 16 MB
WORDS = 1 << 15  # of codes compared at a time: 256 kB, which stays in the cache
_Scores = Callable[[np.ndarray, np.ndarray], np.ndarray]


class Hits(NamedTuple):
    """ids (..., k) of what was searched, the best first, and their scores (..., k)."""

    ids: np.ndarray
    scores: np.ndarray


def best(scores: np.ndarray, k: int) -> Hits:
    """The k largest of each row: scores (Q, N) -> (Q, k). Equal scores: the smaller id first.

    Fewer than k where N is smaller. NaN counts as the lowest.
    Raises: ValueError for a negative k.
    """
    k = _count(k, scores.shape[1])
    if not k:
        return Hits(np.zeros((len(scores), 0), np.intp), scores[:, :0])
    ordered = np.where(np.isnan(scores), -np.inf, scores)
    ids = np.sort(np.argpartition(-ordered, k - 1, axis=1)[:, :k], axis=1)  # (Q, N) -> (Q, k)
    chosen = np.take_along_axis(ordered, ids, 1)
    least = chosen.min(axis=1, keepdims=True)  # argpartition takes any of those that equal it
    tied = (ordered == least).sum(axis=1) > (chosen == least).sum(axis=1)
    for row in np.flatnonzero(tied):
        above = np.flatnonzero(ordered[row] > least[row])
        equal = np.flatnonzero(ordered[row] == least[row])[: k - len(above)]
        ids[row] = np.sort(np.concatenate([above, equal]))
    order = np.argsort(-np.take_along_axis(ordered, ids, 1), axis=1, kind="stable")
    ids = np.take_along_axis(ids, order, 1)
    return Hits(ids, np.take_along_axis(scores, ids, 1))


def search_vectors(queries: np.ndarray, vectors: np.ndarray, k: int = 10) -> Hits:
    """The k vectors with the largest inner product: queries (Q, C), vectors (N, C) -> (Q, k).

    For vectors of length 1 that is the cosine of their angle.
    Raises: ValueError for shapes that do not fit, or a negative k.
    """
    queries, vectors = np.asarray(queries), np.asarray(vectors)
    if queries.ndim != 2 or vectors.ndim != 2 or queries.shape[1] != vectors.shape[1]:
        raise ValueError(
            f"queries (Q, C) and vectors (N, C) are needed, got {queries.shape} and {vectors.shape}"
        )
    return _in_blocks(queries, vectors, k, lambda q, v: q @ v.T)


def binary_codes(vectors: np.ndarray) -> np.ndarray:
    """Signs as bits, eight in a byte: (N, C) -> uint8 (N, C/8); 1 for a number above 0."""
    return np.packbits(np.asarray(vectors) > 0, axis=-1)


def search_codes(queries: np.ndarray, codes: np.ndarray, k: int = 10) -> Hits:
    """The k codes with the fewest other bits: uint8 (Q, B), (N, B) -> (Q, k); scores are −distance.

    Raises: ValueError for shapes or dtypes that do not fit, or a negative k.
    """
    if queries.dtype != np.uint8 or codes.dtype != np.uint8 or queries.shape[1:] != codes.shape[1:]:
        raise ValueError(
            f"codes are uint8 of shapes (Q, B) and (N, B), got {queries.dtype} {queries.shape} and "
            f"{codes.dtype} {codes.shape}"
        )
    return _in_blocks(_words(queries), _words(codes), k, _equal_bits)


def _words(codes: np.ndarray) -> np.ndarray:
    """Codes as whole words, filled up with zero bits: uint8 (N, B) -> uint64 (N, ⌈B/8⌉)."""
    padded = np.zeros((len(codes), -(-codes.shape[1] // 8) * 8), np.uint8)
    padded[:, : codes.shape[1]] = codes
    return padded.view(np.uint64)  # (N, 8W) -> (N, W)


def _equal_bits(queries: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """−Hamming distance of words (Q, W) and (N, W): float32 (Q, N)."""
    Q, N = len(queries), len(codes)
    distance = np.zeros((Q, N), np.int16 if codes.shape[1] < 512 else np.int32)
    columns = np.ascontiguousarray(codes.T)  # (N, W) -> (W, N)
    n = max(1, WORDS // max(1, Q))
    for start in range(0, N, n):
        part = distance[:, start : start + n]
        for q, c in zip(queries.T, columns[:, start : start + n], strict=True):
            part += np.bitwise_count(q[:, None] ^ c)  # (Q, 1), (n) -> (Q, n)
    return -distance.astype(np.float32)


def _in_blocks(queries: np.ndarray, vectors: np.ndarray, k: int, scores: _Scores) -> Hits:
    """`best` of scores(queries, vectors), some queries and vectors at a time."""
    k = _count(k, len(vectors))
    n = max(k, BLOCK // max(1, min(len(queries), 256)), 1)
    ids = np.zeros((len(queries), k), np.intp)
    values = np.zeros((len(queries), k), _score_type(queries, vectors))
    for q in range(0, len(queries), 256):
        asked = queries[q : q + 256]
        some = Hits(np.zeros((len(asked), 0), np.intp), np.zeros((len(asked), 0), values.dtype))
        for v in range(0, len(vectors), n):
            more = best(scores(asked, vectors[v : v + n]), k)
            both = np.concatenate([some.scores, more.scores], 1)  # (q, up to 2k)
            names = np.concatenate([some.ids, more.ids + v], 1)
            kept = best(both, k)
            some = Hits(np.take_along_axis(names, kept.ids, 1), kept.scores)
        ids[q : q + 256], values[q : q + 256] = some
    return Hits(ids, values)


def _score_type(queries: np.ndarray, vectors: np.ndarray) -> np.dtype:
    """The dtype of scores: that of vectors' products, float32 for codes."""
    dtype = np.result_type(queries, vectors)
    return np.dtype(np.float32) if dtype == np.uint64 else dtype


def _count(k: int, most: int) -> int:
    k = operator.index(k)
    if k < 0:
        raise ValueError(f"k must be 0 or more, got {k}")
    return min(k, most)
