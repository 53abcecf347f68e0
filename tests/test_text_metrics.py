"""BLEU, ROUGE and BERTScore: values by hand, and what they say about bad arguments."""

from __future__ import annotations

import math

import numpy as np
import pytest

import tinygrad_llm as tg
from tinygrad_llm import models
from tinygrad_llm.evaluation import (
    bert_score,
    bleu_counts,
    bleu_score,
    corpus_bleu,
    match_tokens,
    paired_difference,
    rouge,
)
from tinygrad_llm.evaluation.rouge import longest_common
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
    assert corpus_bleu(["a b"], ["a b"]).score == 0.0  # two words hold no 4-gram
    assert bleu_score(bleu_counts([["a", "b"]], [["a", "b"]]), effective_order=True) == 100.0


def test_rows_of_counts_are_a_statistic():
    references = ["a b c d e f", "g h i j k", "l m n o p q"]
    good = corpus_bleu(["a b c d e f", "g h i j x", "l m n o p q"], references)
    bad = corpus_bleu(["a b c x e f", "g h i j x", "l m x o p q"], references)
    difference = paired_difference(good.counts, bad.counts, bleu_score, n=50)
    assert difference.value == pytest.approx(good.score - bad.score)
    assert str(good).startswith(f"BLEU {good.score:.2f} [") and "penalty 1.000, 17" in str(good)


def test_rouge_by_hand():
    scores = rouge(["the cat the cat"], ["a cat saw the cat"])
    # 3 of 4 words are among the 5; of the pairs "the cat" once; in order: "cat the cat"
    assert (scores["rouge1"].precision[0], scores["rouge1"].recall[0]) == (3 / 4, 3 / 5)
    assert (scores["rouge2"].precision[0], scores["rouge2"].recall[0]) == (1 / 3, 1 / 4)
    assert (scores["rougeL"].precision[0], scores["rougeL"].recall[0]) == (3 / 4, 3 / 5)
    assert scores["rougeL"].f1[0] == pytest.approx(2 * 0.75 * 0.6 / 1.35)
    assert str(scores["rougeL"]).startswith("F1 0.667 [0.667, 0.667] (precision 0.750")


def test_the_longest_common_subsequence_is_that_of_the_table():
    generator = np.random.default_rng(0)
    for _ in range(100):
        a, b = (generator.integers(0, 6, generator.integers(0, 90)).tolist() for _ in "ab")
        table = np.zeros((len(a) + 1, len(b) + 1), int)
        for i, x in enumerate(a):
            for j, y in enumerate(b):
                grown = table[i, j] + 1 if x == y else max(table[i, j + 1], table[i + 1, j])
                table[i + 1, j + 1] = grown
        assert longest_common(a, b) == table[-1, -1]


def test_of_several_references_the_closest_counts():
    scores = rouge(["a b c"], ["x y"], ["a b d"], cut="spaces")["rouge1"]
    assert scores.f1.tolist() == pytest.approx([2 / 3])


def test_matches_by_hand():
    x = np.array([[2.0, 0.0], [0.0, 3.0]])  # two tokens at a right angle
    y = np.array([[1.0, 1.0], [5.0, 0.0], [0.0, -1.0]])
    p, r = match_tokens(x, y)
    half = math.sqrt(0.5)
    assert (p, r) == pytest.approx(((1.0 + half) / 2.0, (half + 1.0 + 0.0) / 3.0))
    assert match_tokens(x, y, np.array([1.0, 0.0]))[0] == pytest.approx(1.0)
    assert match_tokens(x, y, np.zeros(2)) == (0.0, 0.0)


class Letters:
    """A tokenizer: [CLS] 0, [SEP] 1, and a token for each letter."""

    def encode(self, text):
        return [0, *(ord(letter) - 95 for letter in text), 1]


@pytest.fixture(scope="module")
def bert():
    tg.manual_seed(0)
    return models.Bert(
        models.BertConfig(
            vocab_size=30, context_length=12, emb_dim=16, hidden_dim=32, n_layers=2, n_heads=2,
        )
    )  # fmt: skip


def test_bert_score_does_not_depend_on_the_batch(bert):
    texts, others = ["abc", "hello", "", "z", "abc"], ["abd", "hello", "x", "", "cab"]
    alone = bert_score(texts, others, model=bert, tokenizer=Letters(), batch_size=1)
    together = bert_score(texts, others, model=bert, tokenizer=Letters())
    assert np.allclose(alone.f1, together.f1, atol=1e-6)
    assert alone.f1[1] == pytest.approx(1.0) and alone.f1[2] == alone.f1[3] == 0.0
    assert bert.training, "it stays in training mode"


def test_rare_tokens_weigh_more_with_idf(bert):
    references = ["aab", "aac", "aad"]
    plain, idf = (
        bert_score(["aax", "aay", "bad"], references, model=bert, tokenizer=Letters(), idf=idf)
        for idf in (False, True)
    )
    assert not np.allclose(plain.recall, idf.recall)  # in idf's recall "a" weighs nothing


def test_a_layer_before_the_last_and_long_texts(bert):
    one, two = (
        bert_score(["abc"], ["bcd"], model=bert, tokenizer=Letters(), layer=layer).f1[0]
        for layer in (1, 2)
    )
    assert one != two
    assert two == bert_score(["abc"], ["bcd"], model=bert, tokenizer=Letters()).f1[0]
    long = bert_score(["a" * 40], ["a" * 10], model=bert, tokenizer=Letters())
    assert long.f1[0] == pytest.approx(1.0)  # cut to 12 tokens, [SEP] among them


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
        (lambda: rouge([], []), "got none"),
        (lambda: rouge(["a"], ["a", "b"]), "1 texts and 2 references"),
        (lambda: rouge(["a"], ["a"], kinds=["rouge0"]), "no kind 'rouge0'"),
        (lambda: bert_score("a", ["a"]), "got one text"),
        (lambda: bert_score(["a"], []), "1 texts and 0 references"),
        (lambda: bert_score(["a"], ["a"], tokenizer=Letters()), "both a model"),
    ],
)
def test_bad_arguments(call, words):
    with pytest.raises((ValueError, TypeError), match=words):
        call()
