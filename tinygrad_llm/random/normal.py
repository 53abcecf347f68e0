"""Normal random numbers from uniform ones, equal to PyTorch's on a CPU to the last bit.

Box and Muller (1958): for u, v uniform in [0, 1), with r = √(−2·log(1 − u)) and θ = 2π·v,

    r·cos θ  and  r·sin θ   are two independent standard normal numbers.

float64 uses log, cos and sin of the C library. float32 uses the polynomials of the Cephes library
(S. Moshier, `logf` and `sinf`, 1984 to 1992), as PyTorch does on x86 processors with AVX2:

    log(2ᵉ·(1 + x)) = x − x²/2 + x³·P(x) + e·log 2,          √½ ≤ 1 + x < √2
    sin x = x + x³·S(x²),   cos x = 1 − x²/2 + x⁴·C(x²),     |x| ≤ π/4

What matters is where numbers are rounded. PyTorch evaluates the polynomials with fused
multiply-adds, y·x + c rounded once, which NumPy does not have. But the product of two float32
numbers is exact in float64, so rounding the float64 sum to float32 gives exactly the same number.
"""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from ..arrays.allocator import keep_memory
from ..arrays.parallel import thread_count
from ..arrays.twins import cpu_twins

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

__all__ = ["fused_multiply_add", "log1p", "normals32", "normals64", "pairs64"]


def _f32(*values: float) -> list[float]:
    """The float32 numbers nearest to `values`."""
    return [float(np.float32(v)) for v in values]


def _steps(coefficients: list[float], *distances: float) -> list[np.ndarray]:
    """The constants that _two_steps takes."""
    numbers = [coefficients[0]]
    for c, distance in zip(coefficients[1:], distances, strict=True):
        shift = 1.5 * 2.0**52 * distance
        numbers += [c + shift, shift]
    return [np.array(x) for x in numbers]


# P(x), highest power first; log 2 = _LN2_HIGH + _LN2_LOW, where e·_LN2_HIGH is exact.
_P = [
    np.array(p)
    for p in _f32(
        *(7.0376836292e-2, -1.1514610310e-1, 1.1676998740e-1, -1.2420140846e-1, 1.4249322787e-1),
        *(-1.6668057665e-1, 2.0000714765e-1, -2.4999993993e-1, 3.3333331174e-1),
    )
]
_LN2_LOW, _LN2_HIGH = (np.array(x, np.float32) for x in (-2.12194440e-4, 0.693359375))
# S and C, highest power first. For each, the distance between neighbouring float32 numbers of the
# size that the sum has after its first and second step: for every x within one power of two.
_S = _f32(-1.9515295891e-4, 8.3321608736e-3, -1.6666654611e-1)
_C = _f32(2.443315711809948e-5, -1.388731625493765e-3, 4.166664568298827e-2)
_S_STEPS, _C_STEPS = _steps(_S, 2.0**-30, 2.0**-26), _steps(_C, 2.0**-33, 2.0**-28)
# π/2 in three parts. PyTorch subtracts j times each from θ, one after the other. The first two are
# so short that nothing is lost: subtracting j times their sum in float64 and rounding once gives
# the same number.
_HALF_PI = np.array(sum(_f32(1.5703125, 4.837512969970703125e-4, 7.54978995489188216e-8)))

_EIGHT, _INT32 = np.dtype("V32"), np.dtype(np.int32)  # eight numbers of 4 bytes; made once
_ROOT_HALF = 0x3F3504F3  # the bits of √½ in float32
_SIGN = -(1 << 31)
_DRAW = 1 << 24  # a uniform float32 is the low 24 bits of a draw, times 2⁻²⁴
_TO_X = _ROOT_HALF + (24 << 23) + _SIGN

# The constants below as 0-d arrays: in a call they cost half as much as Python numbers.
_INT = {
    n: np.array(n, np.int32)
    for n in (22, 23, 30, 31, 1 << 21, (1 << 23) - 1, _DRAW - 1, -_DRAW, _SIGN, _ROOT_HALF, _TO_X)
}
_FLOAT = {x: np.array(x, np.float32) for x in (0.5, 1.0, -2.0)}
_DOUBLE = {x: np.array(x) for x in (0.5, 1.0)}
_ANGLE = np.array(np.float32(2 * math.pi) / np.float32(_DRAW))

PAIRS = 1 << 16  # pairs handled at a time: arrays of this size fit the cache, and calls are few


class _Scratch(threading.local):
    """Arrays for temporary results, one set per thread, kept for the next call."""

    pairs = 0

    def arrays(self, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(ints, floats, doubles) for n pairs: (4, n) int32, (5, n) float32, (3, n) float64."""
        if n > self.pairs:
            self.pairs = min(PAIRS, max(n, 2 * self.pairs))
            self.ints = np.empty((4, self.pairs), np.int32)
            self.floats = np.empty((5, self.pairs), np.float32)
            self.doubles = np.empty((3, self.pairs))
        return self.ints[:, :n], self.floats[:, :n], self.doubles[:, :n]


_scratch = _Scratch()


# ------------------------------------------------------------------------------------- float32
def _two_steps(wide: np.ndarray, z: np.ndarray, steps: list[np.ndarray]) -> None:
    """wide = (c₀·z + c₁)·z + c₂ with each step rounded to float32, z and wide in float64.

    Adding 1.5·2⁵²·distance to a float64 rounds it to a multiple of `distance`, which is the same as
    rounding to float32 if that is the distance between neighbouring float32 numbers.
    """
    first, *sums = steps
    np.multiply(z, first, out=wide)
    wide += sums[0]
    wide -= sums[1]
    wide *= z
    wide += sums[2]
    wide -= sums[3]


def _radius(
    draws: np.ndarray, ints: np.ndarray, floats: np.ndarray, doubles: np.ndarray
) -> np.ndarray:
    """√(−2·log(1 − u)) for u = draws mod 2²⁴ · 2⁻²⁴, in float32; overwrites `draws` (int32)."""
    x, e, y, z = floats[:4]
    wide_x, wide, wide_z = doubles
    exponent = ints[2]
    draws |= _INT[-_DRAW]  # u·2²⁴ − 2²⁴, a negative integer
    x[...] = draws  # −(1 − u)·2²⁴, exact
    bits = x.view(_INT32)
    bits -= _INT[_TO_X]
    np.right_shift(bits, _INT[23], out=exponent)
    e[...] = exponent
    bits &= _INT[(1 << 23) - 1]
    bits += _INT[_ROOT_HALF]  # 1 − u = 2ᵉ·x with √½ ≤ x < √2
    x -= _FLOAT[1.0]

    wide_x[...] = x
    np.multiply(wide_x, _P[0], out=wide)
    for p in _P[1:-1]:  # wide = y·x + p, rounded to float32, times x
        wide += p
        y[...] = wide
        wide[...] = y
        wide *= wide_x
    wide += _P[-1]
    y[...] = wide
    y *= x
    np.multiply(x, x, out=z)
    wide[...] = y
    wide_z[...] = z
    wide *= wide_z
    np.multiply(e, _LN2_LOW, out=y)
    wide += y
    y[...] = wide  # x³·P(x) + e·(the low part of log 2)
    z *= _FLOAT[0.5]
    y -= z
    x += y
    e *= _LN2_HIGH
    x += e
    x *= _FLOAT[-2.0]
    return np.sqrt(x, out=x)


def _on_circle(
    draws: np.ndarray, r: np.ndarray, ints: np.ndarray, floats: np.ndarray, doubles: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """r·cos θ and r·sin θ for θ = 2π·v, v = draws mod 2²⁴ · 2⁻²⁴; overwrites `draws` and r.

    θ = j·π/2 + x with x in [−π/4, π/4]. An odd j swaps sine and cosine.
    """
    x, cosine, sine, z = floats[1:]
    wide_x, wide, wide_z = doubles
    j, odd = ints[2:]
    draws &= _INT[_DRAW - 1]
    x[...] = draws
    x *= _ANGLE
    np.add(draws, _INT[1 << 21], out=j)
    j >>= _INT[22]
    wide[...] = j
    wide *= _HALF_PI
    wide_x[...] = x
    wide_x -= wide
    x[...] = wide_x

    np.multiply(x, x, out=z)
    wide_x[...] = x
    wide_z[...] = z
    _two_steps(wide, wide_z, _C_STEPS)
    cosine[...] = wide
    cosine *= z
    wide[...] = cosine
    wide -= _DOUBLE[0.5]
    wide *= wide_z
    cosine[...] = wide  # (x²·C − ½)·x² = x⁴·C − x²/2
    cosine += _FLOAT[1.0]
    _two_steps(wide, wide_z, _S_STEPS)
    wide *= wide_z
    sine[...] = wide
    wide[...] = sine
    wide += _DOUBLE[1.0]
    wide *= wide_x
    sine[...] = wide  # (x²·S + 1)·x

    # In bits: for odd j swap the two, then negate the cosine; two more quarter turns negate both.
    c, s, swap, sign = (a.view(_INT32) for a in (cosine, sine, z, r))
    np.bitwise_xor(c, s, out=swap)
    np.left_shift(j, _INT[31], out=odd)
    c ^= odd
    odd >>= _INT[31]
    swap &= odd
    s ^= swap
    c ^= swap
    j <<= _INT[30]
    j &= _INT[_SIGN]
    sign ^= j
    cosine *= r
    sine *= r
    return cosine, sine


def _block(draws: np.ndarray, out: np.ndarray) -> None:
    """Fill `out` with normals from as many draws (a multiple of 16, uint32).

    Of every 16 draws the first 8 are for the radii and the last 8 for the angles; of every 16
    normals the first 8 are the cosines and the last 8 the sines.
    """
    ints, floats, doubles = _scratch.arrays(len(draws) // 2)
    eights = draws.view(_EIGHT).reshape(-1, 2)  # 8 numbers of 4 bytes at a time
    ints[0].view(_EIGHT)[:] = eights[:, 0]
    ints[1].view(_EIGHT)[:] = eights[:, 1]
    r = _radius(ints[0], ints, floats, doubles)
    cosine, sine = _on_circle(ints[1], r, ints, floats, doubles)
    eights = out.view(_EIGHT).reshape(-1, 2)
    eights[:, 0] = cosine.view(_EIGHT)
    eights[:, 1] = sine.view(_EIGHT)


_pool: ThreadPoolExecutor | None = None  # helping threads, started when they are first needed


def _forget_pool() -> None:
    """A forked child has no threads of its parent: it starts its own."""
    global _pool
    _pool = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_pool)


def normals32(draw: Callable[[int], np.ndarray], out: np.ndarray) -> None:
    """Fill `out` (1-D float32, its size a multiple of 16) with standard normals.

    draw(n) returns the next n draws of the stream (uint32). The draws must be in order, but the
    arithmetic on them is shared among threads: this one draws first, and then helps the others.
    """
    global _pool
    step = 2 * PAIRS
    loops = cpu_twins(out)
    if loops is not None and loops.normals:
        for i in range(0, out.size, step):
            part = out[i : i + step]
            loops.normals(draw(part.size), part)
        return
    if out.size < 2 * step or thread_count() == 1:
        for i in range(0, out.size, step):
            part = out[i : i + step]
            _block(draw(part.size), part)
        return
    if _pool is None:
        from concurrent.futures import ThreadPoolExecutor  # slow to import

        _pool = ThreadPoolExecutor(max(1, min(thread_count(), 8) - 1), "tinygrad_llm.random")
    keep_memory()
    jobs: list[tuple[Future[None], np.ndarray, np.ndarray]] = []
    for i in range(0, out.size, step):
        part = out[i : i + step]
        draws = draw(part.size)
        if len(jobs) > 64:  # the threads are far behind: do not pile up draws
            jobs.pop(0)[0].result()
        jobs.append((_pool.submit(_block, draws, part), draws, part))
    for job, draws, part in reversed(jobs):
        if job.cancel():
            _block(draws, part)
    for job, _, _ in jobs:
        if not job.cancelled():
            job.result()


# ------------------------------------------------------------------------------------- float64
def _log_and_circle(log: np.ndarray, angle: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """√(−2·log)·cos(angle) and √(−2·log)·sin(angle).

    NumPy's complex exp calls the C library's cosine and sine, as PyTorch does; np.cos and np.sin
    have other code, which sometimes differs in the last bit.
    """
    z = np.zeros(angle.shape, np.complex128)
    z.imag = angle
    np.exp(z, out=z)
    r = np.sqrt(-2.0 * log)
    return r * z.real, r * z.imag


def normals64(uniforms: np.ndarray) -> np.ndarray:
    """Standard normals from as many uniforms (float64, a multiple of 16), in blocks of 16."""
    u = uniforms.reshape(-1, 2, 8)  # (n) -> (n / 16, 2, 8)
    # The complex log1p(−u) is log(|1 − u|) of the C library, as exp above.
    log = np.log1p(np.negative(u[:, 0]).astype(np.complex128)).real
    return np.stack(_log_and_circle(log, 2.0 * math.pi * u[:, 1]), 1).reshape(-1)


_log1p = np.frompyfunc(math.log1p, 1, 1)


def log1p(x: np.ndarray) -> np.ndarray:
    """log(1 + x) in float64 by the C library's function: equal to the last bit, but slow."""
    return np.asarray(_log1p(x), np.float64).reshape(np.shape(x))


def pairs64(uniforms: np.ndarray) -> np.ndarray:
    """Standard normals from as many uniforms (float64, an even number), in pairs (angle, radius).

    PyTorch does so for fewer than 16 numbers and for memory with gaps, in float64 for every dtype.
    """
    u = uniforms.reshape(-1, 2)  # (n) -> (n / 2, 2)
    log = log1p(-u[:, 1])
    return np.stack(_log_and_circle(log, 2.0 * math.pi * u[:, 0]), 1).reshape(-1)


# --------------------------------------------------------------------------- fused multiply-add
_SPLIT = 2.0**27 + 1.0


def fused_multiply_add(x: np.ndarray, a: float, b: float) -> np.ndarray:
    """x·a + b rounded once, for arrays of float32 or float64 and a, b of the same dtype.

    float32 is computed in float64, where the product is exact. float64 computes the rounding errors
    of product and sum (Dekker, 1971, and Knuth's two-sum), and adds them at the end.
    """
    if x.dtype == np.float32:
        wide = x.astype(np.float64)
        wide *= a
        wide += b
        return wide.astype(np.float32)
    product = x * a
    high = x * _SPLIT
    high -= high - x
    low = x - high
    a_high = a * _SPLIT
    a_high -= a_high - a
    a_low = a - a_high
    lost = high * a_high - product + high * a_low + low * a_high + low * a_low
    total = product + b
    back = total - product
    lost += (product - (total - back)) + (b - back)
    return total + lost
