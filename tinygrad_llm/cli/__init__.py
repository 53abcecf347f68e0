"""tinygrad-llm pretrain, finetune, generate, tokenize, models, estimate, study, exercise, ..."""

from __future__ import annotations

import io
import sys
from typing import Any

import typer
import typer.core

from ..files.plain_text import say
from .chat import register as register_chat
from .doctor import register as register_doctor
from .errors import run
from .estimate import register as register_estimate
from .evaluate import register as register_evaluate
from .exercise import register as register_exercise
from .export import register as register_export
from .fill_mask import register as register_fill_mask
from .finetune import register as register_finetune
from .generate import register as register_generate
from .judge import register as register_judge
from .launch import register as register_launch
from .make_data import register as register_make_data
from .models import register as register_models
from .places import arguments_of_program
from .prepare import register as register_prepare
from .pretrain import register as register_pretrain
from .quiz import register as register_quiz
from .rag import register as register_rag
from .search import register as register_search
from .serve import register as register_serve
from .study import register as register_study
from .sweep import register as register_sweep
from .tokenize import register as register_tokenize

__all__ = ["app", "main"]


class _InOrder(typer.core.TyperGroup):
    """Lists finetune, which is a group, after pretrain; typer lists groups last."""

    def list_commands(self, ctx: Any) -> list[str]:
        others = [name for name in super().list_commands(ctx) if name not in _FIRST]
        return [*_FIRST, *others]


_FIRST = ("pretrain", "finetune")
app = typer.Typer(
    name="tinygrad-llm",
    cls=_InOrder,
    help="Train small language models from scratch, and see how they work.",
    epilog="tinygrad-llm pretrain   trains a first model in about three minutes.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import PackageNotFoundError, version

        try:
            say(f"tinygrad-llm {version('tinygrad_llm')}")
        except PackageNotFoundError:
            say("tinygrad-llm, not installed: running from its source")
        raise typer.Exit


@app.callback()
def _options(
    version: bool = typer.Option(
        False, "--version", callback=_show_version, is_eager=True, help="Show the version."
    ),
    debug: bool = typer.Option(False, "--debug", help="Show the traceback of an error."),
) -> None:
    """Train small language models from scratch, and see how they work."""


register_pretrain(app)
register_finetune(app)
register_generate(app)
register_chat(app)
register_serve(app)
register_fill_mask(app)
register_rag(app)
register_prepare(app)
register_search(app)
register_sweep(app)
register_tokenize(app)
register_models(app)
register_export(app)
register_evaluate(app)
register_judge(app)
register_quiz(app)
register_make_data(app)
register_estimate(app)
register_study(app)
register_exercise(app)
register_launch(app)
register_doctor(app)


def main(arguments: list[str] | None = None) -> None:
    """Runs the command line and exits: 0 done, 1 failed, 2 bad value, 130 stopped by Ctrl-C."""
    for stream in (sys.stdout, sys.stderr):  # a file on Windows may not know Greek letters
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    arguments_of_program[:] = arguments
    debug = "--debug" in arguments  # at any place
    arguments = [argument for argument in arguments if argument != "--debug"]
    sys.exit(run(app, arguments, debug))
