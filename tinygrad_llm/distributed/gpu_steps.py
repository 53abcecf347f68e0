"""Reductions over NCCL, as steps: half precisions in float32, all others in their own dtype.

NCCL adds in an order that depends on the number of ranks, the links and the length of the message.
After use_deterministic_algorithms(True), on all ranks, the ranks' arrays are exchanged in place of
that, and each part is added in rank order, as on CPUs: the same bits on any machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..arrays.devices import xp_of
from ..functions.settings import are_deterministic_algorithms_enabled
from .reductions import ReduceOp
from .transport import Steps

__all__ = [
    "averaged_in_place",
    "native_on_gpu",
    "reduced_on_gpu",
    "reduced_part_on_gpu",
    "unfinished",
]

ADDS = (ReduceOp.SUM, ReduceOp.AVG, ReduceOp.PRODUCT)  # where the order changes the last bits


def _wide(dtype: Any) -> Any:
    """The dtype in which numbers are added: float32 for half precisions, int32 for small ints."""
    if dtype.itemsize == 2:
        return np.dtype(np.int32 if dtype.kind in "iu" else np.float32)
    return dtype


def native_on_gpu(flat: Any, op: ReduceOp) -> bool:
    """Whether NCCL computes the reduction; the ranks' arrays are exchanged and joined if not."""
    from .nccl import native

    if op in ADDS and are_deterministic_algorithms_enabled():
        return False
    return native(_wide(flat.dtype), op)


def unfinished(request: Any) -> Any:
    """A request after which the collective launches something else."""
    if hasattr(request, "last"):
        request.last = False
    return request


def reduced_on_gpu(group: Any, flat: Any, op: ReduceOp, into: Any) -> Steps:
    """The reduction of the ranks' arrays."""
    wide = _wide(flat.dtype)
    if wide != flat.dtype:
        numbers = flat.astype(wide)
        yield group.nccl.reduce(numbers, numbers, op)
        return numbers.astype(flat.dtype)
    total = xp_of(flat).empty_like(flat) if into is None else into
    yield group.nccl.reduce(flat, total, op)
    return total


def averaged_in_place(group: Any, arrays: Sequence[Any]) -> Steps:
    """The mean over the ranks of each array, in its own memory; NCCL sends them in one launch."""
    nccl = group.nccl
    yield nccl.together(lambda: [nccl.reduce(a, a, ReduceOp.AVG) for a in arrays])


def reduced_part_on_gpu(group: Any, flat: Any, op: ReduceOp, counts: Sequence[int]) -> Steps:
    """This rank's part of the reduction."""
    wide = _wide(flat.dtype)
    numbers = flat if wide == flat.dtype else flat.astype(wide)
    if len(set(counts)) > 1 and numbers is flat:
        numbers = flat.copy()  # the others' parts are used on the way
    part = xp_of(flat).empty(counts[group.rank()], wide)
    yield group.nccl.reduce_parts(numbers, part, counts, op)
    return part if wide == flat.dtype else part.astype(flat.dtype)
