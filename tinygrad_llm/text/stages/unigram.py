"""Unigram: of all ways to cut a piece into tokens, the one with the largest sum of scores.

A score is the logarithm of a token's probability. Viterbi's algorithm finds the best cut of the
first n characters for n = 1, 2, ...; source: Kudo (2018), "Subword regularization".
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Iterator, Sequence

from .part import MOST_TOKENS, Part, check_writable
from .pieces import PieceModel

__all__ = ["Unigram"]

UNKNOWN_PENALTY = 10.0  # below the smallest score: what an unknown character costs


class Unigram(PieceModel):
    """Tokens with scores.

    tokens: by id; scores: of each; unknown: id of the unknown token, or None
    user_defined: ids of tokens that win over every cut inside them (SentencePiece's)
    unused: ids of tokens that never occur; bounds: the smallest and largest score that count
    single: sums are rounded to float32 as SentencePiece does; otherwise they are float64 as in
        `tokenizers`. It matters where two cuts are equally good.
    """

    def __init__(
        self,
        tokens: Sequence[str],
        scores: Sequence[float],
        unknown: int | None,
        byte_fallback: bool = False,
        *,
        user_defined: frozenset[int] = frozenset(),
        unused: frozenset[int] = frozenset(),
        single: bool = False,
        bounds: tuple[float, float] | None = None,
    ) -> None:
        vocabulary = {token: i for i, token in enumerate(tokens)}  # of equal ones the last counts
        super().__init__(vocabulary, unknown, True, byte_fallback)
        self.tokens, self.scores = list(tokens), list(scores)
        self.single = single
        self.user_defined, self.unused = user_defined, unused
        self._smallest, largest = bounds or (min(self.scores), max(self.scores))
        self._reach = self._longest_by_first(tokens, unused)
        self._score = dict(zip(tokens, self.scores, strict=True))
        for i in unused:
            self._score.pop(tokens[i], None)
        for i in user_defined:  # SentencePiece: length · the largest score − 0.1
            self._score[tokens[i]] = len(tokens[i].encode("utf-8")) * largest - 0.1

    @classmethod
    def read(cls, part: Part) -> Unigram:
        """The model of a tokenizer.json.

        Raises: ValueError if a field is wrong, a score is not finite, or a token repeated.
        """
        rows = part.get("vocab", list)
        if not 0 < len(rows) <= MOST_TOKENS:
            raise ValueError(f"{part.where}: a vocabulary of {len(rows):,} tokens")
        tokens, scores = [], []
        for i, row in enumerate(rows):
            good = isinstance(row, list) and len(row) == 2 and isinstance(row[0], str)
            if not good or type(row[1]) not in (int, float) or not abs(row[1]) < 1e30:
                raise ValueError(f"{part.where}: row {i} is not a token and its score")
            tokens.append(row[0])
            scores.append(float(row[1]))
        check_writable(tokens, part.where)
        unknown = part.integer("unk_id", 0, len(tokens) - 1, -1)
        return cls(
            tokens, scores, None if unknown < 0 else unknown, part.get("byte_fallback", bool, False)
        )

    @staticmethod
    def _longest_by_first(tokens: Sequence[str], unused: frozenset[int]) -> dict[str, list[int]]:
        """first character -> the lengths of the tokens that begin with it, shortest first"""
        lengths: dict[str, set[int]] = {}
        for i, token in enumerate(tokens):
            if token and i not in unused:
                lengths.setdefault(token[0], set()).add(len(token))
        return {c: sorted(different) for c, different in lengths.items()}

    def names(self) -> dict[int, str]:
        return dict(enumerate(self.tokens))

    def encode(self, piece: str) -> list[int]:
        return self._ids(self.cut(piece))

    def arcs(self, piece: str) -> Iterator[tuple[int, int, float]]:
        """(start, end, score) of each token that the piece has, from left to right; a character
        that no token covers alone is one, with the score of what is unknown."""
        n = len(piece)
        unknown = self._smallest - UNKNOWN_PENALTY
        score, reach = self._score, self._reach
        for i in range(n):
            alone = False
            for length in reach.get(piece[i], ()):
                j = i + length
                if j > n:
                    break
                s = score.get(piece[i:j])
                if s is not None:
                    yield i, j, s
                    alone = alone or length == 1
            if not alone:
                yield i, i + 1, unknown

    def cut(self, piece: str) -> list[str]:
        """The tokens of the best cut; a character that no token covers stands alone."""
        n = len(piece)
        best = [-math.inf] * (n + 1)  # of the first i characters: the largest sum
        start = [-1] * (n + 1)  # and where the last token of that cut begins
        best[0] = 0.0
        single = self.single
        for i, j, s in self.arcs(piece):
            total = ctypes.c_float(best[i] + s).value if single else best[i] + s
            if start[j] < 0 or total > best[j]:
                best[j], start[j] = total, i
        tokens = []
        end = n
        while end > 0:
            tokens.append(piece[start[end] : end])
            end = start[end]
        return tokens[::-1]
