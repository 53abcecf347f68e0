"""The options of the commands on pairs of texts: finetune nli, sts, choice and rerank."""

from __future__ import annotations

import dataclasses

from ...training.devices import MachineOptions
from ...training.options import (
    AT_LEAST_1,
    FRACTION,
    NOT_NEGATIVE,
    OptimizerOptions,
    OptionError,
    Options,
    TrainingOptions,
    again,
    option,
)
from ..options import AdaptationOptions, InstructionOptions, TuningOptions, check_fractions

__all__ = [
    "ChoiceOptions",
    "EncoderOptions",
    "NLIOptions",
    "PairTuningOptions",
    "RerankOptions",
    "STSOptions",
]


@dataclasses.dataclass
class PairTuningOptions(TuningOptions):
    """The options of pair_trainer and embedding_trainer."""

    sample_every: int | None = again(TrainingOptions, "sample_every", None, shown=False)
    batch_size: int = again(OptimizerOptions, "batch_size", 32)
    gradient_checkpointing: bool = option(
        False, "Less memory, more time, the same numbers.", None, "machine", may_change=True
    )


@dataclasses.dataclass
class EncoderOptions(Options):
    """The encoder without a base, what a text may have, and what is kept for the test."""

    tokenizer: str = option("char", "Without a base: char, bpe, or a file.", None, "model")
    vocab_size: int | None = option(
        None, "Without a base: the vocabulary's size [4096].", AT_LEAST_1, "model",
        about_default="4096, or fewer if the texts are short",
    )  # fmt: skip
    context_length: int = option(
        128, "Without a base: tokens that the model sees.", AT_LEAST_1, "model"
    )
    emb_dim: int = option(128, "Without a base: channels.", AT_LEAST_1, "model")
    n_heads: int = option(4, "Without a base: attention heads.", AT_LEAST_1, "model")
    n_layers: int = option(2, "Without a base: transformer blocks.", AT_LEAST_1, "model")
    max_length: int | None = again(InstructionOptions, "max_length", None)
    val_fraction: float = option(0.1, "Data kept for validation.", FRACTION, "data")
    test_fraction: float = option(
        0.2, "Data kept for the test, where it has no file.", FRACTION, "data"
    )
    worst: int = option(
        5, "Examples with the largest errors to show.", NOT_NEGATIVE, "report", may_change=True
    )

    def check(self) -> None:
        """Also: something must be left to train on.

        Raises: OptionError for the first value that is not allowed.
        """
        super().check()
        check_fractions(self.val_fraction, self.test_fraction)


@dataclasses.dataclass
class _TwoTexts(EncoderOptions):
    """The columns of a file of pairs."""

    first_column: str = option("sentence1", "The first texts' column.", None, "data")
    second_column: str = option("sentence2", "The second texts' column.", None, "data")
    label_column: str = option("label", "The labels' column.", None, "data")


@dataclasses.dataclass
class NLIOptions(_TwoTexts, AdaptationOptions, MachineOptions, PairTuningOptions):
    """The options of finetune nli."""

    classes: str | None = option(None, "The labels in order, such as yes,no.", None, "data")


@dataclasses.dataclass
class STSOptions(_TwoTexts, AdaptationOptions, MachineOptions, PairTuningOptions):
    """The options of finetune sts."""


@dataclasses.dataclass
class ChoiceOptions(EncoderOptions, AdaptationOptions, MachineOptions, PairTuningOptions):
    """The options of finetune choice."""

    batch_size: int = again(OptimizerOptions, "batch_size", 16)
    question_column: str = option("question", "The questions' column.", None, "data")
    answer_columns: str = option(
        "choice0,choice1,choice2,choice3,choice4", "The answers' columns.", None, "data"
    )
    label_column: str = option(
        "label", "The column of the right answer's number, from 0.", None, "data"
    )

    def check(self) -> None:
        """Also: a question has two answers or more, in different columns.

        Raises: OptionError for the first value that is not allowed.
        """
        super().check()
        names = self.answer_names()
        if len(names) < 2 or not _different(names):
            raise OptionError(
                f"`answer_columns` {self.answer_columns}: two different columns or more are needed"
            )

    def answer_names(self) -> list[str]:
        """The columns of the answers."""
        return [name.strip() for name in self.answer_columns.split(",")]


@dataclasses.dataclass
class RerankOptions(EncoderOptions, AdaptationOptions, MachineOptions, PairTuningOptions):
    """The options of finetune rerank."""

    batch_size: int = again(OptimizerOptions, "batch_size", 8)
    question_column: str = again(ChoiceOptions, "question_column", "question")
    passage_column: str = option("passage", "The right passages' column.", None, "data")
    negative_columns: str = option(
        "negative1,negative2,negative3", "The wrong passages' columns.", None, "data"
    )

    def check(self) -> None:
        """Also: a question has a right and a wrong passage or more, in different columns.

        Raises: OptionError for the first value that is not allowed.
        """
        super().check()
        if not _different([self.question_column, self.passage_column, *self.negative_names()]):
            raise OptionError(
                f"`negative_columns` {self.negative_columns}: the columns of questions, passages "
                "and wrong passages must differ"
            )

    def negative_names(self) -> list[str]:
        """The columns of the wrong passages."""
        return [name.strip() for name in self.negative_columns.split(",")]


def _different(names: list[str]) -> bool:
    return len(set(names)) == len(names) and "" not in names
