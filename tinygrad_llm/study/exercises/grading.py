"""How a learner's file is graded: in the child with the learner's code, then in the parent."""

from __future__ import annotations

import ast
import importlib.util
import sys
import traceback
import types
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ...arrays.memory import is_array
from ...autograd.engine import ENGINE_FIELDS, OPS, Op
from ...files.program import command_line
from ..check.diagnose import close, diagnose
from ..check.samples import Ran, samples
from ..common.source import input_name
from . import (  # noqa: F401, they enter their checks
    binary_passage_checks,
    chain_checks,
    contrastive_checks,
    layer_checks,
    model_layer_checks,
    policy_checks,
    position_checks,
    recurrent_layer_checks,
    variant_checks,
)
from .catalogue import exercise
from .evidence import Missing, Quiet, Undefined, recorded, replayed, seen
from .task_checks import CHECKS, ENDS, Wrong

__all__ = ["MEMORY_LIMIT", "Row", "graded", "grade", "verdict"]

MEMORY_LIMIT = 1 << 31  # bytes that a learner's file may take, where the system can limit it


@dataclass(frozen=True)
class Row:
    """One aspect: whether it is right, and what the learner reads."""

    aspect: str
    ok: bool
    text: str = ""


class Refused(Exception):
    """A file that cannot be graded, with the reason."""


def grade(name: str, path: Path) -> list[dict[str, Any]]:
    """The rows of a learner's file, as plain dictionaries."""
    return graded(name, path)[0]


def graded(name: str, path: Path) -> tuple[list[dict[str, Any]], list[list[Any]]]:
    """The rows, and for each of them the values that it was reached from (see evidence.py)."""
    try:
        module = load(path)
    except Refused as error:
        return [asdict(Row("the file", False, str(error)))], [[]]
    if exercise(name).is_op:
        values: list[Any] = []
        rows = _grade_op(name, module, path)
        if all(row.ok for row in rows):
            row, values = _recorded("values", partial(_op_values, name, _class(name, module)), path)
            rows += [] if row.ok else [row]
        return [asdict(row) for row in rows], [values] + [[] for _ in rows[1:]]
    if nothing := _defines_nothing(name, module):
        return [asdict(Row("the file", False, nothing))], [[]]
    pairs = [_checked(aspect, f, Quiet(module), path) for aspect, f in CHECKS[name]]
    return [asdict(row) for row, _ in pairs], [values for _, values in pairs]


def verdict(name: str, rows: Sequence[Row], values: Sequence[list[Any]]) -> tuple[Row, ...]:
    """In the parent: the rows that a child sent, if its values show what they say.

    Rows that are not all right are taken as they are: nobody forges those.
    """
    if not all(row.ok for row in rows):
        return tuple(rows)
    solution: Any = types.ModuleType("solution")
    exec(compile(exercise(name).solution(), "<solution>", "exec"), solution.__dict__)
    checks: list[Callable[[], None]]
    if exercise(name).is_op:
        aspects = _OP_ASPECTS
        checks = [partial(_op_values, name, OPS[name]), *(lambda: None for _ in aspects[1:])]
    else:
        aspects = [aspect for aspect, _ in CHECKS[name]]
        checks = [partial(f, Quiet(solution)) for _, f in CHECKS[name]]
    if [row.aspect for row in rows] != aspects or len(values) != len(rows):
        return (Row("the file", False, _NOT_SHOWN.format("other aspects were sent")),)
    return tuple(
        _shown(row, check, sent) for row, check, sent in zip(rows, checks, values, strict=True)
    )


_OP_ASPECTS = ["gradient", "dtype", "nothing changed", "own memory", "memory saved"]
_NOT_SHOWN = "the results that the checker received do not show that this is right ({})"


def _shown(row: Row, check: Callable[[], None], values: list[Any]) -> Row:
    """The row, or one that says what the values lack."""
    try:
        with np.errstate(all="ignore"), replayed(values):
            check()
    except (Wrong, Missing) as error:
        return Row(row.aspect, False, _NOT_SHOWN.format(error))
    except Exception as error:  # values of any kind were sent
        return Row(row.aspect, False, _NOT_SHOWN.format(type(error).__name__))
    return row


def _op_values(name: str, cls: type[Op]) -> None:
    """Raises: Wrong if an output or a gradient of a sample is not the true op's."""
    for sample in samples(name):
        ran, true = sample.run(cls), sample.run(OPS[name])
        for got, output in zip(seen([o.array for o in ran.outputs]), true.outputs, strict=True):
            if not np.allclose(got, output.array, equal_nan=True):
                raise Wrong(f"forward of {sample}")
        expected = true.gradients()
        got_all = seen([ran.gradients()[i] for i in expected])
        for i, got in zip(expected, got_all, strict=True):
            if not close(got, expected[i]):
                raise Wrong(f"the gradient of {input_name(OPS[name], i)} of {sample}")


# --------------------------------------------------------------------------------------- loading
def load(path: Path) -> types.ModuleType:
    """The learner's file as a module.

    Raises: Refused, with the reason, if it does not import.
    """
    spec = importlib.util.spec_from_file_location(f"exercise_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise Refused(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module.__name__] = module
    try:
        spec.loader.exec_module(module)
    except SyntaxError as error:
        if error.filename != str(path):
            raise Refused(f"it does not import: {words_of(error, path)}") from None
        line = f": {error.text.strip()}" if error.text else ""
        raise Refused(f"line {error.lineno} is not valid Python, {error.msg}{line}") from None
    except (Exception, SystemExit) as error:
        raise Refused(f"it does not import: {words_of(error, path)}") from None
    return module


def words_of(error: BaseException, path: Path) -> str:
    """An exception in one line, with the last line of the learner's file in its traceback."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == str(path)]
    where = f"line {frames[-1].lineno} (`{frames[-1].line}`) " if frames else ""
    if isinstance(error, RecursionError):
        return f"{where}calls itself endlessly (RecursionError)"
    if isinstance(error, SystemExit):
        return f"{where}ends the program (SystemExit): remove that"
    if isinstance(error, MemoryError):
        gib = MEMORY_LIMIT / (1 << 30)
        return f"{where}needs more memory than the {gib:g} GiB of an exercise (MemoryError)"
    message = " ".join(str(error).split())
    return f"{where}raised {type(error).__name__}{': ' if message else ''}{message}"


# -------------------------------------------------------------------------------------------- ops
def _class(name: str, module: types.ModuleType) -> Any:
    return getattr(module, OPS[name].__name__, None)


def _grade_op(name: str, module: types.ModuleType, path: Path) -> list[Row]:
    true, cls = OPS[name], _class(name, module)
    if not (isinstance(cls, type) and issubclass(cls, Op)):
        return [Row("the file", False, _lacks(name, f"class {true.__name__}(Op)"))]
    if "backward" not in vars(cls):
        return [Row("the file", False, f"the class {true.__name__} has no backward")]
    for sample in samples(name):
        try:
            ran, expected = sample.run(cls), sample.run(true)
        except Exception as error:
            return [Row("forward", False, f"forward {words_of(error, path)}")]
        if any(np.asarray(a.array).dtype == object for a in ran.outputs):  # an array of None
            return [Row("forward", False, f"forward returned no array: {ENDS}")]
        for a, b in zip(ran.outputs, expected.outputs, strict=True):
            if a.shape != b.shape or not np.allclose(a.array, b.array, equal_nan=True):
                return [Row("forward", False, "forward was changed: it returns something else")]
    rows = [_gradient(name, cls, path)]
    if not rows[0].ok:
        return rows
    aspects: tuple[tuple[str, Callable[..., str]], ...] = (
        ("dtype", _dtype),
        ("nothing changed", _mutation),
        ("own memory", _aliasing),
        ("memory saved", _memory),
    )
    for aspect, look in aspects:
        try:
            text = look(name, cls, [s.run(cls) for s in samples(name)])
        except Exception as error:
            text = f"backward {words_of(error, path)}"
        rows.append(Row(aspect, not text, text))
    return rows


def _gradient(name: str, cls: type[Op], path: Path) -> Row:
    findings = diagnose(name, cls)
    if not findings:
        return Row("gradient", True, f"right on {len(samples(name))} calls")
    texts = []
    for f in findings:
        place = f"∂L/∂{f.input}: " if f.input and f.kind == "mistake" else ""
        label = f" [{f.mistake.name}]" if f.mistake else ""
        text = _raised(name, cls, path) if f.kind == "error" else f.text
        texts.append(f"{place}{text}{label}")
    return Row("gradient", False, "\n".join(texts))


def _raised(name: str, cls: type[Op], path: Path) -> str:
    """The first exception of the learner's backward, with their line and the call."""
    for sample in samples(name):
        try:
            sample.run(cls).backward()
        except Exception as error:
            left_out = any(x is None for x in sample.inputs)
            note = " In this call an input was left out: it is None." if left_out else ""
            return f"backward {words_of(error, path)}.{note} The call: {sample}"
    return "backward raised an error, but not when it was called again"


def _dtype(name: str, cls: type[Op], rans: list[Ran]) -> str:
    for ran in rans:
        options = {k: "float32" if k == "dtype" else v for k, v in ran.sample.options.items()}
        sample = type(ran.sample)(ran.sample.inputs, options, ran.sample.constant)
        small = sample.run(cls, "float32")
        for i, g in enumerate(small.backward()):
            if i in small.grad_inputs and g is not None and np.asarray(g).dtype != np.float32:
                return (
                    f"the inputs are float32 and the gradient of {input_name(OPS[name], i)} is "
                    f"{np.asarray(g).dtype}: NumPy scalars and float64 arrays do that; use "
                    "Python floats (math.sqrt) and .astype(g.dtype)"
                )
    return ""


def _mutation(name: str, cls: type[Op], rans: list[Ran]) -> str:
    for ran in rans:
        upstream = [u.copy() for u in ran.upstream]
        saved = [a.copy() if is_array(a) else None for a in ran.op.saved]
        first = [None if g is None else np.array(g) for g in ran.backward()]
        for u, before in zip(ran.upstream, upstream, strict=True):
            if not np.array_equal(u, before, equal_nan=True):
                return "backward changes g, which others may need: work on a copy (g * 1.0)"
        for i, (a, b) in enumerate(zip(ran.op.saved, saved, strict=True)):
            if b is not None and not np.array_equal(a, b, equal_nan=b.dtype.kind == "f"):
                return (
                    f"backward changes saved[{i}]: a second backward would read the changed array"
                )
        for a, b in zip(first, ran.backward(), strict=True):
            if a is not None and not np.array_equal(a, np.asarray(b), equal_nan=True):
                return "a second backward returns another result"
    return ""


def _aliasing(name: str, cls: type[Op], rans: list[Ran]) -> str:
    for ran in rans:
        grads = [
            (i, g) for i, g in enumerate(ran.backward()) if i in ran.grad_inputs and is_array(g)
        ]
        for n, (i, g) in enumerate(grads):
            label = input_name(OPS[name], i)
            if any(np.shares_memory(g, u) for u in ran.upstream):
                continue  # g itself: the engine knows that it is borrowed
            for k, a in enumerate(ran.op.saved):
                if is_array(a) and np.shares_memory(g, a):
                    return f"the gradient of {label} is saved[{k}]'s own memory: return a copy"
            for j, other in grads[n + 1 :]:
                if np.shares_memory(g, other):
                    return (
                        f"the gradients of {label} and {input_name(OPS[name], j)} are one array: "
                        "when one is added to, the other changes"
                    )
    return ""


def _memory(name: str, cls: type[Op], rans: list[Ran]) -> str:
    solution = _solution_class(name)
    for ran in rans:
        allowed = _saved_bytes(ran.sample.run(solution).op)
        mine = _saved_bytes(ran.op)
        if mine > allowed:
            return f"forward saves {mine} bytes where {allowed} are enough. The call: {ran.sample}"
        known = [a for a in ran.op.saved if is_array(a)]
        for key, value in vars(ran.op).items():
            if key in ENGINE_FIELDS:
                continue
            if is_array(value) and not any(value is a for a in known):
                return f"self.{key} keeps an array: keep arrays in self.saved, which is freed"
    return ""


def _solution_class(name: str) -> type[Op]:
    module = types.ModuleType("solution")
    exec(compile(exercise(name).solution(), "<solution>", "exec"), module.__dict__)
    return getattr(module, OPS[name].__name__)


def _saved_bytes(op: Op) -> int:
    return sum(a.nbytes for a in {id(a): a for a in op.saved if is_array(a)}.values())


# ------------------------------------------------------------------------------- things to build
def _defines_nothing(name: str, module: types.ModuleType) -> str:
    """What is wrong with a file that defines nothing of what the exercise asks for, else ""."""
    tree = ast.parse(exercise(name).solution())
    asked = [x.name for x in tree.body if isinstance(x, ast.FunctionDef | ast.ClassDef)]
    if any(hasattr(module, one) for one in asked):
        return ""
    return _lacks(name, " and no ".join(asked))


def _lacks(name: str, what: str) -> str:
    again = command_line("exercise", "start", name, "--again")
    return f"it defines no {what}: {again} writes the file to fill in"


def _checked(
    aspect: str, check: Callable[[Any], None], quiet: Quiet, path: Path
) -> tuple[Row, list[Any]]:
    """The row of a check that runs with the learner's module, and the values that it saw."""
    row, values = _recorded(aspect, partial(check, quiet), path)
    if not row.ok and quiet.nothing and "None" in row.text:
        row = Row(aspect, False, f"{quiet.nothing} returned None: {ENDS}")
    return row, values


def _recorded(aspect: str, check: Callable[[], None], path: Path) -> tuple[Row, list[Any]]:
    """The row of a check that runs with the learner's code, and the values that it saw."""
    with recorded() as values:
        try:
            check()
        except Wrong as error:
            return Row(aspect, False, str(error)), values
        except Undefined as error:
            return Row(aspect, False, f"the file defines no {error}"), values
        except Exception as error:
            return Row(aspect, False, _failed(error, path)), values
    return Row(aspect, True), values


def _failed(error: Exception, path: Path) -> str:
    """What an exception says of the learner's code."""
    frames = traceback.extract_tb(error.__traceback__)
    if "NoneType" in str(error) and not any(f.filename == str(path) for f in frames):
        return f"the code returned None where a value is needed: {ENDS}"
    return f"the code {words_of(error, path)}"
