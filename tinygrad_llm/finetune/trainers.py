"""A trainer for each kind of fine-tuning: `training.Trainer` with the right batches and loss.

    trainer = classification_trainer(model, train_set, validation_set, epochs=5, folder="runs/a")
    print(trainer.plan())            # what it will cost, measured
    result = trainer.run()           # or trainer.run(resume=True)

Only parameters that require grad are trained, so freeze layers or add LoRA first. All three take
their options, ClassificationOptions, InstructionOptions or PreferenceOptions (see options.py and
training/OPTIONS.md), or any of their fields as keywords, and Trainer's other keywords (progress,
sample, config, ...). Without `lr` and `epochs` both follow from the size of the model. The rate
rises in the first tenth of the steps and falls along a cosine.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from ..data.batches import IGNORED
from ..models.base import context_length_of
from ..models.classifier import END_OF_TEXT, GPTClassifier
from ..models.costs import flops_per_token
from ..tensor import Tensor
from ..training.loop import Trainer
from .classification import accuracy, check_labels
from .data import (
    Examples,
    InstructionDataset,
    PreferenceDataset,
    TextClassificationDataset,
    collate_classification,
    collate_instructions,
    collate_preferences,
    part_of_preferences,
)
from .options import ClassificationOptions, InstructionOptions, PreferenceOptions
from .preferences import DPOLoss, preference_metrics
from .tuning import Rates, TrainingData, Tuning

__all__ = ["classification_trainer", "instruction_trainer", "preference_trainer"]


def classification_trainer(
    model: GPTClassifier, train: TextClassificationDataset,
    validation: TextClassificationDataset | None = None,
    options: ClassificationOptions | None = None, *, ignore_index: int = IGNORED, **keywords: Any,
) -> Trainer:  # fmt: skip
    """Trains a classifier; a loss is in nats per text. Options: see the top of this file.

    ignore_index: a label that does not count in the loss

    Every validation measures the accuracy on the validation set, and on the same number of training
    texts.
    Raises: ValueError if a label is not a class of the model, or a text is longer than its context.
    """
    tuning = Tuning("classification_trainer", ClassificationOptions, options, keywords)
    for data in (train, validation):
        if data is None:
            continue
        check_labels(data, model.config.n_classes)
        check_length(data.max_length, model, "max_length of the data set")
    config = model.config
    if train.pad_token_id != config.pad_token_id:
        raise ValueError(
            f"the data is padded with {train.pad_token_id}, the model's pad_token_id is "
            f"{config.pad_token_id}"
        )
    collate = partial(collate_classification, pad_token_id=train.pad_token_id)

    def flops(batch: tuple[Tensor, Tensor]) -> float:
        B, T = batch[0].shape
        if config.pool != "last":
            T = int((batch[0].array != config.pad_token_id).any(0).sum())  # padding is cut off
        return B * T * flops_per_token(model, T)

    def loss(model: Any, batch: tuple[Tensor, Tensor]) -> Tensor:
        return model.loss(*batch, ignore_index=ignore_index)

    sample = train.first(len(validation)) if validation is not None else None

    def report(model: Any) -> Mapping[str, float]:
        assert validation is not None and sample is not None
        return {
            "val_accuracy": accuracy(model, validation),
            "train_accuracy": accuracy(model, sample),
        }

    return tuning.trainer(
        model, TrainingData(train, collate, train.lengths, config.pool != "last"),
        batches_in_order(validation, collate, 32), Rates((1e-3, 5e-5), (2e-3, 2e-4), (5.0, 5.0)),
        report=None if validation is None else report, unit="text", flops=flops,
        **({} if ignore_index == IGNORED else {"loss": loss}),
    )  # fmt: skip


def instruction_trainer(
    model: Any, train: InstructionDataset, validation: InstructionDataset | None = None,
    options: InstructionOptions | None = None, *, pad_token_id: int = END_OF_TEXT, **keywords: Any,
) -> Trainer:  # fmt: skip
    """Tunes a language model on instructions; a loss is in nats per token.

    pad_token_id: the tokenizer's <|endoftext|>, which ends every text and pads short ones
    Options: see the top of this file.
    Raises: ValueError for a max_length above the model's context, and for an example without a
    target that counts.
    """
    tuning = Tuning("instruction_trainer", InstructionOptions, options, keywords)
    o = tuning.options
    max_length = context_length_of(model) if o.max_length is None else o.max_length
    check_length(max_length, model, "max_length")
    collate = partial(
        collate_instructions, pad_token_id=pad_token_id, max_length=max_length,
        mask_instruction=o.mask_instruction,
    )  # fmt: skip
    if o.mask_instruction:
        for data in (train, validation):
            for i, (ids, start) in enumerate([] if data is None else data.examples):
                if max_length is not None and start - 1 >= max_length:
                    raise ValueError(
                        f"entry {i}: its prompt has {start} tokens and is cut at max_length="
                        f"{max_length} before the response begins; leave it out, or take a larger "
                        f"max_length ({len(ids)} holds all of it)"
                    )
    lengths = [len(ids) for ids, _ in train.examples]
    return tuning.trainer(
        model, TrainingData(train, collate, lengths), batches_in_order(validation, collate),
        Rates((2e-3, 5e-5), (2e-3, 2e-4), (10.0, 2.0)),
        flops=lambda batch: _text_flops(model, batch[0].shape),
    )  # fmt: skip


def preference_trainer(
    model: Any, reference: Any, train: PreferenceDataset,
    validation: PreferenceDataset | None = None, options: PreferenceOptions | None = None, *,
    pad_token_id: int = END_OF_TEXT, **keywords: Any,
) -> Trainer:  # fmt: skip
    """Tunes a model on preferences by DPO; a loss is in nats per pair, and ln 2 at first.

    reference: the model as it is now, usually copy.deepcopy(model); it is never changed
    pad_token_id: see instruction_trainer
    Options: see the top of this file; beta, label_smoothing, average: see preferences.DPOLoss.
    Every validation measures the rewards, their margin and the share of pairs in which the chosen
    response has the higher reward.
    Raises: ValueError for a pair of equal responses, for a response of which nothing is left, and
    if model and reference share weights.
    """
    if reference is model or any(
        p.requires_grad and any(p is q for q in reference.parameters()) for p in model.parameters()
    ):
        raise ValueError(
            "the reference shares its weights with the model that is trained: pass a copy, "
            "copy.deepcopy(model)"
        )
    tuning = Tuning("preference_trainer", PreferenceOptions, options, keywords)
    o = tuning.options
    max_length = context_length_of(model) if o.max_length is None else o.max_length
    check_length(max_length, model, "max_length")
    loss = DPOLoss(reference, o.beta, o.label_smoothing, o.average)
    collate = partial(collate_preferences, pad_token_id=pad_token_id, max_length=max_length)
    for data in (train, validation):
        if data is not None:
            check_pairs(data, max_length)
    batches = batches_in_order(validation, collate)

    def report(model: Any) -> Mapping[str, float]:
        assert batches is not None
        means = preference_metrics(model, reference, batches, o.beta, o.label_smoothing, o.average)
        return {f"val_{name}": value for name, value in means.items() if name != "loss"}

    def flops(batch: Mapping[str, Any]) -> float:
        B, T = batch["chosen"].shape
        return 4.0 / 3.0 * _text_flops(model, (2 * B, T))  # the reference's forward is a third

    lengths = [1 + max(len(e["chosen"]), len(e["rejected"])) for e in train.examples]
    return tuning.trainer(
        model, TrainingData(train, collate, lengths), batches,
        Rates((5e-5, 5e-6), (5e-4, 5e-5), (1.0, 1.0)), loss=loss,
        count=lambda batch: batch["chosen"].shape[0], part=part_of_preferences, unit="pair",
        flops=flops,
        report=None if validation is None else report,
    )  # fmt: skip


# ----------------------------------------------------------------------------------- shared
def check_length(length: int | None, model: Any, what: str) -> None:
    """Raises: ValueError if texts of this length do not fit into the model's context."""
    context = context_length_of(model)
    if length is not None and context is not None and length > context:
        raise ValueError(
            f"{what} is {length}, but the model's context is {context} tokens: take a max_length "
            f"of at most {context}"
        )


def check_pairs(data: PreferenceDataset, max_length: int | None) -> None:
    """Raises: ValueError, which names the first pair that cannot be used, and says why."""
    for i, example in enumerate(data.examples):
        start = len(example["prompt"])
        for side in ("chosen", "rejected"):
            if len(example[side]) <= start:
                raise ValueError(f"entry {i}: its {side} response is empty")
            if max_length is not None and start >= max_length:
                raise ValueError(
                    f"entry {i}: its prompt has {start} tokens and is cut at max_length="
                    f"{max_length} before the response begins; leave it out"
                )
        chosen, rejected = (example[side][:max_length] for side in ("chosen", "rejected"))
        if chosen == rejected:
            cut = "" if example["chosen"] == example["rejected"] else f" when cut at {max_length}"
            raise ValueError(
                f"entry {i}: its chosen and rejected responses are equal{cut}: nothing can be "
                "learned from it; leave it out"
            )


def _text_flops(model: Any, shape: tuple[int, int]) -> float:
    B, T = shape
    return B * T * flops_per_token(model, T)


def batches_in_order(
    data: Examples | None, collate: Callable[[Any], Any], batch_size: int = 16
) -> list[Any] | None:
    """All examples of a data set once, in order, as batches; None for no data set."""
    if data is None:
        return None
    rows = [data[i] for i in range(len(data))]
    return [collate(rows[i : i + batch_size]) for i in range(0, len(rows), batch_size)]
