"""Arrays divided among ranks along a dimension: cut, joined, and summed.

Rank r of R has the elements from N·r/R to N·(r+1)/R of a dimension of size N, both rounded down, so
a size that R does not divide is divided too. The functions take and return raw arrays, and wait.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ..arrays.devices import asarray, to_numpy, xp_of
from .groups import run
from .process_group import ProcessGroup
from .reductions import ReduceOp
from .steps import all_gathered, divided, reduced, reduced_part

__all__ = [
    "Division", "everyones_number", "gathered", "own_part", "own_slice", "sent_from", "summed",
    "summed_all", "summed_part",
]  # fmt: skip


class Division(NamedTuple):
    """How a tensor is divided: the group, the dimension, and its length on all ranks together."""

    group: ProcessGroup
    dim: int
    length: int


def own_slice(group: ProcessGroup, length: int) -> slice:
    """The elements of a dimension that this rank has."""
    size, rank = group.size(), group.rank()
    return slice(length * rank // size, length * (rank + 1) // size)


def own_part(group: ProcessGroup, array: Any, dim: int) -> Any:
    """This rank's part of an array, as a view."""
    where = [slice(None)] * array.ndim
    where[dim] = own_slice(group, array.shape[dim])
    return array[tuple(where)]


def sent_from(group: ProcessGroup, array: Any) -> Any:
    """The array where the group sends it from: itself, or a copy on the CPU."""
    return array if group.takes(array) else to_numpy(array)


def _rows(group: ProcessGroup, array: Any, dim: int) -> tuple[Any, tuple[int, ...]]:
    """The array with `dim` first, contiguous, and its shape."""
    here = sent_from(group, array)
    xp = xp_of(here)
    moved = xp.ascontiguousarray(xp.moveaxis(here, dim, 0))  # (..., n, ...) -> (n, ...)
    return moved.reshape(-1), moved.shape  # (n, ...) -> (n * rest,)


def _about(name: str, array: Any, dim: int, group: ProcessGroup) -> str:
    """What must agree on all ranks: the shape without the dimension that is divided."""
    shape = [n for i, n in enumerate(array.shape) if i != dim % max(array.ndim, 1)]
    return f"{name} of {array.dtype.name} {tuple(shape)} along {dim}"


def gathered(group: ProcessGroup, array: Any, dim: int, length: int) -> Any:
    """The ranks' parts joined along dim, which has `length` elements then."""
    flat, shape = _rows(group, array, dim)
    rest = int(np.prod(shape[1:], dtype=np.int64))
    counts = [n * rest for n in divided(length, group.size())]
    steps = all_gathered(group, flat, counts)
    whole = run(group, _about("gathered", array, dim, group), steps, array=flat)
    whole = whole.reshape(length, *shape[1:])  # (N * rest,) -> (N, ...)
    return asarray(xp_of(whole).moveaxis(whole, 0, dim), array)  # (N, ...) -> (..., N, ...)


def summed_part(group: ProcessGroup, array: Any, dim: int, op: ReduceOp = ReduceOp.SUM) -> Any:
    """This rank's part of the sum over the ranks."""
    flat, shape = _rows(group, array, dim)
    rest = int(np.prod(shape[1:], dtype=np.int64))
    counts = [n * rest for n in divided(shape[0], group.size())]
    steps = reduced_part(group, flat, op, counts)
    part = run(group, _about("summed_part", array, dim, group), steps, array=flat)
    part = part.copy()  # without the larger array of which it is a part
    part = part.reshape(-1, *shape[1:]) if rest else part.reshape(counts[group.rank()], *shape[1:])
    return asarray(xp_of(part).moveaxis(part, 0, dim), array)  # (n, ...) -> (..., n, ...)


def summed(group: ProcessGroup, array: Any, op: ReduceOp = ReduceOp.SUM) -> Any:
    """The sum over the ranks of arrays of one shape, as a new array."""
    here = sent_from(group, array)
    flat = xp_of(here).ascontiguousarray(here).reshape(-1)  # (...) -> (n,)
    what = f"summed({op.name}) of {array.dtype.name} {tuple(array.shape)}"
    total = run(group, what, reduced(group, flat, op), array=flat)
    total = total.copy() if total is flat else total
    return asarray(total.reshape(array.shape), array)  # (n,) -> (...)


def summed_all(group: ProcessGroup, arrays: Sequence[Any], op: ReduceOp = ReduceOp.SUM) -> list:
    """`summed` of several arrays, those of one dtype in one exchange."""
    totals: list[Any] = [None] * len(arrays)
    for dtype in dict.fromkeys(a.dtype for a in arrays):
        chosen = [i for i, a in enumerate(arrays) if a.dtype == dtype]
        xp = xp_of(arrays[chosen[0]])
        flat = xp.concatenate([arrays[i].reshape(-1) for i in chosen])  # (n1,), ... -> (N,)
        ends = np.cumsum([arrays[i].size for i in chosen])[:-1].tolist()
        parts = xp.split(summed(group, flat, op), ends)
        for i, part in zip(chosen, parts, strict=True):
            totals[i] = part.reshape(arrays[i].shape).copy()  # (n,) -> (...)
    return totals


def everyones_number(group: ProcessGroup, n: int) -> list[int]:
    """Every rank's integer."""
    own = np.array([n], np.int64)
    return run(group, "number_of_every_rank", all_gathered(group, own)).tolist()
