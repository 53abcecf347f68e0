"""Of rows of observations: the most frequent value, quantiles without nan, covariance."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..arrays.devices import xp_of
from ..arrays.layout import in_rows
from ..tensor import Tensor, dtypes, wrap
from ..tensor.shapes import normal_dim
from .gather import gather
from .method import method
from .operands import as_floating
from .order import quantile, sort
from .return_types import Mode, ValuesIndices, returned
from .selection import where
from .shape.join import stack

__all__ = ["corrcoef", "cov", "mode", "nanquantile"]


@method
def mode(input: Tensor, dim: int = -1, keepdim: bool = False) -> ValuesIndices:
    """(values, indices): the most frequent element along dim, the smallest of several; its last
    place. Its gradient goes to the element at its index.

    Raises: IndexError if the dimension is empty.
    """
    dim = normal_dim(dim, input.array.ndim)
    if input.array.ndim == 0:
        return returned(Mode, input.clone(), wrap(xp_of(input.array).zeros((), "int64")))
    if not input.array.shape[dim]:
        raise IndexError(
            f"mode(): Expected reduction dim {dim} to have non-zero size: there is no most "
            "frequent element of none"
        )
    values, order = sort(input.detach(), dim)
    s, xp = xp_of(input.array).moveaxis(values.array, dim, -1), xp_of(input.array)  # (..., n)
    places = xp.arange(s.shape[-1])
    begins = xp.ones(s.shape, bool)
    begins[..., 1:] = s[..., 1:] != s[..., :-1]
    run = places - xp.maximum.accumulate(xp.where(begins, places, 0), axis=-1)  # 0, 1 ... in a run
    best = xp.expand_dims(run.argmax(-1), -1)  # (..., n) -> (..., 1)
    order = xp.moveaxis(order.array, dim, -1)
    index = wrap(
        in_rows(xp.moveaxis(xp.take_along_axis(order, best, -1), -1, dim))
    )  # (..., 1, ...)
    picked = gather(input, dim, index)
    if not keepdim:
        picked, index = picked.squeeze(dim), index.squeeze(dim)
    return returned(Mode, picked, index)


@method
def nanquantile(
    input: Tensor, q: Any, dim: int | None = None, keepdim: bool = False, *,
    interpolation: str = "linear",
) -> Tensor:  # fmt: skip
    """quantile of the elements that are not nan; nan where there are none. See `quantile`."""
    if not (input.array.dtype.kind == "f" and input.isnan().any()):
        return quantile(input, q, dim, keepdim, interpolation=interpolation)
    shares = q.tolist() if isinstance(q, Tensor) else q
    quantile(input.detach(), shares, dim, interpolation=interpolation)  # checks the arguments
    rank = input.array.ndim
    rows = input.reshape(-1) if dim is None else input.movedim(dim, -1)  # (..., N)
    rising, _ = sort(rows.contiguous(), -1)
    n = (~rows.isnan()).sum(-1, keepdim=True)  # (..., 1)
    results = []
    for share in shares if isinstance(shares, list) else [shares]:
        place = (n - 1).clamp(min=0).to(dtypes.float64) * share
        y = _at(rising, place, interpolation)
        y = where(n > 0, y, rising[..., :1]).squeeze(-1)  # (..., 1) -> (...)
        if keepdim:
            y = y.reshape((1,) * rank) if dim is None else y.unsqueeze(dim)
        results.append(y)
    if not isinstance(shares, list):
        return results[0]
    return stack(results, -1).movedim(-1, 0)  # (..., n) -> (n, ...)


def _at(rising: Tensor, place: Tensor, how: str) -> Tensor:
    """The value at fractional positions (..., 1) of sorted rows (..., N)."""
    low, high = place.floor(), place.ceil()
    if how == "nearest":
        low = high = place.round()
    low, high = (low, low) if how == "lower" else (high, high) if how == "higher" else (low, high)
    weight = (place - low).to(rising.dtype) if how == "linear" else 0.5
    a, b = (gather(rising, -1, x.long()) for x in (low, high))
    return a if low is high else a.lerp(b, weight)


@method
def cov(
    input: Tensor, *, correction: int = 1, fweights: Tensor | None = None,
    aweights: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """The covariances of variables: rows of input (V, N), or one variable (N).

    Σ w·(x − mean)·(y − mean)/(Σ w − correction), w the frequencies fweights (N), integers; with
    aweights (N) the sums are weighted by them as well and the correction by Σ w·a/Σ w.
    Returns (V, V), or () for one variable.
    Raises: RuntimeError for more than two dimensions or weights that do not fit.
    """
    if input.array.ndim > 2:
        raise RuntimeError(
            f"cov(): expected input to have two or fewer dimensions but got an input with "
            f"{input.array.ndim} dimensions"
        )
    x = as_floating(input if input.array.ndim == 2 else input.reshape(1, -1))  # (V, N)
    n = x.array.shape[1]
    w: Any = None
    for name, weights in (("fweights", fweights), ("aweights", aweights)):
        if weights is None:
            continue
        if weights.array.shape != (n,):
            raise RuntimeError(
                f"cov(): expected {name} to have the same numel as there are observations in the "
                f"input but got {weights.array.size} != {n}"
            )
        weights = weights.to(x.dtype)
        w = weights if w is None else w * weights
    total = float(n) if w is None else w.sum()
    mean = x.mean(1, keepdim=True) if w is None else (x * w).sum(1, keepdim=True) / total
    if aweights is None or w is None:
        norm = total - correction
    else:
        norm = total - correction * (w * aweights.to(x.dtype)).sum() / total
    x = x - mean
    norm = norm.clamp(min=0) if isinstance(norm, Tensor) else max(norm, 0.0)
    product = x @ (x if w is None else x * w).t()  # (V, N) @ (N, V) -> (V, V)
    result = product / (norm if isinstance(norm, Tensor) else np.float64(norm).item() or _zero(x))
    return result if input.array.ndim == 2 else result.reshape(())


def _zero(x: Tensor) -> Tensor:
    """0, as a tensor: a quotient by it is infinite or nan."""
    return wrap(xp_of(x.array).zeros((), x.array.dtype))


@method
def corrcoef(input: Tensor) -> Tensor:
    """The correlations of variables, rows of input (V, N): cov/(σ·σ), between −1 and 1.

    Returns (V, V), or () for one variable.
    """
    c = cov(input)
    if not c.array.ndim:
        return c / c
    deviation = c.diagonal().sqrt()  # (V, V) -> (V)
    return (c / deviation.unsqueeze(1) / deviation.unsqueeze(0)).clamp(-1.0, 1.0)
