"""exp, sigmoid and tanh as short polynomials, which LLVM can vectorise; calls of libm it cannot.

Each is written once. In the words `f` (the dtype), `whole` (integers as wide), DOUBLE, BITS (of the
fraction) and BIAS (of the exponent) the compiled copies differ, one for float32, one for float64.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .compiling import helper, precise_helper

__all__ = ["exp", "exp_normal", "exp_row", "largest", "less_both", "piece", "sigmoid", "tanh"]

f: Any = np.float64
whole: Any = np.int64
DOUBLE, BITS, BIAS = True, 52, 1023


@precise_helper
def in_parts(t):
    """(k, n, r) with t = n·ln 2 + r,   n = t/ln 2 to the nearest whole number,   |r| ≤ 0.347.

    A number as large as 1.5·2²³ has no digits behind the point (of float64, 1.5·2⁵²): a sum with it
    is rounded to a whole number, and k, the bits of that sum, end with those of n. This takes less
    than rounding and converting. ln 2 is subtracted in two parts, of which the first has few
    digits, so that n times it is exact.
    """
    large = f(6755399441055744.0) if DOUBLE else f(12582912.0)
    total = t * f(1.4426950408889634) + large
    n = total - large
    k = f(total).view(whole)
    if DOUBLE:
        return k, n, (t - n * f(0.6931471803691238)) - n * f(1.9082149292705877e-10)
    return k, n, (t - n * f(0.693359375)) - n * f(-2.1219444005469057e-4)


@precise_helper
def series(r):
    """(eʳ − 1)/r   for |r| ≤ 0.347: in float64 Σ rᵏ/(k + 1)!, in float32 the nearest polynomial.

    Its largest relative error, 1.5e-8, is the smallest that a polynomial of degree five can have
    whose first two coefficients are 1 and ½.
    """
    if DOUBLE:
        p = r * f(1 / 6227020800) + f(1 / 479001600)
        p = p * r + f(1 / 39916800)
        p = p * r + f(1 / 3628800)
        p = p * r + f(1 / 362880)
        p = p * r + f(1 / 40320)
        p = p * r + f(1 / 5040)
        p = p * r + f(1 / 720)
        p = p * r + f(1 / 120)
        p = p * r + f(1 / 24)
        p = p * r + f(1 / 6)
    else:
        p = r * f(0.0013898226) + f(0.0083660400)
        p = p * r + f(0.0416668542)
        p = p * r + f(0.1666654944)
    p = p * r + f(0.5)
    return p * r + f(1.0)


@precise_helper
def exp(x):
    """eˣ = 2ⁿ·eʳ,   x = n·ln 2 + r.

    2ⁿ is made by writing n into the bits of an exponent; in two factors, so that results below the
    smallest normal number are rounded and not lost, and those above the largest are infinite. x is
    first brought into the range where something happens; a NaN is put back at the end. Where eˣ is
    0, x becomes a number for which the bits of both factors are those of 0: a product that is
    rounded to 0 is slow on Intel, where a softmax of which half is masked took three times as long.
    """
    if DOUBLE:
        t = x if x > f(-745.2) else f(-1418.0)
        t = t if t < f(710.0) else f(710.0)
    else:
        t = x if x > f(-104.0) else f(-176.0)
        t = t if t < f(89.0) else f(89.0)
    _, n, r = in_parts(t)
    p = series(r) * r + f(1.0)
    k = whole(n)
    half = whole(k >> whole(1))
    one = whole(whole(half + whole(BIAS)) << whole(BITS)).view(f)
    other = whole(whole(k - half + whole(BIAS)) << whole(BITS)).view(f)
    y = p * one * other
    return y if x == x else x


@precise_helper
def exp_normal(x):
    """eˣ = 2ⁿ·eʳ where it is a normal number, in a quarter less work than exp.

    n is added to the exponent of eʳ. 0 where eˣ is below the smallest normal number, as in a
    softmax, whose x are at most 0; x must not be above 88.7, of float64 709.7.
    """
    least = f(-708.3) if DOUBLE else f(-87.3)
    k, _, r = in_parts(x)
    p = f(series(r) * r + f(1.0)).view(whole)
    y = whole(p + whole(k << whole(BITS))).view(f)
    tail = f(0.0) if x < least else x  # a NaN stays one
    return y if x >= least else tail


@precise_helper
def tanh(x):
    """tanh |x| = t/(t + 2),   t = e²ˣ − 1 = 2ⁿ·(eʳ − 1) + (2ⁿ − 1),   2|x| = n·ln 2 + r.

    The sign is written into the result's bits: tanh(−0) = −0.
    """
    u = abs(x + x)
    u = f(40.0) if u > f(40.0) else u  # beyond, it is 1; a NaN stays one
    k, _, r = in_parts(u)
    scale = whole(whole(k << whole(BITS)) + whole(BIAS << BITS)).view(f)
    t = scale * (series(r) * r) + (scale - f(1.0))
    sign = whole(f(x).view(whole) & whole(whole(-1) << whole(63 if DOUBLE else 31)))
    return whole(f(t / (t + f(2.0))).view(whole) | sign).view(f)


@precise_helper
def sigmoid(x):
    """σ(x) = 1/(1 + e⁻ˣ), to the last digits also where it is small; 0 where e⁻ˣ is infinite."""
    y = f(1.0) / (f(1.0) + exp_normal(-x))
    return f(0.0) if x < (f(-709.7) if DOUBLE else f(-88.7)) else y


@precise_helper
def largest(row):
    """The largest number of a row: the maximum of integers in the same order as the numbers.

    LLVM does not vectorise a maximum of floats unless it may ignore NaN. The bits of a float, read
    as an integer, are in order if it is positive; the lower bits of a negative one are reversed. A
    NaN comes out first or last: what subtracts this maximum from the row is NaN there anyway.
    """
    bits = row.view(whole)
    most = ordered(bits[0])
    for j in range(bits.size):
        most = max(most, ordered(bits[j]))
    return whole(ordered(most)).view(f)


@precise_helper
def ordered(b):
    """The bits of a float as an integer in the order of the floats, and from there to the bits."""
    sign = whole(b >> whole(63 if DOUBLE else 31))  # −1 for a negative number, else 0
    return whole(b ^ whole(sign & whole(0x7FFFFFFFFFFFFFFF if DOUBLE else 0x7FFFFFFF)))


@helper
def exp_row(x, e, m):
    """e = exp(x − m) for m = max x, into another array than x; returns Σ e."""
    total = f(0.0)
    for j in range(x.size):
        t = exp_normal(x[j] - m)
        e[j] = t
        total += t
    return total


@precise_helper
def less_both(x, a, b):
    """(x − a) − b, in this order: x − (a + b), which LLVM prefers in a loop, loses b's digits."""
    return (x - a) - b


@helper
def piece(i, stop, columns):
    """From element i on: its row, its place in the row, and how many elements follow up to stop."""
    row, place = i // columns, i % columns
    return row, place, min(columns - place, stop - i)
