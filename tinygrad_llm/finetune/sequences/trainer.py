"""A trainer of encoder-decoders on pairs of texts."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

from ...models.base import context_length_of, matrix_flops_per_token
from ...models.encoder_decoder import EncoderDecoder
from ...optim import Optimizer
from ...optim.lr_scheduler import LRScheduler, WarmupInverseSqrtLR
from ...tensor import Tensor
from ...training.loop import Trainer
from ..trainers import batches_in_order
from ..tuning import Rates, TrainingData, Tuning
from .data import PairDataset, collate_pairs
from .options import SequenceOptions

__all__ = ["SequenceLoss", "sequence_flops", "sequence_trainer"]


class SequenceLoss:
    """(model, batch of collate_pairs) -> the mean cross-entropy of its labels, 0-d.

    label_smoothing: counts in training mode only, so that validation losses are plain
    cross-entropies, in nats per token, whose exponential is the perplexity.
    """

    def __init__(self, label_smoothing: float = 0.0) -> None:
        self.label_smoothing = label_smoothing

    def __call__(self, model: Any, batch: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        ids, mask, labels = batch
        smoothing = self.label_smoothing if model.training else 0.0
        loss: Tensor = model.loss(ids, labels, attention_mask=mask, label_smoothing=smoothing)
        return loss


def sequence_flops(model: EncoderDecoder, batch: tuple[Tensor, Tensor, Tensor]) -> float:
    """Floating-point operations of a training step: what the encoder does for every token of the
    sources, the decoder and the output layer for every token of the targets, padding included.
    """
    (B, S), (_, T) = batch[0].shape, batch[2].shape
    encoder = matrix_flops_per_token(model.encoder)
    decoder = matrix_flops_per_token(model.decoder) + matrix_flops_per_token(model.output_layer)
    between = sum(_scores(stack, n) * n for stack, n in ((model.encoder, S), (model.decoder, T)))
    return float(B) * (S * encoder + T * decoder + between)


def _scores(stack: Any, length: int) -> float:
    """Operations of all attentions of a stack per token of a text of this length."""
    layers = [m for m in stack.modules() if hasattr(type(m), "flops_per_token")]
    return float(sum(m.flops_per_token(length) for m in layers))


class _SequenceTuning(Tuning[SequenceOptions]):
    """With the schedule of the options, and the paper's rate for its schedule."""

    channels = 1

    def rate(self, rates: Rates, large: int, has_lora: bool, warmup: int) -> float:
        if self.options.lr is None and self.options.schedule == "inverse_sqrt" and not has_lora:
            papers = 1.0 / math.sqrt(self.channels * max(1, warmup))
            return min(papers, super().rate(rates, large, has_lora, warmup))
        return super().rate(rates, large, has_lora, warmup)

    def scheduler(
        self, optimizer: Optimizer, warmup: int, steps: int, min_lr: float
    ) -> LRScheduler:
        if self.options.schedule == "inverse_sqrt":
            return WarmupInverseSqrtLR(optimizer, max(1, warmup))
        return super().scheduler(optimizer, warmup, steps, min_lr)


def sequence_trainer(
    model: EncoderDecoder, train: PairDataset, validation: PairDataset | None = None,
    options: SequenceOptions | None = None, **keywords: Any,
) -> Trainer:  # fmt: skip
    """Trains an encoder-decoder on pairs; a loss is in nats per token of the targets.

    options, keywords: see finetune/trainers.py. With schedule="inverse_sqrt" and without lr the
    highest rate is the paper's, 1/√(channels · warmup), or that of the model's size if it is lower:
    a short warm-up would make the paper's too high.
    Raises: ValueError if a text is longer than the model's context.
    """
    tuning = _SequenceTuning("sequence_trainer", SequenceOptions, options, keywords)
    config: Any = model.config
    tuning.channels = config.emb_dim
    context = context_length_of(model)
    for data in (train, validation):
        if data is not None and context is not None and data.lengths.max() > context:
            raise ValueError(
                f"a text has {data.lengths.max()} tokens, but the model's context is {context}: "
                "pass max_source and max_target to the data set"
            )
    tokens = tuning.options.batch_tokens
    rates = Rates((2e-3, 2e-4), (2e-3, 5e-4), (10.0, 3.0))
    return tuning.trainer(
        model, TrainingData(train, collate_pairs, train.lengths, False, tokens),
        batches_in_order(validation, collate_pairs, 64), rates,
        loss=SequenceLoss(tuning.options.label_smoothing),
        flops=partial(sequence_flops, model),
    )  # fmt: skip
