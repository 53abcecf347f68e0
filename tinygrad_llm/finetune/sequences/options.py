"""The options of training on pairs of texts."""

from __future__ import annotations

import dataclasses

from ...training.options import (
    A_TOKEN_AND_THE_END,
    AT_LEAST_1,
    SHARE_BELOW_1,
    OptionError,
    TrainingOptions,
    again,
    option,
)
from ..options import TuningOptions

__all__ = ["SCHEDULES", "SequenceOptions", "check_heads"]

SCHEDULES = ("cosine", "inverse_sqrt")


def check_heads(emb_dim: int, n_heads: int) -> None:
    """Raises: OptionError if the channels cannot be divided among the heads."""
    if emb_dim % n_heads:
        raise OptionError(f"`emb_dim` {emb_dim} must be a multiple of `n_heads` {n_heads}")


@dataclasses.dataclass
class SequenceOptions(TuningOptions):
    """The options of sequence_trainer."""

    batch_tokens: int | None = option(
        None, "Tokens in a batch, of both texts and padding.", AT_LEAST_1,
        about_default="batch_size says how many pairs",
    )  # fmt: skip
    label_smoothing: float = option(
        0.0, "Share of a target's probability that all tokens get.", SHARE_BELOW_1
    )
    schedule: str = option("cosine", "Of the learning rate: cosine or inverse_sqrt.")
    max_source: int | None = option(
        None, "Tokens of a source; longer ones are cut.", A_TOKEN_AND_THE_END, "adaptation",
        about_default="the model's context",
    )  # fmt: skip
    max_target: int | None = option(
        None, "Tokens of a target; longer ones are cut.", A_TOKEN_AND_THE_END, "adaptation",
        about_default="the model's context",
    )  # fmt: skip
    graph: bool | None = again(TrainingOptions, "graph", False)

    def check(self) -> None:
        """Also: the schedule must be known.

        Raises: OptionError for the first value that is not allowed.
        """
        super().check()
        if self.schedule not in SCHEDULES:
            raise OptionError(f"`schedule` must be {' or '.join(SCHEDULES)}, got {self.schedule}")
