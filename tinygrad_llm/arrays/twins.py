"""Faster twins: the registry of faster code that may replace the plain code.

The ops and the functions of this package in their NumPy form are the definition. A folder of faster
code (ops/cuda: kernels for a GPU) fills the slots of a `GpuTwins` when it is installed, and the
engine and the functions look into `twins.gpu`. Deleting such a folder changes speed only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

__all__ = ["GpuTwins", "twins"]


class GpuTwins:
    """What ops/cuda offers. A `takes_...` returns whether the kernel serves the given arrays."""

    ops: dict[type, type]  # an op's class -> the subclass that runs on a GPU
    narrow: Callable[[type, Sequence[Any], dict[str, Any]], bool]  # takes bfloat16 as it is
    mixed_sum: Callable[[type, Any, Any], bool]  # adds float32 and bfloat16 as they are
    takes_mixed_linear: Callable[[Any, Any, Any], bool]
    mixed_linear: Callable[..., Any]  # x (float32), w, b -> bfloat16, without a cast between
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


class _Installed:
    gpu: GpuTwins | None = None  # None until a GPU is used, or if it is too old


twins = _Installed()
