"""Element by element: casts, sums, GELU, dropout's mask."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ...arrays.capture import capturing
from ..activation import Gelu
from ..arithmetic import Add
from ..convert import Cast
from .launch import FLOAT32, SHORT, Twin, contiguous, dense, each_four, empty, float32, kernel, null


def cast(x: Any, dtype: Any) -> Any:
    """x as float32 or bfloat16, from the other of the two."""
    y = empty(x.shape, dtype)
    each_four(f"cast_{SHORT[x.dtype]}_{SHORT[y.dtype]}", x.size, x, y, x.size)
    return y


def scaled(x: Any, s: Any, dtype: Any) -> Any:
    """x·s in dtype, s a float32 number on the GPU."""
    y = empty(x.shape, dtype)
    name = f"scale_{SHORT[x.dtype]}_{SHORT[y.dtype]}"
    each_four(name, x.size, x, y, s, x.size)
    return y


class CudaAdd(Twin, Add):
    """Also a sum of float32 and bfloat16 in one pass: z is float32."""

    @classmethod
    def takes(cls, x, y):
        return (
            hasattr(x, "strides") and hasattr(y, "strides") and x.shape == y.shape
            and x.dtype in SHORT and y.dtype in SHORT and dense(x, y)
        )  # fmt: skip

    def forward_fast(self, x, y):
        self.dtypes = x.dtype, y.dtype
        if x.dtype != y.dtype and x.dtype != FLOAT32:
            x, y = y, x
        z = empty(x.shape, x.dtype)
        name = f"add_{SHORT[x.dtype]}_{SHORT[y.dtype]}"
        each_four(name, x.size, x, y, z, x.size)
        return z

    def backward_fast(self, g):
        return tuple(g if g.dtype == t else cast(contiguous(g), t)
                     for t in self.dtypes)  # fmt: skip


def add_into(total: Any, g: Any) -> bool:
    """total += g for float32 arrays of one shape; whether it was done."""
    if total.shape != g.shape or not float32(total, g):
        return False
    each_four("add_f32_f32", total.size, total, g, total, total.size)
    return True


class CudaCast(Twin, Cast):
    @classmethod
    def takes(cls, x, dtype):
        return x.dtype in SHORT and dtype in SHORT and x.dtype != dtype and dense(x)

    def forward_fast(self, x, dtype):
        self.dtype = x.dtype
        return cast(x, dtype)

    def backward_fast(self, g):
        return cast(g, self.dtype) if self.takes(g, self.dtype) else g.astype(self.dtype)


def gelu(x: Any, approximate: str) -> Any:
    """gelu(x), of x in row order."""
    y = empty(x.shape, x.dtype)
    each_four(f"gelu_{approximate}_{SHORT[x.dtype]}", x.size, x, y, x.size)
    return y


def gelu_back(x: Any, g: Any, approximate: str) -> Any:
    """g·gelu′(x)."""
    gx = empty(x.shape, x.dtype)
    name = f"gelu_back_{approximate}_{SHORT[x.dtype]}"
    each_four(name, x.size, x, contiguous(g), gx, x.size)
    return gx


class CudaGelu(Twin, Gelu):
    """Saves x, which the layer before keeps anyway, instead of f′(x)."""

    @classmethod
    def takes(cls, x, approximate="none"):
        return dense(x)

    def forward_fast(self, x, approximate="none"):
        self.approximate = approximate
        self.saved = (x,) if self.needs[0] else ()
        return gelu(x, approximate)

    def backward_fast(self, g):
        (x,) = self.saved
        return gelu_back(x, g, self.approximate)


def keep_mask(shape: tuple[int, ...], p: float, draw_seed: Callable[[], int]) -> Any:
    """Booleans, True with probability p, from a seed's stream of Philox numbers.

    A CUDA graph draws a new seed for each replay.
    """
    keep = empty(shape, np.bool_)
    if keep.size:
        blocks = -(-keep.size // (8 * 256))
        live, seed = None, 0
        if capturing.graph is None:
            seed = draw_seed()
        else:
            live = capturing.graph.live("int64", 1, lambda: [draw_seed()])
        args = keep, keep.size, null(live), seed, float(p)
        kernel("elementwise", "keep_mask")((blocks,), (256,), args)
    return keep
