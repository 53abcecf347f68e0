"""Where a NaN or an infinity came from: the op that made it first."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from ..arrays import devices
from ..autograd import engine
from ..autograd.observing import drop_gradient, observing

__all__ = [
    "NonFiniteError",
    "arrays_of",
    "describe",
    "diagnose_gradient",
    "diagnose_loss",
    "diagnose_weights",
    "first_bad_backward",
    "first_bad_forward",
    "made_here",
]


class NonFiniteError(FloatingPointError):
    """Training met a loss or a gradient that is NaN or infinite.

    what: the loss or the gradient norm; op: the name of the op that made the first such number, or
    None if the number was there before any op; origin: the op and its inputs in words; step: the
    step that failed; checkpoint: the last good one, or None; updated: whether that step's update
    was made, so that its weights are the cause.
    """

    def __init__(
        self, what: str, op: str | None, origin: str, step: int, checkpoint: Path | None,
        updated: bool = False,
    ) -> None:  # fmt: skip
        good = "no checkpoint was written before"
        if checkpoint is not None:
            good = f"the last good checkpoint is {checkpoint}"
        state = "The weights have diverged" if updated else "The weights were not updated"
        super().__init__(
            f"step {step}: {what}. First made by {origin}. {state}; {good}. "
            "A lower learning rate or gradient clipping often helps"
        )
        self.step, self.op, self.checkpoint = step, op, checkpoint


class _Origin(Exception):
    """Leaves the forward pass as soon as the origin is known; args: op's name, description."""


def _finite(array: Any) -> bool:
    return (
        array is None
        or array.dtype.kind not in "fV"
        or bool(devices.xp_of(array).isfinite(array).all())
    )


def describe(array: Any) -> str:
    """What an array holds, in a few words: (2, 3) from -1.5 to 4, or how many are not finite."""
    shape = tuple(array.shape)
    if array.size == 0 or array.dtype.kind not in "fViu":
        return f"{shape} {array.dtype}"
    xp = devices.xp_of(array)
    bad = 0 if array.dtype.kind not in "fV" else int((~xp.isfinite(array)).sum())
    if bad:
        return f"{shape} with {bad:,} of {array.size:,} not finite"
    return f"{shape} from {float(array.min()):.4g} to {float(array.max()):.4g}"


def arrays_of(values: Any) -> list[Any]:
    """The arrays among the values, those of tensors included; other values are left out."""
    values = values if isinstance(values, (list, tuple)) else [values]
    arrays = [getattr(value, "array", value) for value in values]
    return [array for array in arrays if hasattr(array, "dtype")]  # NumPy's scalars too


def made_here(inputs: Any, results: Any) -> bool:
    """Whether an op made a NaN from inputs without one, or an infinity from finite inputs.

    inputs: its inputs and options, tensors, arrays and numbers. A mask that is filled with -inf has
    its infinity from the number that was passed, so the op did not make it.
    """
    outputs = arrays_of(results)
    if all(_finite(array) for array in outputs):
        return False
    arrays = arrays_of(inputs)
    numbers = [x for x in inputs if isinstance(x, float)]
    had_nan = any(x != x for x in numbers) or any(_any("isnan", a) for a in arrays)
    had_inf = any(x in (math.inf, -math.inf) for x in numbers) or any(
        _any("isinf", a) for a in arrays
    )
    makes_nan = any(_any("isnan", a) for a in outputs)
    makes_inf = any(_any("isinf", a) for a in outputs)
    return (makes_nan and not had_nan) or (makes_inf and not (had_inf or had_nan))


def _any(test: str, array: Any) -> bool:
    """Whether an element passes a test by name: "isnan" or "isinf"."""
    if array.dtype.kind not in "fV" or not array.size:
        return False
    return bool(getattr(devices.xp_of(array), test)(array).any())


def diagnose_loss(value: float, compute: Callable[[], Any]) -> tuple[str, str | None, str]:
    """(what, op, origin) of NonFiniteError for a bad loss; `compute()` computes it again."""
    return (f"the loss is {value}", *first_bad_forward(compute))


def diagnose_gradient(
    norm: float, compute: Callable[[Any], Any], batches: Iterable[Any]
) -> tuple[str, str | None, str]:
    """The same for a bad gradient norm; `compute(batch)` returns a loss that was added up."""
    op, origin = None, "a sum of gradients, each of which is finite"
    for batch in batches:
        op, origin = first_bad_backward(compute(batch))
        if op is not None:
            break
    return f"the gradient norm is {norm}", op, origin


def diagnose_weights(model: Any) -> tuple[str, str | None, str] | None:
    """The same for a model with a weight that is NaN or infinite; None if all are finite."""
    for name, parameter in model.named_parameters():
        if not _finite(parameter.array):
            return f"the weight {name} is not finite", None, f"the update of {name}"
    return None


def first_bad_forward(compute: Callable[[], Any]) -> tuple[str | None, str]:
    """Runs `compute()` again and finds the first op whose output is not finite.

    Returns its name and a line that describes its inputs. (None, reason) if an input of the first
    such op was not finite before any op used it, or if every output is finite this time.
    """
    count = 0
    passed_on: list[str] = []  # infinities that were in the inputs, such as those of a mask

    def watch(op: Any, inputs: Any, output: Any) -> None:
        nonlocal count
        count += 1
        if all(_finite(array) for array in arrays_of(output)):
            return
        arrays = ", ".join(describe(array) for array in arrays_of(inputs)) or "no array"
        if made_here(inputs, output):
            raise _Origin(op.name, f"{op.name} (op {count} of the forward pass), given {arrays}")
        reason = f"an input of {op.name} (op {count}) was not finite already: {arrays}"
        if any(_any("isnan", array) for array in arrays_of(output)):
            raise _Origin(None, reason)
        passed_on.append(reason)

    try:
        with observing(watch):
            compute()
    except _Origin as origin:
        return origin.args[0], origin.args[1]
    if passed_on:
        return None, passed_on[0]
    return None, "the same batch has finite numbers when it is computed again"


def first_bad_backward(loss: Any) -> tuple[str | None, str]:
    """Runs the backward pass of a loss up to the first op that returns a gradient not finite.

    Returns its name and a line that describes its incoming gradient; (None, reason) if there is no
    such op.
    """
    for count, (op, g, grads) in enumerate(engine.backward_steps(loss, deliver=drop_gradient), 1):
        if all(_finite(array) for array in arrays_of(grads)):
            continue
        arrays = ", ".join(describe(array) for array in arrays_of(g))
        return op.name, f"{op.name} (op {count} of the backward pass), given a gradient {arrays}"
    return None, "the same batch has finite gradients when it is computed again"
