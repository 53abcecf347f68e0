"""Derivatives in half precision of functions that are one kernel forward, several backward.

PyTorch writes such a derivative as a formula of tensors, and each step of it rounds to half
precision. Here the steps are float32 arrays and r rounds where a step ends. g is the upstream
gradient, y the rounded result; see half_precision.rounded_once. `f_value` is there where the
forward kernel of f rounds in between as well; the last rounding is the caller's.
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
    """g·x/h and g·y/h."""
    return r(g * x) / h, r(g * y) / h


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


def exponent(r: Any, g: Any, y: Any, base: float, x: Any) -> Any:
    """g·(y·log b) of y = bˣ for a number b."""
    if not base:
        return xp_of(g).where(x >= 0, 0.0, g * r(y * -math.inf))
    return g * r(y * (math.log(base) if base > 0 else math.nan))


def exponent_value(r: Any, base: float, x: Any) -> Any:
    """bˣ with a rounded b."""
    return r(xp_of(x).asarray(base, x.dtype)) ** x


def xlogy_value(r: Any, x: Any, y: Any) -> Any:
    """x·log y with a rounded logarithm."""
    x, y = _arrays(r, x, y)
    return _times_log(x, y, r(xp_of(y).log(y)))


def xlogy(r: Any, g: Any, z: Any, x: Any, y: Any) -> Any:
    """g·log y, by the rule of xlogy itself, and g·x/y."""
    numbers, xp, (x, y) = (x, y), xp_of(g), _arrays(r, x, y)
    by_x = xp.where((x == 0) & (y <= 0), 0.0, _times_log(g, y, r(xp.log(y))))
    return _of_tensors(numbers, by_x, r(g * numbers[0]) / y)  # a number as it is


def xlog1py_value(r: Any, x: Any, y: Any) -> Any:
    """x·log(1 + y) with a rounded logarithm."""
    x, y = _arrays(r, x, y)
    return _times_log(x, y, r(xp_of(y).log1p(y)))


def xlog1py(r: Any, g: Any, z: Any, x: Any, y: Any) -> Any:
    """g·log(1 + y), and g·x/(y + 1)."""
    numbers, xp, (x, y) = (x, y), xp_of(g), _arrays(r, x, y)
    by_x = xp.where((x == 0) & (y <= -1), 0.0, g * r(xp.log1p(y)))
    return _of_tensors(numbers, by_x, r(g * numbers[0]) / r(y + 1.0))


def _times_log(x: Any, y: Any, log_y: Any) -> Any:
    return xp_of(y).where((x == 0) & (y == y), 0.0, x * log_y)


def _arrays(r: Any, x: Any, y: Any) -> tuple[Any, Any]:
    """Both as arrays; a number is rounded, as it is beside a tensor."""
    a = y if isinstance(x, int | float) else x
    return _number(r, a, x) if a is y else x, _number(r, a, y) if isinstance(y, int | float) else y


def _of_tensors(given: tuple[Any, Any], *grads: Any) -> tuple:
    """The gradients of the tensors among the two."""
    pairs = zip(given, grads, strict=True)
    return tuple([g for x, g in pairs if not isinstance(x, int | float)])


def entr_value(r: Any, x: Any) -> Any:
    """−x·log x with a rounded logarithm; 0 at 0, −∞ below."""
    xp = xp_of(x)
    y = xp.where(x == 0, 0.0, -x * r(xp.log(x)))
    return xp.where(x < 0, -math.inf, y)


def entr(r: Any, g: Any, y: Any, x: Any) -> Any:
    """−g·(1 + log x)."""
    return g * -r(1.0 + r(xp_of(x).log(x)))


def logit_value(r: Any, x: Any, eps: Any) -> Any:
    """log(x/(1 − x)), each step rounded."""
    xp = xp_of(x)
    if eps is not None:
        low, high = _ends(r, x, eps)
        x = xp.where(x < low, low, xp.where(x > high, high, x))
    return xp.log(r(x / r(1.0 - x)))


def logit(r: Any, g: Any, y: Any, x: Any, eps: Any) -> Any:
    """g/(x·(1 − x)) within the range; outside 0 with eps, else NaN."""
    low, high = _ends(r, x, 0.0 if eps is None else eps)
    inside = (x >= low) & (x <= high)
    derivative = g / r(abs(x) * r(1.0 - x))
    return xp_of(x).where(inside, derivative, math.nan if eps is None else 0.0)


def _ends(r: Any, x: Any, eps: float) -> tuple[Any, Any]:
    low = r(xp_of(x).asarray(eps, x.dtype))
    return low, r(1.0 - low)


# ------------------------------------------------------------------------------- Γ, erf and others
def lgamma(r: Any, g: Any, y: Any, x: Any) -> Any:
    """g·ψ(x)."""
    return g * r(_in_float64(gamma.digamma, x))


def digamma(r: Any, g: Any, y: Any, x: Any) -> Any:
    """g·ψ′(x)."""
    return g * r(_in_float64(lambda a: gamma.polygamma(1, a), x))


def polygamma(r: Any, g: Any, y: Any, x: Any, n: int) -> Any:
    """g·ψ⁽ⁿ⁺¹⁾(x)."""
    return g * polygamma_value(r, x, n + 1)


def polygamma_value(r: Any, x: Any, n: int) -> Any:
    """ψ⁽ⁿ⁾(x), from n ≥ 2 on n! times the rounded rest."""
    if n < 2:
        return r(_in_float64(gamma.digamma if n == 0 else lambda a: gamma.polygamma(1, a), x))
    return r(
        math.factorial(n) * r(_in_float64(lambda a: gamma.polygamma(n, a) / math.factorial(n), x))
    )


def mvlgamma_value(r: Any, x: Any, p: int) -> Any:
    """A rounded constant and the rounded sum of rounded terms."""
    terms = [r(_in_float64(gamma.lgamma, r(x - 0.5 * j))) for j in range(p)]
    return r(sum(terms)) + _number(r, x, p * (p - 1) * math.log(math.pi) * 0.25)


def mvlgamma(r: Any, g: Any, y: Any, x: Any, p: int) -> Any:
    """g·Σ ψ(x − j/2), whose terms are rounded."""
    terms = [r(_in_float64(gamma.digamma, r(x - 0.5 * j))) for j in range(p)]
    return g * r(sum(terms))


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
    return g, g * r(_number(r, b, value) / b), -g * r(r(a * value) / r(b * b))


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


# ---------------------------------------------------------------------------------------- losses
def mse_mean_value(r: Any, x: Any, t: Any) -> Any:
    """The mean of the rounded squares."""
    d = r(x - t)
    return _reduced(r(d * d), "mean")


def mse_mean(r: Any, g: Any, y: Any, x: Any, t: Any) -> Any:
    """2/n·(x − t)·g, with each step and 2/n rounded."""
    d = r(x - t)
    by_x = r(_number(r, d, 2.0 / max(d.size, 1)) * d) * g
    return by_x, -by_x


def huber_value(r: Any, x: Any, t: Any, delta: float, reduction: str) -> Any:
    """½·d² or δ·(|d| − ½·δ); PyTorch rounds each step in bfloat16."""

    def step(a: Any) -> Any:
        return r(a, "bfloat16")

    z = step(abs(x - t))
    delta = step(xp_of(z).asarray(delta, z.dtype))
    small = step(0.5 * z) * z
    return _reduced(r(xp_of(z).where(z <= delta, small, delta * step(z - step(0.5 * delta)))),
                    reduction)  # fmt: skip


def huber(r: Any, g: Any, y: Any, x: Any, t: Any, delta: float, reduction: str) -> Any:
    """d/n·g within ±δ, beyond ±δ/n·g; each step and each number rounded."""
    d = r(x - t)
    xp = xp_of(d)
    n = _number(r, d, 1.0 / max(d.size, 1) if reduction == "mean" else 1.0)
    delta = _number(r, d, delta)
    by_x = xp.where(abs(d) <= delta, r(n * d) * g, r(r(n * delta) * g) * xp.sign(d))
    return by_x, -by_x


def smooth_l1_value(r: Any, x: Any, t: Any, beta: float, reduction: str) -> Any:
    """½·d²/β or |d| − ½·β; PyTorch rounds each step in float16."""

    def step(a: Any) -> Any:
        return r(a, "float16")

    z = step(abs(x - t))
    beta = step(xp_of(z).asarray(beta, z.dtype))
    small = step(step(0.5 * z) * z) / beta
    return _reduced(r(xp_of(z).where(z < beta, small, z - step(0.5 * beta))), reduction)


def smooth_l1(r: Any, g: Any, y: Any, x: Any, t: Any, beta: float, reduction: str) -> Any:
    """d/β/n·g within ±β, beyond ±g/n, in one kernel."""
    d = x - t
    n = d.dtype.type(1.0 / max(d.size, 1) if reduction == "mean" else 1.0)
    xp = xp_of(d)
    by_x = xp.where(abs(d) < beta, d / d.dtype.type(beta) * n * g, n * xp.sign(d) * g)
    return by_x, -by_x


def _number(r: Any, like: Any, x: float) -> Any:
    return r(xp_of(like).asarray(x, like.dtype))


def _reduced(losses: Any, reduction: str) -> Any:
    if reduction == "none":
        return losses
    total = losses.sum(dtype="float32")
    return total / losses.dtype.type(losses.size) if reduction == "mean" else total
