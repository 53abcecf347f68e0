"""Around a generator: permutations, bounds of integers, cumulative sums, order in memory."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np

from ..arrays.allocator import keep_memory

__all__ = [
    "check_weights",
    "cumulative",
    "digits",
    "in_memory_order",
    "memory_order",
    "representable",
    "shuffled",
    "shuffled_few",
]


def digits(dtype: np.dtype) -> int:
    """Bits of the mantissa of a floating-point dtype, the hidden one included."""
    return {"float64": 53, "float32": 24, "float16": 11}.get(dtype.name, 8)


@lru_cache(1024)
def representable(low: int, high: int | None, dtype: np.dtype) -> tuple[int, int]:
    """The bounds [low, high) of random integers of a dtype.

    For floats they are moved inwards until no integer between them is rounded to one outside. high
    None: the largest integer up to which the dtype holds all, plus one.
    Raises: RuntimeError unless low < high and both fit the dtype.
    """
    if high is not None and low >= high:
        raise RuntimeError(
            f"random_ expects 'from' to be less than 'to', but got from={low} >= to={high}"
        )
    if dtype.kind in "biu":
        least, most = (0, 1) if dtype.kind == "b" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
        end = int(most) + 1 if high is None else high
    else:
        most = {"float16": 65504}.get(dtype.name, 1 << 63)
        least = -most
        bits = digits(dtype)
        end = (1 << bits) + 1 if high is None else high
        if high is not None and int(dtype.type(high - 1)) >= high:
            end = int(dtype.type(high - 1)) - (1 << (abs(high - 1).bit_length() - bits))
        if int(dtype.type(low + 1)) < low:
            low = int(dtype.type(low + 1)) + (1 << (abs(low + 1).bit_length() - bits))
        if low >= end:
            raise RuntimeError(
                "random_ expects 'from' casted to dtype to be less than 'to' casted to dtype, "
                f"but got from={low} >= to={end}"
            )
    for name, value in (("from", low), ("to - 1", end - 1)):
        if not least <= value <= most:
            raise RuntimeError(f"{name} is out of bounds for {dtype.name}: got {value}")
    return low, end


def shuffled(partner: np.ndarray) -> np.ndarray:
    """The order of 0, ..., n − 1 after i = 0, 1, ..., n − 2 changed places with partner[i] >= i.

    The result at i is the number that was at a = partner[i] just before step i: the number a,
    unless an earlier step k had the same partner and left there the number that was at k just
    before step k. That number is k, unless an earlier step had k as its partner, and so on. The
    chains are short: all of them are followed together, one link at a time, and those that have
    ended are left out.
    """
    n = len(partner) + 1
    if n > 1 << 15:
        keep_memory()
    order = partner << 32
    order |= np.arange(n - 1)
    order.sort()  # by partner, then by step
    step = order & 0xFFFFFFFF
    a = order >> 32
    same = a[1:] == a[:-1]

    # the number at k just before step k came from step source[k], or is k if source[k] = k
    last = np.flatnonzero(np.append(~same, True))  # the last step with its partner
    place, came_from = a[last], step[last]
    at_itself = np.flatnonzero(place == came_from)  # changes nothing: the step before it counts
    i = last[at_itself]
    second = (i > 0) & (a[i - 1] == a[i])
    came_from[at_itself[second]] = step[i[second] - 1]
    source = np.arange(n)
    source[place] = came_from

    earlier = np.flatnonzero(same)
    origin = np.append(step[earlier], n - 1)
    going, here = np.arange(len(origin)), origin
    while going.size:
        further = source.take(here)
        moved = np.flatnonzero(further != here)
        going, here = going.take(moved), further.take(moved)
        origin[going] = here
    result = np.append(partner, n - 1)
    result[np.append(step[earlier + 1], n - 1)] = origin
    return result


def shuffled_few(draws: np.ndarray) -> np.ndarray:
    """`shuffled` for partner[i] = i + draws[i] mod (n − i), draws in uint64, one after another."""
    n = len(draws) + 1
    counts, steps, numbers = _counts(n)
    draws %= counts
    draws += steps
    order = numbers.copy()
    for i, j in enumerate(draws.tolist()):
        order[i], order[j] = order[j], order[i]
    return np.fromiter(order, np.int64, n)


@lru_cache(64)
def _counts(n: int) -> tuple[np.ndarray, np.ndarray, list[int]]:
    """n − i and i for the steps i of a permutation, and the n numbers. Not to be changed."""
    steps = np.arange(n - 1, dtype=np.uint64)
    return np.uint64(n) - steps, steps, list(range(n))


def in_memory_order(draw: Callable[..., Any], like: Any, *others: Any) -> Any:
    """draw(shape, *others) for an array like `like`, in the order of its memory.

    The result has the shape of `like`; if `like` was transposed, so is the result. others: arrays
    that broadcast to that shape; they are transposed in the same way and passed to draw.
    """
    if like.flags.c_contiguous:
        return draw(like.shape, *others)
    axes = memory_order(like.shape, like.strides)
    others = tuple(np.broadcast_to(other, like.shape).transpose(axes) for other in others)
    values = draw(tuple(like.shape[axis] for axis in axes), *others)
    return values.transpose(np.argsort(axes))


def memory_order(shape: tuple[int, ...], strides: tuple[int, ...]) -> list[int]:
    """The axes from the slowest to the fastest in memory; axes with stride 0 keep their place."""
    order: list[int] = []  # from the fastest on, as PyTorch sorts them
    for axis in reversed(range(len(shape))):
        place = len(order)
        for i in reversed(range(len(order))):
            own, other = abs(strides[axis]), abs(strides[order[i]])
            if not own or not other or shape[axis] == 1 or shape[order[i]] == 1:
                continue
            if other > own or (other == own and shape[order[i]] > shape[axis]):
                place = i
            else:
                break
        order.insert(place, axis)
    return order[::-1]


def check_weights(weights: np.ndarray) -> None:
    """Check that weights are finite, none is negative, and no row (along the last axis) is 0.

    Raises: RuntimeError if not.
    """
    if weights.ndim == 1 and 0 < weights.size <= 64:
        numbers = weights.tolist()  # a list is faster than four arrays
        if min(numbers) >= 0.0 and 0.0 < sum(numbers) < math.inf:
            return
    if not bool(((weights >= 0) & (weights < math.inf)).all()):
        raise RuntimeError("probability tensor contains either `inf`, `nan` or element < 0")
    if weights.size and not bool(weights.any(-1).all()):
        raise RuntimeError("invalid multinomial distribution (sum of probabilities <= 0)")


def cumulative(weights: np.ndarray) -> np.ndarray:
    """The running sums of each row of weights over its total: (B, V) -> (B, V), the last is 1.

    float64 for float64, else float32.
    Raises: RuntimeError if a weight is negative, infinite or NaN, or a row is all zeros.
    """
    if bool((weights < 0).any()):
        raise RuntimeError("invalid multinomial distribution (encountering probability entry < 0)")
    if not bool(np.isfinite(weights).all()):
        raise RuntimeError(
            "invalid multinomial distribution (encountering probability entry = infinity or NaN)"
        )
    kind = np.float64 if weights.dtype == np.float64 else np.float32
    sums = np.cumsum(weights, -1, dtype=kind)
    if not bool((sums[:, -1] > 0).all()):
        raise RuntimeError("invalid multinomial distribution (sum of probabilities <= 0)")
    sums /= sums[:, -1:].copy()
    sums[:, -1] = 1.0
    return sums
