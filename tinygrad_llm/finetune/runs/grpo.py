"""A run in which a model learns from rewards for its own answers."""

from __future__ import annotations

import copy
from typing import Any

from ...generation.calculator import Calculator
from ...training.loop import Trainer
from ..reasoning.options import GRPOOptions
from ..reasoning.trainer import grpo_trainer
from .base import load_base
from .questions import Questions

__all__ = ["GRPO"]


class GRPO(Questions):
    """The run of finetune grpo."""

    name = "grpo"
    options = GRPOOptions
    o: GRPOOptions

    def read_data(self) -> None:
        """Also: what was not chosen follows from whether there is a base."""
        super().read_data()
        o, new = self.o, self.o.base is None
        if o.batch_size is None:
            o.batch_size = min(81, len(self.train)) if new else 8
        if o.temperature is None:
            o.temperature = 1.3 if new else 1.0
        if o.answer_tokens is None:
            # a new model that writes on and on would cost time and context, and learn no more
            longest = max(len(entry["output"].encode()) for entry in [*self.train, *self.test])
            o.answer_tokens = longest + 2 if new else 64
        if new and o.steps is None and o.epochs is None:
            o.steps = 400

    def encode(self) -> None:
        super().encode()
        self.reference = None
        if self.o.beta:
            self.reference = self.as_it_was() if self.resumed else copy.deepcopy(self.model)

    def tool(self) -> Calculator | None:
        return Calculator() if self.o.calculator else None

    def as_it_was(self) -> Any:
        """The reference of a resumed run: the base again, or the same start again."""
        if self.o.base is None:
            tokenizer = self.tokenizer
            model = self.started()
            self.tokenizer = tokenizer
            return model
        return load_base(self.o.base, self.note, self.o.quantize).model

    def make_trainer(self) -> Trainer:
        options: Any = self.o
        # a checkpoint in the middle of a rollout would have to draw it again
        every = -(-options.checkpoint_every // options.updates) * options.updates
        options.checkpoint_every = every
        return grpo_trainer(
            self.model, self.tokenizer, self.train, self.test, options, style=self.style,
            end=self.end, reference=self.reference, progress=self.progress,
        )  # fmt: skip
