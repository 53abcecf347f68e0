"""Pairs of texts: which class, how similar, which answer fits a question; by one encoder."""

from __future__ import annotations

from .answers import PairModel, choose, infer, rank, rate
from .baselines import ngram_overlap
from .data import PairDataset, collate_pairs, pair_ids
from .options import ChoiceOptions, NLIOptions, PairTuningOptions, RerankOptions, STSOptions
from .rows import Row, read_pairs, read_questions
from .scores import pair_loss, pair_scores, predict_pairs
from .tokenizer import character_tokenizer
from .trainer import pair_trainer

__all__ = [
    "ChoiceOptions",
    "NLIOptions",
    "PairDataset",
    "PairModel",
    "PairTuningOptions",
    "RerankOptions",
    "Row",
    "STSOptions",
    "character_tokenizer",
    "choose",
    "collate_pairs",
    "infer",
    "ngram_overlap",
    "pair_ids",
    "pair_loss",
    "pair_scores",
    "pair_trainer",
    "predict_pairs",
    "rank",
    "rate",
    "read_pairs",
    "read_questions",
]
