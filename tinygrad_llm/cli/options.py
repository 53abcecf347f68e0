"""The flags of a command, made from the dataclass that declares its options."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple

import typer

from ..training.options import Option, Options
from ..training.presets import PRESETS
from ..training.settings import read_config, shown_default
from .errors import BadValue
from .places import place

__all__ = ["Way", "command", "must_be", "with_flags"]


class Way(NamedTuple):
    """What a command should do with its options.

    resume: the folder of the run to continue, None for a new run; plan: only show the plan;
    find_lr: only look for a learning rate; plain: plain lines, no live bar.
    """

    resume: str | None = None
    plan: bool = False
    find_lr: bool = False
    plain: bool = False

    @property
    def progress(self) -> bool | None:
        """As training.progress.make_progress takes it: of several ranks only the first shows."""
        here = place()
        if here is not None and here.rank > 0:
            return False
        return True if self.plain else None


_WAY = {
    "config": (str | None, typer.Option(None, help="A JSON or TOML file of options.")),
    "resume": (str | None, typer.Option(None, help="Resume the run in this folder.")),
    "plan": (bool, typer.Option(False, "--plan", help="Only print what it would cost.")),
    "find_lr": (bool, typer.Option(False, "--find-lr", help="Only look for a good --lr.")),
    "plain": (bool, typer.Option(False, "--plain", help="Plain lines, no live bar.")),
}


def command(
    kind: type[Options], run: Callable[[dict[str, Any], dict[str, Any], Way], None],
    without: Collection[str] = (),
) -> Callable[..., None]:  # fmt: skip
    """A function for typer: a flag for each option of `kind`, and --config ... --plain.

    It calls run(given, settings of --config, way); `given` has only the options that were given.
    without: fields of Way that the command does not offer
    """
    own = {name: flag for name, flag in _WAY.items() if name not in without}
    parameters = {o.field: _parameter(kind, o) for o in kind.shown()} | own

    def call(**values: Any) -> None:
        ways = {name: values.pop(name) for name in own}
        config = ways.pop("config")
        given = {name: value for name, value in values.items() if value is not None}
        settings = read_config(config, kind) if config else {}
        way = Way(**ways)
        if way.find_lr and way.resume is not None:
            raise BadValue("--find-lr is for a run that has not begun: leave --resume out")
        run(given, settings, way)

    call.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=d, annotation=hint)
            for name, (hint, d) in parameters.items()
        ]
    )
    call.__annotations__ = {name: hint for name, (hint, _) in parameters.items()}
    return call


def _parameter(kind: type[Options], o: Option) -> tuple[Any, Any]:
    """The type of an option and what typer wants to know of it; None stands for not given."""
    hint = o.type | None
    if o.about.argument:
        return hint, typer.Argument(None, help=o.about.help)
    help = o.about.help
    default = shown_default(o)
    if default and o.type is not bool and not _depends_on_preset(kind, o):
        help += f" [{default}]"
    flag = f"{o.flag}/--no-{o.flag[2:]}" if o.type is bool else o.flag
    return hint, typer.Option(None, flag, help=help, show_default=False)


def _depends_on_preset(kind: type[Options], o: Option) -> bool:
    """Whether a preset changes the default, which is then not shown."""
    if "preset" not in kind.declared():
        return False
    return any(values.get(o.field, o.default) != o.default for values in PRESETS.values())


def with_flags(
    function: Callable[..., None], flags: Mapping[str, tuple[Any, Any]]
) -> Callable[..., None]:
    """The function, which takes **keywords, as typer should see it: with a flag for each of them.

    flags: name -> (type, typer.Option(...))
    """

    def call(**values: Any) -> None:
        function(**values)

    own = inspect.signature(function, eval_str=True).parameters.values()
    parameters = [p for p in own if p.kind is not inspect.Parameter.VAR_KEYWORD]
    for name, (hint, value) in flags.items():
        parameters.append(
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=value, annotation=hint)
        )
    parameters = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in parameters]
    call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    call.__annotations__ = {p.name: p.annotation for p in parameters}
    return call


def must_be(flag: str, allowed: bool, expected: str, value: Any) -> None:
    """Raises: BadValue unless `allowed`; the line says what the option must be."""
    if not allowed:
        raise BadValue(f"--{flag} must be {expected}, got {value}")
