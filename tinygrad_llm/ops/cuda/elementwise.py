"""Element by element: casts, sums, GELU, dropout's mask; and pieces of an array joined again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ...arrays.capture import capturing
from ..activation import Gelu
from ..arithmetic import Add
from ..convert import Cast
from ..shape import Split
from . import launch
from .launch import FLOAT32, SHORT, Twin, contiguous, dense, each_four, empty, kernel, null


def cast(x: Any, dtype: Any) -> Any:
    """x in the other of float32 and bfloat16."""
    y = empty(x.shape, dtype)
    each_four(f"cast_{SHORT[x.dtype]}_{SHORT[y.dtype]}", x.size, x, y, x.size)
    return y


def scaled(x: Any, s: Any, dtype: Any) -> Any:
    """x times s, a float32 number on the GPU, in dtype."""
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


class CudaCast(Twin, Cast):
    @classmethod
    def takes(cls, x, dtype):
        return x.dtype in SHORT and dtype in SHORT and x.dtype != dtype and dense(x)

    def forward_fast(self, x, dtype):
        self.dtype = x.dtype
        return cast(x, dtype)

    def backward_fast(self, g):
        return cast(g, self.dtype) if self.takes(g, self.dtype) else g.astype(self.dtype)


class CudaGelu(Twin, Gelu):
    @classmethod
    def takes(cls, x, approximate="none"):
        return dense(x)

    def forward_fast(self, x, approximate="none"):
        """Saves x, which the layer before has anyway, instead of the slope."""
        self.name_of_kernel = f"{approximate}_{SHORT[x.dtype]}"
        self.saved = (x,) if self.needs[0] else ()
        y = empty(x.shape, x.dtype)
        each_four(f"gelu_{self.name_of_kernel}", x.size, x, y, x.size)
        return y

    def backward_fast(self, g):
        (x,) = self.saved
        g, gx = contiguous(g), empty(x.shape, x.dtype)
        each_four(f"gelu_back_{self.name_of_kernel}", x.size, x, g, gx, x.size)
        return gx


class CudaSplit(Twin, Split):
    """Gradients of the pieces that lie one behind the other already are not copied."""

    def forward_fast(self, x, sizes, dim):
        return Split.forward(self, x, sizes, dim)

    def backward_fast(self, gs):
        whole = joined(gs, self.dim) if isinstance(gs, tuple) else None
        return Split.backward(self, gs) if whole is None else whole


def joined(pieces: tuple, dim: int) -> Any:
    """One view of pieces that lie one behind the other along dim in one memory, or None."""
    first = pieces[0]
    if first is None or first.base is None:
        return None
    at, size = first.data.ptr, 0
    for p in pieces:
        if p is None or p.base is not first.base or p.strides != first.strides or p.data.ptr != at:
            return None
        size += p.shape[dim]
        at += p.shape[dim] * p.strides[dim]
    shape = first.shape[:dim] + (size,) + first.shape[dim + 1 :]
    return launch.xp.ndarray(shape, first.dtype, first.data, first.strides)


def keep_mask(shape: tuple[int, ...], p: float, draw_seed: Callable[[], int]) -> Any:
    """Booleans, True with probability p, from Philox's stream of a seed.

    A CUDA graph draws a seed for each replay.
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
