"""Evaluation: scores of texts, tags and answers, and how far chance could have moved them."""

from __future__ import annotations

from .bertscore import bert_score, match_tokens
from .bleu import Bleu, bleu_counts, bleu_score, corpus_bleu
from .correlation import correlation_intervals, pearson, ranks, spearman
from .entities import EntityReport, entity_report, plot_entities, tag_report
from .intervals import Interval, bootstrap, paired_difference
from .rouge import rouge
from .text_scores import TextScores

__all__ = [
    "Bleu", "EntityReport", "Interval", "TextScores", "bert_score", "bleu_counts", "bleu_score",
    "bootstrap", "corpus_bleu", "correlation_intervals", "entity_report", "match_tokens",
    "paired_difference", "pearson", "plot_entities", "ranks", "rouge", "spearman", "tag_report",
]  # fmt: skip
