"""Whole numbers out of others: floor, round, sign, and division with a rest."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import ops
from ..arrays.devices import asarray, use_gpu_of, xp_of
from ..tensor import Tensor, dtypes, wrap
from .checks import broadcasts
from .inplace import in_place
from .method import method
from .operands import as_operand, cast


def _step(name: str, input: Tensor) -> Tensor:
    """A step function of floating-point numbers; integers are whole already."""
    a = input.array
    if a.dtype.kind == "b":
        raise RuntimeError(f"{name}() is not defined for bool tensors: call .int() first")
    if a.dtype.kind in "iu":
        return input.clone()
    return ops.Step.apply(input, function=name)


@method
def floor(input: Tensor) -> Tensor:
    """The next whole number below; the gradient is 0."""
    return _step("floor", input)


@method
def ceil(input: Tensor) -> Tensor:
    """The next whole number above; the gradient is 0."""
    return _step("ceil", input)


@method("trunc", "fix")
def trunc(input: Tensor) -> Tensor:
    """The next whole number towards 0; the gradient is 0."""
    return _step("trunc", input)


fix = trunc


@method
def round(input: Tensor, *, decimals: int = 0) -> Tensor:
    """The nearest number with so many decimals, a half to the even one; the gradient is 0."""
    if decimals == 0 or input.array.dtype.kind in "iub":
        return _step("round", input)
    factor = 10.0 ** abs(decimals)
    if decimals > 0:
        return _step("round", input * factor) / factor
    return _step("round", input / factor) * factor


@method
def frac(input: Tensor) -> Tensor:
    """What remains without the whole part, with the sign of the number."""
    with np.errstate(invalid="ignore"):  # of an infinity nothing is left but nan
        return input - trunc(input)


@method("sign", "sgn")
def sign(input: Tensor) -> Tensor:
    """−1, 0 or 1 for negative, 0 (or nan) and positive; the gradient is 0."""
    a = input.array
    use_gpu_of(a)
    if a.dtype.kind in "ub":
        return wrap(asarray((a != 0).astype(a.dtype), a))
    result = ops.Step.apply(input, function="sign")
    if a.dtype.kind in "fV":
        result.array[xp_of(a).isnan(a)] = 0
    return result


sgn = sign


@method
def signbit(input: Tensor) -> Tensor:
    """Whether negative, −0.0 included; a bool tensor."""
    a = input.array
    use_gpu_of(a)
    return wrap(asarray(xp_of(a).signbit(a) if a.dtype.kind in "fV" else a < 0, a))


# ------------------------------------------------------------------------------------- division
def _pair(input: Any, other: Any) -> Any:
    """Two tensors of the common dtype; NotImplemented if one is no tensor and no number.

    RuntimeError for a division of integers by 0.
    """
    use_gpu_of(input, other)
    given = [as_operand(v) for v in (input, other)]
    if any(v is NotImplemented for v in given):
        return NotImplemented
    dtype = dtypes.numpy_dtype(dtypes.result_type(*given))
    xp = xp_of(next(v.array for v in given if isinstance(v, Tensor)))
    a, b = (
        cast(v, dtype) if isinstance(v, Tensor) else wrap(xp.asarray(v).astype(dtype))
        for v in given
    )
    broadcasts(a.array, b.array)
    if dtype.kind in "iub" and (b.array == 0).any():
        raise RuntimeError("ZeroDivisionError: integers are divided by 0")
    return a, b


def _rest(input: Any, other: Any, rounding: str) -> Any:
    pair = _pair(input, other)
    if pair is NotImplemented:
        return pair
    with np.errstate(invalid="ignore"):
        return ops.Remainder.apply(*pair, rounding=rounding)


@method("remainder", "__mod__")
def remainder(input: Any, other: Any) -> Tensor:
    """input − ⌊input / other⌋·other, with other's sign, as Python's %.

    Gradient: 1 to input, −⌊input / other⌋ to other. Integers divided by 0 are a RuntimeError.
    """
    return _rest(input, other, "floor")


@method("__rmod__")
def _rmod(input: Any, other: Any) -> Tensor:
    return _rest(other, input, "floor")


@method
def fmod(input: Any, other: Any) -> Tensor:
    """As `remainder`, but the quotient is rounded towards 0: the result has input's sign."""
    return _rest(input, other, "trunc")


@method("floor_divide", "__floordiv__")
def floor_divide(input: Any, other: Any) -> Tensor:
    """⌊input / other⌋, outside the graph. Integers divided by 0 are a RuntimeError."""
    pair = _pair(input, other)
    if pair is NotImplemented:
        return pair
    a, b = (x.array for x in pair)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        return wrap(asarray(xp_of(a).floor_divide(a, b), a))


@method("__rfloordiv__")
def _rfloordiv(input: Any, other: Any) -> Tensor:
    return floor_divide(other, input)


for _function in (floor, ceil, trunc, round, frac, sign, fmod):
    in_place(_function, _function.__name__ + "_")
in_place(remainder, "remainder_", "__imod__")
in_place(floor_divide, "floor_divide_", "__ifloordiv__")
