"""The options of the commands that fill tables of classifiers, see runs/variations.py."""

from __future__ import annotations

import dataclasses

from ..training.options import AT_LEAST_1, POSITIVE, SEED, UP_TO_256, OptionError, Options, option

__all__ = ["CompareOptions", "TableOptions", "VariationsOptions", "row_numbers"]

MOST_ROWS = 19  # of the variations, with four bases


@dataclasses.dataclass
class TableOptions(Options):
    """What both tables have."""

    data: str | None = option(
        None, "A named data set, sample, or a file.", None, "data", argument=True,
        about_default="the command's own data set",
    )  # fmt: skip
    folder: str | None = option(
        None, "The table's folder; one that is there goes on.", None, "data", name="out",
        about_default="a folder in runs/",
    )  # fmt: skip
    most: int | None = option(
        None, "Training texts at most.", AT_LEAST_1, "data", about_default="all"
    )
    epochs: float = option(5.0, "Passes over the data.", POSITIVE, "length")
    emb_dim: int = option(64, "Channels; of variations of the small model.", AT_LEAST_1, "model")
    n_layers: int = option(2, "Blocks; of variations of the small model.", UP_TO_256, "model")
    context_length: int = option(256, "Tokens that a model sees.", AT_LEAST_1, "model")
    vocab_size: int = option(1024, "Of the tokenizer.", AT_LEAST_1, "model")
    seed: int = option(123, "Of weights, data order and dropout.", SEED, "training")


@dataclasses.dataclass
class VariationsOptions(TableOptions):
    """The options of finetune variations."""

    bases: str | None = option(
        None, "Up to 4 bases, from small to large, with commas.", None, "data",
        about_default="four models, pretrained on the texts that are not in a test",
    )  # fmt: skip
    pretrain_steps: int = option(300, "Without bases: steps of each.", AT_LEAST_1, "length")
    max_length: int = option(120, "Tokens of a text; the context in one row.", AT_LEAST_1, "model")
    rows: str | None = option(
        None, "Numbers of rows, such as 1,5,9.", None, "data", about_default="all"
    )

    def check(self) -> None:
        """Also: rows that the table has.

        Raises: OptionError for the first value that is not allowed.
        """
        super().check()
        if self.rows is not None:
            row_numbers(self.rows, MOST_ROWS)


@dataclasses.dataclass
class CompareOptions(TableOptions):
    """The options of finetune compare."""

    models: str = option("gpt,bert,roberta", "Shapes of models, with commas.", None, "model")
    long_texts: str = option("cut,windows", "Ways to read long texts.", None, "model")
    max_length: int | None = option(
        None, "Tokens of a text.", AT_LEAST_1, "model", about_default="the context"
    )


def row_numbers(text: str, most: int) -> list[int]:
    """The numbers in "1,5,9".

    Raises: OptionError if one is not the number of a row.
    """
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdigit() and 1 <= int(part) <= most for part in parts):
        raise OptionError(f"`rows` must be numbers from 1 to {most} with commas, got {text}")
    return [int(part) for part in parts]
