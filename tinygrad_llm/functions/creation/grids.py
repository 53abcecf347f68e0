"""Combinations of several vectors' elements: meshgrid, cartesian_prod, combinations."""

from __future__ import annotations

import itertools
from typing import Any

from ...tensor import Tensor
from ..index_along import index_select
from ..method import function
from ..shape.join import stack
from .ranges import arange


@function
def cartesian_prod(*tensors: Tensor) -> Tensor:
    """Every combination of one element per vector, one row each; for a single vector the vector.

    Raises: RuntimeError if a tensor is not 1-D.
    """
    for x in tensors:
        if x.array.ndim != 1:
            raise RuntimeError("Expect a 1D vector, but got shape " + str(list(x.array.shape)))
    if len(tensors) == 1:
        return tensors[0]
    grids = meshgrid(*tensors, indexing="ij")
    return stack([g.reshape(-1) for g in grids], 1)


@function
def combinations(input: Tensor, r: int = 2, with_replacement: bool = False) -> Tensor:
    """Every choice of r elements of a vector, in their order: one row per choice.

    with_replacement: an element may be chosen again.
    Raises: RuntimeError if input is not a vector.
    """
    if input.array.ndim != 1:
        raise RuntimeError(f"Expect a 1D vector, but got shape {list(input.array.shape)}")
    if r < 0:
        raise RuntimeError(f"Expect a non-negative number, but got {r}")
    choose: Any = (
        itertools.combinations_with_replacement if with_replacement else itertools.combinations
    )
    places = list(choose(range(input.array.shape[0]), r))
    if not places or r == 0:
        return input[:0] if r == 0 else input[:0].reshape(0, 1).expand(0, r)
    flat = arange(len(places) * r) * 0
    flat.array[...] = [i for place in places for i in place]
    return index_select(input, 0, flat.to(input.device)).reshape(len(places), r)


@function
def meshgrid(*tensors: Any, indexing: str | None = None) -> tuple[Tensor, ...]:
    """The coordinates of the points of a grid, one tensor per axis.

    For 1-D tensors of sizes n₁, n₂, ... every result has the shape (n₁, n₂, ...) under
    indexing="ij" (the default), and with the first two swapped under "xy".
    Raises: ValueError if there are no tensors; RuntimeError if one has two or more dimensions or
    indexing is neither "ij" nor "xy".
    """
    if len(tensors) == 1 and isinstance(tensors[0], list | tuple):
        tensors = tuple(tensors[0])
    if indexing not in (None, "ij", "xy"):
        raise RuntimeError(
            f'torch.meshgrid: indexing must be one of "xy" or "ij", but received: {indexing}'
        )
    if not tensors:
        raise ValueError("meshgrid expects a non-empty TensorList")
    for t in tensors:
        if t.array.ndim > 1:
            raise RuntimeError(
                "torch.meshgrid: Expected 0D or 1D tensor in the tensor list but got a tensor of "
                f"shape {list(t.array.shape)}"
            )
    swap = indexing == "xy" and len(tensors) > 1
    ordered = [tensors[1], tensors[0], *tensors[2:]] if swap else list(tensors)
    shape = tuple(t.array.size for t in ordered)
    grids = []
    for axis, t in enumerate(ordered):
        column = t.reshape((-1,) + (1,) * (len(shape) - axis - 1))  # (n) -> (n, 1, 1, ...)
        grids.append(column.expand(shape))
    if swap:
        grids[:2] = grids[1], grids[0]
    return tuple(grids)
