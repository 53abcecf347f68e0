"""Fine-tuning: classification, instructions and preferences, from the data to the report."""

from __future__ import annotations

from ..models.classifier import GPTClassifier, GPTClassifierConfig, real_lengths
from .classification import accuracy, classify, evaluate_classifier, predict
from .data import (
    InstructionDataset,
    PreferenceDataset,
    TextClassificationDataset,
    collate_classification,
    collate_instructions,
    collate_preferences,
)
from .freeze import count_parameters, freeze, train_only
from .instructions import extract_response, respond, respond_to_all, word_overlap
from .options import ClassificationOptions, InstructionOptions, PreferenceOptions
from .preferences import (
    DPOLoss,
    DPOOutput,
    dpo_loss,
    log_probabilities,
    preference_metrics,
    response_log_probabilities,
)
from .prompts import STYLES, PromptStyle
from .report import ClassificationReport, confusion_matrix, plot_confusion
from .splits import (
    balanced,
    random_split,
    read_sms_spam,
    sample,
    sms_spam_splits,
    split_in_order,
    usable_pairs,
)
from .tagging import evaluate_tagger, tag, tagging_trainer
from .trainers import classification_trainer, instruction_trainer, preference_trainer

__all__ = [
    "STYLES",
    "ClassificationOptions",
    "ClassificationReport",
    "DPOLoss",
    "DPOOutput",
    "GPTClassifier",
    "GPTClassifierConfig",
    "InstructionDataset",
    "InstructionOptions",
    "PreferenceDataset",
    "PreferenceOptions",
    "PromptStyle",
    "TextClassificationDataset",
    "accuracy",
    "balanced",
    "classification_trainer",
    "classify",
    "collate_classification",
    "collate_instructions",
    "collate_preferences",
    "confusion_matrix",
    "count_parameters",
    "dpo_loss",
    "evaluate_classifier",
    "evaluate_tagger",
    "extract_response",
    "freeze",
    "instruction_trainer",
    "log_probabilities",
    "plot_confusion",
    "predict",
    "preference_metrics",
    "preference_trainer",
    "random_split",
    "read_sms_spam",
    "real_lengths",
    "respond",
    "respond_to_all",
    "response_log_probabilities",
    "sample",
    "sms_spam_splits",
    "split_in_order",
    "tag",
    "tagging_trainer",
    "train_only",
    "usable_pairs",
    "word_overlap",
]
