"""Run a file of solutions, and see that the checks of each exercise refuse a wrong answer.

    python lessons/checked.py lessons/solutions/CHAPTER/NN_NAME.py    (run_all.py does it for all)

The file runs as it does alone. When an assertion of an exercise holds, it is tried again with each name that this
exercise defines holding something wrong: a number becomes 2·x + 1, -x - 1 or 0, a text longer, shorter or empty, a
function returns something wrong, and so on. An assertion that is never false then checks nothing: `assert
True`, `assert x == x`, or one that looks at what another exercise computed. The exit code is 1 if an exercise has no
assertion that ran and refused a wrong answer; the file with the answer left out has no such names at all.
"""

from __future__ import annotations

import ast
import os
import random
import re
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import tinygrad_llm

HEADING = re.compile(r"^# ## (\d+)\. ")


# ------------------------------------------------------------------------------ wrong answers
KINDS = ("larger", "opposite", "nothing", "first")  # 2·x + 1, -x - 1, 0 or empty, only the first entry larger


def wrong(value: Any, kind: str) -> Any:
    """Another value in place of this one, as like it as can be."""
    if isinstance(value, bool | np.bool_):
        return not value
    if value is None or isinstance(value, int | float | complex | np.number):
        return wrong_number(value or 0, kind)
    if isinstance(value, str | bytes):
        return {"opposite": value[1:], "nothing": value[:0]}.get(kind, value + value[:1])
    if isinstance(value, tinygrad_llm.Tensor):
        return wrong_tensor(value, kind)
    if isinstance(value, np.ndarray):
        return wrong_tensor(tinygrad_llm.tensor(value), kind).numpy()
    if isinstance(value, dict):
        return dict(zip(value, wrong_entries(list(value.values()), kind)))
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*wrong_entries(list(value), "larger" if kind == "nothing" else kind))
    if isinstance(value, list | tuple | set | frozenset):
        return type(value)(wrong_entries(list(value), kind))
    return value if isinstance(value, types.ModuleType) else Wrong(value, kind)


def wrong_number(x: Any, kind: str) -> Any:
    """A number of the same type, or an array with other numbers."""
    return {"opposite": -x - 1, "nothing": 0 * x}.get(kind, 2 * x + 1)


def wrong_tensor(x: tinygrad_llm.Tensor, kind: str) -> tinygrad_llm.Tensor:
    """A tensor whose numbers, and whose gradient's numbers, are others."""
    plain = x.detach().clone()
    if kind == "first" and plain.numel():
        row = plain.reshape(-1)
        row[0] = wrong(row[0].item(), kind)
        y = row.reshape(plain.shape)
    elif kind == "nothing":
        y = tinygrad_llm.zeros_like(plain)
    else:
        y = ~plain if plain.dtype is tinygrad_llm.bool else wrong_number(plain, kind)
    if x.is_leaf and x.grad is not None:
        y.grad = wrong_tensor(x.grad, kind)
    return y


def wrong_entries(values: list[Any], kind: str) -> list[Any]:
    """The entries of a container, all wrong, or the first one only, or none at all."""
    if kind == "nothing":
        return []
    if kind == "first":
        return [wrong(values[0], kind), *values[1:]] if values else [0]
    return [wrong(value, kind) for value in values]


class Wrong:
    """A function or an object in whose place everything that it returns or holds is wrong."""

    def __init__(self, right: Any, kind: str) -> None:
        self._right, self._kind = right, kind

    def __getattr__(self, name: str) -> Any:
        return wrong(getattr(self._right, name), self._kind)

    def __call__(self, *given: Any, **options: Any) -> Any:
        return wrong(self._right(*given, **options), self._kind)

    def __getitem__(self, key: Any) -> Any:
        return wrong(self._right[key], self._kind)

    def __len__(self) -> int:
        return 2 * len(self._right) + 1


# ------------------------------------------------------------------------------ the assertions
class Checks:
    """Which exercises had an assertion that refused a wrong answer."""

    def __init__(self) -> None:
        self.refused: set[str] = set()
        self.exchanged: tuple[str, str] | None = None  # a name and the kind of its wrong value

    def value(self, name: str, value: Any) -> Any:
        """The value of a name, or a wrong one while that is tried."""
        if self.exchanged and self.exchanged[0] == name:
            return wrong(value, self.exchanged[1])
        return value

    def holds(self, exercise: str, names: tuple[str, ...], test: Callable[[], Any]) -> Any:
        """The assertion's value; if it holds, it is tried with each name wrong, one at a time."""
        result = test()
        if result and exercise not in self.refused and self.exchanged is None:
            states = tinygrad_llm.get_rng_state(), np.random.get_state(), random.getstate()
            tries = ((name, kind) for name in names for kind in KINDS)
            if any(self._refuses(test, one) for one in tries):
                self.refused.add(exercise)
            tinygrad_llm.set_rng_state(states[0])
            np.random.set_state(states[1])
            random.setstate(states[2])
        return result

    def _refuses(self, test: Callable[[], Any], exchanged: tuple[str, str]) -> bool:
        self.exchanged = exchanged
        try:
            with np.errstate(all="ignore"):
                return not test()
        except Exception:
            return False  # nothing that could be compared: another wrong value must show it
        finally:
            self.exchanged = None


class Watched(ast.NodeTransformer):
    """Assertions that ask `_checks`, each with the names that its exercise defines."""

    def __init__(
        self, exercise_at: Callable[[int], str | None], defined: dict[str, set[str]]
    ) -> None:
        self.exercise_at, self.defined = exercise_at, defined

    def visit_Assert(self, node: ast.Assert) -> ast.stmt:
        exercise = self.exercise_at(node.lineno)
        if exercise is None:
            return node
        read = {x.id for x in ast.walk(node.test) if isinstance(x, ast.Name)}
        names = tuple(sorted(read & self.defined[exercise]))
        test = ast.unparse(_Exchanged(names).visit(node.test))
        asked = ast.parse(
            f"_checks.holds({exercise!r}, {names!r}, lambda: {test})", mode="eval"
        ).body
        for part in ast.walk(asked):
            ast.copy_location(part, node)
        node.test = asked
        return node


class _Exchanged(ast.NodeTransformer):
    """Reading a name becomes a question for its value, right or wrong."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self.names = names

    def visit_Name(self, node: ast.Name) -> ast.expr:
        if node.id not in self.names or not isinstance(node.ctx, ast.Load):
            return node
        return ast.parse(f"_checks.value({node.id!r}, {node.id})", mode="eval").body


def exercises_by_line(source: str) -> list[str | None]:
    """For each line the number of the exercise that it answers; None before the first."""
    current, exercises = None, []
    for line in source.splitlines():
        match = HEADING.match(line)
        current = match[1] if match else current
        exercises.append(current)
    return exercises


def names_defined(tree: ast.Module, by_line: list[str | None]) -> dict[str, set[str]]:
    """Exercise -> the names that its lines assign or define; an import is not an answer."""
    defined: dict[str, set[str]] = {number: set() for number in by_line if number}
    for node in ast.walk(tree):
        number = by_line[node.lineno - 1] if hasattr(node, "lineno") else None
        if number and isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            defined[number].add(node.id)
        elif number and isinstance(node, ast.FunctionDef | ast.ClassDef):
            defined[number].add(node.name)
    return defined


def exercises_that_assert(source: str) -> set[str]:
    """The exercises with an assertion that reads a name which their own lines define."""
    tree, by_line = ast.parse(source), exercises_by_line(source)
    defined = names_defined(tree, by_line)
    numbers = set()
    for node in ast.walk(tree):
        number = by_line[node.lineno - 1] if isinstance(node, ast.Assert) else None
        if number and any(isinstance(x, ast.Name) and x.id in defined[number] for x in ast.walk(node.test)):
            numbers.add(number)
    return numbers


def unchecked(solution: Path) -> list[str]:
    """Run a file of solutions as __main__: the exercises without a check that refuses a wrong answer."""
    source = solution.read_text(encoding="utf-8")
    tree, by_line = ast.parse(source), exercises_by_line(source)
    defined = names_defined(tree, by_line)
    watched = Watched(lambda line: by_line[line - 1], defined).visit(tree)
    checks = Checks()
    main = types.ModuleType("__main__")
    main.__file__ = str(solution)  # so that processes that the file starts import it
    main.__dict__["_checks"] = checks
    sys.modules["__main__"] = main
    sys.argv = [str(solution)]
    sys.path[0] = str(solution.parent)
    os.chdir(solution.parent)
    exec(compile(watched, str(solution), "exec"), main.__dict__)
    return [number for number in defined if number not in checks.refused]


if __name__ == "__main__":
    missing = unchecked(Path(sys.argv[1]).resolve())
    if missing:
        sys.exit(f"exercise {', '.join(missing)}: no assertion refuses a wrong answer")
