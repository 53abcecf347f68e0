"""The options of finetune embed."""

from __future__ import annotations

import dataclasses
import math

from ...training.devices import MachineOptions
from ...training.options import POSITIVE, OptimizerOptions, OptionError, Rule, again, option
from ..options import AdaptationOptions
from ..pairs.options import EncoderOptions, PairTuningOptions

__all__ = ["EmbedOptions", "EmbeddingTuningOptions"]

FINITE = Rule(math.isfinite, "a finite number")
LOSSES = ("unsupervised", "supervised")


@dataclasses.dataclass
class EmbeddingTuningOptions(PairTuningOptions):
    """The options of embedding_trainer."""

    batch_size: int = again(OptimizerOptions, "batch_size", 64)
    temperature: float = option(0.05, "Of the contrastive loss.", POSITIVE, "adaptation")


@dataclasses.dataclass
class EmbedOptions(EncoderOptions, AdaptationOptions, MachineOptions, EmbeddingTuningOptions):
    """The options of finetune embed."""

    loss: str = option("unsupervised", "unsupervised or supervised.", None, "adaptation")
    pool: str = option("mean", "mean of the tokens, or the first.", None, "model")
    hard: bool = option(
        True, "Supervised without a column of negatives: look for hard ones.", None, "adaptation"
    )
    positive: float = option(
        4.0, "Of jsts: pairs with this label or more are positive.", FINITE, "data"
    )
    text_column: str = option("text", "Unsupervised: the texts' column.", None, "data")
    first_column: str = option("sentence1", "Supervised: the texts' column.", None, "data")
    second_column: str = option("sentence2", "Supervised: their partners' column.", None, "data")
    negative_column: str | None = option(
        None, "Supervised: the hard negatives' column.", None, "data", about_default="none"
    )
    sts: str | None = option(
        None, "Pairs with labels for the test: jsts, sample, or a file.", None, "data",
        about_default="those of the data set; of a file of pairs its held-out rows",
    )  # fmt: skip

    def check(self) -> None:
        """Also: the loss and the pool have a name that is known.

        Raises: OptionError for the first value that is not allowed.
        """
        super().check()
        if self.loss not in LOSSES:
            raise OptionError(f"`loss` must be {' or '.join(LOSSES)}, got {self.loss}")
        if self.pool not in ("mean", "first"):
            raise OptionError(f"`pool` must be mean or first, got {self.pool}")
        if self.loss == "unsupervised" and self.drop_rate == 0.0:
            raise OptionError(
                "`drop_rate` 0 leaves nothing to learn: without labels the two vectors of a text "
                "differ by dropout alone"
            )
        if self.batch_size < 2:
            raise OptionError("`batch_size` must be 2 or more: the other texts are the negatives")
