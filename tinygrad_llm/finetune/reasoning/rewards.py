"""Rewards that a program computes: is the answer right, is it finished, has it the form.

table = rewards_of(["It is \\boxed{7}."], [True], ["7"], boxed=True)       # (N, K) of KINDS
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...evaluation.verifiers import Verdict, extract_answer, numerically_equal, verify

__all__ = ["KINDS", "is_right", "judged", "rewards_of"]

KINDS = ("right", "form")


def is_right(text: str, expected: str, boxed: bool = False) -> bool:
    """Whether the answer in a text is the expected one: what `judged` says."""
    return judged(text, expected, boxed).correct


def judged(text: str, expected: str, boxed: bool = False) -> Verdict:
    """The verdict about a text, with the rule that found its answer.

    boxed: the answer stands in \\boxed{...}; otherwise it is what the text states, by the rules of
    `find_answer`: boxed, after "the answer is", in bold, after the last "=" or "is" that ends a
    clause, and only then its last number, or the text itself if it has none.
    """
    return verify(text, expected, numerically_equal, "none" if boxed else "stated")


def rewards_of(
    texts: Sequence[str], finished: Sequence[bool], expected: Sequence[str], boxed: bool = False
) -> np.ndarray:
    """The rewards of N answers, (N, 2): 1 or 0 for a right answer, and for its form.

    A right answer has to be finished: otherwise a model that never stops would be rewarded as much,
    and would never learn to stop. The form is right if the answer is finished and, with boxed,
    has a box.
    """
    table = np.zeros((len(texts), len(KINDS)), np.float64)  # (N, K)
    for row, text, done, answer in zip(table, texts, finished, expected, strict=True):
        row[0] = float(done and is_right(text, answer, boxed))
        row[1] = float(done and (not boxed or extract_answer(text) is not None))
    return table
