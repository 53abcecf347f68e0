"""tinygrad-llm exercise: hands its arguments to study.exercises, imported when it is called."""

from __future__ import annotations

import sys

import typer

__all__ = ["register"]

_HELP = """Write the backward pass of every op yourself, and be told what is wrong with it.

\b
Examples:
  tinygrad-llm exercise list
  tinygrad-llm exercise start layer_norm
  tinygrad-llm exercise check
  tinygrad-llm exercise hint
  tinygrad-llm exercise solution layer_norm
"""


def register(app: typer.Typer) -> None:
    """Adds the command to the application."""
    passed_on = {
        "allow_extra_args": True,
        "ignore_unknown_options": True,
        "help_option_names": [],
    }
    app.command(name="exercise", help=_HELP, context_settings=passed_on)(exercise)


def exercise(context: typer.Context) -> None:
    from .commands import app

    for stream in (sys.stdout, sys.stderr):  # formulas, on a terminal that may not know them all
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    command = typer.main.get_command(app)
    given = context.args or ["--help"]
    code = command.main(given, prog_name="tinygrad-llm exercise", standalone_mode=False)
    if isinstance(code, int) and code:
        raise typer.Exit(code)
