"""A run in which a student learns from a teacher's answers, or from its probabilities."""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any

from ...data.batches import IGNORED, ExampleBatches
from ...layers.distillation import DistillationLoss
from ...models.base import context_length_of
from ...training.devices import on_device
from ...training.loop import Trainer
from ...training.options import OptionError
from ...training.runs import counting
from ..data import InstructionDataset, collate_instructions
from ..prompts import has_chat
from ..reasoning.distilling import OnPolicy, SoftLoss, teacher_answers
from ..reasoning.options import DistillOptions
from ..reasoning.rollouts import RolloutOptions, Rollouts
from ..reasoning.trainer import right_answers
from ..trainers import batches_in_order
from ..tuning import Rates, TrainingData, Tuning
from .base import load_base, padding_of
from .questions import Questions

__all__ = ["Distill"]


class Distill(Questions):
    """The run of finetune distill."""

    name = "distill"
    options = DistillOptions
    o: DistillOptions

    def load_base(self) -> None:
        """Also the teacher, whose tokenizer a student without a base takes.

        Raises: OptionError without a teacher, or if it is not a language model.
        """
        if self.o.teacher is None:
            raise OptionError("`teacher`: name a run, or published weights, whose answers to learn")
        super().load_base()
        self.teacher = load_base(self.o.teacher, self.note)
        self.o.teacher = self.teacher.name
        self.note(f"teacher      {self.teacher.description}: {self.teacher.model.config.summary()}")
        if self.base is None and self.resumed is None:
            self.new_tokenizer = self.teacher.tokenizer

    def encode(self) -> None:
        """Also: the teacher's answers.

        Raises: OptionError if none is kept, or where two vocabularies cannot be compared.
        """
        super().encode()
        o = self.o
        on_device(self.teacher.model, o.device)
        if o.kind != "hard" and self.teacher.tokenizer.vocab_size != self.tokenizer.vocab_size:
            raise OptionError(
                f"`kind` {o.kind} needs one vocabulary: the teacher has "
                f"{self.teacher.tokenizer.vocab_size:,} tokens, the student "
                f"{self.tokenizer.vocab_size:,}; take `kind` hard"
            )
        if self.resumed is not None:
            self.rows = [dict(row) for row in self.resumed.config["teacher_answers"]]
            return
        style = "chat" if has_chat(self.teacher.tokenizer) else self.style
        answers = teacher_answers(
            self.teacher.model, self.teacher.tokenizer, self.train, style,
            end=padding_of(self.teacher.tokenizer), samples=o.samples, temperature=o.temperature,
            answer_tokens=o.answer_tokens, keep=o.learn, boxed=o.boxed, longest=o.longest,
            seed=o.seed, progress=counting(self.note, "teacher      {done} of {of} answered"),
        )  # fmt: skip
        self.rows = answers.entries
        self.note(f"texts        {answers}")
        if not self.rows:
            raise OptionError(
                "`teacher`: none of its answers was kept; take `learn` finished, more `samples`, "
                "or a better teacher"
            )

    def make_trainer(self) -> Trainer:
        o: Any = self.o
        tuning = Tuning("finetune distill", DistillOptions, o, {"progress": self.progress})
        data = InstructionDataset(self.rows, self.tokenizer, self.style)
        validation = InstructionDataset(self.test, self.tokenizer, self.style)
        collate = partial(
            collate_instructions, pad_token_id=self.end, mask_instruction=True,
            max_length=self.model.context_length,
        )  # fmt: skip
        more: dict[str, Any] = {}
        if o.kind != "hard":
            more["loss"] = SoftLoss(self.teacher.model, DistillationLoss(o.softness, o.direction))
            more["count"] = lambda batch: int((batch[1].array != IGNORED).sum())
        lengths = [len(ids) for ids, _ in data.examples]
        if o.kind == "on-policy":
            taught = ExampleBatches(data, o.batch_size, collate, seed=o.seed, lengths=lengths)
            more["stream"] = OnPolicy(self.own_answers(data), taught, o.own_share)

        def report(model: Any) -> dict[str, float]:
            rights, _ = right_answers(
                model, self.tokenizer, self.test, self.style, end=self.end,
                answer_tokens=o.answer_tokens, boxed=o.boxed,
            )  # fmt: skip
            return {"val_accuracy": float(rights.mean())}

        return tuning.trainer(
            self.model, TrainingData(data, collate, lengths),
            batches_in_order(validation, collate), Rates((2e-3, 5e-5), (2e-3, 2e-4), (60.0, 2.0)),
            report=report, **more,
        )  # fmt: skip

    def own_answers(self, data: InstructionDataset) -> Rollouts:
        """The student's answers, which end where the teacher has nothing to say any more.

        They are as long as the longest answer that is learned, and one more: otherwise most tokens
        would be of endless texts, which no teacher writes. And teacher and student must
        have seen these places: neither reads beyond its context.
        Raises: OptionError if a prompt leaves no room for an answer.
        """
        o = self.o
        longest = max(len(ids) - start for ids, start in data.examples) + 2
        rollout = RolloutOptions(
            1, o.batch_size, 1, min(o.answer_tokens, longest), o.temperature, "dr_grpo", o.boxed,
            0.0, o.seed,
        )  # fmt: skip
        own = Rollouts(self.model, self.tokenizer, self.train, self.style, self.end, rollout)
        contexts = [context_length_of(each) for each in (self.model, self.teacher.model)]
        prompt = max(map(len, own.prompts))
        room = min([rollout.answer_tokens, *(n - prompt for n in contexts if n is not None)])
        if room < 1:
            raise OptionError(
                f"`data`: a prompt has {prompt} tokens, and the contexts of student and teacher "
                f"are {contexts[0]} and {contexts[1]}: there is no room for an answer"
            )
        own.o = dataclasses.replace(rollout, answer_tokens=room)
        return own

    def more_config(self) -> dict[str, Any]:
        return {**super().more_config(), "teacher_answers": self.rows}
