"""The options of finetune translate."""

from __future__ import annotations

import dataclasses

from ...training.devices import MachineOptions
from ...training.options import (
    A_TOKEN_AND_THE_END,
    AT_LEAST_1,
    NOT_NEGATIVE,
    POSITIVE,
    UP_TO_256,
    OptimizerOptions,
    OptionError,
    again,
    option,
)
from ..options import AdaptationOptions, ClassifyOptions, check_fractions
from ..sequences.options import SequenceOptions, check_heads

__all__ = ["TranslateOptions"]


@dataclasses.dataclass
class TranslateOptions(AdaptationOptions, MachineOptions, SequenceOptions):
    """The options of finetune translate; the defaults train for about a quarter of an hour."""

    source: str = option("ja", "Read: the ending of files, or a column.", None, "data")
    target: str = option("en", "Written: the ending of files, or a column.", None, "data")
    pairs: int | None = option(
        None, "Training pairs to take [all].", AT_LEAST_1, "data", about_default="all"
    )
    val_fraction: float = again(ClassifyOptions, "val_fraction", 0.05)
    test_fraction: float = again(ClassifyOptions, "test_fraction", 0.05)
    tokenizer: str = option("words", "Without a base: words or bpe.", None, "model")
    vocab_size: int = option(4000, "Of bpe.", AT_LEAST_1, "model")
    min_count: int = option(2, "Of words: rarer ones are <|unk|>.", AT_LEAST_1, "model")
    shared: bool = option(False, "One vocabulary for both languages.", None, "model")
    context_length: int = option(64, "Tokens of a sentence.", A_TOKEN_AND_THE_END, "model")
    emb_dim: int = option(192, "Channels.", AT_LEAST_1, "model")
    hidden_dim: int | None = option(
        None, "Channels in the feed forward.", AT_LEAST_1, "model", about_default="4 · emb_dim"
    )
    n_heads: int = option(6, "Attention heads.", AT_LEAST_1, "model")
    n_layers: int = option(3, "Blocks of encoder and decoder each.", UP_TO_256, "model")
    norm_first: bool = option(False, "Norms before the parts of a block.", None, "model")
    epochs: float | None = again(SequenceOptions, "epochs", None, about_default="10, or 3 if large")
    batch_tokens: int | None = again(SequenceOptions, "batch_tokens", 2000)
    label_smoothing: float = again(SequenceOptions, "label_smoothing", 0.1)
    lr: float | None = again(
        SequenceOptions,
        "lr",
        None,
        help="Highest learning rate.",
        about_default="1.5e-3 from random weights, with a base by its size",
    )
    min_lr: float | None = again(
        SequenceOptions,
        "min_lr",
        None,
        help="Last learning rate [lr / 50, with a base lr / 10].",
        about_default="lr / 50 from random weights, with a base lr / 10",
    )
    drop_rate: float | None = again(
        AdaptationOptions,
        "drop_rate",
        None,
        help="Dropout [0.2, or the base's].",
        about_default="0.2, or the base's",
    )
    beta2: float = again(OptimizerOptions, "beta2", 0.98)
    weight_decay: float = again(OptimizerOptions, "weight_decay", 0.0)
    beams: str = option(
        "2,4,8", "Of the table, beside greedy: numbers of beams.", None, "report", may_change=True
    )
    length_penalty: float = option(
        1.0, "Of beams: the exponent of the length.", NOT_NEGATIVE, "report", may_change=True
    )
    temperature: float = option(
        0.7, "Of the sampled row in the table.", POSITIVE, "report", may_change=True
    )
    worst: int = again(ClassifyOptions, "worst", 5, help="Worst translations to show.")

    def beam_counts(self) -> list[int]:
        """The numbers of beams, each once, ascending; 1, which is greedy, always.

        Raises: OptionError if they are not numbers between 1 and 64.
        """
        counts = {word.strip() for word in self.beams.split(",")}
        if not all(word.isascii() and word.isdigit() and 1 <= int(word) <= 64 for word in counts):
            raise OptionError(f"`beams` must be numbers from 1 to 64, got {self.beams}")
        return sorted({1, *map(int, counts)})

    def check(self) -> None:
        """Also: vocabularies of a known kind, two languages, something to train on.

        Raises: OptionError for the first value that is not allowed.
        """
        super().check()
        if self.tokenizer not in ("words", "bpe"):
            raise OptionError(f"`tokenizer` must be words or bpe, got {self.tokenizer}")
        if self.source == self.target:
            raise OptionError(f"`source` and `target` are both {self.source}: name two languages")
        check_heads(self.emb_dim, self.n_heads)
        check_fractions(self.val_fraction, self.test_fraction)
        self.beam_counts()
