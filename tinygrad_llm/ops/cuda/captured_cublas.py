"""cuBLAS within a CUDA graph: CuPy's binding refuses there, so the library is called directly.

Each GPU has a separate handle and workspace for that, which all graphs share: memory that cuBLAS
allocated during a capture would become part of the graph.
"""

from __future__ import annotations

import ctypes
import functools
import sys
from pathlib import Path
from typing import Any

from . import launch

WORKSPACE = 32 << 20  # bytes, what NVIDIA recommends for Hopper


class _CuBLAS:
    """cuBLAS's two products, with the arguments of CuPy's binding."""

    def __init__(self) -> None:
        self.library = load("cublas")
        for name in ("cublasCreate_v2", "cublasSetStream_v2", "cublasSetWorkspace_v2"):
            getattr(self.library, name).restype = ctypes.c_int
        whole, pointer, long = ctypes.c_int, ctypes.c_void_p, ctypes.c_longlong
        matrix = [pointer, whole, whole]  # address, type, step from row to row
        shape = [pointer, *[whole] * 5, pointer]  # handle, turns, sizes, alpha
        self._plain = self.library.cublasGemmEx
        self._plain.argtypes = [*shape, *matrix, *matrix, pointer, *matrix, whole, whole]
        self._batched = self.library.cublasGemmStridedBatchedEx
        some = [*matrix, long]
        self._batched.argtypes = [*shape, *some, *some, pointer, *some, whole, whole, whole]

    def gemmEx(self, *args: Any) -> None:  # noqa: N802  cuBLAS's name
        check("cublasGemmEx", self._plain(*args))

    def gemmStridedBatchedEx(self, *args: Any) -> None:  # noqa: N802
        check("cublasGemmStridedBatchedEx", self._batched(*args))


def check(name: str, status: int) -> None:
    """Raises: RuntimeError if cuBLAS returned a status other than 0."""
    if status:
        raise RuntimeError(f"{name} failed with status {status}")


def load(name: str) -> Any:
    """The library "cublas" or "cublasLt" that CuPy has already loaded: the linker finds it by name.

    Raises: OSError if it is not found.
    """
    from cupy_backends.cuda.libs import cublas

    cublas.getVersion(launch.xp.cuda.get_cublas_handle())  # it is loaded from here on
    version = launch.xp.cuda.runtime.runtimeGetVersion() // 1000
    if sys.platform == "win32":
        return ctypes.CDLL(f"{name}64_{version}.dll")
    try:
        return ctypes.CDLL(f"lib{name}.so.{version}")
    except OSError:
        for line in Path("/proc/self/maps").read_text().splitlines():
            if f"/lib{name}.so" in line:
                return ctypes.CDLL(line[line.index("/") :])
        raise


@functools.lru_cache(maxsize=1)
def _library() -> _CuBLAS:
    return _CuBLAS()


@functools.cache
def _handle(gpu: int) -> tuple[Any, Any]:
    """(handle, its workspace) for a GPU; made before the first capture."""
    handle = ctypes.c_void_p()
    check("cublasCreate", _library().library.cublasCreate_v2(ctypes.byref(handle)))
    memory = launch.xp.empty(WORKSPACE, "int8")
    return handle, memory


def ready_to_capture(stream: Any) -> None:
    """Send this GPU's products to the stream that captures."""
    handle, memory = _handle(int(launch.xp.cuda.Device().id))
    library = _library().library
    check("cublasSetStream", library.cublasSetStream_v2(handle, ctypes.c_void_p(stream.ptr)))
    address, size = ctypes.c_void_p(memory.data.ptr), ctypes.c_size_t(memory.nbytes)
    check("cublasSetWorkspace", library.cublasSetWorkspace_v2(handle, address, size))


def captured_cublas() -> tuple[Any, _CuBLAS]:
    """(handle, cuBLAS) while a graph is captured."""
    return _handle(int(launch.xp.cuda.Device().id))[0], _library()
