"""Reading a GGUF file: metadata and tensors, over a memory map, each when it is used.

The format (ggml's specification of GGUF), little-endian: "GGUF", a version, how many tensors and
how many entries of metadata; the entries (key, type, value); for each tensor its name, its sizes
(columns first), its number format and its offset; then, from a multiple of the alignment on, the
bytes of the tensors.

Every count, length, offset and type is checked against the size of the file before it is used.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from struct import Struct
from typing import Any, NamedTuple

import numpy as np

from ....files.untrusted import describe, element_count, translated
from .decode import decode
from .kinds import Kind, kind_of

__all__ = ["Encoded", "GGUFError", "GGUFFile", "is_gguf", "tokenizer_entries"]

MAGIC = b"GGUF"
_VERSIONS = (2, 3)
ALIGNMENT = 32  # of the tensors, if the metadata does not say otherwise
_MOST_DIMENSIONS = 4  # ggml's limit
_MOST_NESTING = 8  # arrays in arrays; files have at most two levels
NUMBERS = {  # the number of a type of metadata: of a number in NumPy
    0: "<u1", 1: "<i1", 2: "<u2", 3: "<i2", 4: "<u4", 5: "<i4", 6: "<f4", 7: "?", 10: "<u8",
    11: "<i8", 12: "<f8",
}  # fmt: skip
STRING, ARRAY = 8, 9
_U32, _U64 = Struct("<I").unpack_from, Struct("<Q").unpack_from


class GGUFError(ValueError):
    """The file is not a GGUF file, is cut short, or holds what cannot be represented."""


class Encoded(NamedTuple):
    """An entry of metadata as its bytes in the file, for a copy that loses nothing."""

    type: int
    data: bytes


class _Tensor(NamedTuple):
    shape: tuple[int, ...]  # rows first, as NumPy has it
    kind: Kind
    begin: int  # bytes from the start of the file
    end: int


def is_gguf(path: str | os.PathLike[str]) -> bool:
    """Whether a file begins as a GGUF file does; False if there is no such file."""
    try:
        with open(path, "rb") as file:
            return file.read(4) == MAGIC
    except OSError:
        return False


# -------------------------------------------------------------------------------- metadata
class _Cursor:
    """A place in the file that only moves within it."""

    def __init__(self, data: Any, size: int) -> None:
        self.data, self.size, self.at = data, size, 0

    def step(self, n: int) -> int:
        """Move over n bytes; returns where they begin.

        Raises: ValueError if the file ends before.
        """
        begin = self.at
        if n > self.size - begin:
            raise ValueError(
                f"cut short: {n:,} bytes at byte {begin:,}, but it ends at {self.size:,}"
            )
        self.at = begin + n
        return begin

    def u32(self) -> int:
        return _U32(self.data, self.step(4))[0]

    def u64(self) -> int:
        return _U64(self.data, self.step(8))[0]

    def text(self) -> str:
        n = self.u64()
        begin = self.step(n)
        return self.data[begin : begin + n].decode("utf-8")

    def count(self, least: int, what: str) -> int:
        """A count of things of at least `least` bytes each.

        Raises: ValueError if so many do not fit into the rest of the file.
        """
        n = self.u64()
        if n > (self.size - self.at) // least:
            raise ValueError(f"{n:,} {what} do not fit into the {self.size - self.at:,} bytes left")
        return n

    def skip(self, kind: int, depth: int = 0) -> None:
        """Move over a value of metadata."""
        if kind in NUMBERS:
            self.step(np.dtype(NUMBERS[kind]).itemsize)
        elif kind == STRING:
            self.step(self.u64())
        elif kind == ARRAY:
            self._skip_array(depth)
        else:
            raise ValueError(f"metadata of the unknown type {kind}")

    def _skip_array(self, depth: int) -> None:
        inner = self.u32()
        if depth == _MOST_NESTING:
            raise ValueError(f"arrays nested more than {_MOST_NESTING} levels deep")
        if inner in NUMBERS:
            width = np.dtype(NUMBERS[inner]).itemsize
            self.step(width * self.count(width, "numbers"))
        elif inner == STRING:
            data, at, size = self.data, self.at + 8, self.size
            n = self.count(8, "texts")
            try:
                for _ in range(n):  # a quarter of a million tokens: nothing else in this loop
                    at += 8 + _U64(data, at)[0]
            except Exception as error:
                raise ValueError(f"an array of texts goes past byte {size:,}") from error
            self.at = at if at <= size else self.step(at - self.at)
        else:
            for _ in range(self.count(12 if inner == ARRAY else 1, "values")):
                self.skip(inner, depth + 1)

    def value(self, kind: int) -> Any:
        """Read a value that `skip` went over before: a plain value of Python."""
        if kind == STRING:
            return self.text()
        if kind != ARRAY:
            return np.frombuffer(self.data, NUMBERS[kind], 1, self._over(NUMBERS[kind], 1)).item()
        inner = self.u32()
        n = self.u64()
        if inner in NUMBERS:
            return np.frombuffer(self.data, NUMBERS[inner], n, self._over(NUMBERS[inner], n))
        if inner != STRING:
            return [self.value(inner) for _ in range(n)]
        texts, data, at = [], self.data, self.at
        for _ in range(n):
            begin = at + 8
            at = begin + _U64(data, at)[0]
            texts.append(data[begin:at].decode("utf-8"))
        self.at = at
        return texts

    def _over(self, dtype: str, n: int) -> int:
        return self.step(np.dtype(dtype).itemsize * n)


class _Metadata(Mapping[str, Any]):
    """key -> value, decoded when it is asked for the first time."""

    def __init__(self, data: Any, size: int, where: str) -> None:
        self._data, self._size, self._where = data, size, where
        self.places: dict[str, tuple[int, int, int]] = {}  # key: type, begin, end of the value
        self._values: dict[str, Any] = {}

    def __getitem__(self, key: str) -> Any:
        if key not in self._values:
            kind, begin, _ = self.places[key]
            cursor = _Cursor(self._data, self._size)
            cursor.at = begin
            with translated(f"{self._where}: the metadata {key[:200]!r}", GGUFError):
                self._values[key] = cursor.value(kind)
        return self._values[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.places)

    def __len__(self) -> int:
        return len(self.places)

    def encoded(self, key: str) -> Encoded:
        """An entry as its bytes, which gguf.write takes in place of a value."""
        kind, begin, end = self.places[key]
        return Encoded(kind, bytes(self._data[begin:end]))


# --------------------------------------------------------------------------------- the file
class GGUFFile(Mapping[str, np.ndarray]):
    """A GGUF file as a mapping from names of tensors to float32 arrays, decoded when it is used.

        file = GGUFFile("model.gguf")
        file.metadata["general.architecture"], file["token_embd.weight"].shape

    `metadata` maps keys to plain values of Python: bool, int, float, str, a list of texts, a NumPy
    array of numbers; long lists are decoded when they are asked for. Shapes are in NumPy's order,
    rows first, the reverse of the order in the file. Tensors of integers keep their dtype.

    Raises: FileNotFoundError if there is no such file; GGUFError if it is cut short or damaged, or
    if a number format is unknown.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        with open(self.path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            whole = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if size else b""
        self._parse(whole, size, str(path))

    @classmethod
    def from_bytes(cls, data: bytes) -> GGUFFile:
        """The same over bytes in memory."""
        self = cls.__new__(cls)
        self.path = Path("<bytes>")
        self._parse(data, len(data), "<bytes>")
        return self

    def _parse(self, data: Any, size: int, where: str) -> None:
        self.where, self._size = where, size
        self._bytes = np.frombuffer(data, np.uint8)
        self._bytes.flags.writeable = False
        cursor = _Cursor(data, size)
        with translated(where, GGUFError, "is not a whole GGUF file"):
            _check_start(cursor)
            n_tensors = cursor.count(24, "tensors")
            n_entries = cursor.count(13, "entries of metadata")
            self.metadata = _Metadata(data, size, where)
            for _ in range(n_entries):
                self._read_entry(cursor)
            described = [_description(cursor) for _ in range(n_tensors)]
            self._tensors = self._placed(described, cursor.at)

    def _read_entry(self, cursor: _Cursor) -> None:
        key, kind, places = cursor.text(), cursor.u32(), self.metadata.places
        if key in places:
            raise ValueError(f"the metadata {describe(key)} is there twice")
        begin = cursor.at
        cursor.skip(kind)
        places[key] = kind, begin, cursor.at

    def _placed(
        self, described: list[tuple[str, tuple[int, ...], Kind, int]], header: int
    ) -> dict[str, _Tensor]:
        """Tensors by name, checked: in the file, aligned, none over another."""
        alignment = self.metadata.get("general.alignment", ALIGNMENT)
        if type(alignment) is not int or not 0 < alignment <= 1 << 20 or alignment % 8:
            raise ValueError(f"general.alignment is {describe(alignment)}, not a multiple of 8")
        base = -(-header // alignment) * alignment
        tensors: dict[str, _Tensor] = {}
        last, before = base, "the header"
        for name, shape, kind, offset in sorted(described, key=lambda entry: entry[3]):
            shown = describe(name)
            if name in tensors:
                raise ValueError(f"the tensor {shown} is there twice")
            n = element_count(shape)
            row = shape[-1] if shape else 1
            begin = base + offset
            end = begin + kind.row_bytes(row) * (n // row if row else 0)
            if offset % alignment:
                raise ValueError(f"{shown} begins at {offset:,}, no multiple of {alignment}")
            if begin < last:
                raise ValueError(f"{shown} overlaps {before}")
            if end > self._size:
                raise ValueError(
                    f"cut short: {shown} ends at byte {end:,}, but the file has {self._size:,}"
                )
            tensors[name] = _Tensor(shape, kind, begin, end)
            last, before = end, shown
        return {name: tensors[name] for name, *_ in described}

    def __getitem__(self, name: str) -> np.ndarray:
        return self.read(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)

    def __contains__(self, name: object) -> bool:
        return name in self._tensors

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a tensor, rows first."""
        return self._tensors[name].shape

    def kind(self, name: str) -> Kind:
        """The number format of a tensor: its `name` is "F32", "Q4_1" ..."""
        return self._tensors[name].kind

    def raw(self, name: str, index: int | None = None) -> np.ndarray:
        """The bytes of a tensor as they are in the file: uint8, read-only, nothing is copied.

        index: one entry along the first axis, None for all
        """
        tensor = self._tensors[name]
        whole = self._bytes[tensor.begin : tensor.end]
        if index is None:
            return whole
        return whole.reshape(tensor.shape[0], -1)[index]  # (bytes) -> (rows, bytes of one)

    def read(
        self, name: str, out: np.ndarray | None = None, index: int | None = None
    ) -> np.ndarray:
        """A tensor in float32 (integers and F64 in their own dtype), decoded chunk by chunk.

        out: a contiguous array of the tensor's shape that takes the numbers, rounded to its dtype
        index: one entry along the first axis, None for all
        Raises: GGUFError if the format needs a package that is not installed; ValueError if `out`
        has another shape or is not contiguous.
        """
        tensor = self._tensors[name]
        shape = tensor.shape if index is None else tensor.shape[1:]
        if out is None:
            kept = tensor.kind.dtype.kind == "i" or tensor.kind.name == "F64"
            out = np.empty(shape, tensor.kind.dtype.newbyteorder("=") if kept else "f4")
        elif out.shape != shape or not out.flags.c_contiguous:
            raise ValueError(
                f"{name} has shape {shape}; out must be contiguous and have it, got shape "
                f"{out.shape}"
            )
        with translated(f"{self.where}: {name[:200]}", GGUFError, ""):
            return decode(self.raw(name, index), tensor.kind, out)

    def __repr__(self) -> str:
        return f"GGUFFile({self.where}, {len(self)} tensors, {self._size:,} bytes)"


def tokenizer_entries(path: str | os.PathLike[str]) -> dict[str, Encoded]:
    """The metadata of a file that describe its tokenizer, for another file with the same one."""
    metadata = GGUFFile(path).metadata
    return {key: metadata.encoded(key) for key in metadata if key.startswith("tokenizer.")}


def _check_start(cursor: _Cursor) -> None:
    begin = cursor.step(4)
    magic = bytes(cursor.data[begin : begin + 4])
    if magic != MAGIC:
        raise ValueError(f"it begins with {magic!r}, not with {MAGIC!r}")
    version = cursor.u32()
    if version not in _VERSIONS:
        big_endian = int.from_bytes(version.to_bytes(4, "little"), "big") in _VERSIONS
        reason = "its bytes are in big-endian order" if big_endian else f"version {version}"
        raise ValueError(f"{reason}; versions 2 and 3 in little-endian order can be read")


def _description(cursor: _Cursor) -> tuple[str, tuple[int, ...], Kind, int]:
    """(name, shape, number format, offset) of the next tensor."""
    name, n = cursor.text(), cursor.u32()
    if n > _MOST_DIMENSIONS:
        raise ValueError(f"{describe(name)} has {n:,} dimensions, at most {_MOST_DIMENSIONS}")
    sizes = [cursor.u64() for _ in range(n)]
    kind = kind_of(cursor.u32())
    return name, tuple(reversed(sizes)), kind, cursor.u64()
