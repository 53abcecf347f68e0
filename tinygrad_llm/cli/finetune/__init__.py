"""tinygrad-llm finetune classify, instruct, dpo, ner, nli, sts, translate, grpo, distill, ..."""

from __future__ import annotations

from functools import partial
from typing import Any

import typer

from ...files.plain_text import say
from ...files.program import command_line
from ...finetune.commands import COMMANDS
from ...finetune.table_options import CompareOptions, VariationsOptions
from ...training.settings import resolved
from ..errors import newest_checkpoint
from ..options import Way, command
from ..ranks import take_part
from . import ask, help, pairs, pairs_help, reasoning_help, spend

__all__ = ["register", "runs_of"]

_HELP = """Train a model: to classify texts, follow instructions, learn preferences, find names,
compare texts, translate, summarize, reason."""

_TEXTS = {
    "classify": help.CLASSIFY,
    "instruct": help.INSTRUCT,
    "dpo": help.DPO,
    "ner": help.NER,
    "nli": pairs_help.NLI,
    "sts": pairs_help.STS,
    "choice": pairs_help.CHOICE,
    "embed": pairs_help.EMBED,
    "rerank": pairs_help.RERANK,
    "translate": help.TRANSLATE,
    "summarize": help.SUMMARIZE,
    "grpo": reasoning_help.GRPO,
    "distill": reasoning_help.DISTILL,
}


def register(app: typer.Typer) -> None:
    """Adds the group of commands to the application."""
    group = typer.Typer(help=_HELP, no_args_is_help=True, rich_markup_mode=None)
    for name, kind in COMMANDS.items():
        group.command(name=name, help=_TEXTS[name])(command(kind, partial(finetune, name)))
    one_run = ("plan", "find_lr")  # what a table of many runs does not offer
    group.command(name="variations", help=help.VARIATIONS)(
        command(VariationsOptions, partial(table, "variations"), one_run)
    )
    group.command(name="compare", help=help.COMPARE)(
        command(CompareOptions, partial(table, "compare"), one_run)
    )
    group.command(name="ask", help=ask.HELP)(ask.ask)
    group.command(name="spend", help=spend.HELP)(spend.spend)
    app.add_typer(group, name="finetune")


def table(name: str, given: dict[str, Any], settings: dict[str, Any], way: Way) -> None:
    """Fills a table of classifiers, or resumes one.

    Raises: OptionError for options that are not allowed; StorageError for a folder in use.
    """
    from ...finetune.runs import Comparison, Variations
    from ...finetune.runs.tables import table_options

    stored = {} if way.resume is None else table_options(way.resume, name)
    kind: Any = VariationsOptions if name == "variations" else CompareOptions
    runner: Any = Variations if name == "variations" else Comparison
    runner(resolved(kind, stored, settings, given), say).run()


def runs_of(name: str) -> Any:
    """The class of a command's runs."""
    from ...finetune import runs

    kinds: dict[str, type[runs.Finetuning]] = {
        "classify": runs.Classify,
        "instruct": runs.Instruct,
        "dpo": runs.DPO,
        "ner": runs.Ner,
        "nli": runs.NLI,
        "sts": runs.STS,
        "choice": runs.Choice,
        "embed": runs.Embed,
        "rerank": runs.Rerank,
        "translate": runs.Translate,
        "summarize": runs.Summarize,
        "grpo": runs.GRPO,
        "distill": runs.Distill,
    }
    return kinds[name]


def finetune(name: str, given: dict[str, Any], settings: dict[str, Any], way: Way) -> None:
    """Starts a run with the given options over those of --config, or continues one.

    Raises: OptionError for options that are not allowed, or a run of another command.
    """
    kind = runs_of(name)
    if way.resume is None:
        run = kind(resolved(kind.options, settings, given), way.progress)
    else:
        run = kind.continued(newest_checkpoint(way.resume), given, settings, way.progress)
    take_part(run, given)
    if way.plan:
        run.plan()
    elif way.find_lr:
        run.find_learning_rate()
    else:
        run.run()
        other = ' --input "..."' if name in pairs.KINDS else ""
        run.note(f'next              {command_line("finetune", "ask", run.folder)} "..."{other}')
        if name == "instruct":
            run.note(f"                  {command_line('finetune', 'dpo', '--base', run.folder)}")
