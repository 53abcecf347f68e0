"""Operands of element-wise functions: their common dtype by PyTorch's rules of promotion."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import ops
from ..arrays.devices import use_gpu_of, xp_of
from ..arrays.twins import twins
from ..tensor import Tensor, dtypes, wrap
from .checks import broadcasts

_PYTHON = (bool, int, float)
_NUMBERS = (*_PYTHON, complex)


def as_operand(value: Any) -> Any:
    """A tensor, a Python number, or NotImplemented for what arithmetic does not know."""
    if isinstance(value, Tensor) or isinstance(value, _NUMBERS):
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
        cast(x, dtype) if isinstance(x, Tensor) else wrap(xp.asarray(x).astype(dtype))
        for x in operands
    )
    broadcasts(a.array, b.array)
    return a, b


def binary(op: Any, a: Any, b: Any, floating: bool = False) -> Any:
    """op over two operands of which at least one is a tensor."""
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        if a.array.dtype is not b.array.dtype or (floating and a.array.dtype.kind in "iub"):
            gpu = twins.gpu if a.is_cuda else None
            if gpu is not None and gpu.mixed_sum(op, a.array, b.array):
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


def unary(op: Any, input: Any) -> Any:
    """op on a floating tensor; integers become the default floating dtype first.

    Raises: TypeError if input is not a tensor.
    """
    if not isinstance(input, Tensor):
        raise TypeError(
            f"{op.name}(): argument 'input' (position 1) must be Tensor, not {type(input).__name__}"
        )
    dtype = input.array.dtype
    if dtype.kind == "V":  # bfloat16 is computed in float32
        return rounded(cast(op.apply(cast(input, "float32")), dtype))
    return op.apply(as_floating(input) if dtype.kind in "iub" else input)
