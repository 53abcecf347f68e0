"""tinygrad-llm models: which published weights there are, what they allow, and their download."""

from __future__ import annotations

import sys
from typing import Any

import typer

from ..files.downloads import RemoteFile, cache_folder
from ..files.plain_text import say
from .errors import BadValue

__all__ = ["register"]

_HELP = (
    """Published weights: which there are, where they are on this machine, and their download."""
)
_SHOW = """Show one model: licence, size, where it is, and what its file says of it."""
_DOWNLOAD = """Download one model into the cache folder; its licence is shown first.

Weights with terms of use need --accept-terms, or a yes at the prompt.
"""


def register(app: typer.Typer) -> None:
    """Adds the command to the application."""
    group = typer.Typer(help=_HELP, no_args_is_help=True)
    group.command(name="list", help="List the models.")(list_models)
    group.command(name="show", help=_SHOW)(show)
    group.command(name="download", help=_DOWNLOAD)(download)
    app.add_typer(group, name="models")


def _known() -> dict[str, Any]:
    """Name -> Packaged, or RemoteFile for a model that is one file of a hub."""
    from ..models.pretrained import PRETRAINED
    from ..weights.packaged import PACKAGED

    return {**PACKAGED, **PRETRAINED}


def _chosen(name: str) -> Any:
    known = _known()
    if name not in known:
        raise BadValue(f"there is no model {name}; there are {', '.join(known)}")
    return known[name]


def _places(model: Any) -> list[Any] | None:
    from ..weights.packaged import locate

    if not isinstance(model, RemoteFile):
        return locate(model)
    path = cache_folder() / model.file_name
    return [path] if path.is_file() else None


def list_models() -> None:
    """The function of `models list`."""
    rows = [
        (name, model.size, model.licence,
         "on this machine" if _places(model) else "not here")
        for name, model in _known().items()
    ]  # fmt: skip
    a, b, c, _ = (max(map(len, column)) for column in zip(*rows, strict=True))
    for name, size, licence, here in rows:
        say(f"{name:{a}}  {size:>{b}}  {licence:{c}}  {here}")
    say("\ntinygrad-llm models show NAME   says more")


def show(name: str = typer.Argument(..., help="Its name, as in models list.")) -> None:
    """The function of `models show`."""
    model = _chosen(name)
    _introduce(name, model)
    places = _places(model)
    if places is None:
        say(f"on this machine  no: tinygrad-llm models download {name}")
        if not isinstance(model, RemoteFile):
            say(f"                 or: pip install {model.install}")
        return
    for place in places:
        say(f"on this machine  {place}")
    if len(places) == 1:
        _describe(places[0])


def _introduce(name: str, model: Any) -> None:
    """What somebody should know before a download."""
    say(f"{name}\n{model.description}")
    say(f"size             {model.size}")
    say(f"licence          {model.licence}")
    if getattr(model, "terms", None):
        say(f"terms of use     {model.terms}")


def _describe(path: Any) -> None:
    """What a GGUF file says of itself."""
    from ..weights.formats.gguf import GGUFError, GGUFFile, is_gguf

    if not is_gguf(path):
        return
    try:
        file = GGUFFile(path)
    except GGUFError as error:
        raise BadValue(str(error)) from error
    kinds: dict[str, int] = {}
    for tensor in file:
        kind = file.kind(tensor).name
        kinds[kind] = kinds.get(kind, 0) + 1
    counted = ", ".join(f"{n} {kind}" for kind, n in sorted(kinds.items()))
    say(f"architecture     {file.metadata.get('general.architecture', '?')}")
    say(f"tensors          {len(file)}: {counted}")


def download(
    name: str = typer.Argument(..., help="Its name, as in models list."),
    accept_terms: bool = typer.Option(False, "--accept-terms", help="Accept its terms of use."),
) -> None:
    """The function of `models download`.

    Raises: BadValue for an unknown name, or terms of use that nobody has accepted.
    """
    from ..files.downloads import fetch
    from ..weights import packaged

    model = _chosen(name)
    _introduce(name, model)
    places = _places(model)
    if places is not None:
        path = places[0] if isinstance(model, RemoteFile) else packaged.find(name)
        say(f"it is on this machine: {path}")
        return
    if getattr(model, "terms", None) and not (accept_terms or _accepted()):
        raise BadValue(f"{name} has terms of use: read {model.terms} and give --accept-terms")
    load = fetch if isinstance(model, RemoteFile) else packaged.download
    try:
        path = load(model, progress=_progress if sys.stderr.isatty() else None)
    finally:
        if sys.stderr.isatty():
            say(file=sys.stderr)
    say(str(path))


def _accepted() -> bool:
    """Ask at the terminal; without one nobody has accepted."""
    return sys.stdin.isatty() and typer.confirm("Do you accept its terms of use?")


def _progress(received: int, total: int | None) -> None:
    share = f" of {total / 1e6:,.0f}" if total else ""
    print(f"\r{received / 1e6:,.0f}{share} MB", end="", file=sys.stderr, flush=True)
