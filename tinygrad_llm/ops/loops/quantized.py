"""Loops over weights of 4 bits: a product with few rows, bound by the bytes of the weights."""

from __future__ import annotations

from typing import Any

import numpy as np

from .compiling import kernel, shared

__all__ = ["product4"]

f: Any = np.float64  # in a compiled copy the arrays' dtype


@kernel
def product4_loop(x, sums, scales, offsets, y, codes, start, stop):
    """y = Σ over blocks of d·Σⱼ q_j·x_j + m·Σⱼ x_j, for the groups of 32 rows from start to stop.

    x (N, I), sums (N, I/32) of each block of x, scales d and offsets m (G, I/32, 32), y (G, N, 32),
    codes q (G, I/32, 16, 32): byte j holds q_j in its low half and q_{j+16} in its high half. The
    innermost loop is over rows, so that no block needs a sum across a vector.
    """
    total = np.zeros(32, x.dtype)
    part = np.zeros(32, x.dtype)
    codes, scales, offsets = codes[start:stop], scales[start:stop], offsets[start:stop]
    y = y[start:stop]
    for g in range(len(codes)):
        for n in range(len(x)):
            for r in range(32):
                total[r] = f(0)
            for b in range(sums.shape[1]):
                for r in range(32):
                    part[r] = f(0)
                for j in range(16):
                    low, high = x[n, 32 * b + j], x[n, 32 * b + 16 + j]
                    q = codes[g, b, j]
                    for r in range(32):
                        v = np.int32(q[r])
                        part[r] += f(v & np.int32(15)) * low + f(v >> np.int32(4)) * high
                d, m, s = scales[g, b], offsets[g, b], sums[n, b]
                for r in range(32):
                    total[r] += part[r] * d[r] + m[r] * s
            for r in range(32):
                y[g, n, r] = total[r]


def product4(x: Any, sums: Any, scales: Any, offsets: Any, y: Any, codes: Any) -> None:
    """y = x·Wᵀ for W of 4 bits; the arrays of product4_loop, y is written."""
    shared(product4_loop, len(codes), codes.size, x, sums, scales, offsets, y, codes)
