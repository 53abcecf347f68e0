"""Tensors out of Python numbers, nested lists, arrays and other tensors."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np

from ...arrays import devices
from ...arrays.ids import INT64
from ...arrays.memory import is_array
from ...arrays.silence import silently
from ...tensor import Tensor, dtypes, wrap
from ...tensor.device import DeviceLike
from ...tensor.dtypes import DtypeLike
from ...tensor.numbers import fitted
from ..convert import place_of
from .arguments import placed_tensor


def tensor(
    data: Any,
    *,
    dtype: DtypeLike = None,
    device: DeviceLike = None,
    requires_grad: bool = False,
    pin_memory: bool = False,
) -> Tensor:
    """A tensor that holds a copy of data: a number, nested lists, an array, another tensor.

    dtype None: that of arrays and of NumPy numbers; for Python floats the default dtype, for
    integers int64, for True and False bool, for a mixture the widest of these.
    Raises: ValueError for lists of different lengths, RuntimeError for data that are not numbers
    and for a number that the dtype cannot hold.
    """
    if isinstance(data, Tensor):
        warnings.warn(
            "To copy construct from a tensor, it is recommended to use "
            "sourceTensor.detach().clone() or sourceTensor.detach().clone().requires_grad_(True), "
            "rather than torch.tensor(sourceTensor).",
            stacklevel=2,
        )
    return placed_tensor(_as_array(data, dtype, copy=True), device, requires_grad)


def as_tensor(data: Any, dtype: DtypeLike = None, device: DeviceLike = None) -> Tensor:
    """As `tensor`, but an array or tensor of that dtype and device is not copied."""
    if isinstance(data, Tensor):
        return data.to(dtype=dtype, device=place_of(device))
    return placed_tensor(_as_array(data, dtype, copy=False), device, False)


def asarray(
    obj: Any,
    *,
    dtype: DtypeLike = None,
    device: DeviceLike = None,
    copy: bool | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """As `as_tensor`; copy=True always copies.

    Raises: ValueError if copy=False and a copy is needed.
    """
    array = _as_array(obj, dtype, copy=bool(copy))
    given = getattr(obj, "array", obj)
    if copy is False and not (is_array(given) and np.shares_memory(array, given)):
        raise ValueError(
            "can't alias the object: copy=False needs an array or tensor of the same dtype"
        )
    return placed_tensor(array, device, requires_grad)


def from_numpy(ndarray: Any) -> Tensor:
    """A tensor that shares the array's memory: what is written to one shows in the other.

    Raises: TypeError if it is not a NumPy array, or of a dtype that tensors do not have; ValueError
    for negative strides and for the byte order of another machine.
    """
    if not isinstance(ndarray, np.ndarray):
        kind = type(ndarray)
        module = "" if kind.__module__ == "builtins" else kind.__module__ + "."
        raise TypeError(f"expected np.ndarray (got {module}{kind.__name__})")
    dtypes.of(ndarray.dtype)
    if any(step < 0 for step in ndarray.strides):
        raise ValueError(
            "At least one stride in the given numpy array is negative, and tensors with negative "
            "strides are not currently supported. (You can probably work around this by making a "
            "copy of your array  with array.copy().) "
        )
    return wrap(np.asarray(ndarray))


def frombuffer(
    buffer: Any, *, dtype: DtypeLike, count: int = -1, offset: int = 0, requires_grad: bool = False
) -> Tensor:
    """The bytes of a buffer (bytes, bytearray, memoryview) as numbers of dtype, not copied: (n).

    count: how many numbers, −1 for all. offset: the first byte.
    Raises: ValueError if the buffer is too short or the rest does not fill whole numbers.
    """
    kind = dtypes.numpy_dtype(dtype)
    left = memoryview(buffer).nbytes - offset
    if left <= 0 or count == 0:
        raise ValueError("both buffer length and count must not be 0")
    if (count < 0 and left % kind.itemsize) or count * kind.itemsize > left:
        raise ValueError(
            f"buffer of {left} bytes from offset {offset} does not hold {count} numbers of "
            f"{kind.itemsize} bytes" if count > 0 else
            f"buffer length ({left} bytes) after offset ({offset} bytes) must be a multiple of "
            f"element size ({kind.itemsize})"
        )  # fmt: skip
    raw = np.frombuffer(buffer, np.uint8, -1 if count < 0 else count * kind.itemsize, offset)
    if not raw.flags.writeable:
        warnings.warn(
            "The given buffer is not writable, and PyTorch does not support non-writable tensors: "
            "copy it with bytearray(buffer) before you write to the tensor.",
            stacklevel=2,
        )
    result = wrap(raw.view(kind))
    return result.requires_grad_() if requires_grad else result


def from_dlpack(ext_tensor: Any) -> Tensor:
    """A tensor sharing the memory of another library's array (anything with `__dlpack__`).

    Raises: TypeError without `__dlpack__`, and for a dtype that tensors do not have.
    """
    if not hasattr(ext_tensor, "__dlpack__"):
        raise TypeError(
            f"from_dlpack() expects an array with __dlpack__, got {type(ext_tensor).__name__}: "
            "tensor(data) copies numbers and lists"
        )
    on_gpu = ext_tensor.__dlpack_device__()[0] == 2  # kDLCUDA
    array = (devices.cupy() if on_gpu else np).from_dlpack(ext_tensor)
    dtypes.of(array.dtype)
    return wrap(array)


def _as_array(data: Any, dtype: Any, copy: bool) -> Any:
    """Data as an array of PyTorch's choice of dtype, or of the one given."""
    target = None if dtype is None else dtypes.numpy_dtype(dtype)
    if type(data) in _PYTHON:
        return _from_python(data, target)
    if isinstance(data, Tensor):
        data = data.array
    if not is_array(data):
        if isinstance(data, np.generic):
            data = np.asarray(data)
        elif hasattr(data, "__array__") and not _is_sequence(data):
            data = np.asarray(data)
        else:
            return _from_python(data, target)
    if isinstance(data, (np.matrix, np.ma.MaskedArray, np.memmap, np.recarray)):
        data = np.asarray(data)  # whose own * and tolist are others
    dtypes.of(data.dtype)
    if target is not None and data.dtype != target:
        with np.errstate(all="ignore"):
            return data.astype(target)
    return data.copy() if copy else data


_BOOL = np.dtype("bool")
_NUMBERS = {bool, int, float}
_PYTHON = {bool, int, float, list, tuple}


def _is_sequence(value: Any) -> bool:
    if isinstance(value, list | tuple | range):
        return True
    from ..storage import UntypedStorage  # imported when first needed

    if isinstance(value, Tensor | UntypedStorage | str | bytes | dict):
        return False
    if isinstance(value, np.ndarray):
        return value.ndim > 0
    return hasattr(value, "__len__") and hasattr(value, "__getitem__")


def _from_python(data: Any, target: Any) -> Any:
    """A number or nested sequences of numbers as an array."""
    if isinstance(data, str | bytes):
        raise TypeError(f"new(): invalid data type '{type(data).__name__}'")
    if type(data) is list and (kinds := set(map(type, data))) <= _NUMBERS:  # as nearly always
        return _numbers(data, _common_dtype(data, kinds) if target is None else target)
    shape: list[int] = []
    level, kinds = [data], {type(data)}
    while level and not kinds <= _NUMBERS and all(map(_is_sequence, _examples(level, kinds))):
        lengths = set(map(len, level))
        if len(lengths) > 1:
            break
        shape.append(lengths.pop())
        level = list(chain.from_iterable(level))
        kinds = set(map(type, level))
        if kinds == {np.ndarray} and len({(x.shape, x.dtype) for x in level}) == 1:
            whole = np.stack(level).reshape(*shape, *level[0].shape)
            return _as_array(whole, target, copy=False)
    if not kinds <= _NUMBERS and any(map(_is_sequence, _examples(level, kinds))):
        _check_ragged(data)
    if target is None:
        target = _common_dtype(level, kinds)
    elif not kinds <= _NUMBERS:
        _common_dtype(level, kinds)  # raises an error for a value that is not a number
    if not kinds <= _NUMBERS and any(issubclass(kind, Tensor) for kind in kinds):
        level = [x.item() if isinstance(x, Tensor) else x for x in level]
    return _numbers(level, target).reshape(shape)


def _examples(values: Sequence[Any], kinds: set[type]) -> Sequence[Any]:
    """One value of every type, or all of them if some are arrays (which may be 0-d)."""
    if any(issubclass(kind, np.ndarray) for kind in kinds):
        return values
    if len(kinds) == 1:
        return values[:1]
    return list(dict(zip(map(type, values), values, strict=True)).values())


def _check_ragged(data: Any) -> None:
    """Raises PyTorch's error for the first element that does not fit the shape of the first ones.

    That shape is read off the first element of each level: (2, 2) for [[1, 2], [3]].
    """
    sizes: list[int] = []
    first = data
    while _is_sequence(first):
        sizes.append(len(first))
        if not len(first):
            break
        first = first[0]

    def visit(value: Any, dim: int) -> None:
        if dim == len(sizes):
            if _is_sequence(value):
                raise TypeError(
                    f"'{type(value).__name__}' object cannot be interpreted as an integer: "
                    f"a number is expected at dim {dim}, as at the list's beginning"
                )
            return
        if not _is_sequence(value):
            raise TypeError(f"not a sequence: {value!r} at dim {dim}")
        if len(value) != sizes[dim]:
            raise ValueError(
                f"expected sequence of length {sizes[dim]} at dim {dim} (got {len(value)})"
            )
        for item in value:
            visit(item, dim + 1)

    visit(data, 0)


def _common_dtype(values: Sequence[Any], kinds: set[type]) -> np.dtype:
    """The dtype for numbers of these types."""
    if kinds <= _NUMBERS:
        if float in kinds or not kinds:
            return dtypes.numpy_dtype(None)
        return INT64 if int in kinds else _BOOL
    common: dtypes.dtype | None = None
    for value in values:
        kind = type(value)
        if isinstance(value, np.generic | np.ndarray):
            one = dtypes.of(value.dtype)
        elif isinstance(value, Tensor):
            if value.array.size != 1:
                raise ValueError(
                    "only one element tensors can be converted to Python scalars: "
                    f"a list of tensors of shape {tuple(value.array.shape)} needs stack() or cat()"
                )
            one = value.dtype
        elif isinstance(value, bool):
            one = dtypes.bool_
        elif isinstance(value, int):
            one = dtypes.int64
        elif isinstance(value, float):
            one = dtypes.get_default_dtype()
        elif isinstance(value, str):
            raise ValueError("too many dimensions 'str'")
        elif isinstance(value, complex):
            one = dtypes.get_default_dtype().to_complex()
        else:
            raise RuntimeError(f"Could not infer dtype of {kind.__name__}")
        common = one if common is None else dtypes.promote_types(common, one)
    return dtypes.numpy_dtype(common)


def _numbers(values: list[Any], dtype: np.dtype) -> np.ndarray:
    """Python numbers as a 1-D array; a float of half precision goes through float32."""
    if dtype.kind in "fV" and dtype.itemsize == 2:
        with np.errstate(over="ignore"):
            return np.array(values, np.float32).astype(dtype)
    if dtype.kind == "u":  # −0.5 is refused, though it would round to 0
        return np.array([fitted(v, dtype, dtype.name) for v in values], dtype)
    try:
        if dtype.kind != "f" or dtype.itemsize == 8:
            return np.array(values, dtype)
        return silently(np.array, values, dtype)
    except (OverflowError, ValueError, TypeError) as error:
        big = (v for v in values if isinstance(v, int) and not -(2**63) <= v < 2**63)
        if dtype == np.int64 and next(big, None) is not None:
            raise ValueError(
                "Overflow when unpacking long long: an integer is outside int64"
            ) from error
        return np.array([fitted(v, dtype, dtype.name) for v in values], dtype)
