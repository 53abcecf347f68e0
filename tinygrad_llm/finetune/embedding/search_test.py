"""A test of vectors by search: does a question find its passage among all passages of the data?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ...evaluation import bootstrap, paired_difference
from ...evaluation.ranking import ndcg, recall, reciprocal_rank
from ..pairs.report import Compared
from .data import SharedPieces

__all__ = ["SearchTest", "compared_searches"]

Measures = dict[str, np.ndarray]  # of each question, by name


@dataclass(frozen=True)
class SearchTest:
    """questions (Q), passages (N), and for each question the numbers of its right passages."""

    questions: list[str]
    passages: list[str]
    right: list[set[int]]

    @classmethod
    def of(cls, rows: Sequence[tuple[str, ...]], others: Sequence[str] = ()) -> SearchTest:
        """Of rows (question, right passage, wrong passage or nothing).

        others: more passages to look in
        """
        texts = [text for row in rows for text in row[1:]]
        passages = list(dict.fromkeys([*texts, *others]))
        number = {text: i for i, text in enumerate(passages)}
        right: dict[str, set[int]] = {}
        for question, passage, *_ in rows:
            right.setdefault(question, set()).add(number[passage])
        return cls(list(right), passages, list(right.values()))

    def measures(self, embed: Callable[[list[str]], np.ndarray]) -> Measures:
        """recall@1, recall@5, MRR and nDCG@10 of the search by cosines, (Q) each.

        embed: texts -> vectors of length 1 (N, C)
        """
        scores = embed(self.questions) @ embed(self.passages).T  # (Q, C) @ (C, N) -> (Q, N)
        return self.measured(scores)

    def baseline(self) -> Measures:
        """The same measures for the order by shared pairs of characters (Jaccard)."""
        shared = SharedPieces(self.passages)
        return self.measured(np.stack([shared.shares(q) for q in self.questions]))  # (Q, N)

    def measured(self, scores: np.ndarray) -> Measures:
        """The measures of the lists in the order of scores (Q, N)."""
        ids = np.argsort(-scores, axis=1, kind="stable")[:, :10].tolist()  # (Q, up to 10)
        return {
            "recall@1": recall(ids, self.right, 1), "recall@5": recall(ids, self.right, 5),
            "MRR": reciprocal_rank(ids, self.right), "nDCG@10": ndcg(ids, self.right, 10),
        }  # fmt: skip


def compared_searches(
    before: Measures | None, after: Measures, baseline: Measures
) -> tuple[str, dict[str, dict[str, list[float]]]]:
    """The lines of each measure, and [value, low, high] of each number in them.

    before: None where it is not known any more
    """
    lines, stored = [], {}
    for name, scores in after.items():
        theirs = baseline[name]
        compared = Compared(
            name, bootstrap(scores), bootstrap(theirs), paired_difference(scores, theirs),
            "shared pairs of characters",
        )  # fmt: skip
        lines.append(compared.lines())
        numbers = {"after": compared.score, "baseline": compared.baseline,
                   "difference": compared.difference}  # fmt: skip
        if before is not None:
            numbers["before"] = bootstrap(before[name])
            numbers["gain"] = paired_difference(scores, before[name])
            lines.append(f"before training    {numbers['before']}   difference {numbers['gain']}")
        stored[name] = {k: [i.value, i.low, i.high] for k, i in numbers.items()}
    return "\n".join(lines), stored
