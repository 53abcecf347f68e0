"""The options of finetune summarize."""

from __future__ import annotations

import dataclasses

from ...training.devices import MachineOptions
from ...training.options import (
    A_TOKEN_AND_THE_END,
    AT_LEAST_1,
    FRACTION,
    NOT_NEGATIVE,
    POSITIVE,
    UP_TO_256,
    OptionError,
    Rule,
    again,
    option,
)
from ..options import AdaptationOptions, ClassifyOptions, check_fractions
from ..sequences.options import SequenceOptions, check_heads
from ..translation.options import TranslateOptions

UP_TO_1000 = Rule(lambda v: 0 <= v <= 1000, "between 0 and 1,000")

__all__ = ["SummarizeOptions"]

CUTS = ("words", "char", "ja-mecab")


@dataclasses.dataclass
class SummarizeOptions(AdaptationOptions, MachineOptions, SequenceOptions):
    """The options of finetune summarize; the defaults train for some minutes."""

    text_column: str = again(ClassifyOptions, "text_column", "text")
    summary_column: str = option("summary", "Column of the summaries.", None, "data")
    val_fraction: float = again(ClassifyOptions, "val_fraction", 0.05)
    test_fraction: float = again(ClassifyOptions, "test_fraction", 0.1)
    spans: float = option(
        0.0, "Span-corrupted sources per pair, learned beside the pairs.", UP_TO_1000, "data"
    )
    restore: float = option(
        2.0, "Sentences with gaps per pair, to write out whole.", NOT_NEGATIVE, "data"
    )
    vocab_size: int | None = option(
        None, "Of the BPE tokenizer, without a base.", AT_LEAST_1, "model",
        about_default="1536, or what short texts fill",
    )  # fmt: skip
    context_length: int = option(64, "Tokens of a text.", A_TOKEN_AND_THE_END, "model")
    emb_dim: int = option(128, "Channels.", AT_LEAST_1, "model")
    hidden_dim: int | None = option(
        None, "Channels in the feed forward.", AT_LEAST_1, "model", about_default="4 · emb_dim"
    )
    n_heads: int = again(TranslateOptions, "n_heads", 4)
    n_layers: int = option(1, "Blocks of encoder and decoder each.", UP_TO_256, "model")
    gated: bool = option(False, "T5 version 1.1: gated feed forward, own head.", None, "model")
    epochs: float | None = again(SequenceOptions, "epochs", 6.0)
    batch_tokens: int | None = again(SequenceOptions, "batch_tokens", 1500)
    max_target: int | None = again(SequenceOptions, "max_target", 32, about_default="32")
    cut: str | None = option(
        None, "Words of the scores: words, char or ja-mecab.", None, "report", may_change=True,
        about_default="char for texts without Latin letters, else words",
    )  # fmt: skip
    test_texts: int = option(
        400, "Most texts of the test to summarize.", AT_LEAST_1, "report", may_change=True
    )
    beams: int = option(4, "Of the table: beams.", UP_TO_256, "report", may_change=True)
    length_penalty: float = again(TranslateOptions, "length_penalty", 1.0)
    temperature: float = option(
        0.7, "Of the rows that draw.", POSITIVE, "report", may_change=True
    )  # fmt: skip
    top_k: int = option(20, "Of the row top-k.", AT_LEAST_1, "report", may_change=True)
    top_p: float = option(0.9, "Of the row top-p.", FRACTION, "report", may_change=True)
    bert_score: bool = option(
        True, "BERTScore, where MiniLM is installed.", None, "report", may_change=True
    )
    examples: int = option(3, "Texts to show with all summaries.", AT_LEAST_1, "report",
                        may_change=True)  # fmt: skip

    def check(self) -> None:
        """Also: a way to cut words that exists, something to train on, heads of whole channels.

        Raises: OptionError for the first value that is not allowed.
        """
        super().check()
        if self.cut is not None and self.cut not in CUTS:
            raise OptionError(f"`cut` must be one of {', '.join(CUTS)}, got {self.cut}")
        check_heads(self.emb_dim, self.n_heads)
        check_fractions(self.val_fraction, self.test_fraction)
