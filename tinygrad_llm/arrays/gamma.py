"""The logarithm of Γ, its derivatives ψ⁽ⁿ⁾ and Hurwitz' ζ, and the quantiles of the normal
distribution: computed in float64 by series and rational functions, on a CPU and on a GPU.

Abramowitz and Stegun, "Handbook of Mathematical Functions" (1964), chapters 6 and 23: the numbers
beside the formulas. Every function takes float64 arrays and returns new ones.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np

from .devices import xp_of
from .silence import quiet
from .special import complement_of_erf

__all__ = [
    "density_over_cdf",
    "digamma",
    "erfinv",
    "lgamma",
    "log_normal_cdf",
    "normal_quantile",
    "polygamma",
]

# B₂, B₄ … B₂₄, Bernoulli's numbers (23.1)
_BERNOULLI = (1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66, -691 / 2730, 7 / 6, -3617 / 510,
              43867 / 798, -174611 / 330, 854513 / 138, -236364091 / 2730)  # fmt: skip
_FAR = 10  # from here on the asymptotic series reach float64's last digits
_EULER = 0.57721566490153286


def _polynomial(coefficients: Any, x: Any) -> Any:
    """c₀ + c₁x + c₂x² + …"""
    total = coefficients[-1]
    for c in coefficients[-2::-1]:
        total = total * x + c
    return total


@functools.cache
def _near_one() -> list[float]:
    """The coefficients of log Γ(2 + z) = (1 − γ)·z + Σ (−1)ᵏ·(ζ(k) − 1)/k·zᵏ, k ≥ 2 (6.1.33)."""
    k = range(2, 28)
    zetas = [float(_zeta(float(n), np.full(1, 2.0))[0]) for n in k]  # Σ over m ≥ 2 of m⁻ⁿ
    return [0.0, 1.0 - _EULER, *[(-1) ** n * z / n for n, z in zip(k, zetas, strict=True)]]


@quiet
def lgamma(x: Any) -> Any:
    """log |Γ(x)|; +∞ at 0, −1, −2 …

    Near 1 and 2, where it is 0, the series at 2; else Stirling's (6.1.40) at x + n ≥ 10, minus
    log x·(x + 1)…(x + n − 1); for x < 0 log(π/|sin πx|) − log Γ(1 − x) (6.1.17).
    """
    xp = xp_of(x)
    negative = x < 0
    a = xp.where(negative, 1.0 - x, x)
    y, product = a, xp.ones_like(a)
    for _ in range(_FAR):
        small = y < _FAR
        product = xp.where(small, product * y, product)
        y = xp.where(small, y + 1.0, y)
    series = [b / ((2 * k + 2) * (2 * k + 1)) for k, b in enumerate(_BERNOULLI[:8])]
    tail = _polynomial(series, 1.0 / (y * y)) / y + 0.5 * math.log(2.0 * math.pi)
    value = (y - 0.5) * xp.log(y) - y + tail - xp.log(product)
    z = xp.where(a < 1.5, a - 1.0, a - 2.0)
    close = _polynomial(_near_one(), z) - xp.where(a < 1.5, xp.log1p(z), 0.0)
    value = xp.where(abs(z) < 0.3, close, value)
    value = xp.where(xp.isinf(x) | (a > 1e306), math.inf, value)
    tiny = abs(x) < 1e-100  # Γ(x) = 1/x
    sine = abs(xp.sin(math.pi * (x - xp.round(x))))
    mirrored = math.log(math.pi) - xp.log(sine) - value
    value = xp.where(negative & xp.isfinite(x), mirrored, value)
    return xp.where(tiny, -xp.log(abs(x)), value)


@quiet
def digamma(x: Any) -> Any:
    """ψ(x) = d/dx log Γ(x); −∞ at 0, +∞ at −0, NaN at −1, −2 …

    The asymptotic series (6.3.18) at x + n ≥ 10, minus 1/x + … + 1/(x + n − 1); for x < 0
    ψ(1 − x) − π/tan πx (6.3.7).
    """
    xp = xp_of(x)
    negative = x < 0
    y = xp.where(negative, 1.0 - x, x)
    shift = xp.zeros_like(y)
    for _ in range(_FAR):
        small = y < _FAR
        shift = xp.where(small, shift + 1.0 / y, shift)
        y = xp.where(small, y + 1.0, y)
    series = [b / (2 * k + 2) for k, b in enumerate(_BERNOULLI[:8])]
    u = 1.0 / (y * y)
    value = xp.log(y) - 0.5 / y - u * _polynomial(series, u) - shift
    turn = x - xp.round(x)  # tan has the period 1 in x
    poles = turn == 0
    value = xp.where(
        negative, value - math.pi / xp.tan(math.pi * xp.where(poles, 0.5, turn)), value
    )
    return xp.where(negative & poles, math.nan, xp.where(x == 0, -1.0 / x, value))


@quiet
def _zeta(s: float, q: Any) -> Any:
    """Hurwitz' ζ(s, q) = Σ (q + k)⁻ˢ over k ≥ 0, for q > 0: ten terms, and Euler and Maclaurin's
    formula for the others (23.1.30)."""
    total = q**-s
    for k in range(1, _FAR):
        total = total + (q + k) ** -s
    a = q + _FAR
    power = a**-s
    total = total + power * (a / (s - 1.0) + 0.5)
    rising = s
    for k, b in enumerate(_BERNOULLI):
        power = power / a
        total = total + b * rising / math.factorial(2 * k + 2) * power
        power = power / a
        rising *= (s + 2 * k + 1) * (s + 2 * k + 2)
    return total


def _cotangents(n: int) -> list[float]:
    """The polynomial P in c = cot u with dⁿ/duⁿ cot u = P(c): P′ → −(1 + c²)·P′(c)."""
    p = [0.0, 1.0]
    for _ in range(n):
        d = [k * c for k, c in enumerate(p)][1:]  # P′
        p = [-(a + b) for a, b in zip([*d, 0.0, 0.0], [0.0, 0.0, *d], strict=True)]
    return p


@quiet
def polygamma(n: int, x: Any) -> Any:
    """ψ⁽ⁿ⁾(x), the n-th derivative of ψ; for n ≥ 1 (−1)ⁿ⁺¹·n!·ζ(n + 1, x) (6.4.10).

    For x < 0 it is (−1)ⁿ·ψ⁽ⁿ⁾(1 − x) − π·dⁿ/dxⁿ cot πx (6.4.7); (−1)ⁿ⁺¹·∞ at 0, −1, −2 …
    """
    if n == 0:
        return digamma(x)
    xp = xp_of(x)
    negative = x < 0
    sign = 1.0 if n % 2 else -1.0
    size = float(math.factorial(n)) if n < 171 else math.inf
    value = sign * size * _zeta(n + 1.0, xp.where(negative, 1.0 - x, x))
    turn = x - xp.round(x)
    poles = turn == 0
    cot = 1.0 / xp.tan(math.pi * xp.where(poles, 0.5, turn))
    mirrored = -sign * value - math.pi ** (n + 1) * _polynomial(_cotangents(n), cot)
    value = xp.where(negative, mirrored, value)
    value = xp.where(x == math.inf, 0.0, value)
    pole = (x == 0) | (negative & poles) | ((x == -math.inf) & (n > 1))
    return xp.where(pole, sign * math.inf, value)


# ------------------------------------------------------------------------ the normal distribution
# Wichura, "Algorithm AS 241: The percentage points of the normal distribution", Applied Statistics
# 37 (1988): numerators and denominators for the middle, the tails and the far tails.
_MIDDLE = (
    (3.3871328727963666080, 133.14166789178437745, 1971.5909503065514427, 13731.693765509461125,
     45921.953931549871457, 67265.770927008700853, 33430.575583588128105, 2509.0809287301226727),
    (1.0, 42.313330701600911252, 687.18700749205790830, 5394.1960214247511077,
     21213.794301586595867, 39307.895800092710610, 28729.085735721942674, 5226.4952788528545610),
)  # fmt: skip
_TAILS = (
    (1.42343711074968357734, 4.63033784615654529590, 5.76949722146069140550,
     3.64784832476320460504, 1.27045825245236838258, 0.241780725177450611770,
     0.0227238449892691845833, 7.74545014278341407640e-4),
    (1.0, 2.05319162663775882187, 1.67638483018380384940, 0.689767334985100004550,
     0.148103976427480074590, 0.0151986665636164571966, 5.47593808499534494600e-4,
     1.05075007164441684324e-9),
)  # fmt: skip
_FAR_TAILS = (
    (6.65790464350110377720, 5.46378491116411436990, 1.78482653991729133580,
     0.296560571828504891230, 0.0265321895265761230930, 1.24266094738807843860e-3,
     2.71155556874348757815e-5, 2.01033439929228813265e-7),
    (1.0, 0.599832206555887937690, 0.136929880922735805310, 0.0148753612908506148525,
     7.86869131145613259100e-4, 1.84631831751005468180e-5, 1.42151175831644588870e-7,
     2.04426310338993978564e-15),
)  # fmt: skip


def _quantile(q: Any, tail: Any) -> Any:
    """The x with Φ(x) = ½ + q, given also min(½ + q, ½ − q), with all its digits."""
    xp = xp_of(q)

    def ratio(pair: Any, r: Any) -> Any:
        return _polynomial(pair[0], r) / _polynomial(pair[1], r)

    size = abs(q)
    middle = q * ratio(_MIDDLE, 0.180625 - q * q)
    r = xp.sqrt(-xp.log(tail))
    outer = xp.where(r <= 5.0, ratio(_TAILS, r - 1.6), ratio(_FAR_TAILS, r - 5.0))
    outer = xp.copysign(xp.where(tail == 0, math.inf, outer), q)
    value = xp.where(size <= 0.425, middle, outer)
    return xp.where(size > 0.5, math.nan, value)


@quiet
def normal_quantile(p: Any) -> Any:
    """The x with Φ(x) = p, where Φ is the normal distribution's; ±∞ at 0 and 1, NaN beyond."""
    return _quantile(p - 0.5, xp_of(p).minimum(p, 1.0 - p))


@quiet
def erfinv(y: Any) -> Any:
    """The x with erf x = y; ±∞ at ±1, NaN beyond."""
    return _quantile(0.5 * y, 0.5 * (1.0 - abs(y))) * math.sqrt(0.5)


@quiet
def log_normal_cdf(x: Any) -> Any:
    """log Φ(x): from erfc, and for x < −30 the asymptotic series of Φ (26.2.12)."""
    xp = xp_of(x)
    upper = xp.log1p(-0.5 * complement_of_erf(x * math.sqrt(0.5)))
    lower = xp.log(0.5 * complement_of_erf(-x * math.sqrt(0.5)))
    far = -0.5 * x * x - xp.log(-x) - 0.5 * math.log(2.0 * math.pi) + xp.log1p(_far_below(x))
    return xp.where(x < -30.0, far, xp.where(x < 0, lower, upper))


def _far_below(x: Any) -> Any:
    """−x·Φ(x)/φ(x) − 1, where φ is the density, for x far below 0 (26.2.12)."""
    u = 1.0 / (x * x)
    return u * _polynomial((-1.0, 3.0, -15.0, 105.0), u)


@quiet
def density_over_cdf(x: Any, log_cdf: Any) -> Any:
    """φ(x)/Φ(x), given log Φ(x): the derivative of log Φ."""
    xp = xp_of(x)
    near = xp.exp(-0.5 * x * x - log_cdf) * (1.0 / math.sqrt(2.0 * math.pi))
    return xp.where(x < -30.0, -x / (1.0 + _far_below(x)), near)
