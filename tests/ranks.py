"""Start a program in several processes with a hard time limit, as tests do."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tinygrad_llm.distributed import is_mpi_available
from tinygrad_llm.distributed.mpi_library import find_mpiexec

ROOT = Path(__file__).parent.parent
needs_mpi = pytest.mark.skipif(
    not (is_mpi_available() and find_mpiexec()), reason="without mpi4py and mpiexec"
)


def environment(**more: str) -> dict[str, str]:
    """This process's, with the package and the tests to import, and one thread for each rank."""
    paths = [str(ROOT), str(ROOT / "tests")]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(paths),
        "OMP_NUM_THREADS": "1",
        "TINYGRAD_LLM_LOOPS": "0",
        **more,
    }


def run(command: list[str], seconds: float = 60, **more: str) -> tuple[int, str]:
    """(exit code, output) of a command; after the limit it and all that it started are killed."""
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env=environment(**more), start_new_session=True,
    )  # fmt: skip
    try:
        output, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        output, _ = process.communicate()
        pytest.fail(f"{command} did not end within {seconds} seconds:\n{output}")
    return process.returncode, output


def on_ranks(n: int, *program: str, seconds: float = 60, **more: str) -> tuple[int, str]:
    """(exit code, output) of a Python program in n processes over mpiexec."""
    mpiexec = find_mpiexec()
    assert mpiexec is not None
    return run([mpiexec, "-n", str(n), sys.executable, *program], seconds, **more)
