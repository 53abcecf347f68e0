"""Measures NumPy in a separate process, so that environment variables can be compared.

python child.py [all CORES]      prints one line of JSON; needs only NumPy

CORES is the number of cores that share the measurement of the memory's bandwidth. Nothing of this
package is imported: it is NumPy alone that is measured.
"""

from __future__ import annotations

import ctypes
import glob
import json
import os
import sys
import threading
import time
from typing import Any

import numpy as np

N = 1024


def blas() -> dict[str, Any]:
    """Library, version, kernel and threads of the product, through threadpoolctl or ctypes."""
    np.ones((64, 64), np.float32) @ np.ones((64, 64), np.float32)
    try:
        from threadpoolctl import threadpool_info

        for library in threadpool_info():
            if library.get("user_api") == "blas":
                return {
                    "library": library["internal_api"], "version": library.get("version"),
                    "kernel": library.get("architecture"), "threads": library["num_threads"],
                    "through": "threadpoolctl",
                }  # fmt: skip
    except ImportError:
        pass
    return by_ctypes() or by_numpy()


def by_ctypes() -> dict[str, Any] | None:
    """What OpenBLAS reports about itself, if NumPy's copy of it can be found."""
    packages = os.path.dirname(os.path.dirname(np.__file__))
    places = ("numpy.libs/*openblas*", "numpy/.libs/*openblas*", "numpy/.dylibs/*openblas*")
    for file in [f for place in places for f in glob.glob(os.path.join(packages, place))]:
        try:
            library = ctypes.CDLL(file)
        except OSError:
            continue
        for prefix in ("scipy_openblas", "openblas"):
            for suffix in ("64_", "64", ""):
                try:
                    config = getattr(library, f"{prefix}_get_config{suffix}")
                    kernel = getattr(library, f"{prefix}_get_corename{suffix}")
                    threads = getattr(library, f"{prefix}_get_num_threads{suffix}")
                except AttributeError:
                    continue
                config.restype = kernel.restype = ctypes.c_char_p
                words = config().decode().split()
                return {
                    "library": "openblas", "version": words[1] if len(words) > 1 else None,
                    "kernel": kernel().decode(), "threads": threads(), "through": "ctypes",
                }  # fmt: skip
    return None


def by_numpy() -> dict[str, Any]:
    """What NumPy was built with: a name and a version, but neither kernel nor threads."""
    try:
        config: Any = np.show_config(mode="dicts")
        built = config["Build Dependencies"]["blas"]
        return {"library": built["name"], "version": built.get("version"), "kernel": None,
                "threads": None, "through": "numpy.show_config"}  # fmt: skip
    except (KeyError, TypeError):
        return {"library": None, "version": None, "kernel": None, "threads": None, "through": None}


def sgemm(seconds: float = 0.35) -> dict[str, Any]:
    """GFLOP/s of a float32 product, the best of all runs; and whether its numbers are right."""
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal((N, N), np.float32) for _ in range(2))
    out = a @ b
    exact = a[:8].astype(np.float64) @ b.astype(np.float64)
    right = bool(np.abs(out[:8] - exact).max() < 1e-3)
    times: list[float] = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times) < 3:
        start = time.perf_counter()
        np.matmul(a, b, out=out)
        times.append(time.perf_counter() - start)
    return {"gflops": 2 * N**3 / min(times) / 1e9, "right": right}


def fresh_memory() -> dict[str, Any]:
    """The time to fill a new array of 64 MB, and the number of its page faults."""
    times: list[float] = []
    faults = None
    for _ in range(5):
        before = page_faults()
        start = time.perf_counter()
        np.empty(1 << 24, np.float32).fill(1.0)
        times.append(time.perf_counter() - start)
        after = page_faults()
        if before is not None and after is not None:
            faults = after - before
    return {"fresh_ms": min(times) * 1e3, "faults": faults}


def page_faults() -> int | None:
    """Page faults of this process so far; None if the system does not count them."""
    try:
        import resource
    except ImportError:
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def bandwidth(cores: int, seconds: float = 0.3) -> float:
    """GB/s read and written while every core copies its part of an array of 128 MB."""
    source, target = np.ones(1 << 25, np.float32), np.ones(1 << 25, np.float32)
    parts = list(zip(np.array_split(source, cores), np.array_split(target, cores), strict=True))
    best = float("inf")
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        workers = [threading.Thread(target=np.copyto, args=(t, s)) for s, t in parts]
        start = time.perf_counter()
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        best = min(best, time.perf_counter() - start)
    return 2 * source.nbytes / best / 1e9


def main() -> None:
    """Measure, and print the results as JSON."""
    rates: dict[str, Any] = {**sgemm(), **fresh_memory()}
    if "all" in sys.argv:
        rates |= {"blas": blas(), "bandwidth": bandwidth(int(sys.argv[-1]))}
    print(json.dumps(rates))


if __name__ == "__main__":
    main()
