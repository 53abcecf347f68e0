"""x[index] and its nearest relatives, with PyTorch's rules (see index_parts.py)."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import ops
from ..arrays.devices import use_gpu_of
from ..arrays.layout import picked_array
from ..arrays.memory import ndarray
from ..tensor import Tensor, wrap
from ..tensor.shapes import normal_dim
from .index_parts import Parts, checked, parts_of
from .inplace import refuse_leaf
from .method import method
from .unrecorded import recorded, view_of
from .writes import as_value, overwrite, put, put_view

_INT64, _BOOL = np.dtype("int64"), np.dtype("bool")
_ALL = slice(None)
_BASIC = frozenset({int, slice, type(None), type(Ellipsis)})  # what makes a view in NumPy too


def _simple(index: Any) -> Any:
    """An index that means the same to NumPy, as a tuple with an Ellipsis; None if it may not.

    An integer out of range, too many parts and a second Ellipsis pass: NumPy refuses them.
    """
    if type(index) is int:
        return index, ...
    parts = index if type(index) is tuple else (index,)
    if not _BASIC.issuperset(map(type, parts)):
        return None
    dots = False
    for p in parts:
        if p is Ellipsis:
            dots = True
        elif type(p) is slice and p.step is not None:
            return None
    return parts if dots else (*parts, ...)


def _direct(index: Any, array: Any) -> Any:
    """The Parts of an index that is one int64 tensor or one boolean mask, several int64 tensors,
    or one beside colons; None for any other, and for what might not fit the array."""
    if type(array) is not ndarray:
        return None
    if type(index) is Tensor:
        ids = index.array
        if type(ids) is not ndarray or not ids.ndim or not array.ndim:
            return None
        if ids.dtype is _INT64:
            return Parts(None, (ids,))
        fits = ids.dtype is _BOOL and array.shape[: ids.ndim] == ids.shape
        return Parts(None, (ids,), True) if fits else None
    if type(index) is not tuple or not 0 < len(index) <= array.ndim:
        return None
    n_ids = 0
    for p in index:
        if type(p) is Tensor and p.array.dtype is _INT64 and p.array.ndim:
            n_ids += 1
        elif type(p) is not slice or p != _ALL:
            return None
    if not n_ids or 1 < n_ids < len(index):
        return None
    return Parts(None, tuple([p.array if type(p) is Tensor else p for p in index]))


@method("__getitem__")
def getitem(input: Tensor, index: Any) -> Tensor:
    """x[index]: a view for integers, slices, None and ...; a copy for index tensors and masks.

    Raises: IndexError in PyTorch's words if index does not fit x.
    """
    array = input.array
    simple = None if type(index) is Tensor else _simple(index)
    if simple is not None and type(array) is ndarray and (array.ndim or index == ()):
        if recorded(input):
            try:
                return ops.Index.apply(input, index=simple if len(simple) > 1 else index)
            except IndexError:
                pass  # PyTorch's words for it follow
        else:
            try:
                return view_of(input, array[simple])
            except (IndexError, TypeError):
                pass
    direct = _direct(index, array)
    if direct is not None:
        return pick(input, direct.picked)
    if type(index) is Tensor and not index.array.ndim and index.array.dtype is _INT64:
        return getitem(input, int(index.array))
    parts = parts_of(index, array)
    if parts.view is not None:
        input = ops.Index.apply(input, index=parts.view)
    if parts.picked is None:
        return input
    return pick(input, parts.picked)


def pick(input: Tensor, picked: tuple) -> Tensor:
    """The elements at the positions, or under the mask, of the second step of an index."""
    if type(input.array) is not ndarray:
        return ops.Index.apply(input, index=checked(picked, input.array))
    if not recorded(input):
        try:
            return wrap(picked_array(input.array, picked))
        except IndexError:
            pass  # PyTorch's words for it follow
    try:
        return ops.Index.apply(input, index=picked)
    except IndexError:
        return ops.Index.apply(input, index=checked(picked, input.array))


@method("__setitem__")
def setitem(input: Tensor, index: Any, value: Any) -> None:
    """x[index] = value, in place; value is a number or a tensor that broadcasts to x[index].

    Raises: RuntimeError if value does not broadcast to x[index], or if index holds index tensors
    and value is of another dtype; TypeError if value is neither a tensor nor a number.
    """
    if type(index) is bool:  # x[True] is all of x, x[False] nothing
        if not index:
            as_value(value, input)
            return
        index = None
    array, simple = input.array, _simple(index)
    if simple is not None and type(array) is ndarray and array.ndim and not recorded(input, value):
        try:
            target = array[simple]
        except (IndexError, TypeError):
            target = None
        if target is not None:
            refuse_leaf(input)
            overwrite(input, target, as_value(value, input), "__setitem__")
            return
    use_gpu_of(input)
    refuse_leaf(input)
    parts = _direct(index, array) or parts_of(index, array)
    value = as_value(value, input)
    if parts.picked is None:
        view: Any = parts.view
        put_view(input, array[view], view, value)
    else:
        target = input if parts.view is None else ops.Index.apply(input, index=parts.view)
        put(target, parts, value, "__setitem__")


@method
def narrow(input: Tensor, dim: int, start: int, length: int) -> Tensor:
    """The slices start … start + length − 1 along dim; a view.

    Raises: RuntimeError if input is 0-d, length is negative or the slices go past the end;
    IndexError if start is out of range.
    """
    dim = normal_dim(dim, input.array.ndim)
    if input.array.ndim == 0:
        raise RuntimeError("narrow() cannot be applied to a 0-dim tensor.")
    n = input.array.shape[dim]
    if length < 0:
        raise RuntimeError("narrow(): length must be non-negative.")
    if not -n <= start <= n:
        raise IndexError(
            f"start out of range (expected to be in range of [{-n}, {n}], but got {start})"
        )
    start += n if start < 0 else 0
    if start + length > n:
        raise RuntimeError(f"start ({start}) + length ({length}) exceeds dimension size ({n}).")
    return getitem(input, (slice(None),) * dim + (slice(start, start + length),))


@method
def narrow_copy(input: Tensor, dim: int, start: int, length: int) -> Tensor:
    """A contiguous copy of narrow's slices."""
    return narrow(input, dim, start, length).clone().contiguous()


@method
def select(input: Tensor, dim: int, index: int) -> Tensor:
    """The slice number `index` along dim, without the dimension; a view.

    Raises: IndexError if input is 0-d or has no such slice.
    """
    if not input.array.ndim:
        raise IndexError("select() cannot be applied to a 0-dim tensor.")
    dim = normal_dim(dim, input.array.ndim)
    n = input.array.shape[dim]
    if not -n <= index < n:
        raise IndexError(
            f"select(): index {index} out of range for tensor of size {list(input.array.shape)} at "
            f"dimension {dim}"
        )
    return getitem(input, (slice(None),) * dim + (index,))
