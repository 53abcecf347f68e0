"""tinygrad-llm finetune ask: a fine-tuned model classifies, answers, translates, summarizes."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable
from typing import Any

import typer

from ...files.plain_text import say
from ...files.program import command_line
from ...training.devices import check_device
from ..errors import BadValue, blame, newest_checkpoint
from ..options import must_be
from . import pairs

__all__ = ["HELP", "ask"]

HELP = """Ask a fine-tuned model: a class, names, a response, a translation, a summary.

RUN is the folder of a run of finetune, or one of its checkpoints. With - as TEXT, each line of
standard input is a text.

\b
Examples:
  tinygrad-llm finetune ask runs/classify-sms-spam-1 "You have won a prize! Call now"
  tinygrad-llm finetune ask runs/instruct-instruction-data-1 "Name three fruits."
  tinygrad-llm finetune ask runs/dpo-instruction-preferences-1 "Spell it right." --input freind
  tinygrad-llm finetune ask runs/nli-jnli-1 "A cat sleeps." --input "An animal sleeps."
  tinygrad-llm finetune ask runs/choice-sample-1 "Which of these is a fruit?" --input "pear|horse"
  tinygrad-llm finetune ask runs/ner-ner-wikipedia-ja-1 "山田太郎は東京都で生まれた。"
  tinygrad-llm finetune ask runs/translate-sample-1 "彼 は 朝 水 を 飲み ます 。" --beams 4
  tinygrad-llm finetune ask runs/summarize-sample-1 "On Monday the mayor in Arden lost a boat."
"""


def ask(
    run: str = typer.Argument(..., help="A run or a checkpoint."),
    text: str = typer.Argument(..., help="A text for the model, or an instruction."),
    input: str = typer.Option("", help="The instruction's input, the other text, or a|b answers."),
    tokens: int = typer.Option(100, help="Tokens of a response."),
    temperature: float = typer.Option(0.0, help="0 is greedy; a higher value is more varied."),
    beams: int = typer.Option(1, help="Beams of a translation or summary."),
    seed: int | None = typer.Option(None, help="The same seed writes the same text."),
    device: str = typer.Option("cpu", help="cpu, cuda or cuda:1."),
) -> None:
    """Print what a fine-tuned model answers to a text, or to each line of standard input.

    Raises: BadValue if the run was not fine-tuned, or an option is out of range.
    """
    check_device(device)
    from ... import finetune
    from ...finetune.runs.base import padding_of
    from ...models import LanguageModel, Tagger
    from ...models.encoder_decoder import EncoderDecoder

    must_be("tokens", 1 <= tokens <= 10**6, "between 1 and 1,000,000", tokens)
    must_be("beams", 1 <= beams <= 64, "between 1 and 64", beams)
    must_be("temperature", 0 <= temperature < math.inf, "0 or more", temperature)
    checkpoint = newest_checkpoint(run)
    config = checkpoint.config
    if "finetune" not in config:
        raise BadValue(
            f"{checkpoint.path} was not fine-tuned: {command_line('generate', run)} writes text "
            "with it"
        )
    kind = config["finetune"]
    lines: Iterable[str] = [text]
    if text == "-":
        lines = (line.rstrip("\n") for line in sys.stdin if line.strip())
    if kind in pairs.KINDS:
        with blame("TEXT", ValueError):
            for answer in pairs.answers(kind, checkpoint, lines, input):
                say(answer)
        return
    taught = finetune.TaskModel.load(checkpoint)
    taught.model.to(device)
    writes = isinstance(taught.model, LanguageModel)
    if input and not writes:
        raise BadValue(f"--input is for runs that read two texts; one of {kind} reads TEXT alone")
    drawn: dict[str, Any] = {"temperature": temperature, "seed": seed} if temperature else {}
    for line in lines:
        with blame("TEXT", ValueError):
            if isinstance(taught.model, Tagger):
                for entity in finetune.tag(line, taught):
                    say(f"{line[entity.start : entity.end]}  {entity.type}")
            elif isinstance(taught.model, EncoderDecoder):
                call = finetune.summarize if kind == "summarize" else finetune.translate
                say(call(line, taught, num_beams=beams, **drawn))
            elif not writes:
                name, p = finetune.classify(line, taught)
                say(f"{name}  {p:.1%}")
            else:
                response = finetune.respond(
                    taught.model, taught.tokenizer, {"instruction": line, "input": input},
                    config["style"], max_new_tokens=tokens, temperature=temperature, seed=seed,
                    stop_token=padding_of(taught.tokenizer),
                )  # fmt: skip
                say(response)
