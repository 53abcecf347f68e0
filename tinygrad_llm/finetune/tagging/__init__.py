"""Named entities: their files, tokens with places, a tagger's data, training and answers."""

from __future__ import annotations

from .baseline import EntityDictionary
from .files import Annotated, read_annotated
from .options import NerOptions
from .tagger import TaggingDataset, collate_tagging, evaluate_tagger, tag, tagging_trainer
from .tokens import characters, placed

__all__ = [
    "Annotated",
    "EntityDictionary",
    "NerOptions",
    "TaggingDataset",
    "characters",
    "collate_tagging",
    "evaluate_tagger",
    "placed",
    "read_annotated",
    "tag",
    "tagging_trainer",
]
