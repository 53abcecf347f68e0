"""Pairs of texts: one is read, the other is written. For translations, summaries, headlines.

    train = PairDataset(rows, source_tokenizer, target_tokenizer)
    trainer = sequence_trainer(model, train, validation, epochs=5, batch_tokens=4000)
    write(model, train.sources[:3], 40, num_beams=4)            # ids of the texts it writes

The model is an encoder-decoder: models.Transformer, models.T5.
"""

from __future__ import annotations

from .data import PairDataset, collate_pairs
from .options import SequenceOptions
from .trainer import SequenceLoss, sequence_flops, sequence_trainer
from .writing import write

__all__ = [
    "PairDataset",
    "SequenceLoss",
    "SequenceOptions",
    "collate_pairs",
    "sequence_flops",
    "sequence_trainer",
    "write",
]
