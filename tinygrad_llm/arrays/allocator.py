"""Memory that is kept: freed arrays stay with the process, in huge pages, for the next step.

glibc returns large freed blocks to the system immediately, and the system has to clear each page
before it hands it out again: at a GPT's shapes that takes a fifth of a training step. Every step
needs the same sizes, so the memory that is kept is used again, and the peak stays the same.
"""

from __future__ import annotations

import ctypes
import functools
import os
import sys

__all__ = ["keep_memory"]

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # mallopt's names for them (malloc.h)
_LARGEST = (1 << 31) - 1
_MADV_HUGEPAGE, _HUGE_PAGE = 14, 1 << 21
_HEAP = (1 << 31) - (1 << 22)  # below _LARGEST, so that it is not mapped separately


@functools.cache
def keep_memory() -> bool:
    """Tell glibc, once, to keep freed memory; returns whether it does.

    Nothing is changed where MALLOC_TRIM_THRESHOLD_, MALLOC_MMAP_THRESHOLD_ or GLIBC_TUNABLES are
    set, because then the user has decided, nor with TINYGRAD_LLM_KEEP_MEMORY=0, nor outside Linux.
    """
    decided = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES")
    if os.environ.get("TINYGRAD_LLM_KEEP_MEMORY") == "0" or any(n in os.environ for n in decided):
        return False
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return False
    kept = any(
        mallopt(_MMAP_THRESHOLD, n) for n in (_LARGEST, 1 << 25)
    )  # 32 MiB: some versions' limit
    kept = bool(kept and mallopt(_TRIM_THRESHOLD, _LARGEST))
    if kept:
        _ask_for_huge_pages()
    return kept


def _ask_for_huge_pages() -> None:
    """Let the C library's heap grow in huge pages, 2 MiB each: fewer address translations.

    NumPy requests them only for arrays from 4 MiB on, and most activations are smaller: a product
    that reads down their columns then needs another page every few rows. This call takes no memory,
    because pages are taken when they are first written: the heap is made to grow, marked for huge
    pages, and freed again.
    """
    if os.environ.get("NUMPY_MADVISE_HUGEPAGE") == "0":
        return
    libc = ctypes.CDLL(None)
    libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    libc.free.restype, libc.free.argtypes = None, [ctypes.c_void_p]
    libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    start = libc.malloc(_HEAP)
    if start:
        first = -(-start // _HUGE_PAGE) * _HUGE_PAGE
        libc.madvise(first, _HEAP - _HUGE_PAGE, _MADV_HUGEPAGE)
        libc.free(start)
