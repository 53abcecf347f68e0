"""Element by element, with PyTorch's names, dtype promotion and operators."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import ops
from ..arrays.devices import xp_of
from ..arrays.twins import twins
from ..tensor import Tensor, dtypes, wrap
from .method import checked, method

_PYTHON = (bool, int, float)


def as_operand(value: Any) -> Any:
    """A tensor, a Python number, or NotImplemented for what arithmetic does not know."""
    if isinstance(value, Tensor) or isinstance(value, _PYTHON):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return wrap(value)
    return NotImplemented


def cast(x: Any, dtype: Any) -> Any:
    """The tensor in a NumPy dtype, itself if it has it; other values as they are."""
    if isinstance(x, Tensor) and x.array.dtype != dtype:
        return ops.Cast.apply(x, dtype=dtype)
    return x


def promote(*operands: Any, floating: bool = False) -> list[Any]:
    """Operands brought to PyTorch's common dtype; numbers stay numbers, which take it on.

    floating: integers and booleans become the default floating dtype, as a division needs.
    """
    common = dtypes.numpy_dtype(dtypes.result_type(*operands))
    if floating and common.kind in "iub":
        common = dtypes.numpy_dtype(dtypes.get_default_dtype())
    return [cast(x, common) for x in operands]


def binary(op: Any, a: Any, b: Any, floating: bool = False) -> Any:
    """op over two operands of which at least one is a tensor."""
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        if a.array.dtype is not b.array.dtype or (floating and a.array.dtype.kind in "iub"):
            if twins.gpu is not None and twins.gpu.mixed_sum(op, a.array, b.array):
                return op.apply(a, b)
            a, b = promote(a, b, floating=floating)
        return op.apply(a, b)
    a, b = as_operand(a), as_operand(b)
    if a is NotImplemented or b is NotImplemented:
        return NotImplemented
    x, number = (a, b) if isinstance(a, Tensor) else (b, a)
    kind = x.array.dtype.kind
    if kind not in "fV" or not isinstance(number, _PYTHON):
        a, b = promote(a, b, floating=floating)
    elif kind == "V":  # bfloat16 with a Python number would become float32
        weak = xp_of(x.array).asarray(number, x.array.dtype)
        a, b = (a, weak) if a is x else (weak, b)
    return op.apply(a, b)


def refuse_bool(a: Any, b: Any, sign: str) -> None:
    """RuntimeError if one is boolean, a tensor or True or False: it has no difference."""
    bools = [isinstance(x, bool) or (isinstance(x, Tensor) and x.dtype is dtypes.bool_)
             for x in (a, b)]  # fmt: skip
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
def add(input: Any, other: Any, *, alpha: Any = 1) -> Any:
    """input + alpha·other, element by element; shapes broadcast and dtypes promote."""
    return binary(ops.Add, input, other if alpha == 1 else mul(other, alpha))


@method("__radd__")
def _radd(input: Any, other: Any) -> Any:
    return binary(ops.Add, other, input)


@method("sub", "subtract", "__sub__")
def sub(input: Any, other: Any, *, alpha: Any = 1) -> Any:
    """input − alpha·other, element by element; shapes broadcast and dtypes promote."""
    refuse_bool(input, other, "-")
    return binary(ops.Sub, input, other if alpha == 1 else mul(other, alpha))


@method("__rsub__")
def _rsub(input: Any, other: Any) -> Any:
    refuse_bool(other, input, "-")
    return binary(ops.Sub, other, input)


@method("mul", "multiply", "__mul__")
def mul(input: Any, other: Any) -> Any:
    """input·other, element by element; shapes broadcast and dtypes promote."""
    return binary(ops.Mul, input, other)


@method("__rmul__")
def _rmul(input: Any, other: Any) -> Any:
    return binary(ops.Mul, other, input)


@method("div", "divide", "true_divide")
def div(input: Any, other: Any, *, rounding_mode: str | None = None) -> Any:
    """input / other, element by element. Integers give the default floating dtype.

    rounding_mode "trunc" rounds the quotient towards 0, "floor" downwards.
    """
    if rounding_mode is None:
        return binary(ops.Div, input, other, floating=True)
    if rounding_mode not in ("trunc", "floor"):
        raise RuntimeError(
            f"div expected rounding_mode to be one of None, 'trunc', or 'floor' "
            f"but found '{rounding_mode}'"
        )
    quotient = binary(ops.Div, input, other, floating=True)
    rounded = ops.Step.apply(quotient, function=rounding_mode)
    return cast(rounded, dtypes.numpy_dtype(dtypes.result_type(input, other)))


@method("__truediv__")
def _truediv(input: Any, other: Any) -> Any:
    return binary(ops.Div, input, other, floating=True)


@method("__rtruediv__")
def _rtruediv(input: Any, other: Any) -> Any:
    return binary(ops.Div, other, input, floating=True)


@method("neg", "negative", "__neg__")
def neg(input: Tensor) -> Tensor:
    """−input, element by element."""
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
def pow(input: Any, exponent: Any) -> Any:
    """inputᵉˣᵖᵒⁿᵉⁿᵗ, element by element; either may be a number, not both."""
    a = input.array.dtype.kind if isinstance(input, Tensor) else "f"
    if a in "iub" and isinstance(exponent, int) and exponent < 0:
        raise RuntimeError("Integers to negative integer powers are not allowed.")
    return binary(ops.Pow, input, exponent)


@method("__rpow__")
def _rpow(input: Any, other: Any) -> Any:
    return binary(ops.Pow, other, input)


def unary(op: Any, input: Any) -> Any:
    """op on a floating tensor; integers become the default floating dtype first."""
    if not isinstance(input, Tensor):
        raise TypeError(
            f"{op.name}(): argument 'input' (position 1) must be Tensor, not {type(input).__name__}"
        )
    dtype = input.array.dtype
    if dtype.kind == "V":  # bfloat16 is worked out in float32
        return cast(op.apply(cast(input, "float32")), dtype)
    if dtype.kind in "iub":
        input = cast(input, dtypes.numpy_dtype(dtypes.get_default_dtype()))
    return op.apply(input)


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
def square(input: Tensor) -> Tensor:
    """x²."""
    return pow(input, 2)


@method
def reciprocal(input: Tensor) -> Tensor:
    """1/x."""
    return unary(ops.Reciprocal, input)


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
def tan(input: Tensor) -> Tensor:
    """The tangent of an angle in radians: sin x / cos x."""
    return sin(input) / cos(input)


@method
def erf(input: Tensor) -> Tensor:
    """The error function 2/√π·∫₀ˣ e^(−t²) dt."""
    return unary(ops.Erf, input)


@method("abs", "absolute", "__abs__")
def abs(input: Tensor) -> Tensor:
    """|x|; the gradient at 0 is 0."""
    return ops.Abs.apply(input)


@method("clamp", "clip")
def clamp(input: Tensor, min: Any = None, max: Any = None) -> Tensor:
    """x held between min and max, numbers or tensors, either of which may be None.

    A value at a bound keeps its gradient; outside it goes to the bound, if that is a tensor.
    """
    if min is None and max is None:
        raise RuntimeError("torch.clamp: At least one of 'min' or 'max' must not be None")
    if isinstance(min, Tensor) or isinstance(max, Tensor):
        low = input if min is None else where(input < min, min, input)
        return low if max is None else where(low > max, max, low)
    x = promote(input, *[b for b in (min, max) if b is not None])[0]
    return cast(ops.Clamp.apply(x, low=min, high=max), x.array.dtype)


@method
def clamp_min(input: Tensor, min: Any) -> Tensor:
    """max(x, min)."""
    return clamp(input, min=min)


@method
def clamp_max(input: Tensor, max: Any) -> Tensor:
    """min(x, max)."""
    return clamp(input, max=max)


@method
def maximum(input: Tensor, other: Tensor) -> Tensor:
    """The larger of two, element by element; a tie shares the gradient."""
    return binary(ops.Maximum, input, other)


@method
def minimum(input: Tensor, other: Tensor) -> Tensor:
    """The smaller of two, element by element; a tie shares the gradient."""
    return binary(ops.Minimum, input, other)


@checked
def where(condition: Tensor, input: Any = None, other: Any = None) -> Any:
    """input where the condition holds, else other; numbers are allowed, shapes broadcast.

    With the condition alone: the positions where it holds, one index tensor a dimension.
    """
    if input is None and other is None:
        return condition.nonzero(as_tuple=True)
    if condition.array.dtype.kind != "b":
        raise RuntimeError(
            f"where expected condition to be a boolean tensor, but got a tensor with dtype "
            f"{condition.dtype}: compare it with something first, such as x > 0"
        )
    x, y = promote(input, other)
    dtype = dtypes.numpy_dtype(dtypes.result_type(input, other))

    xp = xp_of(condition.array)
    x, y = (v if isinstance(v, Tensor) else wrap(xp.asarray(v, dtype)) for v in (x, y))
    return ops.Where.apply(condition, x, y)


@method("where")
def _where(input: Tensor, condition: Tensor, other: Any) -> Tensor:
    return where(condition, input, other)


@method
def masked_fill(input: Tensor, mask: Tensor, value: Any) -> Tensor:
    """input with `value` (a number or a 0-d tensor) wherever the boolean mask holds."""
    if mask.array.dtype.kind != "b":
        raise RuntimeError(
            f"masked_fill_ only supports boolean masks, but got mask with dtype {mask.dtype}: "
            "make it with .bool() or a comparison"
        )
    if isinstance(value, Tensor):
        if value.array.ndim:
            raise RuntimeError(
                "masked_fill_ only supports a 0-dimensional value tensor, but got tensor with "
                f"{value.array.ndim} dimension(s)."
            )
        value = cast(value, input.array.dtype)
    return ops.MaskedFill.apply(input, mask, value)


@method
def clone(input: Tensor, *, memory_format: Any = None) -> Tensor:
    """A copy in memory of its own, through which the gradient flows back."""
    return ops.Clone.apply(input)


@method
def lerp(input: Tensor, end: Tensor, weight: Any) -> Tensor:
    """input + weight·(end − input)."""
    return input + weight * (end - input)


@method
def addcmul(input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: Any = 1) -> Tensor:
    """input + value·tensor1·tensor2."""
    return input + value * (tensor1 * tensor2)


@method
def addcdiv(input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: Any = 1) -> Tensor:
    """input + value·tensor1 / tensor2."""
    return input + value * (tensor1 / tensor2)
