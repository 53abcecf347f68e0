"""The options of finetune ner."""

from __future__ import annotations

import dataclasses

from ...training.devices import MachineOptions
from ...training.options import OptimizerOptions, TrainingOptions, again, option
from ..options import AdaptationOptions, ClassifyOptions, TuningOptions, check_fractions

__all__ = ["NerOptions"]


@dataclasses.dataclass
class NerOptions(AdaptationOptions, MachineOptions, TuningOptions):
    """The options of finetune ner."""

    sample_every: int | None = again(TrainingOptions, "sample_every", None, shown=False)
    batch_size: int = again(OptimizerOptions, "batch_size", 16)
    val_fraction: float = again(ClassifyOptions, "val_fraction", 0.1)
    test_fraction: float = again(ClassifyOptions, "test_fraction", 0.1)
    crf: bool = option(True, "Score the tags of a text together, with a CRF.", None, "model")
    constrained: bool = option(
        True, "Only legal tags: I-X follows B-X or I-X.", None, "report", may_change=True
    )
    model: str = again(
        ClassifyOptions, "model", "modernbert", help="Without a base: modernbert, bert, ..."
    )
    tokenizer: str = again(
        ClassifyOptions, "tokenizer", "char", help="Without a base: char, bpe, or a file."
    )
    vocab_size: int | None = again(ClassifyOptions, "vocab_size", None)
    context_length: int = again(ClassifyOptions, "context_length", 320)
    emb_dim: int = again(ClassifyOptions, "emb_dim", 128)
    n_heads: int = again(ClassifyOptions, "n_heads", 4)
    n_layers: int = again(ClassifyOptions, "n_layers", 3)
    worst: int = again(ClassifyOptions, "worst", 5, help="Texts with most mistakes to show.")

    def check(self) -> None:
        """Also: something must be left to train on.

        Raises: OptionError for the first value that is not allowed.
        """
        super().check()
        check_fractions(self.val_fraction, self.test_fraction)
