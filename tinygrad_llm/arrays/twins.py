"""Faster twins: the registry of faster code that may replace the plain code.

The ops and the functions of this package in their NumPy form are the definition. A folder of faster
code fills the slots of a `GpuTwins` (ops/cuda: kernels for a GPU) or of a `CpuTwins` (ops/loops:
compiled loops for NumPy's arrays). The engine and the functions look into `twins.gpu`, and ask
`cpu_twins(array)` for a large array on the CPU. Deleting such a folder changes speed only.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

__all__ = [
    "CpuTwins",
    "GpuTwins",
    "cpu_op",
    "cpu_twins",
    "large",
    "switch",
    "twins",
    "without_loops",
]


class GpuTwins:
    """What ops/cuda offers. A `takes_...` returns whether the kernel serves the given arrays."""

    ops: dict[type, type]  # an op's class -> the subclass that runs on a GPU
    narrow: Callable[[type, Sequence[Any], dict[str, Any]], bool]  # takes bfloat16 as it is
    mixed_sum: Callable[[type, Any, Any], bool]  # adds float32 and bfloat16 as they are
    takes_mixed_linear: Callable[[Any, Any, Any], bool]
    mixed_linear: Callable[..., Any]  # x (float32), w, b -> bfloat16, without a cast between
    takes_mixed_feed_forward: Callable[..., bool]
    mixed_feed_forward: Callable[..., Any]  # x, w, b, v, c -> bfloat16, GELU by tanh
    rounded_norms: dict[str, Any]  # layer_norm, rms_norm: ops x (float32) -> y (bfloat16)
    add_into: Callable[[Any, Any], bool]  # total += g, if it takes these arrays
    takes_rows: Callable[[Any], bool]
    sum_rows: Callable[[Any], Any]  # (N, C) -> (C)
    takes_scatter: Callable[[Any, Any, Any], bool]
    scatter_add_rows: Callable[[Any, Any, Any], None]  # out[ids[i]] += rows[i]
    keep_mask: Callable[[tuple[int, ...], float, Callable[[], int]], Any]  # dropout's mask
    drawn_later: Callable[[tuple[int, ...], float, Callable[[], int]], Any]  # in a kernel
    takes_adam: Callable[..., bool]
    adam: Callable[..., None]
    takes_norm: Callable[[Sequence[Any]], bool]
    gradient_norm: Callable[[Sequence[Any]], Any]
    clip_by_norm: Callable[[Sequence[Any], Any, float], None]
    ready_to_capture: Callable[[Any], None]  # before a CUDA graph is captured on a stream

    def __init__(self, **slots: Any) -> None:
        """Fill every slot by name.

        Raises: TypeError if one is missing or unknown.
        """
        if slots.keys() != GpuTwins.__annotations__.keys():
            wrong = sorted(slots.keys() ^ GpuTwins.__annotations__.keys())
            raise TypeError(f"GpuTwins: missing or unknown slots: {', '.join(wrong)}")
        self.__dict__.update(slots)


class CpuTwins:
    """What ops/loops offers for NumPy's arrays. A slot that is None is not served.

    A `takes_...` returns whether the loop serves the given arrays: float32 or float64 in row order.
    """

    ops: dict[type, Any]  # an op's class -> the subclass with compiled loops, with its `takes`
    takes_scatter: Callable[[Any, Any, Any], bool] | None = None
    scatter_add_rows: Callable[[Any, Any, Any], None] | None = None  # out[ids[i]] += rows[i]
    takes_update: Callable[..., bool] | None = None  # an optimizer's: p, g and its state's arrays
    # p, g, the state's arrays (None for one that is not kept), and the numbers of one step
    adam: Callable[..., None] | None = None
    sgd: Callable[..., None] | None = None
    rmsprop: Callable[..., None] | None = None
    adagrad: Callable[..., None] | None = None
    square_sum: Callable[[Any], float] | None = None  # Σ x² of an array that takes_update takes
    scale: Callable[[Any, float], None] | None = None  # x ← x·factor, in place, for such an array
    takes_copy: Callable[[Any], bool] | None = None
    copied: Callable[[Any], Any] | None = None  # a copy in row order
    joined: Callable[[Any, int], Any] | None = None  # (pieces, dim); None if it does not take them
    add_into: Callable[[Any, Any], bool] | None = None  # total += g; False if it does not take them
    takes_few_rows: Callable[[Any, Any], bool] | None = None  # x (R, C), W (N, C) or in bfloat16
    few_rows_product: Callable[[Any, Any], Any] | None = None  # x·Wᵀ for them
    decoder: Any = None  # runs arrays.stages: a decoder for a few new tokens
    packed_product: Callable[..., Any] | None = None  # (x, stages.Weights) -> x·Wᵀ for few rows
    packed_tile: Callable[..., Any] | None = None  # (stages.Weights, first group, groups) -> floats
    draws: Callable[[Any, Any], bool] | None = None  # (RandomState, out): whether it filled out
    normals: Callable[[Any, Any], None] | None = None  # (draws, out): normal numbers
    uniforms: Callable[[Any, Any], None] | None = None  # (draws, out): in [0, 1)
    coins: Callable[[Any, int, Any], None] | None = None  # (pairs of draws, below, out): a mask

    def __init__(self, ops: dict[type, Any], **slots: Any) -> None:
        """Fill slots by name.

        Raises: TypeError if one is unknown.
        """
        wrong = sorted(slots.keys() - CpuTwins.__annotations__.keys())
        if wrong:
            raise TypeError(f"CpuTwins: unknown slots: {', '.join(wrong)}")
        self.__dict__.update(slots, ops=ops)


class _Installed:
    gpu: GpuTwins | None = None  # None until a GPU is used, or if it is too old
    cpu: CpuTwins | None = None  # None until a large array is used, or without Numba
    # fills `cpu`, or returns why it cannot; set from above, None where there are no loops
    load_cpu: Callable[[], str | None] | None = None


twins = _Installed()

# -------------------------------------------------------------------- compiled loops on the CPU
LEAST = 1 << 15  # numbers in an op's first input; few, and starting Numba costs more than it saves
NEVER = sys.maxsize


class large:
    """From which size on an array on the CPU gets a compiled loop."""

    least = NEVER if os.environ.get("TINYGRAD_LLM_LOOPS", "") == "0" else LEAST
    missing: str | None = None  # why there are no loops, once they were asked for


def switch(on: bool, least: int = LEAST) -> None:
    """Turn the compiled loops on, for arrays of `least` numbers and more, or off."""
    large.least = least if on and large.missing is None else NEVER


@contextmanager
def without_loops() -> Iterator[None]:
    """Within it the definitions in NumPy run, for those who show or measure what these do."""
    before, large.least = large.least, NEVER
    try:
        yield
    finally:
        large.least = before


def cpu_twins(array: Any) -> CpuTwins | None:
    """The compiled loops, for a large NumPy array; None for others, and where there are no loops.

    The first call for a large array loads them.
    """
    if type(array) is not np.ndarray or array.size < large.least:
        return None
    if twins.cpu is None:
        large.missing = "the folder ops/loops is not there"
        if twins.load_cpu is not None:
            large.missing = twins.load_cpu()
        if twins.cpu is None:
            large.least = NEVER
    return twins.cpu


def decisive(cls: Any, arrays: Sequence[Any]) -> Any:
    """The input whose size decides whether an op gets a loop: the first, or of two that broadcast
    the second, where that is larger, as in scale * x.
    """
    if cls.broadcasts and len(arrays) == 2 and type(arrays[1]) is np.ndarray:
        if getattr(arrays[0], "size", 1) < arrays[1].size:
            return arrays[1]
    return arrays[0] if arrays else None


def cpu_op(cls: type, arrays: Sequence[Any], options: dict[str, Any]) -> Any:
    """A new op for inputs on the CPU: the twin if one of them is large enough and it takes them."""
    cpu = cpu_twins(decisive(cls, arrays))
    twin = None if cpu is None else cpu.ops.get(cls)
    if twin is None:
        return cls()
    try:
        takes = twin.takes(*arrays, **options)
    except (AttributeError, TypeError):  # wrong arguments: the op itself explains them
        takes = False
    return twin() if takes else cls()
