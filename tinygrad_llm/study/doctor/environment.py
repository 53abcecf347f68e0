"""Environment variables that slow NumPy, Python or a GPU, and the command that unsets each."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass

__all__ = ["Variable", "slowing", "unset_command", "without"]

Test = Callable[[str, int], bool]  # (value, cores) -> whether it does harm


@dataclass(frozen=True)
class Variable:
    """One harmful variable: what it does, and how severe that is."""

    name: str
    value: str
    severity: str  # slow or note
    effect: str
    measured: bool  # whether products or new memory show what it costs
    threads: bool  # whether it sets the number of threads
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


def _not_a_number(value: str, cores: int) -> bool:
    return _number(value) is None


def _below(limit: int) -> Test:
    def test(value: str, cores: int) -> bool:
        n = _number(value)
        return n is not None and n < limit

    return test


_KERNEL = "forces OpenBLAS to use the code for a processor other than this one"
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
    ("OPENBLAS_NUM_THREADS GOTO_NUM_THREADS OMP_NUM_THREADS MKL_NUM_THREADS", _not_a_number, "note",
     "is not a number, so it is ignored", False),
    ("OMP_PROC_BIND", _is("true", "close", "spread", "master", "primary"), "slow", _PINNED, True),
    ("OMP_PLACES GOMP_CPU_AFFINITY KMP_AFFINITY", _always, "slow", _PINNED, True),
    ("MKL_DEBUG_CPU_TYPE MKL_ENABLE_INSTRUCTIONS NVPL_BLAS_DEBUG_CPU_TYPE BLIS_ARCH_TYPE", _always,
     "note", "makes another library of matrix products (MKL, NVPL, BLIS) use the code for another "
     "processor; it does not change OpenBLAS, which NumPy from PyPI uses", False),
    ("MKL_CBWR", _on, "note", "makes MKL slower for equal bits on every processor; it does not "
     "change OpenBLAS", False),
    ("NPY_DISABLE_CPU_FEATURES NPY_ENABLE_CPU_FEATURES", _on, "slow",
     "forbids NumPy some processor instructions: exp, tanh and sums get slower", False),
    ("NUMPY_MADVISE_HUGEPAGE", _is("0"), "slow",
     "keeps NumPy from asking for huge pages: each new large array costs more", True),
    ("MALLOC_MMAP_THRESHOLD_", _below(1 << 20), "slow", "makes the C library ask the system for "
     "every array above {value} bytes, and give it back: each use gets new pages", True),
    ("MALLOC_TRIM_THRESHOLD_", _below(1 << 20), "slow", "makes the C library give freed memory "
     "back to the system immediately: each use gets new pages", True),
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
    ("LD_PRELOAD", _on, "note", "loads {value} into every program; if it is a memory debugger "
     "or a sanitizer, everything gets slower", False),
    ("CUDA_LAUNCH_BLOCKING", _on, "slow", "makes Python wait for each GPU kernel: for finding "
     "mistakes only", False),
    ("CUDA_VISIBLE_DEVICES", _is("", "-1", "none"), "note", "hides every GPU from programs", False),
    ("CUPY_CACHE_IN_MEMORY", _on, "slow", "makes CuPy compile its kernels again in every process",
     False),
]  # fmt: skip


def slowing(environment: Mapping[str, str], cores: int) -> list[Variable]:
    """The variables that are set and harmful on a machine with this number of cores."""
    variables = []
    for names, harms, severity, effect, measured in _RULES:
        for name in names.split():
            value = environment.get(name)
            if value is None or (value == "" and name != "CUDA_VISIBLE_DEVICES"):
                continue
            if harms(value, cores):
                description = effect.format(value=value, cores=cores)
                threads = harms in (_fewer_threads, _more_threads)
                variables.append(
                    Variable(
                        name,
                        value,
                        severity,
                        description,
                        measured,
                        threads,
                        _advice(harms, severity),
                    )
                )
    return variables


def _advice(harms: Test, severity: str) -> str:
    advice = "unset it in this terminal"
    if harms is _fewer_threads:
        return f"right if several programs share the machine; otherwise {advice}"
    return f"if you don't need it, {advice}" if severity == "note" else advice


def unset_command(name: str) -> str:
    """The command that unsets a variable in the open terminal."""
    if os.name == "nt":
        return f"set {name}=   (PowerShell: Remove-Item Env:{name})"
    return f"unset {name}"


def without(environment: Mapping[str, str], variables: list[Variable]) -> dict[str, str]:
    """The environment without these variables."""
    names = {v.name for v in variables}
    return {k: v for k, v in environment.items() if k not in names}
