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

    counters   one cache line each: jobs that were called, shares for Python, cores that are wanted,
               whether a job is open, helpers within it, and how many have come to it
    of a core  chunks of its part that are taken, and by others; whether its helper sleeps, on what
"""

from __future__ import annotations

import ctypes
import importlib
import struct
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ...arrays import threads
from ...arrays.memory import address

__all__ = ["run_together", "start"]

LINE = 8  # int64 in a cache line
CALLS, SHARES, WANTED, OPEN, BUSY, SEATS, FAILED, JOB = range(0, 8 * LINE, LINE)
ENTRY = JOB + 1  # the address of the job's entry; that of its arguments is in JOB
FIRST, CORE = 8 * LINE, 4 * LINE  # where the first core's lines begin, and the length of a core's
TAKEN, STOLEN, ASLEEP, MUTEX, CONDITION = 0, 1, LINE, 2 * LINE, 3 * LINE  # within a core's
MOST = 128  # cores
KERNEL, COUNTERS, ROWS, CORES, ARGS = range(5)  # places in a job
ROOM = 128  # int64 of a job
CHUNKS = 4  # of a core's part: a helper that begins late leaves some of its own
PATIENCE = 1e-4  # seconds that a helper looks for a job before it sleeps
LOOKING = 1e-4  # the same of a caller that waits for helpers' last chunks


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
        built = _Builder()
        built.functions(self.library)
        self.engine = built.engine()  # it owns the machine code
        found: dict[str, Any] = {}
        for name, n in (("listen", 4), ("call", 3), ("rouse", 3), ("rest", 2)):
            kind = ctypes.CFUNCTYPE(*[ctypes.c_int64] * (n + 1))
            found[name] = kind(self.engine.get_function_address(name))
        self.call, self.rouse = found["call"], found["rouse"]
        started = time.perf_counter()
        found["rest"](self.at, 1000)
        a_second = int(1000 / (time.perf_counter() - started))  # looks
        self.patience = int(a_second * PATIENCE) + 1
        self.looks = int(a_second * LOOKING) + 1
        self._listen = found["listen"]

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
        self.counters[WANTED] = min(n + 1, MOST)
        self.rouse(self.at, 1, min(n, MOST - 1))

    def listen(self, helper: int, shares: int) -> None:
        """What a helper does until there are other shares for Python than so many."""
        self._listen(self.at, helper, shares, self.patience)

    def entry_of(self, run: Any) -> _Entry | None:
        """The entry of a compiled kernel; None if it has arguments of other kinds."""
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
            built, name = _Builder(), f"entry_{len(self.by_signature)}"
            built.entry(name, convention.args[2:], shapes)
            self.engine.add_module(built.parsed())
            self.engine.finalize_object()
            self.by_signature[signature] = self.engine.get_function_address(name)
        kernel = made.library.get_pointer_to_function(made.fndesc.llvm_func_name)
        code = "".join("d" if kind == types.float64 else "q" for kind in kinds)
        packed = struct.Struct("q" * ARGS + code)
        return _Entry(self.by_signature[signature], kernel, packed, arrays)


class _Builder:
    """Functions over the counters, in LLVM's language."""

    def __init__(self) -> None:
        self.ir = importlib.import_module("llvmlite.ir")
        self.llvm = importlib.import_module("llvmlite.binding")
        self.i64 = self.ir.IntType(64)
        self.module = self.ir.Module()
        self.module.triple = self.llvm.get_process_triple()

    def parsed(self) -> Any:
        """The functions as LLVM has them."""
        return self.llvm.parse_assembly(str(self.module))

    def engine(self) -> Any:
        """What makes machine code of these functions, and of those that are added."""
        self.llvm.initialize_native_target()
        self.llvm.initialize_native_asmprinter()
        target = self.llvm.Target.from_triple(self.module.triple)
        machine = target.create_target_machine(opt=2, jit=True)
        engine = self.llvm.create_mcjit_compiler(self.parsed(), machine)
        engine.finalize_object()
        return engine

    def functions(self, library: Any) -> None:
        """listen, call, rouse, rest; with the functions of the C library that they need."""
        self.outside: dict[str, Any] = {  # addresses
            name: ctypes.cast(getattr(library, f"pthread_{name}"), ctypes.c_void_p).value
            for name in ("mutex_lock", "mutex_unlock", "cond_wait", "cond_signal")
        }
        self.rouse()
        self.rest()
        self.listen()
        self.call()

    # ------------------------------------------------------------------------------ words
    def _function(self, name: str, n: int) -> tuple[Any, Any]:
        kind = self.ir.FunctionType(self.i64, [self.i64] * n)
        function = self.ir.Function(self.module, kind, name)
        return function, self.ir.IRBuilder(function.append_basic_block())

    def _number(self, n: int) -> Any:
        return self.ir.Constant(self.i64, n)

    def _place(self, b: Any, base: Any, k: int) -> Any:
        return b.inttoptr(b.add(base, self._number(8 * k)), self.i64.as_pointer())

    def _plain(self, b: Any, base: Any, k: int) -> Any:
        return b.load(self._place(b, base, k))

    def _read(self, b: Any, base: Any, k: int) -> Any:
        return b.load_atomic(self._place(b, base, k), "seq_cst", 8)

    def _write(self, b: Any, base: Any, k: int, n: int) -> None:
        b.store_atomic(self._number(n), self._place(b, base, k), "seq_cst", 8)

    def _add(self, b: Any, base: Any, k: int, n: int) -> Any:
        """Add n to a counter; what it was before."""
        return b.atomic_rmw("add", self._place(b, base, k), self._number(n), "seq_cst")

    def _core(self, b: Any, counters: Any, k: Any) -> Any:
        """Where the lines of core k begin."""
        return b.add(counters, b.add(b.mul(k, self._number(8 * CORE)), self._number(8 * FIRST)))

    def _outside(self, b: Any, name: str, *args: Any) -> None:
        """Call a function of the C library."""
        kind = self.ir.FunctionType(self.ir.IntType(32), [self.i64] * len(args))
        b.call(b.inttoptr(self._number(self.outside[name]), kind.as_pointer()), args)

    def _pause(self, b: Any) -> None:
        """Tell the processor that this is a loop that waits."""
        triple, none = self.module.triple, self.ir.VoidType()
        if triple.startswith(("x86_64", "i686")):
            kind = self.ir.FunctionType(none, [])
            b.call(self.module.declare_intrinsic("llvm.x86.sse2.pause", (), kind), [])
        elif triple.startswith(("aarch64", "arm64")):
            kind = self.ir.FunctionType(none, [self.ir.IntType(32)])
            hint = self.module.declare_intrinsic("llvm.aarch64.hint", (), kind)
            b.call(hint, [self.ir.Constant(self.ir.IntType(32), 1)])  # yield

    def _run(self, b: Any, counters: Any, core: Any) -> None:
        """Call the open job's entry."""
        kind = self.ir.FunctionType(self.i64, [self.i64, self.i64])
        entry = b.inttoptr(self._read(b, counters, ENTRY), kind.as_pointer())
        b.call(entry, [self._read(b, counters, JOB), core])

    def _counted(self, b: Any, counter: Any) -> Any:
        """One more in a counter of this function's own; what it is now."""
        n = b.add(b.load(counter), self._number(1))
        b.store(n, counter)
        return n

    # -------------------------------------------------------------------------- functions
    def rest(self) -> None:
        """rest(counters, n): look so many times, to see how long a look takes."""
        function, b = self._function("rest", 2)
        counters, n = function.args
        again, end = (function.append_basic_block(name) for name in ("again", "end"))
        looks = b.alloca(self.i64)
        b.store(self._number(0), looks)
        b.branch(again)
        b.position_at_end(again)
        self._read(b, counters, SHARES)
        self._read(b, counters, CALLS)
        self._pause(b)
        b.cbranch(b.icmp_signed("<", self._counted(b, looks), n), again, end)
        b.position_at_end(end)
        b.ret(self._number(0))

    def rouse(self) -> None:
        """rouse(counters, first, last): wake those of these helpers that are wanted and sleep, if
        the core that would wake them does not sleep itself: k wakes 2k + 1 and 2k + 2.
        """
        function, b = self._function("rouse", 3)
        self.rousing = function
        counters, first, last = function.args
        names = ("look", "one", "asleep", "wake", "next", "end")
        at = {name: function.append_basic_block(name) for name in names}
        k = b.alloca(self.i64)
        b.store(first, k)
        b.branch(at["look"])
        b.position_at_end(at["look"])
        helper = b.load(k)
        there = b.icmp_signed("<=", helper, last)
        wanted = b.icmp_signed("<", helper, self._read(b, counters, WANTED))
        b.cbranch(b.and_(there, wanted), at["one"], at["end"])
        b.position_at_end(at["one"])
        here = self._core(b, counters, helper)
        sleeps = b.icmp_signed("!=", self._read(b, here, ASLEEP), self._number(0))
        b.cbranch(sleeps, at["asleep"], at["next"])
        b.position_at_end(at["asleep"])
        above = b.sdiv(b.sub(helper, self._number(1)), self._number(2))
        waker = self._read(b, self._core(b, counters, above), ASLEEP)
        b.cbranch(b.icmp_signed("==", waker, self._number(0)), at["wake"], at["next"])
        b.position_at_end(at["wake"])
        mutex = b.add(here, self._number(8 * MUTEX))
        self._outside(b, "mutex_lock", mutex)
        self._write(b, here, ASLEEP, 0)
        self._outside(b, "cond_signal", b.add(here, self._number(8 * CONDITION)))
        self._outside(b, "mutex_unlock", mutex)
        b.branch(at["next"])
        b.position_at_end(at["next"])
        self._counted(b, k)
        b.branch(at["look"])
        b.position_at_end(at["end"])
        b.ret(self._number(0))

    def listen(self) -> None:
        """listen(counters, helper, shares, patience): take part in jobs until there is a share for
        Python (another number of shares than that). After so many looks without a job, sleep.
        """
        function, b = self._function("listen", 4)
        counters, helper, shares, patience = function.args
        names = ("look", "wait", "sleep", "asleep", "dream", "awake", "called", "inside", "go")
        at = {name: function.append_basic_block(name) for name in (*names, "out", "end")}
        looks, seen = b.alloca(self.i64), b.alloca(self.i64)
        here = self._core(b, counters, helper)
        twice = b.mul(helper, self._number(2))
        below = b.add(twice, self._number(1)), b.add(twice, self._number(2))  # that it wakes
        b.store(self._number(0), looks)
        # a job that is open already counts as a new one
        b.store(b.sub(self._read(b, counters, CALLS), self._read(b, counters, OPEN)), seen)
        b.branch(at["look"])

        def nothing() -> tuple[Any, Any]:
            """(no share for Python, no new job)."""
            same = b.icmp_signed("==", self._read(b, counters, SHARES), shares)
            return same, b.icmp_signed("==", self._read(b, counters, CALLS), b.load(seen))

        b.position_at_end(at["look"])
        no_share, no_job = nothing()
        with b.if_then(b.not_(no_share)):
            b.branch(at["end"])
        b.cbranch(no_job, at["wait"], at["called"])
        b.position_at_end(at["wait"])
        self._pause(b)
        more = b.icmp_signed("<", self._counted(b, looks), patience)
        b.cbranch(more, at["look"], at["sleep"])

        b.position_at_end(at["sleep"])
        mutex, condition = (b.add(here, self._number(8 * k)) for k in (MUTEX, CONDITION))
        self._outside(b, "mutex_lock", mutex)
        self._write(b, here, ASLEEP, 1)
        b.branch(at["asleep"])
        b.position_at_end(at["asleep"])
        no_share, no_job = nothing()  # after ASLEEP: who calls sees it, or this sees the call
        sleeps = b.icmp_signed("!=", self._read(b, here, ASLEEP), self._number(0))
        b.cbranch(b.and_(sleeps, b.and_(no_share, no_job)), at["dream"], at["awake"])
        b.position_at_end(at["dream"])
        self._outside(b, "cond_wait", condition, mutex)
        b.branch(at["asleep"])
        b.position_at_end(at["awake"])
        self._write(b, here, ASLEEP, 0)
        self._outside(b, "mutex_unlock", mutex)
        b.store(self._number(0), looks)
        b.branch(at["look"])

        b.position_at_end(at["called"])
        b.store(self._read(b, counters, CALLS), seen)
        b.store(self._number(0), looks)
        self._add(b, counters, BUSY, 1)  # before it looks: who closes the job sees one of the two
        opened = b.icmp_signed("!=", self._read(b, counters, OPEN), self._number(0))
        b.cbranch(opened, at["inside"], at["out"])
        b.position_at_end(at["inside"])
        cores = self._plain(b, self._read(b, counters, JOB), CORES)
        seat = self._add(b, counters, SEATS, 1)
        free = b.icmp_signed("<", b.add(seat, self._number(1)), cores)
        b.cbranch(free, at["go"], at["out"])
        b.position_at_end(at["go"])
        b.call(self.rousing, [counters, *below])
        self._run(b, counters, helper)
        b.branch(at["out"])
        b.position_at_end(at["out"])
        self._add(b, counters, BUSY, -1)
        b.branch(at["look"])
        b.position_at_end(at["end"])
        b.call(self.rousing, [counters, *below])
        b.ret(self._number(0))

    def call(self) -> None:
        """call(counters, entry, looks): open the job, work, close it, and look so many times
        whether helpers are within it. Returns how many are.
        """
        function, b = self._function("call", 3)
        counters, entry, most = function.args
        clear, opened, look, end = (
            function.append_basic_block(name) for name in ("clear", "opened", "look", "end")
        )
        looks, core = b.alloca(self.i64), b.alloca(self.i64)
        b.store(self._number(0), looks)
        b.store(self._number(0), core)
        cores = self._plain(b, self._read(b, counters, JOB), CORES)
        b.store(cores, self._place(b, counters, WANTED))
        b.store(entry, self._place(b, counters, ENTRY))
        self._write(b, counters, SEATS, 0)
        b.branch(clear)
        b.position_at_end(clear)
        here = self._core(b, counters, b.load(core))
        for k in (TAKEN, STOLEN):
            b.store(self._number(0), self._place(b, here, k))
        b.cbranch(b.icmp_signed("<", self._counted(b, core), cores), clear, opened)
        b.position_at_end(opened)
        self._write(b, counters, OPEN, 1)
        self._add(b, counters, CALLS, 1)
        b.call(self.rousing, [counters, self._number(1), b.sub(cores, self._number(1))])
        self._run(b, counters, self._number(0))
        self._write(b, counters, OPEN, 0)
        b.branch(look)
        b.position_at_end(look)
        busy = self._read(b, counters, BUSY)
        self._pause(b)
        few = b.icmp_signed("<", self._counted(b, looks), most)
        b.cbranch(b.and_(b.icmp_signed(">", busy, self._number(0)), few), look, end)
        b.position_at_end(end)
        b.ret(busy)

    def _arguments(self, b: Any, job: Any, kinds: Sequence[Any], arrays: Sequence[Any]) -> list:
        """A kernel's arguments from the job: numbers, and Python's addresses of arrays.

        arrays: for each argument bytes of a number and dimensions, 0 and 0 if it is a number. An
        array is an object, a header, the address of its numbers, its dimensions' count, and where
        its shape and its strides are; a kernel gets two unused pointers, the count of its numbers,
        the bytes of one, their address, shape, strides.
        """
        given: list[Any] = []
        for k, (size, dims) in enumerate(arrays, ARGS):
            value = self._plain(b, job, k)
            if not size:
                given.append(value)
                continue
            data, shape_at, strides_at = (
                self._plain(b, b.add(value, self._number(HEADER)), i) for i in (0, 2, 3)
            )
            shape = [self._plain(b, shape_at, d) for d in range(dims)]
            strides = [self._plain(b, strides_at, d) for d in range(dims)]
            count = self._number(1)
            for n in shape:
                count = b.mul(count, n)
            given += [self._number(0)] * 2 + [count, self._number(size), data, *shape, *strides]
        args = []
        for value, kind in zip(given, kinds, strict=True):
            if isinstance(kind, self.ir.PointerType):
                args.append(b.inttoptr(value, kind))
            elif isinstance(kind, self.ir.DoubleType):
                args.append(b.bitcast(value, kind))
            else:
                args.append(value if kind == self.i64 else b.trunc(value, kind))
        return args

    def entry(self, name: str, kinds: Sequence[Any], arrays: Sequence[Any]) -> None:
        """name(job, core): take chunks, of this core's part first, and call the kernel for each.

        kinds: what the kernel gets. arrays: as in _arguments.
        """
        function, b = self._function(name, 2)
        job, core = function.args
        names = ("part", "look", "take", "mine", "theirs", "chunk", "work", "bad", "next", "end")
        at = {name: function.append_basic_block(name) for name in names}
        byte = self.ir.IntType(8).as_pointer()
        returned, error = b.alloca(byte), b.alloca(byte)
        others, own, place = b.alloca(self.i64), b.alloca(self.i64), b.alloca(self.i64)
        b.store(self._number(0), others)  # parts before this one
        b.store(self._number(0), own)  # chunks of its own part that it took
        address, counters, rows, cores = (self._plain(b, job, k) for k in range(ARGS))
        kernel_kind = self.ir.FunctionType(
            self.ir.IntType(32),
            [byte.as_pointer(), byte.as_pointer(), *kinds, self.i64, self.i64],
        )
        kernel = b.inttoptr(address, kernel_kind.as_pointer())
        args = self._arguments(b, job, kinds, arrays)
        chunks = self._number(CHUNKS)
        every = b.mul(cores, chunks)
        b.branch(at["part"])
        b.position_at_end(at["part"])
        part = b.srem(b.add(core, b.load(others)), cores)
        here = self._core(b, counters, part)
        b.branch(at["look"])
        b.position_at_end(at["look"])
        left = b.icmp_signed("<", self._read(b, here, TAKEN), chunks)
        b.cbranch(left, at["take"], at["next"])
        b.position_at_end(at["take"])
        taken = b.icmp_signed("<", self._add(b, here, TAKEN, 1), chunks)
        with b.if_then(b.not_(taken)):
            b.branch(at["next"])
        # a helper beyond the job's cores has no part of its own
        b.cbranch(b.icmp_signed("==", part, core), at["mine"], at["theirs"])
        b.position_at_end(at["mine"])  # from the beginning
        b.store(b.sub(self._counted(b, own), self._number(1)), place)
        b.branch(at["chunk"])
        b.position_at_end(at["theirs"])  # from the end
        before = self._add(b, here, STOLEN, 1)
        b.store(b.sub(b.sub(chunks, self._number(1)), before), place)
        b.branch(at["chunk"])
        b.position_at_end(at["chunk"])
        k = b.add(b.mul(part, chunks), b.load(place))
        start = b.sdiv(b.mul(rows, k), every)
        stop = b.sdiv(b.mul(rows, b.add(k, self._number(1))), every)
        b.cbranch(b.icmp_signed("<", start, stop), at["work"], at["look"])
        b.position_at_end(at["work"])
        status = b.call(kernel, [returned, error, *args, start, stop])
        well = b.icmp_signed("==", status, self.ir.Constant(status.type, 0))
        b.cbranch(well, at["look"], at["bad"])
        b.position_at_end(at["bad"])
        self._add(b, counters, FAILED, 1)
        b.branch(at["look"])
        b.position_at_end(at["next"])
        b.cbranch(b.icmp_signed("<", self._counted(b, others), cores), at["part"], at["end"])
        b.position_at_end(at["end"])
        b.ret(self._number(0))


HEADER = object.__basicsize__  # bytes of an object before what its type adds

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
        _crew = _Crew()
        # helpers listen until the process ends, so it must not be freed before
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(_crew))
        threads.let_listen(_crew)


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
        busy = crew.call(crew.at, entry.address, crew.looks)
        while busy:
            time.sleep(2e-5)
            busy = crew.counters[BUSY]
        if crew.counters[FAILED]:
            crew.counters[FAILED] = 0
            raise RuntimeError("a compiled loop ended with an error")
    finally:
        crew.owner.release()
    return True
