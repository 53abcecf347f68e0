"""Writing the files that `torch.load(weights_only=True)` reads: a zip of byte code and numbers.

The layout is in torch_file.py. The byte code is written here, instruction by instruction, from the
fixed list below (protocol 2 of Python's Lib/pickletools.py describes each); a value that is not in
this file's list of types is refused, so that nothing is written that would run on loading.

A container or tensor that is at several places is written once and is one object again when it is
loaded; tensors over the same memory share a storage. A tensor whose numbers are not in row-major
order, or that shows a part of a larger one, is written as a contiguous copy.
"""

from __future__ import annotations

import math
import struct
import sys
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, BinaryIO

import numpy as np

from ...arrays import devices
from ...arrays.memory import is_array, memory_key
from ...files.untrusted import check_nesting, is_flat
from ...tensor import Size, Tensor, device, dtypes
from .torch_values import STORAGES

__all__ = ["write_torch_file"]

_STORAGE_OF = {dtype: name for name, dtype in STORAGES.items()}
_ALIGNMENT = (
    64  # bytes: where a storage may begin in the file, so that it can be mapped into memory
)
_NO_HOOKS = b"ccollections\nOrderedDict\n)R"
_OLDEST = (1980, 1, 1, 0, 0, 0)  # of a zip archive's members: equal values make equal files


def write_torch_file(value: Any, file: BinaryIO) -> None:
    """Write a value as `torch.save` does.

    value: None, bool, int, float, complex, str, bytes, bytearray, list, tuple, dict (and other
    mappings), OrderedDict, set, frozenset, Size, device, dtypes, tensors, parameters, NumPy arrays
    and scalars of numbers, nested; file: open for writing, at its beginning
    Raises: TypeError, with the place, for a value of another type; ValueError if containers are
    nested too deeply or a key of a dict or a member of a set is nested.
    """
    check_nesting(value)
    writer = _Writer()
    writer.value(value, ())
    code = b"\x80\x02" + b"".join(writer.code) + b"."
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        _member(archive, "data.pkl", code)
        _member(archive, "byteorder", sys.byteorder.encode())
        for key, array in enumerate(writer.storages):
            _member(archive, f"data/{key}", array.reshape(-1).view(np.uint8).data)
        _member(archive, "version", b"3\n")


def _member(archive: zipfile.ZipFile, name: str, data: bytes | memoryview) -> None:
    """One member of the archive, whose bytes begin at a multiple of 64."""
    info = zipfile.ZipInfo(f"archive/{name}", _OLDEST)
    info.file_size = len(data)
    assert archive.fp is not None
    large = 20 if info.file_size >= zipfile.ZIP64_LIMIT else 0  # sizes that zipfile adds itself
    begin = archive.fp.tell() + 30 + len(info.filename) + large + 4
    padding = -begin % _ALIGNMENT
    info.extra = b"FB" + struct.pack("<H", padding) + b"Z" * padding
    with archive.open(info, "w", force_zip64=bool(large)) as member:
        member.write(data)


class _Writer:
    """One value as byte code; `storages` are the arrays that it refers to by their numbers."""

    def __init__(self) -> None:
        self.code: list[bytes] = []
        self.storages: list[np.ndarray] = []
        self._storage_of: dict[Any, int] = {}  # memory_key of an array: its storage's number
        self._memo: dict[int, tuple[int, Any]] = {}  # id of an object: its number, and itself

    # ------------------------------------------------------------------------ the instructions
    def emit(self, *instructions: bytes) -> None:
        """Append instructions."""
        self.code.extend(instructions)

    def name(self, module: str, name: str) -> None:
        """Push what a name stands for."""
        self.emit(f"c{module}\n{name}\n".encode())

    def number(self, n: int) -> None:
        """Push an int."""
        if 0 <= n < 1 << 8:
            self.emit(b"K" + struct.pack("<B", n))
        elif 0 <= n < 1 << 16:
            self.emit(b"M" + struct.pack("<H", n))
        elif -(1 << 31) <= n < 1 << 31:
            self.emit(b"J" + struct.pack("<i", n))
        else:
            raw = n.to_bytes(n.bit_length() // 8 + 1, "little", signed=True)
            short = len(raw) < 256
            self.emit(
                b"\x8a" + bytes([len(raw)]) if short else b"\x8b" + struct.pack("<i", len(raw))
            )
            self.emit(raw)

    def text(self, text: str) -> None:
        """Push a str."""
        raw = text.encode("utf-8", "surrogatepass")
        self.emit(b"X" + struct.pack("<I", len(raw)), raw)

    def raw(self, raw: bytes) -> None:
        """Push bytes: as text whose characters have the bytes' numbers, encoded in Latin-1."""
        self.name("_codecs", "encode")
        self.text(raw.decode("latin1"))
        self.text("latin1")
        self.emit(b"\x86R")

    def sizes(self, sizes: Any) -> None:
        """Push a tuple of ints."""
        self.emit(b"(")
        for n in sizes:
            self.number(n)
        self.emit(b"t")

    def known(self, value: Any) -> bool:
        """Whether the object has been written; if so, push it again."""
        if id(value) not in self._memo:
            return False
        n = self._memo[id(value)][0]
        self.emit(b"h" + struct.pack("<B", n) if n < 256 else b"j" + struct.pack("<I", n))
        return True

    def remember(self, value: Any) -> None:
        """Keep the object on top of the stack under the next number."""
        n = len(self._memo)
        self._memo[id(value)] = n, value
        self.emit(b"q" + struct.pack("<B", n) if n < 256 else b"r" + struct.pack("<I", n))

    # ------------------------------------------------------------------------------ the values
    def value(self, value: Any, path: tuple[Any, ...]) -> None:
        """Push any value; path: the keys that lead to it, for messages."""
        if value is None or value is True or value is False:
            self.emit({None: b"N", True: b"\x88", False: b"\x89"}[value])
        elif isinstance(value, np.generic | np.ndarray) or is_array(value):
            self.array(np.asarray(devices.to_numpy(value)), path, isinstance(value, np.generic))
        elif isinstance(value, int):
            self.number(int(value))
        elif isinstance(value, float):
            self.emit(b"G" + struct.pack(">d", value))
        elif isinstance(value, str):
            self.text(value)
        elif isinstance(value, bytes):
            self.raw(value)
        elif not self.known(value):
            self.compound(value, path)

    def compound(self, value: Any, path: tuple[Any, ...]) -> None:
        """Push a container, a tensor, or a small object; it is kept under a number."""
        if isinstance(value, Tensor):
            self.tensor(value, path)
        elif type(value) is list or type(value) is tuple:
            self.sequence(value, path)
        elif isinstance(value, Mapping):
            self.mapping(value, path)
        elif isinstance(value, set | frozenset):
            kind = "frozenset" if isinstance(value, frozenset) else "set"
            self.call("__builtin__", kind, [_flat(item, path) for item in value], path)
        elif isinstance(value, Size):
            self.call("torch", "Size", tuple(int(n) for n in value), path)
        elif isinstance(value, device):
            self.name("torch", "device")
            self.text(value.type)
            if value.index is not None:
                self.number(value.index)
            self.emit(b"\x85R" if value.index is None else b"\x86R")
        elif isinstance(value, dtypes.dtype):
            self.name("torch", str(value).removeprefix("torch."))
            return
        elif isinstance(value, bytearray):
            self.call("__builtin__", "bytearray", bytes(value), path)
        elif isinstance(value, complex):
            self.name("__builtin__", "complex")
            self.value(value.real, path)
            self.value(value.imag, path)
            self.emit(b"\x86R")
        else:
            raise TypeError(_refusal(value, path))
        if type(value) not in (list, dict, OrderedDict):  # those are kept before they are filled
            self.remember(value)

    def call(self, module: str, name: str, argument: Any, path: tuple[Any, ...]) -> None:
        """Push the result of a call with one argument."""
        self.name(module, name)
        self.value(argument, path)
        self.emit(b"\x85R")

    def sequence(self, value: Any, path: tuple[Any, ...]) -> None:
        """Push a list or tuple."""
        if type(value) is list:
            self.emit(b"]")
            self.remember(value)
        self.emit(b"(")
        for i, item in enumerate(value):
            self.value(item, (*path, i))
        self.emit(b"e" if type(value) is list else b"t")

    def mapping(self, value: Mapping[Any, Any], path: tuple[Any, ...]) -> None:
        """Push a dict; an OrderedDict if it is one."""
        if isinstance(value, OrderedDict):
            self.name("collections", "OrderedDict")
            self.emit(b")R")
        else:
            self.emit(b"}")
        if type(value) in (dict, OrderedDict):
            self.remember(value)
        self.emit(b"(")
        for key, item in value.items():
            self.value(_flat(key, path), path)
            self.value(item, (*path, key))
        self.emit(b"u")

    # ----------------------------------------------------------------------- tensors and arrays
    def tensor(self, value: Tensor, path: tuple[Any, ...]) -> None:
        """Push a tensor or parameter."""
        parameter = type(value).__name__ == "Parameter"
        if parameter:
            self.name("torch._utils", "_rebuild_parameter")
        self.rebuilt(value, path, value.requires_grad and not parameter)
        if parameter:
            self.emit(b"\x88" if value.requires_grad else b"\x89")
            self.emit(_NO_HOOKS, b"\x87R")

    def rebuilt(self, value: Tensor, path: tuple[Any, ...], requires_grad: bool) -> None:
        """Push a tensor over its storage."""
        name = str(value.dtype).removeprefix("torch.")
        typed = name in _STORAGE_OF
        self.name("torch._utils", "_rebuild_tensor_v2" if typed else "_rebuild_tensor_v3")
        self.emit(b"(")
        self.storage(value, _STORAGE_OF[name] if typed else None, path)
        self.number(0)
        self.sizes(value.shape)
        self.sizes(_strides(value.shape))
        self.emit(b"\x88" if requires_grad else b"\x89")
        self.emit(_NO_HOOKS)
        if not typed:
            self.value(value.dtype, path)
        self.emit(b"tR")

    def storage(self, value: Tensor, kind: str | None, path: tuple[Any, ...]) -> None:
        """Push the reference to a storage, which is written once for each piece of memory."""
        array = value.array
        memory = memory_key(array) if array.size else len(self.storages)
        key = self._storage_of.get(memory)
        if key is None:
            key = self._storage_of[memory] = len(self.storages)
            self.storages.append(_in_order(devices.to_numpy(array)))
        self.emit(b"(")
        self.text("storage")
        if kind is None:
            self.name("torch.storage", "UntypedStorage")
        else:
            self.name("torch", kind)
        self.text(str(key))
        self.text(str(value.device))
        self.number(array.size if kind is not None else array.nbytes)
        self.emit(b"tQ")

    def array(self, array: np.ndarray, path: tuple[Any, ...], scalar: bool) -> None:
        """Push a NumPy array or scalar as NumPy itself does."""
        if array.dtype.kind not in "biufc":
            raise TypeError(_refusal(array, path, f" of {array.dtype}"))
        array = _in_order(array)
        if scalar:
            self.name("numpy._core.multiarray", "scalar")
            self.dtype(array.dtype)
            self.raw(array.tobytes())
            self.emit(b"\x86R")
            return
        self.name("numpy._core.multiarray", "_reconstruct")
        self.name("numpy", "ndarray")
        self.sizes([0])
        self.raw(b"b")
        self.emit(b"\x87R")
        self.emit(b"(")
        self.number(1)
        self.sizes(array.shape)
        self.dtype(array.dtype)
        self.emit(b"\x89")
        self.raw(array.tobytes())
        self.emit(b"tb")

    def dtype(self, dtype: np.dtype) -> None:
        """Push a NumPy dtype."""
        self.name("numpy", "dtype")
        self.text(dtype.str[1:])
        self.emit(b"\x89\x88\x87R")
        self.emit(b"(")
        self.number(3)
        self.text(dtype.str[0])
        self.emit(b"NNN")
        for n in (-1, -1, 0):
            self.number(n)
        self.emit(b"tb")


def _strides(shape: Any) -> list[int]:
    """The strides of a contiguous tensor, in elements."""
    return [math.prod(max(n, 1) for n in shape[i + 1 :]) for i in range(len(shape))]


def _in_order(array: np.ndarray) -> np.ndarray:
    """The array in row-major order and little-endian, with its shape."""
    if array.dtype.byteorder == ">":
        array = array.astype(array.dtype.newbyteorder("<"))
    return np.ascontiguousarray(array).reshape(array.shape)


def _flat(key: Any, path: tuple[Any, ...]) -> Any:
    """The key of a dict, or member of a set."""
    if isinstance(key, Tensor | np.generic) or is_array(key) or not is_flat(key):
        where = _place(path)
        raise ValueError(
            f"save(): {where} has a {type(key).__name__} for a key, which is not saved"
        )
    return key


def _place(path: tuple[Any, ...]) -> str:
    return ".".join(map(str, path)) or "obj"


def _refusal(value: Any, path: tuple[Any, ...], more: str = "") -> str:
    """The error message for a value that is not saved."""
    where = f"save(): {_place(path)} is a {type(value).__name__}{more}"
    if hasattr(value, "state_dict"):
        return f"{where}, which is not saved whole: save its state_dict() instead"
    return (
        f"{where}, which is not saved: tensors, dicts, lists, tuples, sets, numbers, texts, "
        "bytes and None are"
    )
