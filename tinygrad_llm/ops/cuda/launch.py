"""What all kernels share: compiling, launching, tests of arrays, and the base class Twin."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np

xp: Any = None  # CuPy, from `install` on
several = False  # whether there are several GPUs
KERNELS = Path(__file__).parent / "kernels"
FLOAT32 = np.dtype(np.float32)
SHORT = {FLOAT32: "f32"}  # the dtypes that kernels know, bfloat16 among them if ml_dtypes is there
BF16: Any = None
try:
    import ml_dtypes
except ImportError:
    pass
else:
    BF16 = np.dtype(ml_dtypes.bfloat16)
    SHORT[BF16] = "bf16"


def gpu() -> int:
    """The number of the GPU in use; always 0 on a machine with one."""
    return xp.cuda.runtime.getDevice() if several else 0


@functools.cache
def processors(gpu: int) -> int:
    """How many multiprocessors a GPU has."""
    return xp.cuda.runtime.deviceGetAttribute(16, gpu)  # cudaDevAttrMultiProcessorCount


HEADERS = {"attention": ("tiles.cuh",)}  # what stands before a file of kernels


def kernel(file: str, name: str, *defines: str) -> Any:
    """A kernel of kernels/{file}.cu, compiled with -D for each of `defines`, for the GPU in use."""
    return _kernel(gpu(), file, name, *defines)


@functools.cache
def _kernel(gpu: int, file: str, name: str, *defines: str) -> Any:
    return _module(gpu, file, *defines).get_function(name)


@functools.cache
def _module(gpu: int, file: str, *defines: str) -> Any:
    files = ("common.cuh", *HEADERS.get(file, ()), f"{file}.cu")
    code = "".join((KERNELS / name).read_text(encoding="utf-8") for name in files)
    options = ("--std=c++17", *(f"-D{d}" for d in defines))
    return xp.RawModule(code=code, options=options)


def each_four(name: str, n: int, *args: Any) -> None:
    """Launch a kernel of elementwise.cu on n elements, one thread for each four."""
    if n:
        kernel("elementwise", name)((-(-n // 1024),), (256,), args)


def dense(*arrays: Any) -> bool:
    """Whether each is float32 or bfloat16, in row order, and aligned for loads of four elements."""
    return all(a.dtype in SHORT and a.flags.c_contiguous and a.data.ptr % 16 == 0 for a in arrays)


def float32(*arrays: Any) -> bool:
    """Whether each that is not None is dense float32."""
    return all(a is None or (a.dtype == FLOAT32 and dense(a)) for a in arrays)


def empty(shape: Any, dtype: Any) -> Any:
    """An empty array on the GPU in use."""
    return xp.empty(shape, dtype)


def contiguous(x: Any) -> Any:
    """The array, or a copy: in row order, and aligned for loads of four elements."""
    x = xp.ascontiguousarray(x)
    return x if x.data.ptr % 16 == 0 else x.copy()  # a view that begins anywhere, as of cat's g


def null(x: Any) -> Any:
    """The array, or a null pointer for None."""
    return np.uint64(0) if x is None else x


class Twin:
    """A faster op for the arrays that `takes` accepts; for others it does what the op itself does.

    A subclass defines forward_fast and backward_fast.
    """

    fast = False
    needs: Any
    name: Any

    @classmethod
    def takes(cls, *arrays: Any, **options: Any) -> bool:
        """Whether the kernels serve a call of the op with these inputs and options."""
        return True

    def forward(self, *arrays: Any, **options: Any) -> Any:
        """The kernels' output if they take the call, else the NumPy class's.

        Raises: TypeError if some arrays are on the CPU and others on a GPU.
        """
        try:
            self.fast = self.takes(*arrays, **options)
            if self.fast:
                return self.forward_fast(*arrays, **options)  # type: ignore[attr-defined]
        except AttributeError as error:
            if any(isinstance(a, np.ndarray) for a in arrays):  # it has no GPU pointer
                raise TypeError("an array on the CPU among arrays on a GPU") from error
            raise
        return super().forward(*arrays, **options)  # type: ignore[misc]

    def backward(self, g: Any) -> Any:
        if self.fast:
            return self.backward_fast(g)  # type: ignore[attr-defined]
        return super().backward(g)  # type: ignore[misc]
