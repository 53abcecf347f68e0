"""Positions, counts, sets and histograms of values: no gradients."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from ..arrays.devices import asarray, to_numpy, use_gpu_of, xp_of
from ..arrays.layout import in_rows
from ..tensor import Tensor, dtypes, wrap
from ..tensor.shapes import normal_dim, normal_dims
from .comparison import operands
from .creation.ranges import linspace
from .method import function, method
from .operands import as_operand

_FEW = 1024  # numbers whose positions np.array joins sooner than stack


@method
def nonzero(input: Tensor, *, as_tuple: bool = False) -> Any:
    """The positions of the elements that are not 0, in row order.

    A tensor (n, input.ndim) of int64, whose columns are contiguous, or with as_tuple one tensor (n)
    per dimension, which can be used as an index.
    """
    a = input.array
    use_gpu_of(a)
    xp = xp_of(a)
    true = a != 0
    if a.ndim == 0:
        if as_tuple:
            return (wrap(xp.zeros(int(true), np.int64)),)
        return wrap(xp.zeros((int(true), 0), np.int64))
    places = xp.nonzero(true)
    if type(a) is np.ndarray and a.size < _FEW:
        positions = np.array(places)  # (ndim, n): stack begins slowly
    else:
        positions = xp.stack(places)  # (ndim, n)
    return tuple(wrap(p) for p in positions) if as_tuple else wrap(positions.T)  # (n, ndim)


@method
def argwhere(input: Tensor) -> Tensor:
    """As `nonzero`: (n, input.ndim), the positions of the elements that are not 0."""
    return nonzero(input)


@method
def count_nonzero(input: Tensor, dim: Any = None) -> Tensor:
    """How many elements over dim (an int, a tuple, None for all) are not 0; int64."""
    a = input.array
    count = asarray((a != 0).sum(axis=normal_dims(dim, a.ndim), dtype=np.int64), a)
    return wrap(in_rows(count))


@method
def unique(
    input: Tensor,
    sorted: bool = True,
    return_inverse: bool = False,
    return_counts: bool = False,
    dim: int | None = None,
) -> Any:
    """The different values in ascending order, or with dim the different slices along it.

    With return_inverse also where each element is among them (input's shape, or that dimension's
    size), with return_counts also how often each occurs. Every nan counts as a different value.
    """
    a = input.array
    xp = xp_of(a)
    axis = None if dim is None else normal_dim(dim, a.ndim)
    kind = a.dtype
    if kind.kind == "V":  # bfloat16 has no sort that puts nan last
        a = a.astype(np.float32)
    result = xp.unique(
        a, return_inverse=return_inverse, return_counts=return_counts, axis=axis, equal_nan=False
    )
    if not (return_inverse or return_counts):
        return wrap(result.astype(kind, copy=False))
    parts = [wrap(result[0].astype(kind, copy=False)), *(wrap(part) for part in result[1:])]
    if return_inverse:
        parts[1] = wrap(parts[1].array.reshape(a.shape if axis is None else -1))
    return tuple(parts)


@method
def bincount(input: Tensor, weights: Tensor | None = None, minlength: int = 0) -> Tensor:
    """How often each integer 0, 1, 2, ... occurs in a 1-D tensor, or the sum of its weights.

    int64 counts of size max(input) + 1, or minlength if that is more; sums of weights in float64,
    or float32 if the weights are.
    Raises: RuntimeError unless input is 1-D and holds integers that are not negative.
    """
    a = input.array
    if a.dtype.kind not in "iu":
        raise RuntimeError(f"bincount only supports integers, got {input.dtype}: call .long()")
    if a.ndim != 1 or (a.size and int(a.min()) < 0):
        raise RuntimeError("bincount only supports 1-d non-negative integral inputs.")
    if minlength < 0:
        raise RuntimeError("minlength should be >= 0")
    if weights is None:
        return wrap(xp_of(a).bincount(a, minlength=minlength).astype(np.int64))
    w = weights.array
    if w.shape != a.shape:
        raise RuntimeError("weights should be 1-d and have the same length as input")
    total = xp_of(a).bincount(a, w.astype(np.float64), minlength=minlength)
    return wrap(total.astype(np.float32) if w.dtype == np.float32 else total)


@method
def isin(
    elements: Tensor, test_elements: Any, *, assume_unique: bool = False, invert: bool = False
) -> Tensor:
    """Whether each element is one of test_elements, or is not if `invert`; a bool tensor.

    assume_unique promises that no number is repeated on either side, which has no effect here.
    """
    a = elements.array
    xp = xp_of(a)
    if isinstance(test_elements, Tensor):
        tests = test_elements.array
    elif as_operand(test_elements) is NotImplemented:
        tests = xp.asarray(test_elements)
    else:
        a, tests = operands(elements, as_operand(test_elements))
    return wrap(asarray(xp.isin(a, tests, invert=invert), a))


@function
def searchsorted(
    sorted_sequence: Tensor,
    input: Any,
    *,
    out_int32: bool = False,
    right: bool = False,
    side: str | None = None,
) -> Tensor:
    """The position of each value in an ascending sequence: before equal ones, or after them.

    sorted_sequence is 1-D, or (..., n) with the same leading sizes as input (..., m). int64.
    Raises: RuntimeError if the leading sizes differ.
    """
    s = sorted_sequence.array
    xp = xp_of(s)
    v = input.array if isinstance(input, Tensor) else xp.asarray(input)
    side = "right" if right or side == "right" else "left"
    if s.ndim <= 1:
        positions = _positions(s, v, side)
    else:
        if v.ndim != s.ndim or v.shape[:-1] != s.shape[:-1]:
            raise RuntimeError(
                "torch.searchsorted(): boundaries tensor should be 1 dimension or the first N-1 "
                f"dimensions of boundaries tensor and input value tensor must match, but we got "
                f"boundaries tensor {list(s.shape)} and input value tensor {list(v.shape)}"
            )
        positions = xp.empty(v.shape, np.int64)
        for i in np.ndindex(*s.shape[:-1]):
            positions[i] = _positions(s[i], v[i], side)
    return wrap(positions.astype(np.int32 if out_int32 else np.int64))


def _positions(s: Any, v: Any, side: str) -> Any:
    """searchsorted of one sequence s (n). Behind and for NaN it goes right, as in PyTorch."""
    xp = xp_of(s)
    v = asarray(v, s)
    if not any(x.dtype.kind in "fV" and bool(xp.isnan(x).any()) for x in (s, v)):
        return asarray(xp.searchsorted(s, v, side), s)
    low = xp.zeros(v.shape, np.int64)
    high = xp.full(v.shape, s.size, np.int64)
    while (low < high).any():
        middle = (low + high) // 2
        there = s[xp.minimum(middle, s.size - 1)]
        right = ~((there >= v) if side == "left" else (there > v)) & (low < high)
        low, high = xp.where(right, middle + 1, low), xp.where(right | (low >= high), high, middle)
    return low


@function
def bucketize(
    input: Any, boundaries: Tensor, *, out_int32: bool = False, right: bool = False
) -> Tensor:
    """The number of the interval between ascending boundaries in which each value lies."""
    return searchsorted(boundaries, input, out_int32=out_int32, right=right)


@method
def histc(input: Tensor, bins: int = 100, min: float = 0, max: float = 0) -> Tensor:
    """How many numbers lie in each of `bins` equal intervals from min to max: (bins).

    min = max = 0: from the least to the greatest number. Numbers outside are not counted.
    Raises: RuntimeError for integers, for bins < 1, for min > max and for bounds that are infinite.
    """
    a = to_numpy(input.array).reshape(-1)
    if a.dtype.kind in "iub":
        raise RuntimeError(f"\"histogram_cpu\" not implemented for '{dtypes.title(input.dtype)}'")
    if bins < 1:
        raise RuntimeError(f"torch.histogram(): bins must be > 0, but got {bins}")
    low, high = _bounds(a, float(min), float(max), 1.0)
    counts = np.zeros(int(bins), np.int64)
    inside = a[(a >= low) & (a <= high)]
    place = ((inside - low) * bins / (high - low)).astype(np.int64)
    np.add.at(counts, np.minimum(place, bins - 1), 1)
    return wrap(asarray(counts.astype(input.array.dtype), input.array))


def _bounds(a: np.ndarray, low: float, high: float, margin: float) -> tuple[Any, Any]:
    """The ends of a histogram, in the numbers' dtype; margin on either side of a single number."""
    if low == high and a.size:
        low, high = float(a.min()), float(a.max())
    if not (math.isfinite(low) and math.isfinite(high)):
        raise RuntimeError(f"histogram: range of [{low:g}, {high:g}] is not finite")
    if low > high:
        raise RuntimeError(f"torch.histogram(): max must be larger than min: {low:g}, {high:g}")
    if low == high:
        low, high = low - margin, high + margin
    return a.dtype.type(low), a.dtype.type(high)


class Histogram(NamedTuple):
    """What histogram returns."""

    hist: Tensor
    bin_edges: Tensor

    def __repr__(self) -> str:
        return f"torch.return_types.histogram(\nhist={self.hist!r},\nbin_edges={self.bin_edges!r})"


@method
def histogram(
    input: Tensor, bins: Any, *, range: Any = None, weight: Tensor | None = None,
    density: bool = False,
) -> Any:  # fmt: skip
    """(hist, bin_edges): what lies in each interval, the last one with both ends.

    bins: how many equal intervals, from the least to the greatest number or over range=(low, high);
    or the edges, a tensor. weight: what each number counts, 1 unless given. density: hist is
    divided by its sum and by the widths.
    Raises: RuntimeError for integers, bins < 1 and a weight of another shape.
    """
    a = to_numpy(input.array).reshape(-1)
    if a.dtype.kind in "iub":
        raise RuntimeError(f"\"histogram_cpu\" not implemented for '{dtypes.title(input.dtype)}'")
    if isinstance(bins, Tensor):
        edges = to_numpy(bins.array)
    else:
        if bins < 1:
            raise RuntimeError(f"torch.histogram(): bins must be > 0, but got {bins}")
        ends = (0.0, 0.0) if range is None else range
        low, high = _bounds(a, float(ends[0]), float(ends[1]), 0.5)
        edges = linspace(low.item(), high.item(), int(bins) + 1, dtype=input.dtype).array
    if weight is not None and weight.array.shape != input.array.shape:
        raise RuntimeError(
            "torch.histogram(): if weight tensor is provided it should have the same shape as the "
            f"input: {list(weight.shape)} and {list(input.shape)}"
        )
    each = np.ones(a.shape, a.dtype) if weight is None else to_numpy(weight.array).reshape(-1)
    inside = (a >= edges[0]) & (a <= edges[-1])
    place = np.searchsorted(edges, a[inside], side="right") - 1
    hist = np.zeros(len(edges) - 1, a.dtype)
    np.add.at(hist, np.minimum(place, len(hist) - 1), each[inside])
    if density:
        hist = hist / (hist.sum() * np.diff(edges)).astype(a.dtype)
    return Histogram(wrap(asarray(hist, input.array)), wrap(asarray(edges, input.array)))
