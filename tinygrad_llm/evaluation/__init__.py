"""Evaluation: scores of texts, tags and answers, and how far chance could have moved them."""

from __future__ import annotations

from .entities import EntityReport, entity_report, plot_entities, tag_report
from .intervals import Interval, bootstrap, paired_difference

__all__ = [
    "EntityReport",
    "Interval",
    "bootstrap",
    "entity_report",
    "paired_difference",
    "plot_entities",
    "tag_report",
]
