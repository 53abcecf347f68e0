"""tinygrad-llm fill-mask: the tokens that a BERT would put in the place of [MASK]."""

from __future__ import annotations

import typer

from ..files.plain_text import one_line, say
from ..training.devices import check_device
from .errors import blame
from .options import must_be

__all__ = ["register"]

_HELP = """Guess hidden words with a masked language model.

MODEL is a run of pretrain --model bert, or a folder of published weights, such as BERT's.

TEXT has [MASK] (or <mask>, as the tokenizer spells it) wherever a token is to be guessed.

\b
Examples:
  tinygrad-llm pretrain --model bert --out runs/bert
  tinygrad-llm fill-mask runs/bert "The [MASK] statement is used to [MASK] a value."
  tinygrad-llm fill-mask runs/bert "The [MASK] statement" --top-k 10
"""


def register(app: typer.Typer) -> None:
    """Adds the command to the application."""
    app.command(name="fill-mask", help=_HELP)(fill)


def fill(
    model: str = typer.Argument(..., help="A run, a checkpoint, or a folder of weights."),
    text: str = typer.Argument(..., help="A text with [MASK] in it."),
    top_k: int = typer.Option(5, help="Tokens for each mask."),
    device: str = typer.Option("cpu", help="cpu, cuda or cuda:1."),
) -> None:
    """Print the likeliest tokens for each mask of a text.

    Raises: BadValue for a model that fills no masks, a text without one, or another value.
    """
    check_device(device)
    from ..finetune.runs.base import load_base
    from ..generation import fill_mask
    from ..models.encoder import MaskedEncoder

    must_be("top-k", 1 <= top_k <= 1000, "between 1 and 1,000", top_k)
    with blame("MODEL", ValueError):
        base = load_base(model, say, kinds=MaskedEncoder)
    with blame("TEXT", ValueError):
        filled = fill_mask(base.model.to(device), base.tokenizer, text, top_k)
    for number, fills in enumerate(filled):
        if len(filled) > 1:
            say(f"{'' if number == 0 else chr(10)}mask {number + 1}")
        for each in fills:
            token = one_line(each.token.strip()) or repr(each.token)
            say(f"{each.probability:6.1%}  {token:<15} {one_line(each.text)}")
