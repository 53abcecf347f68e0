"""One answer from many: by vote, by a score of the text, by the model's own probability."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from ...evaluation.verifiers import extract_answer, last_boxed, normalise, numerically_equal, verify

__all__ = ["Vote", "best_of", "heuristic_score", "vote"]


class Vote(NamedTuple):
    """chosen: the first text with the answer that won, None if no text has one; votes: how many
    texts agree with it; tied: whether another answer had as many
    """

    chosen: int | None
    votes: int
    tied: bool


def vote(texts: Sequence[str], scores: Sequence[float] | None = None, boxed: bool = False) -> Vote:
    """Self-consistency: the answer that most texts agree on.

    texts: the answers of a model to one question; two agree if their extracted answers are equal
    scores: of the texts, such as their mean log-probabilities: among answers with as many votes the
        one whose texts have the highest sum wins; without scores the one that came first
    boxed: only boxed answers count; otherwise what a text states, see find_answer
    Source: Wang et al. (2022), "Self-consistency improves chain of thought reasoning".
    """
    groups: list[tuple[str, list[int]]] = []  # an answer, and the texts that have it
    for i, text in enumerate(texts):
        answer = extract_answer(text, "none" if boxed else "stated")
        if not answer:
            continue
        for known, members in groups:
            if (
                normalise(known) == normalise(answer)
                or verify(answer, known, numerically_equal, boxed=False).correct
            ):
                members.append(i)
                break
        else:
            groups.append((answer, [i]))
    if not groups:
        return Vote(None, 0, False)
    most = max(len(members) for _, members in groups)
    tied = [members for _, members in groups if len(members) == most]
    if scores is None or len(tied) == 1:
        winner = tied[0]
    else:
        winner = max(tied, key=lambda members: sum(scores[i] for i in members))
    return Vote(winner[0], most, len(tied) > 1)


def heuristic_score(text: str) -> float:
    """2 for a boxed answer, or 1 for a number, plus 1.5·exp(−letters/500): short and in the form.

    It says nothing about whether the answer is right.
    """
    form = 2.0 if last_boxed(text) else 1.0 if extract_answer(text, "number") else 0.0
    return form + 1.5 * math.exp(-len(text) / 500.0)


def best_of(scores: Sequence[float]) -> int:
    """The number of the highest score; of equal ones the first.

    Raises: ValueError for no scores.
    """
    if not len(scores):
        raise ValueError("best-of-N needs at least one answer")
    return max(range(len(scores)), key=lambda i: scores[i])
