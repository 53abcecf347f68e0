"""Evaluation: scores of texts, tags and answers, and how far chance could have moved them."""

from __future__ import annotations

from .bertscore import bert_score, match_tokens
from .bleu import Bleu, bleu_counts, bleu_score, corpus_bleu
from .intervals import Interval, bootstrap, paired_difference
from .rouge import rouge
from .text_scores import TextScores

__all__ = [
    "Bleu", "Interval", "TextScores", "bert_score", "bleu_counts", "bleu_score", "bootstrap",
    "corpus_bleu", "match_tokens", "paired_difference", "rouge",
]  # fmt: skip
