"""Reading the files that `torch.save` writes (.pth, .pt, .bin), without running what is in them.

Such a file is a zip archive without compression: `data.pkl` holds the structure as byte code for a
stack machine, `data/0`, `data/1` ... hold the storages, plain runs of numbers. A tensor in the
structure is a storage, an offset, a shape and strides; several tensors can share one storage.

The byte code is executed by the machine in opcodes.py, which builds tensors, dict, OrderedDict,
list, tuple, set, str, bytes, numbers, bool, None, torch.Size, torch.device and dtypes (see
torch_values.py), and refuses everything else by name. Storages are read when they are asked for.
"""

from __future__ import annotations

import struct
import sys
import weakref
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ...files.paths import local_path
from ...files.untrusted import describe
from .numbers import EXTENDED, extended_dtype, itemsize, widened
from .opcodes import Refused, Symbol, run
from .torch_values import STORAGES, SYMBOLS, Storage, StoredArray, StoredTensor, set_state

__all__ = ["TorchFile", "TorchFileError", "is_torch_file"]

_ZIP = b"PK\x03\x04"
_OLD = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # the number that old files begin with


class TorchFileError(RuntimeError):
    """The file is not one of torch.save, is cut short or damaged, or holds what is refused here."""


def is_torch_file(head: bytes) -> bool:
    """Whether a file that begins with these bytes (16 or more) is one of torch.save, new or old."""
    return head.startswith((_ZIP, _OLD))


class TorchFile(Mapping[str, Any]):
    """A file of `torch.save`: its structure is read on opening, a tensor when it is asked for.

        weights = TorchFile("model.pth")
        weights["tok_emb.weight"].shape      # a NumPy array

    path: a path or an open binary file. `tree` is the saved value with a StoredTensor for every
    tensor; as a mapping the file is that value, a dict, with arrays for its tensors. mmap: map
    storages into memory (copy on write) instead of reading them; then damage is not detected.

    Raises: TorchFileError if it is not a file of torch.save, is cut short or damaged, has the
    format from before PyTorch 1.6, or holds anything except tensors and plain containers (which the
    message names).
    """

    def __init__(self, path: str | Path | BinaryIO, mmap: bool = False) -> None:
        self._file = local_path(path) if isinstance(path, str | Path) else path
        self.where = str(
            path if isinstance(path, str | Path) else getattr(path, "name", "the file")
        )
        if mmap and not isinstance(self._file, Path):
            raise ValueError("mmap=True needs the path of a file, not an open one")
        self._mmap = mmap
        self._size = self._length()
        self._memory: weakref.WeakValueDictionary[str, np.ndarray] = weakref.WeakValueDictionary()
        head = self._read(0, 16, short=True).tobytes()
        if head.startswith(_OLD):
            raise TorchFileError(
                f"{self.where} has the format from before PyTorch 1.6, which is not read here: "
                "load it with PyTorch and save it again"
            )
        if not head.startswith(_ZIP):
            raise TorchFileError(f"{self.where} is not a file of torch.save (not a zip archive)")
        try:
            with zipfile.ZipFile(path) as archive:
                self._entries = {entry.filename: entry for entry in archive.infolist()}
        except (
            zipfile.BadZipFile, NotImplementedError, ValueError, LookupError, ArithmeticError,
            struct.error,
        ) as error:  # fmt: skip
            raise TorchFileError(
                f"{self.where} is cut short or damaged: its table of contents, which is at the "
                f"end, cannot be read ({error})"
            ) from error
        structures = [name for name in self._entries if name.rpartition("/")[2] == "data.pkl"]
        self._folder = min(structures, key=len)[: -len("data.pkl")] if structures else ""
        if not structures or self._folder + "constants.pkl" in self._entries:
            kind = "a TorchScript program" if structures else "a zip archive without data.pkl"
            raise TorchFileError(f"{self.where} is {kind}, not a file of torch.save")
        order = self._folder + "byteorder"
        self._swapped = (
            order in self._entries and self._entry(order).tobytes() != sys.byteorder.encode()
        )
        self.tree = self._structure()

    def _structure(self) -> Any:
        """The saved value, with a StoredTensor for every tensor."""
        code = self._entry(self._folder + "data.pkl").tobytes()
        try:
            return run(code, SYMBOLS, self._storage, set_state)
        except Refused as error:
            raise TorchFileError(
                f"{self.where}: refused {error}. Only tensors and plain containers are built here, "
                "because loading anything else can run code. Save the state_dict and plain "
                "numbers, texts, lists and dicts instead."
            ) from error
        except (ValueError, RuntimeError, MemoryError) as error:
            if isinstance(error, TorchFileError):
                raise
            reason = str(error) or type(error).__name__
            raise TorchFileError(f"{self.where}: its structure (data.pkl) is {reason}") from error

    def _storage(self, reference: Any) -> Storage:
        """The storage that ("storage", type, key, location, numel) in the byte code stands for."""
        parts = reference if isinstance(reference, tuple) else ()
        kinds = [type(part) for part in parts]
        if kinds != [str, Symbol, str, str, int] or parts[0] != "storage" or parts[4] < 0:
            raise ValueError(f"broken: it refers to {describe(reference)}")
        _, symbol, key, location, numel = parts
        name = symbol.name.rpartition(".")[2]
        if name not in STORAGES and name != "UntypedStorage":
            raise ValueError(f"broken: a storage of {name}")
        return Storage(self._numbers, key, STORAGES.get(name, "uint8"), numel, location)

    # -------------------------------------------------------------------------------- its bytes
    def _length(self) -> int:
        """How many bytes the file has."""
        if isinstance(self._file, Path):
            return self._file.stat().st_size
        return self._file.seek(0, 2)

    def _read(self, start: int, size: int, short: bool = False) -> np.ndarray:
        """`size` bytes from `start` on (uint8); fewer at the end of the file if `short`."""
        if size > self._size - start and not short:  # before memory for them is allocated
            raise TorchFileError(f"{self.where} is cut short: {size:,} bytes expected at {start:,}")
        buffer = np.empty(size, np.uint8)
        if isinstance(self._file, Path):
            with open(self._file, "rb") as file:
                file.seek(start)
                n_read = file.readinto(buffer.data)
        else:
            self._file.seek(start)
            data = self._file.read(size)
            n_read = len(data)
            buffer[:n_read] = np.frombuffer(data, np.uint8)
        if n_read < size and not short:
            raise TorchFileError(f"{self.where} is cut short: {size:,} bytes expected at {start:,}")
        return buffer if n_read == size else buffer[:n_read]  # the owner, which `_numbers` keeps

    def _entry(self, name: str) -> np.ndarray:
        """The bytes of one member of the archive, checked against its checksum."""
        entry = self._entries.get(name)
        if entry is None:
            raise TorchFileError(f"{self.where} is damaged: {name} is not in the archive")
        if entry.compress_type != zipfile.ZIP_STORED:
            raise TorchFileError(f"{self.where}: {name} is compressed, as torch.save never does")
        header = self._read(entry.header_offset, 30).tobytes()  # its local header, fixed part
        begin = entry.header_offset + 30 + int.from_bytes(header[26:28], "little")
        begin += int.from_bytes(header[28:30], "little")
        if self._mmap and entry.file_size and not name.endswith(".pkl"):
            if begin + entry.file_size > self._size:
                raise TorchFileError(f"{self.where} is cut short: {name} ends after the file")
            return np.memmap(self._file, np.uint8, "c", begin, (entry.file_size,))
        data = self._read(begin, entry.file_size)
        if entry.CRC and zlib.crc32(data.data) != entry.CRC:  # 0: saved without checksums
            raise TorchFileError(f"{self.where} is damaged: the checksum of {name} is wrong")
        return data

    def _numbers(self, key: str, dtype: str, numel: int) -> np.ndarray:
        """A storage as an array; it is read once for as long as a tensor of it is in use."""
        size = itemsize(dtype)
        memory = self._memory.get(key)
        if memory is None:
            memory = self._entry(f"{self._folder}data/{key}")
            if len(memory) < numel * size:
                raise TorchFileError(
                    f"{self.where} is damaged: storage {key} has {len(memory):,} bytes, too few "
                    f"for {numel:,} numbers of {dtype}"
                )
            if self._swapped and size > 1:
                memory = memory[: numel * size].reshape(-1, size)[:, ::-1].reshape(-1)
            if dtype == "bfloat16" and extended_dtype(dtype) is None:
                memory = widened(memory[: 2 * numel].view(np.uint16))
            self._memory[key] = memory
        if memory.dtype != np.uint8:
            return memory
        stored_as = extended_dtype(dtype) if dtype in EXTENDED else np.dtype(dtype)
        if stored_as is None:
            raise TorchFileError(
                f"a tensor is {dtype}, which needs ml_dtypes: pip install ml_dtypes"
            )
        return np.asarray(memory)[: numel * size].view(stored_as)

    # ----------------------------------------------------------------------------- as a mapping
    def __getitem__(self, name: str) -> Any:
        value = self._dict()[name]
        return value.array() if isinstance(value, StoredTensor | StoredArray) else value

    def __iter__(self) -> Iterator[str]:
        return iter(self._dict())

    def __len__(self) -> int:
        return len(self._dict())

    def _dict(self) -> dict[Any, Any]:
        """The saved value, if it is a dict; TypeError if it is not."""
        if not isinstance(self.tree, dict):
            raise TypeError(f"{self.where} holds a {type(self.tree).__name__}: use .tree")
        return self.tree

    def __repr__(self) -> str:
        return f"TorchFile({self.where})"
