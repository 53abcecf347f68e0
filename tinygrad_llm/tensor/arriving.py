"""Arriving: a gradient whose mean over the ranks is not there yet; reading its array waits for it.

DistributedDataParallel puts the last gradients of a backward pass into .grad while a GPU still
exchanges them. So an optimizer can change the other parameters in the meantime.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from . import Tensor

__all__ = ["Arriving", "arrived_first"]


class Arriving(Tensor):
    """A tensor that becomes an ordinary one when its array is first read or replaced.

    array   the memory in which its numbers will be
    wait    called once, before the array is read
    """

    def __init__(self, array: Any, wait: Callable[[], Any]) -> None:
        self.__dict__["_arrival"] = array, wait

    @property
    def array(self) -> Any:
        arrival = self.__dict__.pop("_arrival", None)
        if arrival is None:  # another thread has waited meanwhile
            return self.__dict__["array"]
        array, wait = arrival
        wait()
        self.array = array
        return array

    @array.setter
    def array(self, value: Any) -> None:
        self.__dict__["array"] = value
        self.__class__ = Tensor  # type: ignore[assignment]


def arrived_first(tensors: list[Tensor]) -> list[list[Tensor]]:
    """The tensors whose .grad has arrived, then those whose .grad is still exchanged."""
    parts: tuple[list[Tensor], list[Tensor]] = [], []
    for tensor in tensors:
        parts[isinstance(tensor._grad, Arriving)].append(tensor)
    return [part for part in parts if part]
