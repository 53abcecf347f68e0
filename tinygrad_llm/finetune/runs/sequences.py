"""What runs of encoder-decoders on pairs of texts share: data sets, trainer, samples, writing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...models.encoder_decoder import EncoderDecoder
from ...text import Tokenizer
from ...training.loop import Trainer
from ...training.options import OptionError
from ...training.runs import counting
from ..sequences.data import PairDataset
from ..sequences.options import SequenceOptions
from ..sequences.trainer import sequence_trainer
from ..sequences.writing import write
from .base import padding_of, source_tokenizer
from .finetuning import Finetuning

__all__ = ["Sequences"]

Rows = Sequence[tuple[str, str]]  # (source, target) texts
SHOWN = 3  # sources whose texts are shown while it trains


class Sequences(Finetuning):
    """A run on pairs of texts: subclasses write read_data, make_model and report.

    read_data calls take_parts with rows of (source, target) texts, then note_parts.
    make_model returns an EncoderDecoder; without a base it also sets `tokenizer`, of the targets,
    and `source_tokenizer`, which may be the same object. config.start_token_id of the model begins
    a target, the end-of-text token of each tokenizer ends its texts.
    """

    base_kinds = EncoderDecoder
    o: Any  # SequenceOptions with those of a command
    model: EncoderDecoder
    source_tokenizer: Tokenizer
    train: Rows
    val: Rows
    test: Rows

    def needs_base(self) -> bool:
        return False

    def take_parts(self, parts: Sequence[Rows]) -> None:
        """Sets train, val and test.

        Raises: OptionError if one is empty.
        """
        self.train, self.val, self.test = parts
        for name, rows in zip(("training", "validation", "test"), parts, strict=True):
            if not rows:
                raise OptionError(f"`data`: {self.o.data} leaves no pairs for {name}")

    def note_parts(self, data: str) -> None:
        """Stores the data's fingerprint; the line about the data."""
        self.same_data([*self.train, *self.val, *self.test])
        self.note(
            f"data         {data}: {len(self.train):,} pairs for training, {len(self.val):,} for "
            f"validation, {len(self.test):,} for the test"
        )

    def load_base(self) -> None:
        super().load_base()
        own = None
        if self.resumed is not None:
            own = source_tokenizer(self.resumed)
        elif self.base is not None:
            own = self.base.source_tokenizer
        if self.resumed is not None or self.base is not None:
            self.source_tokenizer = own or self.tokenizer

    def more_tokenizers(self) -> Mapping[str, Tokenizer]:
        if self.source_tokenizer is self.tokenizer:
            return {}
        return {"source_tokenizer": self.source_tokenizer}

    @property
    def ends(self) -> tuple[int, int]:
        """The ids that end a source and a target."""
        return padding_of(self.source_tokenizer), padding_of(self.tokenizer)

    def dataset(self, rows: Rows) -> PairDataset:
        """The rows as ids, cut to what the model and the options allow."""
        o, context = self.o, self.model.context_length
        source, target = o.max_source or context, o.max_target or context
        both = self.source_tokenizer, self.tokenizer
        return PairDataset(rows, *both, self.ends, min(source, context), min(target, context))

    def encode(self) -> None:
        self.sets = [self.dataset(rows) for rows in (self.train, self.val, self.test)]
        longest = self.sets[0].lengths.max(0).tolist()  # (N, 2) -> (2)
        cut = self.sets[0].cut
        longer = f"; {cut:,} of the training pairs are longer and are cut" if cut else ""
        self.note(
            f"texts        of at most {longest[0]:,} tokens, targets of {longest[1]:,}{longer}; "
            f"what is written ends at {self.most_written():,}"
        )

    def most_written(self) -> int:
        """The most tokens of a text that is written, its end included.

        Twice the longest target, and never more than the context: a model that has not learned to
        end would write on until there.
        """
        longest = 2 * int(self.sets[0].lengths[:, 1].max())  # (N, 2) -> (N)
        return min(longest, self.o.max_target or longest, self.model.context_length)

    def make_trainer(self) -> Trainer:
        options: SequenceOptions = self.o
        return sequence_trainer(
            self.model, self.sets[0], self.sets[1], options, sample=self.sample,
            progress=self.progress,
        )  # fmt: skip

    def write_texts(
        self, sources: Sequence[Sequence[int]], note: str | None = None, **options: Any
    ) -> list[list[int]]:
        """The ids that the model writes for sources; see sequences.write for the options.

        note: of the lines that say how many are done, such as "translating   {done} of {of}"
        """
        progress = None if note is None else counting(self.note, note)
        return write(
            self.model, sources, self.most_written() - 1, end=self.ends[1], progress=progress,
            **options,
        )  # fmt: skip

    def texts_of(self, written: Sequence[Sequence[int]]) -> list[str]:
        """Ids of targets as texts."""
        return [self.tokenizer.decode(list(ids)) for ids in written]

    def sample(self, model: Any) -> str:
        """What the model writes for the first validation sources."""
        n = min(SHOWN, len(self.val))
        texts = self.texts_of(self.write_texts(self.sets[1].sources[:n]))
        rows = zip(self.val[:n], texts, strict=True)
        return "\n".join(f"{source}\n  = {target}\n -> {text}" for (source, target), text in rows)
