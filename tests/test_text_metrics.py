"""BLEU, ROUGE and BERTScore: values by hand, and what they say about bad arguments."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tinygrad_llm.evaluation import bleu_counts, bleu_score, corpus_bleu, paired_difference
from tinygrad_llm.evaluation.words import cutter


def test_bleu_by_hand():
    # 6 of 7 words, 4 of 6 pairs, 2 of 5 triples, 1 of 4 quadruples; 7 words for 8
    result = corpus_bleu(["the cat sat on the old mat"], ["the cat sat on a small old mat"])
    assert result.counts.tolist() == [[7, 8, 6, 4, 2, 1, 7, 6, 5, 4]]
    product = 6 / 7 * 4 / 6 * 2 / 5 * 1 / 4
    assert result.score == pytest.approx(100.0 * math.exp(1.0 - 8.0 / 7.0) * product**0.25)


def test_a_word_counts_as_often_as_the_reference_has_it():
    assert bleu_counts([["the"] * 7], [["the", "cat", "the"]], max_order=1).tolist() == [
        [7, 3, 2, 7]
    ]


def test_bleu_of_equal_and_of_strange_texts():
    same = ["one two three four five", "six seven eight nine"]
    assert corpus_bleu(same, same).score == pytest.approx(100.0)
    assert corpus_bleu(["a b"], ["c d"]).score == 0.0
    assert corpus_bleu(["", ""], ["c d", "e"]).score == 0.0
    assert corpus_bleu(["a b"], ["a b"]).score == 0.0  # there is no run of four words
    assert bleu_score(bleu_counts([["a", "b"]], [["a", "b"]]), effective_order=True) == 100.0


def test_rows_of_counts_are_a_statistic():
    references = ["a b c d e f", "g h i j k", "l m n o p q"]
    good = corpus_bleu(["a b c d e f", "g h i j x", "l m n o p q"], references)
    bad = corpus_bleu(["a b c x e f", "g h i j x", "l m x o p q"], references)
    difference = paired_difference(good.counts, bad.counts, bleu_score, n=50)
    assert difference.value == pytest.approx(good.score - bad.score)
    assert str(good).startswith(f"BLEU {good.score:.2f} [") and "penalty 1.000, 17" in str(good)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: corpus_bleu([], []), "got none"),
        (lambda: corpus_bleu(["a"]), "needs references"),
        (lambda: corpus_bleu(["a"], ["a", "b"]), "1 hypotheses and 2 references"),
        (lambda: corpus_bleu(["a"], ["a"], cut="14a"), "13a, char"),
        (lambda: corpus_bleu("a text", ["a text"]), "got one text"),
        (lambda: bleu_score(np.ones((2, 10)), "floor"), '"exp" or "none"'),
        (lambda: bleu_score(np.ones(10)), "got \\(10,\\)"),
        (lambda: cutter("mecab"), "there is no cut"),
    ],
)
def test_bad_arguments(call, words):
    with pytest.raises((ValueError, TypeError), match=words):
        call()
