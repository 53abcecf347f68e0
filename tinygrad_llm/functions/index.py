"""x[index] and its relatives, with PyTorch's rules."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import ops
from ..arrays.devices import use_gpu_of, xp_of
from ..arrays.memory import is_array
from ..arrays.meta import is_meta
from ..autograd.engine import OPS
from ..tensor import Tensor, wrap
from ..tensor.shapes import normal_dim
from .inplace import change_in_place
from .method import method
from .operands import cast


def as_index(index: Any, x: Any) -> Any:
    """An index whose tensors and lists are arrays on x's device.

    Raises: IndexError in PyTorch's words if it does not fit x.
    """
    whole = index if isinstance(index, tuple) else (index,)
    parts = [_part(p, x) for p in whole]
    used = sum(
        p.ndim if is_array(p) and p.dtype.kind == "b" else 1
        for p in parts
        if p is not None and p is not Ellipsis and not isinstance(p, bool)
    )
    if used > x.ndim:
        raise IndexError(f"too many indices for tensor of dimension {x.ndim}")
    dim = 0
    for i, p in enumerate(parts):
        if p is Ellipsis:
            dim = x.ndim - sum(
                q.ndim if is_array(q) and q.dtype.kind == "b" else 1
                for q in parts[i + 1 :]
                if q is not None
            )
            continue
        if p is None or isinstance(p, bool):
            continue
        n = x.shape[dim]
        if isinstance(p, int) and not -n <= p < n:
            raise IndexError(f"index {p} is out of bounds for dimension {dim} with size {n}")
        if isinstance(p, slice) and p.step is not None and p.step <= 0:
            raise ValueError("step must be greater than zero")
        if is_array(p) and p.dtype.kind in "iu" and p.size and not is_meta(p):
            low, high = int(p.min()), int(p.max())
            if low < -n or high >= n:
                wrong = low if low < -n else high
                raise IndexError(
                    f"index {wrong} is out of bounds for dimension {dim} with size {n}"
                )
        if is_array(p) and p.dtype.kind == "b":
            shape = x.shape[dim : dim + p.ndim]
            if p.shape != shape:
                raise IndexError(
                    f"The shape of the mask {list(p.shape)} at index 0 does not match the shape of "
                    f"the indexed tensor {list(x.shape)} at index {dim}"
                )
            dim += p.ndim - 1
        dim += 1
    return tuple(parts) if isinstance(index, tuple) else parts[0]


def _part(p: Any, x: Any) -> Any:
    if isinstance(p, Tensor):
        p = p.array
        if p.dtype.kind not in "iub":
            raise IndexError(
                "tensors used as indices must be long, int, byte or bool tensors, "
                f"got {p.dtype}: call .long()"
            )
        return int(p) if p.ndim == 0 and p.dtype.kind != "b" else p
    if isinstance(p, list | range | np.ndarray):
        array = np.asarray(p)
        if array.size == 0:
            array = array.astype("int64")
        if array.dtype.kind not in "iub":
            raise IndexError(f"an index must hold integers or booleans, got {array.dtype}")
        return xp_of(x).asarray(array)
    if isinstance(p, slice):
        if any(isinstance(v, Tensor) for v in (p.start, p.stop, p.step)):
            return slice(
                *(int(v) if isinstance(v, Tensor) else v for v in (p.start, p.stop, p.step))
            )
        return p
    if p is None or p is Ellipsis or isinstance(p, bool):
        return p
    if hasattr(p, "__index__"):
        return p.__index__()
    raise TypeError(
        "only integers, slices (`:`), ellipsis (`...`), None and long or byte Variables are valid "
        f"indices (got {type(p).__name__})"
    )


@method("__getitem__")
def getitem(input: Tensor, index: Any) -> Tensor:
    """x[index]: a view for integers and slices, a copy for index tensors and masks."""
    return ops.Index.apply(input, index=as_index(index, input.array))


@method("__setitem__")
def setitem(input: Tensor, index: Any, value: Any) -> None:
    """x[index] = value, in place; value is a number or a tensor that broadcasts to x[index].

    Raises: RuntimeError if value does not broadcast to x[index].
    """
    use_gpu_of(input)
    place = as_index(index, input.array)
    if isinstance(value, Tensor):
        value = cast(value, input.array.dtype)
    elif is_array(value):
        value = wrap(xp_of(input.array).asarray(value, input.array.dtype))
    expected = input.array[place].shape if not isinstance(value, int | float) else ()
    if isinstance(value, Tensor) and value.array.shape != expected:
        given = value.array.shape
        while len(given) > len(expected) and given[0] == 1:
            given = given[1:]
        try:
            fits = np.broadcast_shapes(given, expected) == expected
        except ValueError:
            fits = False
        if not fits:
            raise RuntimeError(
                f"shape mismatch: value tensor of shape {list(value.array.shape)} cannot be "
                f"broadcast to indexing result of shape {list(expected)}"
            )
        value = value.reshape(given)
    change_in_place(input, "__setitem__", OPS["index_put"], value, index=place)


@method
def index_select(input: Tensor, dim: int, index: Tensor) -> Tensor:
    """The slices along dim that index (1-D, int64) names, in its order.

    Raises: IndexError if index is not a vector.
    """
    if index.array.ndim > 1:
        raise IndexError("index_select(): Index is supposed to be a vector")
    dim = normal_dim(dim, input.array.ndim)
    return getitem(input, (slice(None),) * dim + (index.reshape(-1),))


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
def select(input: Tensor, dim: int, index: int) -> Tensor:
    """The slice number `index` along dim, without the dimension; a view."""
    dim = normal_dim(dim, input.array.ndim)
    return getitem(input, (slice(None),) * dim + (index,))


@method
def masked_select(input: Tensor, mask: Tensor) -> Tensor:
    """The elements where the boolean mask (which may broadcast) is True, in one dimension."""
    from .shape.broadcast import broadcast_tensors

    x, m = broadcast_tensors(input, mask)
    return getitem(x, m)


def _added(input: Tensor, dim: int, index: Tensor, source: Tensor, alpha: Any) -> Tensor:
    """What index_add adds: zeros of input's shape, and alpha·source where index points."""
    dim = normal_dim(dim, input.array.ndim)
    place = (slice(None),) * dim + (as_index(index, input.array.swapaxes(0, dim)),)
    source = source if alpha == 1 else source * alpha
    return ops.ScatterAdd.apply(source, shape=input.array.shape, index=place)


@method
def index_add(input: Tensor, dim: int, index: Tensor, source: Tensor, *, alpha: Any = 1) -> Tensor:
    """input with the slices of source added at the positions along dim that index names."""
    return input + _added(input, dim, index, source, alpha)


@method
def index_add_(input: Tensor, dim: int, index: Tensor, source: Tensor, *, alpha: Any = 1) -> Tensor:
    """index_add in place."""
    return input.add_(_added(input, dim, index, source, alpha))


@method
def index_fill_(input: Tensor, dim: int, index: Tensor, value: Any) -> Tensor:
    """The slices along dim that index names set to value, in place."""
    dim = normal_dim(dim, input.array.ndim)
    setitem(input, (slice(None),) * dim + (index,), value)
    return input
