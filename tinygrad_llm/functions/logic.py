"""Logic on truth values and on the bits of integers, and `any` and `all`; no gradients."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from ..arrays.devices import asarray, use_gpu_of, xp_of
from ..arrays.layout import in_rows
from ..tensor import Tensor, dtypes, wrap
from ..tensor.shapes import normal_dims
from .checks import broadcasts
from .inplace import in_place
from .method import method
from .operands import pair


def _logical(name: str, input: Tensor, other: Any) -> Tensor:
    a = input.array
    b = other.array
    if 0 in (a.ndim, b.ndim) and a.dtype != b.dtype:  # 256 beside uint8 is 0
        common = dtypes.numpy_dtype(dtypes.result_type(input, other))
        a, b = a.astype(common, copy=False), b.astype(common, copy=False)
    broadcasts(a, b)
    return wrap(asarray(getattr(xp_of(a), name)(a, b), a))


@method
def logical_and(input: Tensor, other: Tensor) -> Tensor:
    """Whether both are true (not 0), element by element; a bool tensor."""
    return _logical("logical_and", input, other)


@method
def logical_or(input: Tensor, other: Tensor) -> Tensor:
    """Whether one or both are true (not 0), element by element; a bool tensor."""
    return _logical("logical_or", input, other)


@method
def logical_xor(input: Tensor, other: Tensor) -> Tensor:
    """Whether just one is true (not 0), element by element; a bool tensor."""
    return _logical("logical_xor", input, other)


@method
def logical_not(input: Tensor) -> Tensor:
    """Whether false (0), element by element; a bool tensor."""
    a = input.array
    use_gpu_of(a)
    return wrap(asarray(a == 0, a))


def _bitwise(name: str, sign: str, input: Any, other: Any) -> Any:
    """An operator on the bits of integers, or on truth values; the common dtype of both."""
    both = pair(input, other)
    if both is NotImplemented:
        return NotImplemented
    if both[0].is_floating_point():
        raise NotImplementedError(
            f"\"{name}_cpu\" not implemented for '{dtypes.title(both[0].dtype)}': {sign} works on "
            "bits, so on integers and booleans; compare first, as in (x > 0) & (y > 0)"
        )
    a, b = (x.array for x in both)
    return wrap(asarray(_BITS[sign](a, b), a))


_BITS = {
    "&": operator.and_,
    "|": operator.or_,
    "^": operator.xor,
    "<<": operator.lshift,
    ">>": operator.rshift,
}


@method("bitwise_and", "__and__", "__rand__")
def bitwise_and(input: Any, other: Any) -> Tensor:
    """input & other on the bits of integers, or on truth values."""
    return _bitwise("bitwise_and", "&", input, other)


@method("bitwise_or", "__or__", "__ror__")
def bitwise_or(input: Any, other: Any) -> Tensor:
    """input | other on the bits of integers, or on truth values."""
    return _bitwise("bitwise_or", "|", input, other)


@method("bitwise_xor", "__xor__", "__rxor__")
def bitwise_xor(input: Any, other: Any) -> Tensor:
    """input ^ other on the bits of integers, or on truth values."""
    return _bitwise("bitwise_xor", "^", input, other)


@method("bitwise_left_shift", "__lshift__")
def bitwise_left_shift(input: Any, other: Any) -> Tensor:
    """input << other on the bits of integers."""
    return _bitwise("left_shift", "<<", input, other)


@method("bitwise_right_shift", "__rshift__")
def bitwise_right_shift(input: Any, other: Any) -> Tensor:
    """input >> other on the bits of integers."""
    return _bitwise("right_shift", ">>", input, other)


@method("bitwise_not", "__invert__")
def bitwise_not(input: Tensor) -> Tensor:
    """~input: the opposite of truth values, every bit of integers turned over.

    Raises: TypeError if input is of a floating dtype.
    """
    a = input.array
    if a.dtype.kind not in "iub":
        raise TypeError(
            "~ (operator.invert) is only implemented on integer and Boolean-type tensors"
        )
    use_gpu_of(a)
    return wrap(asarray(~a, a))


def _over_dims(name: str, input: Tensor, dim: Any, keepdim: bool) -> Tensor:
    a = input.array
    dims = normal_dims(dim, a.ndim)
    true = a if a.dtype.kind == "b" else a != 0
    result = asarray(getattr(xp_of(a), name)(true, axis=dims, keepdims=keepdim), a)
    return wrap(in_rows(result.astype(a.dtype) if a.dtype == np.uint8 else result))


@method
def any(input: Tensor, dim: Any = None, keepdim: bool = False) -> Tensor:
    """Whether one element over dim (an int, a tuple, None for all) is true; False for none."""
    return _over_dims("any", input, dim, keepdim)


@method
def all(input: Tensor, dim: Any = None, keepdim: bool = False) -> Tensor:
    """Whether every element over dim (an int, a tuple, None for all) is true; True for none."""
    return _over_dims("all", input, dim, keepdim)


for _function in (logical_and, logical_or, logical_xor, logical_not, bitwise_not):
    in_place(_function, _function.__name__ + "_")
in_place(bitwise_and, "bitwise_and_", "__iand__")
in_place(bitwise_left_shift, "bitwise_left_shift_", "__ilshift__")
in_place(bitwise_right_shift, "bitwise_right_shift_", "__irshift__")
in_place(bitwise_or, "bitwise_or_", "__ior__")
in_place(bitwise_xor, "bitwise_xor_", "__ixor__")
