"""Comparisons and logic: tensors of truth values, outside the graph, for they have no gradient."""

from __future__ import annotations

import builtins
import operator
from typing import Any

import numpy as np

from ..arrays.devices import asarray, device_of, xp_of
from ..tensor import Tensor, dtypes, wrap
from ..tensor.shapes import normal_dims
from .elementwise import as_operand, where
from .inplace import write
from .method import method


def tensor_argument(function: str, argument: str, value: Any) -> Tensor:
    """The value if it is a tensor; TypeError in PyTorch's words if not."""
    if isinstance(value, Tensor):
        return value
    raise TypeError(
        f"{function}(): argument '{argument}' (position {1 if argument == 'input' else 2}) must be "
        f"Tensor, not {type(value).__name__}"
    )


def broadcasts(a: Any, b: Any) -> None:
    """RuntimeError in PyTorch's words if two arrays cannot be broadcast together."""
    for i in range(1, min(a.ndim, b.ndim) + 1):
        n, m = a.shape[-i], b.shape[-i]
        if n != m and 1 not in (n, m):
            raise RuntimeError(
                f"The size of tensor a ({n}) must match the size of tensor b ({m}) at "
                f"non-singleton dimension {max(a.ndim, b.ndim) - i}"
            )
    places = device_of(a), device_of(b)
    if places[0] != places[1]:
        names = [kind if kind == "cpu" else f"cuda:{i}" for kind, i in places]
        raise RuntimeError(
            f"Expected all tensors to be on the same device, but found {names[0]} and {names[1]}: "
            "move one with .to(device)"
        )


def operands(input: Tensor, other: Any) -> tuple[Any, Any]:
    """Two arrays of PyTorch's common dtype from a tensor and a tensor or number."""
    a = input.array
    if isinstance(other, Tensor):
        b = other.array
        if a.dtype != b.dtype:
            common = dtypes.numpy_dtype(dtypes.result_type(input, other))
            a, b = a.astype(common, copy=False), b.astype(common, copy=False)
        if a.shape != b.shape or not (type(a) is type(b) is np.ndarray):
            broadcasts(a, b)
        return a, b
    common = a.dtype
    if a.dtype.kind not in "fV":
        common = dtypes.numpy_dtype(dtypes.result_type(input, other))
        if common.kind in "iu":  # a number outside the dtype's range is compared as it is
            return a.astype(common, copy=False), other
    with np.errstate(over="ignore"):
        return a.astype(common, copy=False), xp_of(a).asarray(other, common)


def _compared(name: str, input: Tensor, other: Any) -> Any:
    """input and other put to ndarray.__eq__, __lt__ ...; NotImplemented if other is no number."""
    other = as_operand(other)
    if other is NotImplemented:
        return NotImplemented
    a, b = operands(input, other)
    compare = getattr(a, f"__{name}__")
    if a.dtype.kind == "V":  # bfloat16 warns of nan
        with np.errstate(invalid="ignore"):
            return wrap(asarray(compare(b), a))
    return wrap(asarray(compare(b), a))


def _compare(name: str, input: Tensor, other: Any) -> Tensor:
    """The same as a function: TypeError if one of the two is of the wrong kind."""
    result = _compared(name, tensor_argument(name, "input", input), other)
    if result is NotImplemented:
        raise TypeError(
            f"{name}(): argument 'other' must be Tensor or Number, not {type(other).__name__}"
        )
    return result


@method
def eq(input: Tensor, other: Any) -> Tensor:
    """input == other, element by element; nan equals nothing. other may be a number."""
    return _compare("eq", input, other)


@method("ne", "not_equal")
def ne(input: Tensor, other: Any) -> Tensor:
    """input != other, element by element. other may be a number."""
    return _compare("ne", input, other)


@method("lt", "less")
def lt(input: Tensor, other: Any) -> Tensor:
    """input < other, element by element. other may be a number."""
    return _compare("lt", input, other)


@method("le", "less_equal")
def le(input: Tensor, other: Any) -> Tensor:
    """input <= other, element by element. other may be a number."""
    return _compare("le", input, other)


@method("gt", "greater")
def gt(input: Tensor, other: Any) -> Tensor:
    """input > other, element by element. other may be a number."""
    return _compare("gt", input, other)


@method("ge", "greater_equal")
def ge(input: Tensor, other: Any) -> Tensor:
    """input >= other, element by element. other may be a number."""
    return _compare("ge", input, other)


not_equal = ne
less = lt
less_equal = le
greater = gt
greater_equal = ge


def _operator(name: str) -> Any:
    def compare(self: Tensor, other: Any) -> Any:
        return _compared(name, self, other)

    compare.__name__ = compare.__qualname__ = f"__{name}__"
    return compare


for _sign in ("eq", "ne", "lt", "le", "gt", "ge"):
    setattr(Tensor, f"__{_sign}__", _operator(_sign))


# --------------------------------------------------------------------------------------- logic
def _logical(name: str, input: Tensor, other: Any) -> Tensor:
    a = tensor_argument(name, "input", input).array
    b = tensor_argument(name, "other", other).array
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
    a = tensor_argument("logical_not", "input", input).array
    return wrap(asarray(a == 0, a))


def _bitwise(name: str, sign: str, input: Any, other: Any) -> Any:
    """An operator on the bits of integers, or on truth values; the common dtype of both."""
    given = [as_operand(v) for v in (input, other)]
    if builtins.any(v is NotImplemented for v in given):
        return NotImplemented
    common = dtypes.result_type(*given)
    if common.is_floating_point:
        raise NotImplementedError(
            f"\"{name}_cpu\" not implemented for '{dtypes.title(common)}': {sign} works on bits, "
            "so on integers and booleans; compare first, as in (x > 0) & (y > 0)"
        )
    xp = xp_of(next(v.array for v in given if isinstance(v, Tensor)))
    wanted = dtypes.numpy_dtype(common)
    a, b = (xp.asarray(v.array if isinstance(v, Tensor) else v).astype(wanted) for v in given)
    broadcasts(a, b)
    return wrap(asarray(_BITS[sign](a, b), a))


_BITS = {
    "&": operator.and_,
    "|": operator.or_,
    "^": operator.xor,
    "<<": operator.lshift,
    ">>": operator.rshift,
}


@method("bitwise_and", "__and__", "__rand__")
def bitwise_and(input: Any, other: Any) -> Any:
    """input & other on the bits of integers, or on truth values."""
    return _bitwise("bitwise_and", "&", input, other)


@method("bitwise_or", "__or__", "__ror__")
def bitwise_or(input: Any, other: Any) -> Any:
    """input | other on the bits of integers, or on truth values."""
    return _bitwise("bitwise_or", "|", input, other)


@method("bitwise_xor", "__xor__", "__rxor__")
def bitwise_xor(input: Any, other: Any) -> Any:
    """input ^ other on the bits of integers, or on truth values."""
    return _bitwise("bitwise_xor", "^", input, other)


@method("bitwise_left_shift", "__lshift__")
def bitwise_left_shift(input: Any, other: Any) -> Any:
    """input << other on the bits of integers."""
    return _bitwise("left_shift", "<<", input, other)


@method("bitwise_right_shift", "__rshift__")
def bitwise_right_shift(input: Any, other: Any) -> Any:
    """input >> other on the bits of integers."""
    return _bitwise("right_shift", ">>", input, other)


@method("bitwise_not", "__invert__")
def bitwise_not(input: Tensor) -> Tensor:
    """~input: the opposite of truth values, every bit of integers turned over."""
    a = tensor_argument("bitwise_not", "input", input).array
    if a.dtype.kind not in "iub":
        raise TypeError(
            "~ (operator.invert) is only implemented on integer and Boolean-type tensors"
        )
    return wrap(asarray(~a, a))


def _in_place(function: Any, name: str) -> Any:
    def change(self: Tensor, *others: Any) -> Any:
        result = function(self, *others)
        return result if result is NotImplemented else write(self, result, name)

    change.__name__ = change.__qualname__ = name
    change.__doc__ = f"{name.strip('_')} in place: the result is written into this tensor."
    return change


for _function, _dunder in (
    *((logical_and, None), (logical_or, None), (logical_xor, None), (logical_not, None)),
    *((bitwise_and, "__iand__"), (bitwise_or, "__ior__"), (bitwise_xor, "__ixor__")),
    (bitwise_not, None),
):
    for _name in (_function.__name__ + "_", _dunder):
        if _name is not None:
            setattr(Tensor, _name, _in_place(_function, _name))


# ------------------------------------------------------------------------------ kinds of numbers
def _kind(name: str, input: Tensor, whole: bool) -> Tensor:
    """One of NumPy's questions; `whole` is the answer for every integer."""
    a = tensor_argument(name, "input", input).array
    if a.dtype.kind in "iub":
        return wrap(xp_of(a).full(a.shape, whole))
    return wrap(asarray(getattr(xp_of(a), name)(a), a))


@method
def isnan(input: Tensor) -> Tensor:
    """Whether not a number, element by element."""
    return _kind("isnan", input, False)


@method
def isinf(input: Tensor) -> Tensor:
    """Whether infinite, of either sign, element by element."""
    return _kind("isinf", input, False)


@method
def isfinite(input: Tensor) -> Tensor:
    """Whether neither infinite nor nan, element by element."""
    return _kind("isfinite", input, True)


@method
def isposinf(input: Tensor) -> Tensor:
    """Whether +infinity, element by element."""
    return logical_and(isinf(input), input > 0)


@method
def isneginf(input: Tensor) -> Tensor:
    """Whether −infinity, element by element."""
    return logical_and(isinf(input), input < 0)


@method
def nan_to_num(
    input: Tensor, nan: float = 0.0, posinf: float | None = None, neginf: float | None = None
) -> Tensor:
    """nan and the infinities replaced: by 0, by the dtype's greatest number and its least."""
    if input.array.dtype.kind in "iub":
        return input.clone()
    limits = dtypes.finfo(input.dtype)
    result = where(isnan(input), nan, input)
    result = where(isposinf(input), limits.max if posinf is None else posinf, result)
    return where(isneginf(input), limits.min if neginf is None else neginf, result)


# --------------------------------------------------------------------------------- close, equal
@method
def isclose(
    input: Tensor, other: Tensor, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False
) -> Tensor:
    """Whether |input − other| ≤ atol + rtol·|other|, element by element.

    Equal infinities are close; nan is close to nan only with equal_nan. RuntimeError for tensors
    of different dtypes.
    """
    a = tensor_argument("isclose", "input", input).array
    b = tensor_argument("isclose", "other", other).array
    if a.dtype != b.dtype:
        raise RuntimeError(
            f"{dtypes.title(input.dtype)} did not match {dtypes.title(other.dtype)}: "
            "convert one with .to(dtype)"
        )
    for name, value in (("rtol", rtol), ("atol", atol)):
        if value < 0:
            raise RuntimeError(f"{name} must be greater than or equal to zero, but got {value}")
    broadcasts(a, b)
    xp = xp_of(a)
    if a.dtype.kind == "b":
        a, b = a.astype(np.int64), b.astype(np.int64)
    size = b if b.dtype.kind in "fV" else b.astype(dtypes.numpy_dtype(None))
    with np.errstate(all="ignore"):
        error = abs(a - b)
        close = (a == b) | (xp.isfinite(error) & (error <= atol + abs(rtol * size)))
        if equal_nan and a.dtype.kind in "fV":
            close = close | (xp.isnan(a) & xp.isnan(b))
    return wrap(asarray(close, a))


@method
def allclose(
    input: Tensor, other: Tensor, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False
) -> bool:
    """Whether every element is close, as in `isclose`; a Python bool."""
    tensor_argument("allclose", "other", other)
    return bool(isclose(input, other, rtol, atol, equal_nan).array.all())


@method
def equal(input: Tensor, other: Tensor) -> bool:
    """Whether two tensors have the same shape and the same elements; a Python bool."""
    a = tensor_argument("equal", "input", input).array
    b = tensor_argument("equal", "other", other).array
    return a.shape == b.shape and bool(eq(input, other).array.all())


# ------------------------------------------------------------------------------------ all of them
def _over(name: str, input: Tensor, dim: Any, keepdim: bool) -> Tensor:
    a = tensor_argument(name, "input", input).array
    dims = normal_dims(dim, a.ndim)
    true = a if a.dtype.kind == "b" else a != 0
    result = asarray(getattr(xp_of(a), name)(true, axis=dims, keepdims=keepdim), a)
    return wrap(result.astype(a.dtype) if a.dtype == np.uint8 else result)


@method
def any(input: Tensor, dim: Any = None, keepdim: bool = False) -> Tensor:
    """Whether one element over dim (an int, a tuple, None for all) is true; False for none."""
    return _over("any", input, dim, keepdim)


@method
def all(input: Tensor, dim: Any = None, keepdim: bool = False) -> Tensor:
    """Whether every element over dim (an int, a tuple, None for all) is true; True for none."""
    return _over("all", input, dim, keepdim)
