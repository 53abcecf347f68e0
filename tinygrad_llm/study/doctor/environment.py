"""Environment variables that slow NumPy, Python or a GPU, and the command that takes each away."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass

__all__ = ["Variable", "slowing", "unset_command", "without"]

Test = Callable[[str, int], bool]  # (value, cores) -> whether it does harm


@dataclass(frozen=True)
class Variable:
    """One variable that does harm: what it does, to what, and how badly."""

    name: str
    value: str
    severity: str  # slow or note
    effect: str
    measured: bool  # whether products or fresh memory show what it costs
    threads: bool  # whether it says how many threads work
    advice: str


def _always(value: str, cores: int) -> bool:
    return True


def _is(*values: str) -> Test:
    return lambda value, cores: value.strip().lower() in values


def _on(value: str, cores: int) -> bool:
    return value.strip().lower() not in ("", "0", "false", "off", "no")


def _number(value: str) -> int | None:
    try:
        return int(value.split(",")[0])
    except ValueError:
        return None


def _fewer_threads(value: str, cores: int) -> bool:
    n = _number(value)
    return n is not None and 0 < n < cores


def _more_threads(value: str, cores: int) -> bool:
    n = _number(value)
    return n is not None and n > cores


def _no_number(value: str, cores: int) -> bool:
    return _number(value) is None


def _below(limit: int) -> Test:
    def test(value: str, cores: int) -> bool:
        n = _number(value)
        return n is not None and n < limit

    return test


_KERNEL = "forces OpenBLAS to use the code for another processor than the one that is here"
_PINNED = "ties threads to certain cores, so that they wait for one another"
_DEBUG = "makes every memory allocation slower: it is for finding mistakes in C code"
_RULES: list[tuple[str, Test, str, str, bool]] = [
    # names, when it harms, severity, what it does, whether a product or an array shows it
    ("OPENBLAS_CORETYPE", _always, "slow", _KERNEL, True),
    ("OPENBLAS_L2_SIZE", _always, "slow", "tells OpenBLAS a cache size, in place of the real one, "
     "by which it cuts matrices into blocks", True),
    ("OPENBLAS_THREAD_TIMEOUT", _always, "slow", "changes how long idle threads of OpenBLAS spin, "
     "which takes the core from other work", True),
    ("OPENBLAS_NUM_THREADS GOTO_NUM_THREADS OMP_NUM_THREADS OPENBLAS_DEFAULT_NUM_THREADS "
     "MKL_NUM_THREADS BLIS_NUM_THREADS VECLIB_MAXIMUM_THREADS OMP_THREAD_LIMIT", _fewer_threads,
     "slow", "lets matrix products use {value} of {cores} cores", True),
    ("OPENBLAS_NUM_THREADS GOTO_NUM_THREADS OMP_NUM_THREADS OPENBLAS_DEFAULT_NUM_THREADS "
     "MKL_NUM_THREADS BLIS_NUM_THREADS", _more_threads, "slow",
     "asks for {value} threads on {cores} cores: they take the cores from one another", True),
    ("OPENBLAS_NUM_THREADS GOTO_NUM_THREADS OMP_NUM_THREADS MKL_NUM_THREADS", _no_number, "note",
     "is no number, and so is not heeded", False),
    ("OMP_PROC_BIND", _is("true", "close", "spread", "master", "primary"), "slow", _PINNED, True),
    ("OMP_PLACES GOMP_CPU_AFFINITY KMP_AFFINITY", _always, "slow", _PINNED, True),
    ("MKL_DEBUG_CPU_TYPE MKL_ENABLE_INSTRUCTIONS NVPL_BLAS_DEBUG_CPU_TYPE BLIS_ARCH_TYPE", _always,
     "note", "makes another library of matrix products (MKL, NVPL, BLIS) take the code for another "
     "processor; it does not change OpenBLAS, which NumPy from PyPI uses", False),
    ("MKL_CBWR", _on, "note", "makes MKL slower for equal bits on every processor; it does not "
     "change OpenBLAS", False),
    ("NPY_DISABLE_CPU_FEATURES NPY_ENABLE_CPU_FEATURES", _on, "slow",
     "takes processor instructions from NumPy: exp, tanh and sums get slower", False),
    ("NUMPY_MADVISE_HUGEPAGE", _is("0"), "slow",
     "keeps NumPy from asking for huge pages: each new large array costs more", True),
    ("MALLOC_MMAP_THRESHOLD_", _below(1 << 20), "slow", "makes the C library ask the system for "
     "every array above {value} bytes, and give it back: each use meets new pages", True),
    ("MALLOC_TRIM_THRESHOLD_", _below(1 << 20), "slow", "makes the C library give freed memory "
     "back to the system at once: each use meets new pages", True),
    ("MALLOC_PERTURB_", _on, "slow", "fills all memory at every allocation and release", True),
    ("MALLOC_CHECK_", _on, "slow", _DEBUG, True),
    ("PYTHONMALLOC", _is("debug", "malloc", "malloc_debug", "pymalloc_debug"), "slow", _DEBUG,
     False),
    ("PYTHONDEVMODE PYTHONTRACEMALLOC", _on, "slow",
     "makes Python check or record every allocation: small operations take several times as long",
     False),
    ("PYTHONDONTWRITEBYTECODE", _on, "note",
     "makes Python compile every file again at every start: importing gets slower", False),
    ("PYTHONPROFILEIMPORTTIME", _on, "note", "prints a line for every import", False),
    ("LD_PRELOAD", _on, "note", "loads {value} into every program; if it is a debugger of memory "
     "or a sanitizer, everything gets slower", False),
    ("CUDA_LAUNCH_BLOCKING", _on, "slow", "makes Python wait for each GPU kernel: for finding "
     "mistakes only", False),
    ("CUDA_VISIBLE_DEVICES", _is("", "-1", "none"), "note", "hides every GPU from programs", False),
    ("CUPY_CACHE_IN_MEMORY", _on, "slow", "makes CuPy compile its kernels again in every process",
     False),
]  # fmt: skip


def slowing(environment: Mapping[str, str], cores: int) -> list[Variable]:
    """The variables that are set and do harm on a machine of so many cores."""
    found = []
    for names, harms, severity, effect, measured in _RULES:
        for name in names.split():
            value = environment.get(name)
            if value is None or (value == "" and name != "CUDA_VISIBLE_DEVICES"):
                continue
            if harms(value, cores):
                told = effect.format(value=value, cores=cores)
                threads = harms in (_fewer_threads, _more_threads)
                found.append(
                    Variable(
                        name, value, severity, told, measured, threads, _advice(harms, severity)
                    )
                )
    return found


def _advice(harms: Test, severity: str) -> str:
    advice = "take it away in this terminal"
    if harms is _fewer_threads:
        return f"right where several programs share the machine; otherwise {advice}"
    return f"if you don't need it, {advice}" if severity == "note" else advice


def unset_command(name: str) -> str:
    """The command that takes a variable away in the terminal that is open."""
    if os.name == "nt":
        return f"set {name}=   (PowerShell: Remove-Item Env:{name})"
    return f"unset {name}"


def without(environment: Mapping[str, str], variables: list[Variable]) -> dict[str, str]:
    """The environment without these variables."""
    names = {v.name for v in variables}
    return {k: v for k, v in environment.items() if k not in names}
