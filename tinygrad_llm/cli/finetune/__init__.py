"""tinygrad-llm finetune classify, instruct, dpo, ner and ask."""

from __future__ import annotations

from functools import partial
from typing import Any

import typer

from ...files.program import command_line
from ...finetune.commands import COMMANDS
from ...training.settings import resolved
from ..errors import newest_checkpoint
from ..options import Way, command
from . import ask, help

__all__ = ["register"]

_HELP = """Train a model: to classify texts, follow instructions, learn preferences, find names."""

_TEXTS = {
    "classify": help.CLASSIFY,
    "instruct": help.INSTRUCT,
    "dpo": help.DPO,
    "ner": help.NER,
}


def register(app: typer.Typer) -> None:
    """Adds the group of commands to the application."""
    group = typer.Typer(help=_HELP, no_args_is_help=True, rich_markup_mode=None)
    for name, kind in COMMANDS.items():
        group.command(name=name, help=_TEXTS[name])(command(kind, partial(finetune, name)))
    group.command(name="ask", help=ask.HELP)(ask.ask)
    app.add_typer(group, name="finetune")


def finetune(name: str, given: dict[str, Any], settings: dict[str, Any], way: Way) -> None:
    """Starts a run with the given options over those of --config, or continues one.

    Raises: OptionError for options that are not allowed, or a run of another command.
    """
    from ...finetune import runs

    kinds: dict[str, type[runs.Finetuning]] = {
        "classify": runs.Classify,
        "instruct": runs.Instruct,
        "dpo": runs.DPO,
        "ner": runs.Ner,
    }
    kind = kinds[name]
    if way.resume is None:
        run = kind(resolved(kind.options, settings, given), way.progress)
    else:
        run = kind.continued(newest_checkpoint(way.resume), given, settings, way.progress)
    if way.plan:
        run.plan()
    elif way.find_lr:
        run.find_learning_rate()
    else:
        run.run()
        run.note(f'next              {command_line("finetune", "ask", run.folder)} "..."')
        if name == "instruct":
            run.note(f"                  {command_line('finetune', 'dpo', '--base', run.folder)}")
