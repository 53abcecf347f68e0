"""The options of a search; those of its runs are theirs, with ranges in place of values."""

from __future__ import annotations

import dataclasses

from ..options import AT_LEAST_1, SEED, OptionError, Options, Rule, option

__all__ = ["STRATEGIES", "SearchOptions"]

STRATEGIES = ("random", "grid", "halving", "tpe")
_UP_TO_10_000 = Rule(lambda v: 1 <= v <= 10_000, "between 1 and 10,000")
_SHARE = Rule(lambda v: 2 <= v <= 100, "between 2 and 100")


@dataclasses.dataclass
class SearchOptions(Options):
    """The options of a search."""

    strategy: str = option(
        "random", "random, grid, halving, or tpe (needs optuna).",
        Rule(lambda v: v in STRATEGIES, ", ".join(STRATEGIES)), "length",
    )  # fmt: skip
    trials: int = option(
        12, "Runs; of grid all combinations.", _UP_TO_10_000, "length", may_change=True,
    )  # fmt: skip
    points: int = option(3, "Of grid: values of each range.", AT_LEAST_1, "length")
    eta: int = option(3, "Of halving: one of so many goes on, for so many times the steps.", _SHARE,
                      "length")  # fmt: skip
    first_steps: int | None = option(
        None, "Of halving: steps of the first round.", AT_LEAST_1, "length",
        about_default="so that one trial reaches all steps",
    )  # fmt: skip
    metric: str = option("val_loss", "What counts, by its name in metrics.jsonl.", None, "report")
    maximise: bool = option(False, "More of it is better.", None, "report")
    keep_all: bool = option(False, "Keep the checkpoints of every trial.", None, "files")
    search_seed: int = option(1, "Of what is drawn.", SEED)
    folder: str | None = option(
        None, "The search's folder; one that is there goes on.", None, "files", name="out",
        about_default="runs/search",
    )  # fmt: skip

    def check(self) -> None:
        """Also: a name for the metric.

        Raises: OptionError for the first value that is not allowed.
        """
        super().check()
        if not self.metric.strip():
            raise OptionError("`metric` must be a name, such as val_loss")
