"""Attention by cuDNN on Hopper and newer GPUs, for arrays that its kernels serve (Linux).

cuDNN and its Python front end are an extra (`cudnn-cuda12`, `cudnn-cuda13`). They are imported when
the first attention comes that they would serve. If they are absent, too old, or fail, the kernels
of this folder serve instead, and `why_not` says why. A plan is cuDNN's kernel for one call: its
shapes, strides, scale and mask. To make one takes cuDNN up to some seconds, as it compiles.
"""

from __future__ import annotations

import ctypes
import functools
import glob
import importlib
import os
import sys
import threading
from collections import OrderedDict
from importlib.util import find_spec
from typing import Any

from ...arrays.capture import capturing
from ...arrays.devices import settings
from . import launch
from .captured_cublas import load

OLDEST_FRONT_END = (1, 27)  # the backward pass of 1.26 does not fit cuDNN 9.19
OLDEST = 91501  # cuDNN 9.15.1: the backward pass of earlier ones returns NaN on Hopper
MOST_PLANS = 128
MOST_MEMORY = 2 << 30  # bytes of a plan's workspace
TILE = 128  # rows; in part-filled tiles cuDNN's backward pass has returned NaN
_plans: OrderedDict[tuple, Plan | str] = OrderedDict()  # for a call; or why there is none
_lock = threading.RLock()  # a handle has one stream at a time


# ---------------------------------------------------------------------------------- the library
def why_not() -> str:
    """Why cuDNN cannot be used, "" if it can: imports it, if nothing is known yet."""
    return _loaded()[1]


def version() -> int | None:
    """cuDNN's version, 91900 for 9.19.0, or None if it cannot be used."""
    module, why = _loaded()
    return None if why else int(module.backend_version())


@functools.lru_cache(maxsize=1)
def _loaded() -> tuple[Any, str]:
    """(cuDNN's front end, "") or (None, why it cannot be used)."""
    try:
        return _load(), ""
    except Exception as error:  # of any kind: there are other kernels
        return None, str(error) or type(error).__name__


def _load() -> Any:
    """Raises: RuntimeError, ImportError, OSError and others if cuDNN cannot be used."""
    if sys.platform != "linux":
        raise RuntimeError("cuDNN is used on Linux only")
    if find_spec("cudnn") is None:
        raise RuntimeError("nvidia-cudnn-frontend is not installed")
    _open("libcudnn.so.9")  # the front end finds what is loaded, wherever it was
    module = importlib.import_module("cudnn")
    if tuple(map(int, module.__version__.split(".")[:2])) < OLDEST_FRONT_END:
        raise RuntimeError(f"cuDNN's front end {module.__version__} is older than 1.27")
    if int(module.backend_version()) < OLDEST:
        raise RuntimeError(f"cuDNN {module.backend_version_string()} is older than 9.15.1")
    library = _open("libcudnn.so.9")
    library.cudnnGetCudartVersion.restype = ctypes.c_size_t
    needed = library.cudnnGetCudartVersion() // 1000
    cuda = launch.xp.cuda.runtime.runtimeGetVersion() // 1000
    if needed != cuda:
        raise RuntimeError(f"cuDNN is for CUDA {needed}, and CuPy for CUDA {cuda}")
    load("cublas")
    for name in ("cublasLt", "cudart", "nvrtc"):  # it looks for them by name too; without cuBLAS
        _open(f"lib{name}.so.{cuda}")  # it would end the process
    return module


def _open(name: str) -> Any:
    """A library of NVIDIA: the loaded one, that of an installed package, or the system's.

    Raises: OSError if there is none.
    """
    try:
        return ctypes.CDLL(name, mode=os.RTLD_NOLOAD | ctypes.DEFAULT_MODE)
    except OSError:
        spec = find_spec("nvidia")
    for folder in (spec.submodule_search_locations if spec else None) or ():
        for path in sorted(glob.glob(os.path.join(folder, "*", "lib", name))):
            return ctypes.CDLL(path)
    return ctypes.CDLL(name)


@functools.cache
def _capability(gpu: int) -> int:
    """90 for compute capability 9.0."""
    return int(launch.xp.cuda.Device(gpu).compute_capability)


@functools.cache
def _handle(gpu: int) -> Any:
    """cuDNN's handle for the GPU in use."""
    return _loaded()[0].create_handle()


# ---------------------------------------------------------------------------------------- plans
class Plan:
    """A graph of cuDNN for arrays of some shapes and strides: a forward or a backward pass."""

    def __init__(
        self, gpu: int, arrays: tuple, backward: bool, causal: bool, scale: float, ordered: bool
    ) -> None:
        cudnn = _loaded()[0]
        short, full = cudnn.data_type.BFLOAT16, cudnn.data_type.FLOAT
        self.graph = cudnn.pygraph(
            io_data_type=short, intermediate_data_type=full, compute_data_type=full,
            handle=_handle(gpu), sm_version=_capability(gpu),
        )  # fmt: skip
        names = ("q", "k", "v", "o", "dO", "stats") if backward else ("q", "k", "v")
        inputs = {
            name: self.graph.tensor(
                name=name, dim=shape, stride=strides, uid=uid,
                data_type=full if name == "stats" else short,
            )
            for uid, (name, (shape, strides)) in enumerate(zip(names, arrays, strict=False), 1)
        }  # fmt: skip
        options: dict[str, Any] = {"attn_scale": scale, "use_causal_mask": causal}
        if backward:
            results = self.graph.sdpa_backward(
                **inputs, **options, use_deterministic_algorithm=ordered
            )
        else:
            results = self.graph.sdpa(**inputs, **options, generate_stats=True)
        for uid, (result, (shape, strides)) in enumerate(
            zip(results, arrays[len(names) :], strict=True), len(names) + 1
        ):
            is_stats = not backward and uid == 5
            result.set_output(True).set_uid(uid).set_dim(list(shape)).set_stride(list(strides))
            result.set_data_type(full if is_stats else short)
        self.graph.build([cudnn.heur_mode.A, cudnn.heur_mode.FALLBACK])
        self.workspace = int(self.graph.get_workspace_size())
        if self.workspace > MOST_MEMORY:
            raise MemoryError(f"cuDNN's workspace is {self.workspace} bytes")

    def run(self, gpu: int, arrays: tuple) -> None:
        """Launch it on the handle's stream.

        Raises: MemoryError if its workspace cannot be allocated.
        """
        memory = launch.empty(max(1, self.workspace), "uint8")
        pointers = {uid: int(a.data.ptr) for uid, a in enumerate(arrays, 1)}
        self.graph.execute(pointers, int(memory.data.ptr), handle=_handle(gpu))


def _described(x: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """(shape, strides in elements) of four dimensions; log_sum (B, H, L) gets one of size 1."""
    shape = x.shape
    if x.ndim == 3:
        return (*shape, 1), (shape[1] * shape[2], shape[2], 1, 1)
    strides = [s // x.itemsize for s in x.strides]
    end = max(n * s for n, s in zip(shape, strides, strict=True))
    return shape, tuple(s if s > 0 else end for s in strides)  # 0: a dimension of size 1


def _run(arrays: tuple, *options: Any) -> bool:
    """Run the plan for these arrays, the inputs first: whether there is one."""
    gpu = launch.gpu()
    described = tuple(map(_described, arrays))
    key = gpu, described, *options
    with _lock:
        plan = _plans.get(key)
        if isinstance(plan, str) or (plan is None and capturing.graph is not None):
            return False  # a plan is not made in a capture
        done = False
        try:  # the stream first: that of an earlier call may be gone
            _loaded()[0].set_stream(_handle(gpu), launch.xp.cuda.get_current_stream().ptr)
            if plan is None:
                plan = Plan(gpu, described, *options)
            plan.run(gpu, arrays)
            done = True
        except MemoryError as error:  # CuPy's too; a plan that was made is kept for a later call
            plan = plan or str(error)
        except Exception as error:  # cuDNN's and CuPy's errors have no common class
            plan = str(error) or type(error).__name__
        _plans[key] = plan
        _plans.move_to_end(key)
        if len(_plans) > MOST_PLANS:
            _plans.popitem(last=False)
        if done and capturing.graph is not None:
            capturing.graph.keep.append(plan)  # its kernels must stay loaded
        return done


# ------------------------------------------------------------------------------------ attention
def serves(q: Any, k: Any, causal: bool, scale: float) -> bool:
    """Whether cuDNN is allowed and its kernels take these queries and keys (B, H, T, D).

    They are bfloat16, of whole tiles of rows, on Hopper or newer. cuDNN subtracts the largest of
    the scores before they are scaled: with a negative scale it returned NaN on an H200.
    """
    return (
        scale > 0.0 and
        settings.cudnn and settings.attention_kernels["cudnn"]
        and q.dtype == launch.BF16
        and q.shape[2] % TILE == 0 and k.shape[2] % TILE == 0
        and (q.shape[2] == k.shape[2] or not causal)
        and _capability(launch.gpu()) >= 90
        and (capturing.graph is None or _loaded.cache_info().currsize > 0)
        and not why_not()
    )  # fmt: skip


def ascending(x: Any) -> Any:
    """x itself, or a copy if it repeats numbers (an expanded array) or has them in reverse."""
    repeats = any(s <= 0 for n, s in zip(x.shape, x.strides, strict=True) if n > 1)
    return launch.contiguous(x) if repeats else x


def forward(q: Any, k: Any, v: Any, y: Any, log_sum: Any, causal: bool, scale: float) -> bool:
    """Write y and log_sum, the logarithm of each row's sum of exp: whether it was done."""
    return serves(q, k, causal, scale) and _run(
        (*map(ascending, (q, k, v)), y, log_sum), False, causal, scale, False
    )


def backward(
    q: Any, k: Any, v: Any, y: Any, g: Any, log_sum: Any, grads: tuple, causal: bool, scale: float
) -> bool:
    """Write the gradients of q, k and v: whether it was done."""
    return serves(q, k, causal, scale) and _run(
        (*map(ascending, (q, k, v)), y, ascending(g), log_sum, *grads),
        True, causal, scale, settings.deterministic or settings.cudnn_deterministic,
    )  # fmt: skip
