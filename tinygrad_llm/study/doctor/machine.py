"""The machine: processor, memory, their speed, and the cost of environment variables."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...arrays.parallel import core_count, machine_memory
from .environment import Variable, slowing, unset_command, without
from .finding import Finding, installed, pip_install, run_python

__all__ = ["look_at_machine", "look_at_memory", "look_at_speed"]

_CHILD = str(Path(__file__).with_name("child.py"))
_HUGE = Path("/sys/kernel/mm/transparent_hugepage/enabled")
_THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
_FAULTS = 1000  # a new array of 64 MB: 33 with huge pages, 16,385 without


def quota() -> float | None:
    """How many cores' time a container may use; None if it is not limited."""
    try:
        limit, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return None if limit == "max" else int(limit) / int(period)
    except (OSError, ValueError):
        pass
    try:
        base = Path("/sys/fs/cgroup/cpu")
        limit_us = int((base / "cpu.cfs_quota_us").read_text())
        return None if limit_us < 0 else limit_us / int((base / "cpu.cfs_period_us").read_text())
    except (OSError, ValueError):
        return None


def processor() -> str:
    """The processor's name."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            return next(line.split(":", 1)[1].strip() for line in file if "model name" in line)
    except (OSError, StopIteration):
        return platform.processor() or platform.machine() or "unknown processor"


def memory() -> tuple[int, int] | None:
    """(all, available) bytes of memory; None if the system does not say."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        rows = {k: int(v.split()[0]) * 1024 for k, _, v in (line.partition(":") for line in lines)}
        return rows["MemTotal"], rows["MemAvailable"]
    except (OSError, ValueError, KeyError, IndexError):
        pass
    total = machine_memory()
    return None if total is None else (total, total)


def look_at_machine() -> list[Finding]:
    """Processor, cores, a container's limit, memory, and what else is running."""
    area, n, all_cores = "Machine", core_count(), os.cpu_count() or 1
    findings = [
        Finding(
            area,
            "processor",
            "ok",
            f"{processor()}, {_count(n, 'core')}",
            facts={"name": processor(), "cores": n, "all_cores": all_cores},
        )  # fmt: skip
    ]
    if n < all_cores:
        findings.append(Finding(
            area, "cores", "note", f"this process may use {n} of {all_cores} cores",
            "it is limited by taskset, a container or a batch system",
            facts={"cores": n, "all_cores": all_cores},
        ))  # fmt: skip
    share = quota()
    if share is not None and share < n:
        whole = max(1, int(share))
        findings.append(Finding(
            area, "container", "slow",
            f"a container's limit gives {share:g} cores' time to {n} threads",
            "matrix products start a thread for each core that they see, and these threads wait "
            "for one another: let them start fewer", f"export OPENBLAS_NUM_THREADS={whole}",
            {"cores_of_time": share},
        ))  # fmt: skip
    if hasattr(os, "getloadavg"):
        load = os.getloadavg()[0]
        if load > 0.5 * n:
            findings.append(Finding(
                area, "load", "note",
                f"other programs are working: {load:.1f} on average in the last minute, "
                f"on {_count(n, 'core')}",
                "the rates below are lower than they could be: close what you don't need, and run "
                "this again", facts={"load": load},
            ))  # fmt: skip
    if (bytes_ := memory()) is not None:
        total, free = bytes_
        short = free < 1 << 30
        findings.append(Finding(
            area, "memory", "slow" if short else "ok",
            f"{total / 1e9:.1f} GB of memory, {free / 1e9:.1f} GB of it free",
            "the default model needs 0.1 GB, GPT-2's size 4 GB: close other programs"
            if short else "", facts={"total": total, "free": free},
        ))  # fmt: skip
    return findings


def look_at_memory(measured: Mapping[str, Any]) -> list[Finding]:
    """Huge pages: what the system reports, and what a new array costs."""
    area, faults = "Speed", measured.get("faults")
    facts = {"faults": faults, "fresh_ms": measured.get("fresh_ms")}
    try:
        setting = _HUGE.read_text().split("[", 1)[1].partition("]")[0]
    except (OSError, IndexError):
        if sys.platform.startswith("linux"):
            return [Finding(area, "huge pages", "note", "huge pages: the system does not say",
                            facts=facts)]  # fmt: skip
        return []
    facts["setting"] = setting
    if faults is None or faults < _FAULTS:
        return [Finding(
            area, "huge pages", "ok",
            f"huge pages are used ({setting}): a new array of 64 MB had {faults} page faults",
            facts=facts,
        )]  # fmt: skip
    text = f"huge pages are not used ({setting}): a new array of 64 MB had {faults:,} page faults"
    if setting == "never":
        return [Finding(
            area, "huge pages", "slow", text,
            "the system provides memory in pages of 4 kB instead of 2 MB: new large arrays cost "
            "several times as much; the command needs an administrator and lasts until a restart",
            f"echo madvise | sudo tee {_HUGE}", facts,
        )]  # fmt: skip
    return [Finding(
        area, "huge pages", "slow", text,
        "the system could use them: see the environment variables; memory that is nearly full or "
        "fragmented also prevents it", facts=facts,
    )]  # fmt: skip


def _measure(environment: Mapping[str, str], *how: str) -> dict[str, Any]:
    code, out, errors = run_python([_CHILD, *how], environment, timeout=60.0)
    if code != 0:
        last = errors.strip().splitlines()[-1:] or [f"exit code {code}"]
        raise RuntimeError(f"NumPy's products could not be measured: {last[0]}")
    return json.loads(out.strip().splitlines()[-1])


def look_at_speed(environment: Mapping[str, str]) -> list[Finding]:
    """The speed of products and memory now, and the cost of variables that slow them."""
    n = core_count()
    variables = slowing(environment, n)
    suspects = [v for v in variables if v.measured]
    first = _measure(environment, "all", str(n))
    cost = _cost(suspects, environment) if suspects else None
    findings = [_products(first["blas"], first["gflops"], cost, n)]
    if not first["right"]:
        findings.append(Finding(
            "Speed", "right numbers", "broken", "a matrix product returned wrong numbers",
            "the library of matrix products does not fit this processor: install another version "
            "of NumPy", pip_install("--upgrade", "--force-reinstall", "numpy"),
        ))  # fmt: skip
    findings.append(Finding(
        "Speed", "memory bandwidth", "ok",
        f"memory: {first['bandwidth']:.0f} GB/s read and written by a copy on every core",
        facts={"gb_per_second": first["bandwidth"]},
    ))  # fmt: skip
    findings += look_at_memory(first)
    findings += [_variable(v) for v in variables]
    if cost is not None:
        findings.append(cost)
    elif not variables:
        findings.append(Finding("Environment", "variables", "ok",
                             "no environment variable slows NumPy, Python or a GPU"))  # fmt: skip
    return findings


def _products(blas: Mapping[str, Any], gflops: float, cost: Finding | None, n: int) -> Finding:
    threads = blas.get("threads")
    library = blas.get("library") or "an unknown library"
    if blas.get("version"):
        library += f" {blas['version']}"
    if blas.get("kernel"):
        library += f", code for {blas['kernel']}"
    library += f", {_count(threads, 'thread')}" if threads else ", threads unknown"
    speedup = cost.facts["products_times"] if cost is not None else 1.0
    few = threads is not None and threads < n
    advice, command = "", ""
    if speedup > 1.1:
        advice = f"{speedup:.1f} times as fast without the environment variables named below"
    elif few:
        advice = f"a product uses only {threads} of {n} cores: see the environment variables"
    elif threads is None:
        advice = "threadpoolctl shows which code it runs, and in how many threads"
        command = "" if installed("threadpoolctl") else pip_install("threadpoolctl")
    return Finding(
        "Speed", "matrix products", "slow" if speedup > 1.1 or few else "ok",
        f"matrix products: {gflops:.0f} GFLOP/s (float32, {library})", advice, command,
        {**blas, "gflops": gflops},
    )  # fmt: skip


def _variable(v: Variable) -> Finding:
    return Finding(
        "Environment", v.name, v.severity, f"{v.name}={v.value} {v.effect}", v.advice,
        unset_command(v.name), {"value": v.value},
    )  # fmt: skip


def _cost(suspects: list[Variable], environment: Mapping[str, str]) -> Finding:
    """The cost of these variables, from processes with them and without them, alternately.

    On one core, where other programs disturb less, unless a variable sets the number of threads.
    """
    clean = without(environment, suspects)
    one = not any(v.threads for v in suspects)
    limits = dict.fromkeys(_THREADS, "1") if one else {}
    rounds = [[_measure({**e, **limits}) for e in (environment, clean)] for _ in range(2)]
    gflops, better = (max(r[i]["gflops"] for r in rounds) for i in (0, 1))
    fresh, fresh_clean = (min(r[i]["fresh_ms"] for r in rounds) for i in (0, 1))
    text = (
        f"with {' and '.join(v.name for v in suspects)}: {gflops:.0f} GFLOP/s"
        f"{' on one core' if one else ''}, {fresh:.1f} ms for a new array of 64 MB; "
        f"without: {better:.0f} GFLOP/s, {fresh_clean:.1f} ms"
    )
    slow_products, slow_memory = better > 1.1 * gflops, fresh > 1.5 * fresh_clean
    advice = []
    if slow_products:
        advice.append(f"matrix products take {better / gflops:.1f} times as long as without them")
    if slow_memory:
        advice.append(f"new arrays cost {fresh / fresh_clean:.1f} times as much as without them")
    return Finding(
        "Environment", "cost of the variables", "slow" if advice else "note", text,
        "; ".join(advice) or "at the moment the difference is too small to measure",
        _unset_all(suspects),
        {"names": [v.name for v in suspects], "on_one_core": one,
         "gflops": gflops, "gflops_without": better, "products_times": better / gflops,
         "fresh_ms": fresh, "fresh_ms_without": fresh_clean},
    )  # fmt: skip


def _unset_all(suspects: list[Variable]) -> str:
    if os.name == "nt":
        return " & ".join(f"set {v.name}=" for v in suspects)
    return "unset " + " ".join(v.name for v in suspects)


def _count(n: int, word: str) -> str:
    return f"{n} {word}" if n == 1 else f"{n} {word}s"
