"""OpenBLAS, where NumPy runs on it: its number of threads, and where its matrix product lies.

OpenBLAS's threads keep spinning for a while after each product and so take a core from the next
operation. Where this package shares work among the cores itself, it limits OpenBLAS to one thread:
then there is one set of threads, and it sleeps when there is nothing to do.
"""

from __future__ import annotations

import ctypes
import functools
import importlib
import os
import sys
import threading
from collections.abc import Callable
from typing import Any

__all__ = ["FEW", "can_hold", "one_thread", "product", "set_threads"]

FEW = 8192  # numbers whose product with a vector OpenBLAS computes on one thread anyway
# Held while a number of threads is set. A fork waits for it: in the child nobody would release
# OpenBLAS's locks, nor those of a module that another thread imports.
_setting = threading.RLock()


@functools.cache
def _library() -> Any:
    """The file of NumPy that does its products, with the libraries that it links; or None."""
    try:
        return ctypes.CDLL(sys.modules["numpy._core._multiarray_umath"].__file__)
    except (KeyError, OSError):
        return None


@functools.cache
def product(dtype: str) -> tuple[int, int] | None:
    """Where OpenBLAS's C ← αA·B + βC lies (cblas_sgemm, cblas_dgemm), and the bits of its integers.

    dtype: "f" for float32, "d" for float64. None with other libraries than OpenBLAS.
    """
    library = _library() if can_hold() else None
    for prefix, suffix, bits in (("scipy_", "64_", 64), ("scipy_", "", 32), ("", "64_", 64),
                                 ("", "", 32)):  # fmt: skip
        name = f"{prefix}cblas_{'s' if dtype == 'f' else 'd'}gemm{suffix}"
        function = getattr(library, name, None)
        if function is not None:
            return ctypes.cast(function, ctypes.c_void_p).value or 0, bits
    return None


@functools.cache
def _controls() -> tuple[Callable[[], int], Callable[[int], None]] | None:
    """OpenBLAS's functions that get and set its number of threads; None with other libraries."""
    library = _library()
    for name in ("scipy_openblas_{}_num_threads64_", "scipy_openblas_{}_num_threads",
                 "openblas_{}_num_threads64_", "openblas_{}_num_threads"):  # fmt: skip
        try:
            return getattr(library, name.format("get")), getattr(library, name.format("set"))
        except AttributeError:
            continue
    return None


def can_hold() -> bool:
    """Whether the number of threads can be set here: NumPy's own OpenBLAS, on Linux and macOS."""
    return _controls() is not None


class _OneThread:
    """`with one_thread:` limits OpenBLAS to one thread; the last to leave restores the number."""

    def __init__(self) -> None:
        self.inside, self.before = 0, 1

    def __enter__(self) -> None:
        controls = _controls()
        with _setting:
            self.inside += 1
            if self.inside == 1 and controls is not None:
                self.before = controls[0]()
                controls[1](1)

    def __exit__(self, *error: Any) -> None:
        controls = _controls()
        with _setting:
            if not self.inside:
                return  # this thread was inside when it forked, and this is the child
            self.inside -= 1
            if not self.inside and controls is not None:
                controls[1](self.before)

    def forget(self) -> None:
        """In a forked process the threads that were inside do not exist: they leave now."""
        _setting.release()
        if self.inside:
            self.inside = 1
            self.__exit__()

    def set(self, n: int) -> bool:
        """Make n the number of threads, now or when the last has left; False if that cannot be."""
        controls = _controls()
        if controls is None:
            return False
        with _setting:
            if self.inside:
                self.before = n
            else:
                controls[1](n)
        return True


one_thread = _OneThread()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_setting.acquire, after_in_parent=_setting.release, after_in_child=one_thread.forget
    )


def set_threads(n: int) -> bool:
    """Let matrix products use n threads; False where nothing can set that while a program runs.

    NumPy's own OpenBLAS is set directly, others (MKL, BLIS, another OpenBLAS) through threadpoolctl
    where it is installed. Apple's Accelerate knows neither.
    """
    with _setting:
        own = one_thread.set(n)
        try:
            control = importlib.import_module("threadpoolctl").ThreadpoolController()
        except ImportError:
            return own
        libraries = control.select(user_api="blas")
        if not own and len(libraries):
            libraries.limit(limits=n)
        return own or len(libraries) > 0
