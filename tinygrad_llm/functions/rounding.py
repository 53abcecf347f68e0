"""Rounding and division with remainder: floor, round, sign, remainder and their relatives."""

from __future__ import annotations

from typing import Any

from .. import ops
from ..arrays.devices import asarray, use_gpu_of, xp_of
from ..arrays.silence import quiet
from ..autograd.half_precision import is_half
from ..tensor import Tensor, wrap
from .inplace import in_place
from .method import method
from .operands import as_operand, differentiated, pair


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
    """The number minus its whole part, with the sign of the number."""
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
def _dividend_and_divisor(input: Any, other: Any) -> Any:
    """As `pair`.

    Raises: RuntimeError for a division of integers by 0.
    """
    both = pair(input, other)
    if both is not NotImplemented and both[1].array.dtype.kind in "iub":
        if (both[1].array == 0).any():
            raise RuntimeError("ZeroDivisionError: integers are divided by 0")
    return both


def whole_quotient(input: Any, other: Any, rounding: str) -> Any:
    """input / other rounded downwards ("floor") or towards 0 ("trunc"); the gradient is 0.

    ⌊x/y⌋ is computed from the remainder: x/y itself may be rounded up to a whole number.
    Raises: RuntimeError if integers are divided by 0, NotImplementedError for two bool tensors.
    """
    both = _dividend_and_divisor(input, other)
    if both is NotImplemented:
        return both
    exact = _whole(both, other, rounding)
    if exact.dtype.kind in "iu":
        return wrap(exact)
    nowhere = xp_of(exact).zeros(exact.shape, bool)
    return differentiated(exact, *[(x, None, nowhere) for x in both])


def _whole(both: tuple[Tensor, Tensor], other: Any, rounding: str) -> Any:
    """The whole quotients of a pair whose divisor was given as `other`, as an array."""
    a, b = (x.array for x in both)
    if a.dtype.kind == "b":
        raise NotImplementedError(f"\"div_{rounding}_cpu\" not implemented for 'Bool'")
    if not is_half(a.dtype):
        return asarray(_quotient(a, b, rounding), a)
    number = as_operand(other)
    if isinstance(number, Tensor) and not number.array.ndim:
        number = number.item()
    return _half_quotient(a, b if isinstance(number, Tensor) else number, rounding)


@quiet
def _half_quotient(a: Any, b: Any, rounding: str) -> Any:
    """⌊a/b⌋ or a/b towards 0 for half precision a, rounded where PyTorch rounds.

    A number b is a float32 number and the result is rounded once. Of two tensors each step of the
    computation is rounded: the remainder m, a − m, (a − m)/b, and the 1 that is taken off.
    """
    xp, dtype, wide = xp_of(a), a.dtype, a.astype("float32")
    if isinstance(b, int | float):
        return asarray(_quotient(wide, xp.asarray(b, "float32"), rounding), wide).astype(dtype)
    if rounding == "trunc" or dtype.kind != "V":
        return asarray(_quotient(a, b, rounding), a)

    def rounded(x: Any) -> Any:
        return x.astype(dtype).astype("float32")

    divisor = b.astype("float32")
    exact = rounded(wide / divisor)
    rest = xp.fmod(wide, divisor)
    quotient = rounded(rounded(wide - rest) / divisor)
    quotient = xp.where(
        (rest != 0) & ((divisor < 0) != (rest < 0)), rounded(quotient - 1), quotient
    )
    whole = xp.floor(quotient)
    whole = xp.where(quotient - whole > 0.5, rounded(whole + 1), whole)
    whole = xp.where(quotient == 0, xp.copysign(0.0, exact), whole)
    return xp.where(divisor == 0, exact, whole).astype(dtype)


@quiet
def _quotient(a: Any, b: Any, rounding: str) -> Any:
    if rounding == "floor":
        return xp_of(a).floor_divide(a, b)
    if a.dtype.kind not in "iub":
        return xp_of(a).trunc(a / b)
    quotient = a // b
    return quotient + ((a - quotient * b != 0) & ((a < 0) != (b < 0))).astype(quotient.dtype)


def _remainder(input: Any, other: Any, rounding: str) -> Any:
    both = _dividend_and_divisor(input, other)
    if both is NotImplemented:
        return both
    return ops.Remainder.apply(*both, rounding=rounding)


@method("remainder", "__mod__")
def remainder(input: Any, other: Any) -> Tensor:
    """input − ⌊input / other⌋·other, with other's sign, as Python's %.

    Gradient: 1 for input, −⌊input / other⌋ for other.
    Raises: RuntimeError if integers are divided by 0.
    """
    return _remainder(input, other, "floor")


@method("__rmod__")
def _rmod(input: Any, other: Any) -> Tensor:
    return _remainder(other, input, "floor")


@method
def fmod(input: Any, other: Any) -> Tensor:
    """As `remainder`, but the quotient is rounded towards 0: the result has input's sign."""
    return _remainder(input, other, "trunc")


@method("floor_divide", "__floordiv__")
def floor_divide(input: Any, other: Any) -> Tensor:
    """⌊input / other⌋, outside the graph.

    Raises: RuntimeError if integers are divided by 0, NotImplementedError for two bool tensors.
    """
    both = _dividend_and_divisor(input, other)
    return both if both is NotImplemented else wrap(_whole(both, other, "floor"))


@method("__rfloordiv__")
def _rfloordiv(input: Any, other: Any) -> Tensor:
    return floor_divide(other, input)


for _function in (floor, ceil, trunc, round, frac, sign, fmod):
    in_place(_function, _function.__name__ + "_")
in_place(remainder, "remainder_", "__imod__")
in_place(floor_divide, "floor_divide_", "__ifloordiv__")
