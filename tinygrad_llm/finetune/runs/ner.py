"""A run that trains a tagger of named entities, from random weights or with a base."""

from __future__ import annotations

from collections import Counter
from typing import Any

from ...data import corpora
from ...evaluation import paired_difference, plot_entities
from ...evaluation.entities import EntityReport, entity_report, micro_f1
from ...files.paths import local_path
from ...models.tagger import Tagger
from ...text import BPETokenizer, Tokenizer, load_tokenizer, train_largest
from ...text.tokenizer import ENCODER_TOKENS, END_OF_TEXT
from ...training.loop import Result, Trainer
from ...training.options import OptionError, blame
from ...training.progress import duration
from ..sample_texts import SAMPLE
from ..splits import random_split
from ..tagging.baseline import EntityDictionary
from ..tagging.files import read_annotated
from ..tagging.options import NerOptions
from ..tagging.sample import annotated_texts
from ..tagging.tagger import TaggingDataset, evaluate_tagger, tagging_trainer
from ..tagging.tokens import UNKNOWN, characters
from .headed import HeadedRun

__all__ = ["Ner"]

PUBLISHED = "ner-wikipedia-ja"


class Ner(HeadedRun):
    """The run of finetune ner."""

    name = "ner"
    options = NerOptions
    o: NerOptions
    model: Tagger
    new_layers = ("out_head", "crf")

    def read_data(self) -> None:
        """See Finetuning.

        Raises: OptionError for data that cannot be used.
        """
        o = self.o
        o.data = o.data or self.published_or_sample(PUBLISHED)
        if o.data == SAMPLE:
            rows = annotated_texts()
        else:
            rows = read_annotated(corpora.path(o.data) if o.data in corpora.NAMED else o.data)
        self.same_data(rows)
        if o.data == SAMPLE:  # its last texts have new names
            n = int(len(rows) * (1.0 - o.val_fraction - o.test_fraction))
            m = n + int(len(rows) * o.val_fraction)
            self.train, self.val, self.test = rows[:n], rows[n:m], rows[m:]
        else:
            self.train, self.val, self.test = random_split(
                rows, 1.0 - o.val_fraction - o.test_fraction, o.val_fraction, o.seed
            )
        self.check_parts()
        counts = Counter(e.type for row in rows for e in row.entities)
        kinds = ", ".join(f"{n:,} {name}" for name, n in counts.most_common())
        self.note(
            f"data         {o.data}: {len(rows):,} texts; {len(self.train):,} for training, "
            f"{len(self.val):,} for validation, {len(self.test):,} for the test\n"
            f"entities     {counts.total():,}: {kinds}"
        )

    def check_parts(self) -> None:
        """The types of the training's entities, for the tags.

        Raises: OptionError if a part is empty, or has a type that the training texts lack.
        """
        self.types = sorted({e.type for row in self.train for e in row.entities})
        if not self.types:
            raise OptionError("`data`: the training texts have no entities")
        parts = (("training", self.train), ("validation", self.val), ("test", self.test))
        for part, rows in parts:
            if not rows:
                raise OptionError(f"`data`: nothing is left for the {part} part: give more texts")
            others = {e.type for row in rows for e in row.entities} - set(self.types)
            if others:
                raise OptionError(
                    f"`data`: the {part} part has the type {sorted(others)[0]!r}, and no training "
                    "text has it: more texts of it are needed, or another `seed`"
                )

    def make_model(self) -> Tagger:
        o = self.o
        if o.base is not None:
            assert self.base is not None
            return Tagger.from_base(self.base.model, self.types, o.crf, self.padding(), o.drop_rate)
        model = self.without_base(f"{o.model}, ")
        return Tagger(model, self.types, o.crf, self.padding(), self.drop_rate)

    def make_tokenizer(self) -> Tokenizer:
        """See HeadedRun.

        Raises: OptionError if it is neither a name nor a file.
        """
        o = self.o
        special = ENCODER_TOKENS if self.encodes() else (END_OF_TEXT, UNKNOWN)
        texts = [row.text for row in self.train]
        if o.tokenizer == "char":
            return characters(texts, special)
        if o.tokenizer == "bpe":
            if o.vocab_size is None:
                return train_largest("bpe", texts, 1024, special)
            with blame("`vocab_size`", ValueError):
                return BPETokenizer.train(texts, o.vocab_size, special)
        if not local_path(o.tokenizer).is_file():
            raise OptionError(f"`tokenizer`: {o.tokenizer} is neither char or bpe nor a file")
        return load_tokenizer(o.tokenizer)

    def encode(self) -> None:
        limit = self.model.context_length
        self.sets = [
            TaggingDataset(rows, self.tokenizer, self.model.labels, limit)
            for rows in (self.train, self.val, self.test)
        ]
        train = self.sets[0]
        cut = f"; {train.cut:,} of the training texts are longer and are cut" if train.cut else ""
        self.note(f"texts        of at most {max(train.lengths):,} tokens{cut}")
        for part, data in zip(("training", "validation", "test"), self.sets, strict=True):
            if data.inexact:
                i, e = data.inexact[0]
                self.note(
                    f"             {len(data.inexact):,} entities of the {part} part do not end "
                    f"where a token does, such as {data.rows[i].text[e.start : e.end]!r} ({e.type})"
                )

    def make_trainer(self) -> Trainer:
        return tagging_trainer(
            self.model, self.sets[0], self.sets[1], self.o, tokenizer=self.tokenizer,
            progress=self.progress,
        )  # fmt: skip

    def more_config(self) -> dict[str, Any]:
        return {"types": self.types}

    def report(self, result: Result) -> None:
        texts = [row.text for row in self.test]
        report = evaluate_tagger(self.model, self.tokenizer, self.test, self.o.constrained)
        known = EntityDictionary(self.train)
        true = [list(row.entities) for row in self.test]
        baseline = entity_report(true, [known.tag(text) for text in texts])
        difference = paired_difference(report.rows, baseline.rows, micro_f1)
        picture = plot_entities(report, self.folder / "entities.png", baseline)
        self.write("test.json", {"model": _numbers(report), "baseline": _numbers(baseline),
                                 "difference": [difference.value, difference.low,
                                                difference.high]})  # fmt: skip
        self.note(f"\ntest\n{report}")
        if self.o.worst:
            self.note(f"\nmost mistakes\n{report.worst_table(texts, self.o.worst)}")
        self.note(
            f"\ntest F1           {report.interval} after {duration(result.seconds)} of training\n"
            f"baseline          {baseline.interval}, names of the training texts, longest first\n"
            f"difference        {difference}, on the same {len(texts):,} texts\n"
            f"plots             {result.plot}, {picture}\n"
            f"checkpoint        {result.checkpoint}"
        )


def _numbers(report: EntityReport) -> dict[str, Any]:
    """A report for a file of JSON."""
    interval = report.interval
    return {
        "f1": report.f1, "interval": [interval.low, interval.high],
        "micro": report.micro._asdict(), "macro": report.macro._asdict(),
        "per_type": {name: score._asdict() for name, score in report.per_type.items()},
        "errors": report.errors, "types": report.types, "confusion": report.confusion.tolist(),
    }  # fmt: skip
