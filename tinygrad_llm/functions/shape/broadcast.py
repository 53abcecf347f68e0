"""Dimensions of size 1 expanded, by PyTorch's rules of broadcasting; views, never copies."""

from __future__ import annotations

from typing import Any

from ... import ops
from ...arrays.layout import expanded
from ...tensor import Size, Tensor
from ...tensor.size import SizeLike
from ..method import function, method
from ..unrecorded import plain, view_of
from .views import as_shape


@method
def expand(input: Tensor, *size: SizeLike) -> Tensor:
    """With dimensions of size 1 repeated to the sizes given, −1 leaves one as it is; a view.

    Raises: RuntimeError if there are fewer sizes than dimensions, or a dimension has a size other
    than 1 and the one wanted.
    """
    sizes = as_shape(size)
    shape = input.array.shape
    extra = len(sizes) - len(shape)
    if extra < 0:
        raise RuntimeError(
            f"expand({list(shape)}, size={list(sizes)}): the number of sizes provided "
            f"({len(sizes)}) must be greater or equal to the number of dimensions in the tensor "
            f"({len(shape)})"
        )
    full = list(sizes)
    for i, n in enumerate(sizes if sizes[extra:] != shape or min(sizes, default=0) < 0 else ()):
        have = shape[i - extra] if i >= extra else 1
        if n == -1 and i >= extra:
            n = have
        if n < 0 or (have != n and have != 1):
            raise RuntimeError(
                f"The expanded size of the tensor ({n}) must match the existing size ({have}) "
                f"at non-singleton dimension {i}.  Target sizes: {list(sizes)}.  "
                f"Tensor sizes: {list(shape)}"
            )
        full[i] = n
    if plain(input):
        return view_of(input, expanded(input.array, tuple(full)))
    return ops.Expand.apply(input, shape=tuple(full))


@method
def expand_as(input: Tensor, other: Tensor) -> Tensor:
    """input.expand(other.shape)."""
    return expand(input, *other.array.shape)


def broadcast_shapes(*shapes: Any) -> Size:
    """The shape that shapes broadcast to.

    Raises: RuntimeError if they do not.
    """
    import numpy as np

    try:
        return Size(
            np.broadcast_shapes(*[(s,) if isinstance(s, int) else tuple(s) for s in shapes])
        )
    except ValueError as error:
        raise RuntimeError(f"Shape mismatch: {shapes} do not broadcast: {error}") from error


@method
def broadcast_to(input: Tensor, size: SizeLike) -> Tensor:
    """input.expand(size)."""
    return expand(input, *as_shape((size,)))


@function
def broadcast_tensors(*tensors: Tensor) -> tuple[Tensor, ...]:
    """The tensors expanded to their common shape."""
    shape = broadcast_shapes(*[t.array.shape for t in tensors])
    return tuple(expand(t, *shape) for t in tensors)
