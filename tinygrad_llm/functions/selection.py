"""One of two values per element: clamp, maximum, where, masked_fill and their relatives."""

from __future__ import annotations

from typing import Any

from .. import ops
from ..arrays.devices import asarray, xp_of
from ..arrays.silence import quiet
from ..tensor import Tensor, dtypes, wrap
from ..tensor.numbers import fitted, real, stored, unboxed
from .checks import need_order, real_number
from .comparison import isnan, isneginf, isposinf
from .inplace import in_place
from .method import function, method
from .operands import binary, cast, differentiated, need_pair, promote
from .printed_names import printed_as
from .unrecorded import past_the_engine


@method("clamp", "clip")
def clamp(input: Tensor, min: Any = None, max: Any = None) -> Tensor:
    """x clamped to [min, max], numbers or tensors, either of which may be None.

    A value at a bound keeps its gradient; outside, the bound gets the gradient if it is a tensor.
    Raises: RuntimeError if both bounds are None; NotImplementedError for complex numbers;
    OverflowError for an int of more than 64 bits.
    """
    if min is None and max is None:
        raise RuntimeError("torch.clamp: At least one of 'min' or 'max' must not be None")
    if isinstance(min, Tensor) or isinstance(max, Tensor):
        return _between(input, min, max)
    min, max = unboxed(min), unboxed(max)
    if _is_plain_bound(min) and _is_plain_bound(max):
        few = past_the_engine(ops.Clamp, input, min, max)
        if few is not None:
            return few
    bounds = [real(b) for b in (min, max) if b is not None]
    if any(isinstance(b, complex) for b in bounds):
        raise NotImplementedError(f"clamp is not supported for complex types: got {bounds}")
    x = promote(input, *bounds)[0]
    low, high = (None if b is None else fitted(b, x.array.dtype) for b in (min, max))
    return cast(ops.Clamp.apply(x, low=low, high=high), x.array.dtype)


clip = clamp


def _is_plain_bound(bound: Any) -> bool:
    """Whether a bound changes no floating dtype and has at most 64 bits."""
    if type(bound) is int:
        return -(2**63) <= bound < 2**64
    return bound is None or type(bound) is float


def _between(input: Tensor, low: Any, high: Any) -> Tensor:
    """clamp between tensors: NaN if one is. The one that is taken gets the gradient."""
    bounds = [b for b in (low, high) if b is not None]
    dtype = dtypes.numpy_dtype(dtypes.result_type(input, *bounds))
    xp = xp_of(input.array)
    x, low, high = (
        cast(b, dtype) if b is None or isinstance(b, Tensor) else wrap(xp.asarray(b, dtype))
        for b in (input, low, high)
    )
    y, inside, terms, crossed = x.array, True, [], xp.asarray(False)
    if low is not None and high is not None:
        crossed = high.array < low.array
    if low is not None:
        y, inside = xp.maximum(y, low.array), x.array >= low.array
        below = (x.array < low.array) & ~crossed
        if high is not None:
            below = below & (low.array < high.array)
        terms.append((low, below))
    if high is not None:
        y, inside = xp.minimum(y, high.array), inside & (x.array <= high.array)
        terms.append((high, (x.array > high.array) | crossed))
    y = asarray(y, input.array)
    terms.append((x, inside))
    y = differentiated(y, *[(v, None, xp.broadcast_to(mask, y.shape)) for v, mask in terms])
    return printed_as("ClampBackward0", y)


@method
def clamp_min(input: Tensor, min: Any) -> Tensor:
    """max(x, min)."""
    return printed_as(f"ClampMinBackward{int(isinstance(min, Tensor))}", clamp(input, min=min))


@method
def clamp_max(input: Tensor, max: Any) -> Tensor:
    """min(x, max)."""
    return printed_as(f"ClampMaxBackward{int(isinstance(max, Tensor))}", clamp(input, max=max))


def _in_order(op: Any, input: Tensor, other: Tensor) -> Tensor:
    result: Tensor = binary(op, input, other)
    if isinstance(result, Tensor):
        need_order(op.name, result.array)
    return result


@method
def maximum(input: Tensor, other: Tensor) -> Tensor:
    """The larger of two, element by element; a tie shares the gradient.

    Raises: NotImplementedError for complex numbers.
    """
    return _in_order(ops.Maximum, input, other)


@method
def minimum(input: Tensor, other: Tensor) -> Tensor:
    """The smaller of two, element by element; a tie shares the gradient.

    Raises: NotImplementedError for complex numbers.
    """
    return _in_order(ops.Minimum, input, other)


def _number_if_one_is(name: str, input: Tensor, other: Tensor) -> Tensor:
    """The larger or smaller of two; where one is nan the other. It gets the whole gradient."""
    a, b = need_pair(name, input, other)
    xp = xp_of(a.array)
    order = xp.greater_equal if name == "fmax" else xp.less_equal
    first = order(a.array, b.array) | (b.array != b.array)
    y = asarray(xp.where(first, a.array, b.array), a.array)
    return differentiated(y, (a, None, first), (b, None, ~first))


@method
def fmax(input: Tensor, other: Tensor) -> Tensor:
    """The larger of two, element by element; where one is nan, the other. A tie is the first's."""
    return quiet(_number_if_one_is)("fmax", input, other)


@method
def fmin(input: Tensor, other: Tensor) -> Tensor:
    """The smaller of two, element by element; where one is nan, the other. A tie is the first's."""
    return quiet(_number_if_one_is)("fmin", input, other)


@function
def where(condition: Tensor, input: Any = None, other: Any = None) -> Any:
    """input where the condition is True, else other; numbers are allowed, shapes broadcast.

    With the condition alone: the positions where it is True, one index tensor per dimension.
    Raises: RuntimeError if condition is not boolean.
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
    x, y = (v if isinstance(v, Tensor) else wrap(_as_array(xp, v, dtype)) for v in (x, y))
    return ops.Where.apply(condition, x, y)


def _as_array(xp: Any, number: Any, dtype: Any) -> Any:
    """A number as a 0-d array: an integer must fit, a large float becomes infinite."""
    if dtype.kind in "iu":
        return xp.asarray(fitted(number, dtype), dtype)
    return xp.asarray(stored(number, dtype), dtype)


@method("where")
def _where(input: Tensor, condition: Tensor, other: Any) -> Tensor:
    return where(condition, input, other)


@method
def masked_fill(input: Tensor, mask: Tensor, value: Any) -> Tensor:
    """input with `value` (a number or a 0-d tensor) wherever the boolean mask is True.

    Raises: RuntimeError if mask is not boolean or value is not 0-d.
    """
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
    else:
        value = fitted(value, input.array.dtype)
    return ops.MaskedFill.apply(input, mask, value)


@method
def clamp_min_(input: Tensor, min: Any) -> Tensor:
    """clamp_min in place."""
    return input.clamp_(min=min)


@method
def clamp_max_(input: Tensor, max: Any) -> Tensor:
    """clamp_max in place."""
    return input.clamp_(max=max)


@method
def nan_to_num(
    input: Tensor, nan: float | None = None, posinf: float | None = None,
    neginf: float | None = None,
) -> Tensor:  # fmt: skip
    """nan and the infinities replaced: by 0, by the dtype's greatest number and its least.

    Raises: TypeError for a number that is complex.
    """
    nan, posinf, neginf = (
        value if value is None else real_number("nan_to_num", name, value)
        for name, value in (("nan", nan), ("posinf", posinf), ("neginf", neginf))
    )  # fmt: skip
    if input.array.dtype.kind in "iub":
        return input.clone()
    limits = dtypes.finfo(input.dtype)
    result = where(isnan(input), 0.0 if nan is None else nan, input)
    result = where(isposinf(input), limits.max if posinf is None else posinf, result)
    return where(isneginf(input), limits.min if neginf is None else neginf, result)


in_place(clamp, "clamp_", "clip_", saves_input=True)
in_place(masked_fill, "masked_fill_")
