"""Helpers that take the chunks of a kernel in machine code, without the interpreter's lock.

To begin a share of an op in Python a thread needs the interpreter's lock, and at the end again:
with two threads 20 to 60 µs, longer than many a loop. So a helper that has nothing to do listens in
machine code for the next job, the address of a kernel and of its arguments, and sleeps there if
none comes. Nobody waits for a helper that has not begun.

The rows are cut into as many parts as cores, and each part into a few chunks. A core begins with
its own part, which is the same rows in every op, so that they may still be in its cache; then it
takes chunks from the ends of the others' parts, until none is left.

What a kernel expects in the registers depends on the types of its arguments, not on what it
computes: for each such signature a small function ("entry") is made with LLVM in milliseconds. It
reads the arguments from the job and calls the kernel for one chunk after the other.
"""

from __future__ import annotations

import ctypes
import importlib
import signal
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from ...arrays import threads
from ...arrays.forking import making
from ...arrays.memory import address
from ...arrays.parallel import core_count, thread_count
from ...arrays.silence import places
from .machine_code import (
    ARGS,
    BUSY,
    CONDITION,
    CORE,
    FAILED,
    FIRST,
    HEADER,
    JOB,
    LINE,
    MOST,
    MUTEX,
    REACH,
    ROOM,
    SHARES,
    MachineCode,
)
from .pages import handler

__all__ = ["making_code", "run_together", "start"]

# Seconds that a helper looks for a job before it sleeps. To wake many takes longer, and one of many
# cores is less missed meanwhile.
PATIENCE, PATIENCE_OF_MANY, MANY = 1e-4, 3e-3, 4  # the first with fewer threads than MANY
LOOKING = 1e-4  # the same of a caller that waits for helpers' last chunks

FUNCTIONS = {"listen": 4, "call": 3, "within": 2, "rouse": 3, "rest": 2}  # and their arguments


@contextmanager
def making_code() -> Iterator[None]:
    """Within it this thread alone makes machine code, and Ctrl-C waits: Numba and LLVM that were
    interrupted in the middle cannot go on.
    """
    handler = signal.getsignal(signal.SIGINT)
    pressed: list[int] = []
    if handler is None or threading.current_thread() is not threading.main_thread():
        with making:
            yield  # signals do not come to Python here
        return
    signal.signal(signal.SIGINT, lambda number, frame: pressed.append(number))
    try:
        with making:
            yield
    finally:
        signal.signal(signal.SIGINT, handler)
        if pressed:
            signal.raise_signal(signal.SIGINT)


class _Entry(NamedTuple):
    """How a kernel's arguments come into a job."""

    address: int  # of the entry
    kernel: int
    packed: struct.Struct  # writes a job
    arrays: tuple[bool, ...]  # which arguments are arrays


class _Crew:
    """The counters of this process and the functions in machine code that read them."""

    def __init__(self) -> None:
        memory: Any = np.zeros(FIRST + MOST * CORE + LINE, np.int64)
        first = -(address(memory) // 8) % LINE  # where a cache line begins
        self.array = memory[first:]
        self.counters: Any = memoryview(self.array)  # quicker to read than the array
        self.most = MOST
        self.job: Any = np.zeros(ROOM, np.int64)
        self.at = address(self.array)
        self.library = ctypes.CDLL(None)
        self.entries: dict[Any, _Entry | None] = {}  # by kernel
        self.by_signature: dict[tuple, int] = {}
        self.begin()
        built = MachineCode()
        built.functions(self.library)
        self.engine = built.engine()  # it owns the machine code
        functions: dict[str, Any] = {}
        for name, n in FUNCTIONS.items():
            kind = ctypes.CFUNCTYPE(*[ctypes.c_int64] * (n + 1))
            functions[name] = kind(self.engine.get_function_address(name))
        self.call, self.within = functions["call"], functions["within"]
        self.rouse = functions["rouse"]
        started = time.perf_counter()
        functions["rest"](self.at, 1000)
        a_second = int(1000 / (time.perf_counter() - started))  # looks
        self.patience = int(a_second * PATIENCE) + 1
        self.patience_of_many = int(a_second * PATIENCE_OF_MANY) + 1
        self.looks = int(a_second * LOOKING) + 1
        self._listen = functions["listen"]

    def begin(self) -> None:
        """Nothing is called yet, and nobody sleeps: also in a forked process, without helpers."""
        self.owner = threading.Lock()  # held by the thread whose job it is
        self.array[:] = 0
        self.array[JOB] = address(self.job)
        for k in range(MOST):
            at = ctypes.c_void_p(self.at + 8 * (FIRST + k * CORE + MUTEX))
            self.library.pthread_mutex_init(at, None)
            at = ctypes.c_void_p(self.at + 8 * (FIRST + k * CORE + CONDITION))
            self.library.pthread_cond_init(at, None)

    def shares(self) -> int:
        """How often helpers were called to Python."""
        return self.counters[SHARES]

    def ring(self, n: int) -> None:
        """Call n helpers to Python, where shares wait for them."""
        self.counters[SHARES] += 1
        self.counters[REACH] = min(n + 1, MOST)
        self.rouse(self.at, 1, min(n, MOST - 1))

    def listen(self, helper: int, shares: int) -> None:
        """What a helper does until there are other shares for Python than so many."""
        many = MANY <= thread_count() <= core_count()
        self._listen(self.at, helper, shares, self.patience_of_many if many else self.patience)

    def wait(self) -> None:
        """Wait until no helper is within the job. What is raised meanwhile is raised after it."""
        try:
            while self.within(self.at, 1):
                time.sleep(2e-5)
        finally:
            if self.counters[BUSY]:
                self.wait()

    def entry_of(self, run: Any) -> _Entry | None:
        """The entry of a compiled kernel; None if it has arguments of other kinds."""
        if run not in self.entries:
            with making_code():  # an entry's name is its number
                if run not in self.entries:
                    self.entries[run] = self._made(run)
        return self.entries[run]

    def _made(self, run: Any) -> _Entry | None:
        types = importlib.import_module("numba").types
        made = next(iter(run.overloads.values()))
        kinds = made.signature.args[:-2]  # without start and stop
        if ARGS + len(kinds) > ROOM:
            return None
        arrays = tuple(isinstance(kind, types.Array) for kind in kinds)
        known = types.int64, types.float64, types.boolean
        if any(not array and kind not in known for kind, array in zip(kinds, arrays, strict=True)):
            return None
        target = importlib.import_module("numba.core.registry").cpu_target.target_context
        convention = target.call_conv.get_function_type(made.signature.return_type, kinds)
        as_dtype = importlib.import_module("numba.np.numpy_support").as_dtype
        shapes = [  # bytes of a number and dimensions; 0 and 0 of a number
            (as_dtype(kind.dtype).itemsize, kind.ndim) if array else (0, 0)
            for kind, array in zip(kinds, arrays, strict=True)
        ]
        signature = (*map(str, convention.args[2:]), *shapes)
        if signature not in self.by_signature:
            built, name = MachineCode(), f"entry_{len(self.by_signature)}"
            built.entry(name, convention.args[2:], shapes)
            self.engine.add_module(built.parsed())
            self.engine.finalize_object()
            self.by_signature[signature] = self.engine.get_function_address(name)
        kernel = made.library.get_pointer_to_function(made.fndesc.llvm_func_name)
        code = "".join("d" if kind == types.float64 else "q" for kind in kinds)
        packed = struct.Struct("q" * ARGS + code)
        return _Entry(self.by_signature[signature], kernel, packed, arrays)


_crew: _Crew | None = None


def _arrays_are_as_expected() -> bool:
    """Whether an array's object holds the address of its numbers, shape and strides where they are
    read.
    """
    a = np.zeros((3, 5), np.float32)[:, 1:4]
    words = (ctypes.c_int64 * 4).from_address(id(a) + HEADER)
    data, shape, strides = words[0], words[2], words[3]
    pair = ctypes.c_int64 * 2
    return (
        data == address(a)
        and tuple(pair.from_address(shape)) == a.shape
        and tuple(pair.from_address(strides)) == a.strides
    )


def start() -> None:
    """Let helpers listen for jobs between two shares of Python.

    Not on Windows, whose locks are others, nor where arrays are not what NumPy's are: there the
    helpers are called through Python.
    """
    global _crew
    if sys.platform == "win32" or sys.implementation.name != "cpython":
        return
    if _crew is None and _arrays_are_as_expected():
        with making_code():
            _crew = _Crew()
            # helpers listen until the process ends, so it must not be freed before
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(_crew))
            threads.let_listen(_crew)
            places.begin = handler(_crew.engine)


def run_together(run: Callable[..., None], n: int, cores: int, args: Sequence[Any]) -> bool:
    """run(*args, start, stop) for range(n) by this thread and the helpers; whether it was done.

    False if another thread has a job, or the kernel has arguments of other kinds.
    Raises: RuntimeError if the kernel raised an error.
    """
    crew = _crew
    if crew is None:
        return False
    entry = crew.entry_of(run)
    if entry is None or not crew.owner.acquire(blocking=False):
        return False
    try:
        cores = min(cores, MOST)
        threads.start_helpers(cores - 1)
        numbers = [id(a) if is_array else a for a, is_array in zip(args, entry.arrays, strict=True)]
        entry.packed.pack_into(crew.job, 0, entry.kernel, crew.at, n, cores, *numbers)
        crew.counters[FAILED] = 0
        busy = 1  # perhaps, until the call has returned
        try:
            busy = crew.call(crew.at, entry.address, crew.looks)
        finally:
            if busy:  # also after Ctrl-C: helpers still write into the arrays
                crew.wait()
        if crew.counters[FAILED]:
            raise RuntimeError("a compiled loop ended with an error")
    finally:
        crew.owner.release()
    return True
