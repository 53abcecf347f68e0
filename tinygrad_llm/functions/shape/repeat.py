"""Copies of a tensor or of its elements, one after the other."""

from __future__ import annotations

from typing import Any

from ... import ops
from ...arrays.devices import to_numpy, xp_of
from ...tensor import Tensor
from ...tensor.shapes import normal_dim
from ...tensor.size import SizeLike
from ..method import method
from ..printed_names import printed_as
from .broadcast import expand
from .views import as_shape, ravel, reshape


@method
def repeat(input: Tensor, *repeats: SizeLike) -> Tensor:
    """The tensor copied repeats[i] times along dimension i, like tiles.

    Raises: RuntimeError if there are fewer repeats than dimensions.
    """
    times = as_shape(repeats)
    shape = input.array.shape
    if len(times) < len(shape):
        raise RuntimeError(
            "Number of dimensions of repeat dims can not be smaller than number of dimensions of "
            f"tensor: {len(times)} repeats for {len(shape)} dimensions"
        )
    shape = (1,) * (len(times) - len(shape)) + shape
    apart = [n for size in shape for n in (1, size)]
    tiled = [n for r, size in zip(times, shape, strict=True) for n in (r, size)]
    final = [r * size for r, size in zip(times, shape, strict=True)]
    return expand(reshape(input, *apart), *tiled).reshape(*final).contiguous()


@method
def tile(input: Tensor, *dims: SizeLike) -> Tensor:
    """As repeat; missing leading repeats count as 1."""
    times = as_shape(dims)
    return repeat(input, *((1,) * (input.array.ndim - len(times)) + times))


@method
def repeat_interleave(input: Tensor, repeats: Any, dim: int | None = None) -> Tensor:
    """Each element repeated in place: [a, b] twice is [a, a, b, b].

    repeats is a number or one number for each position along dim; dim None flattens first.
    Raises: RuntimeError if there are not as many repeats as positions along dim.
    """
    if dim is None:
        input, dim = ravel(input), 0
    dim = normal_dim(dim, input.array.ndim)
    n = input.array.shape[dim]
    times = to_numpy(repeats.array) if isinstance(repeats, Tensor) else repeats
    if not isinstance(times, int) and times.size not in (1, n):
        raise RuntimeError(
            f"repeats must have the same size as input along dim, but got repeats.size(0) = "
            f"{times.size} and input.size({dim}) = {n}"
        )
    import numpy as np

    positions = xp_of(input.array).asarray(np.repeat(np.arange(n), times))
    y = ops.Index.apply(input, index=(slice(None),) * dim + (positions,))
    return printed_as("ViewBackward0" if isinstance(repeats, int) else "IndexSelectBackward0", y)
