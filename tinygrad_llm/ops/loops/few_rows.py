"""A matrix times few rows, and the parts of a decoder's block for them: norms, attention of a head.

Few rows are multiplied with every weight, so that the time is that of reading the weights. Each is
read once, for all rows. Weights in bfloat16 are read as integers of 16 bits, half of the bytes.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...arrays.special import CDF_COEFFICIENTS
from .compiling import helper, kernel, shared
from .elementary import exp_normal, largest, sigmoid
from .lanes import fetch, number_of
from .twin import dense, dense_bits

__all__ = [
    "activated", "attended", "few_rows_product", "normed", "one_row", "products",
    "takes_few_rows", "turned",
]  # fmt: skip

f: Any = np.float64  # in a compiled copy the arrays' dtype
DOUBLE = True
Q0, Q1, Q2, Q3, Q4, Q5, Q6 = CDF_COEFFICIENTS
AHEAD, LINE = 8, 32  # rows that are fetched early, and bfloat16 numbers that come together
STRIP = 16  # rows of a matrix that are multiplied with all rows of x, one after the other
TWO_C = 1.5957691216057308  # 2·√(2/π)
CUBE = 0.044715


@helper
def normed(x, y, gain, shift, eps, offset, kind):
    """kind 1: y = w·(x − μ)/√(σ² + ε) + b; 2: y = (offset + w)·x/√(mean(x²) + ε); y may be x."""
    n = f(x.size)
    mean = f(0.0)
    if kind == 1:
        for j in range(x.size):
            mean += x[j]
        mean /= n
    r = f(1.0)
    if kind > 0:
        squares = f(0.0)
        for j in range(x.size):
            d = x[j] - mean
            squares += d * d
        r = f(1.0) / np.sqrt(squares / n + f(eps))
    if kind == 0:
        for j in range(x.size):
            y[j] = x[j]
    elif kind == 1:
        for j in range(x.size):
            y[j] = (x[j] - mean) * r * gain[j] + shift[j]
    else:
        for j in range(x.size):
            y[j] = x[j] * r * (gain[j] + f(offset))


@helper
def one_row(w, x, y):
    """y = W·x, four rows of W at a time: x (C), w (N, C) of numbers or of bits, y (N).

    In bfloat16 four rows often lie in one page of memory, and a processor that sees four places of
    a page read alternately does not fetch the next ones by itself: 8 GB/s, with `fetch` 12.
    """
    whole_fours = w.shape[0] // 4 * 4
    for i in range(0, whole_fours, 4):
        if w.itemsize == 2:
            for j in range(0, 4 * x.size, LINE):
                fetch(w, (i + AHEAD) * x.size + j)
        a, b, c, d = w[i], w[i + 1], w[i + 2], w[i + 3]
        s, t, u, v = f(0.0), f(0.0), f(0.0), f(0.0)
        for j in range(x.size):
            s += number_of(a[j]) * x[j]
            t += number_of(b[j]) * x[j]
            u += number_of(c[j]) * x[j]
            v += number_of(d[j]) * x[j]
        y[i], y[i + 1], y[i + 2], y[i + 3] = s, t, u, v
    for i in range(whole_fours, w.shape[0]):
        a, s = w[i], f(0.0)
        for j in range(x.size):
            s += number_of(a[j]) * x[j]
        y[i] = s


@helper
def four_rows(w, x, y):
    """y = x·Wᵀ for four rows, two rows of W at a time: x (4, C), w (N, C), y (4, N)."""
    p, q, r, s = x[0], x[1], x[2], x[3]
    for i in range(0, w.shape[0], 2):
        k = min(i + 1, w.shape[0] - 1)
        a, b = w[i], w[k]
        a0, a1, a2, a3 = f(0.0), f(0.0), f(0.0), f(0.0)
        b0, b1, b2, b3 = f(0.0), f(0.0), f(0.0), f(0.0)
        for j in range(a.size):
            a0 += p[j] * number_of(a[j])
            a1 += q[j] * number_of(a[j])
            a2 += r[j] * number_of(a[j])
            a3 += s[j] * number_of(a[j])
            b0 += p[j] * number_of(b[j])
            b1 += q[j] * number_of(b[j])
            b2 += r[j] * number_of(b[j])
            b3 += s[j] * number_of(b[j])
        y[0, i], y[1, i], y[2, i], y[3, i] = a0, a1, a2, a3
        y[0, k], y[1, k], y[2, k], y[3, k] = b0, b1, b2, b3


@helper
def eight_rows(w, x, y):
    """y = x·Wᵀ for eight rows, two rows of W at a time: x (8, C), w (N, C), y (8, N)."""
    p0, p1, p2, p3, p4, p5, p6, p7 = x[0], x[1], x[2], x[3], x[4], x[5], x[6], x[7]
    for i in range(0, w.shape[0], 2):
        k = min(i + 1, w.shape[0] - 1)
        a, b, zero = w[i], w[k], f(0.0)
        a0, a1, a2, a3, a4, a5, a6, a7 = zero, zero, zero, zero, zero, zero, zero, zero
        b0, b1, b2, b3, b4, b5, b6, b7 = zero, zero, zero, zero, zero, zero, zero, zero
        for j in range(a.size):
            u, v = number_of(a[j]), number_of(b[j])
            a0 += u * p0[j]
            b0 += v * p0[j]
            a1 += u * p1[j]
            b1 += v * p1[j]
            a2 += u * p2[j]
            b2 += v * p2[j]
            a3 += u * p3[j]
            b3 += v * p3[j]
            a4 += u * p4[j]
            b4 += v * p4[j]
            a5 += u * p5[j]
            b5 += v * p5[j]
            a6 += u * p6[j]
            b6 += v * p6[j]
            a7 += u * p7[j]
            b7 += v * p7[j]
        y[0, i], y[1, i], y[2, i], y[3, i] = a0, a1, a2, a3
        y[4, i], y[5, i], y[6, i], y[7, i] = a4, a5, a6, a7
        y[0, k], y[1, k], y[2, k], y[3, k] = b0, b1, b2, b3
        y[4, k], y[5, k], y[6, k], y[7, k] = b4, b5, b6, b7


@helper
def products(w, x, y):
    """y = x·Wᵀ: x (R, C), w (N, C), y (R, N). Strips of W stay in the cache for all rows.

    One row of x reads W as fast as memory delivers it, the many do not: they read two rows of W for
    so long that the processor does not fetch the next ones ahead. So a strip is first multiplied
    with one row alone, which brings it into the cache.
    """
    R = x.shape[0]
    strip = STRIP if R > 1 else w.shape[0]
    for i in range(0, w.shape[0], strip):
        e = min(i + strip, w.shape[0])
        if R > 3:
            one_row(w[i:e], x[0], y[0, i:e])
        for r in range(0, R - 7, 8):
            eight_rows(w[i:e], x[r : r + 8], y[r : r + 8, i:e])
        for r in range(R // 8 * 8, R - 3, 4):
            four_rows(w[i:e], x[r : r + 4], y[r : r + 4, i:e])
        for r in range(R // 4 * 4, R):
            one_row(w[i:e], x[r], y[r, i:e])


@kernel
def strips_times(w, x, y, start, stop):
    """y = x·Wᵀ for the strips start … stop of W: x (R, C), w (N, C), y (R, N)."""
    for s in range(start, stop):
        i, e = s * STRIP, min(s * STRIP + STRIP, w.shape[0])
        products(w[i:e], x, y[:, i:e])


@kernel
def strips_of_bits_times(x, w, y, start, stop):
    """As strips_times for W in bfloat16, as integers of 16 bits: x (R, C), w (N, C), y (R, N)."""
    for s in range(start, stop):
        i, e = s * STRIP, min(s * STRIP + STRIP, w.shape[0])
        products(w[i:e], x, y[:, i:e])


def takes_few_rows(x: Any, w: Any) -> bool:
    """Whether `few_rows_product` serves x (R, C) and W (N, C), which may be in bfloat16."""
    if w.dtype.itemsize == 2:
        return x.size > 0 and dense(x) and dense_bits(w)
    return x.size > 0 and dense(x, w)


def few_rows_product(x: Any, w: Any) -> Any:
    """x·Wᵀ on every core, in strips of W that do not depend on their number: (R, C) -> (R, N)."""
    y, strips = np.empty((len(x), len(w)), x.dtype), -(-len(w) // STRIP)
    if w.dtype.itemsize == 2:
        shared(strips_of_bits_times, strips, w.size, x, w.view(np.uint16), y)
    else:
        shared(strips_times, strips, w.size, w, x, y)
    return y


@helper
def gelu_factor(v):
    """Φ(v), the share of a normal distribution below v, as loops/activation.py computes it."""
    square = v * v
    if DOUBLE:
        return f(0.5) + f(0.5) * f(math.erf(v * f(math.sqrt(0.5))))
    q = f(Q5) + f(Q6) * square
    q = f(Q4) + q * square
    q = f(Q3) + q * square
    q = f(Q2) + q * square
    q = f(Q1) + q * square
    q = f(Q0) + q * square
    return sigmoid(f(2.0) * v * q)


@helper
def activated(v, kind):
    """kind 0: v; 1: GELU, tanh form; 2: SiLU; 3: ReLU; 4: GELU, exact."""
    y = v
    if kind == 1:
        y = v * sigmoid(f(TWO_C) * v * (f(1.0) + f(CUBE) * v * v))
    elif kind == 2:
        y = v * sigmoid(v)
    elif kind == 3:
        y = max(v, f(0.0))
    elif kind == 4:
        y = v * gelu_factor(v)
    return y


@helper
def turned(x, y, cos, sin, interleaved):
    """Rotary positions: y is x (D) with its pairs turned; cos and sin (pairs)."""
    n = cos.size
    for j in range(x.size):
        y[j] = x[j]
    for j in range(n):
        a, b = (2 * j, 2 * j + 1) if interleaved else (j, n + j)
        first, second = x[a], x[b]
        y[a] = first * cos[j] - second * sin[j]
        y[b] = second * cos[j] + first * sin[j]


@helper
def attended(q, keys, values, seen, masked, scores, y, scale, cap):
    """y = Σ p·v,   p = softmax(c(q·k·scale)), over keys (S, D); c(s) = cap·tanh(s/cap), or s.

    seen (S): which keys count, if masked. tanh u = 2·σ(2u) − 1.
    """
    one_row(keys, q, scores)
    for s in range(scores.size):
        scores[s] *= scale
    if cap > f(0.0):
        for s in range(scores.size):
            scores[s] = cap * (f(2.0) * sigmoid(f(2.0) * scores[s] / cap) - f(1.0))
    if masked:
        for s in range(scores.size):
            scores[s] = scores[s] if seen[s] != 0 else f(-np.inf)
    top, total = largest(scores), f(0.0)
    for s in range(scores.size):
        scores[s] = exp_normal(scores[s] - top)
    for s in range(scores.size):
        total += scores[s]
    for j in range(y.size):
        y[j] = f(0.0)
    fours = 0 if masked else scores.size // 4 * 4
    for s in range(0, fours, 4):
        a, b, c, d = scores[s], scores[s + 1], scores[s + 2], scores[s + 3]
        v, w, x, z = values[s], values[s + 1], values[s + 2], values[s + 3]
        for j in range(y.size):
            y[j] += (a * v[j] + b * w[j]) + (c * x[j] + d * z[j])
    for s in range(fours, scores.size):
        if scores[s] != f(0.0):
            a, v = scores[s], values[s]
            for j in range(y.size):
                y[j] += a * v[j]
    inverse = f(1.0) / total
    for j in range(y.size):
        y[j] *= inverse
