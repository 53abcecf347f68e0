"""An answer verified: extracted, normalised, parsed, compared by a judge; two judges compared."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from ..intervals import Interval, bootstrap
from .extraction import find_answer
from .grammar import ParseError, parse
from .latex import normalise
from .numeric import numerically_equal
from .trees import Judge, equal_answers

__all__ = ["Disagreements", "Verdict", "compare_verifiers", "verify"]


class Verdict(NamedTuple):
    """correct: whether the answer is equal; answer: what was extracted, None if there is none;
    how: "text" (the same after normalisation), "judge", or why it is not correct: "no answer",
    "not a formula", "not decided", "different"; rule: what found the answer, see Extracted, and
    "text" if the whole text is the answer.
    """

    correct: bool
    answer: str | None
    how: str
    rule: str = "text"


def verify(
    text: str, expected: str, judge: Judge = numerically_equal, fallback: str = "none",
    boxed: bool = True,
) -> Verdict:  # fmt: skip
    """Whether the answer in a text is equal to the expected one.

    judge: numerically_equal, a SymbolicJudge, or any function of two trees
    fallback: for a text without a box, see find_answer; boxed: False takes the whole text as
    the answer. What cannot be decided does not count as correct.
    """
    answer, rule = find_answer(text, fallback) if boxed else (text, "text")
    if answer is None:
        return Verdict(False, None, "no answer", rule)
    if normalise(answer) == normalise(expected):
        return Verdict(True, answer, "text", rule)
    try:
        trees = parse(answer), parse(expected)
    except ParseError:
        return Verdict(False, answer, "not a formula", rule)
    equal = equal_answers(*trees, judge)
    how = {True: "judge", False: "different", None: "not decided"}[equal]
    return Verdict(equal is True, answer, how, rule)


class Disagreements(NamedTuple):
    """The verdicts of two judges on the same answers: first and second, and the score of each.

    rows: (number, text, expected, the first's verdict, the second's) where they disagree;
    unread: numbers of expected answers that the grammar does not know
    """

    first: list[Verdict]
    second: list[Verdict]
    scores: tuple[Interval, Interval]
    rows: list[tuple[int, str, str, Verdict, Verdict]]
    unread: list[int]

    def __str__(self) -> str:
        n = len(self.first)
        lines = [
            f"first verifier   {self.scores[0]}", f"second verifier  {self.scores[1]}",
            f"they disagree on {len(self.rows)} of {n}; {len(self.unread)} expected answers are "
            "compared as texts only",
        ]  # fmt: skip
        for number, text, expected, a, b in self.rows:
            lines.append(f"{number:>5}  {text[:40]} against {expected[:40]}: {a.how}, {b.how}")
        return "\n".join(lines)


def compare_verifiers(
    texts: Sequence[str], expected: Sequence[str], first: Judge,
    second: Judge = numerically_equal, **options: Any,
) -> Disagreements:  # fmt: skip
    """Both judges on all answers; options: of verify.

    Raises: ValueError for no answers, or different numbers of them.
    """
    if len(texts) != len(expected) or not len(texts):
        raise ValueError(f"{len(texts)} texts and {len(expected)} expected answers: pair them")
    pairs = list(zip(texts, expected, strict=True))
    a, b = ([verify(t, e, judge, **options) for t, e in pairs] for judge in (first, second))
    scores = [bootstrap([float(v.correct) for v in verdicts]) for verdicts in (a, b)]
    rows = [
        (i, *pair, x, y)
        for i, (pair, x, y) in enumerate(zip(pairs, a, b, strict=True))
        if x.correct != y.correct
    ]
    unread = []
    for i, text in enumerate(expected):
        try:
            parse(text)
        except ParseError:
            unread.append(i)
    return Disagreements(a, b, (scores[0], scores[1]), rows, unread)
