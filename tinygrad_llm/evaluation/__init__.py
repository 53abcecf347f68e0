"""Evaluation: scores of texts, tags and answers, and how far chance could have moved them."""

from __future__ import annotations

from .bleu import Bleu, bleu_counts, bleu_score, corpus_bleu
from .intervals import Interval, bootstrap, paired_difference

__all__ = [
    "Bleu", "Interval", "bleu_counts", "bleu_score", "bootstrap", "corpus_bleu",
    "paired_difference",
]  # fmt: skip
