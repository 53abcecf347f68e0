"""A trainer for each kind of fine-tuning: `training.Trainer` with the right batches and loss.

    trainer = classification_trainer(model, train_set, validation_set, epochs=5, folder="runs/a")
    print(trainer.plan())            # what it will cost, measured
    result = trainer.run()           # or trainer.run(resume=True)

Only parameters that require grad are trained, so freeze layers or add LoRA first. All three take

    epochs          passes over the training examples; or `steps`, optimizer steps
    batch_size      examples in a batch; `accumulation` batches in a step
    lr              the highest learning rate. The rate rises to it in the first tenth of the steps
                    (`warmup`, in steps) and falls along a cosine to `min_lr`, by default lr / 10
    weight_decay    AdamW's, on matrices; `betas` are AdamW's too
    seed            of the order of the examples
    folder          where checkpoints, metrics and plot go; None writes nothing

and the other options of `training.Trainer` (clip, eval_every, checkpoint_every, progress, ...).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from ..data.batches import ExampleBatches
from ..layers import lora
from ..models.base import context_length_of
from ..models.classifier import GPTClassifier
from ..models.costs import flops_per_token
from ..nn import Module
from ..optim import AdamW
from ..optim.lr_scheduler import WarmupCosineLR
from ..tensor import Tensor, wrap
from ..training.loop import Trainer
from ..training.weight_decay import decay_groups
from .classification import accuracy, check_labels
from .data import (
    Examples,
    InstructionDataset,
    PreferenceDataset,
    TextClassificationDataset,
    collate_instructions,
    collate_preferences,
)
from .preferences import DPOLoss, preference_metrics

__all__ = ["classification_trainer", "instruction_trainer", "preference_trainer"]


def classification_trainer(
    model: GPTClassifier, train: TextClassificationDataset,
    validation: TextClassificationDataset | None = None, *, epochs: float = 5, **options: Any,
) -> Trainer:  # fmt: skip
    """Trains a classifier; a loss is in nats per text. Options: see the top of this file.

    Every validation measures the accuracy on the validation set, and on the same number of training
    texts.
    Raises: ValueError if a label is not a class of the model, or a text is longer than its context.
    """
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

    def collate(pairs: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
        ids = np.stack([ids.array for ids, _ in pairs])  # (B, T)
        labels = np.stack([label.array for _, label in pairs])  # (B)
        return wrap(ids), wrap(labels)

    def flops(batch: tuple[Tensor, Tensor]) -> float:
        B, T = batch[0].shape
        if config.pool != "last":
            T = int((batch[0].array != config.pad_token_id).any(0).sum())  # padding is cut off
        return B * T * flops_per_token(model, T)

    sample = train.first(len(validation)) if validation is not None else None

    def report(model: Any) -> Mapping[str, float]:
        assert validation is not None and sample is not None
        return {
            "val_accuracy": accuracy(model, validation),
            "train_accuracy": accuracy(model, sample),
        }

    return _trainer(
        model, train, collate, train.lengths, batches_in_order(validation, collate, 32), epochs,
        report=None if validation is None else report, unit="text", flops=flops, **options,
    )  # fmt: skip


def instruction_trainer(
    model: Any, train: InstructionDataset, validation: InstructionDataset | None = None, *,
    epochs: float = 2, max_length: int | None = None, mask_instruction: bool = False,
    pad_token_id: int = 50256, **options: Any,
) -> Trainer:  # fmt: skip
    """Tunes a language model on instructions; a loss is in nats per token.

    max_length: longer texts are cut at the end; None for the model's context
    mask_instruction: only the tokens of the responses count
    pad_token_id: the tokenizer's <|endoftext|>, which ends every text and pads short ones
    Other options: see the top of this file.
    Raises: ValueError for a max_length above the model's context, and for an example without a
    target that counts.
    """
    longest = context_length_of(model)
    if max_length is None:
        max_length = longest
    check_length(max_length, model, "max_length")
    collate = partial(
        collate_instructions, pad_token_id=pad_token_id, max_length=max_length,
        mask_instruction=mask_instruction,
    )  # fmt: skip
    if mask_instruction:
        for data in (train, validation):
            for i, (ids, start) in enumerate([] if data is None else data.examples):
                if max_length is not None and start - 1 >= max_length:
                    raise ValueError(
                        f"entry {i}: its prompt has {start} tokens and is cut at max_length="
                        f"{max_length} before the response begins; leave it out, or take a larger "
                        f"max_length ({len(ids)} holds all of it)"
                    )
    lengths = [len(ids) for ids, _ in train.examples]
    return _trainer(
        model, train, collate, lengths, batches_in_order(validation, collate), epochs,
        flops=lambda batch: _text_flops(model, batch[0].shape), **options,
    )  # fmt: skip


def preference_trainer(
    model: Any, reference: Any, train: PreferenceDataset,
    validation: PreferenceDataset | None = None, *, epochs: float = 1, beta: float = 0.1,
    label_smoothing: float = 0.0, average: bool = False, max_length: int | None = None,
    pad_token_id: int = 50256, **options: Any,
) -> Trainer:  # fmt: skip
    """Tunes a model on preferences by DPO; a loss is in nats per pair, and ln 2 at first.

    reference: the model as it is now, usually copy.deepcopy(model); it is never changed
    beta, label_smoothing, average: see preferences.DPOLoss
    max_length, pad_token_id: see instruction_trainer
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
    if max_length is None:
        max_length = context_length_of(model)
    check_length(max_length, model, "max_length")
    loss = DPOLoss(reference, beta, label_smoothing, average)
    collate = partial(collate_preferences, pad_token_id=pad_token_id, max_length=max_length)
    for data in (train, validation):
        if data is not None:
            check_pairs(data, max_length)
    batches = batches_in_order(validation, collate)

    def report(model: Any) -> Mapping[str, float]:
        assert batches is not None
        means = preference_metrics(model, reference, batches, beta, label_smoothing, average)
        return {f"val_{name}": value for name, value in means.items() if name != "loss"}

    def flops(batch: Mapping[str, Any]) -> float:
        B, T = batch["chosen"].shape
        return 4.0 / 3.0 * _text_flops(model, (2 * B, T))  # the reference's forward is a third

    lengths = [max(len(e["chosen"]), len(e["rejected"])) for e in train.examples]
    return _trainer(
        model, train, collate, lengths, batches, epochs, loss=loss,
        count=lambda batch: batch["chosen"].shape[0], unit="pair", flops=flops,
        report=None if validation is None else report, **options,
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


def _trainer(
    model: Module, train: Examples, collate: Callable[[Any], Any], lengths: Sequence[int],
    validation: list[Any] | None, epochs: float, *, steps: int | None = None,
    batch_size: int = 8, accumulation: int = 1,
    lr: float = 5e-5, min_lr: float | None = None, warmup: int | None = None,
    weight_decay: float = 0.1, betas: tuple[float, float] = (0.9, 0.999), seed: int = 123,
    **options: Any,
) -> Trainer:  # fmt: skip
    if not len(train):
        raise ValueError("the training data has no examples")
    batches = ExampleBatches(train, batch_size, collate, seed=seed, lengths=lengths)
    if steps is None:
        if not epochs > 0:
            raise ValueError(f"epochs must be more than 0, got {epochs}")
        steps = max(1, round(epochs * len(batches) / accumulation))
    trained = [p for p in model.parameters() if p.requires_grad]
    if not trained:
        raise ValueError("every weight of the model is frozen: there is nothing to train")
    optimizer = AdamW(decay_groups(trained, weight_decay), lr=lr, betas=betas)
    warmup = steps // 10 if warmup is None else min(warmup, steps - 1)
    scheduler = WarmupCosineLR(optimizer, warmup, steps, lr / 10.0 if min_lr is None else min_lr)
    config = dict(options.pop("config", None) or {})
    if any(True for _ in lora.named_layers(model)):
        config.setdefault("lora", lora.settings(model))
    return Trainer(
        model, optimizer, batches, steps=steps, scheduler=scheduler, validation=validation,
        accumulation=accumulation, config=config, **options,
    )  # fmt: skip
