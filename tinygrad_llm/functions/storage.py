"""The memory behind tensors: which of them share it, and where each begins."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..arrays.memory import address, storage_of
from ..tensor import Tensor, device
from ..tensor.dtypes import DtypeLike
from .method import method


class UntypedStorage:
    """The memory behind a tensor and all its views, as bytes; keeps it alive."""

    def __init__(self, array: Any, device: Any) -> None:
        self._array = array
        self.device = device

    @staticmethod
    def from_file(filename: Any, shared: bool = False, nbytes: int = 0) -> UntypedStorage:
        """The first nbytes bytes of a file, read as they are needed.

        shared: what is written goes to the file; else it stays in memory.
        """
        mode: Any = "r+" if shared else "c"
        return UntypedStorage(np.memmap(filename, np.uint8, mode, shape=(nbytes,)), device("cpu"))

    def __getitem__(self, key: slice) -> UntypedStorage:
        if not isinstance(key, slice):
            raise TypeError("a storage is cut by slices of bytes: storage[0:16]")
        return UntypedStorage(self.__array__()[key], self.device)

    def __array__(self, dtype: DtypeLike = None, copy: bool | None = None) -> Any:
        flat = self._array.reshape(-1).view(np.uint8)  # any shape -> (bytes)
        return flat if dtype is None else flat.astype(dtype, copy=bool(copy))

    def untyped(self) -> UntypedStorage:
        """The storage itself."""
        return self

    def tolist(self) -> list[int]:
        """The bytes as numbers."""
        return self.__array__().tolist()

    def data_ptr(self) -> int:
        """The address of the first byte."""
        return address(self._array)

    def nbytes(self) -> int:
        """How many bytes there are."""
        return int(self._array.nbytes)

    size = __len__ = nbytes

    def __repr__(self) -> str:
        return f"[UntypedStorage(device={self.device}) of size {self.nbytes()}]"


@method
def untyped_storage(input: Tensor) -> UntypedStorage:
    """The memory that the tensor shows a part of: two tensors share it if data_ptr() is equal."""
    return UntypedStorage(storage_of(input.array), input.device)


@method
def storage_offset(input: Tensor) -> int:
    """How many elements lie before the tensor's first in its storage."""
    if not input.array.size:
        return 0
    before = address(input.array) - address(storage_of(input.array))
    return before // input.array.itemsize
