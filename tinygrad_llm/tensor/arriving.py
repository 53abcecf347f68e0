"""Arriving: a gradient whose mean over the ranks is not there yet; reading its array waits for it.

DistributedDataParallel puts the last gradients of a backward pass into .grad while a GPU still
exchanges them. So an optimizer can change the other parameters in the meantime.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from typing import Any

from . import Tensor

__all__ = ["Arriving", "arrived_first", "wait_for_all"]

_reading = threading.RLock()  # held while one waits: two threads may read the same gradient
_on_the_way: Any = weakref.WeakValueDictionary()  # by id: a set would compare tensors


class Arriving(Tensor):
    """A tensor that becomes an ordinary one when its array is first read or replaced.

    array   the memory in which its numbers will be
    wait    called before the array is read, again if it has raised an error
    """

    def __init__(self, array: Any, wait: Callable[[], Any]) -> None:
        self.__dict__["_arrival"] = array, wait
        _on_the_way[id(self)] = self

    @property
    def array(self) -> Any:
        with _reading:
            arrival = self.__dict__.get("_arrival")
            if arrival is not None:
                array, wait = arrival
                wait()
                self.array = array
        return self.__dict__["array"]

    @array.setter
    def array(self, value: Any) -> None:
        self.__dict__["array"] = value
        self.__dict__.pop("_arrival", None)
        self.__class__ = Tensor  # type: ignore[assignment]


def arrived_first(tensors: list[Tensor]) -> list[list[Tensor]]:
    """The tensors whose .grad has arrived, then those whose .grad is still exchanged."""
    parts: tuple[list[Tensor], list[Tensor]] = [], []
    for tensor in tensors:
        parts[isinstance(tensor._grad, Arriving)].append(tensor)
    return [part for part in parts if part]


def wait_for_all() -> None:
    """Wait for every gradient that is still exchanged: what begins now could not wait for it."""
    for tensor in list(_on_the_way.values()):
        if isinstance(tensor, Arriving):
            _ = tensor.array
    _on_the_way.clear()
