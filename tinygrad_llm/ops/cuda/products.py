"""Matrix products straight to cuBLAS: transposed views are not copied, the precision is chosen."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np

from ...arrays.capture import capturing
from ...arrays.devices import settings
from ..linear import Linear
from ..matmul import Matmul
from ..matmul import rows as as_rows
from . import launch
from .captured_cublas import captured_cublas
from .elementwise import cast
from .launch import BF16, FLOAT32, SHORT, Twin, contiguous, dense, empty, kernel
from .rows import sum_rows, takes_rows

CUDA_TYPE = {FLOAT32: 0, np.dtype(np.float64): 1, np.dtype(np.float16): 2}  # as cuBLAS counts
if BF16 is not None:
    CUDA_TYPE[BF16] = 14
FLOAT, FLOAT_TF32, DOUBLE = 68, 77, 70  # cuBLAS's compute types
NUMBERS = {(t, v): np.array(v, t) for t in ("float32", "float64") for v in (0.0, 1.0)}


def compute_type(dtype: Any) -> tuple[int, str]:
    """How a product of the dtype is computed, and the type of its factors alpha and beta."""
    if dtype == np.float64:
        return DOUBLE, "float64"
    return FLOAT_TF32 if dtype == np.float32 and settings.tf32 else FLOAT, "float32"


def side(x: Any) -> tuple[Any, int, int]:
    """A matrix as cuBLAS reads it: (array, 1 if transposed, step from row to row)."""
    size = x.itemsize
    down, along = x.strides[-2] // size, x.strides[-1] // size
    if along == 1 and down >= x.shape[-1]:
        return x, 0, down
    if down == 1 and along >= x.shape[-2]:
        return x, 1, along
    x = contiguous(x)
    return x, 0, x.shape[-1]


def product(a: Any, b: Any, out: Any = None, add: bool = False) -> Any:
    """a (N, K) times b (K, M) into out (N, M), or added to it; also for a batch in front.

    Half precision is added up in float32; float32 is computed in TF32 if the user asked for it.
    out may be float32 where a and b are bfloat16.
    """
    if out is None:
        out = empty((*a.shape[:-1], b.shape[-1]), a.dtype)
    n, m, k = a.shape[-2], b.shape[-1], a.shape[-1]
    if not out.size:
        return out
    if not k:
        if not add:
            out[...] = 0
        return out
    a, turn_a, step_a = side(a)
    b, turn_b, step_b = side(b)
    compute, factor = compute_type(a.dtype)
    one, beta = NUMBERS[factor, 1.0].ctypes.data, NUMBERS[factor, float(add)].ctypes.data
    types = CUDA_TYPE[a.dtype], CUDA_TYPE[b.dtype], CUDA_TYPE[out.dtype]
    if capturing.graph is None:
        handle, library = launch.xp.cuda.get_cublas_handle(), _cublas()
    else:
        handle, library = captured_cublas()
    # cuBLAS counts columns first: it is asked for outᵀ = bᵀ·aᵀ
    if a.ndim == 2:
        library.gemmEx(
            handle, turn_b, turn_a, m, n, k, one, b.data.ptr, types[1], step_b,
            a.data.ptr, types[0], step_a, beta, out.data.ptr, types[2], m, compute, -1,
        )  # fmt: skip
    else:
        jumps = [x.strides[0] // x.itemsize for x in (a, b, out)]
        library.gemmStridedBatchedEx(
            handle, turn_b, turn_a, m, n, k, one, b.data.ptr, types[1], step_b, jumps[1],
            a.data.ptr, types[0], step_a, jumps[0], beta, out.data.ptr, types[2], m, jumps[2],
            len(a), compute, -1,
        )  # fmt: skip
    return out


@functools.lru_cache(maxsize=1)
def _cublas() -> Any:
    """CuPy's binding of cuBLAS."""
    from cupy_backends.cuda.libs import cublas

    return cublas


def same_kind(*arrays: Any) -> bool:
    """Whether cuBLAS multiplies them: all of one floating dtype."""
    kind = arrays[0].dtype
    return kind in CUDA_TYPE and all(a is None or a.dtype == kind for a in arrays)


def affine(x: Any, w: Any, b: Any, out: Any = None) -> Any:
    """x (N, I) times wᵀ plus b, if there is one: y begins as b in every row, and x·wᵀ is added."""
    if b is None:
        return product(x, w.T, out)
    n, c = len(x), len(w)
    y = empty((n, c), x.dtype) if out is None else out
    if c % 4 == 0 and y.dtype in SHORT and b.dtype in SHORT and dense(y, b):
        call = kernel("elementwise", f"fill_{SHORT[y.dtype]}_{SHORT[b.dtype]}")
        call((-(-c // 1024), -(-n // 16)), (256,), (y, b, n, c))
    else:
        y[...] = b
    return product(x, w.T, y, add=True)


class CudaLinear(Twin, Linear):
    @classmethod
    def takes(cls, x, w, b=None):
        return same_kind(x, w, b) and w.ndim == 2 and x.size > 0

    def forward_fast(self, x, w, b=None):
        self.saved = x, w
        y = affine(as_rows(x), w, b)  # (..., I) -> (N, O)
        return y.reshape(*x.shape[:-1], len(w))  # (N, O) -> (..., O)

    def backward_fast(self, g):
        x, w = self.saved
        rows = as_rows(g)  # (..., O) -> (N, O)
        gx = gw = gb = None
        if self.needs[0]:
            gx = product(rows, w).reshape(x.shape)  # (N, I) -> (..., I)
        if self.needs[1]:
            gw = product(rows.T, as_rows(x))  # (O, I)
        if len(self.needs) > 2 and self.needs[2]:
            gb = sum_rows(rows) if takes_rows(rows) else rows.sum(0).astype(g.dtype)
        return gx, gw, gb


class CudaMixedLinear(Linear):
    """Linear within autocast: x and W are brought to bfloat16 here, and y is bfloat16.

    The gradients of float32 inputs leave the matrix product as float32, so that W's is not rounded
    to bfloat16 on its way. Saves x and W in bfloat16.
    """

    def forward(self, x, w, b=None):
        self.kinds = x.dtype, w.dtype
        x, w = (a if a.dtype == BF16 else narrowed(a) for a in (x, w))
        self.saved = x, w
        y = affine(as_rows(x), w, b)  # (..., I) -> (N, O)
        return y.reshape(*x.shape[:-1], len(w))  # (N, O) -> (..., O)

    def backward(self, g):
        x, w = self.saved
        rows = as_rows(g)  # (..., O) -> (N, O)
        gx = gw = gb = None
        if self.needs[0]:
            gx = empty((len(rows), w.shape[1]), self.kinds[0])
            gx = product(rows, w, gx).reshape(x.shape)  # (N, I) -> (..., I)
        if self.needs[1]:
            gw = product(rows.T, as_rows(x), empty(w.shape, self.kinds[1]))  # (O, I)
        if len(self.needs) > 2 and self.needs[2]:
            gb = sum_rows(contiguous(rows), FLOAT32)
        return gx, gw, gb


def narrowed(x: Any) -> Any:
    """A float32 array as bfloat16."""
    return cast(x if dense(x) else contiguous(x), BF16)


def takes_mixed_linear(x: Any, w: Any, b: Any) -> bool:
    """Whether CudaMixedLinear serves: a weight matrix, all float32, x perhaps bfloat16."""
    return (
        x.dtype in SHORT and w.dtype == FLOAT32 and (b is None or b.dtype == FLOAT32)
        and w.ndim == 2 and x.ndim > 0 and x.size > 0 and w.size > 0 and x.shape[-1] == w.shape[1]
        and (b is None or b.shape == w.shape[:1])
    )  # fmt: skip


class CudaMatmul(Twin, Matmul):
    @classmethod
    def takes(cls, a, b):
        one = b.ndim == 2 <= a.ndim
        return same_kind(a, b) and a.size > 0 and (one or a.shape[:-2] == b.shape[:-2])

    def forward_fast(self, a, b):
        self.saved = a if self.needs[1] else None, b if self.needs[0] else None
        self.one_product = b.ndim == 2
        if self.one_product:
            return product(as_rows(a), b).reshape(a.shape[:-1] + b.shape[-1:])  # (..., N, M)
        return product(batch(a), batch(b)).reshape(*a.shape[:-1], b.shape[-1])

    def backward_fast(self, g):
        a, b = self.saved
        ga = gb = None
        if self.needs[0]:
            if self.one_product:
                ga = product(as_rows(g), b.T).reshape(*g.shape[:-1], len(b))  # (..., N, K)
            else:
                ga = product(batch(g), batch(b).swapaxes(-1, -2))
                ga = ga.reshape(*g.shape[:-1], b.shape[-2])
        if self.needs[1]:
            if self.one_product:
                gb = product(as_rows(a).T, as_rows(g))
            else:
                gb = product(batch(a).swapaxes(-1, -2), batch(g))
                gb = gb.reshape(*a.shape[:-2], a.shape[-1], g.shape[-1])
        return ga, gb


def batch(x: Any) -> Any:
    """All leading dimensions as one: (..., N, K) -> (B, N, K)."""
    return x.reshape(math.prod(x.shape[:-2]), *x.shape[-2:])
