"""Diagonals and triangles of matrices."""

from __future__ import annotations

from typing import Any

from .. import ops
from ..arrays.devices import xp_of
from ..tensor import Tensor, dtypes, wrap
from ..tensor.device import DeviceLike
from ..tensor.dtypes import DtypeLike
from ..tensor.shapes import normal_dim
from .creation.arguments import placed_tensor
from .method import function, method
from .printed_names import printed_as
from .unrecorded import past_the_engine


@method
def tril(input: Tensor, diagonal: int = 0) -> Tensor:
    """The lower triangle, the diagonal (moved up by `diagonal`) included; 0 elsewhere.

    Raises: RuntimeError if input has fewer than 2 dimensions.
    """
    if input.array.ndim < 2:
        raise RuntimeError("tril: input tensor must have at least 2 dimensions")
    few = past_the_engine(ops.Tril, input, diagonal)
    return ops.Tril.apply(input, diagonal=diagonal) if few is None else few


@method
def triu(input: Tensor, diagonal: int = 0) -> Tensor:
    """The upper triangle, the diagonal (moved up by `diagonal`) included; 0 elsewhere.

    Raises: RuntimeError if input has fewer than 2 dimensions.
    """
    if input.array.ndim < 2:
        raise RuntimeError("triu: input tensor must have at least 2 dimensions")
    few = past_the_engine(ops.Triu, input, diagonal)
    return ops.Triu.apply(input, diagonal=diagonal) if few is None else few


@function
def tril_indices(
    row: int, col: int, offset: int = 0, *, dtype: DtypeLike = None, device: DeviceLike = None,
    layout: Any = None,
) -> Tensor:  # fmt: skip
    """The positions (2, n) of the lower triangle of a row x col matrix, row by row; int64."""
    import numpy as np

    kind = np.int64 if dtype is None else dtypes.numpy_dtype(dtype)
    positions = np.stack(np.tril_indices(row, offset, col)).astype(kind)
    return placed_tensor(positions, device, False)


@function
def triu_indices(
    row: int, col: int, offset: int = 0, *, dtype: DtypeLike = None, device: DeviceLike = None,
    layout: Any = None,
) -> Tensor:  # fmt: skip
    """The positions (2, n) of the upper triangle of a row x col matrix, row by row; int64."""
    import numpy as np

    kind = np.int64 if dtype is None else dtypes.numpy_dtype(dtype)
    positions = np.stack(np.triu_indices(row, offset, col)).astype(kind)
    return placed_tensor(positions, device, False)


@method
def diagonal(input: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
    """The elements x[i, i + offset] of two dimensions, as a new last dimension; a view.

    Raises: RuntimeError if the two dimensions are one.
    """
    n = input.array.ndim
    a, b = normal_dim(dim1, n), normal_dim(dim2, n)
    if a == b:
        raise RuntimeError(f"diagonal dimensions cannot be identical {dim1}, {dim2}")
    return ops.Diagonal.apply(input, offset=offset, dim1=a, dim2=b)


@method
def diag(input: Tensor, diagonal: int = 0) -> Tensor:
    """A vector as the diagonal of a matrix of zeros, or a matrix's diagonal as a vector.

    Raises: RuntimeError if input has neither 1 nor 2 dimensions.
    """
    if input.array.ndim == 2:
        return printed_as("DiagonalBackward0_copy", input.diagonal(diagonal).clone())
    if input.array.ndim != 1:
        raise RuntimeError(f"diag(): Supports 1D or 2D tensors. Got {input.array.ndim}D")
    xp = xp_of(input.array)
    n = input.array.size + abs(diagonal)
    zeros = wrap(xp.zeros((n, n), input.array.dtype))
    i = xp.arange(input.array.size)
    index = (i + max(-diagonal, 0), i + max(diagonal, 0))
    return printed_as("DiagEmbedBackward0", ops.IndexPut.apply(zeros, input, index=index))


@method
def trace(input: Tensor) -> Tensor:
    """The sum of a matrix's diagonal.

    Raises: RuntimeError if input is not a matrix.
    """
    if input.array.ndim != 2:
        raise RuntimeError("trace: expected a matrix")
    return input.diagonal().sum()
