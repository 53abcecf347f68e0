"""Reading and writing safetensors files: named arrays, and nothing that could run.

The format (huggingface/safetensors, README, "Format"): eight bytes that hold the length N of the
header, little-endian; N bytes of JSON, which map each name to its dtype, its shape and where its
bytes begin and end; then all the bytes, without a gap, little-endian, in row-major ("C") order.
`__metadata__` is a reserved name that maps texts to texts.

A reader maps the file into memory and reads only what is asked for. A writer makes every array
contiguous first, and replaces the file in one step (see files/atomic.py).
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ...arrays import devices
from ...arrays.memory import is_array, memory_key
from ...files.atomic import atomic_write
from ...files.json_files import json_bytes, no_constants, parse_json
from ...files.paths import local_path
from ...files.untrusted import element_count
from ...tensor import wrap
from .numbers import extended_dtype, itemsize, widened
from .parts import Part

__all__ = [
    "SafeTensorsError",
    "SafeTensorsFile",
    "load",
    "load_file",
    "load_model",
    "save",
    "save_file",
    "save_model",
    "write_parts",
]

_PLAIN = {
    "BOOL": "bool",
    "U8": "u1",
    "I8": "i1",
    "U16": "<u2",
    "I16": "<i2",
    "U32": "<u4",
    "I32": "<i4",
    "U64": "<u8",
    "I64": "<i8",
    "F16": "<f2",
    "F32": "<f4",
    "F64": "<f8",
    "C64": "<c8",
}
_EXTENDED = {  # what NumPy alone cannot hold (see numbers.py)
    "BF16": "bfloat16",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
    "F8_E8M0": "float8_e8m0fnu",
    "F8_E4M3FNUZ": "float8_e4m3fnuz",
    "F8_E5M2FNUZ": "float8_e5m2fnuz",
}
_TAGS = {np.dtype(code).name: tag for tag, code in _PLAIN.items()} | {
    name: tag for tag, name in _EXTENDED.items()
}
_LONGEST_HEADER = 100_000_000  # the limit of the reference implementation
_LFS_POINTER = b"version https://git-lfs.github.com/spec/"  # how Git LFS's pointer files begin


class SafeTensorsError(ValueError):
    """The file is not a safetensors file, is cut short, or holds what cannot be represented."""


# ------------------------------------------------------------------------------------- reading
class SafeTensorsFile(Mapping[str, np.ndarray]):
    """A safetensors file as a mapping from names to read-only arrays, each read when it is used.

        weights = SafeTensorsFile("model.safetensors")
        weights["tok_emb.weight"].shape

    `metadata` is the dict of texts that the file holds besides the arrays; `shape(name)` and
    `dtype(name)` describe an array without reading it. bfloat16 comes as `ml_dtypes.bfloat16` if
    that package is installed, otherwise widened to float32, which is exact. A file that is mapped
    cannot be replaced on Windows: `load_file` copies it and closes it.

    Raises: FileNotFoundError if there is no such file; SafeTensorsError if the header does not fit
    the file's size (cut short, overlapping arrays) or a dtype is unknown.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = local_path(path)
        with open(self.path, "rb") as file:
            head = file.read(8)
        _check_length(head, str(path))
        self._parse(np.memmap(self.path, dtype=np.uint8, mode="r"), str(path))

    @classmethod
    def from_bytes(cls, data: bytes) -> SafeTensorsFile:
        """The same over bytes in memory."""
        _check_length(data, "<bytes>")
        self = cls.__new__(cls)
        self.path = Path("<bytes>")
        self._parse(np.frombuffer(data, dtype=np.uint8), "<bytes>")
        return self

    def _parse(self, raw: np.ndarray, where: str) -> None:
        """Read the header, and check it against the size of the data."""
        length = int.from_bytes(raw[:8].tobytes(), "little")
        if raw[: len(_LFS_POINTER)].tobytes() == _LFS_POINTER:
            raise SafeTensorsError(
                f"{where}: this is a pointer of Git LFS ({len(raw):,} bytes of text), not the file "
                "it stands for: get that one, with `git lfs pull` or by a download"
            )
        if length > min(len(raw) - 8, _LONGEST_HEADER):
            raise SafeTensorsError(
                f"{where}: the header should be {length:,} bytes long, but the file has "
                f"{len(raw) - 8:,} after the first 8: cut short, or not a safetensors file"
            )
        try:
            text = raw[8 : 8 + length].tobytes()
            header = parse_json(text, f"{where}: the header", numbers=no_constants)
        except ValueError as error:
            raise SafeTensorsError(str(error)) from error
        if not isinstance(header, dict):
            raise SafeTensorsError(f"{where}: the header is not a JSON object")
        self.metadata: dict[str, str] = header.pop("__metadata__", None) or {}
        texts = isinstance(self.metadata, dict) and all(map(_is_text, self.metadata.values()))
        if not texts:
            raise SafeTensorsError(f"{where}: its __metadata__ does not map names to texts")
        self._start = 8 + length
        self._data = raw[self._start :]
        self._where = where
        self._entries = {name: _entry(where, name, entry) for name, entry in header.items()}
        self._check_layout()

    def _check_layout(self) -> None:
        """Check that the arrays fill the data from first byte to last, without gap or overlap."""
        position = 0
        for name, (_, _, begin, end) in sorted(self._entries.items(), key=lambda e: e[1][2:]):
            if begin != position:
                fault = "overlaps the array" if begin < position else "leaves a gap"
                raise SafeTensorsError(f"{self._where}: {name} {fault} before it (byte {begin:,})")
            position = end
        if position != len(self._data):
            fault = "cut short" if position > len(self._data) else "with bytes left over"
            raise SafeTensorsError(
                f"{self._where}: the arrays take {position:,} bytes, but the file holds "
                f"{len(self._data):,}: {fault}"
            )

    def __getitem__(self, name: str) -> np.ndarray:
        tag, shape, begin, end = self._entries[name]
        array = _view(self._data[begin:end], tag, f"{self._where}: {name}").reshape(shape)
        array.flags.writeable = False
        return array

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of an array, from the header."""
        return self._entries[name][1]

    def dtype(self, name: str) -> str:
        """The dtype of an array as the file names it: "F32", "BF16", "I64" ..."""
        return self._entries[name][0]

    def place(self, name: str) -> int:
        """Where the bytes of an array begin in the file."""
        return int(self._start) + self._entries[name][2]

    def __repr__(self) -> str:
        return f"SafeTensorsFile({self._where}, {len(self)} arrays, {len(self._data):,} bytes)"


def _check_length(data: bytes, where: str) -> None:
    if len(data) < 8:
        raise SafeTensorsError(
            f"{where}: {len(data)} bytes are not a safetensors file (8 at least)"
        )


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _entry(where: str, name: str, entry: Any) -> tuple[str, tuple[int, ...], int, int]:
    """(dtype, shape, begin, end) of one array, checked against each other."""
    name = name if len(name) <= 200 else f"{name[:200]}..."
    entry = entry if isinstance(entry, dict) else {}
    tag, shape, places = (entry.get(key) for key in ("dtype", "shape", "data_offsets"))
    kinds = (type(tag), type(shape), type(places))
    if kinds != (str, list, list) or len(places) != 2 or {type(n) for n in places} != {int}:
        raise SafeTensorsError(f"{where}: {name} lacks a dtype, a shape or two data_offsets")
    begin, end = places
    if tag not in _PLAIN and tag not in _EXTENDED:
        raise SafeTensorsError(f"{where}: {name} has the dtype {tag[:40]}, which is not supported")
    try:
        n_bytes = element_count(shape) * itemsize(_PLAIN.get(tag) or _EXTENDED[tag])
    except ValueError as error:
        raise SafeTensorsError(f"{where}: {name} has {error}") from error
    if not 0 <= begin <= end < 1 << 63:
        raise SafeTensorsError(f"{where}: {name} has data_offsets outside of the file")
    if end - begin != n_bytes:
        raise SafeTensorsError(
            f"{where}: {name} {list(shape)} of {tag} takes {n_bytes:,} bytes, "
            f"but the header gives it {end - begin:,}"
        )
    return tag, tuple(shape), begin, end


def _view(data: np.ndarray, tag: str, where: str) -> np.ndarray:
    """The bytes as numbers, without a copy if they are aligned."""
    data = np.asarray(data)
    dtype = np.dtype(_PLAIN[tag]) if tag in _PLAIN else extended_dtype(_EXTENDED[tag])
    if dtype is None:
        if tag == "BF16":
            return widened(data.copy().view("<u2"))
        raise SafeTensorsError(f"{where} is {tag}, which needs ml_dtypes: pip install ml_dtypes")
    if data.ctypes.data % dtype.itemsize:
        data = data.copy()
    return data.view(dtype)


def load_file(path: str | Path) -> dict[str, np.ndarray]:
    """Every array of a safetensors file, copied into memory and writable; the file is closed.

    Raises: as SafeTensorsFile.
    """
    return {name: np.array(array) for name, array in SafeTensorsFile(path).items()}


def load(data: bytes) -> dict[str, np.ndarray]:
    """Every array in the bytes of a safetensors file, copied and writable."""
    return {name: np.array(array) for name, array in SafeTensorsFile.from_bytes(data).items()}


# ------------------------------------------------------------------------------------- writing
def _as_array(name: str, value: Any) -> np.ndarray:
    """A tensor or array in the form to store: on the CPU, contiguous, little-endian."""
    array = getattr(value, "array", value)
    if not is_array(array) and not isinstance(array, np.generic):
        raise TypeError(f"{name}: expected a tensor or an array, got {type(value).__name__}")
    array = devices.to_numpy(array)
    if array.dtype.name not in _TAGS:
        raise TypeError(f"{name}: safetensors has no dtype for {array.dtype}; convert it first")
    if array.dtype.byteorder == ">" or (array.dtype.byteorder == "=" and sys.byteorder == "big"):
        array = array.astype(array.dtype.newbyteorder("<"))
    return np.ascontiguousarray(array).reshape(array.shape)  # keeps 0-d arrays 0-d


def _write(
    file: BinaryIO, tensors: Mapping[str, Any], metadata: Mapping[str, str] | None = None
) -> None:
    """Write the whole of a safetensors file into an open file; room for what is a Part."""
    arrays: dict[str, Any] = {
        name: value if isinstance(value, Part) else _as_array(name, value)
        for name, value in tensors.items()
    }
    for key, value in (metadata or {}).items():
        if not isinstance(key, str) or not isinstance(value, str):
            raise TypeError(f"metadata maps texts to texts, but {key!r} has {value!r}")
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    if "__metadata__" in arrays:
        raise ValueError("an array cannot be called '__metadata__': the format reserves the name")
    # The widest items first: then every array begins at a multiple of its item's size.
    order = sorted(arrays, key=lambda name: -arrays[name].itemsize)
    ends, end = {}, 0
    for name in order:
        end += arrays[name].nbytes
        ends[name] = end
    for name, array in arrays.items():
        header[name] = {
            "dtype": _TAGS[array.dtype.name],
            "shape": list(array.shape),
            "data_offsets": [ends[name] - array.nbytes, ends[name]],
        }
    text = json_bytes(header)
    text += b" " * (-len(text) % 8)
    file.write(len(text).to_bytes(8, "little") + text)
    for name in order:
        array = arrays[name]
        if isinstance(array, Part):
            file.truncate(file.seek(array.nbytes, io.SEEK_CUR))
        else:
            file.write(array.reshape(-1).view(np.uint8).data)  # without a copy


def save_file(
    tensors: Mapping[str, Any], path: str | Path, metadata: Mapping[str, str] | None = None
) -> None:
    """Write named tensors or arrays of any layout to a safetensors file, in one step.

    metadata: texts to store with them, by name
    Raises: TypeError if the format lacks a dtype; OSError from the disk. A file that was there
    before is then unchanged.
    """
    with atomic_write(path) as file:
        _write(file, tensors, metadata)


def write_parts(path: str | Path, tensors: Mapping[str, Any]) -> None:
    """Write the rows of each Part into a file that save_file has made with the same names.

    Every rank calls it; a name that the file lacks is that of a tied weight, stored once.
    Raises: OSError from the disk; as SafeTensorsFile.
    """
    file = SafeTensorsFile(path)
    places = {
        name: file.place(name) + part.offset
        for name, part in tensors.items() if isinstance(part, Part) and name in file
    }  # fmt: skip
    del file  # on Windows nothing else may have it open
    with open(path, "r+b") as out:
        for name, place in places.items():
            out.seek(place)
            out.write(_as_array(name, tensors[name].array).reshape(-1).view(np.uint8).data)
        out.flush()
        os.fsync(out.fileno())


def save(tensors: Mapping[str, Any], metadata: Mapping[str, str] | None = None) -> bytes:
    """The bytes of the file that save_file would write."""
    buffer = io.BytesIO()
    _write(buffer, tensors, metadata)
    return buffer.getvalue()


# -------------------------------------------------------------------------------------- models
def save_model(model: Any, path: str | Path, metadata: Mapping[str, str] | None = None) -> None:
    """Write model.state_dict() to a safetensors file; weights that are tied are stored once.

    The metadata maps the name that was left out to the one that was kept, as Hugging Face's
    `safetensors.torch.save_model` does.
    """
    save_state(model.state_dict(), path, metadata)


def save_state(
    state: Mapping[str, Any], path: str | Path, metadata: Mapping[str, str] | None = None
) -> None:
    """Write the tensors or arrays of a state dict as save_model does."""
    first: dict[tuple[Any, ...], str] = {}
    kept: dict[str, Any] = {}
    shared: dict[str, str] = {}
    for name, value in state.items():
        array = getattr(value, "array", value)
        original = first.setdefault(memory_key(array), name) if array.size else name
        if original == name:
            kept[name] = value if isinstance(value, Part) else array
        else:
            shared[name] = original
    save_file(kept, path, {**(metadata or {}), **shared})


def load_model(model: Any, path: str | Path) -> None:
    """Load a file that `save_model`, or Hugging Face's own, wrote into a model of the same shape.

    A weight that is not in the file, but is tied in the model to one that is, needs no entry.
    Raises: RuntimeError from load_state_dict, which lists missing and unexpected names and wrong
    shapes; as SafeTensorsFile.
    """
    file = SafeTensorsFile(path)
    state = {name: wrap(array) for name, array in file.items()}
    for name, original in file.metadata.items():
        if original in state and name not in state:
            state[name] = state[original]
    stored: dict[tuple[Any, ...], str] = {}  # the memory of the model's weights: a name in the file
    own = {name: memory_key(value.array) for name, value in model.state_dict().items()}
    for name, memory in own.items():
        if name in state:
            stored.setdefault(memory, name)
    for name, memory in own.items():
        if name not in state and memory in stored:
            state[name] = state[stored[memory]]
    for name, parameter in model.named_parameters(remove_duplicate=False):
        if tuple(getattr(state.get(name), "shape", ())) == getattr(parameter, "whole_shape", None):
            state[name] = wrap(parameter.part_of(state[name].array))  # of a rank
    model.load_state_dict(state)
