"""A trainer for sentence encoders: the contrastive loss over the texts of a batch.

trainer = embedding_trainer(model, train_set, validation_set, epochs=1, folder="runs/a")
result = trainer.run()
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from ... import distributed
from ...distributed.nn.functional import AllGather
from ...functions.creation.ranges import arange
from ...functions.shape.join import cat
from ...layers.contrastive import ContrastiveLoss, similarities
from ...models.sentence import SentenceEncoder
from ...nn import functional as F
from ...tensor import Tensor
from ...training.loop import Trainer
from ..pairs.trainer import encoder_flops
from ..trainers import batches_in_order, check_length
from ..tuning import Rates, TrainingData, Tuning
from .data import EmbeddingDataset, collate_texts, part_of_texts
from .options import EmbeddingTuningOptions

__all__ = ["EmbeddingLoss", "embedding_trainer"]

RATES = Rates((5e-4, 3e-5), (2e-3, 5e-4), (3.0, 1.0))


class EmbeddingLoss:
    """(model, batch of collate_texts) -> the contrastive loss of its texts, 0-d.

    temperature: see ContrastiveLoss. Partners and negatives go through the encoder together with
    the texts, with different dropout masks.
    """

    can_be_captured = False  # it looks at masks
    exchanges = True  # the vectors of all ranks

    def __init__(self, temperature: float = 0.05) -> None:
        self.contrastive = ContrastiveLoss(temperature)

    def __call__(self, model: SentenceEncoder, batch: Mapping[str, Any]) -> Tensor:
        vectors = model(batch["ids"], batch["attention_mask"])  # (K·B, T) -> (K·B, C)
        columns = vectors.split(batch["n"])  # K times (B, C)
        if "others" in batch:
            return self._among_all(columns, *batch["others"])
        return self.contrastive(*columns)

    def _among_all(self, columns: Sequence[Tensor], first: int, B: int) -> Tensor:
        """The mean over a rank's texts, whose partners are among the B texts of all ranks.

        first: the number of its first text
        """
        anchors, *others = columns
        group = distributed.group.WORLD
        gathered = [AllGather.apply(x, group=group, dim=0, length=B) for x in others]  # (B, C)
        scores = similarities(anchors, cat(gathered)) / self.contrastive.temperature
        targets = arange(first, first + len(anchors), device=anchors.device)  # (b)
        return F.cross_entropy(scores, targets)


def embedding_trainer(
    model: SentenceEncoder, train: EmbeddingDataset, validation: EmbeddingDataset | None = None,
    options: EmbeddingTuningOptions | None = None, *, pad_token_id: int = 0,
    report: Callable[[Any], Mapping[str, float]] | None = None, **keywords: Any,
) -> Trainer:  # fmt: skip
    """Trains a sentence encoder; a loss is in nats per text.

    pad_token_id: the id that pads short texts; report: see Trainer, such as the correlation on
    pairs that people have scored
    options, keywords: EmbeddingTuningOptions, or any of their fields, and Trainer's other keywords
    With accumulation the negatives of a text are in the same batch of batch_size texts.
    Raises: ValueError if a text is longer than the model's context, or a batch has one text.
    """
    tuning = Tuning("embedding_trainer", EmbeddingTuningOptions, options, keywords)
    o = tuning.options
    for data in (train, validation):
        if data is not None:
            check_length(max(data.lengths), model, "the longest text")
    if min(o.batch_size, len(train)) < 2:
        raise ValueError("a batch needs 2 texts or more: the other texts are the negatives")
    if o.gradient_checkpointing:
        model.gradient_checkpointing_enable()
    collate = partial(collate_texts, pad_token_id=pad_token_id)
    return tuning.trainer(
        model, TrainingData(train, collate, train.lengths),
        batches_in_order(validation, collate, o.batch_size), RATES,
        loss=EmbeddingLoss(o.temperature), count=lambda batch: int(batch["n"]),
        part=part_of_texts, unit="text",
        flops=encoder_flops(model), report=report,
    )  # fmt: skip
