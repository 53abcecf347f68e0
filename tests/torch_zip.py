"""Files in PyTorch's format, put together byte by byte: for tests that have no PyTorch."""

from __future__ import annotations

import io
import struct
import zipfile
from typing import Any

import numpy as np

STORAGES = {"float32": "FloatStorage", "int64": "LongStorage", "float16": "HalfStorage"}


def text(value: str) -> bytes:
    raw = value.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


def symbol(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


def whole(value: int) -> bytes:
    return b"J" + struct.pack("<i", value)


def code(value: Any) -> bytes:
    """The instructions that build a value; bytes stand for themselves."""
    if isinstance(value, bytes):
        return value
    if value is None or isinstance(value, bool):
        return {None: b"N", True: b"\x88", False: b"\x89"}[value]
    if isinstance(value, int):
        return whole(value)
    if isinstance(value, float):
        return b"G" + struct.pack(">d", value)
    if isinstance(value, str):
        return text(value)
    if isinstance(value, tuple):
        return b"(" + b"".join(map(code, value)) + b"t"
    if isinstance(value, list):
        return b"](" + b"".join(map(code, value)) + b"e"
    if isinstance(value, dict):
        return b"}(" + b"".join(code(k) + code(v) for k, v in value.items()) + b"u"
    raise TypeError(type(value))


def tensor(
    key: str, dtype: str, numel: int, offset: int, shape: tuple, strides: tuple, *more: Any
) -> bytes:
    """The call that builds a tensor over the storage `key`."""
    storage = ("storage", symbol("torch", STORAGES[dtype]), key, "cpu", numel)
    hooks = symbol("collections", "OrderedDict") + b")R"
    arguments = (code(storage) + b"Q", offset, shape, strides, False, hooks, *more)
    return symbol("torch._utils", "_rebuild_tensor_v2") + code(arguments) + b"R"


def archive(
    value: Any,
    storages: dict[str, np.ndarray] | None = None,
    *,
    compression: int = zipfile.ZIP_STORED,
    folder: str = "archive/",
    more: dict[str, bytes] | None = None,
) -> bytes:
    """The bytes of such a file; `value` as `code` takes it, or instructions."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as file:
        file.writestr(folder + "data.pkl", b"\x80\x02" + code(value) + b".")
        file.writestr(folder + "byteorder", "little")
        for key, array in (storages or {}).items():
            file.writestr(f"{folder}data/{key}", array.tobytes())
        for name, data in (more or {}).items():
            file.writestr(folder + name, data)
    return buffer.getvalue()
