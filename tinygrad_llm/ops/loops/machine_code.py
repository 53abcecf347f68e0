"""The functions in machine code by which helpers and a caller share a kernel: crew.py has the idea.

They are written here in LLVM's language, an instruction by a call. Every counter has a cache line,
8 int64:

    counters   CALLS, jobs that were called; SHARES, how often helpers were called to Python; REACH,
               cores that the last call reaches; OPEN, whether a job is open; BUSY, helpers within
               it; SEATS, how many have come to it; FAILED, chunks that ended with an error; JOB,
               the address of its arguments, and after it of its ENTRY
    of a core  TAKEN, chunks of its part that are taken, and after it STOLEN, those that others
               took, and BEGUN, whether it has begun with its part; ASLEEP, whether its helper
               sleeps; MUTEX and CONDITION, on which it sleeps
"""

from __future__ import annotations

import ctypes
import importlib
from collections.abc import Sequence
from typing import Any

__all__ = ["MachineCode"]

LINE = 8  # int64 in a cache line
CALLS, SHARES, REACH, OPEN, BUSY, SEATS, FAILED, JOB = range(0, 8 * LINE, LINE)
ENTRY = JOB + 1  # the address of the job's entry; that of its arguments is in JOB
FIRST, CORE = 8 * LINE, 4 * LINE  # where the first core's lines begin, and the length of a core's
TAKEN, STOLEN, BEGUN = 0, 1, 2  # within a core's lines
ASLEEP, MUTEX, CONDITION = LINE, 2 * LINE, 3 * LINE
MOST = 128  # cores
KERNEL, COUNTERS, ROWS, CORES, ARGS = range(5)  # places in a job
ROOM = 128  # int64 of a job
CHUNKS = 4  # of a core's part: a helper that begins late leaves some of them
LEFT = 1  # chunks of a part that others leave to its core, once that has begun
HEADER = object.__basicsize__  # bytes of an object before what its type adds


class MachineCode:
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
        """listen, call, within, rouse, rest; with the functions of the C library that they need."""
        self.outside: dict[str, Any] = {  # addresses
            name: ctypes.cast(getattr(library, f"pthread_{name}"), ctypes.c_void_p).value
            for name in ("mutex_lock", "mutex_unlock", "cond_wait", "cond_signal")
        }
        self.rouse()
        self.rest()
        self.listen()
        self.within()
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
        """rouse(counters, first, last): wake those of these helpers that sleep and that the call
        reaches, if the core that would wake them does not sleep itself: k wakes 2k + 1 and 2k + 2.
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
        reached = b.icmp_signed("<", helper, self._read(b, counters, REACH))
        b.cbranch(b.and_(there, reached), at["one"], at["end"])
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
        self._sleep(b, at, here, looks, nothing)
        b.position_at_end(at["called"])
        b.store(self._read(b, counters, CALLS), seen)
        b.store(self._number(0), looks)
        self._take_part(b, at, counters, helper, below)
        b.position_at_end(at["end"])
        b.call(self.rousing, [counters, *below])
        b.ret(self._number(0))

    def _sleep(self, b: Any, at: dict[str, Any], here: Any, looks: Any, nothing: Any) -> None:
        """From `sleep` on: until somebody wakes this helper; then to `look`."""
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

    def _take_part(self, b: Any, at: dict, counters: Any, helper: Any, below: Any) -> None:
        """In the job that was called, if it is still open and has a seat; then to `look`."""
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

    def within(self) -> None:
        """within(counters, looks): how many helpers are within the job; look so many times whether
        they have left it.
        """
        function, b = self._function("within", 2)
        self.looking = function
        counters, most = function.args
        look, end = (function.append_basic_block(name) for name in ("look", "end"))
        looks = b.alloca(self.i64)
        b.store(self._number(0), looks)
        b.branch(look)
        b.position_at_end(look)
        busy = self._read(b, counters, BUSY)
        self._pause(b)
        few = b.icmp_signed("<", self._counted(b, looks), most)
        b.cbranch(b.and_(b.icmp_signed(">", busy, self._number(0)), few), look, end)
        b.position_at_end(end)
        b.ret(busy)

    def call(self) -> None:
        """call(counters, entry, looks): open the job, work, close it, and look so many times
        whether helpers are within it. Returns how many are.
        """
        function, b = self._function("call", 3)
        counters, entry, most = function.args
        clear, opened = (function.append_basic_block(name) for name in ("clear", "opened"))
        core = b.alloca(self.i64)
        b.store(self._number(0), core)
        cores = self._plain(b, self._read(b, counters, JOB), CORES)
        b.store(cores, self._place(b, counters, REACH))
        b.store(entry, self._place(b, counters, ENTRY))
        self._write(b, counters, SEATS, 0)
        b.branch(clear)
        b.position_at_end(clear)
        here = self._core(b, counters, b.load(core))
        for k in (TAKEN, STOLEN, BEGUN):
            b.store(self._number(0), self._place(b, here, k))
        b.cbranch(b.icmp_signed("<", self._counted(b, core), cores), clear, opened)
        b.position_at_end(opened)
        self._write(b, counters, OPEN, 1)
        self._add(b, counters, CALLS, 1)
        b.call(self.rousing, [counters, self._number(1), b.sub(cores, self._number(1))])
        self._run(b, counters, self._number(0))
        self._write(b, counters, OPEN, 0)
        b.ret(b.call(self.looking, [counters, most]))

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
        b.store(self._number(0), own)  # chunks that it took of the part that is its
        address, counters, rows, cores = (self._plain(b, job, k) for k in range(ARGS))
        kernel_kind = self.ir.FunctionType(
            self.ir.IntType(32),
            [byte.as_pointer(), byte.as_pointer(), *kinds, self.i64, self.i64],
        )
        kernel = b.inttoptr(address, kernel_kind.as_pointer())
        args = self._arguments(b, job, kinds, arrays)
        chunks = self._number(CHUNKS)
        every = b.mul(cores, chunks)
        self._write(b, self._core(b, counters, core), BEGUN, 1)
        b.branch(at["part"])
        b.position_at_end(at["part"])
        part = b.srem(b.add(core, b.load(others)), cores)
        here = self._core(b, counters, part)
        b.branch(at["look"])
        b.position_at_end(at["look"])
        # the last ones of a core that works are in its cache, and it takes them next
        begun = b.icmp_signed("!=", self._read(b, here, BEGUN), self._number(0))
        others_own = b.and_(begun, b.icmp_signed("!=", part, core))
        most = b.select(others_own, self._number(CHUNKS - LEFT), chunks)
        left = b.icmp_signed("<", self._read(b, here, TAKEN), most)
        b.cbranch(left, at["take"], at["next"])
        b.position_at_end(at["take"])
        taken = b.icmp_signed("<", self._add(b, here, TAKEN, 1), chunks)
        with b.if_then(b.not_(taken)):
            b.branch(at["next"])
        # a helper beyond the cores of the job has no part
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
