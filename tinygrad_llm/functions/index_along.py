"""Slices along one dimension, and elements, read and written at positions in a vector or a mask."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ..arrays.devices import xp_of
from ..arrays.ids import INT64, all_within, smallest_and_largest
from ..arrays.meta import is_meta
from ..arrays.silence import quiet
from ..autograd.half_precision import is_half
from ..tensor import Tensor, dtypes
from ..tensor.shapes import normal_dim
from .index import getitem, pick
from .index_parts import Parts, parts_of
from .method import method
from .shape.broadcast import broadcast_tensors
from .writes import added, as_value, put, put_added


def _slices(name: str, input: Tensor, dim: int, index: Tensor, error: Any = RuntimeError) -> tuple:
    """(input with at least one dimension, dim, Parts that pick the slices that index names).

    Raises: `error` if a position is outside [0, n).
    """
    dim = normal_dim(dim, input.array.ndim)
    x = input if input.array.ndim else input.reshape(1)
    ids = index.array.reshape(-1)
    n = x.array.shape[dim]
    if not is_meta(ids) and not all_within(ids, n):
        low, high = smallest_and_largest(ids)
        wrong = low if low < 0 else high
        raise error(
            f"{name}(): index out of range in self: index {wrong} is out of bounds for dimension "
            f"{dim} with size {n}"
        )
    return x, dim, Parts(None, (slice(None),) * dim + (ids,))


def _title(x: Tensor) -> str:
    return dtypes.title(x.dtype)


def _is_long(index: Tensor) -> bool:
    return index.array.dtype.kind == "i" and index.array.dtype.itemsize >= 4


@method
def index_select(input: Tensor, dim: int, index: Tensor) -> Tensor:
    """The slices along dim that index (1-D, int64) names, in its order.

    Raises: IndexError if index is not a vector or a position is outside [0, n); RuntimeError if it
    does not hold int32 or int64.
    """
    if index.array.ndim > 1:
        raise IndexError("index_select(): Index is supposed to be a vector")
    if not _is_long(index):
        raise RuntimeError("index_select(): Expected dtype int32 or int64 for index")
    if not input.array.ndim and index.array.size != 1:
        raise RuntimeError(
            "index_select(): Index to scalar can have only 1 value, got "
            f"{index.array.size} value(s)"
        )
    x, _, parts = _slices("index_select", input, dim, index, IndexError)
    y = pick(x, parts.picked)
    return y if input.array.ndim else y.reshape(())


@method
def masked_select(input: Tensor, mask: Tensor) -> Tensor:
    """The elements where the boolean mask (which may broadcast) is True, in one dimension.

    Raises: RuntimeError if mask is not boolean.
    """
    if mask.array.dtype.kind != "b":
        raise RuntimeError("masked_select: expected BoolTensor for mask")
    x, m = broadcast_tensors(input, mask)
    return getitem(x, m)


@method
def take(input: Tensor, index: Tensor) -> Tensor:
    """The elements at positions counted in row order, in index's shape.

    Raises: RuntimeError if index does not hold int64; IndexError if a position is out of range.
    """
    flat = input.reshape(-1)
    n = flat.array.size
    _check_positions("take", index, n)
    return getitem(flat, index.reshape(-1)).reshape(index.array.shape)


def _check_positions(name: str, index: Tensor, n: int) -> None:
    """Raises: RuntimeError if index is not int64; IndexError for a position outside n elements."""
    ids = index.array
    if ids.dtype != INT64:
        raise RuntimeError(
            f"{name}(): Expected a long tensor for index, but got {dtypes.title(index.dtype)}"
        )
    if not ids.size or is_meta(ids):
        return
    if not n:
        raise IndexError(f"{name}(): tried to {name} from an empty tensor")
    low, high = smallest_and_largest(ids)
    if low < -n or high >= n:
        raise IndexError(
            f"out of range: tried to access index {low if low < -n else high} on a tensor of {n} "
            "elements."
        )


@method
def put_(input: Tensor, index: Tensor, source: Tensor, accumulate: bool = False) -> Tensor:
    """Write source at positions counted in row order, in place; accumulate adds instead.

    Raises: IndexError if source and index have different sizes or a position is out of range.
    """
    _check_positions("put_", index, input.array.size)
    if index.array.size != source.array.size:
        raise IndexError(
            "put_(): Expected source and index to have the same number of elements, but got "
            f"source.numel() = {source.array.size}, index.numel() = {index.array.size}"
        )
    if not index.array.size:
        return input
    flat = index.reshape(-1).array % input.array.size
    shape = input.array.shape or (1,)
    place = []
    for n in reversed(shape):
        place.append(flat % n)
        flat = flat // n
    x = input if input.array.ndim else input.reshape(1)
    parts = Parts(None, tuple(reversed(place)))
    (put_added if accumulate else _put)(x, parts, source.reshape(-1))
    return input


def _put(x: Tensor, parts: Parts, value: Tensor) -> Tensor:
    return put(x, parts, value, "put_")


# ------------------------------------------------------------------------ slices along a dimension
def _check_source(name: str, input: Tensor, dim: int, index: Tensor, source: Tensor) -> None:
    """Raises: RuntimeError or IndexError if index_add's arguments do not fit together."""
    if index.array.ndim > 1:
        raise IndexError(
            f"{name}(): Index is supposed to be a vector, but got dim: {index.array.ndim}"
        )
    if not _is_long(index):
        raise RuntimeError(
            f"{name}(): Expected dtype int32/int64 for index but got: {_title(index)}"
        )
    if source.array.dtype != input.array.dtype:
        raise RuntimeError(
            f"{name}(): self ({_title(input)}) and source ({_title(source)}) must have the same "
            "scalar type"
        )
    dim = normal_dim(dim, input.array.ndim)
    n = source.array.shape[dim] if dim < source.array.ndim else 1
    if index.array.size != n:
        raise RuntimeError(
            f"{name}(): Number of indices ({index.array.size}) should be equal to "
            f"source.size(dim): ({n}), for dim: {dim}"
        )
    shape, given = list(input.array.shape), list(source.array.shape)
    if (
        shape[:dim] != given[:dim]
        or shape[dim + 1 :] != given[dim + 1 :]
        or (len(shape) != len(given))
    ):
        raise RuntimeError(
            "source tensor shape must match self tensor shape, excluding the specified dimension. "
            f"Got self.shape = {shape} source.shape = {given}"
        )


def _added(name: str, input: Tensor, dim: int, index: Tensor, source: Tensor, alpha: Any) -> Tensor:
    """What index_add adds: zeros of input's shape, and alpha·source where index points."""
    _check_source(name, input, dim, index, source)
    if alpha != 1:
        source = source * (alpha if input.array.dtype.kind in "fV" else int(alpha))
    x, _, parts = _slices(name, input, dim, index)
    y = added(x, parts, source if input.array.ndim else source.reshape(1))
    return y if input.array.ndim else y.reshape(())


def _rounded_sums(input: Tensor, dim: int, index: Tensor, source: Tensor, alpha: Any) -> Any:
    """The array of index_add in half precision: as in PyTorch, each addition is rounded.

    With alpha = 1, slices along the first or last dim are added in float32 and rounded once. Else
    alpha is rounded first. alpha·source is rounded too, except in whole vectors of 32 numbers of a
    slice's pieces that lie together (PyTorch's vectorised loop with AVX-512).
    """
    a, dtype, xp = input.array, input.array.dtype, xp_of(input.array)
    if not a.ndim:
        a = a.reshape(1)
    ids, at = index.array.reshape(-1), normal_dim(dim, a.ndim)
    factor = float(dtype.type(alpha))
    terms = source.array.reshape(a.shape[:at] + ids.shape + a.shape[at + 1 :]).astype("float32")
    terms = xp.moveaxis(terms * factor, at, 0)  # (..., N, ...) -> (N, ...)
    moved = xp.moveaxis(a, at, 0)  # (..., n, ...) -> (n, ...)
    width = math.prod(moved.shape[1:])
    terms = terms.reshape(len(ids), width)  # (N, ...) -> (N, width)
    sums = moved.reshape(len(moved), width).astype("float32")  # (n, ...) -> (n, width)
    run = width if len(ids) == len(moved) == 1 else math.prod(a.shape[at + 1 :])
    rest = xp.arange(width) % max(run, 1) >= run // 32 * 32
    terms[:, rest] = terms[:, rest].astype(dtype)
    order = ids.argsort(kind="stable")
    by_id = ids[order]
    turn = xp.arange(len(ids)) - xp.searchsorted(by_id, by_id)  # the how-manieth of its position
    each = a.ndim == 1 or 0 < at < a.ndim - 1 or factor != 1.0
    for k in range(int(turn.max()) + 1 if len(ids) else 0):
        rows = order[turn == k]
        new = sums[ids[rows]] + terms[rows]
        sums[ids[rows]] = new.astype(dtype) if each else new
    new = xp.moveaxis(sums.astype(dtype).reshape(moved.shape), 0, at)  # (n, width) -> (..., n, ...)
    return new.reshape(input.array.shape)


def _index_added(name: str, input: Tensor, dim: int, *args: Any, inplace: bool) -> Tensor:
    """index_add, or the same in place; args: index, source, alpha."""
    more = _added(name, input, dim, *args)
    half = is_half(input.array.dtype) and not is_meta(input.array)
    sums = quiet(_rounded_sums)(input, dim, *args) if half else None
    result = input.add_(more) if inplace else input + more
    if sums is not None:
        result.array[...] = sums
    return result


@method
def index_add_(input: Tensor, dim: int, index: Tensor, source: Tensor, *, alpha: Any = 1) -> Tensor:
    """index_add in place."""
    return _index_added("index_add_", input, dim, index, source, alpha, inplace=True)


@method
def index_add(input: Tensor, dim: int, index: Tensor, source: Tensor, *, alpha: Any = 1) -> Tensor:
    """input with the slices of source added at the positions along dim that index names.

    Raises: RuntimeError if dtypes or shapes do not fit, or a position is outside [0, n).
    """
    return _index_added("index_add", input, dim, index, source, alpha, inplace=False)


@method
def index_copy_(input: Tensor, dim: int, index: Tensor, source: Tensor) -> Tensor:
    """index_copy in place.

    Raises: IndexError or RuntimeError as index_copy.
    """
    if index.array.ndim > 1:
        raise IndexError(
            f"index_copy_(): Index should have dimension 1 or 0 (got {index.array.ndim})"
        )
    if index.array.dtype != INT64:
        raise RuntimeError(
            f"index_copy_(): Expected a long tensor for index, but got {_title(index)}"
        )
    if source.array.dtype != input.array.dtype:
        raise RuntimeError(
            "index_copy_(): self and source expected to have the same dtype, but got (self) "
            f"{_title(input)} and (source) {_title(source)}"
        )
    if input.array.ndim and source.array.ndim and source.array.ndim != input.array.ndim:
        raise IndexError(
            "index_copy_(): When source and destination are not scalars, their dimensionality must "
            f"match. Source dimensionality ({source.array.ndim}), destination dimensionality "
            f"({input.array.ndim})"
        )
    dim = normal_dim(dim, input.array.ndim)
    n = source.array.shape[dim] if source.array.ndim else 1
    if n != index.array.size:
        raise IndexError(
            f"index_copy_(): Number of indices ({index.array.size}) should be equal to "
            f"source.size(dim) ({n})"
        )
    _check_slice_shapes(input, dim, source)
    x, dim, parts = _slices("index_copy_", input, dim, index, IndexError)
    put(x, parts, source if source.array.ndim else source.reshape(1), "index_copy_")
    return input


def _check_slice_shapes(input: Tensor, dim: int, source: Tensor) -> None:
    """Raises: RuntimeError if the slices of two tensors along dim have different shapes."""
    shape, given = list(input.array.shape), list(source.array.shape)
    del shape[dim : dim + 1], given[dim : dim + 1]
    if shape != given:
        raise RuntimeError(
            "index_copy_(): Source/destination tensor must have same slice shapes. Destination "
            f"slice shape: {shape} at dimension {dim} and source slice shape: {given} at "
            f"dimension {dim}."
        )


def _in_row_order(x: Tensor) -> Tensor:
    """A copy of x in row order."""
    return x.clone() if x.array.flags.c_contiguous else x.contiguous()


@method("put")
def _put_copy(input: Tensor, index: Tensor, source: Tensor, accumulate: bool = False) -> Tensor:
    """put_ on a copy."""
    return put_(input.clone(), index, source, accumulate)


@method
def index_copy(input: Tensor, dim: int, index: Tensor, source: Tensor) -> Tensor:
    """input with the slices along dim that index (int64) names replaced by those of source.

    Raises: IndexError or RuntimeError if dtypes or shapes do not fit, or a position is out of
    range.
    """
    return index_copy_(_in_row_order(input), dim, index, source)


@method
def index_fill_(input: Tensor, dim: int, index: Tensor, value: Any) -> Tensor:
    """index_fill in place.

    Raises: IndexError or RuntimeError as index_fill.
    """
    if index.array.dtype != INT64:
        raise IndexError("index_fill_(): Expected dtype int64 for index.")
    if index.array.ndim > 1:
        raise RuntimeError("Index has to be a vector/scalar")
    if isinstance(value, Tensor):
        if value.array.ndim:
            raise RuntimeError(
                "index_fill_ only supports a 0-dimensional value tensor, but got tensor with "
                f"{value.array.ndim} dimension(s)."
            )
        value = value.to(input.dtype)
    dim = normal_dim(dim, input.array.ndim)
    x = input if input.array.ndim else input.reshape(1)
    where = index.array.reshape(-1)
    if isinstance(value, Tensor) and value.requires_grad and ((n := x.array.shape[dim]) > 0):
        inside = where[(where >= -n) & (where < n)]  # the others: an IndexError in put
        if inside.size == where.size:
            where = xp_of(where).unique(inside % n)  # each place has one gradient
    parts = Parts(None, (slice(None),) * dim + (where,))
    put(x, parts, as_value(value, x, must_fit=True), "index_fill_")
    return input


@method
def index_fill(input: Tensor, dim: int, index: Tensor, value: Any) -> Tensor:
    """input with the slices along dim that index (int64) names set to value, a number or a 0-d
    tensor.

    Raises: IndexError if a position is out of range or index does not hold int64.
    """
    return index_fill_(input.clone(), dim, index, value)


# ------------------------------------------------------------------------ index tensors and masks
@method
def index_put_(
    input: Tensor, indices: Sequence[Tensor], values: Tensor, accumulate: bool = False
) -> Tensor:
    """input[indices] = values in place; accumulate adds, also where a position repeats.

    indices: one index tensor or mask for each of the first dimensions.
    Raises: TypeError if indices is not a tuple or list of tensors or values not a tensor;
    IndexError if an index does not fit; RuntimeError if values does not broadcast or has another
    dtype.
    """
    _check_indices(indices)
    if not isinstance(values, Tensor):
        raise TypeError(
            "index_put_(): argument 'values' (position 2) must be Tensor, not "
            f"{type(values).__name__}"
        )
    x = input
    whole = tuple(i if i.array.ndim else i.reshape(1) for i in indices)
    parts = parts_of(whole, x.array)
    if parts.picked is None:
        raise RuntimeError("index_put_(): at least one index tensor is needed")
    if accumulate:
        return put_added(x, parts, values)
    return put(x, parts, values, "index_put_")


def _check_indices(indices: Any) -> None:
    """Raises: TypeError if indices is not a tuple or list of tensors."""
    if not isinstance(indices, tuple | list):
        raise TypeError(
            "index_put_(): argument 'indices' (position 1) must be tuple of Tensors, not "
            f"{type(indices).__name__}"
        )
    for i, index in enumerate(indices):
        if not isinstance(index, Tensor):
            raise TypeError(
                f"expected Tensor as element {i} in argument 0, but got {type(index).__name__}"
            )


@method
def index_put(
    input: Tensor, indices: Sequence[Tensor], values: Tensor, accumulate: bool = False
) -> Tensor:
    """index_put_ on a copy."""
    return index_put_(input.clone(), indices, values, accumulate)


@method
def masked_scatter_(input: Tensor, mask: Tensor, source: Tensor) -> Tensor:
    """The first elements of source, in row order, written where the mask is True, in place.

    mask: boolean, broadcasts to input.
    Raises: RuntimeError if mask is not boolean, dtypes differ, or source has too few elements.
    """
    if mask.array.dtype.kind != "b":
        raise RuntimeError(
            f"masked_scatter_ only supports boolean masks, but got mask with dtype {_title(mask)}"
        )
    if source.array.dtype != input.array.dtype:
        raise RuntimeError(
            "masked_scatter: expected self and source to have same dtypes but got "
            f"{_title(input)} and {_title(source)}"
        )
    full = mask.expand(input.array.shape) if mask.array.shape != input.array.shape else mask
    n = int(full.array.sum())
    if n > source.array.size:
        raise RuntimeError("Number of elements of source < number of ones in mask")
    x = input if input.array.ndim else input.reshape(1)
    parts = parts_of(full if full.array.ndim else full.reshape(1), x.array)
    put(x, parts, source.reshape(-1)[:n], "masked_scatter_")
    return input


@method
def masked_scatter(input: Tensor, mask: Tensor, source: Tensor) -> Tensor:
    """masked_scatter_ on a copy; input and mask broadcast together."""
    shape = broadcast_tensors(input, mask)[0].array.shape
    return masked_scatter_(_in_row_order(input.expand(shape)), mask, source)
