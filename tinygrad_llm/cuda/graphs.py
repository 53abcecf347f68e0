"""CUDA graphs, with PyTorch's names: the launches of a training step, captured once and repeated
with one launch.

    step = cuda.graphed(train_step)        # train_step(idx, targets) returns its loss
    for idx, targets in batches:
        loss = step(idx, targets)

A launch costs the host about 10 microseconds, and a step of a small model has hundreds of launches,
each of which the GPU finishes in less time than that. A graph of them is one launch.

    g = cuda.CUDAGraph()
    with cuda.graph(g):                    # nothing runs: launches are recorded
        loss = train_step(idx, targets)
    idx.copy_(new_idx); targets.copy_(new_targets)
    g.replay()                             # one more step: loss, weights and optimizer change

A graph reads and writes the same memory in every replay: new inputs are copied into the captured
ones, and the results are in the captured ones. Memory allocated during a capture belongs to the
graph. Adam and AdamW continue to count steps and use a changed learning rate, and dropout continues
to draw (`cuda.fast_dropout()` must be on: masks drawn on the CPU can't be captured); ids are
checked before each replay. Code that waits for the GPU (`.item()`, `.cpu()`, `print`, a Python `if`
on a tensor) can't be captured, and the error says so.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import weakref
from collections.abc import Callable, Iterator
from typing import Any

from ..arrays import devices
from ..arrays.capture import Capture, capturing
from ..arrays.ids import check_ids, ids_in_range, remember_ids
from ..arrays.twins import twins
from ..tensor import Tensor, device, wrap
from ..tensor.arriving import wait_for_all

__all__ = ["CUDAGraph", "graph", "graphed", "is_current_stream_capturing"]

_pools: Any = weakref.WeakSet()  # the memory pools of all graphs


def reserved() -> int:
    """Bytes that graphs hold on CuPy's current GPU."""
    return sum(int(pool.pool.total_bytes()) for pool in _pools)


class _Pool:
    """The memory pool of one graph (CuPy's pools can't be in a set of weak references)."""

    def __init__(self, xp: Any) -> None:
        self.pool = xp.cuda.MemoryPool()


class CUDAGraph:
    """Launches recorded by `with cuda.graph(g):` and repeated by `g.replay()`.

    Raises: RuntimeError on a GPU without the kernels of ops/cuda (older than Ampere), and if
    something can't be captured; the graph is empty then.
    """

    def __init__(self, keep_graph: bool = False) -> None:
        self._graph: Any = None
        self._capture: Any = None
        self._memory: Any = None
        self._contexts: Any = None
        self._stream: Any = None
        self._gpu = 0
        self._why = ""  # why the graph was emptied, if not by reset()

    def capture_begin(self, pool: Any = None, capture_error_mode: str = "global") -> None:
        """From here to capture_end() launches are recorded and not run.

        Raises: RuntimeError if this graph is in use, if another capture is running, or without
        the GPU's own kernels.
        """
        xp = devices.cupy()
        if self._graph is not None or self._contexts is not None:
            raise RuntimeError("this CUDAGraph holds a graph already: make another, or reset() it")
        if capturing.graph is not None:
            raise RuntimeError("a CUDA graph is being captured already: end that capture first")
        if twins.gpu is None:
            raise RuntimeError(
                "CUDA graphs need the GPU's own kernels: CuPy, and compute capability 8.0 or newer"
            )
        self._gpu = devices.current_gpu()
        devices.use_gpu(self._gpu)
        gc.collect()
        wait_for_all()
        xp.cuda.Device().synchronize()
        xp.get_default_memory_pool().free_all_blocks()
        capture, memory = Capture(xp), _Pool(xp)
        capture.give_up = functools.partial(_give_up, weakref.ref(self))
        stream = xp.cuda.Stream(non_blocking=True)
        twins.gpu.ready_to_capture(stream)
        with contextlib.ExitStack() as contexts:
            contexts.enter_context(stream)
            contexts.enter_context(xp.cuda.using_allocator(memory.pool.malloc))
            stream.begin_capture()
            capturing.graph = capture
            self._contexts = contexts.pop_all()
        self._stream, self._capture, self._memory = stream, capture, memory
        _pools.add(memory)

    def capture_end(self) -> None:
        """End the capture: the graph can be replayed from here on.

        Raises: RuntimeError without capture_begin(), or if something could not be captured.
        """
        if self._contexts is None:
            raise RuntimeError("capture_end() without capture_begin()")
        capturing.graph = None
        try:
            with self._contexts:
                try:
                    for function in self._capture.before_end:
                        function()
                finally:  # while a stream captures, other work on the GPU is refused
                    graph = self._stream.end_capture()
            self._capture.finish()
        except BaseException:
            self.reset()
            raise
        finally:
            self._contexts = None
        self._graph = graph

    def replay(self) -> None:
        """Run what was captured, on what is in the memory of the inputs now.

        Raises: RuntimeError if nothing was captured, or if a model's weights or an optimizer's
        state are other arrays now; IndexError if ids are out of range. Nothing has run then.
        """
        if self._why:
            raise RuntimeError(f"this CUDAGraph cannot be replayed any more: {self._why}")
        if self._graph is None:
            raise RuntimeError("this CUDAGraph is empty: capture with `with cuda.graph(g):` first")
        for ref, n, ignored, name in self._capture.checks.values():
            ids = ref()
            if ids is not None and not ids_in_range(ids, n, ignored):
                check_ids(ids if ignored is None else ids[ids != ignored], n, name)
        devices.use_gpu(self._gpu)
        self._capture.refresh()
        self._graph.launch()
        for function in self._capture.after_replay:
            function()

    def reset(self) -> None:
        """Drop the graph and release its memory."""
        self._graph = self._capture = self._memory = self._stream = None
        self._why = ""

    def pool(self) -> tuple[int, int]:
        """An identifier of the graph's memory. Graphs never share memory here."""
        return (id(self._memory), 0)


def _give_up(reference: Any, why: str) -> None:
    """Empty a graph, which is given by a weak reference; a replay says why."""
    graph = reference()
    if graph is not None:
        graph.reset()
        graph._why = why


@contextlib.contextmanager
def graph(
    cuda_graph: CUDAGraph, pool: Any = None, stream: Any = None, capture_error_mode: str = "global"
) -> Iterator[None]:
    """In the block launches are recorded in cuda_graph and not run.

    Run the same code at least once before: kernels are compiled and the optimizer's state is
    created then. pool and stream are PyTorch's and make no difference.
    Raises: RuntimeError that names what can't be captured.
    """
    cuda_graph.capture_begin(pool, capture_error_mode)
    try:
        yield
    except BaseException as error:
        with contextlib.suppress(Exception):  # a broken capture can't be ended without an error
            cuda_graph.capture_end()
        cuda_graph.reset()
        if type(error).__module__.startswith("cupy") or isinstance(error, NotImplementedError):
            raise RuntimeError(
                f"this cannot be captured in a CUDA graph: {type(error).__name__}: {error}"
            ) from error
        raise
    cuda_graph.capture_end()


def is_current_stream_capturing() -> bool:
    """Whether a CUDA graph is being captured."""
    return capturing.graph is not None


class graphed:
    """A function of tensors as one launch: graphed(step)(*tensors) returns step(*tensors).

    The first `warmup` calls run step as it is, and the next one captures it; from then on a call
    copies its tensors (also from the CPU) into the captured ones and replays. So each call is a
    step, with the same numbers as without graphs. step takes and returns tensors (one, or a tuple
    of them) and does everything on the GPU, as a training step does: zero_grad, loss, backward,
    clipping, optimizer.step. The returned tensors are copies, outside the autograd graph.

    Tensors of other shapes or dtypes get another graph, up to max_graphs; beyond that step runs as
    it is. Python code in step runs only at the capture. After model.to(), or load_state_dict() of
    an optimizer, make a new one. device: which GPU; for "cpu" step is called as it is.
    Raises: ValueError if warmup < 1; TypeError if an argument or a result is not a tensor.
    """

    def __init__(
        self, step: Callable[..., Any], warmup: int = 3, max_graphs: int = 4, device: Any = "cuda"
    ) -> None:
        if warmup < 1:
            raise ValueError(f"warmup must be at least 1, got {warmup}: kernels are compiled then")
        self.step, self.warmup, self.max_graphs, self.device = step, warmup, max_graphs, device
        self._calls: dict[tuple, int] = {}
        self._graphs: dict[tuple, tuple[CUDAGraph, list[Tensor], Any]] = {}

    def __call__(self, *tensors: Tensor) -> Any:
        for i, t in enumerate(tensors):
            if not isinstance(t, Tensor):
                raise TypeError(
                    f"a graphed step takes only tensors, and argument {i} is {type(t).__name__}: "
                    "a number would be the same in every replay"
                )
        place = device(self.device)
        if place.type == "cpu":
            return self.step(*tensors)
        before = devices.current_gpu()
        devices.choose_gpu(devices.gpu_to_use(place.index))
        try:
            return self._call(tensors)
        finally:
            devices.choose_gpu(before)

    def _call(self, tensors: tuple[Tensor, ...]) -> Any:
        """A call on the GPU: replay the graph for these shapes, or capture it, or warm up."""
        key = tuple((t.array.shape, t.array.dtype) for t in tensors)
        if key in self._graphs:
            captured, inputs, outputs = self._graphs[key]
            for captured_input, new in zip(inputs, tensors, strict=True):
                captured_input.copy_(new)
            captured.replay()
            return _copies(outputs)
        calls = self._calls[key] = self._calls.get(key, 0) + 1
        gpu = device("cuda", devices.current_gpu())
        on_gpu = [t.to(gpu) for t in tensors]
        if calls <= self.warmup or len(self._graphs) >= self.max_graphs:
            return _copies(self.step(*on_gpu))
        inputs = [_own(copy, new) for copy, new in zip(on_gpu, tensors, strict=True)]
        captured = CUDAGraph()
        with graph(captured):
            outputs = self.step(*inputs)
            for output in outputs if isinstance(outputs, tuple) else (outputs,):
                if not isinstance(output, Tensor | None):
                    raise TypeError(
                        "a graphed step returns only tensors (or None), this one returned "
                        f"{type(output).__name__}"
                    )
        outputs = _each(lambda t: wrap(t.array), outputs)
        self._graphs[key] = captured, inputs, outputs
        captured.replay()
        return _copies(outputs)


def _own(on_gpu: Tensor, original: Tensor) -> Tensor:
    """A new copy on the GPU; if it holds integers, their range is remembered for checks of ids."""
    copy = on_gpu.detach().clone()
    if copy.array.dtype.kind in "iu" and copy.array.size:
        remember_ids(copy.array, devices.to_numpy(original.array))
    return copy


def _each(f: Callable[[Tensor], Tensor], outputs: Any) -> Any:
    """f of the output, or of each of a tuple of them; None stays None."""
    if isinstance(outputs, tuple):
        return tuple(None if t is None else f(t) for t in outputs)
    return None if outputs is None else f(outputs)


def _copies(outputs: Any) -> Any:
    return _each(lambda t: wrap(t.array.copy()) if isinstance(t, Tensor) else t, outputs)
