"""tinygrad-llm finetune instruct: a language model learns to follow instructions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ..errors import BadValue
from ..runs import counting
from .base import padding_of, with_dropout
from .options import InstructOptions
from .run import LARGE, Finetuning

if TYPE_CHECKING:
    from ...models import LanguageModel
    from ...nn import Module
    from ...text import Tokenizer
    from ...training import Result, Trainer

__all__ = ["HELP", "Instruct", "answer_all", "check_prompts", "data_file", "show_answers", "split"]

E = TypeVar("E")
Entry = Mapping[str, str]  # the texts of an example, by name

HELP = """Tune a language model on instructions and their responses.

DATA is instruction-data (the default: 1,100 instructions), or a .json or .jsonl file of entries
with "instruction", "output" and perhaps "input". --base is the model to start from: a run of
tinygrad-llm pretrain or a checkpoint of it, gpt2 (downloaded once), or a folder with GPT-2's
weights. In their order, 85 % of the entries are for training, 10 % for the test and 5 % for
validation.

\b
Examples:
  tinygrad-llm pretrain --context-length 256 --out runs/base
  tinygrad-llm finetune instruct --base runs/base
  tinygrad-llm finetune instruct --base runs/base --lora --lora-rank 16
  tinygrad-llm finetune instruct my_data.json --base gpt2 --style phi3 --mask-instruction
  tinygrad-llm finetune instruct --resume runs/instruct-instruction-data-1
  tinygrad-llm finetune ask runs/instruct-instruction-data-1 "Name three fruits."

A base that was trained here in minutes learns the form of an answer, not what is true.

Every option can also be in a JSON or TOML file, --config FILE; the command line takes
precedence.
"""


class Instruct(Finetuning):
    """The run of finetune instruct."""

    name = "instruct"
    options = InstructOptions
    o: InstructOptions
    model: LanguageModel
    rates = (2e-3, 5e-5)
    lora_rates = (2e-3, 2e-4)
    rounds = (10.0, 2.0)

    def read_data(self) -> None:
        from ...finetune.files import read_entries

        o = self.o
        o.data = o.data or "instruction-data"
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
        from ...finetune import InstructionDataset

        o = self.o
        self.sets = [
            InstructionDataset(rows, self.tokenizer, o.style) for rows in (self.train, self.val)
        ]
        context = self.model.context_length
        limit = context if o.max_length is None else o.max_length
        cut = sum(len(ids) > limit for ids, _ in self.sets[0].examples)
        if cut:
            self.note(f"texts        {cut:,} of the training texts are cut at {limit} tokens")
        self.asked = self.test if o.answers is None else self.test[: o.answers]
        check_prompts(self.asked, self.tokenizer, o.style, context)

    def make_trainer(self, **shared: Any) -> Trainer:
        from ...finetune import instruction_trainer

        o = self.o
        return instruction_trainer(
            self.model, *self.sets, max_length=o.max_length, mask_instruction=o.mask_instruction,
            pad_token_id=padding_of(self.tokenizer), sample=self.sample, **shared,
        )  # fmt: skip

    def sample(self, model: Any) -> str:
        """The response to the first validation instruction."""
        from ...finetune import respond

        entry = self.val[0] if self.val else self.train[0]
        try:
            response = respond(
                model, self.tokenizer, entry, self.o.style, max_new_tokens=self.o.answer_tokens
            )
        except ValueError as error:  # its prompt fills the context
            response = str(error)
        return f"{entry['instruction']} {entry.get('input', '')}\n-> {response}"

    def more_config(self) -> dict[str, Any]:
        return {"style": self.o.style}

    def report(self, result: Result) -> None:
        from ...finetune import word_overlap
        from ...training.progress import duration

        o = self.o
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
        size = sum(p.numel() for p in self.model.parameters())
        if size < LARGE:
            self.note(
                f"caution           {size / 1e6:.1f} million weights learn the form of an answer, "
                "not what is true"
            )
        self.note(
            f"validation loss   {result.val_loss:.4f} (nats per token) after "
            f"{duration(result.seconds)} of training\n"
            f"plot              {result.plot}\n"
            f"checkpoint        {result.checkpoint}\n"
            f'next              tinygrad-llm finetune ask {o.out} "..."\n'
            f"                  tinygrad-llm finetune dpo --base {o.out}"
        )


# ----------------------------------------------------------------------- shared with dpo
def data_file(name: str, named: str) -> str | Path:
    """The file of the data set `named` if that is the name, else the name as a path."""
    from ...data import corpora

    return corpora.path(name) if name == named else name


def split(entries: list[E]) -> tuple[list[E], list[E], list[E]]:
    """(train, validation, test) in their order.

    Raises: BadValue if one would be empty.
    """
    from ...finetune import split_in_order

    parts = split_in_order(entries)
    for part, rows in zip(("training", "validation", "test"), parts, strict=True):
        if not rows:
            raise BadValue(
                f"DATA: {len(entries)} entries leave none for {part}: 85 % are for training, 10 % "
                "for the test and 5 % for validation, so 20 are needed"
            )
    return parts


def check_prompts(entries: Sequence[Entry], tokenizer: Tokenizer, style: str, context: int) -> None:
    """Raises: BadValue for a prompt that leaves no room for an answer in the context."""
    from ...finetune.prompts import style_of

    words = style_of(style)
    for entry in entries:
        n = len(tokenizer.encode(words.prompt(entry) + words.answer("")))
        if n >= context:
            raise BadValue(
                f"--base: its context of {context} tokens has no room for an answer after a prompt "
                f"of {n} tokens ({entry['instruction'][:50]!r}): take a base with a longer "
                "--context-length"
            )


def answer_all(run: Finetuning, model: Module, entries: Sequence[Entry]) -> list[dict[str, str]]:
    """The entries with the model's greedy responses; every few seconds a line says how many."""
    from ...finetune import respond_to_all

    return respond_to_all(
        model, run.tokenizer, entries, run.o.style, max_new_tokens=run.o.answer_tokens,
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
