"""The options of fine-tuning: what each trainer takes, and what a whole run of a command takes.

    ClassificationOptions, InstructionOptions, PreferenceOptions      classification_trainer, ...
    ClassifyOptions, InstructOptions, DPOOptions                      finetune classify, ...

The second three have all options of the first, and those that say what is trained: data, base,
LoRA, frozen weights, device.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from ..training.devices import MachineOptions
from ..training.options import (
    AT_LEAST_1,
    FRACTION,
    NOT_NEGATIVE,
    POSITIVE,
    SHARE_BELOW_1,
    OptimizerOptions,
    OptionError,
    Options,
    Rule,
    TrainingOptions,
    again,
    option,
)

__all__ = [
    "AdaptationOptions",
    "ClassificationOptions",
    "ClassifyOptions",
    "DPOOptions",
    "InstructOptions",
    "InstructionOptions",
    "PreferenceOptions",
    "TuningOptions",
    "check_fractions",
]


# ------------------------------------------------------------------------------ of the trainers
@dataclasses.dataclass
class TuningOptions(OptimizerOptions):
    """The options that all trainers for fine-tuning have."""

    instead_of_steps: ClassVar[str | None] = "epochs"

    epochs: float | None = option(
        None, "Passes over the data.", POSITIVE, "length", may_change=True,
        about_default="by the model's size",
    )  # fmt: skip
    steps: int | None = again(
        TrainingOptions, "steps", None, help="Or: steps to train.",
        about_default="as many as the epochs need",
    )  # fmt: skip
    buckets: int = option(
        8,
        "With --graph: lengths to which texts are padded.",
        AT_LEAST_1,
        "machine",
        may_change=True,
    )
    graph: bool | None = again(TrainingOptions, "graph", None)


@dataclasses.dataclass
class ClassificationOptions(TuningOptions):
    """The options of classification_trainer."""

    sample_every: int | None = again(TrainingOptions, "sample_every", None, shown=False)
    batch_size: int = again(OptimizerOptions, "batch_size", 16)


@dataclasses.dataclass
class InstructionOptions(TuningOptions):
    """The options of instruction_trainer."""

    max_length: int | None = option(
        None, "Tokens of a text; longer ones are cut.", AT_LEAST_1, "adaptation",
        about_default="the model's context",
    )  # fmt: skip
    mask_instruction: bool = option(False, "Train on the responses only.", None, "adaptation")


@dataclasses.dataclass
class PreferenceOptions(TuningOptions):
    """The options of preference_trainer; see preferences.DPOLoss for the first three."""

    sample_every: int | None = again(TrainingOptions, "sample_every", None, shown=False)
    beta: float = option(0.1, "How close the model stays to the reference.", POSITIVE, "adaptation")
    label_smoothing: float = option(
        0.0, "Share of pairs that may be wrong.",
        Rule(lambda v: 0 <= v < 0.5, "0 or more and less than 0.5"), "adaptation",
    )  # fmt: skip
    average: bool = option(False, "Divide by the response's length.", None, "adaptation")
    max_length: int | None = again(InstructionOptions, "max_length", None)


# ------------------------------------------------------------------------------ of the commands
def check_fractions(validation: float, test: float) -> None:
    """Raises: OptionError if validation and test take all data."""
    if validation + test >= 1:
        raise OptionError("`val_fraction` and `test_fraction` leave nothing to train on")


@dataclasses.dataclass
class AdaptationOptions(Options):
    """What is trained, on what: data, base, LoRA, frozen weights."""

    data: str | None = option(
        None, "A named data set, sample, or a file.", None, "data", argument=True,
        about_default="the command's own data set", may_change=True,  # as the corpus of pretrain
    )  # fmt: skip
    base: str | None = option(
        None, "The model to start from: a run, a name, a folder or file.", None, "data"
    )
    quantize: str | None = option(
        None, "QLoRA: the format of the base, such as nf4.", None, "adaptation"
    )
    drop_rate: float | None = option(
        None, "Dropout [the base's].", SHARE_BELOW_1, "adaptation", about_default="the base's"
    )
    lora: bool = option(False, "Train LoRA layers, not all weights.", None, "adaptation")
    lora_rank: int = option(8, "LoRA: r.", AT_LEAST_1, "adaptation")
    lora_alpha: float = option(
        16.0, "LoRA: alpha; the layers are scaled by alpha / r.", POSITIVE, "adaptation"
    )
    lora_dropout: float = option(0.0, "LoRA: dropout.", SHARE_BELOW_1, "adaptation")
    lora_names: str = option("att.*,ff.*", "LoRA: patterns of layers.", None, "adaptation")
    adapter: str | None = option(None, "LoRA: start from this adapter.", None, "adaptation")
    train_only: str | None = option(
        None, "Patterns of weights; others are frozen.", None, "adaptation"
    )
    freeze: str | None = option(None, "Patterns of weights that are frozen.", None, "adaptation")

    def check(self) -> None:
        """Also: only one of LoRA, train_only and freeze says what is trained.

        Raises: OptionError for the first value that is not allowed.
        """
        super().check()
        if self.train_only is not None and self.freeze is not None:
            raise OptionError("`train_only` and `freeze` were both given: take one of them")
        if self.lora and (self.train_only or self.freeze):
            raise OptionError("`lora` freezes the base: leave `train_only` and `freeze` out")
        if self.quantize is not None:
            self._check_quantized()

    def _check_quantized(self) -> None:
        """Raises: OptionError for what a quantised base cannot have."""
        from ..models.quantizing import AS_STORED
        from ..weights.quantized import FORMATS

        formats = [*FORMATS, AS_STORED]
        if self.quantize not in formats:
            raise OptionError(f"`quantize` must be {', '.join(formats)}, got {self.quantize!r}")
        if not (self.lora or self.adapter):
            raise OptionError("`quantize` freezes the base: add `lora`, which is what is trained")
        if self.drop_rate is not None:
            raise OptionError("`drop_rate` cannot change in a quantised base: see `lora_dropout`")


@dataclasses.dataclass
class ClassifyOptions(AdaptationOptions, MachineOptions, ClassificationOptions):
    """The options of finetune classify."""

    text_column: str = option("text", "The texts' column.", None, "data")
    label_column: str = option("label", "The labels' column.", None, "data")
    classes: str | None = option(None, "The labels in order, such as ham,spam.", None, "data")
    most: int | None = option(
        None, "Training texts at most; also of a test part that the data has.", AT_LEAST_1, "data",
        about_default="all",
    )  # fmt: skip
    balance: bool | None = option(
        None, "The same number of texts of each class.", None, "data",
        about_default="only of sms-spam",
    )  # fmt: skip
    val_fraction: float = option(0.1, "Data kept for validation.", FRACTION, "data")
    test_fraction: float = option(0.2, "Data kept for the test.", FRACTION, "data")
    model: str = option("gpt", "Without a base: gpt, bert, roberta, ...", None, "model")
    pool: str | None = option(
        None, "last, last_real, first or mean.", None, "model",
        about_default="last_real; first of an encoder",
    )  # fmt: skip
    causal: bool | None = option(
        None, "Tokens see only earlier tokens.", None, "model", about_default="not of an encoder"
    )
    tokenizer: str = option(
        "bpe", "Without a base: bpe, wordpiece, unigram, gpt2, or a file.", None, "model"
    )
    vocab_size: int | None = option(
        None, "Without a base: the vocabulary size of a trained one [1024].", AT_LEAST_1, "model",
        about_default="1024, or fewer if the texts are short",
    )  # fmt: skip
    context_length: int = option(
        256, "Without a base: tokens that the model sees.", AT_LEAST_1, "model"
    )
    emb_dim: int = option(128, "Without a base: channels.", AT_LEAST_1, "model")
    n_heads: int = option(4, "Without a base: attention heads.", AT_LEAST_1, "model")
    n_layers: int = option(4, "Without a base: transformer blocks.", AT_LEAST_1, "model")
    max_length: int | None = again(InstructionOptions, "max_length", None)
    long_texts: str = option(
        "cut", "cut at max_length, or windows whose answers are averaged.",
        Rule(lambda v: v in ("cut", "windows"), "cut or windows"), "adaptation",
    )  # fmt: skip
    ignore_padding: bool = option(
        False, "Ignore labels equal to the id of padding (none is).", None,
        "adaptation",
    )  # fmt: skip
    worst: int = option(
        5, "Texts with the highest loss to show.", NOT_NEGATIVE, "report", may_change=True
    )

    def check(self) -> None:
        """Also: something must be left to train on.

        Raises: OptionError for the first value that is not allowed.
        """
        super().check()
        check_fractions(self.val_fraction, self.test_fraction)


@dataclasses.dataclass
class InstructOptions(AdaptationOptions, MachineOptions, InstructionOptions):
    """The options of finetune instruct."""

    style: str | None = option(
        None, "Style of prompts: chat, alpaca or phi3.", None, "data",
        about_default="chat if the base has a chat template, otherwise alpaca",
    )  # fmt: skip
    answers: int | None = option(
        None, "Test instructions to answer [all].", NOT_NEGATIVE, "report", may_change=True,
        about_default="all",
    )  # fmt: skip
    answer_tokens: int = option(60, "Tokens of an answer.", AT_LEAST_1, "report", may_change=True)


@dataclasses.dataclass
class DPOOptions(AdaptationOptions, MachineOptions, PreferenceOptions):
    """The options of finetune dpo."""

    style: str | None = again(InstructOptions, "style", None)
    skip_unusable: bool | None = option(
        None, "Leave out equal or empty pairs.", None, "data",
        about_default="only of instruction-preferences",
    )  # fmt: skip
    answers: int = again(
        InstructOptions, "answers", 3, about_default="",
        help="Test prompts to answer, before and after training.",
    )  # fmt: skip
    answer_tokens: int = again(InstructOptions, "answer_tokens", 60)
