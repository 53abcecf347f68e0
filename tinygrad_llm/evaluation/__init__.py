"""Evaluation: scores of texts, tags and answers, and how far chance could have moved them."""

from __future__ import annotations

from .answers import (
    character_f1,
    contains,
    exact_match,
    normalized_answer,
    set_f1,
    shared_characters,
)
from .bertscore import bert_score, match_tokens
from .bleu import Bleu, bleu_counts, bleu_score, corpus_bleu
from .correlation import correlation_intervals, kendall, pearson, ranks, spearman
from .entities import EntityReport, entity_report, plot_entities, tag_report
from .intervals import Interval, bootstrap, paired_difference
from .likelihood import (
    ContinuationScore,
    TextLikelihood,
    choose,
    continuation_scores,
    measure_ids,
    measure_text,
)
from .ratings import bradley_terry, bradley_terry_intervals, elo, win_rates
from .rouge import rouge
from .text_scores import TextScores

__all__ = [
    "Bleu", "ContinuationScore", "EntityReport", "Interval", "TextLikelihood", "TextScores",
    "bert_score", "bleu_counts", "bleu_score", "bootstrap", "bradley_terry",
    "bradley_terry_intervals", "character_f1", "choose", "contains", "continuation_scores",
    "corpus_bleu", "correlation_intervals", "elo", "entity_report", "exact_match", "kendall",
    "match_tokens", "measure_ids", "measure_text", "normalized_answer", "paired_difference",
    "pearson", "plot_entities", "ranks", "rouge", "set_f1", "shared_characters", "spearman",
    "tag_report", "win_rates",
]  # fmt: skip
