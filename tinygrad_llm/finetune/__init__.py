"""Fine-tuning: classes, pairs, instructions, preferences, names, translations; data to report."""

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
from .embedding import SentenceEmbedder, embed, embedding_trainer, similarity
from .fill import fill_mask
from .freeze import count_parameters, freeze, train_only
from .instructions import extract_response, respond, respond_to_all, word_overlap
from .masks import loss_mask, show_labels, targets_of
from .options import ClassificationOptions, InstructionOptions, PreferenceOptions
from .pairs import PairModel, choose, infer, pair_trainer, rank, rate
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
from .summaries import infill, summarize
from .tagging import evaluate_tagger, tag, tagging_trainer
from .task_models import TaskModel
from .trainers import classification_trainer, instruction_trainer, preference_trainer
from .translation import translate

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
    "PairModel",
    "PreferenceDataset",
    "PreferenceOptions",
    "PromptStyle",
    "SentenceEmbedder",
    "TaskModel",
    "TextClassificationDataset",
    "accuracy",
    "balanced",
    "choose",
    "classification_trainer",
    "classify",
    "collate_classification",
    "collate_instructions",
    "collate_preferences",
    "confusion_matrix",
    "count_parameters",
    "dpo_loss",
    "embed",
    "embedding_trainer",
    "evaluate_classifier",
    "evaluate_tagger",
    "extract_response",
    "fill_mask",
    "freeze",
    "infer",
    "infill",
    "instruction_trainer",
    "log_probabilities",
    "loss_mask",
    "pair_trainer",
    "plot_confusion",
    "predict",
    "preference_metrics",
    "preference_trainer",
    "random_split",
    "rank",
    "rate",
    "read_sms_spam",
    "real_lengths",
    "respond",
    "respond_to_all",
    "response_log_probabilities",
    "sample",
    "show_labels",
    "similarity",
    "sms_spam_splits",
    "split_in_order",
    "summarize",
    "tag",
    "tagging_trainer",
    "targets_of",
    "train_only",
    "translate",
    "usable_pairs",
    "word_overlap",
]
