"""How the ranks' numbers are joined: always in rank order, x₀ + x₁ + x₂ + ....

Each number is computed on one rank alone and copied to the others, so every rank has the same bits,
and a run repeated has them too; neither the number of elements nor the timing changes the order.
Half precisions are added in float32 and rounded once.
"""

from __future__ import annotations

from enum import Enum, EnumMeta
from typing import Any

import numpy as np

from ..arrays.devices import xp_of

__all__ = ["ReduceOp", "check_reduction", "divided", "joined"]


class _Names(EnumMeta):
    """What a reduction's name that does not exist says."""

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        raise AttributeError(f"ReduceOp has no {name!r}; it has {', '.join(cls.__members__)}")


class ReduceOp(Enum, metaclass=_Names):
    """How a reduction joins the ranks' numbers; over one rank each returns the number itself."""

    SUM = "sum"
    AVG = "avg"
    PRODUCT = "product"
    MIN = "min"
    MAX = "max"
    BAND = "band"
    BOR = "bor"
    BXOR = "bxor"


_JOIN = {
    ReduceOp.SUM: "add",
    ReduceOp.AVG: "add",
    ReduceOp.PRODUCT: "multiply",
    ReduceOp.MIN: "minimum",
    ReduceOp.MAX: "maximum",
    ReduceOp.BAND: "bitwise_and",
    ReduceOp.BOR: "bitwise_or",
    ReduceOp.BXOR: "bitwise_xor",
}
BLOCK = 1 << 15  # elements that are added at a time
_OF_BITS = (ReduceOp.BAND, ReduceOp.BOR, ReduceOp.BXOR)


def check_reduction(op: Any, dtype: np.dtype) -> ReduceOp:
    """The reduction, if it fits the dtype.

    Raises: TypeError if op is not a ReduceOp; ValueError for the mean of integers, the order of
    complex numbers and the bits of numbers that are not integers, which do not exist.
    """
    if not isinstance(op, ReduceOp):
        raise TypeError(f"op: expected a ReduceOp such as ReduceOp.SUM, got {op!r}")
    if op is ReduceOp.AVG and dtype.kind in "iub":
        raise ValueError(f"ReduceOp.AVG: the mean of {dtype.name} is not an integer; take SUM")
    if op in (ReduceOp.MIN, ReduceOp.MAX) and dtype.kind == "c":
        raise ValueError(f"ReduceOp.{op.name}: complex numbers have no order")
    if op in _OF_BITS and dtype.kind not in "iub":
        raise ValueError(f"ReduceOp.{op.name} joins bits of integers, and {dtype.name} is none")
    return op


def divided(length: int, parts: int) -> list[int]:
    """How many of `length` elements each of the parts has: as evenly as possible."""
    bounds = [length * i // parts for i in range(parts + 1)]
    return [b - a for a, b in zip(bounds, bounds[1:], strict=False)]


def joined(parts: Any, op: ReduceOp, size: int) -> Any:
    """The reduction of the ranks' arrays, in rank order, in the memory of the first.

    parts: (R, n), or a list of arrays (n,); size: the number of ranks, by which AVG divides.
    On a CPU it is done in blocks that stay in the cache.
    """
    first = parts[0]
    half = first.dtype.itemsize == 2 and first.dtype.kind in "fV"  # float16 and bfloat16
    xp = xp_of(first)
    join = getattr(xp, _JOIN[op])
    length = BLOCK if xp is np else max(first.size, 1)
    for start in range(0, first.size, length):
        here = slice(start, start + length)
        total = first[here].astype(np.float32) if half else first[here]
        for part in parts[1:]:
            join(total, part[here].astype(np.float32) if half else part[here], out=total)
        if op is ReduceOp.AVG:
            total /= size
        if half:
            first[here] = total.astype(first.dtype)
    return first
