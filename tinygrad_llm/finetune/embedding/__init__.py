"""Sentence embeddings: vectors whose angles say how similar two texts are, and their training."""

from __future__ import annotations

from .data import EmbeddingDataset, collate_texts, hard_negatives
from .options import EmbeddingTuningOptions, EmbedOptions
from .trainer import EmbeddingLoss, embedding_trainer
from .vectors import SentenceEmbedder, embed, embed_texts, similarity

__all__ = [
    "EmbedOptions",
    "EmbeddingDataset",
    "EmbeddingLoss",
    "EmbeddingTuningOptions",
    "SentenceEmbedder",
    "collate_texts",
    "embed",
    "embed_texts",
    "embedding_trainer",
    "hard_negatives",
    "similarity",
]
