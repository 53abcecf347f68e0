"""tinygrad-llm search: many runs of one command with other options, and which were best."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import typer

from ..files.plain_text import say
from ..files.program import command_line
from ..finetune.commands import COMMANDS
from ..training.options import Option, Options
from ..training.presets import PretrainOptions
from ..training.search.options import SearchOptions
from ..training.settings import read_config, resolved

__all__ = ["register"]

_HELP = """Search for good options: many runs of pretrain or of a finetune command.

Any option of the command may have a range, LOW..HIGH or LOW..HIGH:log, or choices with commas
(of texts with |), and what has one value is the same in all runs:

\b
  tinygrad-llm search pretrain notes.txt --steps 300 --lr 1e-4..1e-2:log --n-layers 2,4,6
  tinygrad-llm search pretrain --steps 900 --lr 1e-4..1e-2:log --strategy halving --trials 27
  tinygrad-llm search pretrain --steps 300 --attention "mha|gqa" --n-layers 2,4 --strategy grid
  tinygrad-llm search classify sample --base runs/a --lr 1e-5..1e-3:log --trials 20

\b
Strategies (--strategy):
  random   draws each value
  grid     all combinations, --points of each range
  halving  successive halving: all trials make a few steps, the best third goes on for three times
           as many, and so on; needs --steps, those of a whole run, whose schedule all of them have
  tpe      optuna's tree-structured Parzen estimator (pip install "tinygrad_llm[search]")

Each trial is a separate run below --out. The best one keeps its checkpoint; best.json has its
options for --config. Ctrl-C keeps what is known, and after it, a crash or kill -9 the same command
goes on, within a trial too.
"""


def register(app: typer.Typer) -> None:
    """Adds the group of commands to the application."""
    group = typer.Typer(help=_HELP, no_args_is_help=True, rich_markup_mode=None)
    kinds: dict[str, type[Options]] = {"pretrain": PretrainOptions, **COMMANDS}
    for name, kind in kinds.items():
        text = f"Search options of {_words(name)}; `tinygrad-llm search --help` explains how."
        group.command(name=name, help=text)(_command(kind, partial(search, name, kind)))
    app.add_typer(group, name="search")


def _words(name: str) -> str:
    return name if name == "pretrain" else f"finetune {name}"


def _command(kind: type[Options], run: Callable[..., None]) -> Callable[..., None]:
    """A function for typer: each option of `kind` as a text, and the search's own."""
    parameters: dict[str, tuple[Any, Any]] = {
        o.field: _flag(o, str) for o in kind.shown() if o.field != "folder"
    }
    parameters |= {f"search_{o.field}": _flag(o, o.type) for o in SearchOptions.shown()}
    config = typer.Option(None, "--config", help="A JSON or TOML file of options.")
    parameters["config"] = (str | None, config)

    def call(**values: Any) -> None:
        config = values.pop("config")
        given = {name: value for name, value in values.items() if value is not None}
        own = {n.removeprefix("search_"): given.pop(n) for n in list(given) if n in searching}
        run(given, own, config)

    searching = {f"search_{o.field}" for o in SearchOptions.shown()}
    call.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=d, annotation=hint)
            for name, (hint, d) in parameters.items()
        ]
    )
    call.__annotations__ = {name: hint for name, (hint, _) in parameters.items()}
    return call


def _flag(o: Option, kind: type) -> tuple[Any, Any]:
    if o.about.argument:
        return kind | None, typer.Argument(None, help=o.about.help)
    flag = f"{o.flag}/--no-{o.flag[2:]}" if kind is bool else o.flag
    return kind | None, typer.Option(None, flag, help=o.about.help, show_default=False)


def search(
    name: str, kind: type[Options], given: dict[str, str], own: dict[str, Any], config: str | None
) -> None:
    """Makes the trials that are missing, and shows them.

    Raises: OptionError for options that are not allowed; KeyboardInterrupt if it was stopped.
    """
    from ..training.search.plot import plot_trials
    from ..training.search.run import Search
    from ..training.search.space import Space

    options = resolved(SearchOptions, own)
    space = Space.parse(kind, given)
    if config is not None:
        settings = {k: v for k, v in read_config(config, kind).items() if k not in given}
        space.fixed.update({k: v for k, v in settings.items() if k != "folder"})
    made = Search(_runs(name, kind), space, options)
    try:
        made.run(say)
    except (KeyboardInterrupt, SystemExit):
        _show(made)
        say("the same command goes on")
        raise
    _show(made)
    path = plot_trials(
        made.ranked(), space, made.folder / "search.png", options.metric, options.maximise
    )
    say(f"plot         {path}")
    best = made.folder / "best.json"
    say(f"next         {command_line(*_words(name).split(), '--config', best)}")


def _show(made: Any) -> None:
    best = made.best()
    if made.trials:
        say(f"\n{made.table()}\n")
    if best is not None:
        say(f"best         trial {best.number}, {made.folder_of(best.number)}")


def _runs(name: str, kind: type[Options]) -> Any:
    """How the runs of a command are made.

    Each keeps one checkpoint and shows nothing.
    """
    from ..training.search.run import Runs

    quiet = {"keep": 1, "sample_every": 10**9, "eval_every": 10**9}  # validated at the end
    if name == "pretrain":
        from ..training.presets import resolve
        from ..training.shard_pretraining import kind_of

        def make(values: dict[str, Any]) -> Any:
            options = resolve({**quiet, **values}, {})
            return kind_of(options.model, options.data)(options, False)

        def continued(checkpoint: Any) -> Any:
            stored = checkpoint.config.get("options")
            stored = stored if isinstance(stored, dict) else {}
            run = kind_of(stored.get("model"), stored.get("data"))
            return run.continued(checkpoint, {}, {}, False)

        return Runs(name, kind, make, continued)
    from .finetune import runs_of

    run = runs_of(name)
    return Runs(
        name, kind, lambda values: run(resolved(run.options, {**quiet, **values}), False),
        lambda checkpoint: run.continued(checkpoint, {}, {}, False),
    )  # fmt: skip
