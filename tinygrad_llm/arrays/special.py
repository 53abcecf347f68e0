"""Special functions that NumPy lacks, or would need more passes for: erf, Φ and the sigmoid."""

from __future__ import annotations

import importlib
import math
from typing import Any

import numpy as np

from .devices import NUMPY_TYPES, xp_of
from .silence import quiet

__all__ = [
    "CDF_COEFFICIENTS",
    "complement_of_erf",
    "erf",
    "erf_of_half",
    "normal_cdf",
    "sigmoid",
    "sigmoid_by_tanh",
]

# erf(x) = tanh(x·(q₀ + q₁x² + … + q₆x¹²)) in float32: fitted to atanh(erf(x)) for |x| ≤ 4 by
# weighted least squares, with larger weights where the error in erf was largest. For larger |x|
# the polynomial keeps growing, and tanh is ±1 to the last bit.
_ERF_Q = (
    1.12837971,
    0.102765481,
    -0.000184383734,
    -0.000625719532,
    8.97125694e-05,
    -5.9856874e-06,
    1.5896002e-07,
)

CDF_COEFFICIENTS = [q * 0.5 ** (i + 0.5) for i, q in enumerate(_ERF_Q)]  # the coefficients for x/√2

_erf64 = np.frompyfunc(math.erf, 1, 1)
_erfc64 = np.frompyfunc(math.erfc, 1, 1)


@quiet
def _tanh_of(q: Any, x: Any, square: Any) -> Any:
    """tanh(x·(q₀ + q₁x² + …)), given x²."""
    u = square * q[-1]
    for coefficient in q[-2:0:-1]:
        u += coefficient
        u *= square
    u += q[0]
    u *= x
    return np.tanh(u, out=u)


def erf(x: Any) -> Any:
    """erf(x) = 2/√π · ∫₀ˣ exp(−t²) dt, element by element, in x's dtype.

    float64 is exact to rounding. float32 and smaller take tanh of an odd polynomial, fitted to erf
    so that the error stays below 3e-7: tanh is NumPy's fastest function of this kind.
    """
    if not isinstance(x, NUMPY_TYPES):
        return importlib.import_module("cupyx.scipy.special").erf(x)
    if x.ndim == 0:  # NumPy's functions would return a scalar, which takes no out=
        return erf(np.asarray(x).reshape(1)).reshape(())
    if x.dtype == np.float64:
        return np.asarray(_erf64(x), dtype=np.float64).reshape(x.shape)
    if x.dtype != np.float32:
        return erf(x.astype(np.float32)).astype(x.dtype)
    return _tanh_of(_ERF_Q, x, quiet(np.square)(x))


def complement_of_erf(x: Any) -> Any:
    """1 − erf(x) to its last digits, element by element, in x's dtype."""
    if not isinstance(x, NUMPY_TYPES):
        return importlib.import_module("cupyx.scipy.special").erfc(x)
    return np.asarray(_erfc64(x.astype(np.float64)), dtype=x.dtype).reshape(x.shape)


# Abramowitz and Stegun, "Handbook of Mathematical Functions" (1964), 7.1.26: erf x = 1 − Σ·e^(−x²)
_A_S = (0.3275911, (1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592))


def erf_of_half(x: Any) -> Any:
    """erf(x) in float32 with the rounding of PyTorch's vectorised code, for half precisions.

    The polynomial is that of Abramowitz and Stegun, whose error of 1e-7 shows near 0 in float16. A
    sum with a product is rounded once there (a fused multiply-add); here by way of float64.
    """
    xp, (p, coefficients) = xp_of(x), _A_S

    def rounded(a: Any) -> Any:
        return a.astype(np.float32).astype(np.float64)

    wide = x.astype(np.float64)
    t = rounded(1.0 / rounded(abs(wide) * float(np.float32(p)) + 1.0))
    total = float(np.float32(coefficients[0]))
    for coefficient in coefficients[1:]:
        total = rounded(total * t + float(np.float32(coefficient)))
    tail = rounded(rounded(xp.exp(-rounded(wide * wide))) * t)
    return (xp.sign(wide) * rounded(1.0 - tail * total)).astype(np.float32)


def normal_cdf(x: Any, square: Any) -> Any:
    """Φ(x) = (1 + erf(x/√2))/2, how much of a normal distribution lies below x, given x²."""
    fast = isinstance(x, np.ndarray) and x.dtype == np.float32 and x.ndim
    cdf = _tanh_of(CDF_COEFFICIENTS, x, square) if fast else erf(x * math.sqrt(0.5))
    cdf += 1.0
    cdf *= 0.5
    return cdf


def sigmoid(x: Any) -> Any:
    """σ(x) = 1/(1 + exp(−x)), with −x limited to 88, where exp does not yet overflow in float32."""
    xp = xp_of(x)
    s = xp.maximum(x, -88.0, out=xp.empty_like(x))
    xp.negative(s, out=s)
    xp.exp(s, out=s)
    s += 1.0
    return xp.divide(1.0, s, out=s)


def sigmoid_by_tanh(x: Any) -> Any:
    """σ(x) = 1/2 + tanh(x/2)/2: faster; the error is 1e-7 in all, so that a small σ(x) may be 0."""
    s = x * 0.5
    xp_of(x).tanh(s, out=s)
    s *= 0.5
    s += 0.5
    return s
