"""Functions of several ops that PyTorch computes in one kernel round half precisions once."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar, cast

from ..autograd.half_precision import is_half
from ..tensor import Tensor, dtypes
from . import operands
from .inplace import write

F = TypeVar("F", bound=Callable[..., Any])


def rounded_once(function: F) -> F:
    """Compute a function of half-precision tensors in float32, and round its result once.

    A single op does so by itself (Op.in_float32). A function that is composed of several, such as
    lerp, would round after each. The gradients are rounded once as well, where they leave it. A
    function that changes its first argument in place (inplace=True) changes the half one.
    """

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        tensors = [x for x in (*args, *kwargs.values()) if isinstance(x, Tensor)]
        if not any([x.array.itemsize == 2 and is_half(x.array.dtype) for x in tensors]):
            return function(*args, **kwargs)
        dtype = dtypes.numpy_dtype(dtypes.result_type(*tensors))
        if not is_half(dtype):
            return function(*args, **kwargs)
        wide = [_wide(x) for x in args]
        result = function(*wide, **{name: _wide(x) for name, x in kwargs.items()})
        new = operands.rounded(operands.cast(result, dtype))
        if result is wide[0]:  # changed in place: so is the tensor that was given
            return write(args[0], new, f"{function.__name__}_")
        return new

    return cast(F, call)


def _wide(x: Any) -> Any:
    """A half-precision tensor as float32; anything else as it is."""
    half = isinstance(x, Tensor) and is_half(x.array.dtype)
    return operands.cast(x, "float32") if half else x
