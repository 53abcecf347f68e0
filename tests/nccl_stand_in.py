"""Stand-ins for CuPy's streams, events and NCCL between processes, on a machine without a GPU.

The arrays are those of strict_array.py. A call of NCCL immediately publishes what it sends, in a
folder that the unique id names. What it receives is written when something waits for the stream
that it was put on: code that does not wait reads old numbers. `install()` puts all of it in
sys.modules.
"""

from __future__ import annotations

import ctypes
import os
import sys
import tempfile
import time
import types
from pathlib import Path
from typing import Any

import numpy as np
import strict_array
from ml_dtypes import bfloat16

DTYPES = [np.int8, np.uint8, np.int32, np.uint32, np.int64, np.uint64, np.float16, np.float32,
          np.float64, bfloat16]  # fmt: skip
OPS = [np.add, np.multiply, np.maximum, np.minimum, np.add]
LIMIT = 20.0  # seconds to wait for another process
log: list[tuple[str, ...]] = []  # what was called, for tests


class NcclError(RuntimeError):
    """As cupy.cuda.nccl.NcclError."""


class Stream:
    """Calls that run, in order, when something waits for them."""

    def __init__(self, non_blocking: bool = False) -> None:
        self.waiting: list[Any] = []
        self.ptr = id(self)
        _streams[self.ptr] = self

    def run(self, count: int) -> None:
        while self.waiting and count:
            self.waiting[0]()
            self.waiting.pop(0)
            count -= 1

    def synchronize(self) -> None:
        self.run(len(self.waiting))

    def __enter__(self) -> Stream:
        global _current
        self.before, _current = _current, self
        return self

    def __exit__(self, *exc: Any) -> None:
        global _current
        _current = self.before

    def record(self) -> Event:
        event = Event()
        event.record(self)
        return event

    def wait_event(self, event: Event) -> None:
        log.append(("wait", "current" if self is _current else "other"))
        event.synchronize()


class Event:
    """The end of what a stream had to do when it was recorded."""

    def __init__(self, block: bool = False, disable_timing: bool = False) -> None:
        self.stream: Any = None

    def record(self, stream: Any) -> None:
        self.stream, self.calls = stream, list(stream.waiting)

    @property
    def done(self) -> bool:
        return not any(call in self.stream.waiting for call in self.calls)

    def synchronize(self) -> None:
        while not self.done:
            self.stream.run(1)


_streams: dict[int, Stream] = {}
_current = Stream()
_grouped: list[Any] | None = None


def memory(pointer: int, count: int, kind: int) -> np.ndarray:
    dtype = np.dtype(DTYPES[kind])
    raw = (ctypes.c_char * (count * dtype.itemsize)).from_address(pointer)
    return np.frombuffer(raw, dtype)


class NcclCommunicator:
    """As cupy.cuda.nccl.NcclCommunicator, over files."""

    def __init__(self, size: int, unique_id: bytes, rank: int) -> None:
        assert type(unique_id) is bytes and len(unique_id) == 128
        self.folder, self.number, self.rank, self.n = (
            Path(unique_id.rstrip(b"\0").decode()),
            0,
            rank,
            size,
        )
        self.messages: dict[tuple[int, int, bool], int] = {}
        self.aborted = False

    def _publish(self, name: str, data: np.ndarray) -> None:
        path = self.folder / f"{name}.{self.rank}.part"
        path.write_bytes(data.tobytes())
        path.rename(self.folder / name)

    def _read(self, name: str, dtype: Any) -> np.ndarray:
        until = time.monotonic() + LIMIT
        while not (self.folder / name).exists():
            if self.aborted or time.monotonic() > until:
                raise NcclError(f"no {name}")
            time.sleep(1e-4)
        return np.frombuffer((self.folder / name).read_bytes(), dtype)

    def _put(self, stream: int, call: Any) -> None:
        target = _streams[stream]
        if target is _current:
            call()
        else:
            target.waiting.append(call)

    def _collective(self, name: str, out: np.ndarray, stream: int, finish: Any) -> None:
        """finish(every rank's array)"""
        log.append((name, "current" if _streams[stream] is _current else "other"))
        self.number += 1
        number, dtype = self.number, out.dtype
        self._publish(f"{number}-{name}-{out.size}-{self.rank}", out)

        def call() -> None:
            finish([self._read(f"{number}-{name}-{out.size}-{r}", dtype) for r in range(self.n)])

        self._put(stream, call)

    def allReduce(self, send, receive, count, kind, op, stream):  # noqa: N802
        into = memory(receive, count, kind)

        def finish(arrays):
            into[...] = self._reduced(arrays, op)

        self._collective(f"all_reduce{op}", memory(send, count, kind).copy(), stream, finish)

    def _reduced(self, arrays, op):
        assert arrays[0].dtype.itemsize != 2, "half precisions are not added in half precision"
        total = arrays[0].copy()
        for array in arrays[1:]:
            OPS[op](total, array, out=total)
        return total / self.n if op == 4 else total

    def reduceScatter(self, send, receive, count, kind, op, stream):  # noqa: N802
        into, first = memory(receive, count, kind), self.rank * count

        def finish(arrays):
            into[...] = self._reduced(arrays, op)[first : first + count]

        out = memory(send, count * self.n, kind).copy()
        self._collective(f"reduce_scatter{op}", out, stream, finish)

    def reduce(self, send, receive, count, kind, op, root, stream):
        into = memory(receive, count, kind)

        def finish(arrays):
            if self.rank == root:
                into[...] = self._reduced(arrays, op)

        self._collective(f"reduce{op}to{root}", memory(send, count, kind).copy(), stream, finish)

    def allGather(self, send, receive, count, kind, stream):  # noqa: N802
        into = memory(receive, count * self.n, kind)

        def finish(arrays):
            into[...] = np.concatenate(arrays)

        self._collective("all_gather", memory(send, count, kind).copy(), stream, finish)

    def broadcast(self, send, receive, count, kind, root, stream):
        into = memory(receive, count, kind)

        def finish(arrays):
            into[...] = arrays[root]

        self._collective(f"broadcast{root}", memory(send, count, kind).copy(), stream, finish)

    def _next(self, source: int, to: int, sending: bool) -> str:
        key = source, to, sending
        self.messages[key] = self.messages.get(key, 0) + 1
        return f"message-{source}-{to}-{self.messages[key]}"

    def send(self, buffer, count, kind, to, stream):
        log.append(("send", "other"))
        self._publish(self._next(self.rank, to, True), memory(buffer, count, kind))

    def recv(self, buffer, count, kind, source, stream):
        log.append(("recv", "other"))
        into, name = memory(buffer, count, kind), self._next(source, self.rank, False)

        def call():
            into[...] = self._read(name, into.dtype)

        self._put(stream, call)

    def check_async_error(self):
        if self.aborted:
            raise NcclError("aborted")

    def abort(self):
        self.aborted = True

    def destroy(self):
        self.folder = Path("destroyed")


def get_unique_id() -> bytes:
    return tempfile.mkdtemp(prefix="nccl_stand_in_").encode().ljust(128, b"\0")


def install(gpus: int = 1) -> None:
    """Put the stand-ins into sys.modules; gpus: how many this machine seems to have."""
    for name, module in strict_array.stand_in().items():
        sys.modules[name] = module
    nccl: Any = types.ModuleType("cupy.cuda.nccl")
    nccl.available, nccl.NcclCommunicator, nccl.NcclError = True, NcclCommunicator, NcclError
    nccl.get_unique_id, nccl.get_version = get_unique_id, lambda: 22809
    nccl.groupStart = lambda: log.append(("group",))
    nccl.groupEnd = lambda: log.append(("end",))
    sys.modules["cupy.cuda.nccl"] = nccl
    cuda = strict_array.cuda
    cuda.nccl, cuda.Stream, cuda.Event = nccl, Stream, Event
    cuda.get_current_stream = lambda: _current
    cuda.runtime.getDeviceCount = lambda: gpus
    strict_array.Device.use = lambda self: None  # type: ignore[attr-defined]
    cuda.runtime.deviceGetPCIBusId = lambda index: os.environ.get("BUS", str(os.getpid()))
    import importlib.machinery

    strict_array.__spec__ = importlib.machinery.ModuleSpec("cupy", None)
