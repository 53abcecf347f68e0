"""x[index] and its relatives, with PyTorch's rules."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import ops
from ..arrays.devices import xp_of
from ..arrays.memory import is_array
from ..autograd.engine import OPS
from ..tensor import Tensor, wrap
from ..tensor.shapes import normal_dim
from .elementwise import cast
from .inplace import change_in_place
from .method import method


def as_index(index: Any, x: Any) -> Any:
    """An index with its tensors and lists as arrays beside x; IndexError in PyTorch's words."""
    whole = index if isinstance(index, tuple) else (index,)
    parts = [_part(p, x) for p in whole]
    used = sum(
        p.ndim if is_array(p) and p.dtype.kind == "b" else 1
        for p in parts
        if p is not None and p is not Ellipsis and not isinstance(p, bool)
    )
    if used > x.ndim:
        raise IndexError(f"too many indices for tensor of dimension {x.ndim}")
    dim = 0
    for i, p in enumerate(parts):
        if p is Ellipsis:
            dim = x.ndim - sum(
                q.ndim if is_array(q) and q.dtype.kind == "b" else 1
                for q in parts[i + 1 :]
                if q is not None
            )
            continue
        if p is None or isinstance(p, bool):
            continue
        n = x.shape[dim]
        if isinstance(p, int) and not -n <= p < n:
            raise IndexError(f"index {p} is out of bounds for dimension {dim} with size {n}")
        if isinstance(p, slice) and p.step is not None and p.step <= 0:
            raise ValueError("step must be greater than zero")
        if is_array(p) and p.dtype.kind in "iu" and p.size:
            low, high = int(p.min()), int(p.max())
            if low < -n or high >= n:
                wrong = low if low < -n else high
                raise IndexError(
                    f"index {wrong} is out of bounds for dimension {dim} with size {n}"
                )
        if is_array(p) and p.dtype.kind == "b":
            shape = x.shape[dim : dim + p.ndim]
            if p.shape != shape:
                raise IndexError(
                    f"The shape of the mask {list(p.shape)} at index 0 does not match the shape of "
                    f"the indexed tensor {list(x.shape)} at index {dim}"
                )
            dim += p.ndim - 1
        dim += 1
    return tuple(parts) if isinstance(index, tuple) else parts[0]


def _part(p: Any, x: Any) -> Any:
    if isinstance(p, Tensor):
        p = p.array
        if p.dtype.kind not in "iub":
            raise IndexError(
                "tensors used as indices must be long, int, byte or bool tensors, "
                f"got {p.dtype}: call .long()"
            )
        return int(p) if p.ndim == 0 and p.dtype.kind != "b" else p
    if isinstance(p, list | range | np.ndarray):
        array = np.asarray(p)
        if array.size == 0:
            array = array.astype("int64")
        if array.dtype.kind not in "iub":
            raise IndexError(f"an index must hold integers or booleans, got {array.dtype}")
        return xp_of(x).asarray(array)
    if isinstance(p, slice):
        if any(isinstance(v, Tensor) for v in (p.start, p.stop, p.step)):
            return slice(
                *(int(v) if isinstance(v, Tensor) else v for v in (p.start, p.stop, p.step))
            )
        return p
    if p is None or p is Ellipsis or isinstance(p, bool):
        return p
    if hasattr(p, "__index__"):
        return p.__index__()
    raise TypeError(
        "only integers, slices (`:`), ellipsis (`...`), None and long or byte Variables are valid "
        f"indices (got {type(p).__name__})"
    )


@method("__getitem__")
def getitem(input: Tensor, index: Any) -> Tensor:
    """x[index]: a view for integers and slices, a copy for index tensors and masks."""
    return ops.Index.apply(input, index=as_index(index, input.array))


@method("__setitem__")
def setitem(input: Tensor, index: Any, value: Any) -> None:
    """x[index] = value, in place; value is a number or a tensor that broadcasts to x[index]."""
    where = as_index(index, input.array)
    if isinstance(value, Tensor):
        value = cast(value, input.array.dtype)
    elif is_array(value):
        value = wrap(xp_of(input.array).asarray(value, input.array.dtype))
    wanted = input.array[where].shape if not isinstance(value, int | float) else ()
    if isinstance(value, Tensor) and value.array.shape != wanted:
        given = value.array.shape
        while len(given) > len(wanted) and given[0] == 1:
            given = given[1:]
        try:
            fits = np.broadcast_shapes(given, wanted) == wanted
        except ValueError:
            fits = False
        if not fits:
            raise RuntimeError(
                f"shape mismatch: value tensor of shape {list(value.array.shape)} cannot be "
                f"broadcast to indexing result of shape {list(wanted)}"
            )
        value = value.reshape(given)
    change_in_place(input, "__setitem__", OPS["index_put"], value, index=where)


@method
def index_select(input: Tensor, dim: int, index: Tensor) -> Tensor:
    """The slices along dim that index (1-D, int64) names, in its order."""
    if index.array.ndim > 1:
        raise IndexError("index_select(): Index is supposed to be a vector")
    dim = normal_dim(dim, input.array.ndim)
    return getitem(input, (slice(None),) * dim + (index.reshape(-1),))


@method
def narrow(input: Tensor, dim: int, start: int, length: int) -> Tensor:
    """The slices start … start + length − 1 along dim; a view."""
    dim = normal_dim(dim, input.array.ndim)
    if input.array.ndim == 0:
        raise RuntimeError("narrow() cannot be applied to a 0-dim tensor.")
    n = input.array.shape[dim]
    if length < 0:
        raise RuntimeError("narrow(): length must be non-negative.")
    if not -n <= start <= n:
        raise IndexError(
            f"start out of range (expected to be in range of [{-n}, {n}], but got {start})"
        )
    start += n if start < 0 else 0
    if start + length > n:
        raise RuntimeError(f"start ({start}) + length ({length}) exceeds dimension size ({n}).")
    return getitem(input, (slice(None),) * dim + (slice(start, start + length),))


@method
def select(input: Tensor, dim: int, index: int) -> Tensor:
    """The slice number `index` along dim, without the dimension; a view."""
    dim = normal_dim(dim, input.array.ndim)
    return getitem(input, (slice(None),) * dim + (index,))


@method
def masked_select(input: Tensor, mask: Tensor) -> Tensor:
    """The elements where the boolean mask (which may broadcast) holds, in one dimension."""
    from .shape import broadcast_tensors

    x, m = broadcast_tensors(input, mask)
    return getitem(x, m)


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


@method
def diagonal(input: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
    """The elements x[i, i + offset] of two dimensions, as a new last dimension."""
    n = input.array.ndim
    a, b = normal_dim(dim1, n), normal_dim(dim2, n)
    x = input.movedim((a, b), (0, 1))
    rows, columns = x.array.shape[:2]
    first, last = max(-offset, 0), min(rows, columns - offset)
    i = xp_of(x.array).arange(first, max(first, last))
    return getitem(x, (wrap(i), wrap(i + offset))).movedim(0, -1)


@method
def diag(input: Tensor, diagonal: int = 0) -> Tensor:
    """A vector as the diagonal of a matrix of zeros, or a matrix's diagonal as a vector."""
    if input.array.ndim == 2:
        return input.diagonal(diagonal)
    if input.array.ndim != 1:
        raise RuntimeError(f"diag(): Supports 1D or 2D tensors. Got {input.array.ndim}D")
    xp = xp_of(input.array)
    n = input.array.size + abs(diagonal)
    zeros = wrap(xp.zeros((n, n), input.array.dtype))
    i = xp.arange(input.array.size)
    index = (i + max(-diagonal, 0), i + max(diagonal, 0))
    return ops.IndexPut.apply(zeros, input, index=index)


@method
def trace(input: Tensor) -> Tensor:
    """The sum of a matrix's diagonal."""
    if input.array.ndim != 2:
        raise RuntimeError("trace: expected a matrix")
    return input.diagonal().sum()


def _scatter_index(input: Tensor, dim: int, index: Tensor) -> tuple[int, Any]:
    from ..arrays.indexing import take_along

    dim = normal_dim(dim, input.array.ndim)
    n = input.array.shape[dim]
    ids = index.array
    if ids.dtype.kind not in "iu":
        raise RuntimeError(f"scatter(): Expected dtype int64 for index, got {index.dtype}")
    if ids.size and (int(ids.min()) < 0 or int(ids.max()) >= n):
        wrong = int(ids.min()) if int(ids.min()) < 0 else int(ids.max())
        raise RuntimeError(f"index {wrong} is out of bounds for dimension {dim} with size {n}")
    return dim, take_along(input.array, ids, dim)


def _source(input: Tensor, index: Tensor, src: Any) -> Any:
    if src is None:
        raise TypeError("scatter(): a tensor src or a number value is missing")
    if not isinstance(src, Tensor):
        return src
    part = src[tuple(slice(0, n) for n in index.array.shape)]
    return cast(part, input.array.dtype)


@method
def scatter(
    input: Tensor, dim: int, index: Tensor, src: Any = None, *, value: Any = None
) -> Tensor:
    """input with out[index[i, j], j] = src[i, j] (for dim 0); a number may be src or value."""
    _, where = _scatter_index(input, dim, index)
    what = _source(input, index, value if src is None else src)
    return ops.IndexPut.apply(input, what, index=where)


@method
def scatter_(
    input: Tensor, dim: int, index: Tensor, src: Any = None, *, value: Any = None
) -> Tensor:
    """scatter in place."""
    _, where = _scatter_index(input, dim, index)
    what = _source(input, index, value if src is None else src)
    return change_in_place(input, "scatter_", ops.IndexPut, what, index=where)


@method
def scatter_add(input: Tensor, dim: int, index: Tensor, src: Tensor) -> Tensor:
    """input with out[index[i, j], j] += src[i, j] (for dim 0); duplicates add up."""
    _, where = _scatter_index(input, dim, index)
    return input + ops.ScatterAdd.apply(
        _source(input, index, src), shape=input.array.shape, index=where
    )


@method
def scatter_add_(input: Tensor, dim: int, index: Tensor, src: Tensor) -> Tensor:
    """scatter_add in place."""
    _, where = _scatter_index(input, dim, index)
    added = ops.ScatterAdd.apply(_source(input, index, src), shape=input.array.shape, index=where)
    return input.add_(added)


@method
def index_add(input: Tensor, dim: int, index: Tensor, source: Tensor, *, alpha: Any = 1) -> Tensor:
    """input with the slices of source added at the positions along dim that index names."""
    dim = normal_dim(dim, input.array.ndim)
    where = (slice(None),) * dim + (as_index(index, input.array.swapaxes(0, dim)),)
    source = source if alpha == 1 else source * alpha
    return input + ops.ScatterAdd.apply(source, shape=input.array.shape, index=where)


@method
def index_add_(input: Tensor, dim: int, index: Tensor, source: Tensor, *, alpha: Any = 1) -> Tensor:
    """index_add in place."""
    dim = normal_dim(dim, input.array.ndim)
    where = (slice(None),) * dim + (as_index(index, input.array.swapaxes(0, dim)),)
    source = source if alpha == 1 else source * alpha
    return input.add_(ops.ScatterAdd.apply(source, shape=input.array.shape, index=where))


@method
def index_fill_(input: Tensor, dim: int, index: Tensor, value: Any) -> Tensor:
    """The slices along dim that index names set to value, in place."""
    dim = normal_dim(dim, input.array.ndim)
    setitem(input, (slice(None),) * dim + (index,), value)
    return input
