"""Faster twins of the ops for arrays on a GPU. Deleting this file changes speed only.

The kernels are CUDA C++ in the folder `kernels`; CuPy compiles them when they are first needed and
keeps the result on disk. Matrix products go to cuBLAS directly: views that are transposed are not
copied, and the precision of a product is chosen here. Each twin says in `takes` which arrays it
serves (float32, often bfloat16, in row order); any other call goes to the op that it stands for, so
that the formulas, and float64, are found there alone.

The kernels need compute capability 8.0 (Ampere, 2020) or newer; `install` leaves older GPUs alone.
"""

from __future__ import annotations

import functools
import math
from pathlib import Path
from typing import Any

import numpy as np

from ..backend import FASTER, cupy, ids_in_range, settings
from ..engine import GPU_OPS, Op
from .activation import Gelu
from .attention import ScaledDotProductAttention
from .elementwise import Add, Cast
from .linear import Linear
from .loss import CrossEntropy, LinearCrossEntropy
from .matmul import Matmul
from .matmul import rows as as_rows
from .norm import LayerNorm, RmsNorm
from .shape import Split
from .softmax import Softmax

__all__ = ["install", "product"]

xp: Any = None  # CuPy, from `install` on
KERNELS = Path(__file__).parent / "kernels"
FLOAT32 = np.dtype(np.float32)
SHORT = {FLOAT32: "f32"}  # the dtypes that kernels know, bfloat16 among them if ml_dtypes is there
CUDA_TYPE = {FLOAT32: 0, np.dtype(np.float64): 1, np.dtype(np.float16): 2}  # as cuBLAS counts
BF16: Any = None
try:
    import ml_dtypes
except ImportError:
    pass
else:
    BF16 = np.dtype(ml_dtypes.bfloat16)
    SHORT[BF16], CUDA_TYPE[BF16] = "bf16", 14
LOGITS = 1 << 29  # bytes of logits, counted in float32, that exist at a time


# ---------------------------------------------------------------------------------- kernels
@functools.cache
def kernel(file: str, name: str, *defines: str) -> Any:
    """A kernel of kernels/{file}.cu, compiled with -D{defines}."""
    return _module(file, *defines).get_function(name)


@functools.cache
def _module(file: str, *defines: str) -> Any:
    code = "".join((KERNELS / f).read_text(encoding="utf-8") for f in ("common.cuh", f"{file}.cu"))
    options = ("--std=c++17", *(f"-D{d}" for d in defines))
    return xp.RawModule(code=code, options=options)


def each_four(name: str, n: int, *args: Any) -> None:
    """Launch a kernel of elementwise.cu, a thread for four of n elements."""
    if n:
        kernel("elementwise", name)((-(-n // 1024),), (256,), args)


def dense(*arrays: Any) -> bool:
    """Whether each is float32 or bfloat16, in row order, and starts where four elements can."""
    return all(a.dtype in SHORT and a.flags.c_contiguous and a.data.ptr % 16 == 0 for a in arrays)


def float32(*arrays: Any) -> bool:
    """Whether each that is not None is dense float32."""
    return all(a is None or (a.dtype == FLOAT32 and dense(a)) for a in arrays)


def empty(shape: Any, dtype: Any) -> Any:
    return xp.empty(shape, dtype)


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


def strips(n: int, c: int) -> tuple[int, int]:
    """(rows of a strip, how many strips): enough blocks to fill the GPU, each with 64 rows."""
    strip = max(64, -(-n // 256)) if c < 1 << 16 else n
    return strip, max(1, -(-n // max(strip, 1)))


def sum_rows(g: Any, dtype: Any = None) -> Any:
    """(N, C) -> (C) in g's dtype or another, added up in float32 and always in the same order."""
    n, c = g.shape
    strip, count = strips(n, c)
    part = empty((count, c) if count > 1 else c, FLOAT32)
    grid = -(-c // 32), count
    kernel("rows", f"sum_rows_{SHORT[g.dtype]}")(grid, (256,), (g, part, n, c, strip))
    if count > 1:
        strip_sums, part = part, empty(c, FLOAT32)
        kernel("rows", "sum_rows_f32")((grid[0], 1), (256,), (strip_sums, part, count, c, count))
    return part if (dtype or g.dtype) == FLOAT32 else cast(part, g.dtype)


def takes_rows(g: Any) -> bool:
    """Whether sum_rows serves the matrix."""
    return g.ndim == 2 and g.size > 0 and dense(g)


# ------------------------------------------------------------------------- matrix products
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
    x = xp.ascontiguousarray(x)
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
    handle, library = xp.cuda.get_cublas_handle(), _cublas()
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


class Twin:
    """A faster op: `takes` says for which arrays; for others everything is as in the op itself."""

    fast = False
    needs: Any
    name: Any

    @classmethod
    def takes(cls, *arrays: Any, **options: Any) -> bool:
        return True

    def forward(self, *arrays: Any, **options: Any) -> Any:
        try:
            self.fast = self.takes(*arrays, **options)
            if self.fast:
                return self.forward_fast(*arrays, **options)  # type: ignore[attr-defined]
        except AttributeError as error:
            if any(isinstance(a, np.ndarray) for a in arrays):  # it has no pointer to the GPU
                raise TypeError("an array on the CPU among arrays on a GPU") from error
            raise
        return super().forward(*arrays, **options)  # type: ignore[misc]

    def backward(self, g: Any) -> Any:
        if self.fast:
            return self.backward_fast(g)  # type: ignore[attr-defined]
        return super().backward(g)  # type: ignore[misc]


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
            gb = sum_rows(xp.ascontiguousarray(rows), FLOAT32)
        return gx, gw, gb


def narrowed(x: Any) -> Any:
    """A float32 array as bfloat16."""
    return cast(x if dense(x) else xp.ascontiguousarray(x), BF16)


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


# ------------------------------------------------------------------------ element by element
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
        return tuple(g if g.dtype == t else cast(xp.ascontiguousarray(g), t)
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
        g, gx = xp.ascontiguousarray(g), empty(x.shape, x.dtype)
        each_four(f"gelu_back_{self.name_of_kernel}", x.size, x, g, gx, x.size)
        return gx


# --------------------------------------------------------------------------------- row by row
class _Norm(Twin):
    """Layer norm and RMS norm save x, r (and μ): x is there anyway."""

    mean = True

    @classmethod
    def takes(cls, x, w=None, b=None, eps=0.0):
        return x.size > 0 and float32(x, w, b)

    def forward_fast(self, x, w=None, b=None, eps=0.0):
        rows, c = x.size // x.shape[-1], x.shape[-1]
        y, r = empty(x.shape, x.dtype), empty(rows, x.dtype)
        mu = empty(rows, x.dtype) if self.mean else None
        args = x, null(w), null(b), y, null(mu), r, rows, c, float(eps)
        kernel("rows", self.name)((-(-rows // 8),), (256,), args)
        self.saved = x, mu, r, w
        return y

    def backward_fast(self, g):
        x, mu, r, w = self.saved
        g, (rows, c) = xp.ascontiguousarray(g), (len(r), x.shape[-1])
        needs, gx, gw, gb = [*self.needs, False, False], None, None, None
        if needs[0]:
            gx = empty(x.shape, x.dtype)
            args = g, x, null(w), null(mu), r, gx, rows, c
            kernel("rows", self.name + "_back")((-(-rows // 8),), (256,), args)
        if needs[1] or needs[2]:
            strip, count = strips(rows, c)
            part, gw, gb = empty((count, 2, c), x.dtype), empty(c, x.dtype), empty(c, x.dtype)
            columns = -(-c // 32)
            args = g, x, null(mu), r, part, rows, c, strip
            kernel("rows", "sum_rows_hat")((columns, count), (256,), args)
            kernel("rows", "sum_pairs")((columns, 2), (256,), (part, gb, gw, count, c))
        return (gx, gw, gb) if self.mean else (gx, gw)


def null(x: Any) -> Any:
    """The array, or a null pointer for None."""
    return np.uint64(0) if x is None else x


class CudaLayerNorm(_Norm, LayerNorm):  # type: ignore[misc]
    pass


class CudaRmsNorm(_Norm, RmsNorm):  # type: ignore[misc]
    mean = False


class CudaSoftmax(Twin, Softmax):
    @classmethod
    def takes(cls, x, dim=-1):
        return x.size > 0 and dim in (-1, x.ndim - 1) and float32(x)

    def forward_fast(self, x, dim=-1):
        y, c = empty(x.shape, x.dtype), x.shape[-1]
        kernel("rows", "softmax")((x.size // c,), (256,), (x, y, c))
        self.saved = (y,)
        return y

    def backward_fast(self, g):
        (y,) = self.saved
        g, gx, c = xp.ascontiguousarray(g), empty(y.shape, y.dtype), y.shape[-1]
        kernel("rows", "softmax_back")((y.size // c,), (256,), (g, y, gx, c))
        return gx


# -------------------------------------------------------------------------------------- losses
def plain_targets(t: Any, n: int, w: Any, ignore_index: int, smoothing: float) -> bool:
    """Whether the targets are known to be classes or ignored, without asking the GPU."""
    return (
        w is None and smoothing == 0.0 and t.dtype == np.int64 and t.flags.c_contiguous
        and ids_in_range(t, n, ignore_index)
    )  # fmt: skip


def loss_scale(t: Any, ignore_index: int, reduction: str) -> Any:
    """1, or 1/(how many targets count), as a float32 number on the GPU."""
    if reduction != "mean":
        return xp.ones((), np.float32)
    return 1.0 / (t != ignore_index).sum().astype(np.float32)


def cross_entropy(
    x: Any, gx: Any, t: Any, losses: Any, scale: Any, ignore_index: int, back: bool,
    log_sum: Any = None,
) -> None:  # fmt: skip
    """Losses of the rows x (N, C); gx = (p − onehot)·scale if `back`, which may be x itself."""
    args = x, gx, t, losses, null(log_sum), scale, x.shape[1], ignore_index, int(back)
    kernel("rows", f"cross_entropy_{SHORT[x.dtype]}")((len(x),), (256,), args)


class CudaCrossEntropy(Twin, CrossEntropy):
    @classmethod
    def takes(cls, x, t, w=None, ignore_index=-100, label_smoothing=0.0, reduction="mean"):
        known = plain_targets(t, x.shape[-1], w, ignore_index, label_smoothing)
        return known and reduction != "none" and x.size > 0 and float32(x)

    def forward_fast(self, x, t, w=None, ignore_index=-100, label_smoothing=0.0, reduction="mean"):
        self.ignore_index, rows = ignore_index, as_rows(x)
        losses, scale = empty(len(rows), x.dtype), loss_scale(t, ignore_index, reduction)
        cross_entropy(rows, rows, t, losses, scale, ignore_index, False)
        self.saved = x, t, scale
        return losses.sum() * scale

    def backward_fast(self, g):
        x, t, scale = self.saved
        rows, gx = as_rows(x), empty(x.shape, x.dtype)
        losses = empty(len(rows), x.dtype)
        cross_entropy(rows, as_rows(gx), t, losses, scale * g, self.ignore_index, True)
        return gx, None, None


class CudaLinearCrossEntropy(Twin, LinearCrossEntropy):
    @classmethod
    def takes(
        cls, x, w, t, b=None, class_weight=None, ignore_index=-100, label_smoothing=0.0,
        reduction="mean",
    ):  # fmt: skip
        known = plain_targets(t, len(w), class_weight, ignore_index, label_smoothing)
        return known and x.size > 0 and dense(x, w) and same_kind(x, w, b)

    def forward_fast(
        self, x, w, t, b=None, class_weight=None, ignore_index=-100, label_smoothing=0.0,
        reduction="mean",
    ):  # fmt: skip
        needs, inputs, targets = [*self.needs, False, False], as_rows(x), t.reshape(-1)
        back, (n, v) = True in needs, (len(inputs), len(w))
        scale = loss_scale(t, ignore_index, reduction)
        step = LOGITS // (4 * v)
        step = max(128, step // 1024 * 1024 or step // 128 * 128)
        losses, logits = empty(n, np.float32), empty((min(step, n), v), x.dtype)
        gx: Any = empty(inputs.shape, x.dtype) if needs[0] else None
        gw = empty(w.shape, np.float32) if needs[1] else None
        gb = xp.zeros(v, np.float32) if needs[3] else None
        for start in range(0, n, step):
            some = slice(start, start + step)
            z = affine(inputs[some], w, b, logits[: len(inputs[some])])  # (n, C)
            cross_entropy(z, z, targets[some], losses[some], scale, ignore_index, back)
            if needs[0]:
                product(z, w, gx[some])  # (n, I)
            if needs[1]:
                product(z.T, inputs[some], gw, add=start > 0)  # (C, n) @ (n, I)
            if needs[3]:
                gb += sum_rows(z, FLOAT32)
        gx = None if gx is None else gx.reshape(x.shape)
        self.saved, self.dtype = (gx, gw, gb), x.dtype
        return losses.sum() * scale

    def backward_fast(self, g):
        gx, gw, gb = (None if a is None else scaled(a, g, self.dtype) for a in self.saved)
        return gx, gw, None, gb, None


# ----------------------------------------------------------------------------------- attention
def attention_tiles(mode: int, d: int, name: str) -> tuple[int, int]:
    """(rows of a tile, warps of a block), by measurement on an H100."""
    if d > 64:
        return 32, 8
    if mode == 0:
        return (32 if name == "back_kv" else 64), 8
    return (32 if mode == 1 and name == "back_kv" else 64), 4


@functools.cache
def attention_call(name: str, mode: int, d: int) -> tuple[Any, int, int, int]:
    """(kernel, rows of a block, threads of a block, bytes of shared memory: two tiles of two
    operands)."""
    tile, warps = attention_tiles(mode, d, name)
    defines = f"MODE={mode}", f"D={d}", f"N={tile}", f"WARPS={warps}"
    call = kernel("attention", f"attention_{name}", *defines)
    shared = 4 * tile * (2 * (d + 8) if mode == 2 else 4 * (d + 4))
    if shared > 48 << 10:
        call.max_dynamic_shared_size_bytes = shared
    return call, 16 * warps, 32 * warps, shared


def aligned(x: Any) -> Any:
    """x (B, H, T, D) with dense channels and rows that start at 16 bytes; a copy if need be."""
    size, steps = x.itemsize, x.strides
    fine = steps[-1] == size and all(s % 16 == 0 for s in steps[:-1]) and x.data.ptr % 16 == 0
    return x if fine else xp.ascontiguousarray(x)


def strided(x: Any) -> tuple:
    """The array and its steps over batch, head and row, in elements."""
    return (x, *(s // x.itemsize for s in x.strides[:3]))


class CudaAttention(Twin, ScaledDotProductAttention):
    @classmethod
    def takes(cls, q, k, v, mask=None, keep=None, is_causal=False, scale=None, dropout_p=0.0):
        dense_row = 16 // q.itemsize
        return (
            mask is None and keep is None and q.ndim in (3, 4) and q.ndim == k.ndim == v.ndim
            and q.dtype in SHORT and q.dtype == k.dtype == v.dtype
            and q.shape[-1] == v.shape[-1] <= 128 and q.shape[-1] % dense_row == 0
            and min(q.size, k.size) > 0 and q.shape[:-3] == k.shape[:-3]
        )  # fmt: skip

    def forward_fast(
        self, q, k, v, mask=None, keep=None, is_causal=False, scale=None, dropout_p=0.0
    ):  # fmt: skip
        self.q_shape, self.k_shape, self.causal = q.shape, k.shape, int(is_causal)
        self.scale = float(q.shape[-1] ** -0.5 if scale is None else scale)
        q, k, v = (aligned(a if a.ndim == 4 else a[None]) for a in (q, k, v))  # (B, H, T, D)
        (B, H, L, D), (_, K, S, _) = q.shape, k.shape
        mode = 2 if q.dtype.itemsize == 2 else int(settings.tf32)
        self.mode = mode, 64 if D <= 64 else 128
        y = empty((B, L, H, D), q.dtype).transpose(0, 2, 1, 3)
        log_sum = empty((B, H, L), np.float32)
        args = (*strided(q), *strided(k), *strided(v), *strided(y), log_sum, H, H // K, L, S, D)
        self.run("forward", L, B * H, *args, self.causal, self.scale)
        self.saved = q, k, v, y, log_sum
        return y if len(self.q_shape) == 4 else y[0]

    def run(self, name: str, rows: int, heads: int, *args: Any) -> None:
        call, at_a_time, threads, shared = attention_call(name, *self.mode)
        call((-(-rows // at_a_time), heads), (threads,), args, shared_mem=shared)

    def backward_fast(self, g):
        q, k, v, y, log_sum = self.saved
        (B, H, L, D), (_, K, S, _) = q.shape, k.shape
        g = aligned(g if g.ndim == 4 else g[None])
        delta = empty((B, H, L), np.float32)
        call = attention_call("delta", *self.mode)[0]
        call((-(-L // 8), B * H), (256,), (*strided(g), *strided(y), delta, H, L, D))
        if L == S:  # one memory, as the layer that made q, k and v wants it
            every = empty((B, L, H + 2 * K, D), q.dtype).transpose(0, 2, 1, 3)
            gq, gk, gv = every[:, :H], every[:, H : H + K], every[:, H + K :]
        else:
            gq, gk, gv = (
                empty((B, a.shape[2], a.shape[1], D), q.dtype).transpose(0, 2, 1, 3)
                for a in (q, k, v)
            )
        inputs = (*strided(q), *strided(k), *strided(v), *strided(g))
        rest = log_sum, delta, H, H // K, L, S, D, self.causal, self.scale
        if self.needs[0]:
            self.run("back_q", L, B * H, *inputs, *strided(gq), *rest)
        if self.needs[1] or self.needs[2]:
            self.run("back_kv", S, B * K, *inputs, *strided(gk), *strided(gv), *rest)
        grads = tuple(a if len(self.q_shape) == 4 else a[0] for a in (gq, gk, gv))
        return *(a if n else None for a, n in zip(grads, self.needs)), None, None  # noqa: B905


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
    return xp.ndarray(shape, first.dtype, first.data, first.strides)


# ---------------------------------------------------------------------- what is no op of its own
def scatter_add_rows(out: Any, ids: Any, rows: Any) -> None:
    """out[ids[i]] += rows[i], every id's rows in their order: the result is always the same."""
    ids = ids.astype(np.int64, copy=False)
    order = xp.argsort(ids)
    args = out, ids[order], order.astype(np.int64, copy=False), rows, len(ids), out.shape[1]
    kernel("rows", "scatter_rows")((len(ids), -(-out.shape[1] // 32)), (256,), args)


def takes_scatter(out: Any, ids: Any, rows: Any) -> bool:
    return ids.size > 0 and out.size > 0 and ids.ndim == 1 and float32(out, rows)


def keep_mask(shape: tuple[int, ...], p: float, seed: int, offset: int) -> Any:
    """Booleans, True with probability p, from Philox's stream `offset` of a seed."""
    keep = empty(shape, np.bool_)
    if keep.size:
        blocks = -(-keep.size // (8 * 256))
        args = keep, keep.size, seed, offset, float(p)
        kernel("elementwise", "keep_mask")((blocks,), (256,), args)
    return keep


_tables: dict[tuple, Any] = {}  # what adam's launches read, for the addresses of the last steps
_blocks: dict[tuple, Any] = {}


def adam(
    tensors: list[tuple], lr: float, betas: tuple[float, float], eps: float, decay: float,
    corrections: tuple[float, float], decoupled: bool, maximize: bool,
) -> None:  # fmt: skip
    """Adam's step for (p, g, m, v) of every tensor in one launch."""
    key = tuple([(p.data.ptr, g.data.ptr, m.data.ptr, v.data.ptr, p.size)
                 for p, g, m, v in tensors])  # fmt: skip
    sizes = tuple([p.size for p, *_ in tensors])
    for cache in (_tables, _blocks):
        if len(cache) > 64:
            cache.clear()
    if sizes not in _blocks:
        blocks = [(i, at) for i, n in enumerate(sizes) for at in range(0, n, 4096)]
        _blocks[sizes] = xp.asarray(np.array(blocks, np.int64))
    if key not in _tables:
        _tables[key] = xp.asarray(np.array(key, np.int64))
    table, blocks = _tables[key], _blocks[sizes]
    args = table, blocks, lr, *betas, eps, decay, *corrections, int(decoupled), int(maximize)
    kernel("elementwise", "adam")((len(blocks),), (256,), args)


def takes_adam(*arrays: Any) -> bool:
    return arrays[0].size > 0 and all(a.dtype == FLOAT32 and a.flags.c_contiguous for a in arrays)


TWINS: dict[type[Op], type[Op]] = {
    Linear: CudaLinear, Matmul: CudaMatmul, Add: CudaAdd, Cast: CudaCast, Gelu: CudaGelu,
    LayerNorm: CudaLayerNorm, RmsNorm: CudaRmsNorm, Softmax: CudaSoftmax,
    CrossEntropy: CudaCrossEntropy, LinearCrossEntropy: CudaLinearCrossEntropy,
    ScaledDotProductAttention: CudaAttention, Split: CudaSplit,
}  # fmt: skip
NARROW = {Linear, Matmul, Gelu, ScaledDotProductAttention, LinearCrossEntropy}  # take bfloat16


def narrow(op: type[Op], arrays: Any, options: Any) -> bool:
    """Whether the op's twin takes these bfloat16 arrays as they are."""
    return op in NARROW and TWINS[op].takes(*arrays, **options)  # type: ignore[attr-defined]


def mixed_sum(op: type[Op], x: Any, y: Any) -> bool:
    """Whether the op's twin adds float32 and bfloat16 as they are."""
    return op is Add and CudaAdd.takes(x, y)


def install() -> None:
    """Let the engine and the backend pick these; only for a GPU that the kernels run on."""
    global xp
    xp = cupy()
    if int(xp.cuda.Device().compute_capability) < 80:
        return
    GPU_OPS.update(TWINS)
    FASTER["mixed_linear"] = CudaMixedLinear.apply
    served = (
        takes_mixed_linear, mixed_sum, sum_rows, takes_rows, scatter_add_rows, takes_scatter,
        keep_mask, adam, takes_adam, narrow,
    )  # fmt: skip
    for f in served:
        FASTER[f.__name__] = f
