"""Memory that is kept: freed arrays stay with the process, in huge pages, and serve the next step.

glibc gives large freed blocks back to the system at once, and each page that comes anew has to be
cleared first: at a GPT's shapes that takes a fifth of a training step. Every step wants the
same sizes, so what is kept is used again, and the peak stays the same.
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
_STORE = (1 << 31) - (1 << 22)  # below _LARGEST, or it would be a mapping of its own


@functools.cache
def keep_memory() -> bool:
    """Ask glibc, once, to keep what is freed; whether it does.

    Nothing is asked where MALLOC_TRIM_THRESHOLD_, MALLOC_MMAP_THRESHOLD_ or GLIBC_TUNABLES are set,
    for then somebody has decided, nor with TINYGRAD_LLM_KEEP_MEMORY=0, nor on other systems.
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
    kept = any(mallopt(_MMAP_THRESHOLD, n) for n in (_LARGEST, 1 << 25))  # some want 32 MiB at most
    kept = bool(kept and mallopt(_TRIM_THRESHOLD, _LARGEST))
    if kept:
        _ask_for_huge_pages()
    return kept


def _ask_for_huge_pages() -> None:
    """Let the C library's store grow in huge pages, 2 MiB each: fewer places to look up.

    NumPy asks for them from 4 MiB on, and most activations are smaller: a product that goes down
    their columns then meets another page every few rows. Nothing is taken here, for memory comes
    when it is touched: the store is asked to grow, told of the pages, and given it all back.
    """
    if os.environ.get("NUMPY_MADVISE_HUGEPAGE") == "0":
        return
    libc = ctypes.CDLL(None)
    libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    libc.free.restype, libc.free.argtypes = None, [ctypes.c_void_p]
    libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    start = libc.malloc(_STORE)
    if start:
        first = -(-start // _HUGE_PAGE) * _HUGE_PAGE
        libc.madvise(first, _STORE - _HUGE_PAGE, _MADV_HUGEPAGE)
        libc.free(start)
