"""A run that trains a classifier of texts, with a base or from random weights."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from ...evaluation import bootstrap, paired_difference
from ...files.paths import local_path
from ...models import GPTClassifier
from ...text import (
    TRAINED_KINDS,
    GPT2Tokenizer,
    Tokenizer,
    load_tokenizer,
    train_largest,
    train_tokenizer,
)
from ...text.tokenizer import ENCODER_TOKENS, END_OF_TEXT
from ...training.loop import Result, Trainer
from ...training.options import OptionError, blame
from ...training.progress import duration
from ..classification import evaluate_classifier
from ..counts import CountsBaseline
from ..data import TextClassificationDataset, text_ids, text_windows
from ..files import class_names, number_labels, read_labelled
from ..options import ClassifyOptions
from ..packaged_texts import PACKAGED_TEXTS, read_packaged
from ..report import by_length, plot_confusion
from ..sample_texts import SAMPLE, labelled_texts
from ..splits import balanced, random_split, read_sms_spam, sample
from ..trainers import classification_trainer
from .headed import HeadedRun

__all__ = ["Classify"]


class Classify(HeadedRun):
    """The run of finetune classify."""

    name = "classify"
    options = ClassifyOptions
    o: ClassifyOptions
    model: GPTClassifier
    new_layers = ("out_head",)

    def read_data(self) -> None:
        """See Finetuning.

        Raises: OptionError for data that cannot be used.
        """
        o = self.o
        o.data = o.data or self.published_or_sample("sms-spam")
        labelled, held_out, equal = self._rows()
        if o.classes is not None:
            self.names = [name.strip() for name in o.classes.split(",")]
            if len(set(self.names)) < len(self.names) or "" in self.names:
                raise OptionError(
                    f"`classes` {o.classes}: the labels must differ, and none may be empty"
                )
        else:
            self.names = class_names(labelled)
        self.texts = [text for text, _ in labelled]  # also those that balancing leaves out
        numbered = number_labels(labelled, self.names)
        self.same_data([*labelled, *held_out])
        if equal:
            numbered = balanced(numbered, seed=o.seed)
        test_fraction = 0.0 if held_out else o.test_fraction
        self.train, self.val, self.test = random_split(
            numbered, 1.0 - o.val_fraction - test_fraction, o.val_fraction, o.seed
        )
        if held_out:
            self.test = sample(number_labels(held_out, self.names), seed=o.seed)
        if o.most is not None:
            self.train = self.train[: o.most]
            self.val = self.val[: max(1, o.most // 5)]
            self.test = self.test[: o.most] if held_out else self.test
        self.check_parts()
        counts = Counter(label for _, label in numbered)
        classes = ", ".join(f"{counts[i]:,} {name}" for i, name in enumerate(self.names))
        self.note(
            f"data         {o.data}: {classes}{' (balanced)' if equal else ''}; "
            f"{len(self.train):,} for training, {len(self.val):,} for validation, "
            f"{len(self.test):,} for the test"
        )

    def _rows(self) -> tuple[list[tuple[str, str]], list[tuple[str, str]], bool]:
        """(text, label) of the data, and of its test part where it has one; whether to balance."""
        o = self.o
        equal = bool(o.balance)
        if o.data == "sms-spam":
            names = ["ham", "spam"]
            rows = [(text, names[label]) for text, label in read_sms_spam()]
            return rows, [], True if o.balance is None else equal
        if o.data == SAMPLE:
            return labelled_texts(), [], equal
        if o.data in PACKAGED_TEXTS:
            rows, held_out, origin = read_packaged(o.data)
            self.note(f"from         {origin}")
            return rows, held_out, equal
        assert o.data is not None
        return read_labelled(o.data, o.text_column, o.label_column), [], equal

    def check_parts(self) -> None:
        """Raises: OptionError if a part is empty, or no training text has some class."""
        parts = (("training", self.train), ("validation", self.val), ("test", self.test))
        for part, rows in parts:
            counts = Counter(label for _, label in rows)
            missing = [name for i, name in enumerate(self.names) if not counts[i]]
            if missing and (part == "training" or not rows):
                raise OptionError(
                    f"`data`: the {part} part of {len(rows):,} rows has no text of the class "
                    f"{missing[0]}: more rows are needed, or other fractions"
                )

    def make_model(self) -> GPTClassifier:
        o = self.o
        if o.base is not None:
            assert self.base is not None
            return GPTClassifier.from_gpt(
                self.base.model, len(self.names), o.pool, o.causal, self.padding(), o.drop_rate
            )
        model = self.without_base()
        return GPTClassifier(model, len(self.names), o.pool, o.causal, self.padding())

    def make_tokenizer(self) -> Tokenizer:
        """See HeadedRun.

        Raises: OptionError if it is neither a name nor a file.
        """
        o = self.o
        special = ENCODER_TOKENS if self.encodes() else (END_OF_TEXT,)
        if o.tokenizer in TRAINED_KINDS:
            texts = [text for text, _ in self.train]
            with blame("`vocab_size`", ValueError), blame("`tokenizer`", ImportError):
                if o.vocab_size is not None:
                    return train_tokenizer(o.tokenizer, texts, o.vocab_size, special)
                return train_largest(o.tokenizer, texts, 1024, special)
        if o.tokenizer == "gpt2":
            return GPT2Tokenizer()
        if not local_path(o.tokenizer).is_file():
            raise OptionError(
                f"`tokenizer`: {o.tokenizer} is neither bpe, wordpiece, unigram or gpt2 nor a file"
            )
        return load_tokenizer(o.tokenizer)

    def encode(self) -> None:
        context = self.model.context_length
        lengths = [len(_Plain(self.tokenizer).encode(text)) for text, _ in self.train]
        limit = min(context, max(lengths)) if self.o.max_length is None else self.o.max_length
        self.owners: np.ndarray | None = None
        if self.o.long_texts == "windows":
            self._encode_windows(limit)
        else:
            plain = _Plain(self.tokenizer, limit)
            self.sets = [
                TextClassificationDataset(rows, plain, limit, self.padding())
                for rows in (self.train, self.val, self.test)
            ]
        cut = sum(length > limit for length in lengths)
        how = "read in windows" if self.o.long_texts == "windows" else "cut"
        longer = f"; {cut:,} of the training texts are longer and are {how}" if cut else ""
        self.note(f"texts        of at most {limit:,} tokens{longer}")

    def _encode_windows(self, limit: int) -> None:
        """Each window of a text is an example with the text's label."""
        self.sets = []
        for rows in (self.train, self.val, self.test):
            cut = [
                text_windows(self.tokenizer, text, limit, disallowed_special=()) for text, _ in rows
            ]
            self.owners = np.repeat(np.arange(len(rows)), [len(windows) for windows in cut])
            examples: Any = [
                (ids, label)
                for windows, (_, label) in zip(cut, rows, strict=True) for ids in windows
            ]  # fmt: skip
            self.sets.append(TextClassificationDataset(examples, _Ids(), limit, self.padding()))

    def make_trainer(self) -> Trainer:
        keywords: dict[str, Any] = {}
        if self.o.ignore_padding:
            keywords["ignore_index"] = self.padding()
        return classification_trainer(
            self.model, self.sets[0], self.sets[1], self.o, progress=self.progress, **keywords
        )

    def more_config(self) -> dict[str, Any]:
        return {"classes": self.names, "max_length": self.sets[0].max_length,
                "long_texts": self.o.long_texts}  # fmt: skip

    def report(self, result: Result) -> None:
        report = evaluate_classifier(self.model, self.sets[2], self.names, owners=self.owners)
        picture = plot_confusion(report, self.folder / "confusion.png")
        self.note(f"\ntest\n{report}")
        if self.o.worst:
            texts = [text for text, _ in self.test]
            self.note(f"\nhighest losses\n{report.worst_table(texts, self.o.worst)}")
        plain = _Plain(self.tokenizer)
        lengths = [len(plain.encode(text)) for text, _ in self.test]
        length_table = by_length(report, lengths, self.sets[0].max_length)
        if length_table:
            self.note(f"\nby length\n{length_table}")
        interval, right = report.interval, self.baseline()
        chance, difference = bootstrap(right), paired_difference(report.right, right)
        self.write(
            "test.json",
            {
                "accuracy": report.accuracy,
                "interval": [interval.low, interval.high],
                "baseline": [chance.value, chance.low, chance.high],
                "difference": [difference.value, difference.low, difference.high],
                "loss": report.loss,
                "confusion": report.confusion.tolist(),
                "per_class": report.per_class,
            },
        )
        self.note(
            f"\ntest accuracy     {report.accuracy:.2%} after {duration(result.seconds)} of "
            f"training\n"
            f"95 % interval     {interval.low:.2%} to {interval.high:.2%}\n"
            f"baseline          {chance.value:.2%} ({chance.low:.2%} to {chance.high:.2%}): "
            f"logistic regression on the counts of words\n"
            f"model - baseline  {difference.value:+.2%} ({difference.low:+.2%} to "
            f"{difference.high:+.2%})\n"
            f"plots             {result.plot}, {picture}\n"
            f"checkpoint        {result.checkpoint}"
        )

    def baseline(self) -> np.ndarray:
        """Whether the counts of words classify each test text correctly, (N) float64."""
        made = CountsBaseline.fit(self.train, self.val, len(self.names), seed=self.o.seed)
        return made.right(self.test)


class _Plain:
    """A tokenizer that encodes the spelling of a special token as ordinary text.

    limit: tokens of a text at most, see text_ids; None for all
    """

    def __init__(self, tokenizer: Tokenizer, limit: int | None = None) -> None:
        self.tokenizer, self.limit = tokenizer, limit

    def encode(self, text: str) -> list[int]:
        return text_ids(self.tokenizer, text, self.limit, disallowed_special=())


class _Ids:
    """In place of a tokenizer, where texts are ids already."""

    def encode(self, text: Any) -> list[int]:
        return list(text)
