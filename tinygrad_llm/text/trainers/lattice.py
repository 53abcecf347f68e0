"""All ways to cut many words into pieces, together: their probabilities and the best one, in NumPy.

A word of n characters has n + 1 places. A piece that fits between two of them is an arc; a cut is a
path of arcs from the first place to the last. The score of a path is the sum of the scores of its
pieces, and a score is the logarithm of a probability.

Z(place) = log Σ exp(score), over all paths to a place, comes from the places before it:

    Z(j) = log Σ exp(Z(i) + s(piece)),    over the arcs i -> j.

The expected count of a piece over all cuts, each weighted with its probability, is ∂Z(end)/∂s.
So the backward half of the forward-backward algorithm is a backward pass: the derivative of the
logarithm of a sum is a softmax, and it is sent from the last place to the first.

Viterbi's algorithm is the same with max in place of log Σ exp.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

__all__ = ["Lattice"]


class Lattice:
    """The arcs of all words, in the order of the characters before their end.

    words: texts of at least one character; pieces: piece -> number. Every word can be cut.
    n_pieces: how many numbers there are. W words have P places and A arcs altogether.
    """

    def __init__(self, words: Sequence[str], pieces: Mapping[str, int]) -> None:
        self.n_pieces = len(pieces)
        lengths = np.array([len(word) for word in words], np.int64)  # (W)
        self.first = np.cumsum(lengths + 1) - lengths - 1  # (W)  the first place of each word
        self.last = self.first + lengths  # (W)
        self.n_places = int(lengths.sum()) + len(words)
        start, end, piece, depth = _arcs(words, pieces)
        order = np.lexsort((start, end, depth))
        self.start, self.end = start[order], end[order]  # (A)
        self.piece, self.depth = piece[order], depth[order]  # (A)
        self._group()

    def keep(self, arcs: np.ndarray, numbers: np.ndarray | None = None) -> None:
        """Keep the arcs for which `arcs` (A) is True.

        numbers: (n_pieces) the new number of each piece, or -1 if no arc has it any more
        """
        self.start, self.end = self.start[arcs], self.end[arcs]
        self.piece, self.depth = self.piece[arcs], self.depth[arcs]
        if numbers is not None:
            self.piece = numbers[self.piece]
            self.n_pieces = int(numbers.max(initial=-1)) + 1
        self._group()

    def _group(self) -> None:
        """For each depth its arcs (a slice), and among them the first one to each place."""
        new_end = np.flatnonzero(np.diff(self.end, prepend=-1))
        edges = np.flatnonzero(np.diff(self.depth, prepend=-1)).tolist() + [len(self.end)]
        cuts = np.searchsorted(new_end, edges)
        self._groups = [
            (slice(low, high), new_end[i:j] - low)
            for low, high, i, j in zip(edges, edges[1:], cuts, cuts[1:], strict=False)
        ]

    def totals(self, scores: np.ndarray) -> np.ndarray:
        """Z of every place: float64 (P), from the score of each piece, (n_pieces)."""
        z = np.full(self.n_places, -np.inf)  # (P)
        z[self.first] = 0.0
        of_arc = scores[self.piece]  # (A)
        for arcs, heads in self._groups:
            sums = z[self.start[arcs]] + of_arc[arcs]
            top = np.maximum.reduceat(sums, heads)
            sizes = np.diff(heads, append=len(sums))
            total = np.add.reduceat(np.exp(sums - np.repeat(top, sizes)), heads)
            z[self.end[arcs][heads]] = top + np.log(total)
        return z

    def expected(self, scores: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, float]:
        """The expected count of each piece, float64 (n_pieces), and the words' log-likelihood.

        counts: (W), how often each word occurs
        """
        z = self.totals(scores)
        arrived = np.zeros(self.n_places)  # (P)  ∂(Σ counts·Z(last))/∂Z(place)
        arrived[self.last] = counts
        of_arc = np.zeros(len(self.piece))  # (A)
        for arcs, _ in reversed(self._groups):
            start, end = self.start[arcs], self.end[arcs]
            share = np.exp(
                z[start] + scores[self.piece[arcs]] - z[end]
            )  # softmax over the arcs to end
            of_arc[arcs] = share * arrived[end]
            np.add.at(arrived, start, of_arc[arcs])
        expected = np.bincount(self.piece, of_arc, self.n_pieces)
        return expected, float(counts @ z[self.last])

    def best(self, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Of each word the best cut: the sum of its scores, float64 (W), and for each place the arc
        that leads to it, (P), or -1. Of equally good arcs the longest is taken."""
        z = np.full(self.n_places, -np.inf)  # (P)
        z[self.first] = 0.0
        arc_to = np.full(self.n_places, -1)  # (P)
        of_arc = scores[self.piece]  # (A)
        for arcs, heads in self._groups:
            sums = z[self.start[arcs]] + of_arc[arcs]
            top = np.maximum.reduceat(sums, heads)
            sizes = np.diff(heads, append=len(sums))
            place = np.repeat(np.arange(len(heads)), sizes)
            best = np.flatnonzero(sums == np.repeat(top, sizes))
            best = best[np.flatnonzero(np.diff(place[best], prepend=-1))]  # the first of each place
            ends = self.end[arcs][heads]
            z[ends] = top
            arc_to[ends] = best + arcs.start
        return z[self.last], arc_to

    def used(self, scores: np.ndarray, counts: np.ndarray) -> np.ndarray:
        """How often each piece occurs in the best cuts of all words: float64 (n_pieces)."""
        _, arc_to = self.best(scores)
        used = np.zeros(self.n_pieces)
        place, weight = self.last, counts
        while len(place):
            arc = arc_to[place]
            used += np.bincount(self.piece[arc], weight, self.n_pieces)
            place = self.start[arc]
            more = arc_to[place] >= 0  # the first place of a word has no arc to it
            place, weight = place[more], weight[more]
        return used

    def cut(self, word: int, arc_to: np.ndarray) -> list[int]:
        """The numbers of the pieces of the best cut of one word; arc_to: from best()."""
        pieces: list[int] = []
        place = self.last[word]
        while (arc := arc_to[place]) >= 0:
            pieces.append(int(self.piece[arc]))
            place = self.start[arc]
        return pieces[::-1]


def _arcs(words: Sequence[str], pieces: Mapping[str, int]) -> tuple[np.ndarray, ...]:
    """(start, end, piece, characters of the word before end) of every arc."""
    reach: dict[str, set[int]] = {}
    for piece in pieces:
        reach.setdefault(piece[0], set()).add(len(piece))
    lengths = {c: sorted(different) for c, different in reach.items()}
    rows: list[int] = []
    base = 0
    for word in words:
        n = len(word)
        for i, c in enumerate(word):
            for length in lengths[c]:
                j = i + length
                if j > n:
                    break
                number = pieces.get(word[i:j])
                if number is not None:
                    rows += (base + i, base + j, number, j)
        base += n + 1
    table = np.array(rows, np.int64).reshape(-1, 4)  # (A, 4)
    return tuple(np.ascontiguousarray(table.T))
