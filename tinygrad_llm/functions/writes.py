"""Writing into a part of a tensor: what x[index] = value and index_put_ have in common."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import ops
from ..arrays.memory import is_array, ndarray
from ..arrays.regions import overlap
from ..autograd.inplace_versions import mark_modified
from ..tensor import Tensor, dtypes, numbers
from .index_parts import Parts, checked
from .inplace import change_in_place, refuse_leaf, refuse_repeats
from .operands import cast
from .unrecorded import recorded


def as_value(value: Any, x: Tensor, must_fit: bool = False) -> Any:
    """What is written into x: a tensor, or a Python number that x's dtype can hold.

    Raises: TypeError if it is neither; RuntimeError for a number that does not fit, ValueError if
    it has more than 64 bits.
    """
    if isinstance(value, Tensor):
        return value
    value = numbers.unboxed(value)
    if not isinstance(value, bool | int | float):
        if isinstance(value, complex):
            raise RuntimeError("value cannot be converted to type float without overflow")
        name = "numpy.ndarray" if isinstance(value, ndarray) else type(value).__name__
        raise TypeError(
            f"can't assign a {name} to a torch.{dtypes.title(x.dtype)}Tensor: make it a tensor "
            "with torch.tensor(...) first"
        )
    if must_fit:
        return numbers.fitted(value, x.array.dtype)
    if type(value) is int and not -(2**63) <= value < 2**64:
        raise ValueError("Overflow when unpacking long long")
    kind = x.array.dtype.kind
    if kind not in "iu" or type(value) is bool:
        return numbers.stored(value, x.array.dtype)
    return numbers.fitted(value, x.array.dtype)  # cut towards 0; negative ones wrap if unsigned


def overwrite(x: Tensor, target: Any, value: Any, by: str) -> None:
    """Write value into `target`, an array that shows a part of x's memory; nothing is recorded.

    Raises: RuntimeError if value does not broadcast, or if the memory is read-only or shared.
    """
    if isinstance(value, Tensor):
        value = value.array
        refuse_overlap(target, value)
    refuse_repeats(target)
    try:
        target[...] = value
    except ValueError as error:
        value = fitted(value, target.shape)
        _write_again(target, ..., value, by, error)
    mark_modified(x.array, by)


def refuse_overlap(target: Any, source: Any, same_too: bool = False) -> None:
    """Raises: RuntimeError if an array to write is partly in the memory that is read.

    same_too: also if it is the whole of it.
    """
    shared = overlap(target, source)
    if shared == "part" or (same_too and shared == "all"):
        raise RuntimeError(
            "unsupported operation: some elements of the input tensor and the written-to tensor "
            "refer to a single memory location. Please clone() the tensor before performing the "
            "operation."
        )


def _write_again(target: Any, place: Any, value: Any, by: str, error: Exception) -> None:
    """Write a value whose shape has been examined.

    Raises: RuntimeError if the memory is read-only.
    """
    try:
        target[place] = value
    except ValueError:
        raise RuntimeError(
            f"{by}: this tensor's memory is read-only ({error}): clone() it first"
        ) from error


def fitted(value: Any, expected: tuple[int, ...]) -> Any:
    """A tensor or array without the leading dimensions of size 1 that `expected` does not have.

    Raises: RuntimeError if it does not broadcast to `expected`.
    """
    given = shape = tuple(getattr(value, "shape", ()))
    while len(given) > len(expected) and given[0] == 1:
        given = given[1:]
    try:
        fits = np.broadcast_shapes(given, expected) == expected
    except ValueError:
        fits = False
    if not fits:
        raise RuntimeError(
            f"shape mismatch: value tensor of shape {list(shape)} cannot be broadcast to "
            f"indexing result of shape {list(expected)}"
        )
    return value if given == shape else value.reshape(given)


def picked_shape(picked: tuple, x: Any) -> tuple[int, ...]:
    """The shape of x[picked], without picking anything."""
    at = [i for i, p in enumerate(picked) if is_array(p)]
    first = picked[at[0]]
    if first.dtype.kind == "b":
        n = int(first.sum())
        return (*x.shape[: at[0]], n, *x.shape[at[0] + first.ndim :])
    shape = np.broadcast_shapes(*[picked[i].shape for i in at])
    if at[-1] - at[0] + 1 != len(at):  # apart: their dimensions come first
        rest = tuple(n for i, n in enumerate(x.shape) if i not in at)
        return (*shape, *rest)
    return (*x.shape[: at[0]], *shape, *x.shape[at[-1] + 1 :])


def put_view(x: Tensor, target: Any, view: tuple, value: Any) -> None:
    """x[view] = value for an index of integers and slices; `target` is x's array there."""
    if isinstance(value, Tensor):
        refuse_overlap(target, value.array)
        value = fitted(cast(value, x.array.dtype), target.shape)
    change_in_place(x, "__setitem__", ops.IndexPut, value, index=view)


def put(x: Tensor, parts: Parts, value: Any, by: str) -> Tensor:
    """x[parts.picked] = value, in place; returns x.

    Raises: RuntimeError if value does not broadcast or is of another dtype.
    """
    picked: Any = parts.picked
    refuse_leaf(x)
    if isinstance(value, Tensor):
        value = _of_one_dtype(value, parts, x)
        refuse_overlap(x.array, value.array, same_too=True)
    elif parts.bytes:
        refuse_byte_mask()
    plain = type(x.array) is ndarray and not recorded(x, value)
    if plain and type(getattr(value, "array", x.array)) is ndarray:
        _put_raw(x, picked, getattr(value, "array", value), by)
        return x
    picked = checked(picked, x.array)
    if isinstance(value, Tensor):
        value = fitted(value, picked_shape(picked, x.array))
    return change_in_place(x, by, ops.IndexPut, value, index=picked)


def _of_one_dtype(value: Tensor, parts: Parts, x: Tensor) -> Tensor:
    """The value in x's dtype.

    Raises: RuntimeError if it has another one, except one number under a boolean mask.
    """
    if value.array.size == 1 and parts.mask:
        if parts.bytes:
            refuse_byte_mask()
        return cast(value, x.array.dtype)
    if value.array.dtype != x.array.dtype:
        raise RuntimeError(
            "Index put requires the source and destination dtypes match, got "
            f"{dtypes.title(x.dtype)} for the destination and {dtypes.title(value.dtype)} for the "
            "source."
        )
    return value


def refuse_byte_mask() -> None:
    """Raises: RuntimeError, as PyTorch does where one number is written under a uint8 mask."""
    raise RuntimeError(
        "masked_fill_ only supports boolean masks, but got mask with dtype unsigned char"
    )


def _put_raw(x: Tensor, picked: tuple, value: Any, by: str) -> None:
    """x.array[picked] = value for NumPy arrays; nothing is recorded."""
    array = x.array
    refuse_repeats(array)
    try:
        array[picked] = value
    except IndexError:
        array[checked(picked, array)] = value
    except (ValueError, TypeError) as error:
        value = fitted(value, picked_shape(picked, array))
        _write_again(array, picked, value, by, error)
    mark_modified(array, by)


def put_added(x: Tensor, parts: Parts, value: Tensor) -> Tensor:
    """x[parts.picked] += value, in place, where positions may repeat; returns x.

    Raises: RuntimeError if value does not broadcast or is of another dtype.
    """
    return x.add_(added(x, parts, value))


def added(x: Tensor, parts: Parts, value: Tensor) -> Tensor:
    """Zeros of x's shape, with value added at the positions of parts.picked.

    Raises: RuntimeError if value does not broadcast or is of another dtype.
    """
    picked = checked(parts.picked or (), x.array)
    value = _of_one_dtype(value, parts, x)
    shape = picked_shape(picked, x.array)
    value = fitted(value, shape)
    value = value if tuple(value.shape) == shape else value.expand(shape)
    return ops.ScatterAdd.apply(value, shape=x.array.shape, index=picked)
