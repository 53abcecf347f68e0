"""What the three trainers for fine-tuning share: from options and examples to a Trainer."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Generic, NamedTuple, TypeVar

from ..data.batches import ExampleBatches
from ..layers import lora, quantized
from ..models.base import context_length_of
from ..nn import Module
from ..optim import Optimizer
from ..optim.lr_scheduler import LRScheduler, WarmupCosineLR
from ..training.graphed_step import graphable
from ..training.loop import KEYWORDS, Trainer
from ..training.options import OptionError, did_you_mean, from_keywords
from ..training.step import model_loss
from ..training.weight_decay import decay_groups, make_adamw
from .buckets import bucket_lengths
from .data import Examples
from .options import TuningOptions

__all__ = ["LARGE", "Rates", "TrainingData", "Tuning"]

O = TypeVar("O", bound=TuningOptions)

LARGE = 20_000_000  # parameters: a model of this size or more gets GPT-2's learning rates


class Rates(NamedTuple):
    """What follows from a model's size where it is not given: (of a small, of a large model).

    lr: learning rates; lora_lr: those of LoRA layers; epochs.
    """

    lr: tuple[float, float]
    lora_lr: tuple[float, float]
    epochs: tuple[float, float]


class TrainingData(NamedTuple):
    """Examples, how they become batches, their lengths in tokens, and whether batches may be
    padded to another length (they always may where padding is ignored).

    tokens: the most tokens of a batch, in place of a number of examples; see ExampleBatches
    """

    examples: Examples
    collate: Callable[..., Any]
    lengths: Any
    pads: bool = True
    tokens: int | None = None


class Tuning(Generic[O]):
    """The options of a trainer for fine-tuning, and the trainer that follows from them.

    owner: the function that is called; kind: of its options; keywords: fields of the options, or
    what else Trainer takes.
    Raises: TypeError for a keyword that is neither; OptionError for a value that is not allowed.
    """

    def __init__(
        self, owner: str, kind: type[O], options: O | None, keywords: Mapping[str, Any]
    ) -> None:
        ours = {k: v for k, v in keywords.items() if k in kind.declared()}
        self.others = {k: v for k, v in keywords.items() if k not in ours}
        self.options = from_keywords(owner, kind, options, ours)
        for name in self.others:
            if name not in KEYWORDS:
                known = [*kind.declared(), *KEYWORDS]
                raise TypeError(f"{owner} has no option {name!r}{did_you_mean(name, known)}")

    def rate(self, rates: Rates, large: int, has_lora: bool, warmup: int) -> float:
        """The highest learning rate: that of the options, or by the model's size (large: 0, 1)."""
        lr = (rates.lora_lr if has_lora else rates.lr)[large]
        return lr if self.options.lr is None else self.options.lr

    def scheduler(
        self, optimizer: Optimizer, warmup: int, steps: int, min_lr: float
    ) -> LRScheduler:
        """The schedule of the learning rate."""
        return WarmupCosineLR(optimizer, warmup, steps, min_lr)

    def trainer(
        self, model: Module, data: TrainingData, validation: list[Any] | None, rates: Rates,
        stream: Any = None, **shared: Any,
    ) -> Trainer:  # fmt: skip
        """Batches, AdamW and schedule of the options.

        stream: what makes the batches, in place of ExampleBatches; shared: more arguments of
        Trainer.
        Raises: ValueError without examples, or if every weight is frozen.
        """
        o = self.options
        if not len(data.examples):
            raise ValueError("the training data has no examples")
        trained = [p for p in model.parameters() if p.requires_grad]
        if not trained:
            raise ValueError("every weight of the model is frozen: there is nothing to train")
        size = int(sum(p.numel() for p in model.parameters()) + quantized.count(model) >= LARGE)
        has_lora = any(True for _ in lora.named_layers(model))
        groups = decay_groups(trained, o.weight_decay)
        optimizer = make_adamw(groups, o.shard, betas=(o.beta1, o.beta2))
        graph = o.graph
        if graph and quantized.matrices(model):
            raise OptionError("`graph` cannot be captured with a quantised base: leave it out")
        if graph is None:
            loss = shared.get("loss", model_loss)
            graph = graphable(model, optimizer, loss, o.accumulation)
        collate = data.collate
        if data.pads and graph:
            longest = context_length_of(model)
            buckets = bucket_lengths(data.lengths, o.buckets, longest)
            collate = partial(collate, buckets=buckets)
        batches = stream
        if batches is None:
            batches = ExampleBatches(
                data.examples, o.batch_size, collate, seed=o.seed, lengths=data.lengths,
                tokens=data.tokens,
            )  # fmt: skip
        steps, epochs = o.steps, o.epochs
        if steps is None:
            epochs = rates.epochs[size] if epochs is None else epochs
            steps = max(1, round(epochs * len(batches) / o.accumulation))
        warmup = steps // 10 if o.warmup is None else min(o.warmup, steps - 1)
        lr = self.rate(rates, size, has_lora, warmup)
        for group in optimizer.param_groups:
            group["lr"] = lr
        least = lr / 10.0 if o.min_lr is None else o.min_lr
        shared |= self.others
        config = dict(shared.pop("config", None) or {})
        if has_lora:
            config.setdefault("lora", lora.settings(model))
        options = dataclasses.replace(o, steps=steps, epochs=epochs, lr=lr)
        return Trainer(
            model, optimizer, batches, options, validation=validation, config=config,
            scheduler=self.scheduler(optimizer, warmup, steps, least), **shared,
        )  # fmt: skip
