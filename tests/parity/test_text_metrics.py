"""BLEU, ROUGE and BERTScore against sacrebleu, rouge-score and bert-score."""

from __future__ import annotations

import random

import numpy as np
import pytest
from published import needs_weights

from tinygrad_llm.evaluation import bert_score, bleu_counts, bleu_score, corpus_bleu, rouge
from tinygrad_llm.evaluation.words import cutter
from tinygrad_llm.weights import packaged

KINDS = ["rouge1", "rouge2", "rouge4", "rougeL"]

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


@pytest.mark.parametrize("streams", [1, 2])
def test_rouge_with_its_own_words(streams):
    scorer = pytest.importorskip("rouge_score.rouge_scorer")
    theirs = scorer.RougeScorer(KINDS)
    references = [texts(10 * k, 60) for k in range(streams)]
    hypotheses = near(11, references[0])
    got = rouge(hypotheses, *references, kinds=KINDS)
    for i, hypothesis in enumerate(hypotheses):
        expected = theirs.score_multi([stream[i] for stream in references], hypothesis)
        for kind in KINDS:
            scores = got[kind]
            ours = (scores.precision[i], scores.recall[i], scores.f1[i])
            assert ours == pytest.approx(tuple(expected[kind]), rel=1e-12), (i, kind)


def test_rouge_with_words_that_are_given():
    scorer = pytest.importorskip("rouge_score.rouge_scorer")

    class Characters:
        def tokenize(self, text):
            return cutter("char")(text)

    theirs = scorer.RougeScorer(KINDS, tokenizer=Characters())
    references = ["東京は日本の首都である。", "猫が好きだ", "", "世界で最も高い山", "a"]
    hypotheses = ["日本の首都は東京", "猫は好きか", "猫", "", "b"]
    got = rouge(hypotheses, references, cut="char", kinds=KINDS)
    for i, (hypothesis, reference) in enumerate(zip(hypotheses, references, strict=True)):
        expected = theirs.score(reference, hypothesis)
        for kind in KINDS:
            assert got[kind].f1[i] == pytest.approx(expected[kind].fmeasure, rel=1e-12)


SENTENCES = ["A man is eating food.", "The cat sat on the mat.", "Prices rose by 3.5 % in May.",
             "", "Nobody knows the trouble I have seen", "dichlorodifluoromethane"]  # fmt: skip
OTHERS = ["A man is eating a piece of bread.", "A kitten was sitting on a rug.",
          "In May, prices went down.", "Nothing.", "", "A long word"]  # fmt: skip


@pytest.fixture(scope="module")
def minilm():
    """The folder of MiniLM, or a skip."""
    needs_weights("all-minilm-l6-v2")
    return packaged.find("all-minilm-l6-v2")


@pytest.mark.weights
@pytest.mark.parametrize("idf", [False, True])
@pytest.mark.parametrize("layer", [6, 4])
def test_bert_score_of_bert_score(minilm, idf, layer):
    theirs = pytest.importorskip("bert_score")
    pairs = [(a, b) for a, b in zip(OTHERS, SENTENCES, strict=True) if a and b]
    others, sentences = map(list, zip(*pairs, strict=True))  # with transformers 5 none is empty
    expected = theirs.score(
        others, sentences, model_type=str(minilm), num_layers=layer, idf=idf, nthreads=0,
        device="cpu",
    )  # fmt: skip
    got = bert_score(others, sentences, idf=idf, layer=layer, batch_size=2)
    for ours, other in zip((got.precision, got.recall, got.f1), expected, strict=True):
        assert np.abs(ours - other.numpy()).max() < 1e-5


@pytest.mark.weights
@pytest.mark.slow
@pytest.mark.ci
def test_bert_score_written_with_pytorch(minilm):
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    tokenizer = transformers.AutoTokenizer.from_pretrained(minilm)
    model = transformers.AutoModel.from_pretrained(minilm).eval()

    def vectors_of(text):
        with torch.no_grad():
            x = model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0]  # (T, C)
        return torch.nn.functional.normalize(x.double(), dim=-1)

    got = bert_score(OTHERS, SENTENCES)
    for i, (a, b) in enumerate(zip(OTHERS, SENTENCES, strict=True)):
        similar = vectors_of(a) @ vectors_of(b).T  # (M, N)
        p, r = similar.amax(1)[1:-1].mean(), similar.amax(0)[1:-1].mean()  # not [CLS] and [SEP]
        expected = [float(p), float(r), float(2 * p * r / (p + r))] if a and b else [0.0] * 3
        assert np.allclose([got.precision[i], got.recall[i], got.f1[i]], expected, atol=1e-5)
