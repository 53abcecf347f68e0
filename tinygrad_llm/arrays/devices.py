"""The arrays underneath: NumPy on a CPU, CuPy on a GPU, and the few things that differ.

The type of an array is its device. Operators and methods (`a + b`, `a.sum(-1)`, `a @ b`) serve
both, so most code needs nothing from here. Where a function is needed, `xp = xp_of(a)` is the
module that made `a`; where the two libraries differ, there is a function below.
"""

from __future__ import annotations

import importlib
import os
import sys
import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from .capture import refuse_in_capture
from .ids import remember_ids, remember_range
from .memory import is_array
from .meta import is_meta, meta, meta_like, without_numbers

__all__ = [
    "NUMPY_TYPES",
    "asarray",
    "check_gpu",
    "choose_gpu",
    "cupy",
    "current_gpu",
    "device_of",
    "filled_on_gpu",
    "follow",
    "gpu_count",
    "gpus",
    "move",
    "on_first_gpu_use",
    "on_gpu",
    "range_on_gpu",
    "settings",
    "to_numpy",
    "use_gpu",
    "use_gpu_of",
    "xp_of",
]

NUMPY_TYPES = (np.ndarray, np.generic)
_ndarray = np.ndarray

on_first_gpu_use: list[Callable[[], None]] = []  # called once, when CuPy is first used


class gpus:
    """What is known of this machine's GPUs since one was first used."""

    used = False  # whether CuPy has been used in this process
    several = False  # whether there are two or more


class settings:
    """What the user has set for GPUs."""

    tf32 = False  # float32 products with TF32's 10 bits of mantissa, on tensor cores
    gpu_dropout = False  # draw dropout's masks on the GPU, not from the CPU's random stream
    cudnn = os.environ.get("TINYGRAD_LLM_CUDNN", "") != "0"  # attention by cuDNN where it is there
    cudnn_deterministic = True  # and only with its kernels that add in a fixed order
    deterministic = False  # use_deterministic_algorithms
    attention_kernels = dict.fromkeys(("flash", "mem_efficient", "math", "cudnn"), True)


# ------------------------------------------------------------------------------------ devices
def cupy() -> Any:
    """The CuPy module.

    Raises: RuntimeError if it is not installed, or if it finds no driver or no GPU.
    """
    module = sys.modules.get("cupy")
    if module is not None and not on_first_gpu_use:
        return module
    try:
        module = importlib.import_module("cupy")
    except ImportError as error:
        from ..files.packages import install_extra

        raise RuntimeError(
            f"device 'cuda' needs CuPy, which is not installed: {install_extra('gpu-cuda13')} "
            "(or gpu-cuda12); nvidia-smi shows your CUDA version"
        ) from error
    gpus.used, gpus.several = True, gpu_count(module) > 1
    if hasattr(module, "RawModule"):
        while on_first_gpu_use:
            on_first_gpu_use.pop()()
    return module


def gpu_count(module: Any) -> int:
    """The number of GPUs that CuPy sees.

    Raises: RuntimeError if there is none, or no driver.
    """
    try:
        count = int(module.cuda.runtime.getDeviceCount())
    except Exception as error:
        raise RuntimeError(
            f"device 'cuda': CuPy is installed but finds no usable NVIDIA driver or GPU ({error})"
        ) from error
    if count == 0:
        raise RuntimeError("device 'cuda': CuPy is installed, but the driver shows no GPU")
    return count


class _Chosen(threading.local):
    gpu = 0  # the GPU that "cuda" means in this thread


_chosen = _Chosen()


def current_gpu() -> int:
    """The number of the GPU that "cuda" means in this thread."""
    return _chosen.gpu


def choose_gpu(index: int) -> None:
    """Let "cuda" mean this GPU in this thread."""
    _chosen.gpu = index
    use_gpu(index)


def use_gpu(index: int) -> None:
    """Let CuPy work on this GPU from now on; see `follow`."""
    xp = cupy()
    if xp.cuda.Device().id != index:
        xp.cuda.Device(index).use()


def follow(arrays: Any, name: str) -> int | None:
    """Let CuPy work on the GPU that has these arrays: its number, None if none is on a GPU.

    CuPy runs everything on its current GPU, wherever the arrays are. So on a machine with several
    (`gpus.several`) the engine, PyTorch's functions and the optimizers call this before they
    compute; which GPU "cuda" stands for is remembered apart (`choose_gpu`).
    Raises: RuntimeError if the arrays are on different GPUs.
    """
    numbers = {
        int(a.data.device_id) for a in arrays if not isinstance(a, np.ndarray) and is_array(a)
    }
    if len(numbers) > 1:
        raise RuntimeError(
            f"{name}: Expected all tensors to be on the same device, but found "
            f"{', '.join(f'cuda:{i}' for i in sorted(numbers))}: move them with .to(device)"
        )
    for index in numbers:
        use_gpu(index)
        return index
    return None


def use_gpu_of(*values: Any) -> None:
    """On a machine with several GPUs: let CuPy work on the GPU of the first of these that has one.

    values: arrays, tensors, anything else, which is passed over. The engine calls `follow`, which
    also refuses arrays of two GPUs; what is computed outside of ops calls this first.
    """
    if not gpus.several:
        return
    for value in values:
        array = getattr(value, "array", value)
        if not isinstance(array, np.ndarray) and is_array(array):
            use_gpu(int(array.data.device_id))
            return


def check_gpu(index: int) -> int:
    """The index itself.

    Raises: RuntimeError if no GPU has this number.
    """
    count = gpu_count(cupy())
    if not 0 <= index < count:
        raise RuntimeError(f"device 'cuda:{index}' does not exist: this machine has {count} GPU(s)")
    return index


def gpu_to_use(index: int | None) -> int:
    """The index itself, or the current GPU for None.

    Raises: RuntimeError if it does not exist.
    """
    if index is not None:
        return check_gpu(index)
    gpu_count(cupy())
    return current_gpu()


def _from_gpu(array: Any) -> Any:
    """An array of any GPU on the GPU in use: itself, or a copy, for which both GPUs wait."""
    xp = cupy()
    here, there = xp.cuda.Device(), array.device
    if here.id == there.id:
        return array
    refuse_in_capture("a copy of a tensor from one GPU to another")
    with there:
        array = xp.ascontiguousarray(array).reshape(array.shape)  # 0-d stays 0-d
        there.synchronize()
    copy = xp.empty(array.shape, array.dtype)
    copy.data.copy_from_device(array.data, array.nbytes)
    here.synchronize()
    return copy


def xp_of(array: Any) -> Any:
    """The module that made `array`: numpy, or cupy for an array that lives on a GPU."""
    if type(array) is _ndarray or isinstance(array, NUMPY_TYPES):
        return np
    return sys.modules[type(array).__module__.partition(".")[0]]


def on_gpu(arrays: Any) -> bool:
    """Whether one of these is an array on a GPU."""
    return any([hasattr(type(a), "__cuda_array_interface__") for a in arrays])


def device_of(array: Any) -> tuple[str, int]:
    """The array's device: ("cpu", 0), ("cuda", index) or ("meta", 0)."""
    if isinstance(array, NUMPY_TYPES):
        return ("meta", 0) if is_meta(array) else ("cpu", 0)
    return "cuda", int(array.device.id)


def move(array: Any, kind: str, index: int | None = None) -> Any:
    """The array on the given device: itself if it is there already.

    Raises: RuntimeError if there is no such device, NotImplementedError for an array without
    numbers.
    """
    if kind == "meta":
        return array if is_meta(array) else without_numbers(array.shape, array.dtype)
    if is_meta(array):
        raise no_data()
    if kind == "cpu":
        return array if isinstance(array, np.ndarray) else to_numpy(array)
    if kind != "cuda":
        raise RuntimeError(
            f"there is no device {kind!r}: expected 'cpu', 'cuda', 'cuda:0' or 'meta'"
        )
    xp = cupy()
    if isinstance(array, np.ndarray):
        refuse_in_capture("a copy of a tensor from the CPU to the GPU")
    use_gpu(gpu_to_use(index))
    moved = xp.asarray(array) if isinstance(array, NUMPY_TYPES) else _from_gpu(array)
    if moved.dtype.kind in "iu" and isinstance(array, np.ndarray) and array.size:
        remember_ids(moved, array)
    return moved


def no_data() -> NotImplementedError:
    """The error for numbers that an array of the meta device does not have."""
    return NotImplementedError("Cannot copy out of meta tensor; no data!")


def to_numpy(array: Any) -> np.ndarray:
    """The array as a NumPy array: itself if it is one, else a copy from the GPU.

    Raises: NotImplementedError for an array without numbers.
    """
    if isinstance(array, np.ndarray):
        if is_meta(array):
            raise no_data()
        return array
    if isinstance(array, np.generic):
        return np.asarray(array)
    refuse_in_capture("a copy of a tensor to the CPU")
    return array.get()


def asarray(value: Any, like: Any) -> Any:
    """`value` (a scalar from a reduction, a list, an array) as an array on the device of `like`."""
    if meta.used and (is_meta(value) or is_meta(like)):
        return value if is_meta(value) else meta_like(np.asarray(value))
    return np.asarray(value) if isinstance(value, np.generic) else xp_of(like).asarray(value)


def filled_on_gpu(shape: tuple[int, ...], value: Any, dtype: Any, index: int | None) -> Any:
    """An array of one number, made on a GPU."""
    use_gpu(gpu_to_use(index))
    return cupy().full(shape, value, dtype)


def range_on_gpu(first: int, last: int, step: int, dtype: Any, index: int | None) -> Any:
    """arange(first, last, step) of integers, made on a GPU; ids.py remembers its range."""
    use_gpu(gpu_to_use(index))
    numbers = cupy().arange(first, last, step).astype(dtype, copy=False)
    largest = last - 1 if step > 0 else first
    if numbers.size and min(first, last + 1) >= 0 and largest <= np.iinfo(dtype).max:
        remember_range(numbers, set(), largest)
    return numbers
