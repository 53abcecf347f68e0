"""Pages of a mapped file that are not needed again: the system takes them back immediately.

Without it a file of weights that was read once stays in the memory of the process beside the
weights, until the system needs the room.
"""

from __future__ import annotations

import mmap

import numpy as np

__all__ = ["drop_pages"]


def drop_pages(part: np.ndarray) -> None:
    """Let the pages of a part of a mapped file go; they are read again if they are needed again.

    part: contiguous, a view of an array over the mapped file; another array is left alone, and so
    is all on a system that has no madvise
    """
    whole = part
    while isinstance(whole.base, np.ndarray):
        whole = whole.base
    mapped = whole.base.obj if isinstance(whole.base, memoryview) else whole.base
    if not isinstance(mapped, mmap.mmap) or not hasattr(mmap, "MADV_DONTNEED") or not part.size:
        return
    begin = int(part.ctypes.data) - int(np.frombuffer(mapped, np.uint8).ctypes.data)
    first = begin // mmap.PAGESIZE * mmap.PAGESIZE
    mapped.madvise(mmap.MADV_DONTNEED, first, begin + part.nbytes - first)
