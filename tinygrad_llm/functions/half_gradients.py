"""Derivatives in half precision of functions that are one kernel forward, several backward.

PyTorch writes such a derivative as a formula of tensors, and each step of it rounds to half
precision. Here the steps are float32 arrays and r rounds where a step ends. g is the upstream
gradient, y the rounded result; see half_precision.rounded_once.
"""

from __future__ import annotations

import math
from typing import Any

from ..arrays import gamma
from ..arrays.devices import xp_of
from ..arrays.special import sigmoid


# ------------------------------------------------------------------------- circles and hyperbolas
def tan(r: Any, g: Any, y: Any, x: Any) -> Any:
    """g·(1 + y²)."""
    return g * r(1.0 + r(y * y))


def sinh(r: Any, g: Any, y: Any, x: Any) -> Any:
    """g·cosh x."""
    return g * r(xp_of(x).cosh(x))


def cosh(r: Any, g: Any, y: Any, x: Any) -> Any:
    """g·sinh x."""
    return g * r(xp_of(x).sinh(x))


def asin(r: Any, g: Any, y: Any, x: Any) -> Any:
    """g·(1 − x²)^−½."""
    return g * r(1.0 / xp_of(x).sqrt(r(1.0 - r(x * x))))


def acos(r: Any, g: Any, y: Any, x: Any) -> Any:
    """−g·(1 − x²)^−½."""
    return -asin(r, g, y, x)


def atan(r: Any, g: Any, y: Any, x: Any) -> Any:
    """g/(x² + 1)."""
    return g / r(r(x * x) + 1.0)


def asinh(r: Any, g: Any, y: Any, x: Any) -> Any:
    """g·(x² + 1)^−½."""
    return g * r(1.0 / xp_of(x).sqrt(r(r(x * x) + 1.0)))


def acosh(r: Any, g: Any, y: Any, x: Any) -> Any:
    """g·(x² − 1)^−½."""
    return g * r(1.0 / xp_of(x).sqrt(r(r(x * x) - 1.0)))


def atanh(r: Any, g: Any, y: Any, x: Any) -> Any:
    """g/(1 − x²)."""
    return g / r(1.0 - r(x * x))


def atan2(r: Any, g: Any, z: Any, y: Any, x: Any) -> Any:
    """g·x·(1/(y² + x²)) and −g·y·(1/(y² + x²)), and 0 at the origin."""
    squares = r(r(y * y) + r(x * x))
    over = xp_of(x).where(squares == 0, 0.0, r(1.0 / squares))
    return r(g * x) * over, r(g * -y) * over


def hypot(r: Any, g: Any, h: Any, x: Any, y: Any) -> Any:
    """g·(x/h) and g·(y/h)."""
    return g * r(x / h), g * r(y / h)


# -------------------------------------------------------------------------- powers and logarithms
def exp2(r: Any, g: Any, y: Any, x: Any) -> Any:
    """g·y·log 2."""
    return r(g * y) * math.log(2.0)


def logaddexp(r: Any, g: Any, z: Any, x: Any, y: Any) -> Any:
    """g/(1 + e^(y − x)) and g/(1 + e^(x − y))."""
    exp = xp_of(x).exp
    return g / r(1.0 + r(exp(r(y - x)))), g / r(1.0 + r(exp(r(x - y))))


def logaddexp2(r: Any, g: Any, z: Any, x: Any, y: Any) -> Any:
    """g/(1 + 2^(y − x)) and g/(1 + 2^(x − y))."""
    exp2 = xp_of(x).exp2
    return g / r(1.0 + r(exp2(r(y - x)))), g / r(1.0 + r(exp2(r(x - y))))


def xlogy(r: Any, g: Any, z: Any, x: Any, y: Any) -> Any:
    """g·log y, and g·x/y."""
    xp = xp_of(g)
    log_y = r(xp.log(xp.asarray(y, g.dtype)))
    by_x = xp.where(((x == 0) & (y <= 0)) | ((g == 0) & (y == y)), 0.0, g * log_y)
    return by_x, r(g * x) / y


def xlog1py(r: Any, g: Any, z: Any, x: Any, y: Any) -> Any:
    """g·log(1 + y), and g·x/(y + 1)."""
    xp = xp_of(g)
    y = xp.asarray(y, g.dtype)
    by_x = xp.where((x == 0) & (y <= -1), 0.0, g * r(xp.log1p(y)))
    return by_x, r(g * x) / r(y + 1.0)


def entr(r: Any, g: Any, y: Any, x: Any) -> Any:
    """−g·(1 + log x)."""
    return g * -r(1.0 + r(xp_of(x).log(x)))


def logit(r: Any, g: Any, y: Any, x: Any, eps: Any) -> Any:
    """g/(x·(1 − x)) within the range; outside 0 with eps, else NaN."""
    low, high = (0.0, 1.0) if eps is None else (eps, 1.0 - eps)
    inside = (x >= low) & (x <= high)
    slope = g / r(abs(x) * r(1.0 - x))
    return xp_of(x).where(inside, slope, math.nan if eps is None else 0.0)


# ------------------------------------------------------------------------------- Γ, erf and others
def lgamma(r: Any, g: Any, y: Any, x: Any) -> Any:
    """g·ψ(x)."""
    return g * r(_in_float64(gamma.digamma, x))


def digamma(r: Any, g: Any, y: Any, x: Any) -> Any:
    """g·ψ′(x)."""
    return g * r(_in_float64(lambda a: gamma.polygamma(1, a), x))


def polygamma(r: Any, g: Any, y: Any, x: Any, n: int) -> Any:
    """g·ψ⁽ⁿ⁺¹⁾(x)."""
    return g * r(_in_float64(lambda a: gamma.polygamma(n + 1, a), x))


def erfc(r: Any, g: Any, y: Any, x: Any) -> Any:
    """−2/√π·e^(−x²)·g."""
    return r(r(xp_of(x).exp(-r(x * x))) * (-2.0 / math.sqrt(math.pi))) * g


def erfinv(r: Any, g: Any, x: Any, y: Any) -> Any:
    """√π/2·e^(x²)·g."""
    return r(r(xp_of(x).exp(r(x * x))) * (0.5 * math.sqrt(math.pi))) * g


def sinc(r: Any, g: Any, y: Any, x: Any) -> Any:
    """g·((πx·cos πx − sin πx)/(π·x²)), and 0 at 0."""
    xp = xp_of(x)
    u, below = r(x * math.pi), r(r(x * x) * math.pi)
    above = r(r(u * r(xp.cos(u))) - r(xp.sin(u)))
    return xp.where(below == 0, 0.0, g * r(above / xp.where(below == 0, 1.0, below)))


def glu(r: Any, g: Any, y: Any, x: Any, dim: int) -> Any:
    """g·σ(b) beside (1 − σ(b))·σ(b)·a·g, with σ(b) rounded."""
    xp = xp_of(x)
    a, b = xp.split(x, 2, dim)
    s = r(sigmoid(b))
    return xp.concatenate([g * s, (1.0 - s) * s * a * g], dim)


# --------------------------------------------------------------------------- sums of products
def addcmul(r: Any, g: Any, y: Any, x: Any, a: Any, b: Any, value: Any) -> Any:
    """g, g·(b·value), g·(a·value)."""
    return g, g * r(b * value), g * r(a * value)


def addcdiv(r: Any, g: Any, y: Any, x: Any, a: Any, b: Any, value: Any) -> Any:
    """g, g·(value/b), −g·(value·a/b²)."""
    return g, g * r(r(1.0 / b) * value), -g * r(r(a * value) / r(b * b))


def addmm(r: Any, g: Any, y: Any, x: Any, a: Any, b: Any, beta: Any, alpha: Any) -> Any:
    """beta·g, alpha·(g·bᵀ), alpha·(aᵀ·g)."""
    by_a, by_b = r(g @ b.swapaxes(-1, -2)), r(a.swapaxes(-1, -2) @ g)
    return r(g * beta), by_a * alpha, by_b * alpha


def norm(r: Any, g: Any, y: Any, x: Any, p: float, dims: tuple[int, ...], keepdim: bool) -> Any:
    """x·|x|^(p − 2)·(g/y^(p − 1)), and 0 where y is 0; for p < 2 with sign x·|x|^(p − 1)."""
    xp = xp_of(x)
    if not keepdim:
        y, g = xp.expand_dims(y, dims), xp.expand_dims(g, dims)
    if p < 2:
        scaled = r(xp.sign(x) * r(xp.where((x == 0) & (p < 1), 0.0, r(_power(r, abs(x), p - 1.0)))))
    else:
        scaled = r(x * r(_power(r, abs(x), p - 2.0)))
    if p < 1:
        return r(scaled * g) * r(_power(r, y, 1.0 - p))
    scale = r(g / r(_power(r, y, p - 1.0)))
    return scaled * xp.where(y == 0, 0.0, scale)


def _power(r: Any, x: Any, p: float) -> Any:
    from ..ops.arithmetic import power  # imported when first needed

    return x if p == 1 else power(x, p, lambda a, only="": r(a, only))


def _in_float64(f: Any, x: Any) -> Any:
    return f(x.astype("float64")).astype(x.dtype)
