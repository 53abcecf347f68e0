"""Attention: a head at a time, its products and its softmax without the interpreter's lock."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...arrays import blas
from ...arrays.attention_blocks import BLOCK_ROWS
from ..attention import ScaledDotProductAttention
from .compiling import helper, kernel, shared
from .elementary import exp_normal, largest
from .products import PLAIN, TRANSPOSED, gemm, product_address
from .twin import FLOATS, Loop, flat

__all__ = ["LoopAttention"]

f: Any = np.float64  # in a compiled copy the arrays' dtype
whole: Any = np.int64


# What a kernel knows of the shapes: `sizes` is (H, R, L, S, E, D, causal, offset, window, size of a
# block), and `steps` has a row for each array, how many elements lie between two batches, heads,
# query heads of one key head, rows, and columns.
Q, K, V, Y, LOG_SUM, MASK, KEEP, G, GQ, GK, GV = range(11)


@helper
def first_key(i, sizes):
    """The first key that query i sees."""
    return max(0, sizes[7] + i - sizes[8] + 1) if sizes[6] else 0


@helper
def end_of_keys(i, sizes):
    """One more than the last key that query i sees."""
    return min(sizes[3], sizes[7] + i + 1) if sizes[6] else sizes[3]


@helper
def add_mask(row, mask, at, step):
    """s += mask."""
    if step == 1:
        m = mask[at : at + row.size]
        for j in range(row.size):
            row[j] += m[j]
    else:
        for j in range(row.size):
            row[j] += mask[at + j * step]


@helper
def exp_in_place(row, least):
    """e = exp(s − m) in the place of s; returns m and Σ e. m is finite even if all s are −∞.

    Not elementary.exp_row: with one array for both, LLVM finds an overlap and does not vectorise.
    """
    m = max(largest(row), least)
    total = f(0.0)
    for j in range(row.size):
        e = exp_normal(row[j] - m)
        row[j] = e
        total += e
    return m, total


@helper
def first_query(j, sizes):
    """The first query that sees key j."""
    return max(0, j - sizes[7]) if sizes[6] else 0


@helper
def end_of_queries(j, sizes):
    """One more than the last query that sees key j."""
    return min(sizes[2], j - sizes[7] + sizes[8]) if sizes[6] else sizes[2]


@helper
def drop_row(row, keep, keep_scale):
    """p is multiplied by keep/(1 − dropout_p): what is dropped is 0, even if it was NaN."""
    for j in range(row.size):
        e = row[j] * keep_scale  # always: see relu_back in arithmetic.py
        row[j] = e if keep[j] else f(0.0)


@helper
def clear(array, at, rows, columns, step):
    """Zeros for some rows."""
    for i in range(rows):
        row = array[at + i * step : at + i * step + columns]
        for j in range(columns):
            row[j] = f(0.0)


@helper
def spoilt(array, at, rows, columns, step):
    """Whether some number is NaN or infinite."""
    count = whole(0)
    for i in range(rows):
        row = array[at + i * step : at + i * step + columns]
        for j in range(columns):
            count += whole(0) if abs(row[j]) < f(np.inf) else whole(1)
    return count > 0


@helper
def softmax_rows(p, m, lo, first, rows, totals, log_sum, mask, keep, at, steps, sizes, has_mask,
                 has_keep, keep_scale, least, tiny):  # fmt: skip
    """From scores (rows, m) of keys lo … lo + m to e = exp(s − m); Σ e to totals, and l.

    at: where the row of query `first` begins in each array.
    """
    for i in range(rows):
        a, b = first_key(first + i, sizes) - lo, end_of_keys(first + i, sizes) - lo
        if a > 0:
            clear(p, i * m, 1, a, 0)
        if b < m:
            clear(p, i * m + b, 1, m - b, 0)
        row = p[i * m + a : i * m + b]
        if has_mask:
            step = steps[MASK, 4]
            add_mask(row, mask, at[MASK] + i * steps[MASK, 3] + (lo + a) * step, step)
        top, total = exp_in_place(row, least)
        if total < tiny:  # every key is masked
            total = tiny
        log_sum[at[LOG_SUM] + i * steps[LOG_SUM, 3]] = top + np.log(total)
        totals[i] = total
        if has_keep:
            start = at[KEEP] + i * steps[KEEP, 3] + lo
            drop_row(row, keep[start + a : start + b], keep_scale)


@kernel
def attend(q, k, v, y, log_sum, mask, keep, bad, sizes, steps, gemm_at, has_mask, has_keep, scale,
           keep_scale, least, tiny, start, stop):  # fmt: skip
    """y = p·v,   p = e/Σe,   e = exp(s − m),   s = q·kᵀ·scale + mask,   l = m + log Σe.

    One head after another, in blocks of queries.
    """
    H, R, L, S, E, D, size = sizes[0], sizes[1], sizes[2], sizes[3], sizes[4], sizes[5], sizes[9]
    p, totals = np.empty(size * S, q.dtype), np.empty(size, q.dtype)
    for u in range(start, stop):
        head = u // H * steps[:, 0] + u % H * steps[:, 1]
        for r in range(R):
            for first in range(0, L, size):
                rows = min(size, L - first)
                lo = first_key(first, sizes)
                m = end_of_keys(first + rows - 1, sizes) - lo
                at = head + r * steps[:, 2] + first * steps[:, 3]
                gemm(gemm_at, PLAIN, TRANSPOSED, rows, m, E, f(scale), q, at[Q], steps[Q, 3],
                     k, head[K] + lo * steps[K, 3], steps[K, 3], f(0.0), p, 0, m)  # fmt: skip
                softmax_rows(p, m, lo, first, rows, totals, log_sum, mask, keep, at, steps, sizes,
                             has_mask, has_keep, f(keep_scale), f(least), f(tiny))  # fmt: skip
                gemm(gemm_at, PLAIN, PLAIN, rows, D, m, f(1.0), p, 0, m,
                     v, head[V] + lo * steps[V, 3], steps[V, 3],
                     f(0.0), y, at[Y], steps[Y, 3])  # fmt: skip
                for i in range(rows):
                    row = y[at[Y] + i * steps[Y, 3] : at[Y] + i * steps[Y, 3] + D]
                    weight = f(1.0) / totals[i]
                    for j in range(D):
                        row[j] *= weight
            if spoilt(y, head[Y] + r * steps[Y, 2], L, D, steps[Y, 3]):
                bad[u] = 1


@helper
def row_products(d, g, g_at, g_row, y, y_at, y_row, rows, columns):
    """d = Σ g·y over each row."""
    for i in range(rows):
        a = g[g_at + i * g_row : g_at + i * g_row + columns]
        b = y[y_at + i * y_row : y_at + i * y_row + columns]
        total = f(0.0)
        for j in range(columns):
            total += a[j] * b[j]
        d[i] = total


@helper
def weigh(row, back, keep, has_keep, keep_scale, log_sum, d):
    """p = exp(s − l) and ∂L/∂s = p·(∂L/∂p − d); p with dropout takes the place of s.

    l is at least every s, so p is at most 1, however s was rounded.
    """
    if has_keep:
        for j in range(row.size):
            t = row[j] - log_sum
            p = exp_normal(f(0.0) if t > f(0.0) else t)
            arrived = back[j] * keep_scale  # always: see relu_back in arithmetic.py
            row[j] = p * keep_scale if keep[j] else f(0.0)
            back[j] = p * ((arrived if keep[j] else f(0.0)) - d)
    else:
        for j in range(row.size):
            t = row[j] - log_sum
            p = exp_normal(f(0.0) if t > f(0.0) else t)
            row[j] = p
            back[j] = p * (back[j] - d)


@helper
def weigh_rows(s, back, first, cols, lo, m, log_sum, d, mask, keep, at, steps, sizes, has_mask,
               has_keep, keep_scale):  # fmt: skip
    """weigh, for queries lo … lo + m and keys first … first + cols; 0 where nothing is seen.

    at: where the row of query lo begins in each array.
    """
    for i in range(m):
        a = max(first_key(lo + i, sizes) - first, 0)
        b = min(end_of_keys(lo + i, sizes) - first, cols)
        if a > 0 or b < cols:
            for array in (s, back):
                clear(array, i * cols, 1, a, 0)
                clear(array, i * cols + b, 1, cols - b, 0)
        row = s[i * cols + a : i * cols + b]
        if has_mask:
            step = steps[MASK, 4]
            add_mask(row, mask, at[MASK] + i * steps[MASK, 3] + (first + a) * step, step)
        start = at[KEEP] + i * steps[KEEP, 3] + first
        kept = keep[start + a : start + b] if has_keep else keep
        weigh(row, back[i * cols + a : i * cols + b], kept, has_keep, keep_scale,
              log_sum[at[LOG_SUM] + i * steps[LOG_SUM, 3]], d[lo + i])  # fmt: skip


@kernel
def attend_back(q, k, v, y, log_sum, mask, keep, g, gq, gk, gv, bad, sizes, steps, gemm_at,
                has_mask, has_keep, scale, keep_scale, start, stop):  # fmt: skip
    """∂L/∂v = pᵀ·g,   ∂L/∂s = p·(g·vᵀ − d),   ∂L/∂q = ∂L/∂s·k·scale,   ∂L/∂k = ∂L/∂sᵀ·q·scale.

    d = Σ g·y over a row. One head of keys after another, in blocks of keys.
    """
    H, R, L, S, E, D, size = sizes[0], sizes[1], sizes[2], sizes[3], sizes[4], sizes[5], sizes[9]
    d, s, back = np.empty(R * L, q.dtype), np.empty(L * size, q.dtype), np.empty(L * size, q.dtype)
    for u in range(start, stop):
        head = u // H * steps[:, 0] + u % H * steps[:, 1]
        for r in range(R):
            at = head + r * steps[:, 2]
            clear(gq, at[GQ], L, E, steps[GQ, 3])
            row_products(d[r * L : r * L + L], g, at[G], steps[G, 3], y, at[Y], steps[Y, 3], L, D)
        clear(gk, head[GK], S, E, steps[GK, 3])
        clear(gv, head[GV], S, D, steps[GV, 3])
        for first in range(0, S, size):
            cols = min(size, S - first)
            lo, end = first_query(first, sizes), end_of_queries(first + cols - 1, sizes)
            m = end - lo
            key = head + first * steps[:, 3]
            for r in range(R if m > 0 else 0):
                at = head + r * steps[:, 2] + lo * steps[:, 3]
                gemm(gemm_at, PLAIN, TRANSPOSED, m, cols, E, f(scale), q, at[Q], steps[Q, 3],
                     k, key[K], steps[K, 3], f(0.0), s, 0, cols)  # fmt: skip
                gemm(gemm_at, PLAIN, TRANSPOSED, m, cols, D, f(1.0), g, at[G], steps[G, 3],
                     v, key[V], steps[V, 3], f(0.0), back, 0, cols)  # fmt: skip
                weigh_rows(s, back, first, cols, lo, m, log_sum, d[r * L : r * L + L], mask, keep,
                           at, steps, sizes, has_mask, has_keep, f(keep_scale))  # fmt: skip
                gemm(gemm_at, TRANSPOSED, PLAIN, cols, D, m, f(1.0), s, 0, cols,
                     g, at[G], steps[G, 3], f(1.0), gv, key[GV], steps[GV, 3])  # fmt: skip
                gemm(gemm_at, TRANSPOSED, PLAIN, cols, E, m, f(scale), back, 0, cols,
                     q, at[Q], steps[Q, 3], f(1.0), gk, key[GK], steps[GK, 3])  # fmt: skip
                gemm(gemm_at, PLAIN, PLAIN, m, E, cols, f(scale), back, 0, cols,
                     k, key[K], steps[K, 3], f(1.0), gq, at[GQ], steps[GQ, 3])  # fmt: skip
        spoils = spoilt(gk, head[GK], S, E, steps[GK, 3]) or spoilt(
            gv, head[GV], S, D, steps[GV, 3]
        )
        for r in range(R):
            spoils = spoils or spoilt(gq, head[GQ] + r * steps[GQ, 2], L, E, steps[GQ, 3])
        if spoils:
            bad[u] = 1


class LoopAttention(Loop, ScaledDotProductAttention):
    """With masks, dropout, windows and grouped queries; a softcap and ∂L/∂mask are left to NumPy.

    Where a result is not finite, NumPy computes it again: there what a query may not see takes no
    part even if it is infinite.
    """

    @classmethod
    def takes(cls, q, k, v, mask=None, keep=None, softcap=None, **options):
        if softcap is not None or q.dtype not in FLOATS or product_address(q.dtype.char) is None:
            return False
        return all(type(a) is np.ndarray and a.dtype == q.dtype for a in (k, v))

    def all_heads(self, q, k, v, mask, keep, y, log_sum):
        arrays = [q, k, v, y, log_sum, mask, keep]
        if not self.served(*arrays):
            return super().all_heads(q, k, v, mask, keep, y, log_sum)
        spoils = self.run(
            attend, arrays, float(np.finfo(q.dtype).min), float(np.finfo(q.dtype).tiny)
        )
        if spoils and self.causal:
            super().all_heads(q, k, v, mask, keep, y, log_sum)

    def all_heads_back(self, q, k, v, mask, keep, y, log_sum, g, gq, gk, gv, gm):
        arrays = [q, k, v, y, log_sum, mask, keep, g, gq, gk, gv]
        if (
            gm is not None
            or not self.served(*arrays)
            or (self.run(attend_back, arrays) and self.causal)
        ):
            super().all_heads_back(q, k, v, mask, keep, y, log_sum, g, gq, gk, gv, gm)

    def served(self, q, k, v, y, log_sum, mask, keep, *gradients):
        """Whether the arrays lie as a product of BLAS can take them."""
        matrices = [q, k, v, y, *gradients]
        if keep is not None and not (keep.dtype == bool and keep.flags.c_contiguous):
            return False
        if mask is not None and not (mask.dtype == q.dtype and min(mask.strides) >= 0):
            return False
        if self.band.causal and not 0 <= self.band.offset <= k.shape[-2] - q.shape[-2]:
            return False  # some query sees no key
        return q.ndim <= 5 and all(map(_lies_in_rows, matrices))

    def run(self, loop, arrays, *numbers):
        """Run the loop on every core; whether a result was NaN or infinite."""
        q, k, v, *_ = arrays
        band, (R, L, E), (S, D) = self.band, q.shape[-3:], v.shape[-2:]
        units = q.size // max(R * L * E, 1)
        window = S + L if band.window is None else band.window
        sizes = [q.shape[-4], R, L, S, E, D, int(band.causal), band.offset, window, BLOCK_ROWS]
        bad = np.zeros(units, np.int64)
        steps = np.array([_steps(a, i in (K, V, GK, GV)) for i, a in enumerate(arrays)])
        given = [np.zeros(1, bool if i == KEEP else q.dtype) if a is None else flat(a)
                 for i, a in enumerate(arrays)]  # fmt: skip
        given[MASK].flags.writeable = False  # a broadcast one is read-only, so all are
        with blas.one_thread:
            shared(loop, units, units * R * L * S, *given, bad, np.array(sizes), steps,
                   product_address(q.dtype.char), arrays[MASK] is not None,
                   arrays[KEEP] is not None, self.scale, self.keep_scale, *numbers)  # fmt: skip
        return bool(bad.any())


def _lies_in_rows(a: Any) -> bool:
    """Whether a (..., rows, columns) can be a matrix of BLAS: rows that do not overlap."""
    if not (a.size and a.flags.writeable and a.flags.aligned and min(a.strides) >= 0):
        return False
    if a.shape[-1] > 1 and a.strides[-1] != a.itemsize:
        return False
    return all(s % a.itemsize == 0 for s in a.strides) and (
        a.shape[-2] == 1 or a.strides[-2] >= a.itemsize * a.shape[-1]
    )


def _steps(a: Any, of_keys: bool) -> list[int]:
    """The elements between batches, heads, query heads of a key head, rows, and columns of a."""
    if a is None:
        return [0] * 5
    steps = [s // a.itemsize for s in a.strides]
    if of_keys:
        steps.insert(-2, 0)  # (..., H, S, ·): one for all query heads
    if a.shape[-2] == 1:
        steps[-2] = max(steps[-2], a.shape[-1])
    return [0] * (5 - len(steps)) + steps
