"""Evaluation: scores of texts, tags and answers, and how far chance could have moved them."""

from __future__ import annotations

from .correlation import correlation_intervals, pearson, ranks, spearman
from .intervals import Interval, bootstrap, paired_difference

__all__ = [
    "Interval",
    "bootstrap",
    "correlation_intervals",
    "paired_difference",
    "pearson",
    "ranks",
    "spearman",
]
