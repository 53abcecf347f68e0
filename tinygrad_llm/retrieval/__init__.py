"""Retrieval: texts cut into chunks, indexed, found by words or by vectors, and measured."""

from __future__ import annotations

from .bm25 import BM25
from .chunks import SEPARATORS, Chunk, chunks_of, split_text
from .measures import ndcg, recall, reciprocal_rank
from .search import Hits, best, binary_codes, search_codes, search_vectors

__all__ = [
    "BM25", "SEPARATORS", "Chunk", "Hits", "best", "binary_codes", "chunks_of", "ndcg", "recall",
    "reciprocal_rank", "search_codes", "search_vectors", "split_text",
]  # fmt: skip
