"""Elements gathered from, and scattered to, the positions that a tensor of indices names."""

from __future__ import annotations

from typing import Any

from .. import ops
from ..arrays.indexing import take_along
from ..arrays.meta import is_meta
from ..tensor import Tensor
from ..tensor.shapes import normal_dim
from .index import getitem
from .inplace import change_in_place
from .method import method
from .operands import cast


@method
def gather(input: Tensor, dim: int, index: Tensor, *, sparse_grad: bool = False) -> Tensor:
    """Along dim, the elements that index (int64, same number of dims) points at.

    out[i, j] = input[index[i, j], j] for dim 0.
    Raises: RuntimeError for an index out of range.
    """
    dim = normal_dim(dim, input.array.ndim)
    ids = index.array
    if ids.dtype.kind not in "iu":
        raise RuntimeError(f"gather(): Expected dtype int64 for index, got {index.dtype}")
    if input.array.ndim == 0:
        return input.expand(index.shape) if ids.ndim else input.clone()
    if ids.ndim != input.array.ndim:
        raise RuntimeError(
            "Index tensor must have the same number of dimensions as input tensor: "
            f"index has {ids.ndim}, input has {input.array.ndim}"
        )
    for d, (n, m) in enumerate(zip(ids.shape, input.array.shape, strict=True)):
        if d != dim and n > m:
            raise RuntimeError(
                f"Size does not match at dimension {d} expected index {list(ids.shape)} to be no "
                f"larger than self {list(input.array.shape)} apart from dimension {dim}"
            )
    _check_range(ids, input.array.shape[dim], dim)
    return ops.Gather.apply(input, ids, dim=dim)


@method
def take(input: Tensor, index: Tensor) -> Tensor:
    """The elements at positions counted in row order, in index's shape."""
    return getitem(input.reshape(-1), index)


@method
def take_along_dim(input: Tensor, indices: Tensor, dim: int | None = None) -> Tensor:
    """Along dim, the elements that indices point at; None: in row order over all."""
    if dim is None:
        return input.reshape(-1)[indices.reshape(-1)]
    return input.gather(dim, indices)


def _check_range(ids: Any, n: int, dim: int) -> None:
    """Raises: RuntimeError for an index outside [0, n)."""
    if ids.size and not is_meta(ids) and (int(ids.min()) < 0 or int(ids.max()) >= n):
        wrong = int(ids.min()) if int(ids.min()) < 0 else int(ids.max())
        raise RuntimeError(f"index {wrong} is out of bounds for dimension {dim} with size {n}")


def _place_and_source(input: Tensor, dim: int, index: Tensor, src: Any) -> tuple[Any, Any]:
    """The places in input's array that index names, and what to put there.

    input.array[place] has index's shape. The source is src as far as index reaches, in input's
    dtype; a number stays as it is.
    """
    dim = normal_dim(dim, input.array.ndim)
    ids = index.array
    if ids.dtype.kind not in "iu":
        raise RuntimeError(f"scatter(): Expected dtype int64 for index, got {index.dtype}")
    _check_range(ids, input.array.shape[dim], dim)
    place = take_along(input.array, ids, dim)
    if src is None:
        raise TypeError("scatter(): a tensor src or a number value is missing")
    if not isinstance(src, Tensor):
        return place, src
    part = src[tuple(slice(0, n) for n in ids.shape)]
    return place, cast(part, input.array.dtype)


@method
def scatter(
    input: Tensor, dim: int, index: Tensor, src: Any = None, *, value: Any = None
) -> Tensor:
    """input with out[index[i, j], j] = src[i, j] (for dim 0); a number may be src or value."""
    place, source = _place_and_source(input, dim, index, value if src is None else src)
    return ops.IndexPut.apply(input, source, index=place)


@method
def scatter_(
    input: Tensor, dim: int, index: Tensor, src: Any = None, *, value: Any = None
) -> Tensor:
    """scatter in place."""
    place, source = _place_and_source(input, dim, index, value if src is None else src)
    return change_in_place(input, "scatter_", ops.IndexPut, source, index=place)


def _added(input: Tensor, dim: int, index: Tensor, src: Tensor) -> Tensor:
    """What scatter_add adds: zeros of input's shape, and the sums where index points."""
    place, source = _place_and_source(input, dim, index, src)
    return ops.ScatterAdd.apply(source, shape=input.array.shape, index=place)


@method
def scatter_add(input: Tensor, dim: int, index: Tensor, src: Tensor) -> Tensor:
    """input with out[index[i, j], j] += src[i, j] (for dim 0); duplicates add up."""
    return input + _added(input, dim, index, src)


@method
def scatter_add_(input: Tensor, dim: int, index: Tensor, src: Tensor) -> Tensor:
    """scatter_add in place."""
    return input.add_(_added(input, dim, index, src))
