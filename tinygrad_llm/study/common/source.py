"""What the source of an op or a layer contains: code, place, docstring, names, statements."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable
from functools import cache
from typing import Any

from ...autograd.engine import Op
from ...tensor import shapes

__all__ = [
    "backward_text",
    "constructor_of",
    "first_line",
    "input_name",
    "is_saved",
    "place_of",
    "saved_names",
    "source_of",
    "statements",
    "tree_of",
]


def source_of(function: Callable[..., Any]) -> str:
    """A function's source without its indentation; "" where there is none."""
    try:
        return inspect.cleandoc("\n" + inspect.getsource(function)).rstrip()
    except (OSError, TypeError):
        return ""


def place_of(thing: type | Callable[..., Any]) -> str:
    """Where a class or function is defined: "tinygrad_llm/ops/norm.py:28"; "" if it has no file."""
    try:
        file, line = inspect.getsourcefile(thing) or "", inspect.getsourcelines(thing)[1]
    except (OSError, TypeError):
        return ""
    file = file.replace("\\", "/")
    at = file.rfind("tinygrad_llm/")
    return f"{file[at:] if at >= 0 else file}:{line}"


def constructor_of(kind: type) -> str:
    """How a class is called, without annotations: "Dropout(p=0.5, inplace=False)"."""
    signature = inspect.signature(kind)
    plain = [p.replace(annotation=p.empty) for p in signature.parameters.values()]
    signature = signature.replace(parameters=plain, return_annotation=signature.empty)
    return f"{kind.__name__}{signature}"


# ---------------------------------------------------------------------------------- docstrings
def first_line(kind: type) -> str:
    """The first line of a class's docstring, without a derivation that begins in it."""
    line = inspect.cleandoc(kind.__doc__ or "").partition("\n")[0]
    return line.partition("Backward:")[0].strip()


def backward_text(op: type[Op]) -> str:
    """The part of an op's docstring that derives the backward pass; all of it if none is marked."""
    text = inspect.cleandoc(op.__doc__ or "")
    at = text.find("Backward")
    return text[at:] if at >= 0 else text


def input_name(op: Op | type[Op], i: int) -> str:
    """Input i's name in the op's signature; "input 3" beyond it, and for any number of inputs."""
    inputs = shapes.parse(op.signature)[0]
    variadic = op.name in ("cat", "einsum")
    return inputs[i].name if i < len(inputs) and not variadic else f"input {i}"


# --------------------------------------------------------------------------------- syntax trees
@cache
def tree_of(function: Callable[..., Any]) -> tuple[list[str], int, Any] | None:
    """(source lines, number of the first, syntax tree) of a function; None if there is none."""
    try:
        source, first = inspect.getsourcelines(function)
        return source, first, ast.parse(textwrap.dedent("".join(source))).body[0]
    except (OSError, TypeError, SyntaxError, IndentationError):
        return None


@cache
def statements(function: Callable[..., Any]) -> dict[int, tuple[int, str]]:
    """{line of the file: (first line, text) of its statement}; of a compound statement the head."""
    parsed = tree_of(function)
    if parsed is None:
        return {}
    source, first, tree = parsed
    lines = textwrap.dedent("".join(source)).splitlines()
    at: dict[int, tuple[int, str]] = {}
    for node in ast.walk(tree):
        if not isinstance(node, ast.stmt) or node is tree:
            continue
        body = getattr(node, "body", None)
        last = body[0].lineno - 1 if body else (node.end_lineno or node.lineno)
        last = max(last, node.lineno)
        indent = " " * node.col_offset
        text = "\n".join(line.removeprefix(indent) for line in lines[node.lineno - 1 : last])
        number = first + node.lineno - 1
        for n in range(number, first + last):
            at[n] = (number, text.rstrip())
    return at


def saved_names(op: type[Op]) -> tuple[str, ...]:
    """The names of self.saved's arrays, read from the op's source: ("xhat", "r", "w").

    They are in backward's `xhat, r, w = self.saved`, else in forward's `self.saved = xhat, r, w`.
    """
    for function, reading in ((op.backward, True), (op.forward, False)):
        parsed = tree_of(function)
        if parsed is None:
            continue
        for node in ast.walk(parsed[2]):
            if not isinstance(node, ast.Assign) or len(node.targets) != 1:
                continue
            target, value = node.targets[0], node.value
            if reading and is_saved(value) and isinstance(target, ast.Tuple):
                return tuple(ast.unparse(e) for e in target.elts)
            if not reading and is_saved(target):
                parts = value.elts if isinstance(value, ast.Tuple) else [value]
                if any(isinstance(part, ast.Starred) for part in parts):
                    continue
                return tuple(ast.unparse(p.body if isinstance(p, ast.IfExp) else p) for p in parts)
    return ()


def is_saved(node: ast.AST) -> bool:
    """Whether the node is `self.saved`, or `saved` of anything."""
    return isinstance(node, ast.Attribute) and node.attr == "saved"
