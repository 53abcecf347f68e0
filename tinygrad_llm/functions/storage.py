"""The memory behind tensors: which of them share it, and where each begins."""

from __future__ import annotations

from typing import Any

from ..arrays.memory import address, storage_of
from ..tensor import Tensor
from .method import method


class UntypedStorage:
    """The memory behind a tensor and all its views, as bytes; keeps it alive."""

    def __init__(self, array: Any, device: Any) -> None:
        self._array = array
        self.device = device

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
