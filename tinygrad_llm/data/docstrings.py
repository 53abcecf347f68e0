"""Pairs of texts that every Python has: docstrings, their first paragraph and the rest.

A docstring begins with one line that says what a function does, a summary of what follows (PEP
257). The standard library and NumPy have some 8,000, half of them with something that follows.
Their sources are read as text, never imported; they belong to the running Python and NumPy, so they
differ a little between versions. Licences: PSF-2.0 (Python), BSD-3-Clause (NumPy).
"""

from __future__ import annotations

import ast
import re
import sysconfig
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..files.paths import local_path

__all__ = ["Docstring", "docstrings", "python_docstrings"]

_LEFT_OUT = {"test", "tests", "idle_test", "site-packages", "dist-packages", "__pycache__"}
_HUMP = re.compile(r"(?<=[a-z])(?=[A-Z])")
_RULE = re.compile(r"[-=~`*]{3,}")
_Documented = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Module)


class Docstring(NamedTuple):
    """group: the module or package of the top level, as python.json; name: the words of the name
    and of the arguments, "load (fp, object hook)"; summary: the first paragraph; rest: what
    follows, on one line, or nothing.
    """

    group: str
    name: str
    summary: str
    rest: str


def python_docstrings(least: int = 2, most: int = 20) -> list[Docstring]:
    """The docstrings of the standard library and NumPy with a summary of least to most words.

    Of those without a rest the name is all that there is to read.

    None occurs twice; the order is that of the files.
    Raises: FileNotFoundError if this Python has no sources, as some packed programs.
    """
    places = {"python": Path(sysconfig.get_path("stdlib")), "numpy": Path(np.__file__).parent}
    rows: dict[tuple[str, str], Docstring] = {}
    for name, folder in places.items():
        for row in docstrings(folder, name):
            if least <= len(row.summary.split()) <= most:
                key = row.summary, row.rest or row.name
                rows.setdefault(key, row)
    if not rows:
        raise FileNotFoundError(
            f"this Python has no sources with docstrings in {', '.join(map(str, places.values()))}"
            ": install its full standard library, or name a file of pairs"
        )
    return list(rows.values())


def docstrings(folder: str | Path, name: str) -> Iterator[Docstring]:
    """Every docstring in the .py files of a folder, tests left out.

    name: begins the groups. Files that are not Python are left out.
    """
    folder = local_path(folder)
    for file in sorted(folder.rglob("*.py")):
        parts = file.relative_to(folder).parts
        if _LEFT_OUT & set(parts):
            continue
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of old escapes in other people's strings
                tree = ast.parse(file.read_bytes())
        except (SyntaxError, ValueError, RecursionError, OSError):
            continue
        group = f"{name}.{parts[0].removesuffix('.py')}"
        for node in ast.walk(tree):
            text = ast.get_docstring(node) if isinstance(node, _Documented) else None
            summary, _, rest = (text or "").partition("\n\n")
            if summary.strip():
                rest = " ".join(_RULE.sub(" ", rest).split())
                yield Docstring(group, _named(node, file.stem), " ".join(summary.split()), rest)


def _named(node: ast.AST, stem: str) -> str:
    """The words of a node's name and arguments."""
    if isinstance(node, ast.ClassDef):
        return f"class {_words(node.name)}"
    if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return f"module {_words(stem)}"
    all_of = node.args
    names = [a.arg for a in (*all_of.posonlyargs, *all_of.args, *all_of.kwonlyargs)]
    arguments = ", ".join(_words(name) for name in names if name not in ("self", "cls"))
    return f"{_words(node.name)} ({arguments})"


def _words(name: str) -> str:
    """A name as words: get_cacheToken -> get cache token."""
    return " ".join(_HUMP.sub(" ", name).replace("_", " ").lower().split())
