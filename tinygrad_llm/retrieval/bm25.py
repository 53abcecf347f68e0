"""BM25: how well texts answer a query, by the words that they have in common.

    score(q, d) = Σ_w∈q idf(w) · f·(k1 + 1) / (f + k1·(1 − b + b·|d| / mean length))

f: how often w is in d; idf(w) = ln(1 + (N − n + 0.5) / (n + 0.5)), n of the N texts have w.
Source: Robertson and Zaragoza (2009), "The Probabilistic Relevance Framework", equation 3.15; the
idf that cannot be negative is Lucene's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from ..evaluation.words import Cut, cutter
from .search import Hits, best

__all__ = ["BM25"]

# English words that say nothing about the subject of a question; `share` leaves them out.
LITTLE = frozenset(
    "a an and are as at be been by can could did do does for from had has have how i in is it its "
    "me my of on or s should t that the their there these they this to was we were what when where "
    "which who whom whose why will with would you your".split()
)


class BM25:
    """An index of texts; a query is answered by the texts with the highest scores.

    cut: how texts are cut into words, a name of evaluation.words.CUTS or a function
    k1: how soon another occurrence of a word stops to count, 0 or more
    b: how much long texts lose, 0 to 1
    Raises: ValueError for no texts, or k1 and b out of range; for a cut as evaluation.words.cutter.
    """

    def __init__(
        self, texts: Sequence[str], cut: Cut = "rouge", k1: float = 1.5, b: float = 0.75
    ) -> None:
        if not len(texts):
            raise ValueError("there are no texts to search")
        if not k1 >= 0 or not 0 <= b <= 1:
            raise ValueError(f"k1 must be 0 or more and b from 0 to 1, got {k1!r} and {b!r}")
        self._cut = cutter(cut)
        self.k1, self.b = float(k1), float(b)
        counts = [Counter(self._cut(text)) for text in texts]
        self.size = len(counts)
        lengths = np.array([sum(count.values()) for count in counts], np.float64)  # (N)
        mean = lengths.mean() or 1.0
        penalty = self.k1 * (1 - self.b + self.b * lengths / mean)  # (N)
        places: dict[str, tuple[list[int], list[int]]] = {}
        for i, count in enumerate(counts):
            for word, times in count.items():
                rows, times_of = places.setdefault(word, ([], []))
                rows.append(i)
                times_of.append(times)
        self._weights = {
            word: self._of_word(np.array(rows), np.array(times, np.float64), penalty)
            for word, (rows, times) in places.items()
        }

    def _of_word(
        self, rows: np.ndarray, times: np.ndarray, penalty: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """The texts that have a word, and what it adds to the score of each: both (n)."""
        return rows, self._idf(len(rows)) * times * (self.k1 + 1) / (times + penalty[rows])

    def _idf(self, n: int) -> float:
        """ln(1 + (N − n + 0.5) / (n + 0.5)), where n of the N texts have the word."""
        return float(np.log1p((self.size - n + 0.5) / (n + 0.5)))

    def share(self, query: str, i: int) -> float:
        """How much of a query text i has: Σ idf of the words in both / Σ idf of the query's words.

        From 0 to 1, each word once; 1 for a query of little words alone, which do not count. A word
        that no text has counts most, so that a query about something else has a low share.
        """
        total = shared = 0.0
        for word in dict.fromkeys(self._cut(query)):
            if word in LITTLE:
                continue
            rows = self._weights[word][0] if word in self._weights else np.empty(0, np.int64)
            idf = self._idf(len(rows))
            total += idf
            shared += idf * bool((rows == i).any())
        return shared / total if total else 1.0

    def scores(self, query: str) -> np.ndarray:
        """The score of every text: float64 (N); a word twice in the query counts twice."""
        total = np.zeros(self.size)
        for word, times in Counter(self._cut(query)).items():
            if word in self._weights:
                rows, weights = self._weights[word]
                total[rows] += times * weights
        return total

    def search(self, query: str, k: int = 10) -> Hits:
        """The k best texts, the best first; texts without a word of the query are left out."""
        scores = self.scores(query)
        hits = best(scores[None], min(k, int((scores > 0).sum())))  # (N) -> (1, N)
        return Hits(hits.ids[0], hits.scores[0])
