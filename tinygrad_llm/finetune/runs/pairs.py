"""Runs of an encoder on pairs of texts: classes (nli), numbers (sts), answers (choice)."""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from ...data import corpora
from ...functions.creation.from_data import tensor
from ...models import registry
from ...models.encoder import ClassifyingEncoder, with_head
from ...training.loop import Result, Trainer
from ...training.options import OptionError
from ...training.progress import duration
from ..files import class_names, number_labels
from ..pairs.baselines import choice_by_overlap, majority, ngram_overlap
from ..pairs.data import PairDataset
from ..pairs.options import ChoiceOptions, NLIOptions, STSOptions
from ..pairs.report import (
    ChoiceReport,
    Compared,
    RegressionReport,
    class_report,
    compared_accuracy,
    compared_correlations,
    plot_choices,
    plot_scores,
)
from ..pairs.rows import Row, read_pairs, read_questions, scored
from ..pairs.scores import predict_pairs
from ..pairs.trainer import pair_trainer
from ..report import plot_confusion
from ..sample_texts import SAMPLE, questions, sentence_pairs
from .encoders import EncoderRun, need_different_labels

__all__ = ["NLI", "STS", "Choice"]


class PairRun(EncoderRun):
    """A run on rows of pairs. Subclasses read the rows, and report on the scores of the test."""

    model: ClassifyingEncoder
    n_scores = 1  # of a pair
    names: list[str] | None = None  # of the classes, where scores are of classes

    @abstractmethod
    def results(self, scores: np.ndarray) -> tuple[list[Compared], Any, str]:
        """From the test's scores (N, K): scores beside baselines, the plot, the worst examples."""

    def make_model(self) -> ClassifyingEncoder:
        encoder = self.encoder([t for row in self.train for t in (row.first, *row.seconds)])
        family = (encoder.body_class or type(encoder)).__name__
        kind: Any = registry.find(f"{family}ForSequenceClassification").model
        model: ClassifyingEncoder = with_head(
            encoder, kind, n_classes=self.n_scores, class_names=self.names
        )
        there = dict(model.named_children())
        self.new_layers = tuple(n for n in ("pooler", "transform", "classifier") if n in there)
        return model.train()

    def encode(self) -> None:
        limit = self.limit()
        self.sets = [
            PairDataset(rows, self.tokenizer, limit) for rows in (self.train, self.val, self.test)
        ]
        cut = self.sets[0].cut
        longer = f"; {cut:,} of the training {self.unit}s are longer and are cut" if cut else ""
        self.note(f"texts        of at most {limit:,} tokens a pair{longer}")

    def make_trainer(self) -> Trainer:
        return pair_trainer(
            self.model, self.sets[0], self.sets[1], self.o, pad_token_id=self.padding(),
            unit=self.unit, progress=self.progress,
        )  # fmt: skip

    def more_config(self) -> dict[str, Any]:
        return {"max_length": self.limit()}

    def report(self, result: Result) -> None:
        scores = predict_pairs(self.model, self.sets[2], self.padding())
        compared, plot, worst = self.results(scores)
        stored = {each.name: each.stored() for each in compared}
        self.write("test.json", {**stored, "rows": len(self.test), "seconds": result.seconds})
        lines = "\n".join(each.lines() for each in compared)
        self.note(f"\ntest of {len(self.test):,} {self.unit}s\n{lines}")
        if self.o.worst:
            self.note(f"\nlargest errors\n{worst}")
        self.note(
            f"\ntraining          {duration(result.seconds)}\n"
            f"plots             {result.plot}, {plot}\n"
            f"checkpoint        {result.checkpoint}"
        )


class NLI(PairRun):
    """The run of finetune nli: two texts, and one of several labels."""

    name = "nli"
    names: list[str]
    options = NLIOptions
    o: NLIOptions

    def read_data(self) -> None:
        """See Finetuning.

        Raises: OptionError for data that cannot be used.
        """
        o = self.o
        o.data = o.data or self.own_or_sample("jnli", "jnli-valid")
        if o.data == "jnli":
            rows = read_pairs(corpora.path("jnli-valid"))
        elif o.data == SAMPLE:
            rows = [Row(a, (b,), label) for a, b, label, _ in sentence_pairs()]
        else:
            rows = read_pairs(o.data, o.first_column, o.second_column, o.label_column)
        labelled = [(row.first, str(row.label)) for row in rows]
        self.names = class_names(labelled)
        if o.classes is not None:
            self.names = [name.strip() for name in o.classes.split(",")]
        numbered = number_labels(labelled, self.names)
        self.n_scores = len(self.names)
        self.same_data([[r.first, *r.seconds, r.label] for r in rows])
        self.split([
            Row(r.first, r.seconds, n, r.place) for r, (_, n) in zip(rows, numbered, strict=True)
        ])  # fmt: skip
        counts = Counter(name for _, name in labelled)
        self.note_parts(", ".join(f"{counts[name]:,} {name}" for name in self.names))
        if o.data == "jnli":
            self.note(
                "             (JNLI's published validation part, the only one here, cut into "
                "three;\n             no sentence is in two parts)"
            )

    def more_config(self) -> dict[str, Any]:
        return {**super().more_config(), "classes": self.names}

    def results(self, scores: np.ndarray) -> tuple[list[Compared], Any, str]:
        labels = self.sets[2].labels
        report = class_report(scores, labels, self.names)
        most = majority([int(row.label) for row in self.train])
        compared = compared_accuracy(
            report.predictions == labels, labels == most, f"always {self.names[most]}"
        )
        self.note(f"\n{report}")
        texts = [f"{row.first} | {row.seconds[0]}" for row in self.test]
        return (
            [compared], plot_confusion(report, self.folder / "confusion.png"),
            report.worst_table(texts, self.o.worst),
        )  # fmt: skip


class STS(PairRun):
    """The run of finetune sts: two texts, and how similar they are."""

    name = "sts"
    options = STSOptions
    o: STSOptions

    def read_data(self) -> None:
        """See Finetuning.

        Raises: OptionError for data that cannot be used.
        """
        o = self.o
        o.data = o.data or self.own_or_sample("jsts", "jsts-train", "jsts-valid")
        rows, test = read_similarities(o.data, (o.first_column, o.second_column, o.label_column))
        self.same_data([[r.first, *r.seconds, r.label] for r in (*rows, *(test or ()))])
        self.split(rows, test)
        need_different_labels(self.test)
        labels = [float(row.label) for row in rows]
        self.note_parts(
            f"{len(rows) + len(test or ()):,} pairs with labels from {min(labels):g} to "
            f"{max(labels):g}"
        )

    def make_model(self) -> ClassifyingEncoder:
        model = super().make_model()
        mean = float(np.mean([float(row.label) for row in self.train]))
        bias = model.classifier.bias
        assert bias is not None
        bias.data = tensor([mean], dtype=bias.dtype, device=bias.device)  # where it would go first
        return model

    def results(self, scores: np.ndarray) -> tuple[list[Compared], Any, str]:
        labels = self.sets[2].labels
        report = RegressionReport(labels, scores[:, 0])
        overlap = [ngram_overlap(row.first, row.seconds[0]) for row in self.test]
        compared = compared_correlations(
            scores[:, 0], overlap, labels, "shared pairs of characters"
        )
        title = f"Spearman {compared[1].score}"
        return (
            compared, plot_scores(report, self.folder / "scores.png", title),
            report.worst_table(self.test, self.o.worst),
        )  # fmt: skip


def read_similarities(
    data: str, columns: Sequence[str] = ("sentence1", "sentence2", "label")
) -> tuple[list[Row], list[Row] | None]:
    """(rows, the published test rows or None) of "jsts", the sample, or a file, labels as numbers.

    Raises: ValueError for a file that cannot be used.
    """
    if data == "jsts":
        rows, test = (scored(read_pairs(corpora.path(f"jsts-{p}"))) for p in ("train", "valid"))
        return rows, test
    if data == SAMPLE:
        return [Row(a, (b,), score) for a, b, _, score in sentence_pairs()], None
    return scored(read_pairs(data, *columns)), None


class Choice(PairRun):
    """The run of finetune choice: a question and several answers, of which one is right."""

    name = "choice"
    options = ChoiceOptions
    o: ChoiceOptions
    unit = "question"

    def read_data(self) -> None:
        """See Finetuning.

        Raises: OptionError for data that cannot be used.
        """
        o = self.o
        names = ("jcommonsenseqa-train", "jcommonsenseqa-valid")
        o.data = o.data or self.own_or_sample("jcommonsenseqa", *names)
        test = None
        columns = o.question_column, o.answer_names(), o.label_column
        if o.data == "jcommonsenseqa":
            rows, test = (read_questions(corpora.path(name), *columns) for name in names)
        elif o.data == SAMPLE:
            rows = [Row(q, answers, right) for q, answers, right in questions()]
        else:
            rows = read_questions(o.data, *columns)
        if not rows:
            raise OptionError(f"`data`: {o.data} has no questions")
        self.same_data([[r.first, *r.seconds, r.label] for r in (*rows, *(test or ()))])
        self.split(rows, test)
        n = len(rows) + len(test or ())
        self.note_parts(f"{n:,} questions with {len(rows[0].seconds)} answers")

    def encode(self) -> None:
        super().encode()
        train = self.sets[0]
        if train.alike:
            self.note(
                f"             {train.alike:,} of {len(train):,} training questions have answers "
                "with the same tokens,\n             which no model can tell apart: characters "
                "that the tokenizer does not know,\n             or cut texts"
            )

    def results(self, scores: np.ndarray) -> tuple[list[Compared], Any, str]:
        labels = self.sets[2].labels
        e = np.exp(scores - scores.max(1, keepdims=True))  # (N, answers)
        report = ChoiceReport(labels, e / e.sum(1, keepdims=True))
        baseline = np.array([choice_by_overlap(row) for row in self.test]) == labels
        compared = compared_accuracy(
            report.right, baseline, "the answer with the question's letters"
        )
        title = f"accuracy {compared.score}"
        return (
            [compared], plot_choices(report, self.folder / "choices.png", title),
            report.worst_table(self.test, self.o.worst),
        )  # fmt: skip
