"""Along a dimension: running products and extremes, and areas under a curve."""

from __future__ import annotations

from typing import Any

from .. import ops
from ..arrays.devices import xp_of
from ..arrays.layout import in_rows
from ..tensor import Tensor, dtypes, wrap
from ..tensor.dtypes import DtypeLike
from ..tensor.shapes import normal_dim
from .gather import gather
from .method import function, method
from .operands import cast
from .reductions import asked
from .return_types import Cummax, Cummin, ValuesIndices, returned


@method
def cumprod(input: Tensor, dim: int, *, dtype: DtypeLike = None) -> Tensor:
    """Running products along dim. Integers and booleans become int64."""
    if dtype is not None:
        input = cast(input, dtypes.numpy_dtype(dtype))
    if input.array.ndim == 0:
        normal_dim(dim, 0)
        whole = dtype is None and input.array.dtype.kind in "iub"
        return cast(input, "int64") if whole else input.clone()
    return asked(ops.Cumprod.apply(input, dim=normal_dim(dim, input.array.ndim)), dtype)


def _extreme_positions(a: Any, dim: int, largest: bool) -> Any:
    """Where the largest (smallest) element up to each place is: the last of equals; nan stays.

    The running extremes are found in log₂ n passes: after k passes each place has seen 2ᵏ elements.
    """
    xp = xp_of(a)
    rows = xp.moveaxis(a, dim, 0)  # (n, ...)
    pick = xp.maximum if largest else xp.minimum
    extreme, step = rows.copy(), 1
    while step < len(rows):
        extreme[step:] = pick(extreme[step:], extreme[:-step].copy())
        step *= 2
    new = rows == extreme
    if a.dtype.kind == "f":
        new |= xp.isnan(rows)
    places = xp.arange(len(rows)).reshape(-1, *[1] * (a.ndim - 1))  # (n) -> (n, 1, ...)
    positions, step = xp.where(new, places, 0), 1
    while step < len(rows):
        positions[step:] = xp.maximum(positions[step:], positions[:-step].copy())
        step *= 2
    return xp.moveaxis(positions, 0, dim)


def _running_extreme(input: Tensor, dim: int, kind: Any) -> Any:
    a = input.array
    dim = normal_dim(dim, a.ndim)
    if a.ndim == 0:
        return returned(kind, input.clone(), wrap(xp_of(a).zeros((), "int64")))
    places = _extreme_positions(a, dim, kind is Cummax).astype("int64", copy=False)
    positions = wrap(in_rows(places))
    return returned(kind, gather(input, dim, positions), positions)


@method
def cummax(input: Tensor, dim: int) -> ValuesIndices:
    """(values, indices): the largest element up to each place along dim, the last of equals.

    Each gradient goes to the element at its index. From the first nan on, all values are nan.
    """
    return _running_extreme(input, dim, Cummax)


@method
def cummin(input: Tensor, dim: int) -> ValuesIndices:
    """(values, indices): the smallest element up to each place along dim, the last of equals."""
    return _running_extreme(input, dim, Cummin)


def _areas(name: str, y: Tensor, x: Tensor | None, dx: Any, dim: int) -> Tensor:
    """The area of each strip between neighbours: (yᵢ + yᵢ₊₁)/2 times its width."""
    if y.array.dtype.kind == "b" or (x is not None and x.array.dtype.kind == "b"):
        raise RuntimeError(f"{name}: received a bool input for `x` or `y`, but bool is not "
                           "supported")  # fmt: skip
    if y.array.ndim == 0:
        raise IndexError(f"{name}: y is 0-d, but there is no dimension {dim} to add along")
    dim = normal_dim(dim, y.array.ndim)
    n = y.array.shape[dim]
    left, right = y.narrow(dim, 0, max(n - 1, 0)), y.narrow(dim, min(1, n), max(n - 1, 0))
    if x is None:
        return (left + right) * (dx / 2.0)
    if x.array.ndim == 1:
        if len(x.array) != n:
            raise RuntimeError(
                f"{name}: There must be one `x` value for each sample point: y has {n} along dim "
                f"{dim}, x has {len(x.array)}"
            )
        x = x.reshape([-1 if d == dim else 1 for d in range(y.array.ndim)])  # (n) -> (1, n, 1)
    along = dim - y.array.ndim
    m = x.array.shape[along]
    widths = x.narrow(along, 1, m - 1) - x.narrow(along, 0, m - 1)
    return (left + right) * widths / 2.0


@function
def trapezoid(y: Tensor, x: Tensor | None = None, *, dx: Any = 1.0, dim: int = -1) -> Tensor:
    """The area under y along dim by the trapezoidal rule, Σ (yᵢ + yᵢ₊₁)/2·(xᵢ₊₁ − xᵢ).

    x: where the values lie, 1-D or of y's shape; without it the values are dx apart.
    Raises: RuntimeError for booleans and if x has another number of values.
    """
    return _areas("trapezoid", y, x, dx, dim).sum(dim)


trapz = trapezoid


@function
def cumulative_trapezoid(
    y: Tensor, x: Tensor | None = None, *, dx: Any = 1.0, dim: int = -1
) -> Tensor:
    """The area under y along dim up to each place after the first; see trapezoid."""
    return _areas("cumulative_trapezoid", y, x, dx, dim).cumsum(dim)
