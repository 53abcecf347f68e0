"""Functions of the Γ family, the normal distribution's and their relatives, element by element.

Values and derivatives are computed in float64 and rounded once to the tensor's dtype.
"""

from __future__ import annotations

import math
from typing import Any

from ..arrays import gamma
from ..arrays.devices import asarray, xp_of
from ..arrays.layout import empty_as
from ..arrays.masks import selected
from ..arrays.silence import quiet
from ..arrays.special import complement_of_erf
from ..autograd.engine import Op
from ..autograd.half_precision import is_half
from ..tensor import Tensor, dtypes, wrap
from .checks import broadcasts
from .elementary import erf
from .half_precision import rounded_once
from .inplace import in_place, refuse_leaf, write
from .method import function, method
from .operands import as_floating, as_operand, cast, differentiated, need_pair

__all__ = [
    "digamma",
    "entr",
    "erfinv",
    "float_power",
    "gammaln",
    "heaviside",
    "lgamma",
    "log_ndtr",
    "multigammaln",
    "mvlgamma",
    "ndtr",
    "ndtri",
    "polygamma",
    "psi",
    "sinc",
    "xlog1py",
]

_ROOT_OF_PI = math.sqrt(math.pi)


def _in_float64(input: Tensor, f: Any, derivative: Any) -> Tensor:
    """f(x), with derivative(x, f(x)); both functions of float64 arrays."""
    x = as_floating(input)
    dtype = x.array.dtype
    a = asarray(x.array, x.array).astype("float64", copy=False)
    y = asarray(f(a), a)
    values = empty_as(x.array)
    quiet(values.__setitem__)(..., y)
    return differentiated(values, (x, lambda: quiet(asarray(derivative(a, y), a).astype)(dtype)))


# ------------------------------------------------------------------------------------ Γ's family
@method
@rounded_once(gradient="lgamma")
def lgamma(input: Tensor) -> Tensor:
    """log |Γ(x)|; ∞ at 0, −1, −2 … The derivative is ψ(x), `digamma`."""
    return _in_float64(input, gamma.lgamma, lambda x, y: gamma.digamma(x))


@method
@rounded_once(gradient="digamma")
def digamma(input: Tensor) -> Tensor:
    """ψ(x) = d/dx log Γ(x); −∞ at 0, NaN at −1, −2 … The derivative is ψ′(x), `polygamma(1, x)`."""
    return _in_float64(input, gamma.digamma, lambda x, y: gamma.polygamma(1, x))


@rounded_once(gradient="polygamma")
def _polygamma(input: Tensor, n: int) -> Tensor:
    return _in_float64(
        input, lambda x: gamma.polygamma(n, x), lambda x, y: gamma.polygamma(n + 1, x)
    )


@method("polygamma")
def _polygamma_of(input: Tensor, n: int) -> Tensor:
    """ψ⁽ⁿ⁾(x), see polygamma."""
    return polygamma(n, input)


@function
def polygamma(n: int, input: Tensor) -> Tensor:
    """ψ⁽ⁿ⁾(x), the n-th derivative of ψ, for n ≥ 0. The derivative is ψ⁽ⁿ⁺¹⁾(x).

    Raises: RuntimeError if n is negative.
    """
    if n < 0:
        raise RuntimeError("polygamma(n, x) does not support negative n.")
    return _polygamma(input, n)


@method
def mvlgamma(input: Tensor, p: int) -> Tensor:
    """log Γₚ(x) = p·(p − 1)/4·log π + Σ log Γ(x − j/2) over j = 0 … p − 1, Γ of p dimensions.

    The derivative is Σ ψ(x − j/2).
    Raises: RuntimeError if p < 1.
    """
    if p < 1:
        raise RuntimeError("p has to be greater than or equal to 1")
    return _mvlgamma(input, p)


@rounded_once(gradient="mvlgamma")
def _mvlgamma(input: Tensor, p: int) -> Tensor:
    x = as_floating(input)
    steps = wrap(xp_of(x.array).arange(p) * -0.5).to(x.dtype)  # (p)
    terms = lgamma(x.unsqueeze(-1) + steps)  # (...) -> (..., p)
    return terms.sum(-1) + p * (p - 1) * math.log(math.pi) * 0.25


# ------------------------------------------------------------------------ the normal distribution
@method
@rounded_once(gradient="erfinv")
def erfinv(input: Tensor) -> Tensor:
    """The x with erf x = y, for y in [−1, 1]; NaN beyond. The derivative is √π/2·exp(x²)."""
    return _in_float64(input, gamma.erfinv, lambda y, x: 0.5 * _ROOT_OF_PI * xp_of(x).exp(x * x))


def _density(x: Any) -> Any:
    """exp(−x²/2)/√(2π)."""
    return xp_of(x).exp(-0.5 * x * x) * (1.0 / math.sqrt(2.0 * math.pi))


@function
def ndtr(input: Tensor) -> Tensor:
    """Φ(x), how much of the normal distribution lies below x; the derivative is its density."""
    if is_half(input.array.dtype):  # rounded after each step, as in PyTorch
        return (erf(input / math.sqrt(2.0)) + 1.0) * 0.5
    return _in_float64(
        input,
        lambda x: 0.5 * complement_of_erf(x * -math.sqrt(0.5)),
        lambda x, y: _density(x),
    )


@function
@rounded_once
def log_ndtr(input: Tensor) -> Tensor:
    """log Φ(x), also where Φ(x) is 0 in float64; the derivative is the density over Φ(x)."""
    return _in_float64(input, gamma.log_normal_cdf, gamma.density_over_cdf)


@function
@rounded_once
def ndtri(input: Tensor) -> Tensor:
    """The x with Φ(x) = p, for p in [0, 1]; NaN beyond. The derivative is √(2π)·exp(x²/2)."""
    return _in_float64(
        input,
        gamma.normal_quantile,
        lambda p, x: math.sqrt(2.0 * math.pi) * xp_of(x).exp(0.5 * x * x),
    )


# ------------------------------------------------------------------------------------ logarithms
@function
@rounded_once(gradient="entr")
def entr(input: Tensor) -> Tensor:
    """−x·log x, the entropy's term: 0 at 0, −∞ below. The derivative is −(1 + log x)."""

    def value(x: Any) -> Any:
        xp = xp_of(x)
        y = -x * xp.log(xp.where(x > 0, x, 1.0))
        return xp.where(x > 0, y, xp.where(x == 0, 0.0, xp.where(x < 0, -math.inf, x)))

    return _in_float64(input, quiet(value), lambda x, y: -(1.0 + xp_of(x).log(x)))


@function
@rounded_once(gradient="xlog1py")
def xlog1py(input: Any, other: Any) -> Tensor:
    """x·log(1 + y), and 0 where x is 0, except where y is nan: ∂x log(1 + y), ∂y x/(1 + y)."""
    a, b = (as_floating(v) for v in need_pair("xlog1py", input, other))
    dtype = a.array.dtype
    x, y = (v.array.astype("float64", copy=False) for v in (a, b))
    xp = xp_of(x)
    log_y = quiet(xp.log1p)(y)
    zero = (x == 0) & (y == y)
    values = asarray(xp.where(zero, 0.0, quiet(xp.multiply)(x, log_y)), x)
    return differentiated(
        values.astype(dtype, copy=False),
        (a, lambda: log_y, ~((x == 0) & (y <= -1))),
        (b, lambda: x / (y + 1.0)),
    )


# ------------------------------------------------------------------------------------ others
@method
@rounded_once(gradient="sinc")
def sinc(input: Tensor) -> Tensor:
    """sin(πx)/(πx), and 1 at 0. The derivative is (cos(πx) − sinc x)/x, and 0 at 0."""

    t = as_floating(input)
    x, xp = t.array, xp_of(t.array)
    safe = selected(x, x != 0) + (x == 0)
    u = safe * math.pi
    y = xp.where(x == 0, 1.0, quiet(xp.sin)(u) / u).astype(x.dtype, copy=False)

    def derivative() -> Any:
        w = safe.astype("float64", copy=False)
        exact = (xp.cos(math.pi * w) - xp.sin(math.pi * w) / (math.pi * w)) / w
        series = w * (w * w * (math.pi**4 / 30.0) - math.pi**2 / 3.0)
        return xp.where(abs(w) < 1e-3, series, exact)  # near 0 the difference loses its digits

    return differentiated(asarray(y, x), (t, derivative, x != 0))


class _Heaviside(Op, listed=False):
    """0 where x < 0, the value v where x = 0, else 1. PyTorch has no derivative, nor has this."""

    name = "heaviside"

    def forward(self, x, v):
        xp = xp_of(x)
        return xp.where(x == 0, v, (x > 0).astype(x.dtype))

    def backward(self, g):
        """Raises: RuntimeError: it has no derivative."""
        raise RuntimeError("derivative for aten::heaviside is not implemented")


@method
def heaviside(input: Tensor, values: Tensor) -> Tensor:
    """0 where x < 0 or x is nan, values where x = 0, and 1 where x > 0. It has no derivative.

    Raises: RuntimeError if the dtypes differ.
    """
    if input.array.dtype != values.array.dtype:
        raise RuntimeError("heaviside is not yet implemented for tensors with different dtypes.")
    broadcasts(input.array, values.array)
    return _Heaviside.apply(input, values)


@method
def float_power(input: Any, exponent: Any) -> Tensor:
    """xᵉ, computed in float64, the dtype of the result; one of the two may be a number."""
    x, e = as_operand(input), as_operand(exponent)
    if not (isinstance(x, Tensor) or isinstance(e, Tensor)):
        return NotImplemented
    wide = [cast(v, "float64") if isinstance(v, Tensor) else float(v) for v in (x, e)]
    return wide[0] ** wide[1]


@method
def float_power_(input: Tensor, exponent: Any) -> Tensor:
    """xᵉ in x's own memory, which must be float64.

    Raises: RuntimeError if it is not.
    """
    refuse_leaf(input)
    if input.array.dtype != "float64":
        raise RuntimeError(
            f"the base given to float_power_ has dtype {dtypes.title(input.dtype)} but the "
            "operation's result requires dtype Double"
        )
    return write(input, float_power(input, exponent), "float_power_")


gammaln, psi, multigammaln = lgamma, digamma, mvlgamma
for _function in (lgamma, digamma, erfinv, sinc):
    in_place(_function, _function.__name__ + "_")
