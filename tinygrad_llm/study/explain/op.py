"""What explain says about an op: all of it read from the op, or measured on it."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ...arrays.memory import is_array
from ...autograd import grad
from ...autograd.engine import Op
from ...autograd.finite_differences import Comparison, compare_gradients
from ...tensor import Tensor, shapes, wrap
from ..check.reference import TWINS
from ..common.backward import watched_backward
from ..common.lines import watch_lines
from ..common.op_examples import GPT2, PRIMES, Example, example_of, upstream
from ..common.plain_words import PLAIN_WORDS
from ..common.source import backward_text, first_line, input_name, place_of, saved_names, source_of
from ..common.watch import Place, Watch
from ..memory.at_size import kept_by, letters_of, name_of_saved
from ..memory.kept import kept_arrays
from ..mistakes import MISTAKES

__all__ = ["check_rows", "explain_op", "voices_of"]

Ran = tuple[Op, tuple, list[Tensor]]  # an op that ran, its inputs and its results


class OneOp(Watch):
    """Keeps the ops that run, with their inputs and results; `first` is the first of its class."""

    def __init__(self, kind: type[Op] | None = None) -> None:
        super().__init__()
        self.kind = kind
        self.first: Ran | None = None
        self.every: list[Ran] = []

    def op_done(self, op: Op, place: Place, inputs: tuple, results: list) -> None:
        self.every.append((op, inputs, results))
        if self.first is None and self.kind is not None and isinstance(op, self.kind):
            self.first = op, inputs, results


def explain_op(op: type[Op], inputs: Sequence[Any] | None = None, **options: Any) -> dict[str, Any]:
    """Everything about an op as a dict of texts, numbers and arrays.

    inputs, options: the arguments of another call, in place of the built-in example.
    """
    example = example_of(op) if inputs is None else Example(list(inputs), options)
    names = {i.name for i in shapes.parse(op.signature)[0]}
    options_of = [
        {"name": p.name, "default": None if p.default is p.empty else p.default}
        for p in list(inspect.signature(op.forward).parameters.values())[1:]
        if p.name not in names and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    ]
    doc = inspect.cleandoc(op.__doc__ or "")
    return {
        "kind": "op",
        "name": op.name,
        "class": op.__name__,
        "family": op.__module__.rpartition(".")[2],
        "file": place_of(op),
        "title": first_line(op),
        "doc": doc,
        "signature": op.signature,
        "broadcasts": op.broadcasts,
        "options": options_of,
        "forward": source_of(op.forward),
        "backward": source_of(op.backward),
        "example": worked(op, example),
        "memory": memory_of(op, example) if example.run is None and inputs is None else None,
        "note": example.note,
        "voices": voices_of(op),
        "twin": twin_of(op, example) if op.name in TWINS and inputs is None else None,
        "mistakes": [{"name": m.name, "sentence": m.sentence} for m in MISTAKES.get(op.name, [])],
        "check": check_of(op, example),
    }


def voices_of(op: type[Op]) -> list[tuple[str, str, str]]:
    """(step, in plain words, exactly) for forward and backward; [] for an op of yours."""
    if op.name not in PLAIN_WORDS or not op.__module__.startswith("tinygrad_llm."):
        return []
    forward, backward = PLAIN_WORDS[op.name]
    formula = first_line(op).partition("   Backward")[0]
    derivation = re.split(r"\s+(?=Saves\b)", backward_text(op))[0]
    return [("forward", forward, formula), ("backward", backward, derivation)]


# ------------------------------------------------------------------------------ the worked example
def call(op: type[Op], example: Example, tensors: Sequence[Any]) -> list[Tensor]:
    """The example's call on tensors: its outputs."""
    y = example.run(*tensors) if example.run else op.apply(*tensors, **example.options)
    return list(y) if isinstance(y, tuple) else [y]


def as_tensors(inputs: Sequence[Any], constant: Sequence[int] = ()) -> list[Any]:
    """Arrays as tensors, floating ones with requires_grad; other values as they are."""
    tensors: list[Any] = []
    for i, x in enumerate(inputs):
        x = x.array if isinstance(x, Tensor) else x
        if not is_array(x):
            tensors.append(x)
            continue
        tensor = wrap(x.copy())
        tensor.requires_grad = x.dtype.kind == "f" and i not in constant
        tensors.append(tensor)
    return tensors


def worked(op: type[Op], example: Example) -> dict[str, Any]:
    """Forward and backward of the example, with every array in between."""
    tensors = as_tensors(example.inputs, example.constant)
    watch = OneOp(op)
    lines = watch_lines(op.forward)
    with watch, lines:
        outputs = call(op, example, tensors)
    assert watch.first is not None, f"the example of {op.name} does not run it"
    ran, given, results = watch.first
    given_arrays = [x.array if isinstance(x, Tensor) else x for x in given]
    names = saved_names(op)
    data: dict[str, Any] = {
        "inputs": [
            {"name": input_name(ran, i), "value": _copied(x), "wants_gradient": bool(needed)}
            for i, (x, needed) in enumerate(zip(given_arrays, _needs(ran, given), strict=True))
            if x is not None
        ],
        "options": dict(example.options),
        "output": [y.array.copy() for y in results],
        "saved": [
            {"name": name_of_saved(label, names), "value": _copied(array)}
            for label, array in kept_arrays(ran)
        ],
        "forward_lines": lines.lines,
        "upstream": [],
        "gradients": [],
        "backward_lines": [],
    }
    if not any(y.requires_grad for y in outputs):
        return data
    gradients = [wrap(upstream(y.array.shape).astype(y.array.dtype)) for y in outputs]
    for step in watched_backward(outputs, gradients, functions=(op.forward, op.backward)):
        if step.op is ran:
            data["upstream"] = step.arriving
            data["gradients"] = [
                {"name": input_name(ran, i), "value": g}
                for i, g in enumerate(step.leaving)
                if g is not None
            ]
            data["backward_lines"] = step.lines
    return data


def _needs(op: Op, given: Sequence[Any]) -> list[bool]:
    return [bool(n) for n in op.needs] if op.needs else [False] * len(given)


def _copied(x: Any) -> Any:
    return x.copy() if is_array(x) else x


# ------------------------------------------------------------------------------ memory and the twin
def memory_of(op: type[Op], example: Example) -> dict[str, Any]:
    """What the op keeps at GPT-2's shapes, measured at small ones."""
    inputs, options = example.gpt2_call(PRIMES)
    tensors = as_tensors(inputs, example.constant)
    watch = OneOp(op)
    with watch:
        op.apply(*tensors, **options)
    assert watch.first is not None
    ran, given, _ = watch.first
    kept = kept_by(ran, {input_name(ran, i): x for i, x in enumerate(given)})
    return {
        "sizes": GPT2,
        "inputs": _shapes_text(ran, given),
        "arrays": [
            {"name": k.name, "shape": k.shape, "dtype": k.dtype, "bytes": k.bytes,
             "is_input": k.is_input}
            for k in kept
        ],
        "bytes": sum(k.bytes for k in kept),
        "new_bytes": sum(k.bytes for k in kept if not k.is_input),
    }  # fmt: skip


def _shapes_text(op: Op, given: Sequence[Any]) -> str:
    words = []
    for i, x in enumerate(given):
        if hasattr(x, "shape"):
            words.append(f"{input_name(op, i)}({','.join(letters_of(n) for n in x.shape)})")
    return " ".join(words)


def twin_of(op: type[Op], example: Example) -> dict[str, Any]:
    """The slow twin: its primitives, its gradients compared with the op's, and what it keeps at
    GPT-2's shapes."""
    twin = TWINS[op.name]
    results = []
    for run in (lambda *x: call(op, example, x), lambda *x: _list(twin(*x, **example.options))):
        tensors = as_tensors(example.inputs, example.constant)
        watch = OneOp()
        with watch:
            outputs = run(*tensors)
        grads = gradients_of(outputs, tensors)
        results.append((watch.every, outputs, grads))
    (_, ys, ours), (chain, twin_ys, theirs) = results
    inputs, options = example.gpt2_call(PRIMES)
    at_primes = OneOp()
    with at_primes:
        twin(*as_tensors(inputs, example.constant), **options)
    known: set[int] = set()
    kept = []
    for ran, given, _ in at_primes.every:
        leaves = {
            f"leaf {i}": t for i, t in enumerate(given) if isinstance(t, Tensor) and t.is_leaf
        }
        if any(ran.needs):
            kept += kept_by(ran, leaves, known)
    example_op = op()
    pairs = [(i, a, b) for i, (a, b) in enumerate(zip(ours, theirs, strict=True)) if a is not None]
    return {
        "source": source_of(twin),
        "ops": [(ran.name, tuple(y[0].shape), any(ran.needs)) for ran, _, y in chain],
        "gradients": [{"name": input_name(example_op, i), "value": b} for i, _, b in pairs],
        "difference": max(
            [_apart(y.array, z.array) for y, z in zip(ys, twin_ys, strict=True)]
            + [_apart(a, b) for _, a, b in pairs if b is not None]
        ),
        "bytes": sum(k.bytes for k in kept),
        "new_bytes": sum(k.bytes for k in kept if not k.is_input),
    }


def gradients_of(outputs: Sequence[Tensor], inputs: Sequence[Any]) -> list[Any]:
    """The gradient of each input as an array, None where there is none, with an example's ∂L/∂y.

    Outputs that do not require a gradient are left out.
    """
    roots = [y for y in outputs if y.requires_grad]
    leaves = [x for x in inputs if isinstance(x, Tensor) and x.requires_grad]
    if not roots or not leaves:
        return [None] * len(inputs)
    arriving = [wrap(upstream(y.array.shape)) for y in roots]
    grads = iter(grad(roots, leaves, arriving, allow_unused=True))
    every = [next(grads) if any(x is leaf for leaf in leaves) else None for x in inputs]
    return [None if g is None else g.array for g in every]


def _list(y: Any) -> list[Any]:
    return list(y) if isinstance(y, tuple) else [y]


def _apart(a: Any, b: Any) -> float:
    return float(np.abs(a - b).max()) if a.size else 0.0


# ------------------------------------------------------------------------------ the gradient check
def check_of(op: type[Op], example: Example) -> list[dict[str, Any]]:
    """The gradient check of the example, by input."""
    inputs = [
        wrap(x) if is_array(x) and (x.dtype.kind != "f" or i in example.constant) else x
        for i, x in enumerate(example.inputs)
    ]

    def fn(*tensors: Any) -> Any:
        return tuple(call(op, example, tensors))

    fn.__name__ = op.name
    return check_rows(compare_gradients(fn, *inputs), lambda n: input_name(op(), n))


def check_rows(
    comparisons: Sequence[Comparison], name_of: Callable[[int], str]
) -> list[dict[str, Any]]:
    """Comparisons of a gradient check as rows; input i is called name_of(i)."""
    rows = []
    for c in comparisons:
        name = c.name
        if name.startswith("input "):
            name = name_of(int(name.removeprefix("input ")))
        rows.append(
            {
                "name": name,
                "elements": int(c.analytic.size),
                "wrong": int(c.wrong),
                "difference": _apart(c.analytic, c.numeric),
                "largest": float(np.abs(c.numeric).max()) if c.numeric.size else 0.0,
            }
        )
    return rows
