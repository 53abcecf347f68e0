"""Reading the files that `torch.save` writes (.pth, .pt, .bin), without running what is in them.

Such a file is a zip archive without compression: `data.pkl` holds the structure as byte code for a
stack machine, `data/0`, `data/1` ... hold the storages, plain runs of numbers. A tensor in the
structure is a storage, an offset, a shape and strides; several tensors can share one storage.

The byte code is executed by the machine in opcodes.py, which builds tensors, dict, OrderedDict,
list, tuple, set, str, bytes, numbers, bool, None, torch.Size, torch.device and dtypes, and refuses
everything else by name. Storages are read when they are asked for.
"""

from __future__ import annotations

import math
import sys
import weakref
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ...tensor import dtypes
from .opcodes import Refused, Symbol, run

__all__ = ["StoredTensor", "TorchFile", "TorchFileError", "is_torch_file"]

_STORAGES = {
    **{"DoubleStorage": "float64", "FloatStorage": "float32", "HalfStorage": "float16"},
    **{"BFloat16Storage": "bfloat16", "LongStorage": "int64", "IntStorage": "int32"},
    **{"ShortStorage": "int16", "CharStorage": "int8", "ByteStorage": "uint8"},
    **{"BoolStorage": "bool", "ComplexFloatStorage": "complex64"},
    **{"ComplexDoubleStorage": "complex128"},
}
# What NumPy alone cannot hold, by the name that torch and the package ml_dtypes share: its bytes.
_EXTENDED = {
    **{"bfloat16": 2, "float8_e4m3fn": 1, "float8_e5m2": 1, "float8_e4m3fnuz": 1},
    **{"float8_e5m2fnuz": 1, "float8_e8m0fnu": 1},
}
_BEYOND = ("complex64", "complex128", *_EXTENDED)  # no tensor here has these, but arrays can
_ZIP = b"PK\x03\x04"
_OLD = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # the number that old files begin with


class TorchFileError(RuntimeError):
    """A file that is no PyTorch file, is cut short or damaged, or holds what is not built here."""


def is_torch_file(head: bytes) -> bool:
    """Whether a file that begins with these bytes (16 or more) is PyTorch's, new format or old."""
    return head.startswith((_ZIP, _OLD))


# ------------------------------------------------------------------------------------- storages
class _Storage:
    """`numel` numbers of one dtype in the archive; `location` is where they were on saving."""

    def __init__(self, file: TorchFile, key: str, dtype: str, numel: int, location: str) -> None:
        self.file, self.key, self.dtype = file, key, dtype
        self.numel, self.location = numel, location

    def numbers(self) -> np.ndarray:
        return self.file._numbers(self.key, self.dtype, self.numel)


def _ml_dtypes() -> Any:
    try:
        import ml_dtypes
    except ImportError:
        return None
    return ml_dtypes


def _numpy_type(name: str) -> np.dtype:
    if name not in _EXTENDED:
        return np.dtype(name)
    ml_dtypes = _ml_dtypes()
    if ml_dtypes is None:
        raise TorchFileError(f"a tensor is {name}, which needs ml_dtypes: pip install ml_dtypes")
    return np.dtype(getattr(ml_dtypes, name))


class StoredTensor:
    """A tensor in a file: `shape`, `dtype` (a name), and `array()`, which reads it.

    `strides` and `offset` count elements of the storage. `requires_grad` and `is_parameter` say
    what it was when it was saved, `location` where ("cpu", "cuda:0").
    """

    is_parameter = False

    def __init__(
        self, storage: _Storage, offset: int, shape: Any, strides: Any, requires_grad: bool = False
    ) -> None:
        whole = all(type(n) is int and n >= 0 for n in (offset, *shape, *strides))
        if not isinstance(storage, _Storage) or not whole or len(shape) != len(strides):
            raise ValueError(f"a tensor of shape {shape} with strides {strides} at {offset}")
        self.storage, self.offset = storage, offset
        self.shape, self.strides = tuple(shape), tuple(strides)
        self.requires_grad = bool(requires_grad)
        end = offset + 1 + sum((n - 1) * s for n, s in zip(shape, strides, strict=True))
        if math.prod(shape) and end > storage.numel:
            raise ValueError(
                f"a tensor of shape {self.shape} that ends at element {end:,} of a storage of "
                f"{storage.numel:,}"
            )

    @property
    def dtype(self) -> str:
        return self.storage.dtype

    @property
    def location(self) -> str:
        return self.storage.location

    def array(self) -> np.ndarray:
        """The numbers, writable, with the saved strides; tensors of one storage share memory.

        bfloat16 comes as `ml_dtypes.bfloat16`, or widened to float32 where that is not installed.
        TorchFileError if the archive has fewer bytes or other ones than were saved.
        """
        numbers = self.storage.numbers()
        if not math.prod(self.shape):
            return np.empty(self.shape, numbers.dtype)
        size = numbers.itemsize
        steps = tuple(step * size for step in self.strides)
        return np.ndarray(self.shape, numbers.dtype, numbers, self.offset * size, steps)

    def __repr__(self) -> str:
        return f"StoredTensor(shape={self.shape}, dtype={self.dtype})"


# ------------------------------------------------------------------- what the byte code may build
def _tensor(
    storage: Any,
    offset: Any,
    size: Any,
    stride: Any,
    grad: Any = False,
    hooks: Any = (),
    *more: Any,
) -> StoredTensor:
    if hooks or any(more):
        raise Refused("a tensor with hooks or with the complex conjugate's mark")
    return StoredTensor(storage, offset, size, stride, grad)


def _typed_tensor(
    storage: Any, offset: Any, size: Any, stride: Any, grad: Any, hooks: Any, dtype: Any, *more: Any
) -> StoredTensor:
    """A tensor over raw bytes whose dtype is told beside them."""
    name = dtype.name.rpartition(".")[2]
    itemsize = _EXTENDED.get(name) or np.dtype(name).itemsize
    typed = _Storage(storage.file, storage.key, name, storage.numel // itemsize, storage.location)
    return _tensor(typed, offset, size, stride, grad, hooks, *more)


def _parameter(data: StoredTensor, requires_grad: bool, *hooks_and_attributes: Any) -> StoredTensor:
    made = StoredTensor(data.storage, data.offset, data.shape, data.strides, requires_grad)
    made.is_parameter = True
    return made


def _of_type(function: Any, kind: Any, arguments: tuple, attributes: Any) -> Any:
    """A tensor that had attributes or was a Buffer: the attributes are left out."""
    if function not in (_SYMBOLS[name] for name in _BUILDERS) or kind.name not in _KINDS:
        raise Refused(f"{kind} made by {function}")
    return function.build(*arguments)


def _size(sizes: Any = ()) -> Any:
    from ...tensor import Size

    return Size(sizes)


def _device(*arguments: Any) -> Any:
    from ...tensor import device

    return device(*arguments)


def _bytes(text: str = "", encoding: str = "latin1") -> bytes:
    """Bytes are saved as text whose characters have the bytes' numbers."""
    if type(text) is not str or encoding not in ("latin1", "latin-1"):
        raise Refused(f"bytes out of a {type(text).__name__} by {encoding!r}")
    return text.encode("latin1")


def _bytearray(data: bytes | str = b"", encoding: str = "latin1") -> bytearray:
    return bytearray(data if type(data) is bytes else _bytes(data, encoding))  # type: ignore[arg-type]


def _set(items: list | tuple = ()) -> set:
    return set(items)


def _frozenset(items: list | tuple = ()) -> frozenset:
    return frozenset(items)


def _complex(real: float, imaginary: float = 0.0) -> complex:
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
    "collections.OrderedDict": OrderedDict,
    "_codecs.encode": _bytes,
    **{
        f"{module}.{name}": build
        for module in ("builtins", "__builtin__")
        for name, build in (
            *(("set", _set), ("frozenset", _frozenset), ("bytes", _bytes)),
            *(("bytearray", _bytearray), ("complex", _complex)),
        )
    },
}
_SYMBOLS: dict[str, Any] = {
    **{name: Symbol(name, build) for name, build in (*_BUILDERS.items(), *_PLAIN.items())},
    **{name: Symbol(name) for name in (*_KINDS, "torch.storage.UntypedStorage")},
    **{f"torch.{name}": Symbol(f"torch.{name}") for name in (*_STORAGES, *_BEYOND)},
    **{f"torch.{name}": dtype for name, dtype in dtypes.BY_NAME.items()},
}


# ------------------------------------------------------------------------------------- the file
class TorchFile(Mapping[str, Any]):
    """A file of `torch.save`, its structure read at once and its tensors when they are touched.

        weights = TorchFile("model.pth")
        weights["tok_emb.weight"].shape      # a NumPy array

    path: a path or an open binary file. `tree` is the saved value with a StoredTensor for every
    tensor; as a mapping the file is that value, a dict, with arrays for its tensors. mmap: map
    storages into memory (copy on write) rather than read them; then damage is not detected.

    TorchFileError: no such file of PyTorch's, cut short or damaged, the format before PyTorch 1.6,
    or, by name, anything in it but tensors and plain containers.
    """

    def __init__(self, path: str | Path | BinaryIO, mmap: bool = False) -> None:
        self._file = Path(path) if isinstance(path, str | Path) else path
        self.where = str(
            path if isinstance(path, str | Path) else getattr(path, "name", "the file")
        )
        if mmap and not isinstance(self._file, Path):
            raise ValueError("mmap=True needs the path of a file, not an open one")
        self._mmap = mmap
        self._memory: weakref.WeakValueDictionary[str, np.ndarray] = weakref.WeakValueDictionary()
        head = self._read(0, 16, short=True).tobytes()
        if head.startswith(_OLD):
            raise TorchFileError(
                f"{self.where} has the format from before PyTorch 1.6, which is not read here: "
                "load it with PyTorch and save it again"
            )
        if not head.startswith(_ZIP):
            raise TorchFileError(f"{self.where} is no file of torch.save (it is no zip archive)")
        try:
            with zipfile.ZipFile(path) as archive:
                self._entries = {entry.filename: entry for entry in archive.infolist()}
        except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
            raise TorchFileError(
                f"{self.where} is cut short or damaged: its table of contents, which stands at "
                f"the end, cannot be read ({error})"
            ) from error
        found = [name for name in self._entries if name.rpartition("/")[2] == "data.pkl"]
        self._folder = min(found, key=len)[: -len("data.pkl")] if found else ""
        if not found or self._folder + "constants.pkl" in self._entries:
            what = "a TorchScript program" if found else "a zip archive without data.pkl"
            raise TorchFileError(f"{self.where} is {what}, not a file of torch.save")
        order = self._folder + "byteorder"
        self._swapped = (
            order in self._entries and self._entry(order).tobytes() != sys.byteorder.encode()
        )
        self.tree = self._structure()

    def _structure(self) -> Any:
        code = self._entry(self._folder + "data.pkl").tobytes()
        try:
            return run(code, _SYMBOLS, self._storage, lambda value, _: type(value) is OrderedDict)
        except Refused as error:
            raise TorchFileError(
                f"{self.where}: refused {error}. Tensors and plain containers are built here and "
                "nothing else, because loading anything else can run code. Save the state_dict "
                "and plain numbers, texts, lists and dicts instead."
            ) from error
        except (ValueError, RuntimeError) as error:
            if isinstance(error, TorchFileError):
                raise
            raise TorchFileError(f"{self.where}: its structure (data.pkl) is {error}") from error

    def _storage(self, reference: Any) -> _Storage:
        """The storage that ("storage", type, key, location, numel) in the byte code stands for."""
        kind, symbol, key, location, numel = reference
        name = symbol.name.rpartition(".")[2]
        dtype = "uint8" if name == "UntypedStorage" else _STORAGES[name]
        if kind != "storage" or type(key) is not str or type(numel) is not int:
            raise ValueError(f"broken: it refers to {reference}")
        return _Storage(self, key, dtype, numel, str(location))

    # -------------------------------------------------------------------------------- its bytes
    def _read(self, start: int, size: int, short: bool = False) -> np.ndarray:
        buffer = np.empty(size, np.uint8)
        if isinstance(self._file, Path):
            with open(self._file, "rb") as file:
                file.seek(start)
                got = file.readinto(buffer)  # type: ignore[arg-type]
        else:
            self._file.seek(start)
            data = self._file.read(size)
            got = len(data)
            buffer[:got] = np.frombuffer(data, np.uint8)
        if got < size and not short:
            raise TorchFileError(f"{self.where} is cut short: {size:,} bytes wanted at {start:,}")
        return buffer if got == size else buffer[:got]  # the owner, which `_numbers` remembers

    def _entry(self, name: str) -> np.ndarray:
        """The bytes of one member of the archive, checked against its checksum."""
        entry = self._entries.get(name)
        if entry is None:
            raise TorchFileError(f"{self.where} is damaged: {name} is not in the archive")
        if entry.compress_type != zipfile.ZIP_STORED:
            raise TorchFileError(f"{self.where}: {name} is compressed; torch.save never does that")
        header = self._read(entry.header_offset, 30).tobytes()  # its local header, fixed part
        begin = entry.header_offset + 30 + int.from_bytes(header[26:28], "little")
        begin += int.from_bytes(header[28:30], "little")
        if self._mmap and entry.file_size and not name.endswith(".pkl"):
            return np.memmap(self._file, np.uint8, "c", begin, (entry.file_size,))
        data = self._read(begin, entry.file_size)
        if entry.CRC and zlib.crc32(data.data) != entry.CRC:  # 0: saved without checksums
            raise TorchFileError(f"{self.where} is damaged: the checksum of {name} is wrong")
        return data

    def _numbers(self, key: str, dtype: str, numel: int) -> np.ndarray:
        """A storage as an array; it is read once for as long as a tensor of it is in use."""
        itemsize = _EXTENDED.get(dtype) or np.dtype(dtype).itemsize
        memory = self._memory.get(key)
        if memory is None:
            memory = self._entry(f"{self._folder}data/{key}")
            if len(memory) < numel * itemsize:
                raise TorchFileError(
                    f"{self.where} is damaged: storage {key} has {len(memory):,} bytes, too few "
                    f"for {numel:,} numbers of {dtype}"
                )
            if self._swapped and itemsize > 1:
                memory = memory[: numel * itemsize].reshape(-1, itemsize)[:, ::-1].reshape(-1)
            if dtype == "bfloat16" and _ml_dtypes() is None:
                bits = memory[: 2 * numel].view(np.uint16).astype(np.uint32) << 16
                memory = bits.view(np.float32).copy()
            self._memory[key] = memory
        if memory.dtype != np.uint8:
            return memory
        return np.asarray(memory)[: numel * itemsize].view(_numpy_type(dtype))

    # ----------------------------------------------------------------------------- as a mapping
    def __getitem__(self, name: str) -> Any:
        value = self._dict()[name]
        return value.array() if isinstance(value, StoredTensor) else value

    def __iter__(self) -> Iterator[str]:
        return iter(self._dict())

    def __len__(self) -> int:
        return len(self._dict())

    def _dict(self) -> dict:
        if not isinstance(self.tree, dict):
            raise TypeError(f"{self.where} holds a {type(self.tree).__name__}: use .tree")
        return self.tree

    def __repr__(self) -> str:
        return f"TorchFile({self.where})"
