"""A function's lines as they run: each statement of its source with the values that it set.

    with watch_lines(op.forward) as seen:
        op.forward(x)
    for line in seen.lines:
        print(line.text, line.values)

The real function runs, and Python's own tracing reads its variables.
"""

from __future__ import annotations

import ast
import copy
import inspect
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import CodeType, FrameType
from typing import Any

import numpy as np

from ...arrays.memory import is_array
from ...autograd.engine import Op
from ...tensor import Tensor
from .numbers import is_value, number_text, plain, shape_text, value_text, worth_showing
from .source import is_saved, statements, tree_of

__all__ = ["LineRun", "LineWatch", "shown_values", "watch_lines", "with_numbers"]

COPY = 1 << 11  # elements: larger arrays are not copied, so changes in place do not show


@dataclass
class LineRun:
    """One statement that ran: its text, and the names that it set or changed, with their values.

    A return statement has its value under the name "return". The first line of a call is the
    function's head, with its arguments.
    """

    number: int  # its line in the file
    text: str
    values: dict[str, Any]


def shown_values(lines: Sequence[LineRun], limit: int = 64) -> list[list[tuple[str, str]]]:
    """(name, value as text) of what each line set, for those that are worth showing.

    An array of empty() has numbers of memory that was freed: until a line writes it, it is said to
    be not filled yet. limit: as in value_text
    """
    shown, unset = [], set[str]()
    for line in lines:
        if not line.text.startswith("def "):
            if re.search(r"\bempty\w*\(", line.text):
                unset |= {name for name, v in line.values.items() if is_value(v)}
            else:
                unset -= set(line.values)
        shown.append(
            [
                (name, _not_filled(v) if name in unset else value_text(v, limit))
                for name, v in line.values.items()
                if worth_showing(v)
            ]
        )
    return shown


def _not_filled(v: Any) -> str:
    return f"{shape_text(v.shape)}, not filled yet"


class LineWatch:
    """The context that `watch_lines` returns; `lines` are the statements that ran, in order."""

    def __init__(self, functions: tuple[Callable[..., Any], ...], limit: int = 400) -> None:
        self.codes = {
            code: f
            for f in map(inspect.unwrap, map(_function, functions))
            for code in _codes(f.__code__)
        }
        self.limit = limit
        self.lines: list[LineRun] = []
        self._before: Any = None  # the trace function that was set

    def __enter__(self) -> LineWatch:
        self._before = sys.gettrace()
        sys.settrace(self._on_call)
        return self

    def __exit__(self, *exc: Any) -> None:
        sys.settrace(self._before)

    def _on_call(self, frame: FrameType, event: str, arg: Any) -> Any:
        if frame.f_code not in self.codes or len(self.lines) >= self.limit:
            return None
        code = frame.f_code
        statement_at = statements(self.codes[code])
        variables = _copies(frame.f_locals)
        state: dict[str, Any] = {"known": variables, "at": None}
        names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
        arguments = {name: variables[name] for name in names if name in variables}
        head = f"def {code.co_name}({', '.join(names)})"
        self.lines.append(LineRun(frame.f_lineno, head, arguments))

        def on_line(frame: FrameType, event: str, arg: Any) -> Any:
            if len(self.lines) >= self.limit:
                return None
            now = _copies(frame.f_locals)
            at = state["at"]
            if at is not None:
                changed = {k: v for k, v in now.items() if not _same(v, state["known"].get(k))}
                if event == "return" and at[1].startswith("return"):
                    changed["return"] = _copy(arg)
                self._add(at, changed)
            state["known"] = now
            if event == "line":
                state["at"] = statement_at.get(frame.f_lineno)
            return on_line

        return on_line

    def _add(self, at: tuple[int, str], changed: dict[str, Any]) -> None:
        last = self.lines[-1] if self.lines else None
        if last is not None and (last.number, last.text) == at and "return" not in last.values:
            if not changed or not last.values:  # one statement over several lines
                last.values.update(changed)
                return
        self.lines.append(LineRun(*at, changed))


def watch_lines(*functions: Callable[..., Any], limit: int = 400) -> LineWatch:
    """A context that records the statements of these functions as they run, at most `limit`.

    Arrays are copied after each statement, so that changes in place show.
    """
    return LineWatch(functions, limit)


def _codes(code: CodeType) -> list[CodeType]:
    """A function's code and that of the functions that are defined within it."""
    inner_codes = [c for c in code.co_consts if inspect.iscode(c) and not c.co_name.startswith("<")]
    return [code, *(inner for c in inner_codes for inner in _codes(c))]


def _function(f: Any) -> Any:
    return getattr(f, "__func__", f)


def _copies(names: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _copy(value) for name, value in dict(names).items() if name != "self"}


def _copy(value: Any) -> Any:
    if isinstance(value, Tensor):
        value = value.array
    if is_array(value):
        return plain(value).copy() if value.size <= COPY else value
    if isinstance(value, tuple | list):
        return tuple(_copy(part) for part in value)
    return value


def _same(a: Any, b: Any) -> bool:
    if a is b:
        return True
    if is_array(a) and is_array(b):
        if a.size > COPY:
            return False  # another array, which was not copied
        return a.shape == b.shape and a.dtype == b.dtype and bool(np.array_equal(a, b, True))
    if isinstance(a, tuple) and isinstance(b, tuple):
        return len(a) == len(b) and all(map(_same, a, b))
    if is_array(a) or is_array(b) or type(a) is not type(b):
        return False
    try:
        return bool(a == b)
    except Exception:
        return False


# ------------------------------------------------------------------------- what the source says


# ---------------------------------------------------------------------- a formula with numbers
def with_numbers(op: Op, lines: list[LineRun], digits: int = 5) -> dict[int, str]:
    """The formula of each gradient that a backward returned, by input, with numbers put in.

    {0: "g * y = 2 * -3 = -6"} for z = x·y, from the return statement itself and the values of its
    names. Empty where an array has more than one element.
    """
    source = tree_of(type(op).backward)
    values: dict[str, Any] = {}
    for line in lines:
        values.update(line.values)
    if source is None or "return" not in values:
        return {}
    returns = [node for node in ast.walk(source[2]) if isinstance(node, ast.Return)]
    if len(returns) != 1 or returns[0].value is None:
        return {}
    tree = returns[0].value
    parts = tree.elts if isinstance(tree, ast.Tuple) else [tree]
    if any(isinstance(part, ast.Starred) for part in parts):
        return {}
    results = values["return"] if isinstance(values["return"], tuple) else (values["return"],)
    formulas = {}
    for i, (part, result) in enumerate(zip(parts, results, strict=False)):
        numbers = _Numbers(op, values, digits)
        part = _chosen(part, op)
        with_values = numbers.visit(copy.deepcopy(part))
        if result is None or getattr(result, "size", 1) != 1 or not numbers.complete:
            continue
        formula, text = ast.unparse(part), ast.unparse(with_values)
        steps = [formula, text, number_text(np.asarray(result).item(), digits)]
        formulas[i] = " = ".join(dict.fromkeys(steps))
    return formulas


def _chosen(node: ast.expr, op: Op) -> ast.expr:
    """The branch of `a if self.needs[0] else b` that was taken; any other node as it is."""
    if isinstance(node, ast.IfExp):
        try:
            test = eval(compile(ast.Expression(node.test), "", "eval"), {"self": op})
        except Exception:
            return node
        return node.body if test else node.orelse
    return node


class _Numbers(ast.NodeTransformer):
    """Puts numbers in place of names; `complete` is False if a name has more than one number."""

    def __init__(self, op: Op, values: dict[str, Any], digits: int) -> None:
        self.op, self.values, self.digits, self.complete = op, values, digits, True

    def _number(self, value: Any, node: ast.expr) -> ast.expr:
        if isinstance(value, bool | int | float) or (is_array(value) and value.size == 1) or (
            isinstance(value, np.generic)
        ):  # fmt: skip
            return ast.parse(number_text(np.asarray(value).item(), self.digits), mode="eval").body
        self.complete = False
        return node

    def visit_Name(self, node: ast.Name) -> ast.expr:
        if node.id in self.values:
            return self._number(self.values[node.id], node)
        return node

    def visit_Subscript(self, node: ast.Subscript) -> Any:
        index = node.slice.value if isinstance(node.slice, ast.Constant) else None
        if is_saved(node.value) and isinstance(index, int):
            return self._number(self.op.saved[index], node)
        return self.generic_visit(node)
