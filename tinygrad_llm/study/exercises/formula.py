"""The formula of an op's backward pass: taken from its docstring, or cut out of its class."""

from __future__ import annotations

import ast
import re
import textwrap

__all__ = ["formula_of", "without_formula"]

BACKWARD = re.compile(r"\s*\bBackward\b")  # the forward pass stands before it
SAVES = re.compile(r"\bSaves\s.*?\.(?=\s|$)", re.S)
SOURCE = re.compile(r"\bSources?: .*", re.S)
OF_THE_FUNCTION = re.compile(r"(,?) +\w′\(x\) = .*")  # a derivative beside the forward formula


def formula_of(doc: str) -> str:
    """What stands behind "Backward" up to the sentence on what is saved: "" if nothing does."""
    start = BACKWARD.search(doc)
    if start is None:
        return ""
    text = doc[start.end() :].lstrip(":, \n")
    saves = SAVES.search(text)
    return (text[: saves.start()] if saves else text).strip()


def without_formula(source: str, name: str) -> str:
    """An op's class whose docstring says forward, what is saved and the source, not the formula.

    source: of the class; name: the op's, for the line that says where the formula is
    """
    cls = ast.parse(source).body[0]
    assert isinstance(cls, ast.ClassDef)
    doc = ast.get_docstring(cls, clean=False) or ""
    return source.replace(doc, _forward_of(doc, name), 1)


def _forward_of(doc: str, name: str) -> str:
    start = BACKWARD.search(doc)
    if start is None:
        return doc
    forward, backward = doc[: start.start()], doc[start.start() :]
    lines = [(OF_THE_FUNCTION.sub("", line).rstrip(), line) for line in forward.splitlines()]
    kept = [line for line, before in lines if line or not before]
    rest = [m.group() for m in (SAVES.search(backward), SOURCE.search(backward)) if m]
    parts = [f"Backward: derive it. The last hint has it (exercise hint {name}).", *rest]
    made = [textwrap.fill(" ".join(part.split()), 96) for part in parts]
    return "\n".join([*kept, "", textwrap.indent("\n".join(made), "    ")]) + "\n    "
