"""What needs no model: the most frequent class, and how many pieces two texts share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from .rows import Row

__all__ = ["choice_by_overlap", "majority", "ngram_overlap"]


def ngram_overlap(a: str, b: str, n: int = 2) -> float:
    """|A ∩ B| / |A ∪ B| of the n-grams of characters of two texts, between 0 and 1 (Jaccard, 1901).

    White space and case do not count. A text shorter than n is one piece.
    """
    first, second = (_pieces(text, n) for text in (a, b))
    return len(first & second) / max(1, len(first | second))


def _pieces(text: str, n: int) -> set[str]:
    letters = "".join(text.lower().split())
    return {letters[i : i + n] for i in range(max(1, len(letters) - n + 1))}


def majority(labels: Sequence[int]) -> int:
    """The most frequent class; of several the first."""
    return Counter(labels).most_common(1)[0][0]


def choice_by_overlap(row: Row) -> int:
    """The answer that shares the largest part of its characters with the question.

    Of several the first, as where no answer shares any.
    """
    question = set(row.first)
    shares = [len(question & set(answer)) / len(set(answer)) for answer in row.seconds]
    return int(np.argmax(shares))
