"""What a wrong gradient looks like, if it is not one of the named mistakes."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np

from ...arrays.memory import is_array
from ..common.source import input_name
from .samples import Ran

__all__ = ["pattern_of"]

Pair = tuple[Ran, np.ndarray, np.ndarray]  # a call, the learner's gradient, the true one


def pattern_of(label: str, ran: Ran, i: int, pairs: list[Pair]) -> str:
    """One sentence, after a space, on what the pattern suggests; "" if there is no pattern."""
    mine, true = next((g, t) for r, g, t in pairs if r is ran)
    if mine.shape != true.shape:
        return _shapes(mine, true)
    if not np.isfinite(mine).all() and np.isfinite(true).all():
        n = int((~np.isfinite(mine)).sum())
        return f" {n} elements are NaN or infinite: look for a division by 0 or a logarithm of 0."
    if not mine.any():
        return f" It is 0 everywhere: this path to {label} is missing."
    for look in (_factor, _signs, _arrangement, _other_array, _along, _difference, _some):
        if sentence := look(mine, true, ran, i, pairs):
            return " " + sentence
    return ""


def _near(a: Any, b: Any) -> bool:
    return bool(np.allclose(a, b, rtol=1e-6, atol=1e-9))


def _shapes(mine: np.ndarray, true: np.ndarray) -> str:
    if mine.ndim == 2 and mine.T.shape == true.shape and _near(mine.T, true):
        return " It is the right gradient, transposed."
    if mine.size == true.size:
        if _near(mine.reshape(true.shape), true):
            return " The numbers are right: reshape them."
        return " The number of elements is right: is something transposed?"
    for n in range(1, mine.ndim + 1):
        for dims in itertools.combinations(range(mine.ndim), n):
            total = mine.sum(dims)
            if total.shape == true.shape and _near(total, true):
                return f" A sum is missing: over dim {', '.join(map(str, dims))} of yours."
            kept = mine.sum(dims, keepdims=True)
            if kept.shape == true.shape and _near(kept, true):
                return f" A sum is missing: over dim {', '.join(map(str, dims))}, with keepdims."
    if mine.size > true.size:
        return " It is larger: a sum over the dimensions that were repeated may be missing."
    return ""


def _ratio(mine: np.ndarray, true: np.ndarray) -> float | None:
    """c, if mine = c·true."""
    if not true.any():
        return None
    at = np.unravel_index(int(abs(true).argmax()), true.shape)
    c = float(mine[at] / true[at])
    return c if _near(mine, c * true) else None


def _factor(mine, true, ran, i, pairs) -> str:
    ratios = []
    for r, g, t in pairs:
        if g.shape != t.shape or not t.any():
            continue
        c = _ratio(g, t)
        if c is None:
            return ""
        ratios.append((c, r))
    if not ratios:
        return ""
    c = ratios[0][0]
    if all(math.isclose(a, c, rel_tol=1e-6) for a, _ in ratios):
        if c == -1.0 or math.isclose(c, -1.0):
            return "It is the true gradient with the other sign."
        return f"It is the true gradient times {c:.6g}: a constant factor is wrong."
    for words, size in _sizes(ran.sample.inputs, i):
        if all(math.isclose(a, size(r), rel_tol=1e-6) for a, r in ratios):
            return f"It is the true gradient times {words}: a mean in place of a sum, or a" \
                " sum in place of a mean."  # fmt: skip
    return f"It is the true gradient times one number in each call, here {_ratio(mine, true):.6g}."


def _sizes(inputs: list[Any], i: int) -> list[tuple[str, Any]]:
    """Numbers that a factor may be: (words, function of the call)."""
    factors = []
    ndim = inputs[i].ndim

    def size(r: Ran, dim: int) -> float:
        shape = r.sample.inputs[i].shape
        return float(shape[dim]) if len(shape) >= -dim else math.nan

    options: list[tuple[str, Any]] = [
        ("the number of elements", lambda r: float(r.sample.inputs[i].size)),
        ("the number of output elements", lambda r: float(r.upstream[0].size)),
        ("the number of rows", lambda r: r.upstream[0].size / max(r.sample.inputs[i].size, 1)),
    ]
    for dim in range(-1, -ndim - 1, -1):
        options.append((f"the size of its dimension {dim}", lambda r, d=dim: size(r, d)))
    for words, f in options:
        factors.append((words, f))
        factors.append((f"1 / {words}", lambda r, f=f: 1.0 / max(f(r), 1e-300)))
        factors.append((f"√({words})", lambda r, f=f: math.sqrt(max(f(r), 0.0))))
        factors.append((f"1 / √({words})", lambda r, f=f: max(f(r), 1e-300) ** -0.5))
    return factors


def _signs(mine, true, ran, i, pairs) -> str:
    if not _near(abs(mine), abs(true)):
        return ""
    n = int((mine * true < 0).sum())
    return f"Only signs are wrong, those of {n} elements."


def _arrangement(mine, true, ran, i, pairs) -> str:
    if mine.ndim == 2 and mine.shape[0] == mine.shape[1] and _near(mine.T, true):
        return "It is the true gradient, transposed: rows and columns are swapped."
    for dim in range(mine.ndim):
        if mine.shape[dim] < 2:
            continue
        if _near(np.flip(mine, dim), true):
            return f"It is the true gradient in reverse order along dim {dim}."
        for shift in range(1, mine.shape[dim]):
            if _near(np.roll(mine, shift, dim), true):
                return f"It is the true gradient moved by {-shift} along dim {dim}: off by one?"
    flat_mine, flat_true = np.sort(mine, axis=None), np.sort(true, axis=None)
    if mine.size > 2 and np.ptp(mine) > 1e-9 and _near(flat_mine, flat_true):
        return "The numbers are right but in other places: a transpose or an index is wrong."
    return ""


def _other_array(mine, true, ran, i, pairs) -> str:
    """Wrong by a factor that is one of the inputs, or g."""
    known = [(input_name(ran.op, n), x) for n, x in enumerate(ran.sample.inputs)]
    known.append(("g", ran.upstream[0]))
    for name, x in known:
        if not is_array(x) or x.dtype.kind != "f" or x.size < 2:
            continue
        if x.shape != mine.shape[mine.ndim - x.ndim :]:
            continue
        for words, other in ((name, true * x), (f"1/{name}", true / np.where(x == 0, 1, x))):
            if _near(mine, other):
                return f"Each element is the true one times {words}."
    return ""


def _along(mine, true, ran, i, pairs) -> str:
    """Wrong by a factor that is the same along a dimension."""
    if mine.ndim < 2 or not true.all():
        return ""
    ratio = mine / true
    for dim in range(mine.ndim):
        if mine.shape[dim] > 1 and _near(ratio, ratio.mean(dim, keepdims=True)):
            return (
                f"The ratio is the same all along dim {dim}: a factor with one number for each "
                f"slice of that dimension, such as 1/σ of a row, is missing or one too many."
            )
    return ""


def _difference(mine, true, ran, i, pairs) -> str:
    """Wrong by a difference that is the same along a dimension."""
    error = mine - true
    for dim in range(mine.ndim):
        if mine.shape[dim] > 1 and _near(error, error.mean(dim, keepdims=True)):
            return (
                f"The difference is the same all along dim {dim}: a mean or a sum over that "
                "dimension is missing or one too many."
            )
    return ""


def _some(mine, true, ran, i, pairs) -> str:
    right = np.isclose(mine, true, rtol=1e-6, atol=1e-9)
    if 4 * right.sum() < right.size:  # so few may be a coincidence
        return ""
    zero = ~right & (mine == 0)
    if zero.sum() == (~right).sum():
        return "The wrong ones are 0: their gradients are lost."
    if not true[~right].any():
        return "The wrong ones should be 0: the loss does not depend on them."
    return "The others are right: what is special about the wrong ones?"
