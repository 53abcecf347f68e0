"""A run of a cross-encoder: question and passage are read together, the right passage wins."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...evaluation import bootstrap, paired_difference
from ...evaluation.ranking import ndcg, recall, reciprocal_rank
from ...training.options import OptionError
from ..files import read_columns
from ..pairs.baselines import ngram_overlap
from ..pairs.options import RerankOptions
from ..pairs.report import ChoiceReport, Compared, plot_choices
from ..pairs.rows import Row
from ..sample_texts import SAMPLE, questions
from .pairs import Choice

__all__ = ["Rerank"]


class Rerank(Choice):
    """The run of finetune rerank: a question, its right passage, and wrong ones.

    The scores of a question's passages go through one softmax, as those of answers (Nogueira and
    Cho, 2019, with the loss over the list of passages).
    """

    name = "rerank"
    options: Any = RerankOptions
    o: Any

    def read_data(self) -> None:
        """See Finetuning.

        Raises: OptionError without data, or for data that cannot be used.
        """
        o = self.o
        if o.data is None:
            raise OptionError(
                "`data`: name a file of questions with right and wrong passages (tinygrad-llm rag "
                "questions makes one from an index), or sample"
            )
        rows = [Row(q, answers, right) for q, answers, right in questions()]
        if o.data != SAMPLE:
            rows = read_passages(o.data, o.question_column, o.passage_column, o.negative_names(),
                                 o.seed)  # fmt: skip
        self.same_data([[r.first, *r.seconds, r.label] for r in rows])
        self.split(rows)
        self.note_parts(f"{len(rows):,} questions with {len(rows[0].seconds)} passages")

    def results(self, scores: np.ndarray) -> tuple[list[Compared], Any, str]:
        labels = self.sets[2].labels
        e = np.exp(scores - scores.max(1, keepdims=True))  # (N, passages)
        report = ChoiceReport(labels, e / e.sum(1, keepdims=True))
        overlap = np.array(
            [[ngram_overlap(row.first, other) for other in row.seconds] for row in self.test]
        )  # (N, passages)
        compared = compared_lists(scores, overlap, labels, "shared pairs of characters")
        title = f"MRR {compared[1].score}"
        return (
            compared, plot_choices(report, self.folder / "passages.png", title),
            report.worst_table(self.test, self.o.worst),
        )  # fmt: skip


def compared_lists(
    scores: np.ndarray, baseline: np.ndarray, labels: np.ndarray, baseline_name: str
) -> list[Compared]:
    """recall@1, MRR and nDCG@10 of lists in the order of scores (N, K), beside a baseline's (N, K).

    labels: (N), the number of the right one in each row
    """
    right = [{int(label)} for label in labels]
    ours, theirs = (np.argsort(-s, axis=1, kind="stable").tolist() for s in (scores, baseline))
    made = []
    for name, measure in (
        ("recall@1", lambda ids: recall(ids, right, 1)),
        ("MRR", lambda ids: reciprocal_rank(ids, right)),
        ("nDCG@10", lambda ids: ndcg(ids, right, 10)),
    ):
        a, b = measure(ours), measure(theirs)
        made.append(
            Compared(name, bootstrap(a), bootstrap(b), paired_difference(a, b), baseline_name)
        )
    return made


def read_passages(
    path: str, question: str, passage: str, negatives: list[str], seed: int = 0
) -> list[Row]:
    """The rows of a file with a column of questions, one of right passages, and of wrong ones.

    seed: of the random place of the right passage among the wrong ones, so that equal scores are
    right by chance only
    Raises: ValueError, which names the place, if a column is missing or a text is empty.
    """
    columns = [("question_column", question), ("passage_column", passage)]
    columns += [("negative_columns", name) for name in negatives]
    random = np.random.default_rng(seed)
    rows = []
    for place, values in read_columns(path, columns):
        for (_, name), value in zip(columns, values, strict=True):
            if not value.strip():
                raise ValueError(f"{place}: {name!r} is empty")
        first, right, *wrong = values
        at = int(random.integers(len(wrong) + 1))
        rows.append(Row(first, (*wrong[:at], right, *wrong[at:]), at, place))
    if not rows:
        raise OptionError(f"`data`: {path} has no questions")
    return rows
