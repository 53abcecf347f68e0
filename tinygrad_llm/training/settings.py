"""Where the values of options come from: configuration files, layers, a run that is resumed.

    options = resolved(ClassifyOptions, read_config("settings.toml", ClassifyOptions), given)

Also the table of the options of a kind of training, as OPTIONS.md shows it.
"""

from __future__ import annotations

import dataclasses
import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from ..files.json_files import parse_json
from ..files.paths import local_path
from ..files.untrusted import describe, translated
from .checkpoint import Checkpoint
from .options import Option, OptionError, Options, converted, did_you_mean

__all__ = ["kept_options", "layered", "options_table", "read_config", "resolved", "shown_default"]

O = TypeVar("O", bound=Options)


def read_config(path: str | Path, kind: type[Options]) -> dict[str, Any]:
    """The options in a JSON or TOML file, names with dashes or underscores; by their field's name.

    Raises: OptionError if it cannot be read, or a name or a type is wrong.
    """
    path = local_path(path)
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        raise OptionError(f"`config`: there is no file {path}") from None
    except IsADirectoryError:
        raise OptionError(f"`config`: {path} is a folder, not a JSON or TOML file") from None
    except UnicodeDecodeError as error:
        raise OptionError(f"`config`: {path} is not UTF-8 (byte {error.start})") from error
    with translated(f"`config`: {path} cannot be read:", OptionError, ""):
        values = _toml(text) if path.suffix.lower() == ".toml" else parse_json(text, "it")
    if not isinstance(values, dict):
        raise OptionError(f"`config`: {path} should hold names and values, one table of them")
    return _checked({key.replace("-", "_"): value for key, value in values.items()}, path, kind)


def _toml(text: str) -> Any:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    return tomllib.loads(text)


def _checked(values: Mapping[str, Any], where: Path, kind: type[Options]) -> dict[str, Any]:
    """Raises: OptionError for a name that is not an option, and for a value of another type."""
    known = {o.name: o for o in kind.shown()}
    right = {}
    for name, value in values.items():
        if name not in known:
            name = name[:60]
            raise OptionError(f"{where}: there is no option {name}{did_you_mean(name, known)}")
        try:
            right[known[name].field] = converted(known[name], value)
        except OptionError as error:
            raise OptionError(f"{where}: {error}") from error
    return right


def layered(options: O, layers: Iterable[Mapping[str, Any]]) -> O:
    """The options with layer over layer of values; steps and what stands in its place (minutes,
    epochs) set each other to None.

    Raises: OptionError if a layer has both.
    """
    other = options.instead_of_steps
    for values in layers:
        layer = dict(values)
        if other is not None:
            if layer.get("steps") is not None and layer.get(other) is not None:
                raise OptionError(f"steps and {other} were both given: one follows from the other")
            if layer.get("steps") is not None:
                layer[other] = None
            elif layer.get(other) is not None:
                layer["steps"] = None
        options = dataclasses.replace(options, **layer)
    return options


def resolved(kind: type[O], *layers: Mapping[str, Any]) -> O:
    """The options: defaults, then layer over layer, checked.

    Raises: OptionError for a value that is not allowed.
    """
    options = layered(kind(), layers)
    options.check()
    return options


def kept_options(
    checkpoint: Checkpoint, given: Mapping[str, Any], kind: type[Options]
) -> dict[str, Any]:
    """The options that a run was started with.

    Raises: OptionError for a given option that differs and is not one of those that may change.
    """
    stored: dict[str, Any] = checkpoint.config["options"]
    if not isinstance(stored, dict):
        raise OptionError(f"{checkpoint.path}: its options are {describe(stored)}")
    known = kind.declared()
    for name, value in given.items():
        if not known[name].about.may_change and value != stored.get(known[name].name):
            raise OptionError(
                f"`{name}` {value}: the checkpoint {checkpoint.path} was made with "
                f"{stored.get(known[name].name, 'none')}, and a resumed run keeps it; leave the "
                "option out, or start another run"
            )
    return stored


# ------------------------------------------------------------------------------------ the table
def shown_default(option: Option) -> str:
    """A default as help and tables show it; empty for None."""
    value = option.default
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _row(o: Option) -> tuple[Any, ...]:
    """What makes an option's row in a table: its name, its default, and how that is described."""
    return o.field, o.default, o.about.about_default


def options_table(kind: type[Options], *without: type[Options]) -> str:
    """A Markdown table of the options of a kind: name, default, allowed values, meaning.

    without: leave out those that one of these kinds has too, with the same default
    """
    lines = ["| option | default | allowed | what it is |", "|---|---|---|---|"]
    words = {int: "whole number", float: "number", bool: "true, false", str: "text"}
    others = {_row(o) for other in without for o in other.shown()}
    for o in kind.shown():
        if _row(o) in others:
            continue
        name = f"`{o.field}`" if o.field == o.name else f"`{o.field}` (`{o.name}`)"
        default = shown_default(o) or (
            f"none: {o.about.about_default}" if o.about.about_default else "none"
        )
        allowed = words[o.type] + (f", {o.about.rule.words}" if o.about.rule is not None else "")
        help = re.sub(r" \[[^]]*\]", "", o.about.help)  # the default is in a column
        lines.append(f"| {name} | {default} | {allowed} | {help} |")
    return "\n".join(lines) + "\n"
