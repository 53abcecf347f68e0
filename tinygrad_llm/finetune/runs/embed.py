"""A run that trains vectors of sentences by the contrastive loss, with and without labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...evaluation import Interval, bootstrap, paired_difference, pearson, spearman
from ...files.json_files import finite
from ...files.paths import local_path
from ...models.base import undisturbed
from ...models.sentence import SentenceEncoder
from ...training.loop import Result, Trainer
from ...training.options import OptionError
from ...training.progress import duration
from ..embedding.data import EmbeddingDataset, hard_negatives, read_texts
from ..embedding.options import EmbedOptions
from ..embedding.report import plot_before_after, scaled
from ..embedding.search_test import SearchTest, compared_searches
from ..embedding.trainer import embedding_trainer
from ..embedding.vectors import embed_texts
from ..pairs.baselines import ngram_overlap
from ..pairs.report import Compared, RegressionReport
from ..pairs.rows import Row
from ..sample_texts import SAMPLE
from ..splits import group_split
from .encoders import EncoderRun, need_different_labels
from .pairs import read_similarities

__all__ = ["Embed"]

Texts = tuple[str, ...]


class Embed(EncoderRun):
    """The run of finetune embed."""

    name = "embed"
    options = EmbedOptions
    o: EmbedOptions
    unit = "text"
    model: SentenceEncoder
    search: SearchTest | None = None  # the test of questions and passages

    def read_data(self) -> None:
        """See Finetuning.

        Raises: OptionError for data that cannot be used.
        """
        o = self.o
        o.data = o.data or self.own_or_sample("jsts", "jsts-train", "jsts-valid")
        named = o.data in ("jsts", SAMPLE)
        if not named and o.sts is None:
            if o.loss == "supervised":
                self.read_passages()
                return
            raise OptionError(
                "`sts`: name pairs with labels, which say how good the vectors are: jsts, sample, "
                "or a file with sentence1, sentence2 and label"
            )
        rows, test = read_similarities(o.data if o.sts is None else o.sts)
        if named and o.sts is None:
            self.split(rows, test)
            texts = self.from_similarities(self.train)
            validation = self.from_similarities(self.val)
        else:
            texts = self.read_rows(named)
            self.train = []
            share = o.val_fraction / (o.val_fraction + o.test_fraction)
            scored = rows if test is None else [*rows, *test]
            cut = max(1, int(len(scored) * share))
            self.val, self.test = scored[:cut], scored[cut:]
            validation = texts[-max(2, int(len(texts) * o.val_fraction)) :]
            texts = texts[: -len(validation)]
        seen = {t for row in (*self.val, *self.test) for t in (row.first, *row.seconds)}
        self.texts = [row for row in texts if not seen & set(row)]
        self.validation = validation
        if len(self.texts) < 2 or not self.validation or not self.test:
            raise OptionError(
                f"`data`: {len(self.texts):,} texts for training, {len(self.validation):,} for "
                f"validation and {len(self.test):,} pairs for the test are too few"
            )
        need_different_labels(self.test)
        self.add_negatives()
        self.same_data([list(row) for row in self.texts])
        what = "texts" if len(self.texts[0]) == 1 else "pairs of texts"
        left_out = len(texts) - len(self.texts)
        self.note(
            f"data         {o.data}: {len(self.texts):,} {what} for training, "
            f"{len(self.val):,} and {len(self.test):,} scored pairs for validation and test"
            + (
                f"\n             ({left_out:,} {what} left out: they are in those)"
                if left_out
                else ""
            )
        )

    def read_passages(self) -> None:
        """Pairs of a question and its passage, which are tested by a search.

        Raises: OptionError if a part has no rows.
        """
        o = self.o
        rows = self.read_rows(named=False)
        share = 1.0 - o.val_fraction - o.test_fraction
        parts = group_split(rows, lambda row: row[:1], share, o.val_fraction, o.seed)
        self.texts, self.validation, test = parts
        if len(self.texts) < 2 or not self.validation or not test:
            raise OptionError(
                f"`data`: {len(self.texts):,} questions for training, {len(self.validation):,} for "
                f"validation and {len(test):,} for the test are too few"
            )
        self.train, self.val, self.test = [], [], []
        self.search = SearchTest.of(test, [text for row in rows for text in row[1:]])
        self.in_training = SearchTest.of(self.validation)
        self.add_negatives()
        self.same_data([list(row) for row in rows])
        self.note(
            f"data         {o.data}: {len(self.texts):,} questions with a passage for training, "
            f"{len(self.validation):,} for validation\n             test: "
            f"{len(self.search.questions):,} questions, {len(self.search.passages):,} passages"
        )

    def from_similarities(self, rows: Sequence[Row]) -> list[Texts]:
        """Of scored pairs: every text once, or the pairs whose texts mean the same."""
        if self.o.loss == "unsupervised":
            return [(t,) for t in dict.fromkeys(t for r in rows for t in (r.first, *r.seconds))]
        return [(r.first, r.seconds[0]) for r in rows if float(r.label) >= self.o.positive]

    def read_rows(self, named: bool) -> list[Texts]:
        """The texts of a data set that comes without scores."""
        o = self.o
        assert o.data is not None
        if named:
            return self.from_similarities(read_similarities(o.data)[0])
        if o.loss == "unsupervised":
            rows = read_texts(o.data, [("text_column", o.text_column)])
            return list(dict.fromkeys(rows))
        columns = [("first_column", o.first_column), ("second_column", o.second_column)]
        if o.negative_column is not None:
            columns.append(("negative_column", o.negative_column))
        return read_texts(o.data, columns)

    def add_negatives(self) -> None:
        """Gives each pair a hard negative, if the options ask for it and the file has none."""
        if not self.o.hard or len(self.texts[0]) != 2:
            return
        pairs = [(row[0], row[1]) for row in self.texts]
        others = [t for row in self.texts for t in row]
        others += [t for row in self.train for t in (row.first, *row.seconds)]
        seen = {t for row in (*self.val, *self.test) for t in (row.first, *row.seconds)}
        others = [t for t in others if t not in seen]
        negatives = hard_negatives(pairs, others)
        self.texts = [(*pair, n) for pair, n in zip(pairs, negatives, strict=True)]

    def make_model(self) -> SentenceEncoder:
        """See Finetuning.

        Raises: OptionError without labels and without dropout.
        """
        encoder = self.encoder([t for row in self.texts for t in row])
        config: Any = encoder.config
        if self.o.loss == "unsupervised" and not config.drop_rate:
            raise OptionError(
                "`drop_rate`: the base has no dropout, so that a text's two vectors would be the "
                "same: add --drop-rate 0.1"
            )
        return SentenceEncoder(encoder, self.o.pool).train()

    def encode(self) -> None:
        limit = self.limit()
        self.sets = [
            EmbeddingDataset(rows, self.tokenizer, limit) for rows in (self.texts, self.validation)
        ]
        self.note(f"texts        of at most {limit:,} tokens, {self.o.loss}")

    def make_trainer(self) -> Trainer:
        return embedding_trainer(
            self.model, self.sets[0], self.sets[1], self.o, pad_token_id=self.padding(),
            report=self.correlation, progress=self.progress,
        )  # fmt: skip

    def correlation(self, model: Any) -> dict[str, float]:
        """The correlation of cosines with the labels of the validation pairs.

        Of questions and passages the mean reciprocal rank, among the validation's own passages.
        """
        if self.search is not None:
            return {"val_mrr": float(self.in_training.measures(self.embedded)["MRR"].mean())}
        labels = [float(row.label) for row in self.val]
        return {"val_spearman": spearman(self.cosines(self.val), labels)}

    def cosines(self, rows: Sequence[Row]) -> np.ndarray:
        """The cosine of every pair, (N) float64."""
        texts = list(dict.fromkeys(t for row in rows for t in (row.first, *row.seconds)))
        number = {text: i for i, text in enumerate(texts)}
        vectors = self.embedded(texts)
        a = vectors[[number[row.first] for row in rows]]  # (N, C)
        b = vectors[[number[row.seconds[0]] for row in rows]]  # (N, C)
        return (a * b).sum(1)

    def embedded(self, texts: list[str]) -> np.ndarray:
        """The vectors of texts, (N, C) float64 of length 1."""
        return embed_texts(self.model, self.tokenizer, texts, self.limit()).astype(np.float64)

    def more_config(self) -> dict[str, Any]:
        """Also the test's scores before training, of which a resumed run keeps the numbers."""
        if self.resumed is not None:
            before = self.resumed.config.get("before")
            self.before: Any = None
        elif self.search is not None:
            with undisturbed(self.model):
                self.before = self.search.measures(self.embedded)
            before = {name: float(scores.mean()) for name, scores in self.before.items()}
        else:
            labels = [float(row.label) for row in self.test]
            with undisturbed(self.model):
                self.before = self.cosines(self.test)
            before = {"pearson": pearson(self.before, labels),
                      "spearman": spearman(self.before, labels)}  # fmt: skip
        return {"max_length": self.limit(), "before": finite(before)}

    def report(self, result: Result) -> None:
        if self.search is not None:
            self.report_search(self.search, result)
            return
        labels = np.array([float(row.label) for row in self.test])
        after = self.cosines(self.test)
        overlap = [ngram_overlap(row.first, row.seconds[0]) for row in self.test]
        lines, stored = [], {}
        for name, function in (("pearson", pearson), ("spearman", spearman)):
            scores = {"before": self.before, "after": after, "baseline": np.array(overlap)}
            compared, intervals = _correlated(name, function, scores, labels)
            lines.append(compared)
            stored[name] = intervals
        self.write("test.json", {**stored, "rows": len(self.test), "seconds": result.seconds})
        self.note(f"\ntest of {len(self.test):,} scored pairs\n" + "\n".join(lines))
        report = RegressionReport(labels, scaled(after, labels))
        if self.o.worst:
            self.note(
                "\nlargest errors (cosines on the labels' scale)\n"
                f"{report.worst_table(self.test, self.o.worst)}"
            )
        picture = plot_before_after(
            self.before, after, labels, local_path(self.folder / "cosines.png")
        )
        self.note(
            f"\ntraining          {duration(result.seconds)}\n"
            f"plots             {result.plot}, {picture}\n"
            f"checkpoint        {result.checkpoint}"
        )

    def report_search(self, search: SearchTest, result: Result) -> None:
        """The report of questions and passages."""
        lines, stored = compared_searches(
            self.before, search.measures(self.embedded), search.baseline()
        )
        self.write(
            "test.json", {**stored, "rows": len(search.questions), "seconds": result.seconds}
        )
        self.note(
            f"\ntest of {len(search.questions):,} questions, among {len(search.passages):,} "
            f"passages\n{lines}\n\ntraining          {duration(result.seconds)}\n"
            f"plot              {result.plot}\ncheckpoint        {result.checkpoint}"
        )


def _correlated(
    name: str, function: Any, scores: dict[str, np.ndarray | None], labels: np.ndarray
) -> tuple[str, dict[str, list[float]]]:
    """The lines of one correlation: before, after, of the baseline; and the numbers to store."""

    def statistic(rows: np.ndarray) -> float:
        return float(function(rows[:, 0], rows[:, 1]))

    rows = {k: np.stack([v, labels], 1) for k, v in scores.items() if v is not None}
    intervals: dict[str, Interval] = {k: bootstrap(v, statistic) for k, v in rows.items()}
    difference = paired_difference(rows["after"], rows["baseline"], statistic)
    compared = Compared(
        name, intervals["after"], intervals["baseline"], difference, "shared pairs of characters"
    )
    lines = compared.lines()
    if "before" in rows:
        gain = paired_difference(rows["after"], rows["before"], statistic)
        lines += f"\nbefore training    {intervals['before']}   difference {gain}"
        intervals["gain"] = gain
    intervals["difference"] = difference
    return lines, {k: [i.value, i.low, i.high] for k, i in intervals.items()}
