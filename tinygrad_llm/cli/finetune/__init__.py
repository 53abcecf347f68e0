"""tinygrad-llm finetune classify, instruct, dpo and ask."""

from __future__ import annotations

from functools import partial

import typer

from . import ask, classify, dpo, instruct
from .options import command
from .run import run

__all__ = ["register"]

_HELP = """Train a model further: to classify texts, follow instructions, learn preferences."""


def register(app: typer.Typer) -> None:
    """Adds the group of commands to the application."""
    group = typer.Typer(help=_HELP, no_args_is_help=True, rich_markup_mode=None)
    for module, kind in (
        (classify, classify.Classify),
        (instruct, instruct.Instruct),
        (dpo, dpo.DPO),
    ):
        function = command(kind.options, partial(run, kind))
        group.command(name=kind.name, help=module.HELP)(function)
    group.command(name="ask", help=ask.HELP)(ask.ask)
    app.add_typer(group, name="finetune")
