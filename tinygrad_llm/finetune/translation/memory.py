"""The baseline of a translation: what stands beside the most similar sentence of the training set.

It learns nothing and writes correct sentences, of which most say something else.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np

__all__ = ["TranslationMemory"]


class TranslationMemory:
    """Finds the training pair whose source is most similar, and returns its target.

    Similar is the cosine of the vectors of tokens, each token weighted by log(N / pairs with it)
    (tf-idf); of equally similar pairs the first counts.

    sources: tokens of N sources, ids or words; targets: N texts
    Raises: ValueError for no pairs, or different numbers.
    """

    def __init__(self, sources: Sequence[Sequence[int]], targets: Sequence[str]) -> None:
        if len(sources) != len(targets) or not len(sources):
            raise ValueError(f"{len(sources)} sources and {len(targets)} targets: pair them")
        self.targets = targets
        rows: dict[int, list[int]] = defaultdict(list)  # token -> the pairs that have it
        counts: dict[int, list[int]] = defaultdict(list)
        for i, source in enumerate(sources):
            for token, n in Counter(source).items():
                rows[token].append(i)
                counts[token].append(n)
        self.idf = {token: math.log(len(sources) / len(pairs)) for token, pairs in rows.items()}
        self.postings = {
            token: (np.array(pairs), self.idf[token] * np.array(counts[token], np.float64))
            for token, pairs in rows.items()
        }
        squares = np.zeros(len(sources))
        for pairs, weights in self.postings.values():
            squares[pairs] += weights * weights
        self.norms = np.sqrt(np.maximum(squares, 1e-12))  # (N)

    def find(self, source: Sequence[int]) -> int:
        """The number of the training pair whose source is most similar."""
        scores = np.zeros(len(self.targets))
        for token, n in Counter(source).items():
            if token in self.postings:
                pairs, weights = self.postings[token]
                scores[pairs] += n * self.idf[token] * weights
        return int(np.argmax(scores / self.norms))

    def translate(self, sources: Sequence[Sequence[int]]) -> list[str]:
        """The target of the most similar training pair for each source."""
        return [self.targets[self.find(source)] for source in sources]
