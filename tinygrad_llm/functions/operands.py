"""Operands of element-wise functions: their common dtype by PyTorch's rules of promotion."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import ops
from ..arrays.devices import use_gpu_of, xp_of
from ..arrays.memory import as_array, ndarray
from ..arrays.meta import is_meta
from ..arrays.silence import quiet, silently
from ..arrays.twins import LEAST, twins
from ..autograd.grad_mode import mode
from ..autograd.half_precision import is_half
from ..tensor import Tensor, dtypes, wrap
from ..tensor.numbers import fitted, plain, stored, wrapped
from .checks import broadcasts
from .unrecorded import recorded

_PYTHON = (bool, int, float)
_NUMBERS = (*_PYTHON, complex)
_AS_IT_IS = frozenset({Tensor, *_NUMBERS})


def as_operand(value: Any) -> Any:
    """A tensor, a Python number, or NotImplemented for what arithmetic does not know."""
    if isinstance(value, Tensor) or type(value) in _NUMBERS:
        return value
    if isinstance(value, np.generic):
        return plain(value)
    if isinstance(value, _NUMBERS):
        return value
    if isinstance(value, np.ndarray):  # np.matrix has another *
        return wrap(value if type(value) is ndarray or is_meta(value) else np.asarray(value))
    return NotImplemented


def cast(x: Any, dtype: Any) -> Any:
    """The tensor in a NumPy dtype, itself if it has it; other values as they are."""
    if isinstance(x, Tensor) and x.array.dtype != dtype:
        return ops.Cast.apply(x, dtype=dtype)
    return x


def rounded(y: Tensor) -> Tensor:
    """A result that was cast to half precision; it prints as the op whose result was rounded."""
    if y._op is not None:
        y._op.rounds = True
    return y


def as_floating(x: Tensor) -> Tensor:
    """The tensor, in the default floating dtype if it holds integers or booleans."""
    if x.array.dtype.kind in "iub":
        return cast(x, dtypes.numpy_dtype(dtypes.get_default_dtype()))
    return x


def promote(*operands: Any, floating: bool = False) -> list[Any]:
    """Operands cast to PyTorch's common dtype; Python numbers stay numbers.

    floating: integers and booleans become the default floating dtype, as a division needs.
    """
    common = dtypes.numpy_dtype(dtypes.result_type(*operands))
    if floating and common.kind in "iub":
        common = dtypes.numpy_dtype(dtypes.get_default_dtype())
    return [cast(x, common) for x in operands]


def pair(input: Any, other: Any) -> Any:
    """Two tensors of the common dtype; NotImplemented if one is neither a tensor nor a number.

    Raises: RuntimeError if they do not broadcast together.
    """
    use_gpu_of(input, other)
    operands = [as_operand(x) for x in (input, other)]
    if any(x is NotImplemented for x in operands):
        return NotImplemented
    dtype = dtypes.numpy_dtype(dtypes.result_type(*operands))
    xp = xp_of(next(x.array for x in operands if isinstance(x, Tensor)))
    a, b = (
        cast(x, dtype)
        if isinstance(x, Tensor)
        else wrap(xp.asarray(stored(x, dtype)).astype(dtype))
        for x in operands
    )
    broadcasts(a.array, b.array)
    return a, b


def need_pair(name: str, input: Any, other: Any) -> Any:
    """As `pair`.

    Raises: TypeError if one is neither a tensor nor a number, NotImplementedError for complex ones.
    """
    both = pair(input, other)
    if both is NotImplemented:
        wrong = next(x for x in (input, other) if as_operand(x) is NotImplemented)
        raise TypeError(f"{name}(): expected a tensor or a number, got {type(wrong).__name__}")
    if both[0].array.dtype.kind == "c":
        raise NotImplementedError(f"{name} is not implemented for complex numbers")
    return both


_UFUNCS = {ops.Add: np.add, ops.Sub: np.subtract, ops.Mul: np.multiply, ops.Div: np.divide}


def _past_the_engine(op: Any, x: Tensor, value: Any, a: Any, b: Any) -> Tensor | None:
    """op(a, b) of a few floats, straight to NumPy; None if it is recorded, watched or replaced.

    x, value: the two operands as a tensor, and a float or a tensor of the same dtype. a, b: the
    operands in their order, as arrays or numbers.
    """
    ufunc, array = _UFUNCS.get(op), x.array
    if ufunc is None or type(array) is not ndarray or array.size >= LEAST or recorded(x, value):
        return None
    if isinstance(value, Tensor) and type(value.array) is not ndarray:
        return None
    if array.dtype.char not in "fd" or op.forward is not op._written[0]:
        return None
    try:
        return wrap(as_array(silently(ufunc, a, b)))
    except ValueError:  # shapes that do not broadcast: words for it follow
        return None


def binary(op: Any, a: Any, b: Any, floating: bool = False) -> Any:
    """op over two operands of which at least one is a tensor."""
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        if a.array.dtype is b.array.dtype and not (a._needs or b._needs):
            quick = _past_the_engine(op, a, b, a.array, b.array)
            if quick is not None:
                return quick
        if a.array.dtype is not b.array.dtype or (floating and a.array.dtype.kind in "iub"):
            gpu = twins.gpu if a.is_cuda else None
            if gpu is not None and gpu.mixed_sum(op, a.array, b.array):
                return op.apply(a, b)
            if _is_number(b, a):
                b = as_number_of(op, a, b, second=True)
            elif _is_number(a, b):
                a = as_number_of(op, b, a, second=False)
            else:
                a, b = promote(a, b, floating=floating)
        return op.apply(a, b)
    x, number = (a, b) if isinstance(a, Tensor) else (b, a)
    if type(number) is float and x.array.dtype.char in "fd":  # as nearly always
        quick = None
        if not x._needs:
            pair = (x.array, number) if x is a else (number, x.array)
            quick = _past_the_engine(op, x, number, *pair)
        return op.apply(a, b) if quick is None else quick
    a = a if type(a) in _AS_IT_IS else as_operand(a)
    b = b if type(b) in _AS_IT_IS else as_operand(b)
    if a is NotImplemented or b is NotImplemented:
        return NotImplemented
    x, number = (a, b) if isinstance(a, Tensor) else (b, a)
    kind = x.array.dtype.kind
    if kind == "i" and type(number) is int and -128 <= number < 128 and not floating:
        return op.apply(a, b)  # any integer dtype holds the number, and stays what it is
    if kind not in "fV" or not isinstance(number, _PYTHON):
        a, b = promote(a, b, floating=floating)
    elif x.array.itemsize == 2:
        number = as_number_of(op, x, number, second=x is a)
        a, b = (a, number) if x is a else (number, b)
    try:
        return op.apply(a, b)
    except OverflowError:
        dtype = next(v.array.dtype for v in (a, b) if isinstance(v, Tensor))
        if isinstance(a, Tensor):
            return op.apply(a, (fitted if op is ops.Pow else wrapped)(b, dtype))
        return op.apply(wrapped(a, dtype), b)


def differentiated(values: Any, *terms: tuple[Any, ...]) -> Tensor:
    """A tensor of the values of f(x₁, x₂ …), with the derivatives wᵢ = ∂f/∂xᵢ: ∂L/∂xᵢ = g·wᵢ.

    For functions whose parts, differentiated one by one, would add ∞ − ∞ or multiply 0·∞. The graph
    holds Σ xᵢ·wᵢ, which has these gradients.
    terms: (xᵢ, a function that returns wᵢ as an array, called only if xᵢ wants a gradient, or None
    for 1), and perhaps a mask outside of which the gradient is 0. xᵢ broadcasts to the values.
    """
    total: Any = None
    for x, derivative, *mask in terms:
        if not (mode.grad and isinstance(x, Tensor) and x.requires_grad):
            continue
        dtype = x.array.dtype
        if mask:
            x = ops.Where.apply(wrap(mask[0]), x, wrap(xp_of(values).zeros((), dtype)))
        if derivative is not None:
            x = ops.Mul.apply(x, wrap(quiet(derivative)().astype(dtype, copy=False)))
        total = x if total is None else ops.Add.apply(total, x)
    if total is None:
        return wrap(values)
    total.array[...] = values
    return total


def _is_number(x: Tensor, other: Tensor) -> bool:
    """Whether x is 0-d, and the other a half-precision tensor with dimensions."""
    return x.array.ndim == 0 < other.array.ndim and is_half(other.array.dtype)


def as_number_of(op: Any, x: Tensor, number: Any, second: bool) -> Any:
    """A number or a 0-d tensor as PyTorch takes it beside a half-precision tensor x.

    A divisor is a float32 number, and so is a factor, except a 0-d tensor on the left. Others are
    rounded to x's dtype before the op, except an exponent, because small whole ones are products.
    second: the number is the second operand.
    """
    is_tensor = isinstance(number, Tensor)
    if second and op in (ops.Mul, ops.Div):
        return cast(number, "float32") if is_tensor else number
    if is_tensor:
        return promote(x, number)[1]
    if op is ops.Mul:
        return number
    if op is ops.Pow and second:
        return fitted(number, x.array.dtype)
    return xp_of(x.array).asarray(stored(number, x.array.dtype), x.array.dtype)


def unary(op: Any, input: Any) -> Any:
    """op on a floating tensor; integers become the default floating dtype first.

    Raises: TypeError if input is not a tensor.
    """
    if not isinstance(input, Tensor):
        raise TypeError(
            f"{op.name}(): argument 'input' (position 1) must be Tensor, not {type(input).__name__}"
        )
    return op.apply(as_floating(input) if input.array.dtype.kind in "iub" else input)
