"""One tensor cut into several along a dimension."""

from __future__ import annotations

import builtins
import itertools
from typing import Any

from numpy.lib.stride_tricks import as_strided

from ... import ops
from ...arrays.devices import xp_of
from ...tensor import Tensor, wrap
from ...tensor.shapes import normal_dim
from ..method import method
from ..printed_names import printed_as
from ..unrecorded import plain, view_of
from .views import squeeze


@method
def unfold(input: Tensor, dimension: int, size: int, step: int) -> Tensor:
    """The windows of `size` slices along a dimension, one every `step`: (..., n, ...) ->
    (..., windows, ..., size). A view if no gradient is recorded, else a copy.

    Raises: RuntimeError if size is negative or more than n, or step is not positive.
    """
    x = input if input.array.ndim else input.reshape(1)
    dim = normal_dim(dimension, x.array.ndim)
    n = x.array.shape[dim]
    if size < 0:
        raise RuntimeError(f"size is {size} but must be >= 0")
    if size > n:
        raise RuntimeError(f"maximum size for tensor at dimension {dim} is {n} but size is {size}")
    if step <= 0:
        raise RuntimeError(f"step is {step} but must be > 0")
    count = (n - size) // step + 1
    if plain(x):
        a, along = x.array, x.array.strides[dim]
        shape = (*a.shape[:dim], count, *a.shape[dim + 1 :], size)
        strides = (*a.strides[:dim], along * step, *a.strides[dim + 1 :], along)
        windows = view_of(input, as_strided(a, shape, strides))
    else:
        places = xp_of(x.array).arange(count * size)
        places = places // size * step + places % size  # (windows·size)
        several = x.index_select(dim, wrap(places)).unflatten(dim, (count, size))
        windows = several.movedim(dim + 1, -1)  # (..., windows, size, ...) -> (..., size)
    return windows if input.array.ndim else windows.reshape(size)


@method
def tensor_split(
    input: Tensor, indices_or_sections: Any = None, dim: int = 0, *, sections: Any = None,
    indices: Any = None,
) -> tuple[Tensor, ...]:  # fmt: skip
    """Pieces along dim: n of nearly one size, or cut at the positions listed.

    Raises: RuntimeError if the number of pieces is below 1.
    """
    cuts: Any = indices_or_sections if indices is None else indices
    cuts = cuts if sections is None else sections
    dim = normal_dim(dim, input.array.ndim)
    size = input.array.shape[dim]
    if isinstance(cuts, Tensor):
        cuts = cuts.tolist()
    if isinstance(cuts, int):
        if cuts <= 0:
            raise RuntimeError(f"number of sections must be larger than 0, got {cuts}")
        n, n_longer = divmod(size, cuts)
        return split(input, [n + 1] * n_longer + [n] * (cuts - n_longer), dim)
    ends = [0, *cuts, size]
    whole = (slice(None),) * dim
    return tuple(input[whole + (slice(a, b),)] for a, b in itertools.pairwise(ends))


def _cut(name: str, input: Tensor, cuts: Any, dim: int, min_dims: int) -> tuple[Tensor, ...]:
    if input.array.ndim < min_dims:
        raise RuntimeError(
            f"torch.{name} requires a tensor with at least {min_dims} dimension"
            f"{'s' if min_dims > 1 else ''}, but got a tensor with {input.array.ndim} dimensions!"
        )
    n = input.array.shape[dim]
    if isinstance(cuts, int) and (cuts == 0 or n % cuts):
        raise RuntimeError(
            f"torch.{name} attempted to split along dimension {dim}, but the size of the dimension "
            f"{n} is not divisible by the split_size {cuts}!"
        )
    return tensor_split(input, cuts, dim)


@method
def hsplit(input: Tensor, indices_or_sections: Any) -> tuple[Tensor, ...]:
    """Pieces side by side: equal ones, or cut at the positions listed."""
    return _cut("hsplit", input, indices_or_sections, 0 if input.array.ndim == 1 else 1, 1)


@method
def vsplit(input: Tensor, indices_or_sections: Any) -> tuple[Tensor, ...]:
    """Pieces below each other: equal ones, or cut at the positions listed."""
    return _cut("vsplit", input, indices_or_sections, 0, 2)


@method
def dsplit(input: Tensor, indices_or_sections: Any) -> tuple[Tensor, ...]:
    """Pieces along the third dimension: equal ones, or cut at the positions listed."""
    return _cut("dsplit", input, indices_or_sections, 2, 3)


def _not_a_number(name: str, x: Tensor) -> None:
    if x.array.ndim == 0:
        raise RuntimeError(f"{name} expects at least a 1-dimensional tensor")


@method
def split(input: Tensor, split_size_or_sections: Any, dim: int = 0) -> tuple[Tensor, ...]:
    """Pieces along dim: of one size (the last may be smaller), or of the sizes listed.

    Raises: RuntimeError if the sizes do not add up to that of dim or the size is not positive, and
    for a 0-d tensor.
    """
    _not_a_number("split", input)
    dim = normal_dim(dim, input.array.ndim)
    n = input.array.shape[dim]
    size = split_size_or_sections
    if isinstance(size, int):
        if size < 0 or (size == 0 and n):
            raise RuntimeError(f"split expects split_size be positive, but got split_size={size}")
        sizes = [builtins.min(size, n - i) for i in range(0, n, size)] if n else [0]
    else:
        sizes = [int(s) for s in size]
        if builtins.sum(sizes) != n or builtins.any(s < 0 for s in sizes):
            raise RuntimeError(
                f"split_with_sizes expects split_sizes to sum exactly to {n} (input tensor's size "
                f"at dimension {dim}), but got split_sizes={sizes}"
            )
    return ops.Split.apply(input, sizes=sizes, dim=dim)


@method
def chunk(input: Tensor, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    """At most `chunks` pieces along dim, all of one size except perhaps the last.

    Raises: RuntimeError if chunks is below 1 or input is 0-d.
    """
    if chunks <= 0:
        raise RuntimeError(f"chunk expects `chunks` to be greater than 0, got: {chunks}")
    _not_a_number("chunk", input)
    dim = normal_dim(dim, input.array.ndim)
    n = input.array.shape[dim]
    return split(input, -(-n // chunks) if n else [0] * chunks, dim)


@method
def unbind(input: Tensor, dim: int = 0) -> tuple[Tensor, ...]:
    """The slices along dim, without it.

    Raises: IndexError if input is 0-d.
    """
    if input.array.ndim == 0:
        raise IndexError("Dimension specified as 0 but tensor has no dimensions")
    dim = normal_dim(dim, input.array.ndim)
    n = input.array.shape[dim]
    if plain(input):
        array, before = input.array, (slice(None),) * dim
        return tuple([view_of(input, array[before + (i, ...)]) for i in range(n)])
    parts = [squeeze(x, dim) for x in split(input, 1, dim)] if n else []
    return tuple([printed_as("UnbindBackward0", x) for x in parts])
