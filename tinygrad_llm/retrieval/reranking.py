"""Re-ranking: a cross-encoder reads the question with each hit of a search and sorts them anew.

    model = PairModel.load("runs/rerank-questions-1")
    passages = reranked("How is tea made?", index.search("How is tea made?", DEPTH), model, k=3)

A bi-encoder makes a passage's vector before it knows the question; a cross-encoder lets every token
of the question see every token of the passage, and costs a forward pass per pair.
Source: Nogueira and Cho (2019), "Passage Re-ranking with BERT".
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..finetune.pairs import PairModel, rank
from ..training.checkpoint import Checkpoint
from .index import Passage

__all__ = ["DEPTH", "reranked"]

DEPTH = 20  # hits of the first search that are read again


def reranked(
    question: str, passages: Sequence[Passage], run: PairModel | str | Path | Checkpoint,
    k: int | None = None,
) -> list[Passage]:  # fmt: skip
    """The k best passages in the order of a run of finetune rerank, with its scores.

    k: None for all. Their cosines stay those of the index, by which a question is refused.
    Raises: ValueError for a run of another kind, a question without tokens, or a k below 1.
    """
    if k is not None and k < 1:
        raise ValueError(f"k must be 1 or more, got {k}")
    if not passages:
        return []
    order = rank(question, [p.chunk.text for p in passages], run)
    return [passages[i]._replace(score=score) for i, score in order[:k]]
