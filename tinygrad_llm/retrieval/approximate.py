"""Faiss, if it is installed: the same search as search.py, exact or approximate.

index = FaissIndex(vectors, "hnsw")
hits = index.search(queries, 10)                       # ids and scores, (Q, 10)
shared = agreement(hits, search_vectors(queries, vectors, 10))          # (Q), 1.0: the same ids
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..evaluation.ranking import recall
from ..files.packages import importing, install_extra
from .search import Hits, binary_codes

__all__ = ["KINDS", "FaissIndex", "agreement"]

KINDS = ("flat", "ivf", "hnsw", "binary")


class FaissIndex:
    """An index of vectors (N, C) in Faiss.

    kind: "flat": every inner product, exact; "ivf": k-means lists, of which the nearest are read;
    "hnsw": a graph of neighbours (Malkov and Yashunin, 2016); "binary": signs, by Hamming distance
    n_lists: of ivf, None for √N; n_probe: lists that a query reads; links: of each vertex of hnsw;
    depth: candidates that hnsw keeps while it searches
    Raises: ValueError for another kind, or vectors that are not (N, C) with N ≥ 1; ImportError
    without the extra `retrieval`.
    """

    def __init__(
        self, vectors: np.ndarray, kind: str = "flat", *, n_lists: int | None = None,
        n_probe: int = 8, links: int = 32, depth: int = 64,
    ) -> None:  # fmt: skip
        if kind not in KINDS:
            raise ValueError(f"kind must be one of {', '.join(KINDS)}, got {kind!r}")
        if vectors.ndim != 2 or not len(vectors):
            raise ValueError(f"vectors (N, C) are needed, got {vectors.shape}")
        if min(n_probe, links, depth, 1 if n_lists is None else n_lists) < 1:
            raise ValueError("n_lists, n_probe, links and depth must be 1 or more")
        install = (
            f"{install_extra('retrieval')}, or use search_vectors, which is exact and needs NumPy "
            "alone"
        )
        with importing("this index needs Faiss", install):
            import faiss
        vectors = np.ascontiguousarray(vectors, np.float32)
        n, width = vectors.shape
        self.kind, self.width = kind, width
        self._index: Any
        if kind == "binary":
            codes = binary_codes(vectors)  # (N, C) -> (N, C/8)
            self._index = faiss.IndexBinaryFlat(8 * codes.shape[1])
            self._index.add(codes)
            return
        if kind == "hnsw":
            self._index = faiss.IndexHNSWFlat(width, links, faiss.METRIC_INNER_PRODUCT)
            self._index.hnsw.efSearch = depth
        else:
            self._index = faiss.IndexFlatIP(width)
        if kind == "ivf":
            lists = min(n, n_lists or max(1, math.isqrt(n)))
            self._quantizer = self._index  # Faiss keeps a pointer to it, not a reference
            self._index = faiss.IndexIVFFlat(
                self._quantizer, width, lists, faiss.METRIC_INNER_PRODUCT
            )
            self._index.cp.min_points_per_centroid = 1  # no warning for a small N
            self._index.train(vectors)
            self._index.nprobe = min(n_probe, lists)
        self._index.add(vectors)

    def search(self, queries: np.ndarray, k: int = 10) -> Hits:
        """The k best of each query (Q, C): ids and scores (Q, k), as search_vectors returns them.

        k is at most N. Where an approximate index has fewer hits, the id is −1, the score −inf.
        Raises: ValueError for queries of another width, or a k below 1.
        """
        if queries.ndim != 2 or queries.shape[1] != self.width:
            raise ValueError(f"queries (Q, {self.width}) are needed, got {queries.shape}")
        if k < 1:
            raise ValueError(f"k must be 1 or more, got {k}")
        k = min(k, self._index.ntotal)
        if self.kind == "binary":
            distances, ids = self._index.search(binary_codes(queries), k)
            return Hits(ids, -distances.astype(np.float32))
        scores, ids = self._index.search(np.ascontiguousarray(queries, np.float32), k)
        return Hits(ids, np.where(ids < 0, -np.inf, scores))


def agreement(hits: Hits, exact: Hits) -> np.ndarray:
    """The share of the exact ids that are among the hits, for each query: (Q).

    Raises: ValueError for another number of queries.
    """
    return recall(hits.ids.tolist(), [set(row) for row in exact.ids.tolist()], hits.ids.shape[1])
