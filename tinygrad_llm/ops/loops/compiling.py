"""How a kernel is compiled, cached, and shared among the cores."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import sys
import threading
import time
import types
import zlib
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ...arrays import blas
from ...arrays.parallel import thread_count
from ...arrays.threads import call_together
from . import crew, wide

__all__ = [
    "Helper", "Kernel", "exact_kernel", "fused", "helper", "kernel", "missing", "on_every_core",
    "precise_helper", "shared",
]  # fmt: skip

OLDEST = (0, 61)  # Numba; older ones do not know NumPy 2.1 and newer
# What LLVM may change in a sum or product. NaN and infinities keep their meaning; with "arcp" it
# takes an estimate of 1/√x and improves it by Newton's formula, which makes 1/√∞ = 0 a NaN.
FAST = {"contract", "reassoc", "nsz"}
PRECISE = {"contract", "nsz"}  # for a function whose order of operations is its precision
SHARE = 1 << 15  # numbers that are worth waking another core for

numba: Any = None


def missing() -> str | None:
    """Import Numba; why it cannot be used, or None."""
    global numba
    if importlib.util.find_spec("numba") is None:
        return "Numba is not installed"
    version = importlib.metadata.version("numba")
    if tuple(int(n) for n in version.split(".")[:2] if n.isdigit()) < OLDEST:
        return f"Numba {version} is too old: {OLDEST[0]}.{OLDEST[1]} or newer is needed"
    try:
        numba = importlib.import_module("numba")
    except Exception as error:  # it refuses a Python or a NumPy that it does not know
        return f"Numba {version} cannot be imported: {error}"
    return None


# ------------------------------------------------------------------------------- one for a dtype
WORDS: dict[str, dict[str, Any]] = {
    # the words of a kernel that depend on its dtype; see elementary.py
    "f": {"f": np.float32, "whole": np.int32, "DOUBLE": False, "BITS": 23, "BIAS": 127},
    "d": {"f": np.float64, "whole": np.int64, "DOUBLE": True, "BITS": 52, "BIAS": 1023},
}


def _stamp() -> str:
    """A number that changes with the code that every kernel may contain.

    Numba looks at a kernel's own file only, to see whether what it has cached is out of date.
    """
    here = Path(__file__).parent
    text = b"".join(
        (here / f"{name}.py").read_bytes()
        for name in ("elementary", "compiling", "products", "lanes", "packed", "few_rows", "wide")
    )
    integers = [p and p[1] for p in map(blas.product, "fd")]  # as wide as BLAS's
    return f"{zlib.crc32(text + repr(integers).encode()):08x}"


def _for_dtype(function: Any, char: str, label: str = "") -> Any:
    """A copy of a function in which the words of WORDS and the helpers are those of one dtype."""
    names = {**function.__globals__, **WORDS.get(char, {})}
    for name in function.__code__.co_names:
        value = function.__globals__.get(name)
        if isinstance(value, Helper):
            names[name] = value.compiled(char)
    copy = types.FunctionType(function.__code__, names, function.__name__)
    copy.__module__ = function.__module__
    # Numba names its files by this; a file then holds one signature, so that processes that
    # compile at the same time cannot mix them up
    copy.__qualname__ = f"{function.__name__}_{label or char}_{_stamp()}"
    return copy


class Helper:
    """A function that kernels call, such as exp: compiled for each dtype, and inlined by LLVM."""

    def __init__(self, function: Any, fast: set[str]) -> None:
        self.function, self.fast, self.by_dtype = function, fast, {}  # type: ignore[var-annotated]
        self.__doc__ = function.__doc__

    def __call__(self, *args: Any) -> Any:
        return self.compiled(np.asarray(args[0]).dtype.char)(*args)

    def compiled(self, char: str) -> Any:
        """Numba's function for the dtype."""
        if char not in self.by_dtype:
            options = {"fastmath": self.fast, "error_model": "numpy", "nogil": True}
            options["forceinline"] = True  # LLVM would leave large ones as calls, which end a loop
            compiled = numba.njit(**options, **wide.options())  # one with a loop needs it too
            self.by_dtype[char] = compiled(_for_dtype(self.function, char))
        return self.by_dtype[char]


def helper(function: Any) -> Any:
    """A decorator: a function of numbers that kernels may call."""
    return Helper(function, FAST)


def precise_helper(function: Any) -> Any:
    """A decorator like helper, for a function whose operations must stay in their order."""
    return Helper(function, PRECISE)


class _Fused(Helper):
    """fused(x, y, z) = x·y + z, rounded once: one instruction of the processor."""

    def __init__(self) -> None:
        super().__init__(None, set())

    def compiled(self, char: str) -> Any:
        if char not in self.by_dtype:

            def fused(context: Any, x: Any, y: Any, z: Any) -> Any:
                def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
                    return builder.fma(*args)

                return x(x, x, x), code

            self.by_dtype[char] = importlib.import_module("numba.extending").intrinsic(fused)
        return self.by_dtype[char]


fused: Any = _Fused()


class Kernel:
    """A plain loop, compiled when it is first called with arrays of a dtype.

    Its arrays are in row order and writeable, all of the dtype of the first or integers; numbers
    are Python's. Numba keeps the result in __pycache__ beside the source, or in the user's cache
    folder if that cannot be written.
    """

    def __init__(self, function: Any, fast: set[str]) -> None:
        self.function, self.fast = function, fast
        self.by_types: dict[Any, Callable[..., None]] = {}
        self.__name__, self.__doc__ = function.__name__, function.__doc__

    def __call__(self, *args: Any) -> None:
        """Run it: it writes its results into some of the arrays."""
        self.compiled(*args)(*args)

    def compiled(self, *args: Any) -> Callable[..., None]:
        """The machine code for arguments like these."""
        # a signature with an integer would take 0.1 as 0: so the numbers' types count too; and
        # helpers read arrays as what the kernel was compiled for
        key = tuple([a.dtype if type(a) is np.ndarray else type(a) for a in args])
        if key not in self.by_types:
            with crew.making_code():
                if key not in self.by_types:
                    self.by_types[key] = self._compile(args[0].dtype.char, args)
        return self.by_types[key]

    def _compile(self, char: str, args: tuple) -> Callable[..., None]:
        global _seconds, _announced
        started = time.perf_counter()
        kinds = "".join(_kind(a, char) for a in args)
        function = _for_dtype(self.function, char, f"{char}_{kinds}")
        signature = numba.void(*[numba.typeof(a) for a in args])
        options = {"fastmath": self.fast, "error_model": "numpy", "nogil": True, **wide.options()}
        try:
            made = numba.njit(signature, cache=True, **options)(function)
        except (OSError, RuntimeError):  # no folder that can be written
            made = numba.njit(signature, **options)(function)
        _seconds += time.perf_counter() - started
        if _seconds > 2.0 and not _announced:
            _announced = True
            print(MESSAGE, file=sys.stderr, flush=True)
        return made


def _kind(a: Any, char: str) -> str:
    """A letter for an argument: f and i for numbers, n for an array, capital for another float."""
    if isinstance(a, np.ndarray) and a.dtype.kind == "f" and a.dtype.char != char:
        return a.dtype.char.upper()
    return type(a).__name__[0]


MESSAGE = (
    "tinygrad_llm: compiling loops for this processor, which takes up to 20 seconds the first "
    "time; TINYGRAD_LLM_LOOPS=0 does without"
)
_seconds, _announced = 0.0, False


def kernel(function: Any) -> Kernel:
    """A decorator: a loop over rows or elements `start` to `stop`, its last two arguments."""
    return Kernel(function, FAST)


def exact_kernel(function: Any) -> Kernel:
    """A decorator like kernel, for results equal to the bit: every operation is rounded."""
    return Kernel(function, set())


def shared(loop: Kernel, n: int, size: int, *args: Any) -> None:
    """Run loop(*args, start, stop) for all of range(n), on every core.

    size: the numbers that it goes through in all. Few are not shared. What the loop computes for
    one row must not depend on the others, so that the number of cores changes nothing. OpenBLAS
    keeps its threads: a loop that calls it, as attention does, limits them itself.
    """
    cores = min(thread_count(), size // SHARE, n)
    run = loop.compiled(*args, 0, n)
    if cores < 2:
        run(*args, 0, n)
        return
    if crew.run_together(run, n, cores, args):
        return
    parts = deque((n * i // cores, n * (i + 1) // cores) for i in range(cores))
    caller = threading.get_ident()

    def work() -> None:
        take = parts.popleft if threading.get_ident() == caller else parts.pop
        while True:
            try:
                part = take()
            except IndexError:  # none is left
                return
            run(*args, *part)

    call_together(work, cores)


def on_every_core(loop: Kernel, *args: Any) -> None:
    """Run loop(*args, start, stop) on each core: it divides its work among them by itself."""
    cores = thread_count()
    run = loop.compiled(*args, 0, cores)
    if cores == 1:
        run(*args, 0, 1)
    elif not crew.run_together(run, cores, cores, args):
        call_together(lambda: run(*args, 0, 1), cores)
