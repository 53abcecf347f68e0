"""Waiting for another thread's signal without the interpreter's lock and without sleeping."""

from __future__ import annotations

import functools
import importlib
import platform
import time
from typing import Any

import numpy as np

from .compiling import Helper, exact_kernel

__all__ = ["watch"]


class _Glance(Helper):
    """glance(array): its first number as it is in memory now; the processor rests for a moment."""

    def __init__(self) -> None:
        super().__init__(None, set())

    def compiled(self, char: str) -> Any:
        if char not in self.by_dtype:
            self.by_dtype[char] = _intrinsic()
        return self.by_dtype[char]


def _intrinsic() -> Any:
    ir = importlib.import_module("llvmlite.ir")
    x86 = platform.machine().lower() in ("x86_64", "amd64", "i686")

    def glance(context: Any, array: Any) -> Any:
        def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            if x86:
                kind = ir.FunctionType(ir.VoidType(), [])
                pause = builder.module.declare_intrinsic("llvm.x86.sse2.pause", [], kind)
                builder.call(pause, [])
            data = context.make_array(signature.args[0])(context, builder, args[0]).data
            return builder.load_atomic(data, "monotonic", 8)

        return array.dtype(array), code

    return importlib.import_module("numba.extending").intrinsic(glance)


glance: Any = _Glance()


@exact_kernel
def wait_loop(signal, seen, most, delay, counts, start, stop):
    """Look until signal[0] is not `seen`, `most` times at most; then `delay` times more.

    counts[0] becomes the number of looks, counts[1] whether it changed.
    """
    n = 0
    while n < most and glance(signal) == seen:
        n += 1
    counts[0] = n
    counts[1] = 0
    if n < most:
        counts[1] = 1
        for _ in range(delay):
            glance(signal)


@functools.cache
def per_second() -> float:
    """How often wait_loop looks in a second."""
    signal, counts = np.zeros(1, np.int64), np.zeros(2, np.int64)
    run = wait_loop.compiled(signal, 0, 0, 0, counts, 0, 1)
    rates = []
    for _ in range(5):  # the fastest: in a slower one another program had the core
        begin = time.perf_counter()
        run(signal, 0, 500, 0, counts, 0, 1)
        rates.append(500 / (time.perf_counter() - begin))
    return max(rates)


def watch(signal: Any, seen: int, seconds: float, delay: float = 0.0) -> bool:
    """Whether signal[0] is another number than `seen` before the seconds are over.

    delay: seconds to wait after the change, until who made it has left the interpreter.
    """
    counts, rate = np.zeros(2, np.int64), per_second()
    wait_loop(signal, seen, int(rate * seconds), int(rate * delay), counts, 0, 1)
    return bool(counts[1])
