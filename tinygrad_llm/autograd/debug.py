"""lock_saved(): catch writes into what backward still needs, even through .numpy().

An in-place method of a tensor is always noticed, by inplace_versions.py. A write into a NumPy array
that shares the tensor's memory is not: NumPy does not report it. Under lock_saved() it fails
where it happens.
"""

from __future__ import annotations

import contextlib
import weakref
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from ..arrays.devices import to_numpy
from ..arrays.memory import is_array, storage_of
from .engine import FREED, Op
from .observing import observing

__all__ = ["lock_saved"]


class _Locks:
    """Which memory is locked, by how many ops, and every saved array's checksum."""

    def __init__(self) -> None:
        self.sums: Any = weakref.WeakKeyDictionary()  # op: checksum of each saved array, or None
        self.users: dict[int, int] = {}  # id of a memory owner: how many ops rely on it
        self.locked: dict[int, list[Any]] = {}  # the same: the arrays that were made read-only
        self.holders: dict[int, weakref.finalize] = {}  # id of an op: what its end releases

    def lock(self, op: Op, inputs: Any, results: Any) -> None:
        """After a forward: lock what it saved, if a gradient is wanted at all."""
        if not any(op.needs):
            return
        arrays = [a for a in op.saved if is_array(a)]
        owners = [storage_of(a) for a in arrays]
        self.sums[op] = [_checksum(a) if is_array(a) else None for a in op.saved]
        for array, owner in zip(arrays, owners, strict=True):
            key = id(owner)
            self.users[key] = self.users.get(key, 0) + 1
            held = self.locked.setdefault(key, [])
            for a in (owner, array):
                if isinstance(a, np.ndarray) and a.flags.writeable:
                    a.flags.writeable = False
                    held.append(a)
        # The owners are kept until the op lets go of them, so that their ids stay theirs.
        holder = weakref.finalize(op, self.release, id(op), owners)
        holder.atexit = False
        self.holders[id(op)] = holder

    def release(self, op_id: int, owners: list[Any]) -> None:
        """One op no longer relies on this memory; unlock what no op relies on any more."""
        self.holders.pop(op_id, None)
        for owner in owners:
            key = id(owner)
            self.users[key] -= 1
            if not self.users[key]:
                del self.users[key]
                for a in self.locked.pop(key):  # the owner first: a view follows its base
                    a.flags.writeable = True

    def check(self, op: Op, g: Any, grads: tuple) -> None:
        """After a backward, before its gradients are delivered.

        Raises: RuntimeError if a saved array is not what forward saved.
        """
        sums = self.sums.get(op)
        if sums is None or op.saved is FREED:
            return
        holder = self.holders.get(id(op))
        if holder is not None:
            holder()
        for i, (array, expected) in enumerate(zip(op.saved, sums, strict=True)):
            if expected is not None and _checksum(array) != expected:
                raise RuntimeError(
                    f"{op.name}: saved[{i}], shape {tuple(array.shape)}, {array.dtype}, was "
                    "changed between forward and backward by a direct write into its memory, such "
                    "as one into an array that .numpy() gave, or a view of it: write into a copy"
                )

    def release_all(self) -> None:
        for holder in list(self.holders.values()):
            holder()


def _checksum(array: Any) -> int:
    return zlib.crc32(np.ascontiguousarray(to_numpy(array)).reshape(-1).view(np.uint8).data)


@contextlib.contextmanager
def lock_saved() -> Iterator[None]:
    """Within it every array that an op saved for backward is read-only until backward passes.

    A write through `.numpy()`, `.array` or an in-place method then raises immediately (ValueError
    from NumPy, RuntimeError from a tensor's method). A write through a view that existed before the
    op, which NumPy allows, is found by a checksum: backward raises a RuntimeError that names the op
    and the array. On a GPU, where arrays cannot be locked, there is only the checksum.

    Memory is unlocked as the backward pass proceeds, when the graph is dropped, and at the end. It
    costs a pass over everything that is saved: use it to find a mistake, not for training.

    >>> with lock_saved():
    ...     loss = model.loss(idx, targets)
    ...     loss.backward()
    """
    locks = _Locks()
    try:
        with observing(locks.lock, locks.check):
            yield
    finally:
        locks.release_all()
