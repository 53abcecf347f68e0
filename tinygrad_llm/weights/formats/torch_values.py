"""What the byte code in PyTorch's files may build: tensors over storages, and plain values."""

from __future__ import annotations

import math
import re
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np

from ...files.untrusted import describe, element_count
from ...tensor import Size, device, dtypes
from .numbers import EXTENDED, itemsize
from .opcodes import Refused, Symbol, keys

__all__ = [
    "STORAGES",
    "SYMBOLS",
    "Storage",
    "StoredArray",
    "StoredDtype",
    "StoredTensor",
    "set_state",
]

STORAGES = {  # the name of a storage's class: the dtype of its numbers
    **{"DoubleStorage": "float64", "FloatStorage": "float32", "HalfStorage": "float16"},
    **{"BFloat16Storage": "bfloat16", "LongStorage": "int64", "IntStorage": "int32"},
    **{"ShortStorage": "int16", "CharStorage": "int8", "ByteStorage": "uint8"},
    **{"BoolStorage": "bool", "ComplexFloatStorage": "complex64"},
    **{"ComplexDoubleStorage": "complex128"},
}
_ARRAYS_ONLY = (
    "complex64",
    "complex128",
    *EXTENDED,
)  # dtypes of arrays but (mostly) not of tensors
_NUMBERS = {*STORAGES.values(), *_ARRAYS_ONLY, *dtypes.BY_NAME}  # every dtype of a stored tensor
_LATIN1 = ("latin1", "latin-1")


# ------------------------------------------------------------------------------------- storages
class Storage:
    """`numel` numbers of one dtype in the archive; `location` is where they were on saving.

    read(key, dtype, numel) reads them from the file.
    """

    def __init__(
        self, read: Callable[[str, str, int], np.ndarray], key: str, dtype: str, numel: int,
        location: str,
    ) -> None:  # fmt: skip
        self.read, self.key, self.dtype = read, key, dtype
        self.numel, self.location = numel, location

    def numbers(self) -> np.ndarray:
        """The numbers, (numel)."""
        return self.read(self.key, self.dtype, self.numel)


class StoredTensor:
    """A tensor in a file: `shape`, `dtype` (a name), and `array()`, which reads it.

    `strides` and `offset` count elements of the storage. `requires_grad` and `is_parameter` say
    what it was when it was saved, `location` on which device it was ("cpu", "cuda:0").
    """

    is_parameter = False

    def __init__(
        self, storage: Storage, offset: int, shape: Any, strides: Any, requires_grad: bool = False
    ) -> None:
        if not isinstance(storage, Storage) or type(requires_grad) is not bool:
            raise ValueError(f"a tensor over {describe(storage)}")
        if not isinstance(shape, tuple | list) or not isinstance(strides, tuple | list):
            raise ValueError(f"a tensor of shape {describe(shape)}, strides {describe(strides)}")
        n_bytes = element_count(shape) * itemsize(storage.dtype)
        places = all(type(n) is int and 0 <= n < 1 << 63 for n in (offset, *strides))
        if len(shape) != len(strides) or not places or n_bytes >= 1 << 63:
            raise ValueError(
                f"a tensor of shape {tuple(shape)} with {len(strides)} strides, at element "
                f"{describe(offset)}"
            )
        self.storage, self.offset = storage, offset
        self.shape, self.strides = tuple(shape), tuple(strides)
        self.requires_grad = requires_grad
        end = offset + 1 + sum((n - 1) * s for n, s in zip(shape, strides, strict=True))
        if n_bytes and end > storage.numel:
            raise ValueError(
                f"a tensor of shape {self.shape} that ends at element {end:,} of a storage of "
                f"{storage.numel:,}"
            )

    @property
    def dtype(self) -> str:
        """The name of the dtype, such as "float32"."""
        return self.storage.dtype

    @property
    def location(self) -> str:
        """The device that the tensor was on when it was saved."""
        return self.storage.location

    def array(self) -> np.ndarray:
        """The numbers, writable, with the saved strides; tensors of one storage share memory.

        bfloat16 comes as `ml_dtypes.bfloat16`, or widened to float32 if that is not installed.
        Raises: TorchFileError if the archive has fewer bytes than were saved, or other ones.
        """
        numbers = self.storage.numbers()
        if not math.prod(self.shape):
            return np.empty(self.shape, numbers.dtype)
        size = numbers.itemsize
        steps = tuple(step * size for step in self.strides)
        return np.ndarray(self.shape, numbers.dtype, numbers, self.offset * size, steps)

    def __repr__(self) -> str:
        return f"StoredTensor(shape={self.shape}, dtype={self.dtype})"


class StoredArray:
    """A NumPy array in a file: `array()` returns it. `fill` gets what NumPy stored."""

    def __init__(self) -> None:
        self._array: np.ndarray | None = None

    def array(self) -> np.ndarray:
        """The array, writable.

        Raises: ValueError if the file does not say what is in it.
        """
        if self._array is None:
            raise ValueError("a NumPy array without its numbers")
        return self._array

    def fill(self, shape: Any, dtype: Any, data: Any, fortran: Any = False) -> None:
        """Set the numbers, bytes in row-major order, or column by column if `fortran`.

        Raises: ValueError if shape, dtype and data do not fit together.
        """
        if not isinstance(shape, tuple) or not isinstance(dtype, StoredDtype):
            raise ValueError(f"a NumPy array of {describe(shape)} and {describe(dtype)}")
        if type(data) is not bytes or type(fortran) is not bool:
            raise ValueError(f"a NumPy array of {describe(data)}, in order {describe(fortran)}")
        if element_count(shape) * dtype.numbers.itemsize != len(data):
            raise ValueError(f"a NumPy array of shape {shape} with {len(data):,} bytes")
        flat = np.frombuffer(data, dtype.numbers)
        self._array = flat.reshape(shape, order="F" if fortran else "C").copy()


class StoredDtype:
    """A dtype of NumPy in a file, of numbers only."""

    def __init__(self, code: str) -> None:
        self.numbers = np.dtype(code)


# ------------------------------------------------------------------- what the byte code may build
def _numpy_dtype(code: Any, align: Any = False, copy: Any = True) -> StoredDtype:
    if type(code) is not str or not re.fullmatch(r"b1|[iuf][1248]|c8|c16", code):
        raise Refused(f"a NumPy dtype {describe(code)}, which does not hold numbers")
    return StoredDtype(code)


def _numpy_array(kind: Any, shape: Any, code: Any) -> StoredArray:
    if kind is not SYMBOLS["numpy.ndarray"]:
        raise Refused(f"a NumPy array that is {_name(kind)}")
    return StoredArray()


def _numpy_scalar(dtype: Any, data: Any) -> Any:
    stored = StoredArray()
    stored.fill((), dtype, data)
    return stored.array()[()]


def set_state(value: Any, state: Any) -> bool:
    """Give a value the state that follows it in the file; False if its kind takes none.

    Raises: ValueError if the state is not one that its kind has.
    """
    if isinstance(value, StoredArray):
        if not isinstance(state, tuple) or len(state) != 5:
            raise ValueError(f"a NumPy array with the state {describe(state)}")
        _, shape, dtype, fortran, data = state
        value.fill(shape, dtype, data, fortran)
        return True
    if isinstance(value, StoredDtype):
        order = state[1] if isinstance(state, tuple) and len(state) > 1 else None
        if order not in ("<", ">", "|", "="):
            raise ValueError(f"a NumPy dtype with the state {describe(state)}")
        value.numbers = value.numbers.newbyteorder(order)
        return True
    return type(value) is OrderedDict


def _tensor(
    storage: Any,
    offset: Any,
    size: Any,
    stride: Any,
    grad: Any = False,
    hooks: Any = (),
    *marks: Any,
) -> StoredTensor:
    if hooks or any(marks):
        raise Refused("a tensor with hooks or with the complex conjugate's mark")
    return StoredTensor(storage, offset, size, stride, grad)


def _typed_tensor(
    storage: Any,
    offset: Any,
    size: Any,
    stride: Any,
    grad: Any,
    hooks: Any,
    dtype: Any,
    *marks: Any,
) -> StoredTensor:
    """A tensor over raw bytes, with its dtype as an argument."""
    name = dtype.name.rpartition(".")[2] if isinstance(dtype, Symbol | dtypes.dtype) else ""
    if not isinstance(storage, Storage) or name not in _NUMBERS:
        raise ValueError(f"a tensor of {describe(dtype)} over {describe(storage)}")
    numel = storage.numel // itemsize(name)
    typed = Storage(storage.read, storage.key, name, numel, storage.location)
    return _tensor(typed, offset, size, stride, grad, hooks, *marks)


def _parameter(data: Any, requires_grad: Any, *hooks_and_attributes: Any) -> StoredTensor:
    if not isinstance(data, StoredTensor):
        raise ValueError(f"a parameter made of {describe(data)}")
    made = StoredTensor(data.storage, data.offset, data.shape, data.strides, requires_grad)
    made.is_parameter = True
    return made


def _of_type(function: Any, kind: Any, arguments: tuple, attributes: Any) -> Any:
    """A tensor that had attributes or was a Buffer: the attributes are left out."""
    known = isinstance(function, Symbol) and function.name in _BUILDERS
    if not known or not isinstance(kind, Symbol) or kind.name not in _KINDS:
        raise Refused(f"{_name(kind)} made by {_name(function)}")
    if not isinstance(arguments, tuple):
        raise ValueError(f"a tensor made of {describe(arguments)}")
    return function.build(*arguments)


def _name(value: Any) -> str:
    return value.name if isinstance(value, Symbol) else describe(value)


def _size(sizes: Any = ()) -> Size:
    if not isinstance(sizes, tuple | list):
        raise ValueError(f"a shape that is {describe(sizes)}")
    element_count(sizes)
    return Size(sizes)


def _device(kind: Any, index: Any = None) -> device:
    if type(kind) is not str or not (index is None or type(index) is int):
        raise ValueError(f"a device of {describe(kind)} and {describe(index)}")
    return device(kind) if index is None else device(kind, index)


def _bytes(text: str = "", encoding: str = "latin1") -> bytes:
    """Bytes: they are saved as text whose characters have the bytes' numbers."""
    if type(text) is not str or type(encoding) is not str or encoding not in _LATIN1:
        raise Refused(f"bytes made of {describe(text)} by {describe(encoding)}")
    return text.encode("latin1")


def _bytearray(data: Any = b"", encoding: Any = "latin1") -> bytearray:
    return bytearray(data if isinstance(data, bytes) else _bytes(data, encoding))


def _items(values: Any) -> list[Any]:
    if not isinstance(values, list | tuple | set | frozenset):
        raise ValueError(f"a set made of {describe(values)}")
    return keys(values)


def _set(items: Any = ()) -> set:
    return set(_items(items))


def _frozenset(items: Any = ()) -> frozenset:
    return frozenset(_items(items))


def _ordered(pairs: Any = ()) -> OrderedDict:
    if not isinstance(pairs, list | tuple) or not all(
        isinstance(pair, list | tuple) and len(pair) == 2 for pair in pairs
    ):
        raise ValueError(f"an OrderedDict made of {describe(pairs)}")
    return OrderedDict(zip(keys(key for key, _ in pairs), (v for _, v in pairs), strict=True))


def _complex(real: Any, imaginary: Any = 0.0) -> complex:
    if not all(type(part) in (int, float) for part in (real, imaginary)):
        raise ValueError(f"a complex number of {describe(real)} and {describe(imaginary)}")
    return complex(real, imaginary)


_BUILDERS: dict[str, Callable[..., Any]] = {
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _typed_tensor,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
}
_KINDS = ("torch.Tensor", "torch.nn.parameter.Parameter", "torch.nn.parameter.Buffer")
_PLAIN: dict[str, Callable[..., Any]] = {
    "torch._tensor._rebuild_from_type_v2": _of_type,
    "torch.Size": _size,
    "torch.device": _device,
    "collections.OrderedDict": _ordered,
    "_codecs.encode": _bytes,
    "numpy.dtype": _numpy_dtype,
    **{
        f"{module}.multiarray.{name}": build
        for module in ("numpy._core", "numpy.core")
        for name, build in (("_reconstruct", _numpy_array), ("scalar", _numpy_scalar))
    },
    **{
        f"{module}.{name}": build
        for module in ("builtins", "__builtin__")
        for name, build in (
            *(("set", _set), ("frozenset", _frozenset), ("bytes", _bytes)),
            *(("bytearray", _bytearray), ("complex", _complex)),
        )
    },
}
# What every name that the byte code may use stands for: a Symbol, or a dtype of this package.
SYMBOLS: dict[str, Any] = {
    **{name: Symbol(name, build) for name, build in (*_BUILDERS.items(), *_PLAIN.items())},
    **{name: Symbol(name) for name in (*_KINDS, "torch.storage.UntypedStorage", "numpy.ndarray")},
    **{f"torch.{name}": Symbol(f"torch.{name}") for name in (*STORAGES, *_ARRAYS_ONLY)},
    **{f"torch.{name}": dtype for name, dtype in dtypes.BY_NAME.items()},
}
