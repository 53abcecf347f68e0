"""What may stand in x[...], and in which order it applies: PyTorch's rules, which are not NumPy's.

PyTorch indexes in two steps. Integers, slices, None and ... come first and make a view; only then
do the index tensors pick elements of that view. NumPy counts an integer beside an index array as
one more index array, and so moves dimensions to the front where PyTorch does not: `x[0, :, ids]` is
`x[0][:, ids]` here. `parts_of` translates an index into the two steps, each of which means the same
to NumPy and to CuPy.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ..arrays.devices import xp_of
from ..arrays.ids import id_ranges, ids_in_range
from ..arrays.memory import is_array
from ..arrays.meta import is_meta
from ..tensor import Tensor

_COLON = slice(None)
_AS_TUPLE = (Tensor, np.ndarray, list, tuple, range, str, slice)


class Parts(NamedTuple):
    """The two steps of an index: None for a step that there is not."""

    view: tuple | None  # integers, slices, None, ...
    picked: tuple | None  # slice(None) and arrays: int64 or int32 positions, or one boolean mask
    mask: bool = False  # whether one mask is all that picks
    bytes: bool = False  # and whether it is a uint8 mask


def parts_of(index: Any, x: Any) -> Parts:
    """The two steps of x[index] for an array x.

    Raises: IndexError in PyTorch's words if the index does not fit x; TypeError or ValueError for
    what cannot be an index at all.
    """
    parts = [_part(p) for p in _as_tuple(index)]
    used = sum([_dims_of(p) for p in parts])
    if used > x.ndim:
        if not isinstance(index, tuple) and not x.ndim:
            _refuse_zero_dims(parts[0])
        raise IndexError(f"too many indices for tensor of dimension {x.ndim}")
    view: list[Any] = []
    picked: list[Any] = []
    arrays: list[tuple[Any, int]] = []  # index arrays, and the dimension of x where each begins
    dim = 0
    for p in parts:
        if p is Ellipsis:
            n = min(x.ndim - used, x.ndim - dim)  # of a second one nothing is left, as in PyTorch
            view += [_COLON] * n
            picked += [_COLON] * n
            dim += x.ndim - used
        elif p is None:
            view.append(None)
            picked.append(_COLON)
        elif isinstance(p, bool):  # a new dimension of size 1, of which 1 or 0 elements are picked
            view.append(None)
            picked.append(xp_of(x).zeros(int(p), "int64"))
        elif isinstance(p, slice | int):
            view.append(_checked_place(p, x, dim))
            dim += 1
            if isinstance(p, slice):
                picked.append(_COLON)
        else:
            view += [_COLON] * _dims_of(p)
            picked.append(p)
            arrays.append((p, dim))
            dim += _dims_of(p)
    changes = any(not isinstance(p, slice) or p != _COLON for p in view)
    if not any(is_array(p) for p in picked):
        return Parts(tuple(view) if changes else (Ellipsis,), None)
    masks = [p for p, at in arrays if _is_mask(p, at, x)]
    alone = len(arrays) == len(masks) == 1 and not any(isinstance(p, bool) for p in parts)
    where = tuple(_on_device(picked, x, alone=alone and picked[0] is masks[0]))
    return Parts(tuple(view) if changes else None, where, alone, alone and _has_bytes(index))


def _as_tuple(index: Any) -> tuple:
    """The index as a tuple of parts, by PyTorch's rule for a list that holds more than numbers."""
    if isinstance(index, tuple):
        return index
    if isinstance(index, list) and len(index) < 32:
        if any(p is None or p is Ellipsis or isinstance(p, _AS_TUPLE) for p in index):
            warnings.warn(
                "Using a non-tuple sequence for multidimensional indexing is deprecated: use "
                "x[tuple(seq)] instead of x[seq], or x[torch.tensor(seq)] for positions",
                stacklevel=5,
            )
            return tuple(index)
    return (index,)


def _part(p: Any) -> Any:
    """One part as a Python int, bool, slice, None, Ellipsis or an array.

    Raises: IndexError, TypeError or ValueError if it cannot be a part of an index.
    """
    if isinstance(p, Tensor):
        return _array_part(p.array)
    if p is None or p is Ellipsis or isinstance(p, bool):
        return p
    if isinstance(p, int):
        return p
    if isinstance(p, slice):
        return _slice_part(p)
    if isinstance(p, np.ndarray):
        return _array_part(_integers(p))
    if isinstance(p, list | tuple | range):
        return _array_part(_integers(np.asarray(_plain(p))))
    if isinstance(p, str | bytes):
        raise TypeError(f"new(): invalid data type '{type(p).__name__}'")
    if hasattr(p, "__index__"):
        return p.__index__()
    kind = type(p)
    name = f"numpy.{kind.__name__}" if isinstance(p, np.generic) else kind.__name__
    raise IndexError(
        "only integers, slices (`:`), ellipsis (`...`), None and long or byte Variables are valid "
        f"indices (got {name})"
    )


def _array_part(array: Any) -> Any:
    """An array of positions, or a mask; 0-d ones are a Python int or bool."""
    kind = array.dtype.kind
    if kind == "u" and array.dtype.itemsize == 1:
        if array.ndim == 0:
            return bool(array)
        warnings.warn(
            "indexing with dtype torch.uint8 is now deprecated, please use a dtype torch.bool "
            "instead.",
            stacklevel=6,
        )
        return array != 0
    if array.ndim == 0 and kind in "iub":
        return bool(array) if kind == "b" else int(array)
    return array


def _plain(sequence: Any) -> Any:
    """A nested sequence with the numbers of the tensors in it."""
    if isinstance(sequence, Tensor):
        return sequence.tolist()
    if isinstance(sequence, list | tuple):
        return [_plain(p) for p in sequence]
    return sequence


def _integers(array: np.ndarray) -> np.ndarray:
    """What stood in a list or a NumPy array, as int64 positions or a mask.

    Raises: TypeError for text; IndexError for other things that are not integers.
    """
    kind = array.dtype.kind
    if kind in "US":
        raise TypeError(f"new(): invalid data type '{'str' if kind == 'U' else 'bytes'}'")
    if array.size == 0 and kind != "b":
        return array.astype("int64")
    if kind not in "iub":
        raise IndexError(f"an index must hold integers or booleans, got {array.dtype}")
    if kind == "b" or array.dtype == np.uint8 or array.ndim == 0:
        return array
    return array.astype("int64", copy=False)


def _slice_part(p: slice) -> slice:
    """A slice whose bounds are Python ints or None.

    Raises: TypeError if a bound is not an integer.
    """
    bounds = []
    for bound in (p.start, p.stop, p.step):
        if bound is not None and type(bound) is not int:
            if not hasattr(bound, "__index__"):
                words = "slice indices must be integers or None or have an __index__ method"
                raise TypeError(words)
            bound = bound.__index__()
        bounds.append(bound)
    return slice(*bounds)


def _dims_of(part: Any) -> int:
    """How many dimensions of x a part uses."""
    if part is None or part is Ellipsis or isinstance(part, bool):
        return 0
    return part.ndim if is_array(part) and part.dtype.kind == "b" else 1


def _refuse_zero_dims(part: Any) -> None:
    """Raises: IndexError for x[0] and x[:] where x is 0-d; nothing for other parts."""
    if isinstance(part, int):
        raise IndexError(
            "invalid index of a 0-dim tensor. Use `tensor.item()` in Python or `tensor.item<T>()` "
            "in C++ to convert a 0-dim tensor to a number"
        )
    if isinstance(part, slice):
        raise IndexError("slice() cannot be applied to a 0-dim tensor.")


def _checked_place(part: Any, x: Any, dim: int) -> Any:
    """A slice with a positive step, or an integer that lies within the dimension.

    Raises: IndexError if it does not; ValueError for another step, or more than 64 bits.
    """
    if dim >= x.ndim:
        raise IndexError(f"Dimension out of range: {dim} of a tensor of dimension {x.ndim}")
    if isinstance(part, slice):
        if part.step is not None and part.step <= 0:
            zero = "slice step cannot be zero"
            raise ValueError("step must be greater than zero" if part.step else zero)
        return part
    n = x.shape[dim]
    if not -n <= part < n:
        if not -(2**63) <= part < 2**63:
            raise ValueError("Overflow when unpacking long long")
        raise IndexError(f"index {part} is out of bounds for dimension {dim} with size {n}")
    return part


def _is_mask(array: Any, dim: int, x: Any) -> bool:
    """Whether an index array that begins at dimension dim of x is a mask.

    Raises: IndexError if it is neither a mask of x's sizes nor an array of int64 or int32.
    """
    kind = array.dtype.kind
    if kind != "b":
        if kind != "i" or array.dtype.itemsize < 4:
            raise IndexError(
                "tensors used as indices must be long, int, byte or bool tensors, got "
                f"{array.dtype}: call .long()"
            )
        return False
    for i, n in enumerate(array.shape):
        if dim + i >= x.ndim or n != x.shape[dim + i]:
            raise IndexError(
                f"The shape of the mask {list(array.shape)} at index {i} does not match the shape "
                f"of the indexed tensor {list(x.shape)} at index {dim + i}"
            )
    return True


def _has_bytes(index: Any) -> bool:
    """Whether a uint8 tensor or array is in the index."""
    parts = index if isinstance(index, tuple) else (index,)
    return any(str(getattr(p, "dtype", "")).endswith("uint8") for p in parts)


def _on_device(parts: Sequence[Any], x: Any, alone: bool) -> list[Any]:
    """The parts as arrays of x's kind; masks as positions, except one that stands alone."""
    xp = xp_of(x)
    new: list[Any] = []
    for p in parts:
        if not is_array(p):
            new.append(p)
            continue
        if type(p) is not type(x) and isinstance(p, np.ndarray):
            p = xp.asarray(p)
        new += [p] if alone or p.dtype.kind != "b" else xp.nonzero(p)
    return new


def checked(picked: tuple, x: Any) -> tuple:
    """`picked` if every position lies within x, as CuPy does not check by itself.

    Positions do not matter where the result is empty: then those outside become 0.
    Raises: IndexError in PyTorch's words if a position is outside, or if the index arrays do not
    broadcast together.
    """
    arrays = [p for p in picked if is_array(p)]
    if arrays[0].dtype.kind == "b":  # a mask alone, whose shape has been compared with x's
        return picked
    try:
        shape = np.broadcast_shapes(*[p.shape for p in arrays])
    except ValueError:
        shapes = ", ".join(str(list(p.shape)) for p in arrays)
        raise IndexError(
            "shape mismatch: indexing tensors could not be broadcast together with shapes " + shapes
        ) from None
    kept = [n for n, p in zip(x.shape, picked, strict=False) if not is_array(p)]
    empty = not math.prod(shape) * math.prod(kept) * math.prod(x.shape[len(picked) :])
    new = list(picked)
    for dim, p in enumerate(picked):
        if not is_array(p) or not p.size or is_meta(p):
            continue
        n = x.shape[dim]
        if n == 0 and math.prod(shape):
            raise IndexError("index is out of bounds for dimension with size 0")
        if id_ranges and ids_in_range(p, n, None, "index"):
            continue  # known without asking a GPU
        low, high = int(p.min()), int(p.max())
        if low < -n or high >= n:
            if not empty:
                wrong = low if low < -n else high
                raise IndexError(
                    f"index {wrong} is out of bounds for dimension {dim} with size {n}"
                )
            new[dim] = p * 0
    return tuple(new)
