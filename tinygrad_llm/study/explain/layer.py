"""What explain says about a layer, a loss or a model: its class, and a small one measured."""

from __future__ import annotations

import inspect
from typing import Any

from ... import random
from ...arrays.twins import without_loops
from ...autograd.engine import OPS
from ...autograd.finite_differences import compare_gradients
from ...autograd.grad_mode import enable_grad
from ...models import registry
from ...nn.module import Module
from ...tensor import Tensor, device
from ...tensor.nested import tensors_in
from ..common.layer_exercises import EXERCISES_OF
from ..common.op_examples import GPT2, upstream
from ..common.source import constructor_of, input_name, place_of, source_of
from ..memory.at_size import kept_by, letters_of, letters_of_both, size_at
from .example import LAYER_PRIMES, OTHER_PRIMES, SMALL, LayerExample
from .layer_examples import LAYERS
from .op import OneOp, check_rows, gradients_of, voices_of

__all__ = ["explain_layer"]


def explain_layer(kind: Any, name: str | None = None) -> dict[str, Any]:
    """Everything about a class of modules, or of caches, as a dict of texts, numbers and arrays.

    name: of its example, such as "Attention(cross=True)"; the class's if None
    """
    name = kind.__name__ if name is None else name
    doc = inspect.cleandoc(kind.__doc__ or "")
    data: dict[str, Any] = {
        "kind": "layer",
        "name": name,
        "class": kind.__name__,
        "family": kind.__module__.removeprefix("tinygrad_llm."),
        "file": place_of(kind),
        "title": doc.partition("\n")[0],
        "doc": doc,
        "constructor": constructor_of(kind),
        "twin": None,
        "voices": [],
        "mistakes": [],
        "exercises": [],
    }
    example = LAYERS.get(name)
    if example is None or example.kind is not kind:
        data["forward"] = source_of(kind.forward)
        return {**data, "example": None, "memory": None, "check": []}
    data["forward"] = source_of(getattr(kind, example.method))
    if kind.__module__.startswith("tinygrad_llm.layers."):
        data |= _taught(kind.__name__)
    with random.fork_rng():
        random.manual_seed(0)
        module = example.make(SMALL).double()
        data["example"] = _worked(module, example)
        data["voices"] = _voices(data["example"]["ops"])
        data["check"] = _check(module, example)
        data["memory"] = _memory(example)
    return {**data, "published": _published(kind)}


def _published(kind: Any) -> list[dict[str, Any]]:
    """The presets of a model: their shape in words, and parameters; tied weights count once."""
    sizes = []
    for family in registry.families():
        for name, config in family.presets.items() if family.model is kind else ():
            with device("meta"):  # no numbers
                n = registry.build_from(config).n_parameters()
            sizes.append({"name": name, "shape": config.summary(), "parameters": n})
    return sizes


def _taught(name: str) -> dict[str, Any]:
    """The slow twin of a layer of models, its named mistakes and the exercises that build it."""
    from ..check.layer_reference import LAYER_TWINS
    from ..check.layer_samples import largest_difference
    from ..mistakes.whole_layers import LAYER_MISTAKES

    return {
        "twin": {"source": source_of(LAYER_TWINS[name]), "difference": largest_difference(name)},
        "mistakes": [{"name": m.name, "sentence": m.sentence} for m in LAYER_MISTAKES[name]],
        "exercises": list(EXERCISES_OF[name]),
    }


def _voices(ops: list[dict[str, Any]]) -> list[tuple[str, str, str]]:
    """Each op that ran, once, in plain words and exactly, forward and backward."""
    rows = []
    for name in dict.fromkeys(op["name"] for op in ops):
        voices = voices_of(OPS[name]) if name in OPS else []
        if voices:
            (_, forward, formula), (_, backward, derivation) = voices
            rows.append((name, f"{forward} Backward: {backward}", f"{formula}\n{derivation}"))
    return rows


def _leaves(example: LayerExample, inputs: list[Tensor]) -> list[Tensor]:
    for x in inputs:
        if x.is_floating_point() and example.gradients:
            x.requires_grad = True
    return inputs


def _made(module: Module, example: LayerExample) -> str:
    """The module as text, with the setting that a repr such as PyTorch's does not show."""
    text = repr(module)
    shown = not example.setting or example.setting in text or "\n" in text
    return text if shown else f"{example.kind.__name__}({example.setting})"


def _worked(module: Module, example: LayerExample) -> dict[str, Any]:
    """Forward and backward of the small module."""
    inputs = _leaves(example, example.arguments(SMALL))
    watch = OneOp()
    random.manual_seed(1)
    with enable_grad(), watch:
        outputs = list(tensors_in(example.run(module, *inputs)))
    named = dict(module.named_parameters())
    every = {**{f"input {i}": x for i, x in enumerate(inputs)}, **named}
    gradients = dict(zip(every, gradients_of(outputs, list(every.values())), strict=True))
    return {
        "made": _made(module, example),
        "call": example.call_text or f"module({', '.join('xyz'[: len(inputs)])})",
        "inputs": [
            {"name": f"input {i}", "value": x.array, "wants_gradient": x.requires_grad}
            for i, x in enumerate(inputs)
        ],
        "parameters": [
            {"name": name, "value": p.array, "shape": tuple(p.array.shape)}
            for name, p in named.items()
        ],
        "output": [y.array for y in outputs],
        "upstream": [upstream(y.array.shape) for y in outputs if y.requires_grad],
        "gradients": [{"name": name, "value": g} for name, g in gradients.items() if g is not None],
        "ops": [
            {"name": op.name, "outputs": [tuple(y.shape) for y in results]}
            for op, _, results in watch.every
            if example.gradients
        ],
    }


def _check(module: Module, example: LayerExample) -> list[dict[str, Any]]:
    """The gradient check of inputs and parameters, with the same dropout masks in every run."""

    def fn(*inputs: Any) -> Any:
        random.manual_seed(1)
        return example.run(module, *inputs)

    fn.__name__ = type(module).__name__
    inputs = _leaves(example, example.arguments(SMALL))
    if not any(x.requires_grad for x in inputs) and not list(module.parameters()):
        return []
    comparisons = compare_gradients(fn, *inputs, parameters=dict(module.named_parameters()))
    return check_rows(comparisons, lambda i: f"input {i}")


def _memory(example: LayerExample) -> dict[str, Any]:
    """Parameters, and what each op keeps, at GPT-2's sizes; measured at small ones."""
    module = example.make(LAYER_PRIMES)
    inputs = _leaves(example, example.arguments(LAYER_PRIMES, "float32"))
    watch = OneOp()
    with enable_grad(), without_loops(), watch:
        example.run(module, *inputs)
    parameters = []
    sums: dict[int, str] = {}
    others = dict(example.make(OTHER_PRIMES).named_parameters())
    for name, p in module.named_parameters():
        letters = [
            letters_of_both(n, LAYER_PRIMES, m, OTHER_PRIMES)
            for n, m in zip(p.array.shape, others[name].array.shape, strict=True)
        ]
        sums |= {n: x for n, x in zip(p.array.shape, letters, strict=True) if " + " in x}
        n = 1
        for letter in letters:
            n *= size_at(letter)
        parameters.append({"name": name, "shape": f"({', '.join(letters)})", "elements": n})
    owners: dict[str, Tensor] = {f"parameter {name}": p for name, p in module.named_parameters()}
    owners.update({f"input {i}": x for i, x in enumerate(inputs)})
    known: set[int] = set()
    rows = []
    for op, given, _ in watch.every:
        if not any(op.needs):
            continue
        named = {**{input_name(op, i): x for i, x in enumerate(given)}, **owners}
        for kept in kept_by(op, named, known, LAYER_PRIMES, sums):
            is_own = kept.is_input not in owners
            rows.append(
                {
                    "op": op.name,
                    "name": kept.name,
                    "shape": kept.shape,
                    "dtype": kept.dtype,
                    "bytes": kept.bytes,
                    "is_input": "" if is_own else kept.is_input,
                }
            )
    return {
        "sizes": GPT2,
        "inputs": "   ".join(
            f"input {i} ({', '.join(letters_of(n, LAYER_PRIMES) for n in x.shape)})"
            for i, x in enumerate(inputs)
        ),
        "parameters": parameters,
        "elements": sum(p["elements"] for p in parameters),
        "arrays": rows,
        "bytes": sum(r["bytes"] for r in rows),
        "new_bytes": sum(r["bytes"] for r in rows if not r["is_input"]),
    }
