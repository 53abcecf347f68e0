"""Subword regularisation: a Unigram tokenizer that cuts a text differently each time."""

from __future__ import annotations

from .pipeline import PipelineTokenizer
from .stages.sampling import SampledUnigram
from .stages.unigram import Unigram

__all__ = ["sampled"]


def sampled(
    tokenizer: PipelineTokenizer, alpha: float = 0.1, n_best: int | None = None, seed: int = 0
) -> PipelineTokenizer:
    """The same tokenizer, but each piece of a text gets a cut that is drawn, not the best one.

    tokenizer: one whose model is Unigram
    alpha, n_best: see SampledUnigram; SentencePiece calls n_best = None nbest_size = -1, and draws
        for a whole sentence where this draws for each piece of it
    seed: of the draws

    All its cuts decode to the same text. It can be given wherever a tokenizer is.
    Raises: ValueError if the model is not Unigram or an argument is outside its range.
    """
    if not isinstance(tokenizer.model, Unigram):
        kind = type(tokenizer.model).__name__
        raise ValueError(f"only Unigram gives cuts probabilities; this tokenizer's model is {kind}")
    new = PipelineTokenizer(
        {**tokenizer.description, "added_tokens": [t.fields() for t in tokenizer.added]},
        model=SampledUnigram(tokenizer.model, alpha, n_best, seed),
        template=tokenizer.template,
        names=tokenizer.names,
        name=tokenizer.name,
    )
    return new
