"""GPUs, with PyTorch's names: is_available, device_count, synchronize, memory figures.

queries.py  properties, streams and events
graphs.py   CUDA graphs: a training step as one launch
nvtx.py     named ranges for NVIDIA's profilers

With several GPUs each op runs on the GPU of its tensors (see `follow` in arrays/devices.py).
"""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Iterator
from typing import Any

from ..arrays import devices
from ..arrays.availability import is_available, why_not
from ..functions.random import get_rng_state as _get_rng_state
from ..functions.random import initial_seed
from ..tensor import Tensor
from ..tensor.missing_names import missing
from . import graphs
from .graphs import CUDAGraph, graph, graphed, is_current_stream_capturing
from .queries import (
    DeviceProperties,
    Event,
    Stream,
    can_device_access_peer,
    current_stream,
    default_stream,
    get_arch_list,
    get_device_capability,
    get_device_name,
    get_device_properties,
    init,
    ipc_collect,
    is_bf16_supported,
    is_initialized,
    is_tf32_supported,
    stream,
)
from .queries import index_of as _index

__all__ = [
    "CUDAGraph",
    "DeviceProperties",
    "Event",
    "OutOfMemoryError",
    "Stream",
    "can_device_access_peer",
    "current_device",
    "current_stream",
    "default_stream",
    "device",
    "device_count",
    "empty_cache",
    "fast_dropout",
    "get_arch_list",
    "get_device_capability",
    "get_device_name",
    "get_device_properties",
    "get_rng_state",
    "get_rng_state_all",
    "graph",
    "graphed",
    "init",
    "initial_seed",
    "ipc_collect",
    "is_available",
    "is_bf16_supported",
    "is_current_stream_capturing",
    "is_initialized",
    "is_tf32_supported",
    "manual_seed",
    "manual_seed_all",
    "max_memory_allocated",
    "max_memory_cached",
    "max_memory_reserved",
    "mem_get_info",
    "memory_allocated",
    "memory_cached",
    "memory_reserved",
    "memory_stats",
    "memory_summary",
    "reset_accumulated_memory_stats",
    "reset_max_memory_allocated",
    "reset_max_memory_cached",
    "reset_peak_memory_stats",
    "seed",
    "seed_all",
    "set_device",
    "set_rng_state",
    "set_rng_state_all",
    "stream",
    "synchronize",
    "why_not",
]


OutOfMemoryError = MemoryError  # raised if a GPU has no memory left: CuPy's is a subclass of it


def device_count() -> int:
    """The number of GPUs; 0 without CuPy or a driver."""
    return int(devices.cupy().cuda.runtime.getDeviceCount()) if is_available() else 0


def current_device() -> int:
    """The number of the GPU that "cuda" stands for: 0, or the one that set_device() chose."""
    devices.cupy()
    return devices.current_gpu()


def set_device(device: Any) -> None:
    """Make "cuda" stand for this GPU, a number or "cuda:1".

    Raises: RuntimeError without one.
    """
    devices.choose_gpu(devices.check_gpu(_index(device)))


class device:
    """In a block `with cuda.device(1):` "cuda" stands for that GPU, a number or "cuda:1"."""

    def __init__(self, device: Any) -> None:
        self.index = _index(device)
        self.before: list[int] = []

    def __enter__(self) -> device:
        self.before.append(current_device())
        set_device(self.index)
        return self

    def __exit__(self, *exc: Any) -> None:
        set_device(self.before.pop())


def synchronize(device: Any = None) -> None:
    """Wait until the GPU has finished all its work; return immediately if there is no GPU."""
    if is_available():
        with _on(device) as cupy:
            cupy.cuda.Device().synchronize()


@contextlib.contextmanager
def _on(device: Any) -> Iterator[Any]:
    """CuPy, with a GPU as its current one."""
    cupy: Any = devices.cupy()
    index = _index(device)
    with cupy.cuda.Device(index if device is None else devices.check_gpu(index)):
        yield cupy


def memory_allocated(device: Any = None) -> int:
    """Bytes in use by arrays on the GPU; all memory of CUDA graphs counts as in use."""
    if not is_available():
        return 0
    with _on(device) as cupy:
        return int(cupy.get_default_memory_pool().used_bytes()) + graphs.reserved()


def memory_reserved(device: Any = None) -> int:
    """Bytes that the memory pools hold, in use or not."""
    if not is_available():
        return 0
    with _on(device) as cupy:
        return int(cupy.get_default_memory_pool().total_bytes()) + graphs.reserved()


_peak: list[Any] = []  # the hook that watches allocations, after the first call that needs it


def _watch() -> Any:
    """A CuPy memory hook that remembers the most bytes in use; it stays installed."""
    cupy: Any = devices.cupy()
    pool = cupy.get_default_memory_pool()

    class Peak(cupy.cuda.MemoryHook):
        name = "tinygrad_llm peak"

        def __init__(self) -> None:
            self.most: dict[int, int] = {}  # by GPU

        def malloc_postprocess(self, **about: Any) -> None:
            gpu, used = about["device_id"], pool.used_bytes() + graphs.reserved()
            self.most[gpu] = max(self.most.get(gpu, 0), used)

    hook = Peak()
    hook.__enter__()
    return hook


def max_memory_allocated(device: Any = None) -> int:
    """The most bytes in use at one time since reset_peak_memory_stats(); before that call, the
    bytes that the pool holds, which are at least as many."""
    if not _peak:
        return memory_reserved(device)
    return max(_peak[0].most.get(_index(device), 0), memory_allocated(device))


def max_memory_reserved(device: Any = None) -> int:
    """Bytes that the memory pool holds: it keeps all of its memory until empty_cache()."""
    return memory_reserved(device)


def reset_peak_memory_stats(device: Any = None) -> None:
    """Start to count max_memory_allocated again. From the first call on, every allocation is a
    little slower."""
    if is_available():
        if not _peak:
            _peak.append(_watch())
        _peak[0].most[_index(device)] = memory_allocated(device)


def memory_stats(device: Any = None) -> dict[str, int]:
    """Figures of the memory pool under PyTorch's names; empty without a GPU."""
    if not is_available():
        return {}
    return {
        "allocated_bytes.all.current": memory_allocated(device),
        "allocated_bytes.all.peak": max_memory_allocated(device),
        "reserved_bytes.all.current": memory_reserved(device),
        "reserved_bytes.all.peak": max_memory_reserved(device),
    }


def memory_summary(device: Any = None, abbreviated: bool = False) -> str:
    """memory_stats as text, one figure per line."""
    return "\n".join(f"{name}: {n:,}" for name, n in memory_stats(device).items())


def reset_accumulated_memory_stats(device: Any = None) -> None:
    """Forget counts of past allocations: none are kept."""


def mem_get_info(device: Any = None) -> tuple[int, int]:
    """(free, total) bytes of GPU memory."""
    with _on(device) as cupy:
        free, total = cupy.cuda.runtime.memGetInfo()
    return int(free), int(total)


def empty_cache() -> None:
    """Return the pool's unused memory to the driver, on every GPU."""
    if is_available():
        cupy = devices.cupy()
        for index in range(device_count()):
            with cupy.cuda.Device(index):
                cupy.get_default_memory_pool().free_all_blocks()


def fast_dropout(enabled: bool = True) -> None:
    """Make dropout on a GPU draw its masks there (Philox, seeded by manual_seed), much faster.

    Without it the same seed gives the same masks as on the CPU, which are PyTorch's there: they are
    drawn on the CPU and copied to the GPU.
    """
    devices.settings.gpu_dropout = enabled


def manual_seed(seed: int) -> None:
    """Does nothing: random numbers on a GPU come from the CPU's stream, which
    tinygrad_llm.manual_seed seeds."""


manual_seed_all = manual_seed


def seed() -> None:
    """Does nothing, see manual_seed."""


seed_all = seed


def get_rng_state(device: Any = None) -> Tensor:
    """The CPU's state, from which random numbers on a GPU come too."""
    return _get_rng_state()


def get_rng_state_all() -> list[Tensor]:
    """The CPU's state for each GPU; empty without one."""
    return [_get_rng_state() for _ in range(device_count())]


def set_rng_state(new_state: Any, device: Any = None) -> None:
    """Does nothing: tinygrad_llm.set_rng_state sets the stream from which all numbers come."""


def set_rng_state_all(new_states: Any) -> None:
    """Does nothing, see set_rng_state."""


# Older names.
memory_cached, max_memory_cached = memory_reserved, max_memory_reserved
reset_max_memory_allocated = reset_max_memory_cached = reset_peak_memory_stats


def __getattr__(name: str) -> object:
    if name in ("amp", "nvtx"):  # imported when first used, because amp needs the functions
        return importlib.import_module(f"{__name__}.{name}")
    if name.endswith("Tensor"):
        typed = importlib.import_module("tinygrad_llm.functions.creation.typed")
        if name in typed.NAMES:
            return typed.typed_tensor(name, "cuda")
    raise missing(__name__, name, __all__)
