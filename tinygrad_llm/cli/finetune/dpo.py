"""tinygrad-llm finetune dpo: a tuned model learns which of two responses is preferred."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..errors import BadValue
from .base import load_base, padding_of, with_dropout
from .instruct import answer_all, check_prompts, data_file, show_answers, split
from .options import DPOOptions
from .run import Finetuning

if TYPE_CHECKING:
    from ...models import LanguageModel
    from ...training import Result, Trainer

__all__ = ["DPO", "HELP"]

HELP = """Tune a model on preferences: pairs of a chosen and a rejected response (DPO).

DATA is instruction-preferences (the default: 1,100 pairs), or a .json or .jsonl file of entries
with "instruction", "chosen", "rejected" and perhaps "input". --base is the model to start from,
usually a run of tinygrad-llm finetune instruct; unchanged, it is also the reference. The first loss
is ln 2 = 0.6931, because at first the model and the reference agree; then the margins grow.

\b
Examples:
  tinygrad-llm finetune dpo --base runs/instruct-instruction-data-1
  tinygrad-llm finetune dpo --base runs/instruct-instruction-data-1 --beta 0.5 --lora
  tinygrad-llm finetune dpo pairs.jsonl --base gpt2 --average --label-smoothing 0.1
  tinygrad-llm finetune dpo --resume runs/dpo-instruction-preferences-1

Every option can also be in a JSON or TOML file, --config FILE; the command line takes
precedence.
"""


class DPO(Finetuning):
    """The run of finetune dpo."""

    name = "dpo"
    options = DPOOptions
    o: DPOOptions
    model: LanguageModel
    rates = (5e-5, 5e-6)
    lora_rates = (5e-4, 5e-5)
    rounds = (1.0, 1.0)

    def read_data(self) -> None:
        from ...finetune import usable_pairs
        from ...finetune.files import read_entries

        o = self.o
        o.data = o.data or "instruction-preferences"
        named = o.data == "instruction-preferences"
        skip = named if o.skip_unusable is None else o.skip_unusable
        required = ("instruction",) if skip else ("instruction", "chosen", "rejected")
        entries = read_entries(data_file(o.data, "instruction-preferences"), required)
        if skip:
            for i, entry in enumerate(entries):
                for key in ("chosen", "rejected"):
                    if not isinstance(entry.get(key), str):
                        raise BadValue(f"DATA: {o.data}: entry {i} has no {key!r}")
        self.same_data(entries)
        parts = split(entries)
        self.train, self.val, self.test = (usable_pairs(p) if skip else p for p in parts)
        unusable = len(entries) - sum(map(len, (self.train, self.val, self.test)))
        if not self.train or not self.val:
            raise BadValue(f"DATA: {o.data}: no usable pair is left for training or validation")
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
            import copy

            model = copy.deepcopy(model)
        return model

    def encode(self) -> None:
        from ...finetune import PreferenceDataset

        o = self.o
        if self.resumed is not None:
            self.load_reference()
        self.sets = [
            PreferenceDataset(rows, self.tokenizer, o.style)
            for rows in (self.train, self.val, self.test)
        ]
        context = self.model.context_length
        self.asked = self.test[: o.answers]
        check_prompts(self.asked, self.tokenizer, o.style, context)
        limit = context if o.max_length is None else o.max_length
        cut = sum(max(len(e["chosen"]), len(e["rejected"])) > limit for e in self.sets[0].examples)
        if cut:
            self.note(f"texts        {cut:,} of the training pairs are cut at {limit} tokens")

    def load_reference(self) -> None:
        """Loads the base again.

        Raises: BadValue if its weights are not the same as before.
        """
        assert self.o.base is not None and self.resumed is not None
        base = load_base(self.o.base, self.note)
        if base.fingerprint != self.resumed.config["reference"]:
            raise BadValue(
                f"--resume: the weights of the base {self.o.base}, the reference of this run, have "
                "changed since the run began"
            )
        self.reference = base.model

    def make_trainer(self, **shared: Any) -> Trainer:
        from ...finetune import preference_trainer

        o = self.o
        self.reference.to(o.device)
        return preference_trainer(
            self.model, self.reference, self.sets[0], self.sets[1], beta=o.beta,
            label_smoothing=o.label_smoothing, average=o.average, max_length=o.max_length,
            pad_token_id=padding_of(self.tokenizer), **shared,
        )  # fmt: skip

    def more_config(self) -> dict[str, Any]:
        if self.resumed is not None:
            reference = self.resumed.config["reference"]
        else:
            assert self.base is not None
            reference = self.base.fingerprint
        return {"style": self.o.style, "reference": reference}

    def report_test(self) -> None:
        """Measures the test pairs, if there are any."""
        from functools import partial

        from ...finetune import collate_preferences, preference_metrics
        from ...finetune.trainers import batches_in_order

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
        from ...training.progress import duration

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
            f"checkpoint        {result.checkpoint}\n"
            f'next              tinygrad-llm finetune ask {self.o.out} "..."'
        )
