"""tinygrad-llm exercise: passes its arguments to commands.py, which is imported when called."""

from __future__ import annotations

import sys

import typer

from ...files.program import command_line

__all__ = ["register"]

_HELP = """Write the backward pass of every op yourself, and see what is wrong with it. `quiz` asks
ten questions on a chapter of the lessons.

\b
Examples:
  tinygrad-llm exercise list
  tinygrad-llm exercise start layer_norm
  tinygrad-llm exercise start softmax --derive
  tinygrad-llm exercise check
  tinygrad-llm exercise hint
  tinygrad-llm exercise solution layer_norm
  tinygrad-llm exercise quiz 03_attention
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
    """Run the exercises' own application with the arguments that stand behind `exercise`.

    Raises: typer.Exit with that application's code if it is not 0.
    """
    from .commands import app

    command = typer.main.get_command(app)
    arguments = context.args or ["--help"]
    code = command.main(arguments, prog_name=command_line("exercise"), standalone_mode=False)
    if isinstance(code, int) and code:
        raise typer.Exit(code)
