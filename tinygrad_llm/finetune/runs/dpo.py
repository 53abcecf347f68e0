"""A run in which a tuned model learns which of two responses is preferred."""

from __future__ import annotations

import copy
from functools import partial
from typing import Any

from ...models import LanguageModel
from ...training.devices import device_of_rank
from ...training.loop import Result, Trainer
from ...training.options import OptionError
from ...training.progress import duration
from ..data import PreferenceDataset, collate_preferences
from ..files import read_entries
from ..options import DPOOptions
from ..preferences import preference_metrics
from ..prompts import default_style
from ..sample_texts import SAMPLE, preferences
from ..splits import usable_pairs
from ..trainers import batches_in_order, preference_trainer
from .base import load_base, padding_of, with_dropout
from .finetuning import Finetuning
from .instruct import answer_all, check_prompts, data_file, show_answers, split

__all__ = ["DPO"]


class DPO(Finetuning):
    """The run of finetune dpo."""

    name = "dpo"
    options = DPOOptions
    o: DPOOptions
    model: LanguageModel

    def read_data(self) -> None:
        """See Finetuning.

        Raises: OptionError for data that cannot be used.
        """
        o = self.o
        o.data = o.data or self.published_or_sample("instruction-preferences")
        named = o.data == "instruction-preferences"
        skip = named if o.skip_unusable is None else o.skip_unusable
        required = ("instruction",) if skip else ("instruction", "chosen", "rejected")
        if o.data == SAMPLE:
            entries = preferences()
        else:
            entries = read_entries(data_file(o.data, "instruction-preferences"), required)
        if skip:
            for i, entry in enumerate(entries):
                for key in ("chosen", "rejected"):
                    if not isinstance(entry.get(key), str):
                        raise OptionError(f"`data`: {o.data}: entry {i} has no {key!r}")
        self.same_data(entries)
        parts = split(entries)
        self.train, self.val, self.test = (usable_pairs(p) if skip else p for p in parts)
        unusable = len(entries) - sum(map(len, (self.train, self.val, self.test)))
        if not self.train or not self.val:
            raise OptionError(f"`data`: {o.data}: no pair is left to train or validate with")
        left_out = f"; {unusable} pairs of equal or empty responses are left out"
        self.note(
            f"data         {o.data}: {len(self.train):,} pairs for training, {len(self.val):,} for "
            f"validation, {len(self.test):,} for the test{left_out if unusable else ''}"
        )

    def make_model(self) -> LanguageModel:
        assert self.base is not None
        self.reference = self.base.model
        model = with_dropout(self.base.model, self.o.drop_rate)
        if model is self.reference:
            model = copy.deepcopy(model)
        return model

    def encode(self) -> None:
        o = self.o
        o.style = self.style = o.style or default_style(self.tokenizer)
        if self.resumed is not None:
            self.load_reference()
        self.sets = [
            PreferenceDataset(rows, self.tokenizer, self.style)
            for rows in (self.train, self.val, self.test)
        ]
        context = self.model.context_length
        self.asked = self.test[: o.answers]
        check_prompts(self.asked, self.tokenizer, self.style, context)
        limit = context if o.max_length is None else o.max_length
        cut = sum(max(len(e["chosen"]), len(e["rejected"])) > limit for e in self.sets[0].examples)
        if cut:
            self.note(f"texts        {cut:,} of the training pairs are cut at {limit} tokens")

    def load_reference(self) -> None:
        """Loads the base again.

        Raises: OptionError if its weights are not the same as before.
        """
        assert self.o.base is not None and self.resumed is not None
        base = load_base(self.o.base, self.note, self.o.quantize)
        if base.fingerprint != self.resumed.config["reference"]:
            raise OptionError(
                f"`resume`: the weights of the base {self.o.base}, the reference of this run, have "
                "changed since the run began"
            )
        self.reference = base.model

    def make_trainer(self) -> Trainer:
        self.reference.to(device_of_rank(self.o.device, self.ranks))
        return preference_trainer(
            self.model, self.reference, self.sets[0], self.sets[1], self.o,
            pad_token_id=padding_of(self.tokenizer), progress=self.progress,
        )  # fmt: skip

    def more_config(self) -> dict[str, Any]:
        if self.resumed is not None:
            reference = self.resumed.config["reference"]
        else:
            assert self.base is not None
            reference = self.base.fingerprint
        return {"style": self.style, "reference": reference}

    def report_test(self) -> None:
        """Measures the test pairs, if there are any."""
        o = self.o
        collate = partial(
            collate_preferences, pad_token_id=padding_of(self.tokenizer),
            max_length=o.max_length or self.model.context_length,
        )  # fmt: skip
        batches = batches_in_order(self.sets[2], collate)
        if batches:
            means = preference_metrics(
                self.model, self.reference, batches, o.beta, o.label_smoothing, o.average
            )
            self.write("test.json", means)
            self.note(
                f"\ntest              loss {means['loss']:.4f}, margin {means['margin']:.3f} "
                f"(chosen {means['chosen_reward']:.3f}, rejected {means['rejected_reward']:.3f}), "
                f"the chosen response has the higher reward in {means['reward_accuracy']:.1%}"
            )

    def report(self, result: Result) -> None:
        self.report_test()
        before = answer_all(self, self.reference, self.asked)
        after = answer_all(self, self.model, self.asked)
        both = [
            {**a, "before": a["model_response"], "after": b["model_response"]}
            for a, b in zip(before, after, strict=True)
        ]
        for entry in both:
            del entry["model_response"]
        if both:
            self.write("answers.json", both)
            show_answers(self, both, "chosen", "rejected", "before", "after")
        self.note(
            f"\nvalidation loss   {result.val_loss:.4f} (nats per pair; ln 2 = 0.6931 at first) "
            f"after {duration(result.seconds)} of training\n"
            f"plot              {result.plot}\n"
            f"checkpoint        {result.checkpoint}"
        )
