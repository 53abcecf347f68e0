"""ROUGE: how much of a reference summary a summary has, in words, pairs and order.

    scores = rouge(summaries, references)     # "rouge1", "rouge2", "rougeL": TextScores
    print(scores["rougeL"])                   # F1 0.312 [0.298, 0.327] (precision ..., recall ...)

    ROUGE-n   of the runs of n words: matches / runs of the reference is the recall, matches / runs
              written the precision; a run matches as often as both have it
    ROUGE-L   with the longest common subsequence instead: the most words that stand in both in the
              same order, other words between them

Unlike BLEU's, these numbers are per text, and the score of a test set is the mean of their F1.
Source: Lin (2004), "ROUGE: A package for automatic evaluation of summaries"; the numbers are those
of rouge-score. What a word is, is an argument: rouge-score's own words are a-z and 0-9, so a
Japanese text has none.
"""

from __future__ import annotations

from collections.abc import Sequence

from .text_scores import TextScores, best_of
from .words import Cut, cut_texts, ngrams

__all__ = ["longest_common", "rouge", "rouge_l", "rouge_n"]

Words = Sequence[str]


def rouge_n(words: Words, reference: Words, n: int) -> tuple[float, float]:
    """Precision and recall of the runs of n words; both 0 if there are none."""
    written, expected = ngrams(words, n), ngrams(reference, n)
    matches = (written & expected).total()  # the smaller of two counts
    return matches / max(written.total(), 1), matches / max(expected.total(), 1)


def rouge_l(words: Words, reference: Words) -> tuple[float, float]:
    """Precision and recall of the longest common subsequence; both 0 if there is none."""
    length = longest_common(words, reference)
    return length / max(len(words), 1), length / max(len(reference), 1)


def longest_common(a: Words, b: Words) -> int:
    """The length of the longest common subsequence.

    The table L[i, j] = L[i−1, j−1] + 1 if a_i = b_j, otherwise max(L[i−1, j], L[i, j−1]) grows
    along a row by 0 or 1 per column. So a row is the bits of one number, 0 where it grows, and the
    next row is one sum. Source: Hyyrö (2004), "Bit-parallel LCS-length computation revisited".
    """
    places: dict[str, int] = {}  # of a word in a: bit i for a_i
    for i, word in enumerate(a):
        places[word] = places.get(word, 0) | 1 << i
    ones = (1 << len(a)) - 1
    row = ones
    for word in b:
        matches = row & places.get(word, 0)
        row = ((row + matches) | (row - matches)) & ones
    return len(a) - row.bit_count()


def rouge(
    hypotheses: Sequence[str], *references: Sequence[str], cut: Cut = "rouge",
    kinds: Sequence[str] = ("rouge1", "rouge2", "rougeL"),
) -> dict[str, TextScores]:  # fmt: skip
    """ROUGE of N texts against their references, equal to rouge-score's without stemming.

    hypotheses: N texts; references: N texts, once or more; of several the one with the best F1
        counts
    cut: what a word is, see words.CUTS: "rouge" for English; "char", "ja-mecab" or a function of a
        tokenizer for Japanese
    kinds: of "rouge1", "rouge2", ... and "rougeL"
    Raises: ValueError or TypeError for lists that do not fit, without texts, or another kind.
    """
    if not len(hypotheses) or not references:
        raise ValueError("ROUGE needs texts and references, got none")
    words = cut_texts(hypotheses, cut)
    streams = [cut_texts(stream, cut) for stream in references]
    for stream in streams:
        if len(stream) != len(words):
            raise ValueError(f"there are {len(words)} texts and {len(stream)} references")
    return {
        kind: best_of([_scores(words, stream, kind) for stream in streams]) for kind in kinds
    }  # fmt: skip


def _scores(texts: Sequence[Words], references: Sequence[Words], kind: str) -> TextScores:
    pairs = zip(texts, references, strict=True)
    if kind == "rougeL":
        return TextScores.of([rouge_l(a, b) for a, b in pairs])
    digits = kind.removeprefix("rouge")
    if digits == kind or not digits.isdecimal() or int(digits) < 1:
        raise ValueError(f"there is no kind {kind!r}: give rouge1, rouge2, ... or rougeL")
    return TextScores.of([rouge_n(a, b, int(digits)) for a, b in pairs])
