"""Fine-tuning: the data sets of classification, instructions and preferences."""

from __future__ import annotations

from .data import (
    InstructionDataset,
    PreferenceDataset,
    TextClassificationDataset,
    collate_instructions,
    collate_preferences,
    real_lengths,
)
from .prompts import STYLES, PromptStyle
from .splits import (
    balanced,
    random_split,
    read_sms_spam,
    sample,
    sms_spam_splits,
    split_in_order,
)

__all__ = [
    "STYLES",
    "InstructionDataset",
    "PreferenceDataset",
    "PromptStyle",
    "TextClassificationDataset",
    "balanced",
    "collate_instructions",
    "collate_preferences",
    "random_split",
    "read_sms_spam",
    "real_lengths",
    "sample",
    "sms_spam_splits",
    "split_in_order",
]
