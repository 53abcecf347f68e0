"""Span corruption: T5's example, its numbers, its cuts, and the way to the text again."""

from __future__ import annotations

import numpy as np
import pytest

from tinygrad_llm.data.spans import corrupt_spans, random_spans, span_lengths, uncorrupt
from tinygrad_llm.random import Generator

X, Y, Z = 101, 102, 103


def of_words(text: str, hidden: set[str], end: int | None = None) -> tuple[str, str]:
    """Input and target of a text of words, as words."""
    words = text.split()
    names = dict(enumerate(words)) | {X: "<X>", Y: "<Y>", Z: "<Z>", 99: "</s>"}
    marks = [word in hidden for word in words]
    both = corrupt_spans(range(len(words)), marks, [X, Y, Z], end)
    return tuple(" ".join(names[i] for i in part) for part in both)


def test_the_example_of_the_paper():
    text = "Thank you for inviting me to your party last week"
    assert of_words(text, {"for", "inviting", "last"}) == (
        "Thank you <X> me to your party <Y> week",
        "<X> for inviting <Y> last <Z>",
    )


def test_the_example_of_transformers():
    text = "The cute dog walks in the park"  # their documentation of T5's training
    assert of_words(text, {"cute", "dog", "the"}, 99) == (
        "The <X> walks in <Y> park </s>",
        "<X> cute dog <Y> the <Z> </s>",
    )


def test_the_lengths_of_t5():
    assert span_lengths(568) == (568, 85, 28, 512, 114)  # what pretraining with 512 tokens reads
    assert span_lengths(569).input > 512
    assert span_lengths(2) == (2, 1, 1, 3, 3)
    assert span_lengths(10, 0.5, 2.0) == (10, 5, 2, 8, 8)
    assert span_lengths(10, 0.9, 1.0) == (10, 9, 1, 3, 11)  # one token is kept: one hole


@pytest.mark.parametrize("n", [2, 3, 7, 20, 100, 568])
@pytest.mark.parametrize("density", [0.15, 0.5, 0.99])
def test_random_spans_have_exactly_these_lengths(n, density):
    lengths = span_lengths(n, density)
    for seed in range(5):
        marks = random_spans(n, density, generator=Generator().manual_seed(seed))
        assert marks.sum() == lengths.noise and not marks[0] and marks[-1]
        assert (np.diff(marks.astype(int)) == 1).sum() == lengths.spans
        ids = list(range(n))
        sentinels = list(range(1000, 1000 + lengths.spans))
        both = corrupt_spans(ids, marks, sentinels, 999)
        assert (len(both.input), len(both.target)) == (lengths.input, lengths.target)
        assert uncorrupt(both.input[:-1], both.target[:-1], sentinels) == ids


def test_every_cut_is_as_likely():
    # 6 tokens, 3 in 2 holes: 2 ways for the hidden and 2 for the kept ones
    generator = Generator().manual_seed(0)
    draws = [tuple(random_spans(6, 0.5, 1.5, generator).tolist()) for _ in range(2000)]
    counts = {draw: draws.count(draw) for draw in set(draws)}
    assert len(counts) == 4 and min(counts.values()) > 430


def test_a_damaged_target_still_fills():
    assert uncorrupt([1, X, 2, Y, 3], [9, Y, 7, 8, Y, 6], [X, Y, Z]) == [1, 2, 7, 8, 3]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: span_lengths(1), "needs 2 tokens"),
        (lambda: span_lengths(9, 1.0), "between 0 and 1"),
        (lambda: span_lengths(9, 0.2, 0.5), "1 or more"),
        (lambda: corrupt_spans([1, 2], [True], [X]), "each of 2 tokens"),
        (lambda: corrupt_spans([1, 2, 3], [True, False, True], [X]), "2 sentinels, got 1"),
    ],
)
def test_bad_arguments(call, words):
    with pytest.raises(ValueError, match=words):
        call()
