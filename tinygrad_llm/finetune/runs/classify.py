"""A run that trains a classifier of texts, with a base or from random weights."""

from __future__ import annotations

from collections import Counter
from typing import Any

from ...files.paths import local_path
from ...models import GPT, GPTClassifier, GPTConfig
from ...text import BPETokenizer, GPT2Tokenizer, Tokenizer, load_tokenizer
from ...training.loop import Result, Trainer
from ...training.options import OptionError, blame
from ...training.progress import duration
from ..classification import evaluate_classifier
from ..data import TextClassificationDataset
from ..files import class_names, number_labels, read_labelled
from ..options import ClassifyOptions
from ..report import plot_confusion
from ..sample import SAMPLE, labelled_texts
from ..splits import balanced, random_split, read_sms_spam
from ..trainers import classification_trainer
from .base import largest_bpe, padding_of
from .finetuning import Finetuning

__all__ = ["Classify"]


class Classify(Finetuning):
    """The run of finetune classify."""

    name = "classify"
    options = ClassifyOptions
    o: ClassifyOptions
    model: GPTClassifier

    def needs_base(self) -> bool:
        return False

    def read_data(self) -> None:
        """See Finetuning.

        Raises: OptionError for data that cannot be used.
        """
        o = self.o
        o.data = o.data or self.published_or_sample("sms-spam")
        if o.data == "sms-spam":
            names = ["ham", "spam"]
            rows = read_sms_spam()
            labelled = [(text, names[label]) for text, label in rows]
            equal = True if o.balance is None else o.balance
        elif o.data == SAMPLE:
            labelled, equal = labelled_texts(), bool(o.balance)
        else:
            labelled = read_labelled(o.data, o.text_column, o.label_column)
            equal = bool(o.balance)
        if o.classes is not None:
            self.names = [name.strip() for name in o.classes.split(",")]
            if len(set(self.names)) < len(self.names) or "" in self.names:
                raise OptionError(
                    f"`classes` {o.classes}: the labels must differ, and none may be empty"
                )
        else:
            self.names = class_names(labelled)
        numbered = number_labels(labelled, self.names)
        self.same_data(labelled)
        if equal:
            numbered = balanced(numbered, seed=o.seed)
        self.train, self.val, self.test = random_split(
            numbered, 1.0 - o.val_fraction - o.test_fraction, o.val_fraction, o.seed
        )
        self.check_parts()
        counts = Counter(label for _, label in numbered)
        classes = ", ".join(f"{counts[i]:,} {name}" for i, name in enumerate(self.names))
        self.note(
            f"data         {o.data}: {classes}{' (balanced)' if equal else ''}; "
            f"{len(self.train):,} for training, {len(self.val):,} for validation, "
            f"{len(self.test):,} for the test"
        )

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
            pad = padding_of(self.tokenizer)
            return GPTClassifier.from_gpt(
                self.base.model, len(self.names), o.pool, o.causal, pad, o.drop_rate
            )
        self.tokenizer = self.make_tokenizer()
        config = GPTConfig(
            vocab_size=self.tokenizer.vocab_size, context_length=o.context_length,
            emb_dim=o.emb_dim, n_heads=o.n_heads, n_layers=o.n_layers,
            drop_rate=0.2 if o.drop_rate is None else o.drop_rate,
        )  # fmt: skip
        self.note(
            f"tokenizer    {self.tokenizer.name}, {self.tokenizer.vocab_size:,} tokens\n"
            f"base         none: random weights, {o.n_layers} layers, {o.n_heads} heads, "
            f"{o.emb_dim} channels"
        )
        pad = padding_of(self.tokenizer)
        return GPTClassifier(GPT(config), len(self.names), o.pool, o.causal, pad)

    def make_tokenizer(self) -> Tokenizer:
        """The tokenizer of the options, for a classifier without a base.

        Raises: OptionError if it is neither a name nor a file.
        """
        o = self.o
        if o.tokenizer == "bpe":
            texts = [text for text, _ in self.train]
            if o.vocab_size is None:
                return largest_bpe(texts, 1024)
            with blame("`vocab_size`", ValueError):
                return BPETokenizer.train(texts, o.vocab_size)
        if o.tokenizer == "gpt2":
            return GPT2Tokenizer()
        if not local_path(o.tokenizer).is_file():
            raise OptionError(f"`tokenizer`: {o.tokenizer} is neither bpe or gpt2 nor a file")
        return load_tokenizer(o.tokenizer)

    def encode(self) -> None:
        context, pad = self.model.context_length, padding_of(self.tokenizer)
        plain = _Plain(self.tokenizer)
        longest = max(len(plain.encode(text)) for text, _ in self.train)
        limit = min(context, longest) if self.o.max_length is None else self.o.max_length
        self.sets = [
            TextClassificationDataset(rows, plain, limit, pad)
            for rows in (self.train, self.val, self.test)
        ]
        cut = sum(len(plain.encode(text)) > limit for text, _ in self.train)
        longer = f"; {cut:,} of the training texts are longer and are cut" if cut else ""
        self.note(f"texts        of at most {limit:,} tokens{longer}")

    def make_trainer(self) -> Trainer:
        return classification_trainer(
            self.model, self.sets[0], self.sets[1], self.o, progress=self.progress
        )

    def more_config(self) -> dict[str, Any]:
        return {"classes": self.names, "max_length": self.sets[0].max_length}

    def report(self, result: Result) -> None:
        test = self.sets[2]
        report = evaluate_classifier(self.model, test, self.names)
        picture = plot_confusion(report, self.folder / "confusion.png")
        self.write(
            "test.json",
            {
                "accuracy": report.accuracy,
                "loss": report.loss,
                "confusion": report.confusion.tolist(),
                "per_class": report.per_class,
            },
        )
        self.note(f"\ntest\n{report}")
        if self.o.worst:
            texts = [text for text, _ in self.test]
            self.note(f"\nhighest losses\n{report.worst_table(texts, self.o.worst)}")
        self.note(
            f"\ntest accuracy     {report.accuracy:.2%} after {duration(result.seconds)} of "
            f"training\n"
            f"plots             {result.plot}, {picture}\n"
            f"checkpoint        {result.checkpoint}"
        )


class _Plain:
    """A tokenizer that encodes the spelling of a special token as ordinary text."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer

    def encode(self, text: str) -> list[int]:
        return self.tokenizer.encode(text, disallowed_special=())
