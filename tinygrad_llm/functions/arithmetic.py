"""Sums, differences, products, quotients and powers, element by element, and the operators."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import ops
from ..arrays.devices import asarray, xp_of
from ..arrays.silence import quiet
from ..autograd.grad_mode import no_grad
from ..autograd.half_precision import is_half
from ..tensor import Tensor, dtypes
from ..tensor.numbers import fitted, number, plain
from .half_precision import rounded_once
from .inplace import in_place
from .method import method
from .operands import binary, differentiated, unary
from .printed_names import printed_as


def refuse_bool(a: Any, b: Any, sign: str) -> None:
    """Check that neither operand is boolean (a tensor, True or False).

    Raises: RuntimeError if one is: booleans have no difference.
    """
    bools = [x.array.dtype.kind == "b" if isinstance(x, Tensor) else x is True or x is False
             for x in (a, b)]  # fmt: skip
    if True not in bools:
        return
    if all(bools):
        raise RuntimeError(
            f"Subtraction, the `{sign}` operator, with two bool tensors is not supported. "
            "Use the `^` or `logical_xor()` operator instead."
        )
    if any(bools):
        raise RuntimeError(
            f"Subtraction, the `{sign}` operator, with a bool tensor is not supported. If you are "
            "trying to invert a mask, use the `~` or `logical_not()` operator instead."
        )


@method("add", "__add__")
def add(input: Any, other: Any, *, alpha: Any = 1) -> Tensor:
    """input + alpha·other, element by element; shapes broadcast and dtypes promote."""
    if alpha == 1 and alpha is not True:
        return binary(ops.Add, input, other)
    return _scaled(ops.Add, input, other, alpha)


def _scaled(op: Any, input: Any, other: Any, alpha: Any) -> Tensor:
    """op(input, alpha·other); beside half precision alpha is rounded to it first, as in PyTorch.

    But not in backward, where the gradient is multiplied by alpha as it was given.
    Raises: RuntimeError if integers cannot hold alpha.
    """
    alpha = _checked_alpha(number(alpha), dtypes.numpy_dtype(dtypes.result_type(input, other)))
    half = next((x.array.dtype for x in (input, other) if isinstance(x, Tensor)), None)
    z = _sum_with_product(op, input, other, alpha)
    if half is not None and is_half(half) and float(half.type(alpha)) != alpha:
        with no_grad():
            rounded = _sum_with_product(op, input, other, float(half.type(alpha)))
        z.array[...] = rounded.array
    return z


def _checked_alpha(alpha: Any, dtype: np.dtype) -> Any:
    if dtype.kind in "iub" and isinstance(alpha, (float, complex)):
        raise RuntimeError(
            "For integral input tensors, argument alpha must not be a floating point number."
        )
    if dtype.kind != "b" and isinstance(alpha, bool):
        raise RuntimeError("Boolean alpha only supported for Boolean results.")
    return fitted(alpha, dtype)


@rounded_once
def _sum_with_product(op: Any, input: Any, other: Any, alpha: Any) -> Tensor:
    scaled = mul(other, alpha) if isinstance(other, Tensor) else other * alpha
    return binary(op, input, scaled)


@method("__radd__")
def _radd(input: Any, other: Any) -> Tensor:
    return binary(ops.Add, other, input)


@method("sub", "subtract", "__sub__")
def sub(input: Any, other: Any, *, alpha: Any = 1) -> Tensor:
    """input − alpha·other, element by element; shapes broadcast and dtypes promote."""
    refuse_bool(input, other, "-")
    if alpha == 1 and alpha is not True:
        return binary(ops.Sub, input, other)
    return _scaled(ops.Sub, input, other, alpha)


@method("__rsub__")
def _rsub(input: Any, other: Any) -> Tensor:
    refuse_bool(other, input, "-")
    return binary(ops.Sub, other, input)


@method("mul", "multiply", "__mul__")
def mul(input: Any, other: Any) -> Tensor:
    """input·other, element by element; shapes broadcast and dtypes promote."""
    return binary(ops.Mul, input, other)


@method("__rmul__")
def _rmul(input: Any, other: Any) -> Tensor:
    return binary(ops.Mul, other, input)


@method("div", "divide", "true_divide")
def div(input: Any, other: Any, *, rounding_mode: str | None = None) -> Tensor:
    """input / other, element by element. Integers become the default floating dtype.

    rounding_mode "trunc" rounds the quotient towards 0, "floor" downwards.
    Raises: RuntimeError if rounding_mode is neither None, "trunc" nor "floor".
    """
    if rounding_mode is None:
        return binary(ops.Div, input, other, floating=True)
    if rounding_mode not in ("trunc", "floor"):
        raise RuntimeError(
            f"div expected rounding_mode to be one of None, 'trunc', or 'floor' "
            f"but found '{rounding_mode}'"
        )
    from .rounding import whole_quotient  # imported when first needed

    return whole_quotient(input, other, rounding_mode)


@method("__truediv__")
def _truediv(input: Any, other: Any) -> Tensor:
    return binary(ops.Div, input, other, floating=True)


@method("__rtruediv__")
def _rtruediv(input: Any, other: Any) -> Tensor:
    if is_half(input.array.dtype):  # PyTorch rounds the reciprocal too
        return mul(reciprocal(input), other)
    return binary(ops.Div, other, input, floating=True)


@method("neg", "negative", "__neg__")
def neg(input: Tensor) -> Tensor:
    """−input, element by element.

    Raises: RuntimeError if input is boolean.
    """
    if input.array.dtype.kind == "b":
        raise RuntimeError(
            "Negation, the `-` operator, on a bool tensor is not supported. If you are trying to "
            "invert a mask, use the `~` or `logical_not()` operator instead."
        )
    return ops.Neg.apply(input)


@method("positive", "__pos__")
def positive(input: Tensor) -> Tensor:
    """The tensor itself."""
    return input


@method("pow", "__pow__")
def pow(input: Any, exponent: Any) -> Tensor:
    """inputᵉˣᵖᵒⁿᵉⁿᵗ, element by element; either may be a number, not both.

    Raises: RuntimeError if an integer has a negative integer exponent; NotImplementedError for a
    complex number as exponent.
    """
    exponent = plain(exponent)
    if isinstance(exponent, complex):
        raise NotImplementedError(
            f"pow: the exponent {exponent} is complex, which is not offered; for a complex tensor "
            "write (input.log() * exponent).exp()"
        )
    a = input.array.dtype.kind if isinstance(input, Tensor) else "f"
    if a in "iub" and isinstance(exponent, int) and exponent < 0:
        raise RuntimeError("Integers to negative integer powers are not allowed.")
    return _power(input, exponent) if _in_halves(input, exponent) else binary(
        ops.Pow, input, exponent)  # fmt: skip


def _in_halves(base: Any, exponent: Any) -> bool:
    """Whether a number is raised to a half-precision tensor."""
    return (
        isinstance(exponent, Tensor) and exponent.array.itemsize == 2
        and isinstance(base, int | float) and is_half(exponent.array.dtype)
    )  # fmt: skip


def _power(base: Any, exponent: Tensor) -> Tensor:
    return printed_as("PowBackward2", _power_of_number(base, exponent))


@rounded_once(gradient="exponent")
def _power_of_number(base: Any, exponent: Tensor) -> Tensor:
    return binary(ops.Pow, base, exponent)


@method("__rpow__")
def _rpow(input: Any, other: Any) -> Tensor:
    z = _power(other, input) if _in_halves(other, input) else binary(
        ops.Pow, other, input)  # fmt: skip
    if isinstance(z, Tensor) and not z.array.flags.c_contiguous:  # PyTorch copies a number's powers
        return z.contiguous()
    return z


@method
def square(input: Tensor) -> Tensor:
    """x²."""
    return pow(input, 2)


@method
def reciprocal(input: Tensor) -> Tensor:
    """1/x."""
    return unary(ops.Reciprocal, input)


@method("abs", "absolute", "__abs__")
def abs(input: Tensor) -> Tensor:
    """|x|; the gradient at 0 is 0."""
    return ops.Abs.apply(input)


@method
@quiet
def lerp(input: Tensor, end: Tensor, weight: Any) -> Tensor:
    """input + weight·(end − input), a number or a tensor of weights.

    From a weight of ½ on it is end − (end − input)·(1 − weight), so that weight 1 is exactly end.
    """
    y = _lerp(input, end, weight, fused=is_half(input.array.dtype))
    return printed_as(f"LerpBackward{int(isinstance(weight, Tensor))}", y)


@rounded_once
def _lerp(input: Tensor, end: Tensor, weight: Any, fused: bool) -> Tensor:
    """fused: product and sum are rounded together, as PyTorch does beside half precision."""
    a, b = input.array, end.array
    if type(weight) in (int, float) and a.dtype is b.dtype and a.dtype.kind == "f":
        weight = a.dtype.type(weight)  # it is rounded as the tensors are, and so is 1 − weight
        step, low = b - a, -0.5 < weight < 0.5
        times = float(weight if low else weight - 1)
        to = a if low else b
        if fused:
            y = (to.astype("float64") + times * step.astype("float64")).astype(a.dtype)
        else:
            y = to + times * step
        w = xp_of(a).full((), float(weight), a.dtype)
        return differentiated(asarray(y, a), (input, lambda: 1.0 - w), (end, lambda: w))
    before, after = input.detach(), end.detach()
    step = after - before
    if isinstance(weight, Tensor):
        w = weight.detach()
        from .selection import where  # imported when first needed

        y = where(abs(w) < 0.5, before + w * step, after - step * (1.0 - w))
    else:
        w = weight
        y = before + w * step if -0.5 < w < 0.5 else after - step * (1.0 - w)
    all_w = xp_of(y.array).asarray(w.array if isinstance(w, Tensor) else w, y.array.dtype)
    return differentiated(y.array, (input, lambda: 1.0 - all_w), (end, lambda: all_w + 0.0),
                          (weight, lambda: step.array))  # fmt: skip


@method
@rounded_once(gradient="addcmul")
def addcmul(input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: Any = 1) -> Tensor:
    """input + value·tensor1·tensor2."""
    return input + value * tensor1 * tensor2


@method
@rounded_once(gradient="addcdiv")
def addcdiv(input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: Any = 1) -> Tensor:
    """input + value·tensor1 / tensor2."""
    return input + value * tensor1 / tensor2


in_place(add, "add_", "__iadd__", ufunc=np.add)
in_place(sub, "sub_", "subtract_", "__isub__", ufunc=np.subtract)
in_place(mul, "mul_", "multiply_", "__imul__", ufunc=np.multiply)
in_place(div, "div_", "divide_", "__itruediv__", ufunc=np.divide)
in_place(pow, "pow_", "__ipow__")
for _function in (neg, square, reciprocal, abs, lerp, addcmul, addcdiv):
    in_place(_function, _function.__name__ + "_")
