"""The machine as it is now: kernel and threads of the matrix product, its measured rate."""

from __future__ import annotations

import functools
import json
import os
import platform
import subprocess
import sys
import time
from typing import Any

# the first two force a kernel and a block size; with the third every import compiles its files
SLOWING = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE", "PYTHONDONTWRITEBYTECODE")

# What holds each library to AVX2: NumPy, OpenBLAS, Numba, PyTorch, and its MKL and oneDNN
AVX2 = {
    "NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512F AVX512CD AVX512_SKX AVX512_CLX AVX512_CNL "
    "AVX512_ICL AVX512_SPR",  # NumPy 2.4's names, and those before
    "OPENBLAS_CORETYPE": "Haswell",
    "NUMBA_CPU_NAME": "haswell",
    "NUMBA_CPU_FEATURES": "+avx2,+fma",
    "ATEN_CPU_CAPABILITY": "avx2",
    "MKL_ENABLE_INSTRUCTIONS": "AVX2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
}
_held: dict[str, str] = {}  # variables of the instruction set that --isa names


def hold_to_isa(isa: str | None) -> None:
    """Hold this process, before it imports NumPy, and those it starts to an instruction set."""
    if isa == "avx2":
        _held.update(AVX2)
        os.environ.update(AVX2)


def clean_environment(threads: int | None = None) -> dict[str, str]:
    """The environment for a benchmark's processes: without what slows it."""
    env = {k: v for k, v in os.environ.items() if k not in SLOWING}
    env["PYTHONPATH"] = os.pathsep.join([os.getcwd(), *filter(None, [env.get("PYTHONPATH")])])
    if threads:
        for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
            env[name] = str(threads)
    return env | _held


def hold_to(threads: int) -> None:
    """Hold this process to so many cores: the variables of the environment reach libraries alone.

    This package counts the cores that a process may use.
    """
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])


def run_child(module: str, *args: Any, threads: int | None = None, timeout: float = 3600) -> Any:
    """Run `python -m module args` in a fresh process; return its last line of output, from JSON."""
    command = [sys.executable, "-m", module, *map(str, args)]
    hold = functools.partial(hold_to, threads) if threads and sys.platform == "linux" else None
    done = subprocess.run(
        command, env=clean_environment(threads), capture_output=True, text=True, timeout=timeout,
        preexec_fn=hold,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def blas() -> dict[str, Any]:
    """Library, version, kernel and threads of NumPy's matrix product."""
    import numpy

    numpy.ones((64, 64), "float32") @ numpy.ones((64, 64), "float32")
    try:
        from threadpoolctl import threadpool_info
    except ImportError:
        return {"library": "unknown (pip install threadpoolctl)"}
    for library in threadpool_info():
        if library.get("user_api") == "blas":
            return {
                "library": library["internal_api"],
                "version": library.get("version"),
                "kernel": library.get("architecture"),
                "threads": library["num_threads"],
            }
    return {"library": "none found"}


def sgemm_rate(n: int = 2048, seconds: float = 1.0) -> float:
    """GFLOP/s of an n x n float32 product: the median over `seconds`, after warming up."""
    import numpy as np

    a, b = np.ones((n, n), np.float32), np.ones((n, n), np.float32)
    out = np.empty_like(a)
    np.matmul(a, b, out=out)
    times = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times) < 5:
        start = time.perf_counter()
        np.matmul(a, b, out=out)
        times.append(time.perf_counter() - start)
    return 2 * n**3 / sorted(times)[len(times) // 2] / 1e9


def peak_memory() -> int:
    """The most bytes this process has held (resident); 0 where the system does not say."""
    try:
        import resource
    except ImportError:
        return 0
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return kilobytes if sys.platform == "darwin" else kilobytes * 1024


def describe() -> str:
    """One line on the machine: processor, cores, kernel, threads, NumPy."""
    import numpy

    name = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo") as file:
            name = next(line.split(":", 1)[1].strip() for line in file if "model name" in line)
    except (OSError, StopIteration):
        pass
    b = blas()
    return (
        f"{name}, {os.cpu_count()} cores; NumPy {numpy.__version__}, {b['library']} "
        f"{b.get('version', '')} {b.get('kernel', '')}, {b.get('threads', '?')} threads; "
        f"Python {platform.python_version()}"
        f"{'; held to AVX2' if AVX2.items() <= os.environ.items() else ''}"
    )


if __name__ == "__main__":
    print(json.dumps({"text": describe(), "sgemm": sgemm_rate(), **blas()}))
