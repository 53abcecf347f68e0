"""Unigram from scratch: many pieces first, then those without which the text loses least.

The model: pieces are drawn independently, piece x with probability p(x). A word has many cuts; its
probability is the sum over all of them. Training, as in SentencePiece:

1. The vocabulary starts with every character of the alphabet and the substrings with the largest
   count times length.
2. EM, twice: the expected count of each piece over all cuts of the text (lattice.py), then new
   probabilities from these counts c,

       log p(x) = ψ(c(x)) − ψ(Σ c),

   with the digamma function ψ in place of the logarithm: it takes about 1/2 from each count, so
   that rare pieces become rarer (a Dirichlet prior in variational Bayes).
3. Pruning: the pieces with the smallest loss go, a quarter of all in each round. The loss of x is
   what the log-likelihood of the text loses if every x in its best cuts is replaced by the second
   best cut of x itself. Characters stay.
4. From 2 again, until there are 1.1 times as many as wanted; the best of these are the vocabulary.

Source: Kudo (2018), "Subword regularization"; Kudo and Richardson (2018), "SentencePiece".
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from ..pipeline import PipelineTokenizer
from ..tokenizer import END_OF_TEXT
from .lattice import Lattice
from .substrings import frequent_substrings
from .words import (
    BYTE_TOKENS,
    MARK,
    UNKNOWN,
    Texts,
    VocabularyTooLargeError,
    alphabet_of,
    check_room,
    count_words,
    joined_cuts,
    known_parts,
    trained_tokenizer,
)

__all__ = ["learn_unigram", "train_unigram"]

LONGEST = 16  # characters of a piece
LONGEST_WORD = 512  # characters
SEEDS = 1_000_000  # pieces to start from, at most
SHRINK = 0.75  # the share of the pieces that a round of pruning keeps
MARGIN = 1.1  # pieces that EM sees last, per piece wanted
FEWEST = 0.5  # expected count below which a piece goes
SPELLINGS = "<0x123456789ABCDEF>unk"  # characters of the tokens that no text may match


def train_unigram(
    text: Texts,
    vocab_size: int,
    *,
    words: str = "spaces",
    normalizer: Mapping[str, Any] | None = None,
    special_tokens: Collection[str] = (END_OF_TEXT,),
    byte_fallback: bool = True,
    coverage: float = 0.9995,
    name: str = "unigram",
) -> PipelineTokenizer:
    """A Unigram tokenizer learned from a text, several texts, or words with their counts.

    vocab_size: all tokens: <unk>, 256 bytes, the alphabet and longer pieces, special tokens
    words: "spaces", or "mecab" for Japanese (the extra "ja")
    normalizer: the description of a normaliser, such as stages.japanese.japanese_normalizer()
    byte_fallback: a character outside the alphabet becomes its bytes; otherwise <unk>
    coverage: the share of the text's characters that are in the alphabet

    With byte_fallback decoding gives the normalised text back, every character of it; only a ▁ in
    it comes back as the space that it stands for, with words "spaces".
    Raises: ValueError if an argument is outside its range, if there is no text, or if vocab_size is
    too small or larger than this text can fill; ImportError for "mecab" without MeCab.
    """
    cuts = joined_cuts(words, normalizer)
    counts = count_words(text, cuts, special_tokens)
    always = (MARK if words == "spaces" else "") + (SPELLINGS if byte_fallback else UNKNOWN)
    alphabet = alphabet_of(counts, coverage, always)
    head = [UNKNOWN, *(BYTE_TOKENS if byte_fallback else ())]
    n_special = len(special_tokens)
    fixed = len(head) + n_special
    what = f"{len(head)} for what is unknown, an alphabet of {len(alphabet):,}, {n_special} special"
    check_room(vocab_size, fixed + len(alphabet), what)
    n_pieces = vocab_size - fixed
    pieces, scores = learn_unigram(known_parts(counts, alphabet), alphabet, n_pieces)
    if len(pieces) < n_pieces:
        why = f"no more than {len(pieces):,} pieces occur twice, and there are none left"
        raise VocabularyTooLargeError(vocab_size, fixed + len(pieces), why)
    never = 12.0 * min(scores) - 12.0  # costs more than any spelling of these tokens in characters
    rows = [[token, never] for token in head]
    rows += [[piece, score] for piece, score in zip(pieces, scores, strict=True)]
    model = {"type": "Unigram", "unk_id": 0, "vocab": rows, "byte_fallback": byte_fallback}
    return trained_tokenizer(cuts, model, len(rows), special_tokens, name=name)


def learn_unigram(
    counts: Mapping[str, int], alphabet: Collection[str], n_pieces: int, seeds: int = SEEDS
) -> tuple[list[str], list[float]]:
    """The pieces, best first, and the logarithms of their probabilities.

    counts: words with their counts, of characters of the alphabet; a word of more than LONGEST_WORD
        characters is learned from as several, because EM takes a step for each character of the
        longest word
    n_pieces: how many, the alphabet included; fewer are returned if there are not so many
    """
    counts = dict(sorted(_shortened(counts).items()))  # sums do not depend on the text's order
    often = frequent_substrings(counts, LONGEST)
    often.sort(key=lambda row: (-row[1] * len(row[0]), row[0]))
    often = often[: max(seeds, n_pieces)]
    single = dict.fromkeys(alphabet, 0)
    for word, n in counts.items():
        for c in word:
            single[c] += n
    pieces = [*sorted(single), *(piece for piece, _ in often)]
    weights = [single[c] for c in sorted(single)] + [len(piece) * n for piece, n in often]
    training = _Training(pieces, counts, np.array(weights, np.float64), len(single))
    target = max(n_pieces, min(len(pieces), round(MARGIN * n_pieces)))
    training.em(n_pieces)
    while len(training.pieces) > target:
        training.prune(target)
        training.em(n_pieces)
    return training.best(n_pieces)


def _shortened(counts: Mapping[str, int]) -> Counter[str]:
    """The words, each cut after every LONGEST_WORD characters."""
    parts: Counter[str] = Counter()
    for word, n in counts.items():
        for start in range(0, len(word), LONGEST_WORD):
            parts[word[start : start + LONGEST_WORD]] += n
    return parts


class _Training:
    """The pieces and their scores, and the lattices of the words and of the pieces themselves.

    pieces: the n_single characters first; weights: their first, rough counts (n_pieces)
    """

    def __init__(
        self, pieces: list[str], counts: Mapping[str, int], weights: np.ndarray, n_single: int
    ) -> None:
        self.pieces = pieces
        self.n_single = n_single
        weights = np.maximum(weights, FEWEST)
        self.scores = np.log(weights) - np.log(weights.sum())  # (n_pieces)
        numbers = {piece: i for i, piece in enumerate(pieces)}
        self.words = Lattice(list(counts), numbers)
        self.counts = np.fromiter(counts.values(), np.float64, len(counts))  # (W)
        longer = pieces[n_single:]
        self.inside = Lattice(longer, numbers) if longer else None
        self.row = np.arange(len(pieces)) - n_single  # of a piece among the words of `inside`
        if self.inside is not None:  # a piece is cut into others: without the arc that it is
            arcs, words = self.inside, (self.inside.first, self.inside.last)
            arcs.keep(~(np.isin(arcs.start, words[0]) & np.isin(arcs.end, words[1])))

    def em(self, fewest: int) -> None:
        """Two rounds of EM; pieces that are hardly expected go, but `fewest` remain."""
        for _ in range(2):
            expected, _ = self.words.expected(self.scores, self.counts)
            keep = expected >= FEWEST
            keep[: self.n_single] = True
            if keep.sum() < fewest:
                keep[np.argsort(-expected, kind="stable")[:fewest]] = True
            expected = np.maximum(expected, FEWEST)
            self.scores = _digamma(expected) - _digamma(expected[keep].sum())
            self._keep(keep)

    def prune(self, target: int) -> None:
        """Take away the pieces that cost least, a quarter of all; at least `target` remain."""
        n = len(self.pieces)
        used = self.words.used(self.scores, self.counts)  # (n_pieces)
        losses = np.zeros(n)
        if self.inside is not None:
            losses = self._losses(used)
        losses[: self.n_single] = np.inf
        order = np.lexsort((-self.scores, -losses))  # the largest loss first, then the best score
        keep = np.zeros(n, bool)
        size = max(target, min(int(SHRINK * n), int((losses > 0).sum())))
        keep[order[:size]] = True
        keep[: self.n_single] = True
        self._keep(keep)

    def _losses(self, used: np.ndarray) -> np.ndarray:
        """What the log-likelihood of the text loses without each piece: float64 (n_pieces).

        Without x its uses go to the m pieces of its second best cut, whose probabilities grow, and
        the number of all pieces grows by m − 1 for each.
        """
        assert self.inside is not None
        total = used.sum()
        sums, arc_to = self.inside.best(self.scores)
        losses = np.zeros(len(used))
        for i in np.flatnonzero(used > 0).tolist():
            if i < self.n_single or sums[self.row[i]] > self.scores[i]:
                continue  # a better cut without it exists already
            cut = self.inside.cut(int(self.row[i]), arc_to)
            n = used[i]
            new_total = np.log(total + n * (len(cut) - 1))
            without = float(np.sum(np.log(used[cut] + n) - new_total))
            losses[i] = n * (np.log(n) - np.log(total) - without)
        return losses

    def _keep(self, keep: np.ndarray) -> None:
        """Keep the pieces for which `keep` (n_pieces) is True."""
        if keep.all():
            return
        numbers = np.where(keep, np.cumsum(keep) - 1, -1)
        for lattice in (self.words, self.inside):
            if lattice is not None:
                lattice.keep(keep[lattice.piece], numbers)
        self.pieces = [piece for piece, kept in zip(self.pieces, keep, strict=True) if kept]
        self.scores, self.row = self.scores[keep], self.row[keep]

    def best(self, n_pieces: int) -> tuple[list[str], list[float]]:
        """The characters and the pieces with the best scores, best first."""
        order = sorted(range(len(self.pieces)), key=lambda i: (-self.scores[i], self.pieces[i]))
        room = n_pieces - self.n_single
        chosen = [i for i in order if i < self.n_single]
        chosen += [i for i in order if i >= self.n_single][: max(0, room)]
        chosen.sort(key=lambda i: (-self.scores[i], self.pieces[i]))
        return [self.pieces[i] for i in chosen], self.scores[chosen].tolist()


def _digamma(x: np.ndarray) -> np.ndarray:
    """ψ(x) = d log Γ(x)/dx for x > 0: ψ(x + 1) − 1/x up to 12, then the asymptotic series."""
    x = np.array(x, np.float64)
    shift = np.zeros_like(x)
    for _ in range(12):
        small = x < 12
        shift -= np.where(small, 1 / x, 0.0)
        x = np.where(small, x + 1, x)
    inverse = 1 / (x * x)
    series = inverse * (1 / 12 - inverse * (1 / 120 - inverse * (1 / 252 - inverse / 240)))
    return shift + np.log(x) - 0.5 / x - series
