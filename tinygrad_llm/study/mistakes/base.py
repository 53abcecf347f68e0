"""What a named mistake is, and the forms that many of them share."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...arrays.memory import is_array
from ...arrays.reductions import unbroadcast
from ...autograd.engine import OPS, Op

Backward = Callable[[Any, Any], Any]  # (op, g) -> gradients

MISTAKES: dict[str, list[Mistake]] = {}  # by op


@dataclass(frozen=True)
class Mistake:
    """A wrong backward pass that people really write.

    backward(op, g) has the form of an op's backward; op.given are forward's arrays and op.chosen
    its options, so that a mistake can use what the true op does not need to save.
    """

    op: str
    name: str
    sentence: str  # what is wrong, for a learner whose gradient this is
    backward: Backward

    def planted(self) -> type[Op]:
        """The op with this mistake in place of its backward. The op itself stays as it is."""
        true = OPS[self.op]

        def forward(op: Any, *arrays: Any, **options: Any) -> Any:
            op.given, op.chosen = arrays, options
            return true.forward(op, *arrays, **options)

        body = {"forward": forward, "backward": lambda op, g: self.backward(op, g)}
        return type(f"Wrong{true.__name__}", (true,), body)


def wrong(op: str, *mistakes: tuple[str, str, Backward]) -> None:
    """Enter an op's mistakes in MISTAKES: (name, sentence, backward).

    Raises: ValueError if there is no such op or a mistake has this name already.
    """
    if op not in OPS:
        raise ValueError(f"no op is called {op!r}")
    entered = MISTAKES.setdefault(op, [])
    for name, sentence, backward in mistakes:
        if any(m.name == name for m in entered):
            raise ValueError(f"{op} has a mistake {name!r} already")
        entered.append(Mistake(op, name, sentence, backward))


# ---------------------------------------------------------------------------- the true gradient
def true(op: Any, g: Any) -> list[Any]:
    """The true gradients, one per input."""
    grads = OPS[op.name].backward(op, g)
    return list(grads) if isinstance(grads, tuple) else [grads]


def given(op: Any, n: int) -> list[Any]:
    """Forward's first n arrays, None for those that were left out."""
    return [*op.given, *[None] * n][:n]


def changed(f: Callable[[Any], Any], *which: int) -> Backward:
    """The true gradients with f applied to those of the inputs `which` (all if none are named)."""

    def backward(op: Any, g: Any) -> tuple:
        return tuple(
            f(a) if a is not None and (not which or i in which) else a
            for i, a in enumerate(true(op, g))
        )

    return backward


def forgets_g(op: Any, g: Any) -> tuple:
    """The true gradients for g = 1 everywhere."""
    if isinstance(g, tuple):
        return tuple(true(op, tuple(None if a is None else np.ones_like(a) for a in g)))
    return tuple(true(op, np.ones_like(g)))


negated = changed(lambda a: -a)
doubled = changed(lambda a: 2.0 * a)
halved = changed(lambda a: 0.5 * a)
cut = changed(lambda a: 0.0 * a)
UNMULTIPLIED = "g forgotten"


def no_g(derivative: str) -> tuple[str, str, Backward]:
    """The mistake to return the derivative alone; `derivative` is its formula."""
    return (
        UNMULTIPLIED,
        f"This is the derivative {derivative} alone: it must be multiplied by g, which arrives "
        "from the loss.",
        forgets_g,
    )


# ----------------------------------------------------------------------------- undone broadcasts
def shape_of(x: Any) -> tuple[int, ...]:
    """The shape of an input; () for a number."""
    return x.shape if is_array(x) else ()


def first_copy(g: Any, shape: Sequence[int]) -> Any:
    """Only the first of the copies that broadcasting made, which a forgotten sum may leave."""
    g = g[(0,) * (g.ndim - len(shape))] if all(g.shape) else unbroadcast(g, tuple(shape))
    kept = g[tuple(slice(0, 1) if n == 1 else slice(None) for n in shape)]
    return np.array(kept)  # a 0-d array, where NumPy returns a number


def mean_copy(g: Any, shape: Sequence[int]) -> Any:
    """The mean over the copies that broadcasting made."""
    copies = g.size // max(math.prod(shape), 1)
    return unbroadcast(g, tuple(shape)) / max(copies, 1)


def broadcasting(undo: Callable[[Any, Any], Any]) -> Backward:
    """The true gradients of a broadcasting op, but with its copies undone in another way."""

    def backward(op: Any, g: Any) -> tuple:
        return tuple(
            None if a is None else undo(np.asarray(a), shape_of(x))
            for a, x in zip(true(op, g), op.given, strict=True)
        )

    return backward


FIRST_COPY = (
    "only the first copy",
    "Where broadcasting repeated an input, this keeps the first copy's gradient: every copy sends "
    "one back, and they add up.",
    broadcasting(first_copy),
)
MEAN_COPY = (
    "the mean over the copies",
    "Where broadcasting repeated an input, this takes the mean of the copies' gradients: they add "
    "up, each copy had a full effect on the loss.",
    broadcasting(mean_copy),
)
