"""Helpers that take the chunks of a kernel in machine code, without the interpreter's lock.

To begin a share of an op in Python a thread needs the interpreter's lock, and at the end again:
with two threads 20 to 60 µs, longer than many a loop. So a helper that has ended its share listens for a
while, in machine code, for the next job: the address of a kernel and of its arguments. It takes
chunks from the end of the range, the caller from the beginning, until none is left. Nobody waits
for a helper that has not begun.

What a kernel expects in the registers depends on the types of its arguments, not on what it
computes: for each such signature a small function ("entry") is made with LLVM in milliseconds. It
reads the arguments from the job and calls the kernel for one chunk after the other.

    counters   one cache line each: calls that were made, shares for Python, whether a job is open,
               helpers within it, seats and chunks that are taken, helpers that listen
"""

from __future__ import annotations

import ctypes
import importlib
import struct
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ...arrays import threads
from ...arrays.memory import address

__all__ = ["run_together", "start"]

LINE = 8  # int64 in a cache line
CALLS, SHARES, OPEN, BUSY, SEATS, TAKEN, LATE, AWAKE, FAILED, JOB = range(0, 10 * LINE, LINE)
ENTRY = JOB + 1  # the address of the job's entry; that of its arguments is in JOB
KERNEL, COUNTERS, ROWS, CHUNKS, HELPERS, ARGS = range(6)  # places in a job
ROOM = 512  # int64 of a job
PER_CORE = 4  # chunks: a helper that begins late leaves some of its own
PATIENCE = 1 << 17  # looks at the counters before a helper sleeps: 0.1 to 0.2 ms
LOOKS = 1 << 14  # the same of a caller at the end, before it sleeps between two looks


class _Entry(NamedTuple):
    """How a kernel's arguments come into a job."""

    address: int  # of the entry
    kernel: int
    packed: struct.Struct  # writes a job
    arrays: tuple[bool, ...]  # which arguments are arrays


class _Crew:
    """The counters of this process and the functions in machine code that read them."""

    def __init__(self) -> None:
        self.memory = np.zeros(16 * LINE, np.int64)
        first = -(address(self.memory) // 8) % LINE  # where a cache line begins
        self.counters = self.memory[first : first + 11 * LINE]
        self.job = np.zeros(ROOM, np.int64)
        self.at = address(self.counters)
        self.owner = threading.Lock()  # held by the thread whose job it is
        self.entries: dict[Any, _Entry | None] = {}  # by kernel
        self.by_signature: dict[tuple, int] = {}
        self.kept: list[Any] = []  # LLVM's engines own the machine code
        self.listen, self.call = self._functions()

    def _functions(self) -> tuple[Any, Any]:
        built = _Builder()
        built.listen()
        built.call()
        engine = built.compiled()
        self.kept.append(engine)
        types = ctypes.c_int64, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64
        found = []
        for name in ("listen", "call"):
            found.append(ctypes.CFUNCTYPE(*types)(engine.get_function_address(name)))
        return found[0], found[1]

    def entry_of(self, run: Any) -> _Entry | None:
        """The entry of a compiled kernel; None if it has arguments of other kinds."""
        if run not in self.entries:
            self.entries[run] = self._made(run)
        return self.entries[run]

    def _made(self, run: Any) -> _Entry | None:
        types = importlib.import_module("numba").types
        made = next(iter(run.overloads.values()))
        kinds = made.signature.args[:-2]  # without start and stop
        code, arrays = "q" * ARGS, []
        for kind in kinds:
            arrays.append(isinstance(kind, types.Array))
            if arrays[-1]:
                code += "q" * (5 + 2 * kind.ndim)
            elif kind in (types.int64, types.float64, types.boolean):
                code += "d" if kind is types.float64 else "q"
            else:
                return None
        if len(code) > ROOM:
            return None
        target = importlib.import_module("numba.core.registry").cpu_target.target_context
        convention = target.call_conv.get_function_type(made.signature.return_type, (*kinds,))
        signature = tuple(map(str, convention.args[2:]))
        if signature not in self.by_signature:
            built = _Builder()
            built.entry(convention.args[2:])
            engine = built.compiled()
            self.kept.append(engine)
            self.by_signature[signature] = engine.get_function_address("entry")
        kernel = made.library.get_pointer_to_function(made.fndesc.llvm_func_name)
        return _Entry(self.by_signature[signature], kernel, struct.Struct(code), tuple(arrays))


class _Builder:
    """Functions over the counters, in LLVM's language."""

    def __init__(self) -> None:
        self.ir = importlib.import_module("llvmlite.ir")
        self.llvm = importlib.import_module("llvmlite.binding")
        self.i64 = self.ir.IntType(64)
        self.module = self.ir.Module()
        self.module.triple = self.llvm.get_process_triple()

    def compiled(self) -> Any:
        """The engine that holds the machine code."""
        self.llvm.initialize_native_target()
        self.llvm.initialize_native_asmprinter()
        machine = self.llvm.Target.from_default_triple().create_target_machine(opt=2)
        engine = self.llvm.create_mcjit_compiler(
            self.llvm.parse_assembly(str(self.module)), machine
        )
        engine.finalize_object()
        return engine

    def _function(self, name: str, n: int) -> tuple[Any, Any]:
        kind = self.ir.FunctionType(self.i64, [self.i64] * n)
        function = self.ir.Function(self.module, kind, name)
        return function, self.ir.IRBuilder(function.append_basic_block())

    def _number(self, n: int) -> Any:
        return self.ir.Constant(self.i64, n)

    def _place(self, b: Any, base: Any, k: int) -> Any:
        return b.inttoptr(b.add(base, self._number(8 * k)), self.i64.as_pointer())

    def _read(self, b: Any, base: Any, k: int) -> Any:
        return b.load_atomic(self._place(b, base, k), "seq_cst", 8)

    def _write(self, b: Any, base: Any, k: int, value: Any) -> None:
        b.store_atomic(value, self._place(b, base, k), "seq_cst", 8)

    def _add(self, b: Any, base: Any, k: int, n: int) -> Any:
        """Add n to a counter; what it was before."""
        return b.atomic_rmw("add", self._place(b, base, k), self._number(n), "seq_cst")

    def _run(self, b: Any, counters: Any, helper: int) -> None:
        """Call the open job's entry."""
        kind = self.ir.FunctionType(self.i64, [self.i64, self.i64])
        entry = b.inttoptr(self._read(b, counters, ENTRY), kind.as_pointer())
        b.call(entry, [self._read(b, counters, JOB), self._number(helper)])

    def listen(self) -> None:
        """listen(counters, shares, patience): take part in jobs until there is a share for Python
        (another number of shares than that), or no job in so many looks. Returns 0.
        """
        function, b = self._function("listen", 3)
        counters, shares, patience = function.args
        names = ("look", "wait", "called", "inside", "go", "out", "again", "end")
        at = {name: function.append_basic_block(name) for name in names}
        looks, seen = b.alloca(self.i64), b.alloca(self.i64)
        b.store(self._number(0), looks)
        # a job that is open already counts as a new one
        b.store(b.sub(self._read(b, counters, CALLS), self._read(b, counters, OPEN)), seen)
        self._add(b, counters, AWAKE, 1)
        b.branch(at["look"])
        b.position_at_end(at["look"])
        same = b.icmp_signed("==", self._read(b, counters, SHARES), shares)
        b.cbranch(same, at["wait"], at["end"])
        b.position_at_end(at["wait"])
        calls = self._read(b, counters, CALLS)
        n = b.add(b.load(looks), self._number(1))
        b.store(n, looks)
        again = b.icmp_signed("<", n, patience)
        nothing = b.icmp_signed("==", calls, b.load(seen))
        with b.if_then(b.not_(nothing)):
            b.branch(at["called"])
        b.cbranch(again, at["look"], at["end"])
        b.position_at_end(at["called"])
        b.store(calls, seen)
        b.store(self._number(0), looks)
        self._add(b, counters, BUSY, 1)  # before it looks: who closes the job sees one of the two
        opened = b.icmp_signed("!=", self._read(b, counters, OPEN), self._number(0))
        b.cbranch(opened, at["inside"], at["out"])
        b.position_at_end(at["inside"])
        job = self._read(b, counters, JOB)
        seat = self._add(b, counters, SEATS, 1)
        helpers = b.load(self._place(b, job, HELPERS))
        b.cbranch(b.icmp_signed("<", seat, helpers), at["go"], at["out"])
        b.position_at_end(at["go"])
        self._run(b, counters, 1)
        b.branch(at["out"])
        b.position_at_end(at["out"])
        self._add(b, counters, BUSY, -1)
        b.branch(at["again"])
        b.position_at_end(at["again"])
        b.branch(at["look"])
        b.position_at_end(at["end"])
        self._add(b, counters, AWAKE, -1)
        b.ret(self._number(0))

    def call(self) -> None:
        """call(counters, entry, looks): open the job, work, close it, and look so many times
        whether helpers are within it. Returns how many are.
        """
        function, b = self._function("call", 3)
        counters, entry, most = function.args
        look, end = (function.append_basic_block(name) for name in ("look", "end"))
        looks = b.alloca(self.i64)
        b.store(self._number(0), looks)
        for k in (SEATS, TAKEN, LATE):
            self._write(b, counters, k, self._number(0))
        self._write(b, counters, ENTRY, entry)
        self._write(b, counters, OPEN, self._number(1))
        self._add(b, counters, CALLS, 1)
        self._run(b, counters, 0)
        self._write(b, counters, OPEN, self._number(0))
        b.branch(look)
        b.position_at_end(look)
        busy = self._read(b, counters, BUSY)
        n = b.add(b.load(looks), self._number(1))
        b.store(n, looks)
        more = b.and_(b.icmp_signed(">", busy, self._number(0)), b.icmp_signed("<", n, most))
        b.cbranch(more, look, end)
        b.position_at_end(end)
        b.ret(busy)

    def entry(self, kinds: Sequence[Any]) -> None:
        """entry(job, helper): take chunks, and call the kernel for each. kinds: its arguments."""
        function, b = self._function("entry", 2)
        job, helper = function.args
        names = ("take", "chunk", "late", "early", "work", "bad", "end")
        at = {name: function.append_basic_block(name) for name in names}
        byte = self.ir.IntType(8).as_pointer()
        returned, error = b.alloca(byte), b.alloca(byte)
        taken_early, part = b.alloca(self.i64), b.alloca(self.i64)
        b.store(self._number(0), taken_early)
        given = [b.load(self._place(b, job, k)) for k in range(ARGS)]
        counters, rows, chunks = given[COUNTERS], given[ROWS], given[CHUNKS]
        kernel_kind = self.ir.FunctionType(
            self.ir.IntType(32),
            [byte.as_pointer(), byte.as_pointer(), *kinds, self.i64, self.i64],
        )
        kernel = b.inttoptr(given[KERNEL], kernel_kind.as_pointer())
        args = []
        for k, kind in enumerate(kinds, ARGS):
            value = b.load(self._place(b, job, k))
            if isinstance(kind, self.ir.PointerType):
                value = b.inttoptr(value, kind)
            elif isinstance(kind, self.ir.DoubleType):
                value = b.bitcast(value, kind)
            elif kind != self.i64:
                value = b.trunc(value, kind)
            args.append(value)
        b.branch(at["take"])
        b.position_at_end(at["take"])
        left = b.icmp_signed("<", self._add(b, counters, TAKEN, 1), chunks)
        b.cbranch(left, at["chunk"], at["end"])
        b.position_at_end(at["chunk"])
        b.cbranch(b.icmp_signed("==", helper, self._number(0)), at["early"], at["late"])
        b.position_at_end(at["early"])  # the caller's, from the beginning
        k = b.load(taken_early)
        b.store(b.add(k, self._number(1)), taken_early)
        b.store(k, part)
        b.branch(at["work"])
        b.position_at_end(at["late"])  # a helper's, from the end
        before = self._add(b, counters, LATE, 1)
        b.store(b.sub(b.sub(chunks, self._number(1)), before), part)
        b.branch(at["work"])
        b.position_at_end(at["work"])
        k = b.load(part)
        start = b.sdiv(b.mul(rows, k), chunks)
        stop = b.sdiv(b.mul(rows, b.add(k, self._number(1))), chunks)
        status = b.call(kernel, [returned, error, *args, start, stop])
        b.cbranch(
            b.icmp_signed("==", status, self.ir.Constant(status.type, 0)), at["take"], at["bad"]
        )
        b.position_at_end(at["bad"])
        self._add(b, counters, FAILED, 1)
        b.branch(at["take"])
        b.position_at_end(at["end"])
        b.ret(self._number(0))


_crew: _Crew | None = None


def start() -> None:
    """Let helpers listen for jobs between two shares of Python."""
    global _crew
    _crew = _Crew()
    threads.listening, threads.ring = _listen, _ring
    threads.when_forked = start


def _listen() -> None:
    """What a helper does before it sleeps."""
    crew = _crew
    if crew is not None:
        crew.listen(crew.at, int(crew.counters[SHARES]), PATIENCE)


def _ring() -> None:
    """Call the helpers that listen back to Python, where a share waits for them."""
    if _crew is not None:
        _crew.counters[SHARES] += 1


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
        numbers: list[Any] = []
        for array, is_array in zip(args, entry.arrays, strict=True):
            if is_array:
                place = array.__array_interface__["data"][0]
                numbers += (0, 0, array.size, array.itemsize, place, *array.shape, *array.strides)
            else:
                numbers.append(array)
        chunks = min(n, cores * PER_CORE)
        entry.packed.pack_into(crew.job, 0, entry.kernel, crew.at, n, chunks, cores - 1, *numbers)
        crew.counters[JOB] = address(crew.job)
        threads.wake(cores - 1 - int(crew.counters[AWAKE]), cores - 1)
        busy = crew.call(crew.at, entry.address, LOOKS)
        while busy:
            time.sleep(2e-5)
            busy = int(crew.counters[BUSY])
        if crew.counters[FAILED]:
            crew.counters[FAILED] = 0
            raise RuntimeError("a compiled loop ended with an error")
    finally:
        crew.owner.release()
    return True
