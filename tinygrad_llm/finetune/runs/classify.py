"""A run that trains a classifier of texts, with a base or from random weights."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from ...files.paths import local_path
from ...models import GPT, GPTClassifier, GPTConfig, LanguageModel, registry
from ...models.encoder import Encoder
from ...text import BPETokenizer, GPT2Tokenizer, Tokenizer, load_tokenizer
from ...text.tokenizer import ENCODER_TOKENS, END_OF_TEXT
from ...training.loop import Result, Trainer
from ...training.options import OptionError, blame, did_you_mean
from ...training.progress import duration
from ..classification import evaluate_classifier
from ..data import TextClassificationDataset, text_ids
from ..files import class_names, number_labels, read_labelled
from ..options import ClassifyOptions
from ..report import plot_confusion
from ..sample import SAMPLE, labelled_texts
from ..splits import balanced, random_split, read_sms_spam
from ..trainers import classification_trainer
from .finetuning import Finetuning

__all__ = ["Classify"]


class Classify(Finetuning):
    """The run of finetune classify."""

    name = "classify"
    options = ClassifyOptions
    o: ClassifyOptions
    model: GPTClassifier
    new_layers = ("out_head",)
    base_kinds = (LanguageModel, Encoder)

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

    def encodes(self) -> bool:
        if self.resumed is not None:
            return isinstance(self.model.model, Encoder)
        return super().encodes() if self.o.base is not None else self.o.model in registry.masked()

    def make_model(self) -> GPTClassifier:
        o = self.o
        if o.base is not None:
            assert self.base is not None
            return GPTClassifier.from_gpt(
                self.base.model, len(self.names), o.pool, o.causal, self.padding(), o.drop_rate
            )
        self.tokenizer = self.make_tokenizer()
        sizes = {
            "vocab_size": self.tokenizer.vocab_size, "context_length": o.context_length,
            "emb_dim": o.emb_dim, "n_heads": o.n_heads, "n_layers": o.n_layers,
        }  # fmt: skip
        rate = 0.2 if o.drop_rate is None else o.drop_rate
        self.note(
            f"tokenizer    {self.tokenizer.name}, {self.tokenizer.vocab_size:,} tokens\n"
            f"base         none: random weights, {o.n_layers} layers, {o.n_heads} heads, "
            f"{o.emb_dim} channels"
        )
        model = new_model(o.model, sizes, rate)
        return GPTClassifier(model, len(self.names), o.pool, o.causal, self.padding())

    def make_tokenizer(self) -> Tokenizer:
        """The tokenizer of the options, for a classifier without a base.

        Raises: OptionError if it is neither a name nor a file.
        """
        o = self.o
        special = ENCODER_TOKENS if self.encodes() else (END_OF_TEXT,)
        if o.tokenizer == "bpe":
            texts = [text for text, _ in self.train]
            if o.vocab_size is None:
                return largest_tokenizer(texts, special)
            with blame("`vocab_size`", ValueError):
                return BPETokenizer.train(texts, o.vocab_size, special)
        if o.tokenizer == "gpt2":
            return GPT2Tokenizer()
        if not local_path(o.tokenizer).is_file():
            raise OptionError(f"`tokenizer`: {o.tokenizer} is neither bpe or gpt2 nor a file")
        return load_tokenizer(o.tokenizer)

    def encode(self) -> None:
        context, pad = self.model.context_length, self.padding()
        lengths = [len(_Plain(self.tokenizer).encode(text)) for text, _ in self.train]
        limit = min(context, max(lengths)) if self.o.max_length is None else self.o.max_length
        plain = _Plain(self.tokenizer, limit)
        self.sets = [
            TextClassificationDataset(rows, plain, limit, pad)
            for rows in (self.train, self.val, self.test)
        ]
        cut = sum(length > limit for length in lengths)
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


def new_model(name: str, sizes: dict[str, Any], drop_rate: float) -> Any:
    """A model with random weights: of "gpt", "bert" or another name of pretrain's --model.

    sizes: vocab_size, context_length, emb_dim, n_heads and n_layers
    Raises: OptionError if there is no such model, or it cannot have such a shape.
    """
    known = {**registry.trainable(), **registry.masked()}
    if name not in known:
        raise OptionError(
            f"`model`: there is no model {name}{did_you_mean(name, known)}; there are "
            f"{', '.join(known)}"
        )
    with blame("`model`", ValueError):
        if name == "gpt":
            return GPT(GPTConfig(**sizes, drop_rate=drop_rate))
        config: Any = known[name].presets["tiny"]
        # texts are padded at the right, so RoBERTa's positions need not skip padding
        own = {"pad_token_id": None} if name == "roberta" else {}
        config = config.resized(**sizes, **own, **config.dropout(drop_rate))
        return registry.build_from(config)


def largest_tokenizer(texts: list[str], special: Sequence[str]) -> BPETokenizer:
    """A tokenizer of 1,024 tokens; of fewer, by halving the merges, if the texts are too short.

    Raises: ValueError if there is no text at all.
    """
    fixed = 256 + len(special)  # bytes and special tokens
    merges = 1024 - fixed
    while True:
        try:
            return BPETokenizer.train(texts, fixed + merges, special)
        except ValueError:
            if not merges:
                raise
            merges //= 2


class _Plain:
    """A tokenizer that encodes the spelling of a special token as ordinary text.

    limit: tokens of a text at most, see text_ids; None for all
    """

    def __init__(self, tokenizer: Tokenizer, limit: int | None = None) -> None:
        self.tokenizer, self.limit = tokenizer, limit

    def encode(self, text: str) -> list[int]:
        return text_ids(self.tokenizer, text, self.limit, disallowed_special=())
