"""Elements gathered from, and scattered to, the positions that a tensor of indices names."""

from __future__ import annotations

from typing import Any

from .. import ops
from ..arrays.devices import xp_of
from ..arrays.ids import INT64, all_within, smallest_and_largest
from ..arrays.indexing import take_along
from ..arrays.layout import in_rows
from ..arrays.meta import is_meta
from ..tensor import Tensor, dtypes, wrap
from ..tensor.shapes import normal_dim
from .half_precision import rounded_once
from .index import getitem
from .index_parts import Parts
from .inplace import write
from .method import method
from .printed_names import printed_as
from .unrecorded import plain
from .writes import as_value, put


@method
def gather(input: Tensor, dim: int, index: Tensor, *, sparse_grad: bool = False) -> Tensor:
    """Along dim, the elements that index (int64, same number of dims) points at.

    out[i, j] = input[index[i, j], j] for dim 0.
    Raises: RuntimeError for an index out of range, of another dtype or with too many rows.
    """
    dim = normal_dim(dim, input.array.ndim)
    ids = index.array
    _check_dtype("gather", index)
    if not ids.size and ids.ndim != input.array.ndim:
        return getitem(input.reshape(-1), index.reshape(-1)).reshape(ids.shape)
    x, ids = _at_least_1d(input, ids)
    if ids.ndim != x.array.ndim:
        raise RuntimeError(
            "Index tensor must have the same number of dimensions as input tensor: "
            f"index has {ids.ndim}, input has {input.array.ndim}"
        )
    for d, (n, m) in enumerate(zip(ids.shape, x.array.shape)):  # noqa: B905
        if n > m and d != dim:
            raise RuntimeError(
                f"Size does not match at dimension {d} expected index {list(ids.shape)} to be no "
                f"larger than self {list(input.array.shape)} apart from dimension {dim}"
            )
    _check_range(ids, x.array.shape[dim], dim)
    y = gathered(x, dim, ids)
    return y if index.array.ndim else y.reshape(())


def gathered(x: Tensor, dim: int, ids: Any) -> Tensor:
    """`gather` with an array of positions that are known to be right."""
    if plain(x):
        return wrap(in_rows(x.array[take_along(x.array, ids, dim)]))
    return ops.Gather.apply(x, ids, dim=dim)


def _at_least_1d(input: Tensor, ids: Any) -> tuple[Tensor, Any]:
    """A tensor and an array of positions with one dimension where they have none."""
    x = input if input.array.ndim else input.reshape(1)
    return x, ids if ids.ndim else ids.reshape(1)


@method
def take_along_dim(input: Tensor, indices: Tensor, dim: int | None = None) -> Tensor:
    """Along dim, the elements that indices point at, which broadcast; None: in row order over all.

    Raises: RuntimeError if indices does not hold int64 or has another number of dimensions.
    """
    if indices.array.dtype != INT64:
        raise RuntimeError(
            "torch.take_along_dim(): dtype of indices should be Long but got "
            f"{dtypes.title(indices.dtype)}"
        )
    if dim is None:
        return getitem(input.reshape(-1), indices.reshape(-1))
    if indices.array.ndim != input.array.ndim:
        raise RuntimeError(
            "torch.take_along_dim(): input and indices should have the same number of dimensions, "
            f"but got {input.array.ndim} dimensions for input, and {indices.array.ndim} dimensions "
            "for indices"
        )
    dim = normal_dim(dim, input.array.ndim)
    shape, more = list(input.array.shape), list(indices.array.shape)
    for d in range(len(shape)):
        if d != dim:
            shape[d] = more[d] = max(shape[d], more[d])
    n = shape[dim]
    ids = indices.expand(more)
    return input.expand(shape).gather(dim, ids + (ids < 0) * n)


def _check_dtype(name: str, index: Tensor) -> None:
    """Raises: RuntimeError if an index tensor does not hold int32 or int64."""
    if index.array.dtype.kind != "i" or index.array.dtype.itemsize < 4:
        raise RuntimeError(f"{name}(): Expected dtype int32/int64 for index, got {index.dtype}")


def _check_range(ids: Any, n: int, dim: int) -> None:
    """Raises: RuntimeError for an index outside [0, n)."""
    if not is_meta(ids) and not all_within(ids, n):
        low, high = smallest_and_largest(ids)
        wrong = low if low < 0 else high
        raise RuntimeError(f"index {wrong} is out of bounds for dimension {dim} with size {n}")


def _check_sizes(input: Tensor, dim: int, ids: Any, src: Any) -> None:
    """Raises: RuntimeError if index has more dimensions or rows than input or a tensor src."""
    x, s = input.array.shape or (1,), None
    if ids.ndim != len(x):
        raise RuntimeError(
            "Index tensor must have the same number of dimensions as self tensor: index has "
            f"{ids.ndim}, self has {len(x)}"
        )
    if isinstance(src, Tensor):
        s = src.array.shape or (1,)
        if src.array.ndim:
            normal_dim(dim, len(s))
        if ids.ndim != len(s):
            raise RuntimeError(
                "Index tensor must have the same number of dimensions as src tensor: index has "
                f"{ids.ndim}, src has {src.array.ndim}"
            )
    for d, n in enumerate(ids.shape):
        if (d != dim and n > x[d]) or (s is not None and n > s[d]):
            more = "" if s is None else f" and to be no larger size than src {list(s)}"
            raise RuntimeError(
                f"Expected index {list(ids.shape)} to be no larger than self {list(x)} apart from "
                f"dimension {dim}{more}"
            )


def _place_and_source(
    input: Tensor, dim: int, index: Tensor, src: Any, name: str = "scatter"
) -> Any:
    """(input with at least one dimension, the places that index names in it, what to put there).

    x.array[place] has index's shape. The source is src as far as index reaches; a number stays as
    it is. The places are None if index is empty.
    Raises: RuntimeError if shapes or dtypes do not fit, or a position is out of range.
    """
    if src is None:
        raise TypeError(f"{name}(): a tensor src or a number value is missing")
    dim = normal_dim(dim, input.array.ndim)
    if not index.array.size:
        return input, None, src
    _check_dtype(name, index)
    x, ids = _at_least_1d(input, index.array)
    if isinstance(src, Tensor) and src.array.dtype != input.array.dtype:
        raise RuntimeError(
            f"{name}(): Expected self.dtype to be equal to src.dtype, got {input.dtype} and "
            f"{src.dtype}: call src.to(x.dtype)"
        )
    _check_sizes(input, dim, ids, src)
    _check_range(ids, x.array.shape[dim], dim)
    place = take_along(x.array, ids, dim)
    if not isinstance(src, Tensor):
        return x, place, as_value(src, x, must_fit=True)
    s = src if src.array.ndim else src.reshape(1)
    return x, place, s[tuple(slice(0, n) for n in ids.shape)]


def _value(src: Any, value: Any) -> Any:
    """What scatter writes: src, or value, for which a 0-d tensor counts as a number."""
    if src is not None:
        return src
    return value.item() if isinstance(value, Tensor) and not value.array.ndim else value


@method
def scatter_(
    input: Tensor, dim: int, index: Tensor, src: Any = None, *, value: Any = None,
    reduce: str | None = None,
) -> Tensor:  # fmt: skip
    """scatter in place."""
    source = _value(src, value)
    if reduce is not None:
        return input.copy_(_reduced(input, dim, index, source, reduce))
    x, place, source = _place_and_source(input, dim, index, source)
    if place is not None:
        put(x, Parts(None, place), source, "scatter_")
        printed_as(_scatter_printed(src), input)
    return input


@method
def scatter(
    input: Tensor, dim: int, index: Tensor, src: Any = None, *, value: Any = None,
    reduce: str | None = None,
) -> Tensor:  # fmt: skip
    """input with out[index[i, j], j] = src[i, j] (for dim 0); a number may be src or value.

    reduce: "add" or "multiply" combines with what is there.
    Raises: RuntimeError if index is larger than src or reaches outside input, or dtypes differ.
    """
    source = _value(src, value)
    if reduce is not None:
        return _reduced(input, dim, index, source, reduce)
    x, place, source = _place_and_source(input, dim, index, source)
    if place is None:
        return input.clone()
    y = ops.IndexPut.apply(x, source, index=place)
    return printed_as(_scatter_printed(src), y if input.array.ndim else y.reshape(()))


def _scatter_printed(src: Any) -> str:
    return "ScatterBackward0" if isinstance(src, Tensor) else "ScatterBackward1"


def _reduced(input: Tensor, dim: int, index: Tensor, src: Any, reduce: str) -> Tensor:
    """scatter with reduce="add" or "multiply"."""
    if reduce not in ("add", "multiply"):
        raise RuntimeError("reduce argument must be either add or multiply.")
    if not isinstance(src, Tensor):
        xp = xp_of(input.array)
        number = as_value(src, input, must_fit=True)
        src = wrap(xp.full(index.array.shape, number, input.array.dtype))
    return scatter_reduce(input, dim, index, src, {"add": "sum", "multiply": "prod"}[reduce])


def _added(input: Tensor, dim: int, index: Tensor, src: Tensor, name: str) -> Any:
    """What scatter_add adds: zeros of input's shape, and the sums where index points; or None."""
    x, place, source = _place_and_source(input, dim, index, src, name)
    if place is None:
        return None
    y = ops.ScatterAdd.apply(source, shape=x.array.shape, index=place)
    return y if input.array.ndim else y.reshape(())


@method
@rounded_once
def scatter_add(input: Tensor, dim: int, index: Tensor, src: Tensor) -> Tensor:
    """input with out[index[i, j], j] += src[i, j] (for dim 0); duplicates add up.

    Raises: RuntimeError as scatter.
    """
    y = _added(input, dim, index, src, "scatter_add")
    return input.clone() if y is None else input + y


@method
def scatter_add_(input: Tensor, dim: int, index: Tensor, src: Tensor) -> Tensor:
    """scatter_add in place."""
    y = _added(input, dim, index, src, "scatter_add_")
    return input if y is None else input.add_(y)


@method
def scatter_reduce(
    input: Tensor, dim: int, index: Tensor, src: Tensor, reduce: str, *, include_self: bool = True
) -> Tensor:
    """input with the values of src that index sends to one element reduced to one, along dim.

    reduce: "sum", "prod", "mean", "amax" or "amin". include_self: input's own element takes part.
    Raises: RuntimeError for another reduce, and as scatter.
    """
    if reduce not in ("sum", "prod", "mean", "amax", "amin"):
        raise RuntimeError(
            f"reduce argument must be either sum, prod, mean, amax or amin, got {reduce}"
        )
    x, place, source = _place_and_source(input, dim, index, src)
    if place is None:
        return input.clone()
    if reduce in ("sum", "mean"):
        y = _sum_or_mean(x, place, source, reduce, include_self)
    else:
        y = ops.ScatterReduce.apply(
            x, source, index=place, reduce=reduce, include_self=include_self
        )
    return y if input.array.ndim else y.reshape(())


def _sum_or_mean(x: Tensor, place: Any, source: Tensor, reduce: str, include_self: bool) -> Tensor:
    """scatter_reduce by "sum" or "mean"."""
    shape = x.array.shape
    kept = x if include_self else ops.IndexPut.apply(x, 0, index=place)
    total = kept + ops.ScatterAdd.apply(source, shape=shape, index=place)
    if reduce == "sum":
        return total
    ones = source.detach() * 0 + 1
    count = ops.ScatterAdd.apply(ones, shape=shape, index=place)
    count = count + 1 if include_self else count.clamp(min=1)
    if x.array.dtype.kind in "fV":
        return total / count
    return total.div(count, rounding_mode="floor")


@method
def scatter_reduce_(
    input: Tensor, dim: int, index: Tensor, src: Tensor, reduce: str, *, include_self: bool = True
) -> Tensor:
    """scatter_reduce in place."""
    x = input.clone() if input._needs else input
    return write(input, scatter_reduce(x, dim, index, src, reduce, include_self=include_self),
                 "scatter_reduce_")  # fmt: skip
