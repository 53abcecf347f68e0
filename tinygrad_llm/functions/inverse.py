"""Inverse trigonometric and hyperbolic functions, log(2ˣ + 2ʸ) and copysign, element by element.

Each is one function of NumPy with the derivative that stands in its docstring.
"""

from __future__ import annotations

import math
from typing import Any

from ..arrays.devices import asarray, xp_of
from ..arrays.silence import quiet
from ..arrays.special import sigmoid as sigmoid_of
from ..tensor import Tensor
from .elementary import _of_dtype, _wide
from .half_precision import rounded_once
from .inplace import in_place
from .method import method
from .operands import as_floating, differentiated, need_pair
from .printed_names import printed_as


# --------------------------------------------------------------------------------- of one number
@method("asin", "arcsin")
@rounded_once(gradient="asin")
def asin(input: Tensor) -> Tensor:
    """The angle in [−π/2, π/2] whose sine is x; nan outside of [−1, 1].

    The derivative is 1/√(1 − x²) = 1/√((1 − x)·(1 + x)).
    """
    x = as_floating(input)
    a, xp = _wide(x), xp_of(x.array)
    return _of_dtype(x, quiet(xp.arcsin)(a), lambda: 1.0 / xp.sqrt((1.0 - a) * (1.0 + a)))


@method("acos", "arccos")
@rounded_once(gradient="acos")
def acos(input: Tensor) -> Tensor:
    """The angle in [0, π] whose cosine is x; nan outside of [−1, 1].

    The derivative is −1/√(1 − x²).
    """
    x = as_floating(input)
    a, xp = _wide(x), xp_of(x.array)
    return _of_dtype(x, quiet(xp.arccos)(a), lambda: -1.0 / xp.sqrt((1.0 - a) * (1.0 + a)))


@method("atan", "arctan")
@rounded_once(gradient="atan")
def atan(input: Tensor) -> Tensor:
    """The angle in [−π/2, π/2] whose tangent is x; the derivative is 1/(1 + x²)."""
    x = as_floating(input)
    a = _wide(x)
    return _of_dtype(x, xp_of(x.array).arctan(a), lambda: 1.0 / (1.0 + a * a))


@method("asinh", "arcsinh")
@rounded_once(gradient="asinh")
def asinh(input: Tensor) -> Tensor:
    """The inverse of sinh, log(x + √(x² + 1)); the derivative is 1/√(1 + x²)."""
    x = as_floating(input)
    a, xp = _wide(x), xp_of(x.array)
    return _of_dtype(x, quiet(xp.arcsinh)(a), lambda: 1.0 / xp.hypot(a, xp.ones_like(a)))


@method("acosh", "arccosh")
@rounded_once(gradient="acosh")
def acosh(input: Tensor) -> Tensor:
    """The inverse of cosh for x ≥ 1, log(x + √(x² − 1)); nan below.

    The derivative is 1/√(x² − 1) = 1/(√(|x| − 1)·√(|x| + 1)).
    """
    x = as_floating(input)
    a, xp = _wide(x), xp_of(x.array)
    y = quiet(xp.arccosh)(a)
    return _of_dtype(x, y, lambda: 1.0 / (xp.sqrt(abs(a) - 1.0) * xp.sqrt(abs(a) + 1.0)))


@method("atanh", "arctanh")
@rounded_once(gradient="atanh")
def atanh(input: Tensor) -> Tensor:
    """The inverse of tanh, ½·log((1 + x)/(1 − x)); ±inf at ±1, nan beyond.

    The derivative is 1/(1 − x²) = 1/((1 − x)·(1 + x)).
    """
    x = as_floating(input)
    a = _wide(x)
    y = quiet(xp_of(x.array).arctanh)(a)
    return _of_dtype(x, y, lambda: 1.0 / ((1.0 - a) * (1.0 + a)))


# --------------------------------------------------------------------------------- of two numbers
@method("atan2", "arctan2")
@rounded_once(gradient="atan2")
def atan2(input: Tensor, other: Tensor) -> Tensor:
    """The angle in [−π, π] of the point (other, input): y first, then x.

    The derivatives are x/(x² + y²) and −y/(x² + y²), and 0 at the origin.
    """
    a, b = (as_floating(v) for v in need_pair("atan2", input, other))
    y, x, xp = _wide(a), _wide(b), xp_of(a.array)
    values = asarray(quiet(xp.arctan2)(y, x), y).astype(a.array.dtype, copy=False)

    def derivative(of: Any) -> Any:
        h = xp.hypot(x, y)  # squares could overflow, and underflow
        return xp.where(h == 0, 0.0, of / h / h)

    return differentiated(values, (a, lambda: derivative(x)), (b, lambda: derivative(-y)))


@method
@rounded_once(gradient="logaddexp2")
def logaddexp2(input: Tensor, other: Tensor) -> Tensor:
    """log₂(2ˣ + 2ʸ), which can't overflow; the derivatives are 2ˣ/(2ˣ + 2ʸ) and 2ʸ/(2ˣ + 2ʸ)."""
    a, b = (as_floating(v) for v in need_pair("logaddexp2", input, other))
    x, y = _wide(a), _wide(b)
    values = asarray(quiet(xp_of(x).logaddexp2)(x, y), x).astype(a.array.dtype, copy=False)

    def share(z: Any) -> Any:
        return sigmoid_of(z * math.log(2.0))  # 2ˣ/(2ˣ + 2ʸ) = σ((x − y)·ln 2)

    return differentiated(values, (a, lambda: share(x - y)), (b, lambda: share(y - x)))


@method
def copysign(input: Tensor, other: Any) -> Tensor:
    """|input| with the sign of other, a tensor or a number; −0 counts as negative.

    The derivative by input is ±1, whether the sign changed, and 0 at 0; by other it is 0.
    """
    a, b = (as_floating(v) for v in need_pair("copysign", input, other))
    x, y, xp = _wide(a), _wide(b), xp_of(a.array)
    values = asarray(xp.copysign(x, y), x)
    result = differentiated(
        values.astype(a.array.dtype, copy=False),
        (a, lambda: xp.where(x == 0, 0.0, values / x), x != 0),
        (b, None, xp.zeros_like(values, dtype="bool")),
    )
    return printed_as(f"CopysignBackward{int(not isinstance(other, Tensor))}", result)


arcsin, arccos, arctan, arctan2 = asin, acos, atan, atan2
arcsinh, arccosh, arctanh = asinh, acosh, atanh
for _function in (asin, acos, atan, asinh, acosh, atanh):
    in_place(_function, _function.__name__ + "_")
