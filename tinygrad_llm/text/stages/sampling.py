"""Unigram's other cuts: the n best ones, and cuts drawn with their probabilities.

A model that sees a word cut in several ways during training learns that they are one word (Kudo
2018, "Subword regularization"). The cuts are paths through the same arcs as Viterbi's algorithm
uses in unigram.py.
"""

from __future__ import annotations

import math
import random
from heapq import heappop, heappush
from typing import NamedTuple

from .unigram import Unigram

__all__ = ["SampledUnigram", "n_best_cuts"]


class _Arcs(NamedTuple):
    """The arcs of one piece. to[j]: (start, score) of each arc that ends at place j."""

    to: list[list[tuple[int, float]]]


def _arcs(model: Unigram, piece: str) -> _Arcs:
    to: list[list[tuple[int, float]]] = [[] for _ in range(len(piece) + 1)]
    for start, end, score in model.arcs(piece):
        to[end].append((start, score))
    return _Arcs(to)


def n_best_cuts(model: Unigram, piece: str, n: int) -> list[tuple[list[str], float]]:
    """The n best cuts of a piece, best first, each with the sum of its scores.

    A* from the end: a partial cut is ordered by its own score plus the best score of the rest,
    which Viterbi's algorithm knows. So the cuts come in the order of their scores.
    Raises: ValueError if n is below 1.
    """
    if n < 1:
        raise ValueError(f"n must be at least 1, got {n}")
    arcs = _arcs(model, piece)
    best = [0.0]  # of the first j characters
    for j in range(1, len(piece) + 1):
        best.append(max((best[i] + score for i, score in arcs.to[j]), default=-math.inf))
    cuts: list[tuple[list[str], float]] = []
    # (−bound, order, place, score from here to the end, the places where tokens begin)
    heap: list[tuple[float, int, int, float, tuple[int, ...]]] = []
    heappush(heap, (-best[-1], 0, len(piece), 0.0, ()))
    pushed = 0
    while heap and len(cuts) < n:
        _, _, place, behind, starts = heappop(heap)
        if place == 0:
            edges = [*starts, len(piece)]
            tokens = [piece[a:b] for a, b in zip(edges, edges[1:], strict=False)]
            cuts.append((tokens, behind))
            continue
        for i, score in arcs.to[place]:
            pushed += 1
            total = behind + score
            heappush(heap, (-(best[i] + total), pushed, i, total, (i, *starts)))
    return cuts


class SampledUnigram(Unigram):
    """Unigram that draws a cut of each piece in place of taking the best.

    model: the one whose tokens and scores it has
    alpha: the probability of a cut is proportional to p(cut)^alpha: 0 makes all equal, 1 is the
        model itself, a large one is Viterbi
    n_best: draw among this many best cuts of a piece; None draws among all of them
    seed: of the random numbers; the draws follow one another
    Raises: ValueError if alpha is negative or not finite, or n_best below 1.
    """

    varies = True

    def __init__(self, model: Unigram, alpha: float, n_best: int | None, seed: int) -> None:
        if not 0 <= alpha < math.inf:
            raise ValueError(f"alpha must be a number from 0, got {alpha}")
        if n_best is not None and n_best < 1:
            raise ValueError(f"n_best must be at least 1 or None, got {n_best}")
        self.__dict__.update(model.__dict__)
        self.alpha, self.n_best = alpha, n_best
        self._random = random.Random(seed)

    def cut(self, piece: str) -> list[str]:
        """The tokens of a cut that is drawn."""
        return self._of_all(piece) if self.n_best is None else self._of_best(piece, self.n_best)

    def _of_best(self, piece: str, n: int) -> list[str]:
        cuts = n_best_cuts(self, piece, n)
        weights = [math.exp(self.alpha * (score - cuts[0][1])) for _, score in cuts]
        return self._random.choices([tokens for tokens, _ in cuts], weights)[0]

    def _of_all(self, piece: str) -> list[str]:
        """Forward: z[j] = log Σ exp(z[i] + alpha·score) over the arcs i -> j. Then from the end: an
        arc to j is drawn with its share of exp(z[j])."""
        arcs = _arcs(self, piece)
        alpha = self.alpha
        z = [0.0]
        for j in range(1, len(piece) + 1):
            sums = [z[i] + alpha * score for i, score in arcs.to[j]]
            top = max(sums, default=-math.inf)
            if top == -math.inf:  # no cut reaches this place
                z.append(top)
                continue
            z.append(top + math.log(sum(math.exp(s - top) for s in sums)))
        tokens = []
        place = len(piece)
        while place > 0:
            weights = [math.exp(z[i] + alpha * s - z[place]) for i, s in arcs.to[place]]
            start = self._random.choices([i for i, _ in arcs.to[place]], weights)[0]
            tokens.append(piece[start:place])
            place = start
        return tokens[::-1]
