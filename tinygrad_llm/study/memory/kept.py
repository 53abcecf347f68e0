"""What ops keep for backward: which arrays, how many bytes, and when they are freed."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from time import perf_counter
from typing import Any

from ...arrays.memory import is_array, storage_of
from ...autograd.engine import ENGINE_FIELDS, Op

__all__ = ["Ledger", "kept_arrays"]


def kept_arrays(op: Op) -> Iterator[tuple[str, Any]]:
    """(name, array) of everything that an op keeps: op.saved, then arrays in its own attributes."""
    for i, kept in enumerate(op.saved):
        yield from _inside(f"saved[{i}]", kept, 2)
    for name, value in vars(op).items():
        if name not in ENGINE_FIELDS:
            yield from _inside(name, value, 2)


def _inside(name: str, value: Any, depth: int) -> Iterator[tuple[str, Any]]:
    if is_array(value):
        yield name, value
    elif depth and isinstance(value, tuple | list):
        for i, part in enumerate(value):
            yield from _inside(f"{name}[{i}]", part, depth - 1)
    elif depth and type(value).__module__.startswith("tinygrad_llm") and hasattr(value, "__dict__"):
        for inner, part in vars(value).items():
            yield from _inside(f"{name}.{inner}", part, depth - 1)


class Ledger:
    """The memory that is held for backward over time; what several ops keep counts once.

    Parameters and other leaves that want gradients do not count: they exist anyway.
    """

    def __init__(self) -> None:
        self.start = perf_counter()
        self.now = self.peak = 0  # bytes
        self.times: list[tuple[float, int]] = [(0.0, 0)]  # (seconds, bytes held)
        self._held: dict[int, weakref.ref[Any]] = {}  # by id of a memory owner
        self._open = True

    def add(self, op: Op) -> tuple[int, int]:
        """Enter what an op keeps: (its bytes, and how many of them were not in the ledger yet)."""
        leaves = {id(storage_of(e.target.array)) for e in op.edges if e and e.output is None}
        every = {id(storage_of(a)): storage_of(a) for _, a in kept_arrays(op)}
        total = new = 0
        for key, owner in every.items():
            if key in leaves:
                continue
            total += owner.nbytes
            if key not in self._held:
                self._held[key] = weakref.ref(owner, self._release(key, owner.nbytes))
                new += owner.nbytes
        if new:
            self._change(new)
        return total, new

    def close(self) -> None:
        """Stop recording."""
        self._open = False
        self._held.clear()

    def _release(self, key: int, n: int) -> Any:
        def freed(_: Any) -> None:
            if self._open and self._held.pop(key, None) is not None:
                self._change(-n)

        return freed

    def _change(self, n: int) -> None:
        self.now += n
        self.peak = max(self.peak, self.now)
        self.times.append((perf_counter() - self.start, self.now))
