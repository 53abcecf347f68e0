"""BLEU, ROUGE and BERTScore against sacrebleu, rouge-score and bert-score."""

from __future__ import annotations

import random

import numpy as np
import pytest

from tinygrad_llm.evaluation import bleu_counts, bleu_score, corpus_bleu
from tinygrad_llm.evaluation.words import cutter

WORDS = ["the", "cat", "sat", "on", "a", "mat", "3.14", "1-2", "don't", "U.S.", "猫", "が", "いる",
         "&amp;", "&lt;b&gt;", '"quoted"', "a..5", "x,,y", "(so)", "end.", "-", "é", "A/B", "5,000",
         "—", "tab\tbed", "<skipped>", "co-\noperate", "  "]  # fmt: skip


def texts(seed: int, n: int, shortest: int = 0, longest: int = 14) -> list[str]:
    """Texts of random words, some of them empty."""
    r = random.Random(seed)
    return [" ".join(r.choices(WORDS, k=r.randint(shortest, longest))) for _ in range(n)]


def near(seed: int, originals: list[str]) -> list[str]:
    """The texts with a few words changed, lost or repeated."""
    r = random.Random(seed)
    result = []
    for text in originals:
        words = text.split(" ")
        for _ in range(r.randint(0, 4)):
            i = r.randrange(len(words))
            words[i : i + r.randint(0, 2)] = r.choices(WORDS, k=r.randint(1, 2))
        result.append(" ".join(words))
    return result


@pytest.mark.parametrize("name", ["13a", "char", "ja-mecab"])
def test_cuts_are_sacrebleus(name):
    sacrebleu = pytest.importorskip("sacrebleu")
    theirs = sacrebleu.BLEU(tokenize=name).tokenizer
    for text in texts(0, 300):
        assert list(cutter(name)(text)) == theirs(text.rstrip()).split()


@pytest.mark.parametrize("cut", ["13a", "char"])
@pytest.mark.parametrize("streams", [1, 3])
@pytest.mark.parametrize("smooth", ["exp", "none"])
def test_bleu_of_a_corpus(cut, streams, smooth):
    sacrebleu = pytest.importorskip("sacrebleu")
    for seed in range(12):
        references = texts(seed, 1 + seed % 5 * 6, shortest=1)
        streams_of = [near(seed + 100 * k, references) for k in range(streams)]
        hypotheses = near(seed + 50, references) if seed % 3 else texts(seed + 9, len(references))
        theirs = sacrebleu.BLEU(tokenize=cut, smooth_method=smooth)
        expected = theirs.corpus_score(hypotheses, streams_of)
        got = corpus_bleu(hypotheses, *streams_of, cut=cut, smooth=smooth)
        assert got.score == pytest.approx(expected.score, rel=1e-12, abs=1e-12)
        assert got.precisions == pytest.approx(expected.precisions, rel=1e-12)
        assert got.brevity_penalty == pytest.approx(expected.bp, rel=1e-12)
        sums = got.counts.sum(0).tolist()
        assert sums == [expected.sys_len, expected.ref_len, *expected.counts, *expected.totals]


def test_bleu_of_single_sentences():
    sacrebleu = pytest.importorskip("sacrebleu")
    theirs = sacrebleu.BLEU(effective_order=True)
    references = texts(3, 60, shortest=1)
    for hypothesis, reference in zip(near(4, references), references, strict=True):
        counts = bleu_counts([cutter("13a")(hypothesis)], [cutter("13a")(reference)])
        expected = theirs.sentence_score(hypothesis, [reference]).score
        assert bleu_score(counts, effective_order=True) == pytest.approx(expected, rel=1e-12)


def test_the_interval_draws_sentences_as_sacrebleu_does():
    sacrebleu = pytest.importorskip("sacrebleu")
    references = texts(5, 80, shortest=4)
    hypotheses = near(6, references)
    expected = sacrebleu.BLEU().corpus_score(hypotheses, [references], n_bootstrap=1000)
    got = corpus_bleu(hypotheses, references).interval()
    assert got.value == pytest.approx(expected.score, rel=1e-12)
    half = (got.high - got.low) / 2.0
    assert half == pytest.approx(expected._ci, rel=0.1)  # other draws
    assert np.isclose((got.high + got.low) / 2.0, expected._mean, atol=0.1 * half)
