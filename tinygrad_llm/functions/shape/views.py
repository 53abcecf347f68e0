"""Another shape for the same memory: reshape, view, flatten, squeeze."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ... import ops
from ...arrays.memory import ndarray, storage_of
from ...arrays.meta import is_meta
from ...autograd.engine import observers, start_observers
from ...tensor import Tensor, dtypes, wrap
from ...tensor.dtypes import DtypeLike
from ...tensor.shapes import normal_dim, normal_dims
from ...tensor.size import SizeLike
from ..method import method
from ..printed_names import printed_as
from ..unrecorded import plain, recorded, recorded_view, view_of

_INT = frozenset({int})


def as_shape(sizes: Sequence[Any]) -> tuple[int, ...]:
    """Sizes given as x.view(2, 3) or x.view((2, 3)) as a tuple of Python ints.

    Raises: TypeError if one of them is not an int.
    """
    if len(sizes) == 1 and isinstance(sizes[0], tuple | list):
        sizes = sizes[0]
    if _INT.issuperset(map(type, sizes)):  # as nearly always
        return tuple(sizes)
    for position, size in enumerate(sizes, 1):
        if not hasattr(size, "__index__"):
            raise TypeError(
                f"sizes and dimensions must be ints, position {position} is a {type(size).__name__}"
            )
    return tuple(s if type(s) is int else s.__index__() for s in sizes)


def _plain_sizes(sizes: tuple[Any, ...]) -> bool:
    """Whether sizes are Python ints of at least −1; NumPy takes −2 for −1, too."""
    return bool(sizes) and _INT.issuperset(map(type, sizes)) and min(sizes) >= -1


def _inferred(sizes: tuple[int, ...], x: Any) -> tuple[int, ...]:
    """The sizes with the one that is −1 computed.

    Raises: RuntimeError if they do not fit x.
    """
    unknown = sizes.count(-1)
    if unknown > 1:
        raise RuntimeError("only one dimension can be inferred")
    if sizes and min(sizes) < -1:
        raise RuntimeError(f"invalid shape dimension {min(sizes)}")
    known = math.prod(sizes)
    if unknown:
        known = -known
        if known == 0:
            raise RuntimeError(
                f"cannot reshape tensor of {x.size} elements into shape {list(sizes)} because the "
                "unspecified dimension size -1 can be any value and is ambiguous"
            )
        if not x.size % known:
            i = sizes.index(-1)
            return (*sizes[:i], x.size // known, *sizes[i + 1 :])
    elif known == x.size:
        return sizes
    raise RuntimeError(f"shape '{list(sizes)}' is invalid for input of size {x.size}")


def _in_shape(input: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The elements in row order in a shape that fits them."""
    a = input.array
    if a.flags.c_contiguous and type(a) is ndarray and a.size:
        y = a.reshape(shape)
        return _recorded(input, y) if recorded(input) else view_of(input, y)
    return ops.Reshape.apply(input, shape=shape)


def _recorded(input: Tensor, y: Any) -> Tensor:
    """The tensor of a view of input in another shape, which was computed already."""
    if observers or start_observers or input.array.dtype.kind not in "fV":
        return ops.Reshape.apply(input, shape=y.shape)
    op = ops.Reshape()
    op.shape = input.array.shape
    return recorded_view(op, input, y)


@method
def reshape(input: Tensor, *shape: SizeLike) -> Tensor:
    """The elements in row order in another shape; one size may be −1. A view where possible."""
    return _in_shape(input, _inferred(as_shape(shape), input.array))


def _viewed_as(input: Tensor, dtype: Any) -> Tensor:
    """The bytes of the tensor as another dtype, outside the graph; the last dimension may change.

    Raises: RuntimeError if the last dimension does not fit.
    """
    a, kind = input.array, dtypes.numpy_dtype(dtype)
    if a.dtype == kind:
        return input.reshape(a.shape)
    if a.itemsize != kind.itemsize:
        if a.ndim == 0:
            raise RuntimeError(
                f"self.dim() cannot be 0 to view {input.dtype} as {dtype} (different element sizes)"
            )
        if a.shape[-1] * a.itemsize % kind.itemsize:
            raise RuntimeError(
                f"self.size(-1) must be divisible by {kind.itemsize // a.itemsize} to view "
                f"{input.dtype} as {dtype} (different element sizes), but got {a.shape[-1]}"
            )
        if input.stride(-1) != 1:
            raise RuntimeError(
                f"self.stride(-1) must be 1 to view {input.dtype} as {dtype} (different element "
                f"sizes), but got {input.stride(-1)}"
            )
    return wrap(a.view(kind))  # (..., n) -> (..., n·itemsize / new itemsize)


@method
def view(input: Tensor, *size: SizeLike | dtypes.dtype, dtype: DtypeLike = None) -> Tensor:
    """As reshape, but always a view; with a dtype the bytes as numbers of that dtype.

    Raises: RuntimeError if the order of the memory does not allow a view.
    """
    if dtype is not None:
        return _viewed_as(input, dtype)
    a = input.array
    if type(a) is ndarray and a.size and a.flags.c_contiguous and _plain_sizes(size):
        try:  # as nearly always: NumPy infers the size
            y = a.reshape(size)
        except ValueError:  # words for it follow
            pass
        else:
            return _recorded(input, y) if recorded(input) else view_of(input, y)
    if len(size) == 1 and not isinstance(size[0], int | tuple | list):
        if isinstance(size[0], dtypes.dtype):
            return _viewed_as(input, size[0])
        if not hasattr(size[0], "__index__"):
            raise TypeError(f"view(): expected sizes, got {size[0]!r}: use .to() for a dtype")
    sizes, in_rows = _inferred(as_shape(size), a), a.flags.c_contiguous
    if in_rows and plain(input):
        return view_of(input, a.reshape(sizes))
    whole = in_rows or not a.size or is_meta(a)
    if not whole and storage_of(a.reshape(sizes)) is not storage_of(a):
        raise RuntimeError(
            "view size is not compatible with input tensor's size and stride (at least one "
            "dimension spans across two contiguous subspaces). Use .reshape(...) instead."
        )
    return ops.Reshape.apply(input, shape=sizes)


@method
def view_as(input: Tensor, other: Tensor) -> Tensor:
    """input.view(other.shape)."""
    return view(input, *other.array.shape)


@method
def reshape_as(input: Tensor, other: Tensor) -> Tensor:
    """input.reshape(other.shape)."""
    return reshape(input, *other.array.shape)


@method
def flatten(input: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """Dimensions start_dim to end_dim as one.

    Raises: RuntimeError if start_dim comes after end_dim.
    """
    shape = input.array.shape
    start, end = normal_dim(start_dim, len(shape)), normal_dim(end_dim, len(shape))
    if not shape:
        return reshape(input, 1)
    if start > end:
        raise RuntimeError("flatten() has invalid args: start_dim cannot come after end_dim")
    one = math.prod(shape[start : end + 1])
    return _in_shape(input, (*shape[:start], one, *shape[end + 1 :]))


@method
def ravel(input: Tensor) -> Tensor:
    """All elements in row order in one dimension."""
    return reshape(input, -1) if input.array.size else reshape(input, 0)


@method
def unflatten(input: Tensor, dim: int, sizes: Any) -> Tensor:
    """One dimension as several; one size may be −1.

    Raises: RuntimeError if the sizes do not multiply to that of dim.
    """
    shape = input.array.shape
    dim = normal_dim(dim, len(shape))
    sizes = as_shape((sizes,) if isinstance(sizes, tuple | list) else sizes)
    if -1 in sizes:
        known = -math.prod(sizes)
        sizes = tuple(shape[dim] // max(known, 1) if s == -1 else s for s in sizes)
    if math.prod(sizes) != shape[dim]:
        raise RuntimeError(
            f"unflatten: Provided sizes {list(sizes)} don't multiply up to the size of dim {dim} "
            f"({shape[dim]}) in the input tensor"
        )
    return reshape(input, *shape[:dim], *sizes, *shape[dim + 1 :])


@method
def squeeze(input: Tensor, dim: int | Sequence[int] | None = None) -> Tensor:
    """Without the dimensions of size 1, all of them or those named."""
    shape = input.array.shape
    dims: Any = range(len(shape))
    if dim is not None:
        dims = () if dim == () else normal_dims(dim, len(shape))
    kept = [n for i, n in enumerate(shape) if i not in dims or n != 1]
    y = _in_shape(input, tuple(kept))
    if y._op is None:
        return y
    return printed_as(f"SqueezeBackward{0 if dim is None else 1 if isinstance(dim, int) else 2}", y)


@method
def unsqueeze(input: Tensor, dim: int) -> Tensor:
    """With a new dimension of size 1 at position dim."""
    shape = input.array.shape
    dim = normal_dim(dim, len(shape) + 1)
    y = _in_shape(input, (*shape[:dim], 1, *shape[dim:]))
    return y if y._op is None else printed_as("UnsqueezeBackward0", y)
