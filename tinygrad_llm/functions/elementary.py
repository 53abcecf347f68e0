"""Exponentials, logarithms, roots, trigonometry and their relatives, element by element."""

from __future__ import annotations

import math
from typing import Any

from .. import ops
from ..tensor import Tensor
from .arithmetic import abs
from .half_precision import rounded_once
from .inplace import in_place
from .method import method
from .operands import as_floating, unary
from .selection import maximum, where


@method
def exp(input: Tensor) -> Tensor:
    """eˣ, element by element."""
    return unary(ops.Exp, input)


@method
def expm1(input: Tensor) -> Tensor:
    """eˣ − 1, exact near 0."""
    return unary(ops.Expm1, input)


@method
def log(input: Tensor) -> Tensor:
    """The natural logarithm; −inf at 0, nan below."""
    return unary(ops.Log, input)


@method
def log1p(input: Tensor) -> Tensor:
    """ln(1 + x), exact near 0."""
    return unary(ops.Log1p, input)


@method
def log2(input: Tensor) -> Tensor:
    """The logarithm to base 2."""
    return unary(ops.Log2, input)


@method
def log10(input: Tensor) -> Tensor:
    """The logarithm to base 10."""
    return unary(ops.Log10, input)


@method
def sqrt(input: Tensor) -> Tensor:
    """The square root; nan below 0."""
    return unary(ops.Sqrt, input)


@method
def rsqrt(input: Tensor) -> Tensor:
    """1/√x."""
    return unary(ops.Rsqrt, input)


@method
def tanh(input: Tensor) -> Tensor:
    """The hyperbolic tangent."""
    return unary(ops.Tanh, input)


@method
def sigmoid(input: Tensor) -> Tensor:
    """1/(1 + e⁻ˣ)."""
    return unary(ops.Sigmoid, input)


@method
def sin(input: Tensor) -> Tensor:
    """The sine of an angle in radians."""
    return unary(ops.Sin, input)


@method
def cos(input: Tensor) -> Tensor:
    """The cosine of an angle in radians."""
    return unary(ops.Cos, input)


@method
@rounded_once
def tan(input: Tensor) -> Tensor:
    """The tangent of an angle in radians: sin x / cos x."""
    return sin(input) / cos(input)


@method
def erf(input: Tensor) -> Tensor:
    """The error function 2/√π·∫₀ˣ e^(−t²) dt."""
    return unary(ops.Erf, input)


# ------------------------------------- made of other functions here
@method
@rounded_once
def exp2(input: Tensor) -> Tensor:
    """2ˣ."""
    return exp(as_floating(input) * math.log(2.0))


@method
@rounded_once
def erfc(input: Tensor) -> Tensor:
    """1 − erf x; for large x it is rounded to a multiple of the precision of 1."""
    return 1.0 - erf(as_floating(input))


@method
@rounded_once
def sinh(input: Tensor) -> Tensor:
    """(eˣ − e⁻ˣ)/2, as ((eˣ − 1) − (e⁻ˣ − 1))/2, which loses nothing near 0."""
    x = as_floating(input)
    return (expm1(x) - expm1(-x)) * 0.5


@method
@rounded_once
def cosh(input: Tensor) -> Tensor:
    """(eˣ + e⁻ˣ)/2."""
    x = as_floating(input)
    return (exp(x) + exp(-x)) * 0.5


@method
def logit(input: Tensor, eps: float | None = None) -> Tensor:
    """log(x/(1 − x)), the inverse of sigmoid; with eps, x is first clamped to [eps, 1 − eps]."""
    x = as_floating(input)
    if eps is not None:
        x = x.clamp(eps, 1.0 - eps)
    return log(x / (1.0 - x))


@method
@rounded_once
def logaddexp(input: Tensor, other: Tensor) -> Tensor:
    """log(eˣ + eʸ) = max(x, y) + log(1 + exp(−|x − y|)), which can't overflow."""
    larger = maximum(input, other)
    same = input.eq(other)
    apart = where(same, input.detach() * 0.0, input - other)  # ∞ − ∞ is nan
    less = log1p(exp(-abs(apart)))
    return where(same, (input + other) * 0.5 + math.log(2.0), larger + less)


@method
@rounded_once
def hypot(input: Tensor, other: Tensor) -> Tensor:
    """√(x² + y²), scaled by the larger of the two, so that no square overflows."""
    scale = maximum(abs(input), abs(other)).detach()
    scale = where(scale.eq(0.0), scale + 1.0, scale)
    return scale * ((input / scale).square() + (other / scale).square()).sqrt()


@method
def xlogy(input: Any, other: Any) -> Tensor:
    """x·log y, and 0 where x is 0, except where y is nan."""
    zero = input.eq(0) & ~other.isnan()
    return where(zero, input * 0.0, input * log(where(zero, other * 0.0 + 1.0, other)))


@method
def deg2rad(input: Tensor) -> Tensor:
    """Degrees as radians: x·π/180."""
    return as_floating(input) * (math.pi / 180.0)


@method
def rad2deg(input: Tensor) -> Tensor:
    """Radians as degrees: x·180/π."""
    return as_floating(input) * (180.0 / math.pi)


for _function in (exp, expm1, log, log1p, log2, log10, sqrt, rsqrt, tanh, sigmoid, sin, cos, erf):
    in_place(_function, _function.__name__ + "_")
in_place(tan, "tan_", saves_input=True)
