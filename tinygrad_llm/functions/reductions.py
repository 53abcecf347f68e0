"""Many elements into one: sums, means, extremes, norms; and running sums and differences."""

from __future__ import annotations

import builtins
import functools
import math
from collections.abc import Sequence
from typing import Any

from .. import ops
from ..arrays.devices import asarray, xp_of
from ..arrays.indexing import take_along
from ..arrays.layout import in_rows
from ..arrays.memory import ndarray
from ..tensor import Tensor, dtypes, wrap
from ..tensor.dtypes import DtypeLike
from ..tensor.numbers import plain
from ..tensor.shapes import normal_dim, normal_dims
from .checks import need_floating
from .half_precision import rounded_once
from .method import method
from .operands import cast
from .printed_names import printed_as
from .unrecorded import past_the_engine, recorded

_EMPTY = (
    "{}(): Expected reduction dim to be specified for input.numel() == 0. "
    "Specify the reduction dim with the 'dim' argument."
)


def _dims(input: Tensor, dim: Any) -> tuple[int, ...]:
    return normal_dims(dim, input.array.ndim)


def _floating(input: Tensor, name: str) -> None:
    if input.array.dtype.kind in "iub":
        raise RuntimeError(
            f"{name}(): could not infer output dtype. Input dtype must be either a floating point "
            f"or complex dtype. Got: {dtypes.title(input.dtype)}: "
            "call .float() first"
        )


def asked(result: Tensor, dtype: Any) -> Tensor:
    """A sum or product in the dtype that was asked for: small integers, which wrap around, are
    added up as int64."""
    return result if dtype is None else cast(result, dtypes.numpy_dtype(dtype))


@method
def sum(
    input: Tensor,
    dim: int | Sequence[int] | None = None,
    keepdim: bool = False,
    *,
    dtype: DtypeLike = None,
) -> Tensor:
    """The sum over dim (an int, a tuple, or None for all). Integers and booleans become int64."""
    if dtype is not None:
        input = cast(input, dtypes.numpy_dtype(dtype))
    return asked(ops.Sum.apply(input, dims=_dims(input, dim), keepdim=keepdim), dtype)


@method
def mean(
    input: Tensor,
    dim: int | Sequence[int] | None = None,
    keepdim: bool = False,
    *,
    dtype: DtypeLike = None,
) -> Tensor:
    """The mean over dim (an int, a tuple, or None for all).

    Raises: RuntimeError for integers.
    """
    if dtype is not None:
        input = cast(input, dtypes.numpy_dtype(dtype))
    _floating(input, "mean")
    return ops.Mean.apply(input, dims=_dims(input, dim), keepdim=keepdim)


def _variance(
    name: str, op: Any, input: Tensor, dim: Any, unbiased: Any, keepdim: bool, correction: Any
) -> Tensor:
    if isinstance(dim, bool):  # x.var(False): the older form, unbiased first
        dim, unbiased = None, dim
    if unbiased is not None:
        correction = 1 if unbiased else 0
    _floating(input, name)
    dims = _dims(input, dim)
    few = past_the_engine(op, input, dims, keepdim, correction)
    if few is not None:
        return few
    return op.apply(input, dims=dims, keepdim=keepdim, correction=correction)


@method
def var(
    input: Tensor, dim: int | Sequence[int] | None = None, unbiased: bool | None = None,
    keepdim: bool = False, *, correction: Any = 1,
) -> Tensor:  # fmt: skip
    """The variance over dim: Σ (x − μ)² / (n − correction); unbiased=False is correction=0."""
    return _variance("var", ops.Var, input, dim, unbiased, keepdim, correction)


@method
def std(
    input: Tensor, dim: int | Sequence[int] | None = None, unbiased: bool | None = None,
    keepdim: bool = False, *, correction: Any = 1,
) -> Tensor:  # fmt: skip
    """The standard deviation over dim, the root of the variance."""
    return _variance("std", ops.Std, input, dim, unbiased, keepdim, correction)


@method
def var_mean(
    input: Tensor, dim: int | Sequence[int] | None = None, **options: Any
) -> tuple[Tensor, Tensor]:
    """Variance and mean over dim."""
    return var(input, dim, **options), mean(input, dim, keepdim=options.get("keepdim", False))


@method
def std_mean(
    input: Tensor, dim: int | Sequence[int] | None = None, **options: Any
) -> tuple[Tensor, Tensor]:
    """Standard deviation and mean over dim."""
    return std(input, dim, **options), mean(input, dim, keepdim=options.get("keepdim", False))


def _not_empty(input: Tensor, name: str, dims: tuple[int, ...], dim: Any = 0) -> None:
    if input.array.size == 0 and dim in ((), None):
        raise RuntimeError(_EMPTY.format(name))
    empty = [d for d in dims if input.array.shape[d] == 0] or (input.array.size == 0 and not dims)
    if empty:
        raise IndexError(
            f"{name}(): Expected reduction dim to be specified for input.numel() == 0, and to have "
            f"non-zero size: the shape is {tuple(input.array.shape)}"
        )


def _extreme(input: Tensor, dim: Any, keepdim: bool, largest: bool) -> Any:
    name = "max" if largest else "min"
    if isinstance(dim, Tensor):
        return input.maximum(dim) if largest else input.minimum(dim)
    if dim is None:
        if input.array.size == 0:
            raise RuntimeError(_EMPTY.format(name))
        return ops.Extreme.apply(input, dims=_dims(input, None), largest=largest)
    kind, returned = _pair(largest)
    indices = _arg(input, dim, True, "argmax" if largest else "argmin")
    a, places = input.array, indices.array
    if type(a) is ndarray and a.ndim and not recorded(input):
        dim = normal_dim(dim, a.ndim)
        y = a[take_along(a, places, dim)]
        if not keepdim:
            y, places = y.squeeze(dim), places.squeeze(dim)
        return kind(wrap(in_rows(y)), wrap(in_rows(places)))
    values = input.gather(dim, indices)
    if not keepdim and a.ndim:
        values, indices = values.squeeze(dim), indices.squeeze(dim)
    return returned(kind, values, indices)


@functools.cache
def _pair(largest: bool) -> Any:
    """What max or min along a dimension returns, and the function that makes it."""
    from .return_types import Max, Min, returned  # imported when first needed

    return (Max if largest else Min), returned


@method
def max(
    input: Tensor,
    dim: int | Tensor | None = None,
    keepdim: bool = False,
    *,
    other: Any = None,
) -> Any:
    """The largest element; with dim, (values, indices) along it, the first of equals.

    Without dim equal elements share the gradient. max(a, b) is maximum(a, b).
    """
    return _extreme(input, dim if other is None else other, keepdim, True)


@method
def min(
    input: Tensor,
    dim: int | Tensor | None = None,
    keepdim: bool = False,
    *,
    other: Any = None,
) -> Any:
    """The smallest element; with dim, (values, indices) along it, the first of equals."""
    return _extreme(input, dim if other is None else other, keepdim, False)


@method
def amax(input: Tensor, dim: int | Sequence[int] = (), keepdim: bool = False) -> Tensor:
    """The largest elements over dims; equal elements share the gradient."""
    dims = _dims(input, dim)
    _not_empty(input, "amax", dims, dim)
    return ops.Extreme.apply(input, dims=dims, keepdim=keepdim, largest=True)


@method
def amin(input: Tensor, dim: int | Sequence[int] = (), keepdim: bool = False) -> Tensor:
    """The smallest elements over dims; equal elements share the gradient."""
    dims = _dims(input, dim)
    _not_empty(input, "amin", dims, dim)
    return ops.Extreme.apply(input, dims=dims, keepdim=keepdim, largest=False)


def _arg(input: Tensor, dim: Any, keepdim: bool, name: str) -> Tensor:
    a = input.array
    if dim is None:
        if a.size == 0:
            raise IndexError(_EMPTY.format(name))
        position = asarray(getattr(a, name)(), a)
        return wrap(position.reshape((1,) * a.ndim) if keepdim else position)
    dim = normal_dim(dim, a.ndim)
    if a.ndim == 0:
        return wrap(xp_of(a).zeros((), "int64"))
    _not_empty(input, name, (dim,))
    return wrap(asarray(getattr(a, name)(dim, keepdims=keepdim), a))


@method
def argmax(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """The position of the largest element along dim, or in row order over all; int64."""
    return _arg(input, dim, keepdim, "argmax")


@method
def argmin(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """The position of the smallest element along dim, or in row order over all; int64."""
    return _arg(input, dim, keepdim, "argmin")


@method
def cumsum(input: Tensor, dim: int, *, dtype: DtypeLike = None) -> Tensor:
    """Running sums along dim."""
    if dtype is not None:
        input = cast(input, dtypes.numpy_dtype(dtype))
    if input.array.ndim == 0:
        normal_dim(dim, 0)
        whole = dtype is None and input.array.dtype.kind in "iub"
        return cast(input, "int64") if whole else input.clone()
    dim = normal_dim(dim, input.array.ndim)
    few = past_the_engine(ops.Cumsum, input, dim) if dtype is None else None
    return asked(ops.Cumsum.apply(input, dim=dim), dtype) if few is None else few


@method
def prod(
    input: Tensor, dim: int | None = None, keepdim: bool = False, *, dtype: DtypeLike = None
) -> Tensor:
    """The product of all elements, or along one dim. Integers and booleans become int64."""
    if dtype is not None:
        input = cast(input, dtypes.numpy_dtype(dtype))
    elif input.array.dtype.kind in "iub":
        input = cast(input, dtypes.numpy_dtype(dtypes.int64))
    along = 0 if dim is None else normal_dim(dim, input.array.ndim)
    if dim is None or input.array.ndim == 0:
        return asked(ops.Prod.apply(input.reshape(-1), dim=0, total=True), dtype)
    return asked(ops.Prod.apply(input, dim=along, keepdim=keepdim), dtype)


@method
def norm(
    input: Tensor,
    p: Any = "fro",
    dim: int | Sequence[int] | None = None,
    keepdim: bool = False,
    dtype: DtypeLike = None,
) -> Tensor:
    """(Σ |x|ᵖ)^(1/p) over dim: p = 2 (the default, the length), any number, inf or −inf.

    Raises: RuntimeError if p is neither a number nor "fro", or inf or negative for no elements.
    """
    if dtype is not None:
        input = cast(input, dtypes.numpy_dtype(dtype))
    _floating(input, "linalg.vector_norm")
    dims = _dims(input, dim)
    p = 2 if p in (None, "fro") else p
    p = plain(p)
    if not isinstance(p, int | float):
        raise RuntimeError(f"norm: p is {p!r}, expected a number, inf, -inf or 'fro'")
    if p == 2:
        return ops.Norm.apply(input, dims=dims, keepdim=keepdim)
    if (p == math.inf or p < 0) and not math.prod(input.array.shape[d] for d in dims):
        raise RuntimeError(
            f"linalg.vector_norm cannot compute the {p:g} norm on an empty tensor because the "
            "operation does not have an identity"
        )
    if p == math.inf:
        return amax(input.abs(), dims, keepdim)
    if p == -math.inf:
        return amin(input.abs(), dims, keepdim)
    if p == 0:
        ones = ops.Step.apply(input, function="sign")  # its derivative is 0
        ones.array[...] = input.array != 0
        return sum(ones, dims, keepdim)
    if p == 1:
        return sum(input.abs(), dims, keepdim)
    root = _root_of_powers(input, p, dims, keepdim)
    return printed_as("LinalgVectorNormBackward0", root)


@rounded_once(gradient="norm")
def _root_of_powers(input: Tensor, p: float, dims: tuple[int, ...], keepdim: bool) -> Tensor:
    """(Σ |x|ᵖ)^(1/p), without the infinite derivatives at 0: where x or the norm is 0, it is 0."""
    from .selection import where  # imported when first needed

    size = input.abs()
    zero = size.eq(0.0)
    powers = where(zero, 0.0 if p > 0 else math.inf, where(zero, 1.0, size) ** p)
    total = sum(powers, dims, keepdim)
    nothing = total.eq(0.0 if p > 0 else math.inf)
    return where(nothing, 0.0, where(nothing, 1.0, total) ** (1.0 / p))


@method
def dist(input: Tensor, other: Tensor, p: float = 2.0) -> Tensor:
    """The p-norm of input − other."""
    return norm(input - other, p)


@method
def diff(
    input: Tensor, n: int = 1, dim: int = -1, prepend: Tensor | None = None,
    append: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """Differences of neighbours along dim, n times over; prepend and append are joined first.

    Raises: RuntimeError if input is 0-d or n is negative.
    """
    if input.array.ndim == 0:
        raise RuntimeError("diff expects input to be at least one-dimensional")
    if n < 0:
        raise RuntimeError(f"order must be non-negative but got {n}")
    parts = [x for x in (prepend, input, append) if x is not None]
    from .shape.join import cat  # imported when first needed

    whole = cat(parts, dim) if len(parts) > 1 else input
    for _ in range(builtins.min(n, whole.size(dim))):
        n_pairs = whole.size(dim) - 1
        later, sooner = whole.narrow(dim, 1, n_pairs), whole.narrow(dim, 0, n_pairs)
        is_bool = whole.array.dtype.kind == "b"
        whole = later.logical_xor(sooner) if is_bool else later - sooner
    return whole


@method
def nansum(
    input: Tensor,
    dim: int | Sequence[int] | None = None,
    keepdim: bool = False,
    *,
    dtype: DtypeLike = None,
) -> Tensor:
    """The sum, in which nan counts as 0."""
    return sum(input.masked_fill(input.isnan(), 0.0), dim, keepdim, dtype=dtype)


@method
def nanmean(
    input: Tensor,
    dim: int | Sequence[int] | None = None,
    keepdim: bool = False,
    *,
    dtype: DtypeLike = None,
) -> Tensor:
    """The mean of the elements that are not nan; nan if all are."""
    need_floating("nanmean", input)
    count = sum(~input.isnan(), dim, keepdim)
    return nansum(input, dim, keepdim, dtype=dtype) / count
