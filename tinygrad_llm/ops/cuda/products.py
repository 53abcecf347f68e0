"""Matrix products by cuBLAS, without copies of transposed views and in the precision chosen.

cuBLASLt adds a bias inside of the product; where it does not take the arrays, cuBLAS multiplies.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ...arrays.capture import capturing
from ...arrays.devices import settings
from ..linear import Linear
from ..matmul import Matmul
from ..matmul import rows as as_rows
from . import captured_cublas as captured
from . import epilogues, launch
from .epilogues import BIAS, SUM_B
from .launch import BF16, FLOAT32, SHORT, Twin, contiguous, dense, empty, kernel, null
from .rows import sum_rows, takes_rows

CUDA_TYPE = {FLOAT32: 0, np.dtype(np.float64): 1, np.dtype(np.float16): 2}  # in cuBLAS
if BF16 is not None:
    CUDA_TYPE[BF16] = 14
FLOAT, FLOAT_TF32, DOUBLE = 68, 77, 70  # cuBLAS's compute types
SUMS_IN_PRODUCT = False  # whether the product for ∂L/∂W also adds up ∂L/∂b
NUMBERS = {(t, v): np.array(v, t) for t in ("float32", "float64") for v in (0.0, 1.0)}


def compute_type(dtype: Any) -> tuple[int, str]:
    """(cuBLAS's compute type for products of the dtype, the type of its factors alpha and beta)."""
    if dtype == np.float64:
        return DOUBLE, "float64"
    return FLOAT_TF32 if dtype == np.float32 and settings.tf32 else FLOAT, "float32"


def side(x: Any) -> tuple[Any, int, int]:
    """A matrix as cuBLAS reads it: (array, 1 if transposed, stride from row to row)."""
    size = x.itemsize
    down, along = x.strides[-2] // size, x.strides[-1] // size
    if along == 1 and down >= x.shape[-1]:
        return x, 0, down
    if down == 1 and along >= x.shape[-2]:
        return x, 1, along
    x = contiguous(x)
    return x, 0, x.shape[-1]


def product(a: Any, b: Any, out: Any = None, add: bool = False) -> Any:
    """out = a·b, or out += a·b if `add`: (N, K), (K, M) -> (N, M), or all with a batch in front.

    Half precision is added up in float32; float32 is computed in TF32 if the user chose that.
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
    a, flip_a, stride_a = side(a)
    b, flip_b, stride_b = side(b)
    compute, factor = compute_type(a.dtype)
    one, beta = NUMBERS[factor, 1.0].ctypes.data, NUMBERS[factor, float(add)].ctypes.data
    types = CUDA_TYPE[a.dtype], CUDA_TYPE[b.dtype], CUDA_TYPE[out.dtype]
    if capturing.graph is None:
        handle, library = launch.xp.cuda.get_cublas_handle(), _cublas()
    else:
        handle, library = captured.captured_cublas()
    # cuBLAS stores matrices by columns: this call computes outᵀ = bᵀ·aᵀ
    if a.ndim == 2:
        library.gemmEx(
            handle, flip_b, flip_a, m, n, k, one, b.data.ptr, types[1], stride_b,
            a.data.ptr, types[0], stride_a, beta, out.data.ptr, types[2], m, compute, -1,
        )  # fmt: skip
    else:
        jumps = [x.strides[0] // x.itemsize for x in (a, b, out)]
        library.gemmStridedBatchedEx(
            handle, flip_b, flip_a, m, n, k, one, b.data.ptr, types[1], stride_b, jumps[1],
            a.data.ptr, types[0], stride_a, jumps[0], beta, out.data.ptr, types[2], m, jumps[2],
            len(a), compute, -1,
        )  # fmt: skip
    return out


def product_with(
    epilogue: int, a: Any, b: Any, out: Any, vector: Any = None, other: Any = None
) -> bool:
    """out = a·b, (N, K) times (K, M), with one of cuBLASLt's epilogues; whether it was computed.

    BIAS adds the vector (M) to each row; SUM_B fills the vector (N) with the sums of a's rows.
    BIAS | GELU takes gelu of that, by tanh; with | KEEP too, `other` (N, M) becomes what gelu is
    taken of. D_GELU multiplies by gelu′(other). vector and other have out's dtype.
    """
    n, m = out.shape
    for given in (vector, other):
        if given is not None and (given.dtype != out.dtype or not given.flags.c_contiguous):
            return False
    if not out.size or not a.size or (other is not None and m % 8):
        return False
    a, flip_a, stride_a = side(a)
    b, flip_b, stride_b = side(b)
    types = CUDA_TYPE[b.dtype], CUDA_TYPE[a.dtype], CUDA_TYPE[out.dtype]
    return epilogues.multiply(
        epilogue, compute_type(a.dtype)[0], types, (m, n, a.shape[1]), (flip_b, flip_a),
        (stride_b, stride_a, m), b.data.ptr, a.data.ptr, out.data.ptr,
        0 if vector is None else vector.data.ptr, 0 if other is None else other.data.ptr,
    )  # fmt: skip


def ready_to_capture(stream: Any) -> None:
    """Make cuBLAS and cuBLASLt ready for a graph that is captured on the stream."""
    captured.ready_to_capture(stream)
    epilogues.handle(launch.gpu())


@functools.lru_cache(maxsize=1)
def _cublas() -> Any:
    """CuPy's binding of cuBLAS."""
    from cupy_backends.cuda.libs import cublas

    return cublas


def same_dtype(*arrays: Any) -> bool:
    """Whether cuBLAS multiplies these: all have the same floating dtype; None is passed over."""
    dtype = arrays[0].dtype
    return dtype in CUDA_TYPE and all(a is None or a.dtype == dtype for a in arrays)


def affine(x: Any, w: Any, b: Any, out: Any = None) -> Any:
    """y = x·wᵀ + b: (N, I), (C, I), (C) or None -> (N, C).

    Where cuBLASLt does not add b in the product, y is filled with b, and x·wᵀ is added.
    """
    if b is None:
        return product(x, w.T, out)
    n, c = len(x), len(w)
    y = empty((n, c), x.dtype) if out is None else out
    narrow = y.dtype == BF16 and b.dtype == FLOAT32  # cuBLASLt adds no float32 to bfloat16
    if product_with(BIAS, x, w.T, y, narrowed(b)[0] if narrow else b):
        return y
    if y.size and c % 4 == 0 and y.dtype in SHORT and b.dtype in SHORT and dense(y, b):
        call = kernel("elementwise", f"fill_{SHORT[y.dtype]}_{SHORT[b.dtype]}")
        call((-(-c // 1024), -(-n // 16)), (256,), (y, b, n, c))
    else:
        y[...] = b
    return product(x, w.T, y, add=True)


def weight_gradients(
    g: Any, x: Any, dtype: Any, needs: Sequence[bool], sum_rows: Callable[[Any], Any]
) -> tuple[Any, Any]:
    """gᵀ·x in the dtype and Σ g, each if it is needed: (N, O), (N, I) -> (O, I), (O)."""
    gw = gb = None
    if needs[0]:
        gw = empty((g.shape[1], x.shape[1]), dtype)
        if needs[1] and SUMS_IN_PRODUCT:
            gb = empty(len(gw), dtype)
            if product_with(SUM_B, g.T, x, gw, gb):
                return gw, gb
        product(g.T, x, gw)
    return gw, sum_rows(g) if needs[1] else None


class _CudaLinear(Linear):
    """Linear through cuBLAS. The gradients of x and W have the dtypes that x and W came in."""

    dtypes: tuple[Any, Any]  # of x and W

    def multiply(self, x: Any, w: Any, b: Any) -> Any:
        """y = x·Wᵀ + b; saves x and W."""
        self.saved = x, w
        y = affine(as_rows(x), w, b)  # (..., I) -> (N, O)
        return y.reshape(*x.shape[:-1], len(w))  # (N, O) -> (..., O)

    def gradients(self, rows: Any, sum_rows: Callable[[Any], Any]) -> tuple[Any, Any, Any]:
        """(∂L/∂x, ∂L/∂W, ∂L/∂b) for g as rows (N, O); sum_rows adds them up for ∂L/∂b."""
        x, w = self.saved
        gx = None
        if self.needs[0]:
            gx = product(rows, w, empty((len(rows), w.shape[1]), self.dtypes[0]))
            gx = gx.reshape(x.shape)  # (N, I) -> (..., I)
        needs = [*self.needs, False][1:3]
        return gx, *weight_gradients(rows, as_rows(x), self.dtypes[1], needs, sum_rows)


class CudaLinear(Twin, _CudaLinear):
    @classmethod
    def takes(cls, x, w, b=None):
        return same_dtype(x, w, b) and w.ndim == 2 and x.size > 0

    def forward_fast(self, x, w, b=None):
        self.dtypes = x.dtype, w.dtype
        return self.multiply(x, w, b)

    def backward_fast(self, g):
        def sum_of(rows: Any) -> Any:
            return sum_rows(rows) if takes_rows(rows) else rows.sum(0).astype(g.dtype)

        return self.gradients(as_rows(g), sum_of)


class CudaMixedLinear(_CudaLinear):
    """Linear within autocast: x and W are brought to bfloat16 here, and y is bfloat16.

    The gradients of float32 inputs leave the matrix product as float32, so that W's is not rounded
    to bfloat16 in between. Saves x and W in bfloat16.
    """

    in_float32 = False  # it takes bfloat16 as it is

    def forward(self, x, w, b=None):
        self.dtypes = x.dtype, w.dtype
        return self.multiply(*narrowed(x, w, b))

    def backward(self, g):
        return self.gradients(as_rows(g), lambda rows: sum_rows(contiguous(rows), FLOAT32))


def narrowed(*arrays: Any) -> list[Any]:
    """float32 arrays as bfloat16, at most five in one launch; others, and None, as they are."""
    results, args, blocks = [], [], 0
    for a in arrays:
        if a is None or a.dtype != FLOAT32:
            results.append(a)
            continue
        results.append(empty(a.shape, BF16))
        if a.size:
            args += [a if dense(a) else contiguous(a), results[-1], a.size]
            blocks += -(-a.size // 1024)
    if args:
        args += [null(None), null(None), 0] * (5 - len(args) // 3)
        kernel("elementwise", "round_five")((blocks,), (256,), tuple(args))
    return results


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
        return same_dtype(a, b) and a.size > 0 and (one or a.shape[:-2] == b.shape[:-2])

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
