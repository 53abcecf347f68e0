"""Writing a GGUF file that llama.cpp reads: metadata, tokenizer and tensors, one after another."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from struct import pack
from typing import Any, NamedTuple

import numpy as np

from ....files.atomic import atomic_write
from ....files.paths import local_path
from ....files.untrusted import describe
from .encode import WRITABLE, encode
from .kinds import KINDS
from .reader import ALIGNMENT, ARRAY, MAGIC, NUMBERS, STRING, Encoded

__all__ = ["Pending", "write"]

_TYPES = {np.dtype(code): number for number, code in NUMBERS.items()}


class Pending(NamedTuple):
    """A tensor to be written: its shape and format are known before its numbers are computed.

    shape  rows first
    kind   one of encode.WRITABLE, or any format if `read` returns its bytes (uint8)
    read   called once, when its turn has come
    """

    shape: tuple[int, ...]
    kind: str
    read: Callable[[], np.ndarray]


def write(
    path: str | os.PathLike[str], metadata: Mapping[str, Any], tensors: Mapping[str, Pending]
) -> Path:
    """Write a GGUF file, whole or not at all; one tensor at a time is in memory.

    metadata: key -> bool, int (written as uint32, or wider or signed if it must be), float
        (float32), text, a list of texts, ints (int32) or floats (float32), a NumPy number or array,
        which keeps its dtype, or Encoded; general.alignment is set here
    tensors: name -> Pending
    Raises: ValueError for a value or format that cannot be written, rows that do not fill blocks,
    or a tensor whose shape is not the one promised; OSError if the disk refuses.
    """
    path = local_path(path)
    entries = {key: value for key, value in metadata.items() if key != "general.alignment"}
    header = [MAGIC, pack("<IQQ", 3, len(tensors), len(entries))]
    for key, value in entries.items():
        kind, data = _encoded(key, value)
        header += [_text(key), pack("<I", kind), data]
    offset = 0
    for name, tensor in tensors.items():
        sizes = tuple(reversed(tensor.shape))
        number = KINDS[_checked(name, tensor)].number
        header += [_text(name), pack(f"<I{len(sizes)}Q", len(sizes), *sizes)]
        header.append(pack("<IQ", number, offset))
        offset += _aligned(_n_bytes(tensor))
    with atomic_write(path) as file:
        start = b"".join(header)
        file.write(start.ljust(_aligned(len(start)), b"\0"))
        for name, tensor in tensors.items():
            numbers = _data(name, tensor).data
            file.write(numbers)
            file.write(bytes(_aligned(len(numbers)) - len(numbers)))
    return path


def _aligned(n: int) -> int:
    return -(-n // ALIGNMENT) * ALIGNMENT


def _checked(name: str, tensor: Pending) -> str:
    if tensor.kind not in KINDS:
        raise ValueError(f"{name}: {tensor.kind} cannot be written; try {', '.join(WRITABLE)}")
    if not 1 <= len(tensor.shape) <= 4 or 0 in tensor.shape:
        raise ValueError(
            f"{name}: a tensor of shape {tensor.shape} cannot be written (1 to 4 axes)"
        )
    KINDS[tensor.kind].row_bytes(tensor.shape[-1])
    return tensor.kind


def _n_bytes(tensor: Pending) -> int:
    rows = int(np.prod(tensor.shape[:-1], dtype=np.int64))
    return rows * KINDS[tensor.kind].row_bytes(tensor.shape[-1])


def _data(name: str, tensor: Pending) -> np.ndarray:
    """The bytes of a tensor, checked against what the header says of it."""
    values = tensor.read()
    if values.dtype != np.uint8:
        if values.shape != tensor.shape:
            raise ValueError(f"{name} has shape {values.shape}, expected {tensor.shape}")
        values = encode(values, tensor.kind)
    if values.size != _n_bytes(tensor):
        raise ValueError(f"{name} has {values.size:,} bytes, expected {_n_bytes(tensor):,}")
    return values


def _text(text: str) -> bytes:
    data = text.encode("utf-8", "surrogatepass")
    return pack("<Q", len(data)) + data


def _encoded(key: str, value: Any) -> Encoded:
    """The type of a value of metadata and its bytes."""
    if isinstance(value, Encoded):
        return value
    if isinstance(value, str):
        return Encoded(STRING, _text(value))
    if isinstance(value, np.ndarray | list | tuple):
        inner, data = _array(key, value)
        return Encoded(ARRAY, pack("<IQ", inner, len(value)) + data)
    number = _number(key, value)
    return Encoded(_TYPES[number.dtype], number.tobytes())


def _number(key: str, value: Any) -> np.ndarray:
    """One number in the dtype in which it is written: (1,)."""
    if isinstance(value, np.generic):
        number = np.array([value])
    elif isinstance(value, bool):
        number = np.array([value], "?")
    elif isinstance(value, float):
        number = np.array([value], "<f4")
    elif isinstance(value, int):
        fits = (code for code in ("<u4", "<i4", "<u8", "<i8") if _holds(code, value))
        number = np.array([value], next(fits, "O"))
    else:
        raise ValueError(f"the metadata {key} cannot be {describe(value)}")
    if number.dtype not in _TYPES:
        raise ValueError(f"the metadata {key} cannot be {describe(value)}, a {number.dtype}")
    return number


def _holds(code: str, value: int) -> bool:
    limits = np.iinfo(code)
    return int(limits.min) <= value <= int(limits.max)


def _array(key: str, values: Any) -> tuple[int, bytes]:
    """(type of the elements, their bytes) of a list or array."""
    if isinstance(values, np.ndarray):
        numbers = np.ascontiguousarray(values)
    elif values and all(isinstance(value, str) for value in values):
        return STRING, b"".join(map(_text, values))
    elif all(isinstance(value, bool) for value in values):
        numbers = np.array(values, "?")
    elif all(type(value) is int and _holds("<i4", value) for value in values):
        numbers = np.array(values, "<i4")
    elif all(isinstance(value, float | int) for value in values):
        numbers = np.array(values, "<f4")
    else:
        raise ValueError(f"the metadata {key} cannot be a list of different things")
    if numbers.ndim != 1 or numbers.dtype not in _TYPES:
        raise ValueError(f"the metadata {key} cannot be an array of {numbers.dtype}")
    return _TYPES[numbers.dtype], numbers.tobytes()


def pending(arrays: Mapping[str, np.ndarray], kinds: Iterable[str]) -> dict[str, Pending]:
    """Arrays in memory as tensors to be written, with a format for each."""
    return {
        name: Pending(array.shape, kind, lambda array=array: array)  # type: ignore[misc]
        for (name, array), kind in zip(arrays.items(), kinds, strict=True)
    }
