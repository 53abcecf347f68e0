"""Many elements into one, with PyTorch's names and arguments."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from .. import ops
from ..arrays.devices import xp_of
from ..tensor import Tensor, dtypes, wrap
from ..tensor.shapes import normal_dim, normal_dims
from .elementwise import cast
from .fused import run
from .method import method


def _dims(input: Tensor, dim: Any) -> tuple[int, ...]:
    return normal_dims(dim, input.array.ndim)


def _floating(input: Tensor, what: str) -> None:
    if input.array.dtype.kind in "iub":
        raise RuntimeError(
            f"{what}(): could not infer output dtype. Input dtype must be either a floating point "
            f"or complex dtype. Got: {str(input.dtype).removeprefix('torch.').capitalize()}: "
            "call .float() first"
        )


@method
def sum(input: Tensor, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """The sum over dim (an int, a tuple, or None for all). Integers and booleans give int64."""
    if dtype is not None:
        input = cast(input, dtypes.numpy_dtype(dtype))
    return ops.Sum.apply(input, dims=_dims(input, dim), keepdim=keepdim)


@method
def mean(input: Tensor, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """The mean over dim (an int, a tuple, or None for all); RuntimeError for integers."""
    if dtype is not None:
        input = cast(input, dtypes.numpy_dtype(dtype))
    _floating(input, "mean")
    return run(ops.Mean, input, dims=_dims(input, dim), keepdim=keepdim)


def _correction(dim: Any, unbiased: Any, correction: Any) -> tuple[Any, Any]:
    if isinstance(dim, bool):  # x.var(False): the older form, unbiased first
        dim, unbiased = None, dim
    if unbiased is not None:
        correction = 1 if unbiased else 0
    return dim, correction


@method
def var(
    input: Tensor, dim: Any = None, unbiased: bool | None = None, keepdim: bool = False,
    *, correction: Any = 1,
) -> Tensor:  # fmt: skip
    """The variance over dim: Σ (x − μ)² / (n − correction); unbiased=False is correction=0."""
    dim, correction = _correction(dim, unbiased, correction)
    _floating(input, "var")
    return run(ops.Var, input, dims=_dims(input, dim), keepdim=keepdim, correction=correction)


@method
def std(
    input: Tensor, dim: Any = None, unbiased: bool | None = None, keepdim: bool = False,
    *, correction: Any = 1,
) -> Tensor:  # fmt: skip
    """The standard deviation over dim, the root of the variance."""
    dim, correction = _correction(dim, unbiased, correction)
    _floating(input, "std")
    return run(ops.Std, input, dims=_dims(input, dim), keepdim=keepdim, correction=correction)


@method
def var_mean(input: Tensor, dim: Any = None, **options: Any) -> tuple[Tensor, Tensor]:
    """Variance and mean over dim."""
    return var(input, dim, **options), mean(input, dim, keepdim=options.get("keepdim", False))


@method
def std_mean(input: Tensor, dim: Any = None, **options: Any) -> tuple[Tensor, Tensor]:
    """Standard deviation and mean over dim."""
    return std(input, dim, **options), mean(input, dim, keepdim=options.get("keepdim", False))


class ValuesIndices(NamedTuple):
    """What max, min, sort, topk and median along a dimension return."""

    values: Tensor
    indices: Tensor

    def __repr__(self) -> str:
        name = type(self).__name__.lower()
        return f"torch.return_types.{name}(\nvalues={self.values!r},\nindices={self.indices!r})"


class Max(ValuesIndices):
    __slots__ = ()


class Min(ValuesIndices):
    __slots__ = ()


class Sort(ValuesIndices):
    __slots__ = ()


class Topk(ValuesIndices):
    __slots__ = ()


class Median(ValuesIndices):
    __slots__ = ()


def _returned(kind: Any, values: Tensor, indices: Tensor) -> Any:
    """The pair; grad_fn prints as one step, whichever ops it took."""
    if values._op is not None:
        values._op.printed = f"{kind.__name__}Backward{1 if kind is Median else 0}"
    return kind(values, indices)


def _not_empty(input: Tensor, what: str, dims: tuple[int, ...], dim: Any = 0) -> None:
    if input.array.size == 0 and dim in ((), None):
        raise RuntimeError(
            f"{what}(): Expected reduction dim to be specified for input.numel() == 0. "
            "Specify the reduction dim with the 'dim' argument."
        )
    empty = [d for d in dims if input.array.shape[d] == 0] or (input.array.size == 0 and not dims)
    if empty:
        raise IndexError(
            f"{what}(): Expected reduction dim to be specified for input.numel() == 0, and to have "
            f"non-zero size: the shape is {tuple(input.array.shape)}"
        )


def _extreme(input: Tensor, dim: Any, keepdim: bool, largest: bool) -> Any:
    what = "max" if largest else "min"
    if isinstance(dim, Tensor):
        return input.maximum(dim) if largest else input.minimum(dim)
    if dim is None:
        if input.array.size == 0:
            raise RuntimeError(
                f"{what}(): Expected reduction dim to be specified for input.numel() == 0. "
                "Specify the reduction dim with the 'dim' argument."
            )
        return ops.Extreme.apply(input, dims=_dims(input, None), largest=largest)
    find = argmax if largest else argmin
    indices = find(input, dim, keepdim=True)
    values = gather(input, dim, indices)
    if not keepdim and input.array.ndim:
        values, indices = values.squeeze(dim), indices.squeeze(dim)
    return _returned(Max if largest else Min, values, indices)


@method
def max(input: Tensor, dim: Any = None, keepdim: bool = False, *, other: Any = None) -> Any:
    """The largest element; with dim, (values, indices) along it, the first of equals.

    Without dim equal elements share the gradient. max(a, b) is maximum(a, b).
    """
    return _extreme(input, dim if other is None else other, keepdim, True)


@method
def min(input: Tensor, dim: Any = None, keepdim: bool = False, *, other: Any = None) -> Any:
    """The smallest element; with dim, (values, indices) along it, the first of equals."""
    return _extreme(input, dim if other is None else other, keepdim, False)


@method
def amax(input: Tensor, dim: Any = (), keepdim: bool = False) -> Tensor:
    """The largest elements over dims; equal elements share the gradient."""
    dims = _dims(input, dim)
    _not_empty(input, "amax", dims, dim)
    return ops.Extreme.apply(input, dims=dims, keepdim=keepdim, largest=True)


@method
def amin(input: Tensor, dim: Any = (), keepdim: bool = False) -> Tensor:
    """The smallest elements over dims; equal elements share the gradient."""
    dims = _dims(input, dim)
    _not_empty(input, "amin", dims, dim)
    return ops.Extreme.apply(input, dims=dims, keepdim=keepdim, largest=False)


def _arg(input: Tensor, dim: Any, keepdim: bool, name: str) -> Tensor:
    a = input.array
    if dim is None:
        if a.size == 0:
            raise IndexError(
                f"{name}(): Expected reduction dim to be specified for input.numel() == 0. "
                "Specify the reduction dim with the 'dim' argument."
            )
        found = getattr(a, name)()
        return wrap(xp_of(a).asarray(found).reshape((1,) * a.ndim if keepdim else ()))
    dim = normal_dim(dim, a.ndim)
    if a.ndim == 0:
        return wrap(xp_of(a).zeros((), "int64"))
    _not_empty(input, name, (dim,))
    return wrap(xp_of(a).asarray(getattr(a, name)(dim, keepdims=keepdim)))


@method
def argmax(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """The position of the largest element along dim, or in row order over all; int64."""
    return _arg(input, dim, keepdim, "argmax")


@method
def argmin(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """The position of the smallest element along dim, or in row order over all; int64."""
    return _arg(input, dim, keepdim, "argmin")


@method
def cumsum(input: Tensor, dim: int, *, dtype: Any = None) -> Tensor:
    """Running sums along dim."""
    if dtype is not None:
        input = cast(input, dtypes.numpy_dtype(dtype))
    if input.array.ndim == 0:
        normal_dim(dim, 0)
        return input.clone()
    return run(ops.Cumsum, input, dim=normal_dim(dim, input.array.ndim))


@method
def prod(input: Tensor, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """The product of all elements, or along one dim. Integers and booleans give int64."""
    if dtype is not None:
        input = cast(input, dtypes.numpy_dtype(dtype))
    elif input.array.dtype.kind in "iub":
        input = cast(input, dtypes.numpy_dtype(dtypes.int64))
    along = 0 if dim is None else normal_dim(dim, input.array.ndim)
    if dim is None or input.array.ndim == 0:
        return ops.Prod.apply(input.reshape(-1), dim=0)
    return ops.Prod.apply(input, dim=along, keepdim=keepdim)


@method
def norm(
    input: Tensor, p: Any = "fro", dim: Any = None, keepdim: bool = False, dtype: Any = None
) -> Tensor:
    """(Σ |x|ᵖ)^(1/p) over dim: p = 2 (the default, the length), any number, inf or −inf."""
    if dtype is not None:
        input = cast(input, dtypes.numpy_dtype(dtype))
    _floating(input, "linalg.vector_norm")
    dims = _dims(input, dim)
    p = 2 if p in (None, "fro") else p
    if not isinstance(p, int | float):
        raise RuntimeError(f"norm: p is {p!r}, expected a number, inf, -inf or 'fro'")
    if p == 2:
        return run(ops.Norm, input, dims=dims, keepdim=keepdim)
    if p == math.inf:
        return amax(input.abs(), dims, keepdim)
    if p == -math.inf:
        return amin(input.abs(), dims, keepdim)
    if p == 0:
        return sum(cast(input != 0, input.array.dtype), dims, keepdim)
    if p == 1:
        return sum(input.abs(), dims, keepdim)
    return sum(input.abs() ** p, dims, keepdim) ** (1.0 / p)


# ------------------------------------------------------------------------- order along a dim
def _order(input: Tensor, dim: int, descending: bool) -> Any:
    """The positions that sort x along dim, equal elements in their order, nan the largest."""
    a, xp = input.array, xp_of(input.array)
    if not descending:
        return xp.argsort(a, axis=dim, kind="stable")
    backwards = xp.flip(a, dim)  # a stable sort of the reverse, read from its end
    order = xp.flip(xp.argsort(backwards, axis=dim, kind="stable"), dim)
    return a.shape[dim] - 1 - order


@method
def sort(
    input: Tensor, dim: int = -1, descending: bool = False, stable: bool = False
) -> ValuesIndices:
    """(values, indices) in order along dim; equal elements keep their order."""
    dim = normal_dim(dim, input.array.ndim)
    if input.array.ndim == 0:
        return _returned(Sort, input.clone(), wrap(xp_of(input.array).zeros((), "int64")))
    indices = wrap(_order(input, dim, descending))
    return _returned(Sort, gather(input, dim, indices), indices)


@method
def argsort(input: Tensor, dim: int = -1, descending: bool = False, stable: bool = False) -> Tensor:
    """The positions that put x in order along dim; int64."""
    return sort(input.detach(), dim, descending).indices


@method
def topk(
    input: Tensor, k: int, dim: int = -1, largest: bool = True, sorted: bool = True
) -> ValuesIndices:
    """(values, indices) of the k largest (or smallest) along dim, in order."""
    dim = normal_dim(dim, input.array.ndim)
    n = input.array.shape[dim] if input.array.ndim else 1
    if not 0 <= k <= n:
        raise RuntimeError(f"selected index k out of range: k is {k}, the dimension's size is {n}")
    if input.array.ndim == 0:
        return _returned(Topk, *sort(input))
    a, xp = input.array, xp_of(input.array)
    if 0 < k < n // 8 and a.dtype.kind == "f":  # choose the k, then order them alone
        side = -a if largest else a
        chosen = xp.argpartition(side, k - 1, axis=dim)
        chosen = xp.sort(chosen[(slice(None),) * dim + (slice(0, k),)], axis=dim)
        order = xp.argsort(xp.take_along_axis(side, chosen, dim), axis=dim, kind="stable")
        indices = wrap(xp.take_along_axis(chosen, order, dim))
    else:
        order = _order(input, dim, largest)
        indices = wrap(order[(slice(None),) * dim + (slice(0, k),)])
    return _returned(Topk, gather(input, dim, indices), indices)


@method
def median(input: Tensor, dim: Any = None, keepdim: bool = False) -> Any:
    """The middle element, the lower of two; with dim, (values, indices) along it."""
    flat = input.reshape(-1) if dim is None else input
    d = 0 if dim is None else normal_dim(dim, input.array.ndim)
    middle = (flat.array.shape[d] - 1) // 2
    values, indices = (t.narrow(d, middle, 1) for t in sort(flat, d))
    if dim is None:
        middle_one = values.reshape(())
        if middle_one._op is not None:
            middle_one._op.printed = "MedianBackward0"
        return middle_one
    if not keepdim:
        values, indices = values.squeeze(d), indices.squeeze(d)
    return _returned(Median, values, indices)


@method
def gather(input: Tensor, dim: int, index: Tensor, *, sparse_grad: bool = False) -> Tensor:
    """Along dim, the elements that index (int64, same number of dims) points at.

    out[i, j] = input[index[i, j], j] for dim 0. RuntimeError for an index out of range.
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
    n = input.array.shape[dim]
    if ids.size and (int(ids.min()) < 0 or int(ids.max()) >= n):
        wrong = int(ids.min()) if int(ids.min()) < 0 else int(ids.max())
        raise RuntimeError(f"index {wrong} is out of bounds for dimension {dim} with size {n}")
    return ops.Gather.apply(input, ids, dim=dim)
