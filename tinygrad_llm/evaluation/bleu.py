"""BLEU: which share of the runs of 1 to 4 words of a translation its reference has too.

    result = corpus_bleu(translations, references)           # lists of texts
    print(result)                                             # BLEU 27.31 [25.90, 28.71] ...
    paired_difference(result.counts, other.counts, bleu_score)   # is one better than another?

Over a whole test set, with p_n the share of its runs of n words that match (a run counts at most as
often as the reference has it), c words written and r words in the references:

    BLEU = 100 · BP · exp( (log p₁ + log p₂ + log p₃ + log p₄) / 4 )
    BP   = 1 if c >= r, otherwise exp(1 − r/c)         the brevity penalty: short texts match easily

It is not a mean of scores of sentences: the counts are added first. So each sentence is a row of
counts, and the bootstrap draws rows. Source: Papineni et al. (2002); the numbers are those of
sacrebleu (Post, 2018), which also smooths a p_n without any match.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..files.notebooks import cell_table
from .intervals import Interval, bootstrap
from .words import Cut, cut_texts, ngrams

__all__ = ["Bleu", "bleu_counts", "bleu_score", "corpus_bleu"]

Words = Sequence[str]


def bleu_counts(
    hypotheses: Sequence[Words], *references: Sequence[Words], max_order: int = 4
) -> np.ndarray:
    """What BLEU needs to know of each text: int64 (N, 2 + 2·max_order).

    hypotheses: the words of N texts; references: the words of their N references, once or more
    A row: words written, words of the reference (that of the closest length), then for n from 1 to
    max_order the runs of n words that match, then those that were written.
    Raises: ValueError without references, or if their number is not N.
    """
    if not references:
        raise ValueError("bleu_counts needs references after the hypotheses")
    for stream in references:
        if len(stream) != len(hypotheses):
            raise ValueError(
                f"there are {len(hypotheses)} hypotheses and {len(stream)} references: each "
                "hypothesis needs one"
            )
    rows = [
        _counts_of(words, [stream[i] for stream in references], max_order)
        for i, words in enumerate(hypotheses)
    ]
    return np.array(rows, np.int64).reshape(len(rows), 2 + 2 * max_order)


def _counts_of(words: Words, references: list[Words], max_order: int) -> list[int]:
    lengths = [len(reference) for reference in references]
    closest = min(lengths, key=lambda length: (abs(length - len(words)), length))
    matches, totals = [], []
    for n in range(1, max_order + 1):
        allowed: Counter[tuple[str, ...]] = Counter()
        for reference in references:
            allowed |= ngrams(reference, n)  # the larger of two counts
        written = ngrams(words, n)
        matches.append((written & allowed).total())  # the smaller of two counts
        totals.append(written.total())
    return [len(words), closest, *matches, *totals]


def bleu_score(counts: np.ndarray, smooth: str = "exp", effective_order: bool = False) -> float:
    """BLEU between 0 and 100 of the rows (N, 2 + 2·max_order) of bleu_counts: a statistic.

    smooth: "exp" halves the precision for every order without a match: 1/(2·total), 1/(4·total),
        ...; "none": such a score is 0
    effective_order: leave out orders longer than the texts; for the score of a single sentence
    Raises: ValueError for another smooth, or rows of another shape.
    """
    written, expected, matches, totals = _summed(counts)
    if not any(matches):
        return 0.0
    logs = []
    for precision, total in zip(_precisions(matches, totals, smooth), totals, strict=True):
        if not total and effective_order:
            break
        if not precision:
            return 0.0
        logs.append(math.log(precision))
    return 100.0 * _brevity_penalty(written, expected) * math.exp(sum(logs) / len(logs))


def _summed(counts: np.ndarray) -> tuple[float, float, list[float], list[float]]:
    """Words written, words of references, and for each order matches and runs written."""
    counts = np.asarray(counts)
    if counts.ndim != 2 or counts.shape[1] < 4 or counts.shape[1] % 2:
        raise ValueError(
            f"counts must be rows of bleu_counts, (N, 2 + 2·max_order), got {counts.shape}"
        )
    sums = counts.sum(0).tolist()  # (N, K) -> (K)
    order = len(sums) // 2 - 1
    return sums[0], sums[1], sums[2 : 2 + order], sums[2 + order :]


def _precisions(matches: list[float], totals: list[float], smooth: str) -> list[float]:
    if smooth not in ("exp", "none"):
        raise ValueError(f'smooth must be "exp" or "none", got {smooth!r}')
    precisions, small = [], 1.0
    for match, total in zip(matches, totals, strict=True):
        if not match and total and smooth == "exp":
            small /= 2.0
            match = small
        precisions.append(match / total if total else 0.0)
    return precisions


def _brevity_penalty(written: float, expected: float) -> float:
    if written >= expected:
        return 1.0
    return math.exp(1.0 - expected / written) if written else 0.0


@dataclass(frozen=True)
class Bleu:
    """BLEU of a test set, with the counts (N, 2 + 2·max_order) that it is made of."""

    counts: np.ndarray
    smooth: str = "exp"

    @property
    def score(self) -> float:
        """BLEU, between 0 and 100."""
        return bleu_score(self.counts, self.smooth)

    @property
    def precisions(self) -> list[float]:
        """The share of runs of 1, 2, ... words that match, in percent; smoothed."""
        _, _, matches, totals = _summed(self.counts)
        if not any(matches):
            return [0.0] * len(matches)
        return [100.0 * p for p in _precisions(matches, totals, self.smooth)]

    @property
    def brevity_penalty(self) -> float:
        """1 for texts as long as the references or longer, less for shorter ones."""
        return _brevity_penalty(*_summed(self.counts)[:2])

    def interval(self, n: int = 1000, level: float = 0.95, seed: int = 0) -> Interval:
        """The score with its interval: n test sets drawn from the sentences; see bootstrap."""
        return bootstrap(
            self.counts, lambda rows: bleu_score(rows, self.smooth), n=n, level=level, seed=seed
        )

    def __str__(self) -> str:
        interval = self.interval()
        written, expected = _summed(self.counts)[:2]
        shares = "/".join(f"{p:.1f}" for p in self.precisions)
        return (
            f"BLEU {interval.value:.2f} [{interval.low:.2f}, {interval.high:.2f}]  {shares}  "
            f"brevity penalty {self.brevity_penalty:.3f}, {written:,.0f} words for "
            f"{expected:,.0f}"
        )

    def _repr_html_(self) -> str:
        """A table in a notebook: the score with its interval, and what it is made of."""
        interval = self.interval()
        written, expected = _summed(self.counts)[:2]
        rows = [
            ("BLEU", f"{interval.value:.2f} [{interval.low:.2f}, {interval.high:.2f}]"),
            *(
                (f"runs of {n} word{'s' * (n > 1)} that match", f"{share:.1f} %")
                for n, share in enumerate(self.precisions, 1)
            ),
            ("brevity penalty", f"{self.brevity_penalty:.3f}"),
            ("words", f"{written:,.0f}"),
            ("words of the references", f"{expected:,.0f}"),
            ("texts", f"{len(self.counts):,}"),
        ]
        return cell_table(rows)


def corpus_bleu(
    hypotheses: Sequence[str], *references: Sequence[str], cut: Cut = "13a", smooth: str = "exp",
    max_order: int = 4,
) -> Bleu:  # fmt: skip
    """BLEU of N texts against their references, equal to sacrebleu's.

    hypotheses: N texts; references: N texts, once or more
    cut: what a word is, see words.CUTS: "13a" for languages with blanks, "char" or "ja-mecab" for
        Japanese, or a function; smooth: see bleu_score; max_order: the longest runs
    Raises: ValueError or TypeError for lists that do not fit, or without any text.
    """
    if not len(hypotheses):
        raise ValueError("BLEU needs texts, got none")
    words = cut_texts(hypotheses, cut)
    others = [cut_texts(stream, cut) for stream in references]
    return Bleu(bleu_counts(words, *others, max_order=max_order), smooth)
