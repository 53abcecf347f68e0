"""Sums over rows and along them, with few passes over memory and small rounding errors."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np

from . import blas
from .devices import asarray, xp_of
from .indexing import row_starts
from .twins import twins

__all__ = [
    "FAR",
    "ROUNDING",
    "SPREAD",
    "bounded",
    "exp_of_few",
    "exp_total",
    "is_few",
    "is_usual_variance",
    "max_along",
    "normal_of_few",
    "row_dot",
    "row_mean",
    "row_sum",
    "softmax_of_moderate",
    "sum_along",
    "sum_of_few",
    "sum_over",
    "total_of",
    "unbroadcast",
    "unusual_variance",
    "variance",
]


def unbroadcast(g: Any, shape: tuple[int, ...]) -> Any:
    """The gradient of an input of `shape` that was broadcast to g.shape: g summed over the copies.

    Where broadcasting repeated a value n times, that value reaches the loss on n paths, and its
    gradient is the sum over them.
    """
    if g.shape == shape:
        return g
    extra = g.ndim - len(shape)
    if extra == 1 and type(g) is np.ndarray and g.ndim == 2 and g.shape[1:] == shape:
        if 1 < g.size < blas.FEW and len(g) < _GROUP and g.flags.forc and g.dtype.char in "fd":
            return _ones(len(g), g.dtype).dot(g)  # as row_sum, without its questions
    if extra:
        g = sum_over(g, tuple(range(extra)))  # (copies, *shape) -> (*shape)
        if type(g) is np.ndarray and g.shape == shape:
            return g
    repeated = tuple(i for i, n in enumerate(shape) if n == 1 and g.shape[i] != 1)
    if repeated:
        g = sum_over(g, repeated, keepdim=True)
    return asarray(g, g)


_FLOAT64 = np.dtype("float64")
_GROUP = 1024  # rows that are added up as one group
_WIDTH = 12  # numbers of a row, up to which a plain mean of equal ones is within 4ε of them
_FEWEST = 129  # so many numbers in one row are SPREAD products and more
_SHORT = 16  # up to so many numbers a list is faster than looking for the extremes
SMALLEST = 1e-3  # a sum of exponentials of which no term that matters became 0
SPREAD = 1 << 14  # products for which a matrix of ones is faster than a column


def row_sum(g: Any, keep: int = 1) -> Any:
    """Sum over every axis but the last `keep`: (..., C) -> (C).

    NumPy adds rows one after another, so that the sum of 2e7 ones in float32 stops at 16,777,216.
    Here rows are added in groups, and then the groups, which keeps the rounding error small.
    """
    tail = g.shape[g.ndim - keep :]
    rows, size = g, math.prod(tail)
    if g.ndim != 2 or keep != 1:
        rows = g.reshape(-1, size) if g.size else g.reshape(0, size)  # (N, C)
    n = len(rows)
    if isinstance(rows, np.ndarray) and rows.dtype.kind == "f" and rows.dtype.itemsize > 2:
        if rows.size < blas.FEW or blas.one_thread.inside:
            return _row_sum_by_products(rows).reshape(tail)
        with blas.one_thread:
            return _row_sum_by_products(rows).reshape(tail)
    if twins.gpu is not None and not isinstance(rows, np.ndarray) and twins.gpu.takes_rows(rows):
        return twins.gpu.sum_rows(rows).reshape(tail)
    if n > _GROUP:
        whole = n - n % _GROUP
        groups = rows[:whole].reshape(-1, _GROUP, rows.shape[1]).sum(1)  # (N / 1024, C)
        total = row_sum(groups)
        if whole < n:
            total = total + rows[whole:].sum(0)
    else:
        total = rows.sum(0)  # (C)
    return total.reshape(tail)


def _row_sum_by_products(rows: np.ndarray) -> np.ndarray:
    """Σ over the rows as 1ᵀ·rows in groups of 1,024: BLAS reads memory faster than sum does."""
    n = len(rows)
    whole = n - n % _GROUP
    rest, ones = rows[whole:], _ones(n - whole, rows.dtype)
    whole_matrix = rest.flags.forc and rest.size > 1  # see _times_vector
    total = ones.dot(rest) if whole_matrix else ones @ rest  # (C)
    if whole:
        groups = np.ones(_GROUP, rows.dtype) @ rows[:whole].reshape(-1, _GROUP, rows.shape[1])
        total += groups[0] if whole == _GROUP else _row_sum_by_products(groups)  # (C)
    return total


@functools.lru_cache(64)
def _ones(n: int | tuple[int, int], dtype: Any) -> np.ndarray:
    """n ones, or a matrix of them, made once: nobody writes into them."""
    return np.ones(n, dtype)


@functools.lru_cache(32)
def _shares(n: int, dtype: Any) -> np.ndarray:
    """A matrix (n, n) of 1/n, whose product is a mean. Not to be changed."""
    return np.full((n, n), 1.0 / n, dtype)


@functools.lru_cache(32)
def _constant(value: float, dtype: Any) -> np.ndarray:
    """A number as a 0-d array, which NumPy adds in half of a Python number's time."""
    return np.asarray(value, dtype)


def _times_vector(x: np.ndarray, v: np.ndarray) -> Any:
    """x @ v of contiguous arrays: (..., C) @ (C) -> (...).

    For a matrix `dot` makes the same call of BLAS as @, and needs half the time to begin it. Of one
    number it would return −0, where @ returns 0.
    """
    return x.dot(v) if x.ndim == 2 and x.size > 1 else x @ v


def max_along(x: Any, dim: int = -1) -> Any:
    """The largest element along dim, which is kept with size 1. NaN may be ignored.

    NumPy's max is slow on short rows; fmax, which ignores NaN, is up to four times as fast, and of
    few numbers their places are found even faster.
    """
    if dim == -1 and isinstance(x, np.ndarray):
        if x.ndim == 2 and 0 < x.size < blas.FEW and x.flags.c_contiguous:
            return x.take(row_starts(x) + x.argmax(-1))[:, None]  # (N, C) -> (N) -> (N, 1)
        return np.fmax.reduce(x, axis=-1, keepdims=True)
    return x.max(dim, keepdims=True)


def sum_along(x: Any, dim: int = -1) -> Any:
    """Σ x along dim, which is kept with size 1: contiguous rows as a product with ones."""
    if dim == -1 and x.itemsize > 2:
        if isinstance(x, np.ndarray) and x.flags.c_contiguous:  # BLAS reads memory fastest
            if x.ndim == 2 and x.size > 1:
                return x.dot(_ones(x.shape[1], x.dtype))[:, None]  # see _times_vector
            return _times_vector(x, _ones(x.shape[-1], x.dtype))[..., None]
        return xp_of(x).einsum("...c->...", x)[..., None]
    return x.sum(dim, keepdims=True)


def row_mean(x: Any, w: Any = None) -> Any:
    """The mean of x, or of x·w, over the last axis: (..., C) -> (..., 1)."""
    if w is None:
        return sum_along(x) / max(x.shape[-1], 1)
    return (x @ w)[..., None] / max(x.shape[-1], 1)


def exp_total(x: Any, out: Any, dim: int = -1, largest: float = 1e30) -> tuple[Any, Any]:
    """out = exp(z), with z = x or x − max x along dim; z, and Σ exp(z) along dim.

    z = x where Σ exp(x) shows that nothing overflowed and nothing that matters became 0: most
    logits need no maximum, which saves two passes. From a sum of `largest` on, its logarithm would
    be too coarse. Each row decides for itself, so that no row's last bits depend on another. On a
    GPU the maximum is always subtracted, because reading Σ would mean waiting for the GPU. A row of
    −∞ becomes NaN.
    """
    if not x.size:
        return x, x.sum(dim, keepdims=True)
    if isinstance(x, np.ndarray) and x.itemsize > 2:
        total = sum_along(np.exp(x, out), dim)
        if all_between(total, SMALLEST, largest):
            return x, total
        z = _shifted(x, total, largest, dim)
    else:
        z = x - max_along(x, dim)
    return z, sum_along(xp_of(x).exp(z, out=out), dim)


def _shifted(x: np.ndarray, total: np.ndarray, largest: float, dim: int = -1) -> np.ndarray:
    """x − max x in the rows along dim whose Σ exp(x), `total`, is not between the two bounds."""
    m = max_along(x, dim)
    m[(total > SMALLEST) & (total < largest)] = 0.0
    return x - m


def is_few(x: Any, most: int = blas.FEW) -> bool:
    """Whether x is one or more rows of float32 or float64 without gaps, 2 to `most` numbers."""
    if type(x) is not np.ndarray or not 0 < x.ndim < 3 or x.dtype.char not in "fd":
        return False
    return 1 < x.size < most and x.flags.c_contiguous


def exp_of_few(x: Any, spread: bool = False, largest: float = 8.0) -> tuple[Any, Any]:
    """exp(x), Σ exp(x) of rows for which `is_few` holds, if they are moderate; else twice None.

    They are if no number is above `largest`, which keeps Σ exp(x) below 1e5, unless more is given.

    exp_total does the same in more calls of NumPy, and subtracts maxima where they are needed.
    spread: the sums, else (...), C times each, (..., C): NumPy divides by a whole matrix in a
    quarter of the time that a column takes. Then of any numbers: exp(z) and Σ exp(z), z as in
    exp_total.
    """
    n_classes = x.shape[-1]
    if not spread and not x.item(x.argmax()) < largest:  # of NaN it is the place, too
        return None, None
    e = np.exp(x)
    total = e.dot(_ones((n_classes, n_classes) if spread else n_classes, x.dtype))
    in_range = total.item(total.argmin()) > SMALLEST
    if spread or (n_classes > 33 and largest == 8.0):  # else each sum is below exp(8)·33 < 1e5
        in_range = in_range and total.item(total.argmax()) < (1e30 if spread else 1e5)
    if in_range:
        return e, total
    if not spread:
        return None, None
    e = np.exp(_shifted(x, total[..., :1], 1e30))  # (..., C) -> (..., 1)
    return e, e.dot(_ones((n_classes, n_classes), x.dtype))


def softmax_of_moderate(x: Any) -> Any:
    """softmax(x) along the last dim of a few numbers in (−6, 60); None for any other.

    exp_of_few with `spread` computes the same, and looks at the sums that cannot leave their range
    here.
    """
    if not is_few(x, _FEWEST):
        return None
    if not (x.item(x.argmin()) > -6.0 and x.item(x.argmax()) < 60.0):  # of NaN they are the place
        return None
    n = x.shape[-1]
    e = np.exp(x)
    e /= e.dot(_ones((n, n), x.dtype))
    return e


def exp_of_large(x: np.ndarray, largest: float) -> tuple[Any, Any, Any]:
    """z, exp(z) and Σ exp(z) of rows (N, C) for which `is_few` holds, (N); z as in exp_total.

    The same numbers as exp_total's, in fewer calls of NumPy.
    """
    ones = _ones(x.shape[1], x.dtype)
    e = np.exp(x)
    total = e.dot(ones)
    above = total.item(total.argmin()) > SMALLEST  # False for NaN, as below
    if above and total.item(total.argmax()) < largest:
        return x, e, total
    m = x.take(row_starts(x) + x.argmax(-1))  # (N, C) -> (N)
    m[total < largest if above else (total > SMALLEST) & (total < largest)] = 0.0
    z = x - m[:, None]
    np.exp(z, e)
    return z, e, e.dot(ones)


def all_between(numbers: np.ndarray, low: float, high: float) -> bool:
    """Whether low < x < high for each number: NaN is not, whichever is looked at."""
    if numbers.size > _SHORT:  # these two are faster than min and max
        smallest, largest = numbers.item(numbers.argmin()), numbers.item(numbers.argmax())
        return low < smallest and largest < high
    few = numbers if numbers.ndim == 1 else numbers.ravel()
    for number in few.tolist():  # a generator for all() would double the time
        if not low < number < high:
            return False
    return True


def row_dot(a: Any, b: Any, dim: int = -1) -> Any:
    """Σ a·b along dim, which is kept with size 1: one call of BLAS per row, or for short rows a
    product with ones."""
    if dim != -1:
        return (a * b).sum(dim, keepdims=True)
    if isinstance(a, np.ndarray) and a.itemsize > 2:
        short = a.shape[-1] < 64
        if short:
            return _times_vector(a * b, _ones(a.shape[-1], a.dtype))[..., None]
        return np.vecdot(a, b)[..., None]
    return xp_of(a).einsum("...c,...c->...", a, b)[..., None]


def bounded(a: Any, b: Any, scale: float) -> bool:
    """Whether exp(aᵢ·bⱼ·scale) is known to be in range for all rows i and j, without a maximum.

    |aᵢ·bⱼ| ≤ |aᵢ|·|bⱼ| (Cauchy and Schwarz): below 40 even a long sum of them is in range. False on
    a GPU, because reading the numbers would mean waiting for it.
    """
    if not isinstance(a, np.ndarray) or a.dtype.itemsize < 4 or not a.size or not b.size:
        return False
    return float(row_dot(a, a).max() * row_dot(b, b).max()) * scale**2 < 1600.0


def sum_of_few(x: np.ndarray) -> Any:
    """Σ x of a short vector, as a product with ones: a third of the time of NumPy's sum."""
    return x.dot(_ones(len(x), x.dtype))


def total_of(x: Any) -> Any:
    """Σ x over all of a vector: NumPy's own reduction, without its method's detour."""
    return np.add.reduce(x) if type(x) is np.ndarray and x.ndim == 1 else x.sum()


def sum_over(x: Any, dims: tuple[int, ...], keepdim: bool = False) -> Any:
    """Σ x over dims; float16 is added up in float32, and many rows in groups (see row_sum)."""
    n = len(dims)
    if x.dtype.kind in "iub":
        return x.sum(dims, keepdims=keepdim, dtype="int64")
    if x.dtype.itemsize == 2:
        return x.sum(dims, keepdims=keepdim, dtype="float32").astype(x.dtype)
    if 0 < n < x.ndim and dims == tuple(range(n)) and x.size:
        total = row_sum(x, x.ndim - n)
        return total.reshape((1,) * n + total.shape) if keepdim else total
    return x.sum(dims, keepdims=keepdim)


ROUNDING = {4: 2.3e-13, 8: 8e-31}  # (4ε)² by bytes of an element
FAR = {4: 1e-5, 8: 3.4e-23}  # σ²/μ² below which the rounding of μ would be seen in σ²


def variance(
    x: Any, dims: tuple[int, ...], keepdim: bool, correction: float
) -> tuple[Any, Any, Any]:
    """x − μ, the divisor n − c (at least 0), and Σ (x − μ)² / (n − c).

    As in PyTorch it is infinite where c ≥ n, and NaN where Σ (x − μ)² is 0 besides, as for n = 1.
    Of equal numbers it is exactly 0, though their mean may be rounded; of numbers far from 0 for
    their spread, μ is corrected (on a CPU); and of large float32 numbers it is computed in
    float64, where their squares are infinite in float32.
    """
    one = len(dims) == 1
    n = x.shape[dims[0]] if one else math.prod([x.shape[d] for d in dims])
    divisor = max(n - correction, 0)
    if n <= _WIDTH and is_few(x) and (dims[0] == x.ndim - 1 if one else len(dims) == x.ndim):
        rows = x if one and x.ndim == 2 else x.reshape(-1, n)  # (..., n) -> (N, n)
        centred, squares = _variance_of_few(rows, n)
        if centred is not None:
            squares /= _constant(divisor, x.dtype)
            if rows is x and not keepdim:
                return centred, divisor, squares
            shape = x.shape[: x.ndim - len(dims)] + ((1,) * len(dims) if keepdim else ())
            return centred.reshape(x.shape), divisor, squares.reshape(shape)  # (N) -> (..., 1)
    mean = sum_over(x, dims, True) / max(n, 1)
    centred = asarray(x - mean, x)
    squares = sum_over(centred * centred, dims, True)
    if isinstance(x, np.ndarray) and x.size and not is_usual_variance(squares, mean, n):
        return unusual_variance(x, centred, dims, keepdim, correction)
    if not keepdim:
        squares = squares.reshape([k for i, k in enumerate(squares.shape) if i not in dims])
    return centred, divisor, squares / divisor


def is_usual_variance(
    squares: np.ndarray, mean: np.ndarray, n: int, bounds: dict[int, float] = FAR
) -> bool:
    """Whether each Σ (x − μ)² of n numbers is finite, and σ²/μ² above the bound for their dtype."""
    known = squares.item(squares.argmax()) < math.inf  # of NaN argmax is the place, too
    usual = squares > mean * mean * (n * bounds[squares.itemsize])
    return known and bool(usual.item(usual.argmin()))  # faster than all(), if they are few


def _centred_again(centred: np.ndarray, dims: tuple[int, ...], n: int) -> Any:
    """x − μ from x − m, where m is the mean as rounded: the mean of x − m is what m lacks.

    Near 1e6 float32 numbers are 0.06 apart, and so is m from μ. Without this the variance of
    numbers with a spread of 1 has an error of 1 in 100 there.
    Where one is infinite or NaN, so is that mean, and nothing is subtracted.
    Source: Chan, Golub, LeVeque (1983), equation 1.7.
    """
    lack = np.nan_to_num(sum_over(centred, dims, True) / n, nan=0.0, posinf=0.0, neginf=0.0)
    return asarray(centred - lack, centred)


def _centred_few(x: np.ndarray, n: int) -> Any:
    """x − μ of a few rows (..., n), computed in float64: of equal float32 numbers nearly 0.

    Of float64 numbers far from 0, μ lacks something, the same in a whole row: see _centred_again.
    """
    if x.dtype is _FLOAT64:
        centred = x - x.dot(_shares(n, _FLOAT64))[..., :1]
        return centred - centred.dot(_shares(n, _FLOAT64))
    wide = x.astype(_FLOAT64)
    wide = wide - wide.dot(_shares(n, _FLOAT64))  # μ, n times in each row, as in exp_of_few
    return wide.astype(x.dtype)


def normal_of_few(x: np.ndarray, eps: float) -> tuple[Any, Any]:
    """(x − μ)·r, and r = 1/√(σ² + eps), of rows for which `is_few` holds: (..., C), (..., 1).

    Every number is there C times, as in exp_of_few.
    """
    n = x.shape[-1]
    normal = _centred_few(x, n)
    r = (normal * normal).dot(_shares(n, x.dtype))  # σ²
    r += _constant(eps, x.dtype)
    np.sqrt(r, r)
    np.reciprocal(r, r)
    normal *= r
    return normal, r[..., :1]  # (..., C) -> (..., 1)


def _variance_of_few(x: np.ndarray, n: int) -> tuple[Any, Any]:
    """x − μ and Σ (x − μ)² of a few rows (N, n), n up to _WIDTH; twice None where `variance` has
    to look closer."""
    centred = _centred_few(x, n)
    squares = (centred * centred).dot(_ones(n, x.dtype))  # (N, n) -> (N)
    bound = n * ROUNDING[x.itemsize]
    for square, first in zip(squares.tolist(), x[:, 0].tolist()):  # noqa: B905
        if not first * first * bound < square < math.inf:
            return None, None
    return centred, squares


def unusual_variance(
    x: np.ndarray, centred: Any, dims: tuple[int, ...], keepdim: bool, correction: float
) -> tuple[Any, Any, Any]:
    """As `variance`, where some numbers are all equal, far from 0, infinite, NaN or very large."""
    n = math.prod(x.shape[d] for d in dims)
    divisor = max(n - correction, 0)
    first = x[tuple(slice(0, 1) if i in dims else slice(None) for i in range(x.ndim))]
    equal = ((x == first) & np.isfinite(first)).all(dims, keepdims=True)
    centred[np.broadcast_to(equal, x.shape)] = 0.0
    centred = _centred_again(centred, dims, n)
    squares = sum_over(centred * centred, dims, keepdim)
    if x.dtype == np.float32 and not np.isfinite(squares).all():
        wide = x.astype(np.float64)
        wide -= wide.sum(dims, keepdims=True) / n
        squares = (wide * wide).sum(dims, keepdims=keepdim)
        return wide.astype(x.dtype), divisor, squares / divisor
    return centred, divisor, squares / divisor
