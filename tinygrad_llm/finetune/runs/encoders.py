"""What runs of encoders on pairs of texts and on sentences share: their encoder and tokenizer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...models.bert import Bert, BertConfig
from ...models.encoder import Encoder
from ...training.options import OptionError
from ..pairs.rows import Row, texts_of
from ..pairs.tokenizer import make_tokenizer
from ..splits import group_split
from .base import with_dropout
from .finetuning import Finetuning

__all__ = ["EncoderRun", "need_different_labels"]


class EncoderRun(Finetuning):
    """A run that starts from an encoder, or from a BERT with random weights.

    Subclasses name in `unit` what an example is.
    """

    base_kinds = Encoder
    unit = "pair"
    o: Any  # EncoderOptions with those of a command
    train: list[Row]
    val: list[Row]
    test: list[Row]

    def load_base(self) -> None:
        """See Finetuning.

        Raises: OptionError for a quantised base.
        """
        if self.o.quantize is not None:
            raise OptionError("`quantize` is for language models: an encoder has floats")
        super().load_base()
        self.published = False  # the model around the encoder has names of this package only

    def needs_base(self) -> bool:
        return False

    def encodes(self) -> bool:
        return True

    def own_or_sample(self, name: str, *others: str) -> str:
        """`name` if the files that it stands for are here or can be downloaded, else the sample.

        others: the files' names in data/corpora.py
        """
        for file in others:
            if self.published_or_sample(file) != file:
                return "sample"
        return name

    def split(self, rows: Sequence[Row], test: Sequence[Row] | None = None) -> None:
        """Sets train, val and test; texts of the test are in no other part.

        test: the published test rows; without them a part of `rows`
        Raises: OptionError if a part has no rows.
        """
        o = self.o
        share = 0.0 if test is not None else o.test_fraction
        train = 1.0 - o.val_fraction - share
        self.train, self.val, rest = group_split(rows, texts_of, train, o.val_fraction, o.seed)
        if test is not None:
            self.train, rest = [*self.train, *rest], list(test)
        self.test = rest
        for part, name in ((self.train, "training"), (self.val, "validation"), (rest, "test")):
            if not part:
                raise OptionError(
                    f"`data`: the {name} part has no rows: more rows are needed, other fractions, "
                    "or rows that share fewer texts"
                )

    def note_parts(self, details: str) -> None:
        """The line about the data."""
        self.note(
            f"data         {self.o.data}: {details}; {len(self.train):,} for training, "
            f"{len(self.val):,} for validation, {len(self.test):,} for the test"
        )

    def new_encoder(self, texts: Sequence[str]) -> Bert:
        """A BERT with random weights, and the tokenizer learned from these texts.

        Raises: OptionError if the sizes do not fit together.
        """
        o = self.o
        self.tokenizer = make_tokenizer(o.tokenizer, texts, o.vocab_size)
        rate = 0.1 if o.drop_rate is None else o.drop_rate
        config = BertConfig(
            vocab_size=self.tokenizer.vocab_size, context_length=o.context_length,
            emb_dim=o.emb_dim, hidden_dim=4 * o.emb_dim, n_heads=o.n_heads, n_layers=o.n_layers,
            drop_rate=rate, attention_drop_rate=rate,
        )  # fmt: skip
        self.note(
            f"tokenizer    {self.tokenizer.name}, {self.tokenizer.vocab_size:,} tokens\n"
            f"base         none: random weights, {config.summary()}"
        )
        return Bert(config)

    def encoder(self, texts: Sequence[str]) -> Encoder:
        """The base's encoder, with the dropout of the options, or a new one."""
        if self.base is None:
            return self.new_encoder(texts)
        model: Encoder = with_dropout(self.base.model, self.o.drop_rate)
        return model

    def limit(self) -> int:
        """The most tokens of a text or a pair."""
        model: Any = self.model
        longest = self.o.max_length
        return model.context_length if longest is None else min(longest, model.context_length)


def need_different_labels(rows: Sequence[Row]) -> None:
    """Raises: OptionError if all labels are one number, with which nothing correlates."""
    labels = {float(row.label) for row in rows}
    if len(labels) == 1:
        raise OptionError(
            f"`data`: all {len(rows):,} pairs of the test have the label {labels.pop():g}: a "
            "correlation needs labels that differ"
        )
