"""Elements in order along a dimension: sort, topk, median, quantile."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..arrays.devices import xp_of
from ..arrays.indexing import stable_order
from ..arrays.layout import in_rows
from ..arrays.masks import equal_or_nan
from ..arrays.memory import as_array
from ..arrays.twins import LEAST
from ..tensor import Tensor, dtypes, wrap
from ..tensor.shapes import normal_dim
from .gather import gather, gathered
from .method import method
from .reductions import amax, amin
from .return_types import Aminmax, Kthvalue, Median, Nanmedian, Sort, Topk, ValuesIndices, returned
from .selection import where
from .unrecorded import plain

_SHORT = 64  # numbers that are sorted sooner than divided at their middle


def _sorting_positions(input: Tensor, dim: int, descending: bool) -> Any:
    """The positions that sort x along dim, equal elements in their order, nan the largest."""
    a = input.array
    if not descending:
        return stable_order(a, dim)
    if type(a) is np.ndarray and 0 < a.size < LEAST and a.dtype.char in "fd":
        largest = a.item(a.argmax())
        if largest == largest:  # NaN is not
            return stable_order(-a, dim)
    reverse = (slice(None),) * dim + (slice(None, None, -1),)
    order = stable_order(a[reverse], dim)[reverse]  # of the reverse, read from its end
    return a.shape[dim] - 1 - order


@method
def aminmax(input: Tensor, *, dim: int | None = None, keepdim: bool = False) -> Aminmax:
    """(min, max) over dim or over all; equal elements share the gradient."""
    dims: Any = () if dim is None else dim
    return Aminmax(amin(input, dims, keepdim), amax(input, dims, keepdim))


@method
def sort(
    input: Tensor, dim: int = -1, descending: bool = False, stable: bool = False
) -> ValuesIndices:
    """(values, indices) in order along dim; equal elements keep their order."""
    dim = normal_dim(dim, input.array.ndim)
    if input.array.ndim == 0:
        return returned(Sort, input.clone(), wrap(xp_of(input.array).zeros((), "int64")))
    steps = input.array.strides
    if not input.array.flags.c_contiguous and 0 not in steps and input.array.size:
        # in the input's layout: its dimensions in the order of memory, (...) -> (...) -> (...)
        dims = sorted(range(len(steps)), key=lambda d: -steps[d])
        if dims != list(range(len(dims))):
            both = sort(input.permute(dims), dims.index(dim), descending)
            values, order = (v.permute([dims.index(d) for d in range(len(dims))]) for v in both)
            return returned(Sort, values, order)
    order = _sorting_positions(input, dim, descending)
    return returned(Sort, gathered(input, dim, order), wrap(order))


@method
def argsort(input: Tensor, dim: int = -1, descending: bool = False, stable: bool = False) -> Tensor:
    """The positions that put x in order along dim; int64."""
    return sort(input.detach(), dim, descending).indices


@method
def topk(
    input: Tensor, k: int, dim: int = -1, largest: bool = True, sorted: bool = True
) -> ValuesIndices:
    """(values, indices) of the k largest (or smallest) along dim, in order.

    Raises: RuntimeError if k is negative or larger than the size of dim.
    """
    dim = normal_dim(dim, input.array.ndim)
    n = input.array.shape[dim] if input.array.ndim else 1
    if not 0 <= k <= n:
        raise RuntimeError(f"selected index k out of range: k is {k}, the dimension's size is {n}")
    if input.array.ndim == 0:
        return returned(Topk, *sort(input))
    a, xp = input.array, xp_of(input.array)
    if 0 < k < n // 8 and _partition_orders(a, largest):  # choose the k, then order them alone
        side = -a if largest else a
        chosen = xp.argpartition(side, k - 1, axis=dim)
        chosen = xp.sort(chosen[(slice(None),) * dim + (slice(0, k),)], axis=dim)
        order = xp.argsort(xp.take_along_axis(side, chosen, dim), axis=dim, kind="stable")
        indices = xp.take_along_axis(chosen, order, dim)
    else:
        order = _sorting_positions(input, dim, largest)
        indices = order[..., :k] if dim == a.ndim - 1 else order[(slice(None),) * dim + (slice(k),)]
    indices = in_rows(indices)
    return returned(Topk, gathered(input, dim, indices), wrap(indices))


def _partition_orders(a: Any, largest: bool) -> bool:
    """Whether argpartition finds the first k: not if NaN, the largest of all, becomes −a's last."""
    return isinstance(a, np.ndarray) and a.dtype.kind == "f" and not (largest and np.isnan(a).any())


@method
def msort(input: Tensor) -> Tensor:
    """The elements in order along the first dimension."""
    return sort(input, 0).values


@method
def kthvalue(input: Tensor, k: int, dim: int = -1, keepdim: bool = False) -> ValuesIndices:
    """(values, indices) of the k-th smallest along dim, counted from 1; nan is the largest.

    Raises: RuntimeError if k is not in [1, n].
    """
    dim = normal_dim(dim, input.array.ndim)
    if not 1 <= k <= (input.array.shape[dim] if input.array.ndim else 1):
        raise RuntimeError(f"kthvalue(): selected number k out of range for dimension {dim}")
    if input.array.ndim == 0:
        return returned(Kthvalue, *sort(input))
    indices = wrap(_sorting_positions(input, dim, False)).narrow(dim, k - 1, 1)
    values = gather(input, dim, indices)
    if not keepdim:
        values, indices = values.squeeze(dim), indices.squeeze(dim)
    return returned(Kthvalue, values.contiguous(), indices.contiguous())


@method
def median(input: Tensor, dim: Any = None, keepdim: bool = False) -> Any:
    """The middle element, the lower of two; with dim, (values, indices) along it. NaN if one is.

    Without dim equal elements share the gradient.
    """
    return _middle_of(input, dim, keepdim, Median)


@method
def nanmedian(input: Tensor, dim: Any = None, keepdim: bool = False) -> Any:
    """median of the elements that are not NaN; NaN if all are."""
    return _middle_of(input, dim, keepdim, Nanmedian)


def _middle_of(input: Tensor, dim: Any, keepdim: bool, kind: Any) -> Any:
    flat = input.reshape(-1) if dim is None or not input.array.ndim else input
    d = 0 if dim is None else normal_dim(dim, input.array.ndim)
    a, xp, n = flat.array, xp_of(flat.array), flat.array.shape[d]
    if not a.size and dim is None:
        empty = math.nan if a.dtype.kind in "fV" else dtypes.iinfo(input.dtype).min
        return wrap(xp.asarray(empty, a.dtype))
    middle = (n - 1) // 2
    if dim is None and plain(flat) and a.dtype.kind in "fiu":
        return _middle_number(a[a == a] if kind is Nanmedian else a, a)
    order = _sorting_positions(flat, d, False)
    if a.dtype.kind in "fV":
        unknown = xp.isnan(a).sum(d, keepdims=True)  # they come last in order
        if kind is Median:
            place = xp.where(unknown > 0, n - unknown, middle)
        else:
            place = xp.maximum((n - unknown - 1) // 2, 0)
        indices = wrap(xp.take_along_axis(order, place, d))
    else:
        indices = wrap(order).narrow(d, middle, 1)
    values = gather(flat, d, indices)
    if dim is None:
        ties = equal_or_nan(a, values.array)
        share = flat.masked_fill(wrap(~ties), 0.0) / float(ties.sum())  # of the gradient
        middle_one = share.sum() if share.requires_grad else values.reshape(())
        middle_one.array[...] = values.array.reshape(())
        if middle_one._op is not None:
            middle_one._op.printed = f"{kind.__name__}Backward0"
        return middle_one
    if not keepdim:
        values, indices = values.squeeze(d), indices.squeeze(d)
    return returned(kind, values.contiguous(), indices.contiguous())


def _middle_number(known: Any, a: Any) -> Tensor:
    """The middle one of the numbers of a vector that count, outside the graph; NaN if one is.

    known: they; a: all of them, which are NaN if none counts.
    """
    rising = known.copy() if known.size else a.copy()
    middle = (rising.size - 1) // 2
    if rising.size < _SHORT:
        rising.sort()
    else:
        rising.partition((middle, rising.size - 1))
    last = rising[-1]  # NaN, if one is
    return wrap(as_array(rising[middle] if last == last else last))


_INTERPOLATIONS = ("linear", "lower", "higher", "nearest", "midpoint")


@method
def quantile(
    input: Tensor, q: Any, dim: int | None = None, keepdim: bool = False, *,
    interpolation: str = "linear",
) -> Tensor:  # fmt: skip
    """The number below which a share q of the elements along dim lies; of all elements without dim.

    q is a number in [0, 1], or a vector of them, which becomes the first dimension of the result.
    Between two elements it is interpolated: linear, lower, higher, nearest or midpoint. nan if one
    element is nan.
    Raises: RuntimeError if q is outside [0, 1], and for integers.
    """
    if input.array.dtype.kind not in "f":
        raise RuntimeError("quantile() input tensor must be either float or double dtype")
    if interpolation not in _INTERPOLATIONS:
        raise RuntimeError(
            f"quantile() interpolation must be one of linear, lower, higher, midpoint or nearest, "
            f"but got {interpolation}"
        )
    if not input.array.size:
        raise RuntimeError("quantile() input tensor must be non-empty")
    shares = q.tolist() if isinstance(q, Tensor) else q
    several = isinstance(shares, list)
    shares = shares if several else [shares]
    if any(not 0.0 <= s <= 1.0 for s in shares):
        raise RuntimeError("quantile() q values must be in the range [0, 1]")
    rank = input.array.ndim
    dim = None if dim is None or (rank == 0 and normal_dim(dim, 0) == 0) else dim
    rows = input.reshape(-1) if dim is None else input.movedim(dim, -1)  # (..., N)
    rising, _ = sort(rows.contiguous(), -1)
    n = rising.array.shape[-1]
    unknown = rows.isnan().any(-1)
    results = [_between(rising, s * (n - 1), interpolation) for s in shares]
    results = [where(unknown, rising[..., -1], y) for y in results]  # NaN is the last in order
    if keepdim:
        results = [y.reshape((1,) * rank) if dim is None else y.unsqueeze(dim) for y in results]
    if not several:
        return results[0]
    from .shape.join import stack

    return stack(results, -1).movedim(-1, 0)  # (..., n) -> (n, ...)


def _between(rising: Tensor, place: float, how: str) -> Tensor:
    """The value at a fractional position of sorted rows: (..., N) -> (...)."""
    low, high = math.floor(place), math.ceil(place)
    if how == "lower":
        high = low
    elif how == "higher":
        low = high
    elif how == "nearest":
        low = high = round(place)
    a, b = rising[..., low], rising[..., high]
    if low == high:
        return a
    return a.lerp(b, 0.5 if how == "midpoint" else place - low)
