"""A trainer for an encoder on pairs of texts: `training.Trainer` with their batches and loss.

trainer = pair_trainer(model, train_set, validation_set, epochs=3, folder="runs/a")
result = trainer.run()
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from ...evaluation.correlation import pearson, spearman
from ...models.costs import flops_per_token
from ...models.encoder import ClassifyingEncoder
from ...tensor import Tensor
from ...training.loop import Trainer
from ..trainers import batches_in_order, check_length
from ..tuning import Rates, TrainingData, Tuning
from .data import PairDataset, collate_pairs
from .options import PairTuningOptions
from .scores import pair_loss, predict_pairs

__all__ = ["encoder_flops", "pair_metrics", "pair_trainer"]

RATES = Rates((1e-3, 5e-5), (2e-3, 5e-4), (5.0, 3.0))


def pair_trainer(
    model: ClassifyingEncoder, train: PairDataset,
    validation: PairDataset | None = None, options: PairTuningOptions | None = None, *,
    pad_token_id: int = 0, unit: str = "pair", **keywords: Any,
) -> Trainer:  # fmt: skip
    """Trains an encoder on pairs; a loss is the mean over pairs, or over questions.

    pad_token_id: the id that pads short texts; unit: what an example is, in the singular
    options, keywords: PairTuningOptions, or any of their fields, and Trainer's other keywords
    Every validation measures the accuracy, or the two correlations, on the validation set.
    Raises: ValueError if a label is not a class of the model, or a text longer than its context.
    """
    tuning = Tuning("pair_trainer", PairTuningOptions, options, keywords)
    for data in (train, validation):
        if data is not None:
            _check_labels(data, model.classifier.out_features)
            check_length(max(data.lengths), model, "the longest pair")
    if tuning.options.gradient_checkpointing:
        model.gradient_checkpointing_enable()
    collate = partial(collate_pairs, pad_token_id=pad_token_id)

    def report(model: Any) -> Mapping[str, float]:
        assert validation is not None
        scores = predict_pairs(model, validation, pad_token_id)
        return {f"val_{name}": value for name, value in pair_metrics(scores, validation).items()}

    return tuning.trainer(
        model, TrainingData(train, collate, train.lengths), batches_in_order(validation, collate),
        RATES, loss=pair_loss, count=_count, unit=unit, flops=encoder_flops(model),
        report=None if validation is None else report,
    )  # fmt: skip


def pair_metrics(scores: np.ndarray, data: PairDataset) -> dict[str, float]:
    """{"accuracy": ...} of classes and answers, {"pearson": ..., "spearman": ...} of numbers.

    scores: those of predict_pairs, (N, K)
    """
    if data.labels.dtype.kind == "f":
        value = scores[:, 0]
        return {"pearson": pearson(value, data.labels), "spearman": spearman(value, data.labels)}
    return {"accuracy": float((scores.argmax(1) == data.labels).mean())}


def encoder_flops(model: Any) -> Callable[[Mapping[str, Tensor]], float]:
    """batch -> floating-point operations of a step with its ids (N, T)."""

    def flops(batch: Mapping[str, Tensor]) -> float:
        n, T = batch["ids"].shape
        return n * T * flops_per_token(model, T)

    return flops


def _count(batch: Mapping[str, Tensor]) -> int:
    return batch["labels"].shape[0]


def _check_labels(data: PairDataset, n_classes: int) -> None:
    """Raises: ValueError if a label is not one that the model has a score for."""
    if data.labels.dtype.kind == "f":
        if n_classes != 1:
            raise ValueError(f"numbers need a model with one score, it has {n_classes}")
        return
    most = [
        len(example.pairs) if len(example.pairs) > 1 else n_classes for example in data.examples
    ]
    if len({len(example.pairs) for example in data.examples}) > 1:
        raise ValueError("all questions need the same number of answers")
    for i, (label, n) in enumerate(zip(data.labels, most, strict=True)):
        if not 0 <= label < n:
            raise ValueError(f"row {i} has the label {label}, the classes are 0 … {n - 1}")
