"""Comparisons: tensors of truth values, outside the graph, because they have no gradient."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..arrays.devices import asarray, use_gpu_of, xp_of
from ..tensor import Tensor, attach, dtypes, wrap
from ..tensor.numbers import wrapped
from .checks import broadcasts, need_order
from .inplace import in_place
from .logic import logical_and
from .method import method
from .operands import as_operand


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
    if a.dtype.kind not in "fV" or isinstance(other, complex):
        common = dtypes.numpy_dtype(dtypes.result_type(input, other))
        if common.kind in "iu":
            return a.astype(common, copy=False), wrapped(other, common)
    with np.errstate(over="ignore"):
        return a.astype(common, copy=False), xp_of(a).asarray(other, common)


def _compared(name: str, input: Tensor, other: Any) -> Any:
    """ndarray.__eq__, __lt__ ... of input and other; NotImplemented if other is not a number."""
    use_gpu_of(input)
    other = as_operand(other)
    if other is NotImplemented:
        return NotImplemented
    a, b = operands(input, other)
    if name not in ("eq", "ne"):
        need_order(name, a)
    compare = getattr(a, f"__{name}__")
    if a.dtype.kind == "V":  # bfloat16 warns of nan
        with np.errstate(invalid="ignore"):
            return wrap(asarray(compare(b), a))
    return wrap(asarray(compare(b), a))


def _compare(name: str, input: Tensor, other: Any) -> Tensor:
    """The same as a function.

    Raises: TypeError if other is neither a tensor nor a number.
    """
    result = _compared(name, input, other)
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
    def compare(self: Tensor, other: Any) -> Tensor:
        return _compared(name, self, other)

    compare.__name__ = compare.__qualname__ = f"__{name}__"
    return compare


for _sign in ("eq", "ne", "lt", "le", "gt", "ge"):
    attach(f"__{_sign}__", _operator(_sign))


@method("__contains__")
def _contains(self: Tensor, element: Any) -> bool:
    if as_operand(element) is NotImplemented or isinstance(element, np.ndarray):
        raise RuntimeError(
            "Tensor.__contains__ only supports Tensor or scalar, but you passed in a "
            f"{type(element)}."
        )
    return bool(eq(self, element).array.any())


# PyTorch's in-place forms write 0 and 1 into the tensor, of any dtype.
for _function, *_names in (
    (eq, "eq_"), (ne, "ne_", "not_equal_"), (lt, "lt_", "less_"), (le, "le_", "less_equal_"),
    (gt, "gt_", "greater_"), (ge, "ge_", "greater_equal_"),
):  # fmt: skip
    in_place(_function, *_names)


# ------------------------------------------------------------------------------ kinds of numbers
def _kind(name: str, input: Tensor, whole: bool) -> Tensor:
    """One of NumPy's questions; `whole` is the answer for every integer."""
    a = input.array
    use_gpu_of(a)
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


# --------------------------------------------------------------------------------- close, equal
def _close(input: Tensor, other: Tensor, rtol: float, atol: float, equal_nan: bool) -> Any:
    a, b = input.array, other.array
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
    return asarray(close, a)


@method
def isclose(
    input: Tensor, other: Tensor, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False
) -> Tensor:
    """Whether |input − other| ≤ atol + rtol·|other|, element by element.

    Equal infinities are close; nan is close to nan only with equal_nan.
    Raises: RuntimeError for tensors of different dtypes.
    """
    return wrap(_close(input, other, rtol, atol, equal_nan))


@method
def allclose(
    input: Tensor, other: Tensor, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False
) -> bool:
    """Whether every element is close, as in `isclose`; a Python bool."""
    return bool(_close(input, other, rtol, atol, equal_nan).all())


@method
def equal(input: Tensor, other: Tensor) -> bool:
    """Whether two tensors have the same shape and the same elements; a Python bool."""
    a, b = input.array, other.array
    return a.shape == b.shape and bool(eq(input, other).array.all())
