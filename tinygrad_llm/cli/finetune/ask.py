"""tinygrad-llm finetune ask: what a fine-tuned model says of a text, or to an instruction."""

from __future__ import annotations

import sys

import typer

from ..devices import check_device
from ..errors import BadValue, newest_checkpoint
from .base import padding_of

__all__ = ["HELP", "ask"]

HELP = """Ask a fine-tuned model: the class of a text, or the response to an instruction.

RUN is the folder of a run of finetune, or one of its checkpoints. "-" reads lines from standard
input, each a text of its own.

\b
Examples:
  tinygrad-llm finetune ask runs/classify-sms-spam-1 "You have won a prize! Call now"
  tinygrad-llm finetune ask runs/instruct-instruction-data-1 "Name three fruits."
  tinygrad-llm finetune ask runs/dpo-instruction-preferences-1 "Spell it right." --input freind
"""


def ask(
    run: str = typer.Argument(..., help="A run or a checkpoint."),
    text: str = typer.Argument(..., help="A text to classify, or an instruction."),
    input: str = typer.Option("", help="What the instruction works on."),
    tokens: int = typer.Option(100, help="Tokens of a response."),
    temperature: float = typer.Option(0.0, help="0 is greedy; more is more varied."),
    seed: int | None = typer.Option(None, help="For the same response again."),
    device: str = typer.Option("cpu", help="cpu, cuda or cuda:1."),
) -> None:
    check_device(device)
    from ... import finetune
    from ... import text as texts
    from ...models import GPTClassifier

    if tokens < 1:
        raise BadValue(f"--tokens must be at least 1, got {tokens}")
    if not 0 <= temperature < float("inf"):
        raise BadValue(f"--temperature must be 0 or more, got {temperature}")
    found = newest_checkpoint(run)
    if "finetune" not in found.config:
        raise BadValue(
            f"{found.path} was not fine-tuned: tinygrad-llm generate {run} writes text with it"
        )
    model = found.build_model().to(device)
    tokenizer = texts.load_tokenizer(found.path / "tokenizer.json")
    lines = (line.rstrip("\n") for line in sys.stdin) if text == "-" else [text]
    for line in lines:
        if text == "-" and not line.strip():
            continue
        try:
            if isinstance(model, GPTClassifier):
                name, p = finetune.classify(
                    model, tokenizer, line, found.config["max_length"], found.config["classes"]
                )
                print(f"{name}  {p:.1%}")
            else:
                said = finetune.respond(
                    model, tokenizer, {"instruction": line, "input": input}, found.config["style"],
                    max_new_tokens=tokens, temperature=temperature, seed=seed,
                    stop_token=padding_of(tokenizer),
                )  # fmt: skip
                _show(said)
        except ValueError as error:
            raise BadValue(f"TEXT: {error}") from error


def _show(text: str) -> None:
    encoding = sys.stdout.encoding or "utf-8"
    print(text.encode(encoding, "replace").decode(encoding))
