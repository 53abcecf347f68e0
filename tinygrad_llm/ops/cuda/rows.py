"""Row by row: norms, softmax, sums over the rows, and rows added to rows of a table."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..norm import LayerNorm, RmsNorm
from ..softmax import Softmax
from . import launch
from .elementwise import cast
from .launch import (
    BF16,
    FLOAT32,
    SHORT,
    Twin,
    contiguous,
    dense,
    empty,
    float32,
    gpu,
    kernel,
    null,
    processors,
)


def strips(n: int, c: int) -> tuple[int, int]:
    """(rows of a strip, number of strips): enough blocks to fill the GPU, at least 64 rows each."""
    strip = max(64, -(-n // 256)) if c < 1 << 16 else n
    return strip, max(1, -(-n // max(strip, 1)))


def sum_rows(g: Any, dtype: Any = None) -> Any:
    """(N, C) -> (C) in g's dtype or `dtype`, added up in float32 and always in the same order."""
    n, c = g.shape
    strip, count = strips(n, c)
    part = empty((count, c) if count > 1 else c, FLOAT32)
    grid = -(-c // 32), count
    if g.dtype != FLOAT32 and c % 4 == 0:
        args = g, part, n, c, strip
        kernel("rows", "sum_rows_bf16_by_4")((-(-c // 128), count), (256,), args)
    else:
        kernel("rows", f"sum_rows_{SHORT[g.dtype]}")(grid, (256,), (g, part, n, c, strip))
    if count > 1:
        strip_sums, part = part, empty(c, FLOAT32)
        kernel("rows", "sum_rows_f32")((grid[0], 1), (256,), (strip_sums, part, count, c, count))
    return part if (dtype or g.dtype) == FLOAT32 else cast(part, g.dtype)


def takes_rows(g: Any) -> bool:
    """Whether sum_rows serves the matrix."""
    return g.ndim == 2 and g.size > 0 and dense(g)


class _Norm(Twin):
    """Layer norm and RMS norm. Saves x, which the layer before keeps anyway, μ, r and w."""

    mean = True
    result = FLOAT32  # the dtype of y

    @classmethod
    def takes(cls, x, w=None, b=None, eps=0.0):
        return x.size > 0 and float32(x, w, b)

    def forward_fast(self, x, w=None, b=None, eps=0.0):
        rows, c = x.size // x.shape[-1], x.shape[-1]
        y, r = empty(x.shape, self.result), empty(rows, x.dtype)
        mu = empty(rows, x.dtype) if self.mean else None
        args = x, null(w), null(b), y, null(mu), r, rows, c, float(eps)
        call = self.in_registers(c, "norm_of_rows") or kernel("rows", self.name)
        call((-(-rows // 8),), (256,), args)
        self.saved = x, mu, r, w
        return y

    def backward_fast(self, g, total=None, in_place=False):
        """The gradients; that of x is added to `total` if there is one, perhaps in place."""
        x, mu, r, w = self.saved
        (rows, c), gx, gw, gb = (len(r), x.shape[-1]), None, None, None
        if self.needs[0]:
            gx = total if in_place else empty(x.shape, x.dtype)
        if True in self.needs[1:]:
            gw, gb = empty(c, x.dtype), empty(c, x.dtype)
        args = contiguous(g), x, null(w), null(mu), r, null(total), null(gx)
        call = self.in_registers(c, "norm_of_rows_back")
        if call is not None:
            blocks, sums = min(blocks_that_fit(c) * processors(gpu()), -(-rows // 8)), 1 + self.mean
            part = None if gw is None else empty((blocks, sums, c), x.dtype)
            call((blocks,), (256,), (*args, null(part), rows, c))
            if gw is not None:
                add = self.in_registers(c, "sum_blocks")
                add((-(-c // 32), sums), (1024,), (part, gw, gb, blocks, c))
        else:
            if gw is not None:  # first: `total` may be g itself, as in y.backward(x.grad)
                strip, count = strips(rows, c)
                part, columns = empty((count, 2, c), x.dtype), -(-c // 32)
                strip_args = args[0], x, null(mu), r, part, rows, c, strip
                kernel("rows", "sum_rows_hat")((columns, count), (256,), strip_args)
                kernel("rows", "sum_pairs")((columns, 2), (256,), (part, gb, gw, count, c))
            if gx is not None:
                kernel("rows", self.name + "_back")((-(-rows // 8),), (256,), (*args, rows, c))
        return (gx, gw, gb) if self.mean else (gx, gw)

    def adder(self, g, total, owned):
        """As backward, with `total` added to the gradient of x; None if the kernels do not run."""
        if not (self.fast and float32(total)):
            return None
        return self.backward_fast(g, total, in_place=owned)

    def in_registers(self, c: int, name: str) -> Any:
        """A kernel of norm.cu for rows of c; None if they do not fit into a warp's registers."""
        if not fits_in_registers(c):
            return None
        result = "float" if self.result == FLOAT32 else "bf16"
        sizes = f"K={-(-c // 128)}", f"BLOCKS={blocks_that_fit(c)}"
        return kernel("norm", name, f"MEAN={int(self.mean)}", f"Y={result}", *sizes)


def fits_in_registers(c: int) -> bool:
    """Whether the kernels of norm.cu take rows of c."""
    return c % 4 == 0 and c <= 1024


def blocks_that_fit(c: int) -> int:
    """How many blocks of norm_of_rows_back a multiprocessor has registers for."""
    return min(4, 14 // (-(-c // 128) + 1))


class CudaLayerNorm(_Norm, LayerNorm):
    pass


class CudaRmsNorm(_Norm, RmsNorm):
    mean = False


class _RoundedNorm(_Norm):
    """A norm of float32 whose y is bfloat16, for the matrix products of autocast: rounded once,
    while it is computed. ∂L/∂y is bfloat16 too, ∂L/∂x float32.
    """

    result = BF16

    @classmethod
    def takes(cls, x, w=None, b=None, eps=0.0):
        return super().takes(x, w, b) and fits_in_registers(x.shape[-1])


class CudaRoundedLayerNorm(_RoundedNorm, CudaLayerNorm):
    pass


class CudaRoundedRmsNorm(_RoundedNorm, CudaRmsNorm):
    pass


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
        g, gx, c = contiguous(g), empty(y.shape, y.dtype), y.shape[-1]
        kernel("rows", "softmax_back")((y.size // c,), (256,), (g, y, gx, c))
        return gx


def scatter_add_rows(out: Any, ids: Any, rows: Any) -> None:
    """out[ids[i]] += rows[i], an id's rows in their order: the result is always the same."""
    ids = contiguous(ids.astype(np.int64, copy=False))
    n, v = len(ids), len(out)
    chunk = max(1024, -(-n // (64 * 256)) * 256)  # places are counted in at most 64 chunks
    count = launch.xp.zeros(-(-n // chunk) * v + 1, np.int32)  # (chunks, V), and rows given out
    rank, ordered, order = empty(n, np.int32), empty(n, np.int64), empty(n, np.int64)
    threads = (-(-n // 256),)
    kernel("rows", "rank_ids")(threads, (256,), (ids, rank, count, n, v, chunk))
    kernel("rows", "place_ids")((-(-v // 256),), (256,), (count, count.size - 1, v))
    counted = ids, rank, count, ordered, order, n, v, chunk
    kernel("rows", "order_ids")(threads, (256,), counted)
    args = out, ordered, order, rows, n, out.shape[1]
    kernel("rows", "scatter_rows")((n, -(-out.shape[1] // 256)), (256,), args)


def takes_scatter(out: Any, ids: Any, rows: Any) -> bool:
    """Whether scatter_add_rows serves these arrays."""
    return ids.size > 0 and out.size > 0 and ids.ndim == 1 and float32(out, rows)
