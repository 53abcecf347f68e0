"""Votes between two, short answers, and stored evaluations computed again from their outputs."""

from __future__ import annotations

import json
import math
import re

import numpy as np
import pytest
from data import data_file
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_llm.evaluation import (
    bradley_terry,
    bradley_terry_intervals,
    character_f1,
    elo,
    exact_match,
    kendall,
    pearson,
    set_f1,
    shared_characters,
    spearman,
    win_rates,
)
from tinygrad_llm.evaluation.answers import common_subsequence, nfkc

votes_between = st.lists(
    st.tuples(st.sampled_from("abc"), st.sampled_from("abc"), st.sampled_from([0, 0.5, 1])).filter(
        lambda vote: vote[0] != vote[1]
    ),
    min_size=1, max_size=12,
)  # fmt: skip
EVERYBODY = [(a, b, 0.5) for a in "abc" for b in "abc" if a < b]  # so that strengths exist


def lines(name):
    text = data_file(f"evaluation/{name}").read_text("utf-8")
    return [json.loads(line) for line in text.splitlines()]


# ------------------------------------------------------------------------------- ratings
def test_elo_of_one_vote():
    assert elo([("a", "b")]) == {"a": 1016.0, "b": 984.0}
    assert elo([("a", "b", 0)]) == {"a": 984.0, "b": 1016.0}
    assert elo([("a", "b", 0.5)]) == {"a": 1000.0, "b": 1000.0}
    assert elo([("a", "b")], k=10, start=0) == {"a": 5.0, "b": -5.0}


@given(votes_between)
def test_elo_keeps_the_sum_and_a_favourite_wins_less(votes):
    ratings = elo(votes)
    assert math.isclose(sum(ratings.values()), 1000 * len(ratings))
    twice = elo([("a", "b"), ("a", "b")])
    assert 1016 < twice["a"] < 1032


def test_bradley_terry_of_two_is_their_odds():
    ratings = bradley_terry([("a", "b")] * 10 + [("b", "a")])
    assert ratings["a"] == pytest.approx(1200) and ratings["b"] == pytest.approx(800)


@given(votes_between)
def test_bradley_terry_is_the_maximum_of_the_likelihood(votes):
    votes = votes + EVERYBODY
    ratings = bradley_terry(votes)
    assert math.isclose(sum(ratings.values()), 3000)

    def likelihood(by):
        total = 0.0
        for a, b, score in votes:
            p = 1 / (1 + 10 ** ((by[b] - by[a]) / 400))
            total += score * math.log(p) + (1 - score) * math.log(1 - p)
        return total

    for name in "abc":
        for change in (-2.0, 2.0):
            assert likelihood(ratings) > likelihood({**ratings, name: ratings[name] + change})


@given(votes_between, st.randoms(use_true_random=False))
def test_bradley_terry_does_not_depend_on_the_order(votes, random):
    votes = votes + EVERYBODY
    shuffled = votes.copy()
    random.shuffle(shuffled)
    first, second = bradley_terry(votes), bradley_terry(shuffled)
    assert all(math.isclose(first[name], second[name], abs_tol=1e-6) for name in first)


def test_votes_of_the_arena():
    votes = json.loads(data_file("reasoning/arena-votes.json").read_text("utf-8"))
    ratings = bradley_terry_intervals(votes, samples=200)
    assert set(ratings) == {"GPT-5", "Claude-3", "Llama-4", "Llama-3"}
    order = sorted(ratings, key=lambda name: -ratings[name].value)
    assert order == sorted(ratings, key=lambda name: -bradley_terry(votes)[name])
    for interval in ratings.values():
        assert interval.low < interval.value < interval.high
    again = bradley_terry_intervals(votes, samples=200)
    assert ratings == again  # a fixed seed
    few = bradley_terry_intervals(votes[:30] + EVERYBODY + [("a", votes[0][0], 0.5)], samples=20)
    assert all(math.isfinite(interval.high) for interval in few.values())


def test_who_only_won_has_no_rating():
    with pytest.raises(ValueError, match="no limit"):
        bradley_terry([("a", "b"), ("b", "c"), ("c", "b")])


@pytest.mark.parametrize("function", [elo, bradley_terry, win_rates, bradley_terry_intervals])
@pytest.mark.parametrize(
    ("votes", "message"),
    [
        ([], "no votes"), (["ab"], "vote 0"), ([("a", "b"), ("a",)], "vote 1"),
        ([("a", "a")], "itself"), ([("a", "b", 2)], "score"), ([("a", "b", math.nan)], "score"),
    ],
)  # fmt: skip
def test_wrong_votes(function, votes, message):
    with pytest.raises(ValueError, match=message):
        function(votes)


# ------------------------------------------------------------------------------- answers
def test_answers():
    assert exact_match(" ＡＢＣ１ ", "ABC1") == 1.0 and exact_match("a", "A") == 0.0
    assert shared_characters("東京都", "東京") == pytest.approx(0.8)
    assert shared_characters("", "") == 1.0 and shared_characters("b a", "a b") < 1.0
    # 2·C / (A + R): 1 of {a, b} in [a, c]; a line repeated in the right text counts twice
    assert set_f1("b\n a\na", "a\nc") == 0.5 and set_f1("a\nb", "b\na") == 1.0
    assert set_f1("a", "a\na") == pytest.approx(2 / 3) and set_f1("a\na", "a") == 1.0
    assert set_f1("", "") == 1.0 and set_f1("a", "") == 0.0
    assert set_f1("a\n\nb", "a\nb") == 0.8  # the empty line is a member
    assert set_f1("a, b", "b, a") == 0.0 and set_f1("a, b", "b, a", ",") == 1.0
    with pytest.raises(ValueError, match="separator"):
        set_f1("a", "a", "")


@given(st.text("ab、1", max_size=8), st.text("ab、1", max_size=8))
def test_scores_are_between_0_and_1_and_1_for_equal_texts(a, b):
    for score in (exact_match, character_f1, shared_characters):
        assert 0.0 <= score(a, b) <= 1.0 and score(a, a) == 1.0
    assert 0.0 <= set_f1(a, b) <= 1.0 and set_f1(a, a) == 1.0


@pytest.mark.parametrize(
    ("answer", "right", "expected"),
    [
        ("東京都", "東京", 0.8),  # 2·2 / 5
        ("New York", "york, NEW!", 1.0),  # sorted words without case and marks
        ("abcd", "acbd", 0.75),  # 2·3 / 8: a, b or c, d
        ("abc", "abd", 0.67),  # 0.666... in hundredths
        ("a_b", "a b", 0.67),  # "_" is a letter: "a_b" and "a b" share a, b
        ("café", "caf", 1.0), ("ＡＢ１", "ab1", 1.0), ("", "", 1.0), ("!", "?", 1.0),
        ("a", "", 0.0),
        ("x", "y", 0.0), ("2020年", "2021年", 0.8),
    ],
)  # fmt: skip
def test_character_f1_by_hand(answer, right, expected):
    assert character_f1(answer, right) == expected == character_f1(right, answer)


@given(st.text("aAb、 1é_!ß", max_size=12), st.text("aAb、 1é_!ß", max_size=12))
def test_character_f1_is_llm_jp_evals(a, b):
    """llm-jp-eval asks fuzzywuzzy, which asks python-Levenshtein: rapidfuzz's ratio, rounded."""
    fuzz = pytest.importorskip("rapidfuzz.fuzz")
    words = [re.sub(r"\W", " ", nfkc(t).translate(dict.fromkeys(range(128, 256)))).lower()
             for t in (a, b)]  # fmt: skip
    ratio = fuzz.token_sort_ratio(*words)
    if all(w.split() for w in words) or words[0].split() == words[1].split():
        assert character_f1(a, b) == pytest.approx(round(ratio) / 100)
    else:
        assert character_f1(a, b) == 0.0  # fuzzywuzzy's, of one empty text


@given(st.text("abc", max_size=9), st.text("abc", max_size=9))
def test_the_common_subsequence_equals_its_recursion(a, b):
    table = [[0] * (len(b) + 1) for _ in range(len(a) + 1)]
    for i, x in enumerate(a):
        for j, y in enumerate(b):
            table[i + 1][j + 1] = (
                table[i][j] + 1 if x == y else max(table[i][j + 1], table[i + 1][j])
            )
    assert common_subsequence(a, b) == table[-1][-1]


# ------------------------------------------------------------------------------- stored evaluations
def test_two_judges_of_one_model():
    pytest.importorskip("scipy")
    one, other = (
        json.loads(data_file(f"evaluation/{name}-model-1-response.json").read_text("utf-8"))
        for name in ("gpt4", "llama3-8b")
    )
    assert pearson(one, other) == pytest.approx(0.80489, abs=5e-6)
    assert spearman(one, other) == pytest.approx(0.698406, abs=5e-7)
    assert kendall(one, other) == pytest.approx(0.57292, abs=5e-6)


def test_multiple_choice_by_exact_match():
    scores = [exact_match(x["lm_output"], x["references"][0])
              for x in lines("flexeval-jcommonsenseqa-outputs.jsonl")]  # fmt: skip
    assert len(scores) == 1119 and round(float(np.mean(scores)), 4) == 0.7909


def test_pairs_judged_in_both_orders():
    votes = [
        (x["model1"], x["model2"], {"model1": 1, "model2": 0}.get(x["winner"], 0.5))
        for x in lines("flexeval-vicuna-pairwise-judge.jsonl")
    ]
    rates = {name: round(100 * rate, 2) for name, rate in win_rates(votes).items()}
    assert rates == {"gpt_3_5": 73.75, "swallow": 26.25}
    ratings = {name: round(rating, 1) for name, rating in bradley_terry(votes).items()}
    assert ratings == {"gpt_3_5": 1089.7, "swallow": 910.3}


def test_means_of_a_judge_before_and_after_preferences():
    means = [
        float(np.mean([x["llm_score"] for x in lines(f"flexeval-vicuna-judge-{name}.jsonl")]))
        for name in ("sft", "dpo")
    ]
    assert means == [5.3, 5.75]
