"""Several tensors joined to one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ... import ops
from ...arrays.layout import in_rows
from ...arrays.memory import ndarray
from ...tensor import Tensor, wrap
from ...tensor.shapes import normal_dim
from ..method import function
from ..operands import promote
from ..printed_names import printed_as
from ..unrecorded import recorded
from .views import unsqueeze


def _plain_alike(tensors: Sequence[Tensor]) -> bool:
    """Whether these are NumPy arrays of one dtype, with as many dimensions, that nobody records."""
    dtype, ndim = tensors[0].array.dtype, tensors[0].array.ndim
    for x in tensors:
        a = x.array
        if type(a) is not ndarray or a.dtype is not dtype or a.ndim != ndim or recorded(x):
            return False
    return True


@function
def cat(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """The tensors one after the other along dim; all other sizes must be equal.

    Raises: ValueError if there are no tensors; RuntimeError if one is 0-d or their shapes do not
    fit.
    """
    tensors = list(tensors)
    if tensors and tensors[0].array.size and _plain_alike(tensors):
        try:
            return wrap(in_rows(np.concatenate([x.array for x in tensors], dim)))
        except ValueError:  # also NumPy's AxisError: PyTorch's words for it follow
            pass
    if not tensors:
        raise ValueError("cat(): expected a non-empty list of Tensors")
    tensors = promote(*tensors)
    kept = [x for x in tensors if x.array.shape != (0,)] or tensors[:1]  # torch skips empty 1-d
    ndim = kept[0].array.ndim
    if ndim == 0:
        raise RuntimeError("zero-dimensional tensor (at position 0) cannot be concatenated")
    dim = normal_dim(dim, ndim)
    first = kept[0].array.shape
    for i, x in enumerate(kept):
        if x.array.ndim != ndim:
            raise RuntimeError(f"Tensors must have same number of dimensions: got {ndim} and "
                               f"{x.array.ndim}")  # fmt: skip
        for d, (n, m) in enumerate(zip(first, x.array.shape, strict=True)):
            if d != dim and n != m:
                raise RuntimeError(
                    f"Sizes of tensors must match except in dimension {dim}. Expected size {n} but "
                    f"got size {m} for tensor number {i} in the list."
                )
    return ops.Cat.apply(*kept, dim=dim)


concat = concatenate = cat


def _not_empty(name: str, tensors: Sequence[Tensor]) -> None:
    if not len(tensors):
        raise RuntimeError(f"{name} expects a non-empty TensorList")


@function
def stack(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """The tensors, all of one shape, along a new dimension.

    Raises: RuntimeError if the shapes differ.
    """
    tensors = list(tensors)
    _not_empty("stack", tensors)
    first = tensors[0].array.shape
    for i, x in enumerate(tensors):
        if x.array.shape != first:
            raise RuntimeError(
                f"stack expects each tensor to be equal size, but got {list(first)} at entry 0 and "
                f"{list(x.array.shape)} at entry {i}"
            )
    dim = normal_dim(dim, len(first) + 1)
    if _plain_alike(tensors):
        arrays = [x.array[(slice(None),) * dim + (None,)] for x in tensors]
        joined = np.concatenate(arrays, dim)  # n arrays (..., 1, ...) -> (..., n, ...)
        return wrap(in_rows(joined))
    return printed_as("StackBackward0", cat([unsqueeze(x, dim) for x in tensors], dim))


@function
def vstack(tensors: Sequence[Tensor]) -> Tensor:
    """The tensors below each other; a vector counts as one row."""
    _not_empty("vstack", tensors)
    return cat([x.reshape(1, -1) if x.array.ndim < 2 else x for x in tensors], 0)


@function
def hstack(tensors: Sequence[Tensor]) -> Tensor:
    """The tensors side by side."""
    _not_empty("hstack", tensors)
    whole = [x.reshape(1) if x.array.ndim == 0 else x for x in tensors]
    return cat(whole, 0 if whole[0].array.ndim == 1 else 1)


row_stack = vstack


def _with_min_dims(n: int, tensors: tuple) -> Any:
    """Every tensor given, alone or several, with at least n dimensions: NumPy's rule."""

    def widened(x: Tensor) -> Tensor:
        if x.array.ndim >= n:
            return x
        if n == 1 or x.array.ndim == 0:
            return x.reshape((1,) * n)
        if n == 2 or x.array.ndim == 1:
            x = x.unsqueeze(0)  # (N) -> (1, N)
        return x.unsqueeze(-1) if n == 3 else x

    if len(tensors) == 1:
        one = tensors[0]
        return tuple(map(widened, one)) if isinstance(one, tuple | list) else widened(one)
    return tuple(map(widened, tensors))


@function
def atleast_1d(*tensors: Any) -> Any:
    """The tensor with at least one dimension; of several (or of a list) each, in a tuple."""
    return _with_min_dims(1, tensors)


@function
def atleast_2d(*tensors: Any) -> Any:
    """The tensor with at least two dimensions, a vector as one row; of several each, in a tuple."""
    return _with_min_dims(2, tensors)


@function
def atleast_3d(*tensors: Any) -> Any:
    """The tensor with at least three dimensions, (N) as (1, N, 1) and (N, M) as (N, M, 1); of
    several each, in a tuple."""
    return _with_min_dims(3, tensors)


@function
def column_stack(tensors: Sequence[Tensor]) -> Tensor:
    """The tensors side by side; a vector is one column."""
    return hstack([x.reshape(-1, 1) if x.array.ndim < 2 else x for x in tensors])


@function
def dstack(tensors: Sequence[Tensor]) -> Tensor:
    """The tensors behind each other, along the third dimension; each gets three."""
    return cat([_with_min_dims(3, (x,)) for x in tensors], 2)


@function
def block_diag(*tensors: Tensor) -> Tensor:
    """The matrices along the diagonal of a larger one, 0 elsewhere; a vector is one row.

    Raises: RuntimeError for a tensor of more than two dimensions.
    """
    from .padding import pad

    blocks = [_with_min_dims(2, (x,)) for x in tensors]
    for x in blocks:
        if x.array.ndim > 2:
            raise RuntimeError(
                "torch.block_diag: Input tensors must have 2 or fewer dimensions, got "
                f"{x.array.ndim}"
            )
    width = sum(x.array.shape[1] for x in blocks)
    rows, left = [], 0
    for x in blocks:
        n = x.array.shape[1]
        rows.append(pad(x, (left, width - left - n)))  # (N, M) -> (N, width)
        left += n
    return cat(rows, 0)
