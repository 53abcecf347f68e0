"""A run in which a language model learns to follow instructions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from ...data import corpora
from ...models import LanguageModel
from ...nn import Module
from ...text import Tokenizer
from ...training.loop import Result, Trainer
from ...training.options import OptionError
from ...training.progress import duration
from ...training.runs import counting
from ..data import InstructionDataset
from ..files import read_entries
from ..instructions import respond, respond_to_all, word_overlap
from ..options import InstructOptions
from ..prompts import default_style, style_of
from ..sample_texts import SAMPLE, instructions
from ..splits import split_in_order
from ..trainers import instruction_trainer
from ..tuning import LARGE
from .base import padding_of, with_dropout
from .finetuning import Finetuning

__all__ = ["Instruct", "answer_all", "check_prompts", "data_file", "show_answers", "split"]

E = TypeVar("E")
Entry = Mapping[str, str]  # the texts of an example, by name


class Instruct(Finetuning):
    """The run of finetune instruct."""

    name = "instruct"
    options = InstructOptions
    o: InstructOptions
    model: LanguageModel

    def read_data(self) -> None:
        o = self.o
        o.data = o.data or self.published_or_sample("instruction-data")
        if o.data == SAMPLE:
            entries = instructions()
        else:
            entries = read_entries(data_file(o.data, "instruction-data"), ("instruction", "output"))
        self.same_data(entries)
        self.train, self.val, self.test = split(entries)
        self.note(
            f"data         {o.data}: {len(self.train):,} instructions for training, "
            f"{len(self.val):,} for validation, {len(self.test):,} for the test"
        )

    def make_model(self) -> LanguageModel:
        assert self.base is not None
        return with_dropout(self.base.model, self.o.drop_rate)

    def encode(self) -> None:
        o = self.o
        o.style = self.style = o.style or default_style(self.tokenizer)
        self.sets = [
            InstructionDataset(rows, self.tokenizer, self.style) for rows in (self.train, self.val)
        ]
        context = self.model.context_length
        limit = context if o.max_length is None else o.max_length
        cut = sum(len(ids) > limit for ids, _ in self.sets[0].examples)
        if cut:
            self.note(f"texts        {cut:,} of the training texts are cut at {limit} tokens")
        self.asked = self.test if o.answers is None else self.test[: o.answers]
        check_prompts(self.asked, self.tokenizer, self.style, context)

    def make_trainer(self) -> Trainer:
        return instruction_trainer(
            self.model, self.sets[0],
            self.sets[1], self.o, pad_token_id=padding_of(self.tokenizer),
            sample=self.sample, progress=self.progress,
        )  # fmt: skip

    def sample(self, model: Any) -> str:
        """The response to the first validation instruction."""
        entry = self.val[0] if self.val else self.train[0]
        try:
            response = respond(
                model, self.tokenizer, entry, self.style, max_new_tokens=self.o.answer_tokens
            )
        except ValueError as error:  # its prompt fills the context
            response = str(error)
        return f"{entry['instruction']} {entry.get('input', '')}\n-> {response}"

    def more_config(self) -> dict[str, Any]:
        return {"style": self.style}

    def report(self, result: Result) -> None:
        answered = answer_all(self, self.model, self.asked)
        scores = [word_overlap(e["model_response"], e["output"]) for e in answered]
        exact = sum(e["model_response"].strip() == e["output"].strip() for e in answered)
        show_answers(self, answered[:3], "output", "model_response")
        if answered:
            path = self.write("answers.json", answered)
            self.note(
                f"\nanswers           {len(answered)} in {path}: {exact} exactly as expected, "
                f"{sum(scores) / len(scores):.1%} of the words shared (F1)"
            )
        size = self.model.n_parameters()
        if size < LARGE:
            self.note(
                f"caution           {size / 1e6:.1f} million weights learn the form of an answer, "
                "not what is true"
            )
        self.note(
            f"validation loss   {result.val_loss:.4f} (nats per token) after "
            f"{duration(result.seconds)} of training\n"
            f"plot              {result.plot}\n"
            f"checkpoint        {result.checkpoint}"
        )


# ----------------------------------------------------------------------- shared with dpo
def data_file(name: str, named: str) -> str | Path:
    """The file of the data set `named` if that is the name, else the name as a path."""
    return corpora.path(name) if name == named else name


def split(entries: list[E]) -> tuple[list[E], list[E], list[E]]:
    """(train, validation, test) in their order.

    Raises: OptionError if one would be empty.
    """
    parts = split_in_order(entries)
    for part, rows in zip(("training", "validation", "test"), parts, strict=True):
        if not rows:
            raise OptionError(
                f"`data`: {len(entries)} entries leave none for {part}: 85 % are for training, "
                "10 % for the test and 5 % for validation, so 20 are needed"
            )
    return parts


def check_prompts(entries: Sequence[Entry], tokenizer: Tokenizer, style: str, context: int) -> None:
    """Raises: OptionError for a prompt that leaves no room for an answer in the context."""
    words = style_of(style)
    for entry in entries:
        n = len(words.prompt_ids(tokenizer, entry))
        if n >= context:
            raise OptionError(
                f"`base`: its context of {context} tokens has no room for an answer after a prompt "
                f"of {n} tokens ({entry['instruction'][:50]!r}): take a base with a longer "
                "`context_length`"
            )


def answer_all(run: Finetuning, model: Module, entries: Sequence[Entry]) -> list[dict[str, str]]:
    """The entries with the model's greedy responses; every few seconds a line says how many."""
    return respond_to_all(
        model, run.tokenizer, entries, run.style, max_new_tokens=run.o.answer_tokens,
        progress=counting(run.note, "answering    {done} of {of}"),
    )  # fmt: skip


def show_answers(run: Finetuning, entries: Sequence[Entry], *keys: str) -> None:
    """Prints instructions, and under each the texts of these keys: expected, the model's …"""
    words = {
        "output": "expected", "model_response": "model", "before": "before", "after": "after",
        "chosen": "chosen", "rejected": "rejected",
    }  # fmt: skip
    for entry in entries:
        text = f"\n{entry['input']}" if entry.get("input") else ""
        lines = [f"{words[key]:<9} {entry[key]}" for key in keys]
        run.note("")
        run.progress.sample("\n".join([entry["instruction"] + text, *lines]))
