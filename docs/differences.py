"""What differs from PyTorch, name by name, read from the two lists of it.

The lists are the section "What is not the same" of tests/CLOSENESS.md and the table of
docs/pages/pytorch.md. A name that stands there in backticks gets the text at its entry in the
reference (what_differs.py puts it there); nothing is written twice.
"""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

__all__ = ["Difference", "differences", "entries", "line_of"]

ROOT = Path(__file__).resolve().parent.parent
SECTION = "What is not the same"
CLOSENESS = "../project/closeness.md#what-is-not-the-same"  # seen from a page of the reference
SHORT = "../guide/pytorch.md"
PLACES = (  # where a name without a dot is looked up
    "", "nn", "nn.functional", "nn.init", "optim", "autograd", "special", "utils.data",
    "distributions", "amp",
)  # fmt: skip
NAME = re.compile(r"(?:\w+\.)*[A-Za-z_]\w*(?:\(.*\))?")  # with or without arguments
ARGUMENT = re.compile(r"([A-Za-z_]\w*)=.*")


class Difference(NamedTuple):
    """One item of a list: its text, the page it stands on, and what it names.

    names: name in the text -> the objects of that name here; arguments: their arguments that are
    named; unknown: what is neither.
    """

    text: str
    page: str
    names: dict[str, list[Any]]
    arguments: list[str]
    unknown: list[str]


def differences() -> list[Difference]:
    """Every item of both lists, in their order."""
    return [_read(text, page) for text, page in _items()]


def entries() -> dict[str, list[Difference]]:
    """The path of each object that an item names, and those items."""
    listed: dict[str, list[Difference]] = {}
    for difference in differences():
        paths = [path_of(o) for objects in difference.names.values() for o in objects]
        for path in dict.fromkeys(paths):
            listed.setdefault(path, []).append(difference)
    return listed


def line_of(items: list[Difference]) -> str:
    """What stands at an entry: the texts of these items, with links to their lists."""
    lines = [f"**What differs:** {d.text} ([all differences]({d.page}))" for d in items]
    return "\n\n".join(lines)


def path_of(what: Any) -> str:
    """The module and the name under which an object is defined."""
    return f"{what.__module__}.{what.__qualname__}"


def _items() -> Iterator[tuple[str, str]]:
    closeness = (ROOT / "tests" / "CLOSENESS.md").read_text(encoding="utf-8")
    section = closeness.partition(f"\n## {SECTION}\n")[2].partition("\n## ")[0]
    for item in re.split(r"^- ", section, flags=re.M)[1:]:
        yield " ".join(item.split()), CLOSENESS
    short = (ROOT / "docs" / "pages" / "pytorch.md").read_text(encoding="utf-8")
    for row in re.findall(r"^\| (.+) \|$", short, re.M)[1:]:  # below the head
        what, _, here = row.partition(" | ")
        yield f"{what}: {here}", SHORT


def _read(text: str, page: str) -> Difference:
    from tinygrad_llm.tensor.out_of_scope import not_done

    quoted = dict.fromkeys(re.findall(r"`([^`]+)`", text))
    names = {name: _objects(name) for name in quoted if NAME.fullmatch(name)}
    known = {name: objects for name, objects in names.items() if objects}
    accepted = {p for objects in known.values() for o in objects for p in _parameters(o)}
    given = {q: m[1] for q in quoted if (m := ARGUMENT.fullmatch(q))}
    given |= {name: name for name, objects in names.items() if not objects}
    arguments = [name for name in given.values() if name in accepted]
    unknown = [q for q, name in given.items() if name not in accepted and not not_done(name)]
    return Difference(text, page, known, arguments, unknown)


def _objects(name: str) -> list[Any]:
    """The functions and classes of this name: torch.NAME, Tensor.NAME, optim.NAME ..."""
    path = name.partition("(")[0].removeprefix("torch.")
    if path.startswith("F."):
        path = path.replace("F.", "nn.functional.", 1)
    roots: list[Any] = [importlib.import_module("tinygrad_llm")]
    if "." not in path:
        modules = [".".join(filter(None, ("tinygrad_llm", place))) for place in PLACES]
        roots = [importlib.import_module(module) for module in modules]
        roots.append(roots[0].Tensor)
    listed: dict[str, Any] = {}
    for root in roots:
        value = root
        for part in path.split("."):
            value = getattr(value, part, None)
        if callable(value) and not isinstance(value, ModuleType):
            listed.setdefault(path_of(value), value)
    return [value for value in listed.values() if not value.__qualname__.startswith("_")]


def _parameters(what: Any) -> list[str]:
    return list(inspect.signature(what).parameters)
