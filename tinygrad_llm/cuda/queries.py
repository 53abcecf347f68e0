"""What programs ask about a GPU: its properties, streams, events, and figures of its memory."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from ..arrays import devices
from ..arrays.availability import is_available, why_not
from ..tensor.device import device as _device

__all__ = [
    "DeviceProperties",
    "Event",
    "Stream",
    "can_device_access_peer",
    "current_stream",
    "default_stream",
    "get_arch_list",
    "get_device_capability",
    "get_device_name",
    "get_device_properties",
    "init",
    "ipc_collect",
    "is_bf16_supported",
    "is_initialized",
    "is_tf32_supported",
    "index_of",
    "stream",
]


def index_of(device: Any) -> int:
    """The number of a GPU given as a number, as "cuda:1", or as None, the current one.

    Raises: ValueError for another kind of device.
    """
    if isinstance(device, int):
        return device
    place = None if device is None else _device(device)
    if place is not None and place.type != "cuda":
        raise ValueError(f"Expected a cuda device, but got: {place}")
    index = None if place is None else place.index
    return devices.current_gpu() if index is None else index


def init() -> None:
    """Begin to use GPUs, which their first use does by itself.

    Raises: RuntimeError that says what is missing if there is none.
    """
    _need_gpu()


def _need_gpu() -> Any:
    if not is_available():
        raise RuntimeError(f"no GPU can be used: {why_not()}")
    return devices.cupy()


def is_initialized() -> bool:
    """Whether a GPU has been used in this process."""
    return devices.gpus.used


class DeviceProperties:
    """What is known of a GPU: name, major, minor, total_memory (bytes), multi_processor_count."""

    def __init__(self, index: int) -> None:
        about = _need_gpu().cuda.runtime.getDeviceProperties(devices.check_gpu(index))
        self.name = about["name"].decode()
        self.major, self.minor = int(about["major"]), int(about["minor"])
        self.total_memory = int(about["totalGlobalMem"])
        self.multi_processor_count = int(about["multiProcessorCount"])
        self.warp_size = int(about["warpSize"])
        self.L2_cache_size = int(about["l2CacheSize"])
        self.max_threads_per_multi_processor = int(about["maxThreadsPerMultiProcessor"])
        self.shared_memory_per_block = int(about["sharedMemPerBlock"])
        self.is_integrated = int(about["integrated"])

    def __repr__(self) -> str:
        return (
            f"_CudaDeviceProperties(name='{self.name}', major={self.major}, minor={self.minor}, "
            f"total_memory={self.total_memory // 2**20}MB, "
            f"multi_processor_count={self.multi_processor_count})"
        )


def get_device_properties(device: Any = None) -> DeviceProperties:
    """A GPU's properties.

    Raises: RuntimeError that says what is missing if there is none.
    """
    return DeviceProperties(index_of(device))


def get_device_name(device: Any = None) -> str:
    """The GPU's name, such as "NVIDIA H100 80GB HBM3".

    Raises: RuntimeError that says what is missing if there is none.
    """
    return get_device_properties(device).name


def get_device_capability(device: Any = None) -> tuple[int, int]:
    """(major, minor) of a GPU's compute capability, such as (9, 0).

    Raises: RuntimeError that says what is missing if there is none.
    """
    about = get_device_properties(device)
    return about.major, about.minor


def is_bf16_supported(including_emulation: bool = True) -> bool:
    """Whether bfloat16 can be used on the GPU; False without one.

    including_emulation=False: whether its units compute in it, from compute capability 8.0 on.
    """
    if not is_available():
        return False
    return including_emulation or get_device_capability()[0] >= 8


def is_tf32_supported() -> bool:
    """Whether the GPU multiplies in TF32, from compute capability 8.0 on; False without one."""
    return is_available() and get_device_capability()[0] >= 8


def get_arch_list() -> list[str]:
    """The architectures that were compiled in: none, kernels are compiled when first used."""
    return []


def can_device_access_peer(device: Any, peer_device: Any) -> bool:
    """Whether a GPU can read the memory of another one.

    Raises: RuntimeError that says what is missing if there is no GPU.
    """
    runtime = _need_gpu().cuda.runtime
    return bool(runtime.deviceCanAccessPeer(index_of(device), index_of(peer_device)))


def ipc_collect() -> None:
    """Free memory that other processes shared: none is shared here."""


# --------------------------------------------------------------------------- streams and events
class Stream:
    """A queue of a GPU's work. Make it current in a block: `with cuda.stream(s):`."""

    def __init__(self, device: Any = None, priority: int = 0, stream: Any = None) -> None:
        cupy = _need_gpu()
        self.device = _device("cuda", index_of(device))
        with cupy.cuda.Device(self.device.index):
            self.queue = cupy.cuda.Stream(non_blocking=True) if stream is None else stream

    @property
    def cuda_stream(self) -> int:
        """The address of CUDA's own object."""
        return int(self.queue.ptr)

    def synchronize(self) -> None:
        """Wait until the queue is empty."""
        self.queue.synchronize()

    def query(self) -> bool:
        """Whether the queue is empty."""
        return bool(self.queue.done)

    def record_event(self, event: Event | None = None) -> Event:
        """Put an event, a new one if none is given, at the end of the queue."""
        event = Event() if event is None else event
        event.record(self)
        return event

    def wait_event(self, event: Event) -> None:
        """Let later work wait for the event."""
        self.queue.wait_event(event.mark)

    def wait_stream(self, stream: Stream) -> None:
        """Let later work wait for what is in another queue now."""
        self.wait_event(stream.record_event())


class Event:
    """A mark in a stream; two of them with enable_timing=True measure a time.

    Raises: RuntimeError that says what is missing if there is no GPU.
    """

    def __init__(
        self, enable_timing: bool = False, blocking: bool = False, interprocess: bool = False
    ) -> None:
        self.mark = _need_gpu().cuda.Event(block=blocking, disable_timing=not enable_timing)

    def record(self, stream: Stream | None = None) -> None:
        """Put the mark at the end of a stream, the current one unless given."""
        self.mark.record(None if stream is None else stream.queue)

    def query(self) -> bool:
        """Whether the work before the mark is done."""
        return bool(self.mark.done)

    def synchronize(self) -> None:
        """Wait until the work before the mark is done."""
        self.mark.synchronize()

    def elapsed_time(self, end_event: Event) -> float:
        """Milliseconds between this mark and another one, both recorded and done."""
        return float(devices.cupy().cuda.get_elapsed_time(self.mark, end_event.mark))


def current_stream(device: Any = None) -> Stream:
    """The stream on which a GPU works now.

    Raises: RuntimeError that says what is missing if there is no GPU.
    """
    return Stream(device, stream=_need_gpu().cuda.get_current_stream())


def default_stream(device: Any = None) -> Stream:
    """The stream on which a GPU works unless another one is chosen.

    Raises: RuntimeError that says what is missing if there is no GPU.
    """
    return Stream(device, stream=_need_gpu().cuda.Stream.null)


@contextlib.contextmanager
def stream(stream: Stream | None) -> Iterator[None]:
    """A block whose work goes to a stream; nothing for None."""
    if stream is None:
        yield
        return
    with stream.queue:
        yield
