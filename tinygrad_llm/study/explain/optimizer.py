"""What explain says about an optimizer: its rule, its code, and its steps on three numbers."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np

from ...nn.parameter import Parameter
from ...optim import Optimizer
from ...tensor import Tensor, wrap
from ..common.lines import watch_lines
from ..common.plain_steps import OPTIMIZER_WORDS
from ..common.source import constructor_of, first_line, place_of, source_of

__all__ = ["explain_optimizer"]

START = np.array([1.0, -2.0, 0.5])  # the three numbers
GRADIENTS = (np.array([0.5, -0.1, 0.0]), np.array([0.4, 0.3, -0.2]))  # of two steps
OPTIONS = {"SGD": {"momentum": 0.9}}
SHAPES = {"Muon": (1, 3), "Adafactor": (1, 3)}  # of the three numbers, where they are a matrix
LR = 0.1
MATRIX = (768, 768)


def explain_optimizer(kind: type[Optimizer]) -> dict[str, Any]:
    """Everything about an optimizer class as a dict of texts, numbers and arrays."""
    doc = inspect.cleandoc(kind.__doc__ or "")
    return {
        "kind": "optimizer",
        "name": kind.__name__,
        "class": kind.__name__,
        "family": "optim",
        "file": place_of(kind),
        "title": first_line(kind),
        "doc": doc,
        "plain": OPTIMIZER_WORDS.get(kind.__name__, ""),
        "constructor": constructor_of(kind),
        "update": source_of(kind.update),
        "example": _worked(kind),
        "memory": _memory(kind),
        "check": [],
    }


def _worked(kind: Any) -> dict[str, Any]:
    """Two steps on three numbers, line by line."""
    options = {"lr": LR, **OPTIONS.get(kind.__name__, {})}
    shape = SHAPES.get(kind.__name__, START.shape)
    p = Parameter(wrap(START.reshape(shape).copy()))
    optimizer = kind([p], **options)
    steps = []
    for g in GRADIENTS:
        p.grad = wrap(g.reshape(shape).copy())
        seen = watch_lines(kind.update)
        with seen:
            optimizer.step()
        steps.append(
            {
                "gradient": g,
                "lines": list(seen.lines),
                "state": {name: _array(value) for name, value in optimizer.state[p].items()},
                "parameters": p.array.copy(),
            }
        )
    group = {k: v for k, v in optimizer.param_groups[0].items() if k != "params"}
    return {
        "parameters": START.reshape(shape),
        "options": group,
        "made_with": options,
        "steps": steps,
    }


def _array(value: Any) -> Any:
    return value.array.copy() if isinstance(value, Tensor) else value


def _memory(kind: Any) -> dict[str, Any]:
    """Bytes of state for GPT-2's parameters in float32, from the state of a matrix of its width."""
    p = Parameter(wrap(np.ones(MATRIX, np.float32)))
    optimizer = kind([p], lr=LR, **OPTIONS.get(kind.__name__, {}))
    p.grad = wrap(np.ones(MATRIX, np.float32))
    optimizer.step()
    kept = {
        name: value.array.nbytes
        for name, value in optimizer.state[p].items()
        if isinstance(value, Tensor) and value.array.size > 1
    }
    n = 124_439_808  # GPT-2's parameters
    return {
        "arrays": [
            {"name": name, "shape": "(P)", "dtype": "float32", "bytes": size * n // p.numel(),
             "is_input": ""}
            for name, size in kept.items()
        ],
        "sizes": {"P": n},
        "inputs": "p(P)",
        "bytes": sum(kept.values()) * n // p.numel(),
        "new_bytes": sum(kept.values()) * n // p.numel(),
    }  # fmt: skip
