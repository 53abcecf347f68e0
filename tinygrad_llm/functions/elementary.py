"""Exponentials, logarithms, roots, trigonometry and their relatives, element by element."""

from __future__ import annotations

import math
from typing import Any

from .. import ops
from ..arrays.devices import asarray, xp_of
from ..arrays.silence import quiet
from ..arrays.special import complement_of_erf
from ..arrays.special import sigmoid as sigmoid_of
from ..tensor import Tensor
from .checks import real_number
from .half_precision import rounded_once
from .inplace import in_place
from .method import method
from .operands import as_floating, differentiated, need_pair, unary


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
@rounded_once(gradient="tan")
def tan(input: Tensor) -> Tensor:
    """The tangent of an angle in radians; its derivative is 1 + tan²x."""
    x = as_floating(input)
    y = quiet(xp_of(x.array).tan)(_wide(x))
    return _of_dtype(x, y, lambda: 1.0 + y * y)


@method
def erf(input: Tensor) -> Tensor:
    """The error function 2/√π·∫₀ˣ e^(−t²) dt."""
    return unary(ops.Erf, input)


# ------------------------------------- made of other functions here
@method
@rounded_once(gradient="exp2")
def exp2(input: Tensor) -> Tensor:
    """2ˣ."""
    return exp(as_floating(input) * math.log(2.0))


@method
@rounded_once(gradient="erfc")
def erfc(input: Tensor) -> Tensor:
    """1 − erf x, without the loss of digits for large x; its derivative is −2/√π·e^(−x²)."""
    x = as_floating(input)
    a = _wide(x)
    y = complement_of_erf(a)
    return _of_dtype(x, y, lambda: xp_of(a).exp(-a * a) * (-2.0 / math.sqrt(math.pi)))


@method
@rounded_once(gradient="sinh")
def sinh(input: Tensor) -> Tensor:
    """(eˣ − e⁻ˣ)/2; its derivative is cosh x."""
    x = as_floating(input)
    a, xp = _wide(x), xp_of(x.array)
    return _of_dtype(x, quiet(xp.sinh)(a), lambda: xp.cosh(a))


@method
@rounded_once(gradient="cosh")
def cosh(input: Tensor) -> Tensor:
    """(eˣ + e⁻ˣ)/2; its derivative is sinh x."""
    x = as_floating(input)
    a, xp = _wide(x), xp_of(x.array)
    return _of_dtype(x, quiet(xp.cosh)(a), lambda: xp.sinh(a))


def _wide(x: Tensor) -> Any:
    """The array; bfloat16 is computed in float32."""
    return x.array.astype("float32") if x.array.dtype.kind == "V" else x.array


def _of_dtype(x: Tensor, values: Any, derivative: Any) -> Tensor:
    """f(x) in x's dtype, with its derivative."""
    return differentiated(asarray(values, x.array).astype(x.array.dtype, copy=False),
                          (x, lambda: asarray(derivative(), x.array)))  # fmt: skip


@method
@rounded_once(gradient="logit")
def logit(input: Tensor, eps: float | None = None) -> Tensor:
    """log(x/(1 − x)), the inverse of sigmoid; with eps, x is first clamped to [eps, 1 − eps].

    The derivative is 1/(x·(1 − x)); outside of the range it is 0 with eps, else NaN.
    """
    x = as_floating(input)
    eps = None if eps is None else real_number("logit", "eps", eps)
    low, high = (0.0, 1.0) if eps is None else (eps, 1.0 - eps)
    held = x.detach() if eps is None else x.detach().clamp(low, high)
    y = log(held / (1.0 - held))
    a, xp = x.array, xp_of(x.array)
    inside = (a >= low) & (a <= high)
    if eps is not None:
        return differentiated(y.array, (x, lambda: 1.0 / (a * (1.0 - a)), inside))
    # at −0 too the derivative is +∞
    return _of_dtype(x, y.array, lambda: xp.where(inside, 1.0 / (abs(a) * (1.0 - a)), math.nan))


@method
@rounded_once(gradient="logaddexp")
def logaddexp(input: Tensor, other: Tensor) -> Tensor:
    """log(eˣ + eʸ) = max(x, y) + log(1 + exp(−|x − y|)), which can't overflow.

    The derivatives are σ(x − y) and σ(y − x).
    """
    a, b = (as_floating(x) for x in need_pair("logaddexp", input, other))
    x, y = _wide(a), _wide(b)
    values = asarray(quiet(xp_of(x).logaddexp)(x, y), x).astype(a.array.dtype, copy=False)
    return differentiated(values, (a, lambda: sigmoid_of(x - y)), (b, lambda: sigmoid_of(y - x)))


@method
@rounded_once(gradient="hypot")
def hypot(input: Tensor, other: Tensor) -> Tensor:
    """√(x² + y²), without overflow of the squares; the derivatives are x/√(…) and y/√(…)."""
    a, b = (as_floating(x) for x in need_pair("hypot", input, other))
    x, y = _wide(a), _wide(b)
    h = asarray(quiet(xp_of(x).hypot)(x, y), x)
    values = h.astype(a.array.dtype, copy=False)
    return differentiated(values, (a, lambda: x / h), (b, lambda: y / h))


@method
@rounded_once(gradient="xlogy")
def xlogy(input: Any, other: Any) -> Tensor:
    """x·log y, and 0 where x is 0, except where y is nan; the derivatives are log y and x/y."""
    a, b = (as_floating(v) for v in need_pair("xlogy", input, other))
    x, y, xp = _wide(a), _wide(b), xp_of(a.array)
    log_y = quiet(xp.log)(y)
    zero = (x == 0) & (y == y)
    values = asarray(xp.where(zero, 0.0, quiet(xp.multiply)(x, log_y)), x)
    return differentiated(
        values.astype(a.array.dtype, copy=False),
        (a, lambda: log_y, ~((x == 0) & (y <= 0))),
        (b, lambda: x / y),
    )


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
in_place(tan, "tan_")
