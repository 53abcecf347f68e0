"""How good lists of hits are: recall@k, reciprocal rank, nDCG, one number per query."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

__all__ = ["ndcg", "recall", "reciprocal_rank"]


def recall(
    hits: Sequence[Sequence[Any]], relevant: Sequence[Collection[Any]], k: int
) -> np.ndarray:
    """The share of the relevant ids among the first k hits: (Q).

    hits: for each query ids, the best first; relevant: for each query the right ones
    Raises: ValueError for another number of queries, or a query without relevant ids.
    """
    rows = _relevance(hits, relevant)
    return np.array([sum(f[:k]) / len(set(r)) for f, r in zip(rows, relevant, strict=True)])


def reciprocal_rank(
    hits: Sequence[Sequence[Any]], relevant: Sequence[Collection[Any]], k: int | None = None
) -> np.ndarray:
    """1 / the place of the first relevant hit, 0 if none is among the first k: (Q).

    Its mean is the mean reciprocal rank, MRR.
    Raises: ValueError as `recall`.
    """
    rows = _relevance(hits, relevant)
    return np.array([1 / (f[:k].index(True) + 1) if any(f[:k]) else 0.0 for f in rows])


def ndcg(hits: Sequence[Sequence[Any]], relevant: Sequence[Collection[Any]], k: int) -> np.ndarray:
    """Σ 1 / log2(place + 1) over the relevant among the first k hits, per the best possible: (Q).

    Source: Järvelin and Kekäläinen (2002), "Cumulated gain-based evaluation of IR techniques".
    Raises: ValueError as `recall`.
    """
    rows = _relevance(hits, relevant)
    gains = 1 / np.log2(np.arange(2, k + 2))
    return np.array([
        gains[: len(f[:k])][f[:k]].sum() / gains[: len(set(r))].sum()
        for f, r in zip(rows, relevant, strict=True)
    ])  # fmt: skip


def _relevance(
    hits: Sequence[Sequence[Any]], relevant: Sequence[Collection[Any]]
) -> list[list[bool]]:
    """For each hit whether it is relevant; a second hit of one id is not."""
    if len(hits) != len(relevant):
        raise ValueError(f"{len(hits)} lists of hits for {len(relevant)} queries")
    made = []
    for i, (ids, right) in enumerate(zip(hits, relevant, strict=True)):
        if not right:
            raise ValueError(f"query {i} has no relevant ids: leave it out")
        seen: set[Any] = set()
        row = []
        for each in ids:
            row.append(each in right and each not in seen)
            seen.add(each)
        made.append(row)
    return made
