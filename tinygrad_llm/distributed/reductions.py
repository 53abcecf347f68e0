"""How the ranks' numbers are joined: always in rank order, x₀ + x₁ + x₂ + ....

Each number is computed on one rank alone and copied to the others, so every rank has the same bits,
and a run repeated has them too; neither the number of elements nor the timing changes the order.
Half precisions are added in float32 and rounded once.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum, EnumMeta
from typing import Any

import numpy as np

from ..arrays.devices import xp_of

__all__ = ["ReduceOp", "check_reduction", "joined"]


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


def joined(parts: Iterable[Any], op: ReduceOp, size: int) -> Any:
    """The reduction of the ranks' arrays, in the order in which they are given.

    size: the number of ranks, by which AVG divides.
    """
    total: Any = None
    for part in parts:
        dtype = part.dtype
        if dtype.itemsize == 2 and dtype.kind in "fV":  # float16 and bfloat16
            part = part.astype(np.float32)
        if total is None:
            total = part.copy()
        else:
            getattr(xp_of(total), _JOIN[op])(total, part, out=total)
    if op is ReduceOp.AVG:
        total /= size
    return total if total.dtype == dtype else total.astype(dtype)
