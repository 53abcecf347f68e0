"""Element-wise functions and reductions that are made of other functions here, gradients too."""

from __future__ import annotations

import math
from typing import Any

from ..tensor import Tensor, dtypes
from .elementwise import abs, cast, erf, exp, expm1, log, log1p, maximum, where
from .fused import need_floating
from .method import method
from .reduce import sort, sum

__all__ = [
    "cosh",
    "deg2rad",
    "erfc",
    "exp2",
    "hypot",
    "is_nonzero",
    "logaddexp",
    "logit",
    "nanmean",
    "nansum",
    "quantile",
    "rad2deg",
    "sinh",
    "xlogy",
]


def _floating(input: Tensor) -> Tensor:
    """Integers as the default floating dtype."""
    if input.array.dtype.kind in "iub":
        return cast(input, dtypes.numpy_dtype(dtypes.get_default_dtype()))
    return input


@method
def exp2(input: Tensor) -> Tensor:
    """2ˣ."""
    return exp(_floating(input) * math.log(2.0))


@method
def erfc(input: Tensor) -> Tensor:
    """1 − erf x; for large x it is rounded to a multiple of the precision of 1."""
    return 1.0 - erf(_floating(input))


@method
def sinh(input: Tensor) -> Tensor:
    """(eˣ − e⁻ˣ)/2, as ((eˣ − 1) − (e⁻ˣ − 1))/2, which loses nothing near 0."""
    x = _floating(input)
    return (expm1(x) - expm1(-x)) * 0.5


@method
def cosh(input: Tensor) -> Tensor:
    """(eˣ + e⁻ˣ)/2."""
    x = _floating(input)
    return (exp(x) + exp(-x)) * 0.5


@method
def logit(input: Tensor, eps: float | None = None) -> Tensor:
    """log(x/(1 − x)), the inverse of sigmoid; with eps, x is first held to [eps, 1 − eps]."""
    x = _floating(input)
    if eps is not None:
        x = x.clamp(eps, 1.0 - eps)
    return log(x / (1.0 - x))


@method
def logaddexp(input: Tensor, other: Tensor) -> Tensor:
    """log(eˣ + eʸ) = max(x, y) + log(1 + exp(−|x − y|)), which can't overflow."""
    larger = maximum(input, other)
    same = input.eq(other)
    apart = where(same, input.detach() * 0.0, input - other)  # ∞ − ∞ is no number
    less = log1p(exp(-abs(apart)))
    return where(same, (input + other) * 0.5 + math.log(2.0), larger + less)


@method
def hypot(input: Tensor, other: Tensor) -> Tensor:
    """√(x² + y²), scaled by the larger of the two, so that no square overflows."""
    scale = maximum(abs(input), abs(other)).detach()
    scale = where(scale.eq(0.0), scale + 1.0, scale)
    return scale * ((input / scale).square() + (other / scale).square()).sqrt()


@method
def xlogy(input: Any, other: Any) -> Tensor:
    """x·log y, and 0 where x is 0 whatever y is, except nan."""
    zero = input.eq(0) & ~other.isnan()
    return where(zero, input * 0.0, input * log(where(zero, other * 0.0 + 1.0, other)))


@method
def deg2rad(input: Tensor) -> Tensor:
    """Degrees as radians: x·π/180."""
    return _floating(input) * (math.pi / 180.0)


@method
def rad2deg(input: Tensor) -> Tensor:
    """Radians as degrees: x·180/π."""
    return _floating(input) * (180.0 / math.pi)


@method
def is_nonzero(input: Tensor) -> bool:
    """Whether the only element is not 0; RuntimeError if there is not exactly one."""
    if input.array.size != 1:
        what = "no values" if not input.array.size else "more than one value"
        raise RuntimeError(f"Boolean value of Tensor with {what} is ambiguous")
    return bool(input)


# ------------------------------------------------------------------------------------ reductions
@method
def nansum(input: Tensor, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """The sum, in which nan counts as 0."""
    return sum(input.masked_fill(input.isnan(), 0.0), dim, keepdim, dtype=dtype)


@method
def nanmean(input: Tensor, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """The mean of what is not nan; nan if there is nothing else."""
    need_floating("nanmean", input)
    count = sum(~input.isnan(), dim, keepdim)
    return nansum(input, dim, keepdim, dtype=dtype) / count


_WAYS = ("linear", "lower", "higher", "nearest", "midpoint")


@method
def quantile(
    input: Tensor, q: Any, dim: int | None = None, keepdim: bool = False, *,
    interpolation: str = "linear",
) -> Tensor:  # fmt: skip
    """The number below which a share q of the elements along dim lies; of all of them without dim.

    q is a number in [0, 1], or a vector of them, which becomes the first dimension of the result.
    Between two elements it is interpolated: linear, lower, higher, nearest or midpoint. nan if one
    element is nan. RuntimeError for a q outside [0, 1] and for integers.
    """
    if input.array.dtype.kind not in "f":
        raise RuntimeError("quantile() input tensor must be either float or double dtype")
    if interpolation not in _WAYS:
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
    rows = input.reshape(-1) if dim is None else input.movedim(dim, -1)  # (..., N)
    rising, _ = sort(rows, -1)
    n = rising.array.shape[-1]
    unknown = rows.isnan().any(-1)
    results = [_between(rising, s * (n - 1), interpolation) for s in shares]
    results = [y.masked_fill(unknown, math.nan) for y in results]
    if keepdim:
        results = [
            y.reshape((1,) * rank) if dim is None else y.unsqueeze(dim if dim >= 0 else dim)
            for y in results
        ]
    if not several:
        return results[0]
    from .shape import stack

    return stack(results, 0)


def _between(rising: Tensor, place: float, how: str) -> Tensor:
    """What stands at a place between the positions of sorted rows: (..., N) -> (...)."""
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
