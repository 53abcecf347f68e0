"""Retrieval: texts cut into chunks, indexed, found by words or by vectors, and measured."""

from __future__ import annotations

from ..evaluation.ranking import ndcg, recall, reciprocal_rank
from .answers import Reader, chat_prompt, close_passages, fits, instruction_examples
from .bm25 import BM25
from .chunks import SEPARATORS, Chunk, chunks_of, split_text
from .documents import Documents, read_folder, text_of_html
from .index import Index, IndexFileError, Passage, build_index, load_index
from .reranking import reranked
from .search import Hits, best, binary_codes, search_codes, search_vectors

__all__ = [
    "BM25", "SEPARATORS", "Chunk", "Documents", "Hits", "Index", "IndexFileError", "Passage",
    "Reader", "best", "binary_codes", "build_index", "chat_prompt", "chunks_of", "close_passages",
    "fits", "instruction_examples", "load_index", "ndcg", "read_folder", "recall",
    "reciprocal_rank", "reranked", "search_codes", "search_vectors", "split_text", "text_of_html",
]  # fmt: skip
