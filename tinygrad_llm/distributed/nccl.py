"""The transport over NCCL: arrays on GPUs, one process per GPU, on a separate stream.

A call is put on the communication stream, behind what the current stream has to do at that moment,
and the process continues. The request's `join()` lets the current stream wait for it; the process
itself does not wait. Arrays that a call reads or writes are kept until it has ended, so that their
memory is not used for something else. While a CUDA graph is captured a call belongs to the graph.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any

import numpy as np

from ..arrays.capture import capturing
from ..arrays.devices import cupy, use_gpu
from ..arrays.memory import address
from .errors import DistBackendError
from .nccl_library import end_communicator, nccl_module
from .nccl_watch import END_LIMIT, say, watchdog
from .reductions import ReduceOp, divided
from .traffic import Exchange

__all__ = ["Launched", "NCCLTransport", "native"]

# NCCL's numbers of dtypes and of reductions
_DTYPES = {
    "int8": 0, "uint8": 1, "bool": 1, "int32": 2, "uint32": 3, "int64": 4, "uint64": 5,
    "float16": 6, "float32": 7, "float64": 8, "bfloat16": 9,
}  # fmt: skip
_OPS = {ReduceOp.SUM: 0, ReduceOp.PRODUCT: 1, ReduceOp.MAX: 2, ReduceOp.MIN: 3, ReduceOp.AVG: 4}
_OF_BOOL = {ReduceOp.SUM: ReduceOp.MAX, ReduceOp.PRODUCT: ReduceOp.MIN}  # or, and


def native(dtype: np.dtype, op: ReduceOp) -> bool:
    """Whether NCCL reduces numbers of this dtype itself, without rounding in between."""
    half = dtype.itemsize == 2 and dtype.kind in "fV"
    return dtype.name in _DTYPES and op in _OPS and not half


class Launched:
    """A call that was put on a stream.

    event     after it on the communication stream; None for one that is part of the current stream
    arrays    what it reads and writes
    last      whether nothing else of the same collective is launched after it
    """

    def __init__(self, event: Any, arrays: Any, last: bool = True) -> None:
        self.event, self.arrays, self.last = event, arrays, last
        self.length = -1  # of a message: NCCL knows no other than what was asked for

    def done(self) -> bool:
        """Whether it has ended on the GPU."""
        if self.event is not None and not self.event.done:
            return False
        self.arrays = None
        return True

    def join(self) -> None:
        """Let the current stream wait until it has ended."""
        if self.event is not None:
            cupy().cuda.get_current_stream().wait_event(self.event)
            self.arrays = None  # what is put on this stream from here on may use their memory


class NCCLTransport:
    """Arrays between the ranks of a group, each with its GPU.

    rank, size   this rank and the number of ranks
    gpu          the number of this rank's GPU
    unique_id    NCCL's, equal on all ranks; they all make the transport at the same time
    """

    def __init__(self, rank: int, size: int, gpu: int, unique_id: Any) -> None:
        self.rank, self.size, self.gpu = rank, size, gpu
        self._nccl = nccl_module()
        xp = cupy()
        use_gpu(gpu)
        try:
            self.comm = self._nccl.NcclCommunicator(size, unique_id, rank)
        except Exception as error:
            raise DistBackendError(f"NCCL on rank {rank}, GPU {gpu}: {error}") from error
        self.stream = xp.cuda.Stream(non_blocking=True)
        self._kept: list[Launched] = []  # calls that may not have ended
        self._captures: Any = weakref.WeakSet()  # of CUDA graphs in which calls are captured
        self._batch: list[Any] | None = None  # the arrays of calls that are launched together
        self.what = ""  # the collective that is launched now, for messages
        self.exchange: Exchange | None = None  # where it is noted, if somebody watches
        self.in_order = False  # on the current stream, without another one beside it

    @property
    def batched(self) -> bool:
        """Whether calls are collected for one launch."""
        return self._batch is not None

    def _note(self, kind: str, counts: Sequence[int]) -> None:
        if self.exchange is not None:
            self.exchange.note(kind, counts)

    # ------------------------------------------------------------------------------- launching
    def _launch(self, call: Callable[[int], None], arrays: Sequence[Any], last: bool) -> Launched:
        """Put call(stream) behind what the current stream has to do."""
        xp = cupy()
        use_gpu(self.gpu)
        if self._batch is not None:
            self._batch.extend(arrays)
            call(self.stream.ptr)
            return Launched(None, None, last)
        current = xp.cuda.get_current_stream()
        captured = capturing.graph
        if self.in_order:
            self._call(call, current.ptr)
            event = None
        else:
            self.stream.wait_event(_recorded(current))
            self._call(call, self.stream.ptr)
            event = _recorded(self.stream)
        made = Launched(event, list(arrays), last)
        if captured is not None:
            self._captures.add(captured)
            watchdog.watch_replays(self, captured, self.what)
        else:
            self._keep(made if event else Launched(_recorded(current), None))
        return made

    def _keep(self, made: Launched) -> None:
        """Keep what a call uses until it has ended, and let the watchdog see it."""
        while self._kept and self._kept[0].done():
            self._kept.pop(0)
        self._kept.append(made)
        watchdog.watch(self, made.event, self.what)

    def _call(self, call: Callable[[int], None], stream: int) -> None:
        try:
            call(stream)
        except self._nccl.NcclError as error:
            raise DistBackendError(f"NCCL in {self.what} on rank {self.rank}: {error}") from error

    def together(self, start: Callable[[], Any], last: bool = True) -> Launched:
        """The calls that start() makes, as one launch: none of them waits for another."""
        arrays: list[Any] = []

        def call(stream: int) -> None:
            self._nccl.groupStart()
            self._batch = arrays
            ours, self.stream = self.stream, _At(stream)
            try:
                start()
            finally:
                self._batch, self.stream = None, ours
                self._nccl.groupEnd()

        made = self._launch(call, (), last)
        made.arrays = arrays
        return made

    # --------------------------------------------------------------- the operations, in bytes
    def broadcast(self, array: Any, root: int) -> Launched:
        """ncclBroadcast in place."""
        self._note("broadcast", [array.nbytes if root == self.rank else 0] * self.size)
        at, n = address(array), array.size
        return self._bytes(lambda s: self.comm.broadcast(at, at, n, 1, root, s), n, array)

    def all_gather(self, mine: Any, everyones: Any, counts: Sequence[int]) -> Launched:
        """ncclAllGather; where the ranks have different lengths, a broadcast of each."""
        if len(set(counts)) == 1:
            self._note("all_gather", [mine.nbytes] * self.size)
            to, at, n = address(everyones), address(mine), mine.size
            call = lambda s: self.comm.allGather(at, to, n, 1, s)  # noqa: E731
            return self._bytes(call, n, mine, everyones)
        places = [0, *accumulate(counts)]
        own = everyones[places[self.rank] : places[self.rank + 1]]
        if address(own) != address(mine):
            own[...] = mine

        def each() -> None:
            for root in range(self.size):
                self.broadcast(everyones[places[root] : places[root + 1]], root)

        return self.together(each)

    def gather(self, mine: Any, everyones: Any, counts: Sequence[int], root: int) -> Launched:
        """A message from each rank to root."""
        into = list(counts) if self.rank == root else [0] * self.size
        out = [mine.size if r == root else 0 for r in range(self.size)]
        return self.all_to_all(mine, out, everyones, into)

    def scatter(self, everyones: Any, counts: Sequence[int], mine: Any, root: int) -> Launched:
        """A message from root to each rank."""
        out = list(counts) if self.rank == root else [0] * self.size
        into = [mine.size if r == root else 0 for r in range(self.size)]
        return self.all_to_all(everyones, out, mine, into)

    def all_to_all(
        self, out: Any, out_counts: Sequence[int], into: Any, into_counts: Sequence[int]
    ) -> Launched:
        """Messages between all pairs of ranks, in one launch."""
        starts, ends = [0, *accumulate(out_counts)], [0, *accumulate(into_counts)]

        def each() -> None:
            for r in range(self.size):
                self.send(out[starts[r] : starts[r + 1]], r, 0)
                self.receive(into[ends[r] : ends[r + 1]], r, 0)

        return self.together(each)

    def send(self, array: Any, to: int, tag: int) -> Launched:
        """ncclSend: messages between two ranks arrive in order, without tags."""
        self._note("send", [array.nbytes if r == to else 0 for r in range(self.size)])
        at, n = address(array), array.size
        return self._bytes(lambda s: self.comm.send(at, n, 1, to, s), n, array)

    def receive(self, array: Any, source: int, tag: int) -> Launched:
        """ncclRecv."""
        at, n = address(array), array.size
        made = self._bytes(lambda s: self.comm.recv(at, n, 1, source, s), n, array)
        made.length = n
        return made

    def find(self, tag: int) -> Any:
        """Raises: ValueError: NCCL receives from a rank that is named."""
        raise ValueError("recv of a tensor on a GPU: name the rank that sends, src")

    def _bytes(self, call: Callable[[int], None], n: int, *arrays: Any) -> Launched:
        return self._launch(call, arrays, True) if n else Launched(None, None)

    # ----------------------------------------------------------------------------- reductions
    def reduce(self, flat: Any, into: Any, op: ReduceOp, last: bool = True) -> Launched:
        """ncclAllReduce of numbers of a dtype that `native` says."""
        kind, op = _kind(flat, op)
        parts = divided(flat.size, self.size)  # a reduce-scatter and an all-gather
        self._note("reduce", [(n + parts[self.rank]) * flat.itemsize for n in parts])
        at, to, n = address(flat), address(into), flat.size
        call = lambda s: self.comm.allReduce(at, to, n, kind, _OPS[op], s)  # noqa: E731
        return self._launch(call, (flat, into), last) if n else Launched(None, None)

    def reduce_parts(self, flat: Any, into: Any, counts: Sequence[int], op: ReduceOp) -> Launched:
        """ncclReduceScatter; where the parts have different lengths, a reduction of each."""
        kind, op = _kind(flat, op)
        self._note("reduce_parts", [n * flat.itemsize for n in counts])
        if len(set(counts)) == 1:
            at, to, n = address(flat), address(into), into.size
            call = lambda s: self.comm.reduceScatter(at, to, n, kind, _OPS[op], s)  # noqa: E731
            return self._launch(call, (flat, into), True) if n else Launched(None, None)
        places = [0, *accumulate(counts)]

        def each() -> None:
            for root in range(self.size):
                part = flat[places[root] : places[root + 1]]
                at, to = address(part), address(into if root == self.rank else part)
                if part.size:
                    n = part.size
                    self._launch(
                        lambda s, a=at, t=to, n=n, r=root: self.comm.reduce(  # type: ignore[misc]
                            a, t, n, kind, _OPS[op], r, s
                        ),
                        (flat, into), True,
                    )  # fmt: skip

        return self.together(each)

    # --------------------------------------------------------------------------------- the end
    def check(self) -> str:
        """The error that NCCL has found meanwhile, or ""."""
        comm = self.comm
        try:
            if comm is not None:
                comm.check_async_error()
        except Exception as error:
            return str(error)
        return ""

    def close(self) -> None:
        """Give back the communicator, when what was launched has ended.

        CUDA graphs with calls of it are emptied before, as NCCL waits for them. What NCCL does not
        give back within a limit of time is left to the end of the process.
        """
        if self.comm is not None:  # the watchdog looks on
            use_gpu(self.gpu)
            self.stream.synchronize()
            cupy().cuda.get_current_stream().synchronize()
        self._end("destroy")

    def abort(self) -> None:
        """End what is under way on the GPU; the communicator cannot be used any more."""
        self._end("abort")

    def _end(self, how: str) -> None:
        watchdog.forget(self)
        comm, self.comm = self.comm, None
        if comm is None:
            return
        for capture in list(self._captures):
            capture.give_up("the process group of its collectives was destroyed")
        if not end_communicator(comm, how, END_LIMIT) and how == "destroy":
            say(f"rank {self.rank}: NCCL has not given back a communicator in {END_LIMIT:g} s", "")


class _At:
    """A stream of which only the address is known."""

    def __init__(self, ptr: int) -> None:
        self.ptr = ptr


def _recorded(stream: Any) -> Any:
    """An event after what the stream has to do now."""
    event = cupy().cuda.Event(block=False, disable_timing=True)
    event.record(stream)
    return event


def _kind(array: Any, op: ReduceOp) -> tuple[int, ReduceOp]:
    """NCCL's number of the dtype, and the reduction."""
    return _DTYPES[array.dtype.name], _OF_BOOL.get(op, op) if array.dtype.kind == "b" else op
