"""Groups over NCCL: on stand-ins between processes, and on two real GPUs where there are."""

from __future__ import annotations

import os
import sys
import time

import pytest
from conftest import real_gpu
from ranks import ROOT, run


def gpus() -> int:
    """How many GPUs there are, with NCCL."""
    from tinygrad_llm.distributed.nccl_library import nccl_is_available

    if not real_gpu() or not nccl_is_available():
        return 0
    import cupy

    return int(cupy.cuda.runtime.getDeviceCount())


two_gpus = pytest.mark.skipif(gpus() < 2, reason="needs two GPUs, CuPy and NCCL")
PROGRAM = str(ROOT / "tests" / "on_gpus.py")
DYING = str(ROOT / "tests" / "on_ranks" / "dying.py")


def test_checks_on_stand_ins():
    pytest.importorskip("ml_dtypes")
    code, output = run([sys.executable, PROGRAM, "2", "strict"], 100)
    assert code == 0 and output.splitlines()[-1].endswith(" passed, 0 failed"), output


@two_gpus
def test_checks_on_two_gpus():
    code, output = run([sys.executable, PROGRAM, "2", "real"], 150, NCCL_NVLS_ENABLE="0")
    assert code == 0 and output.splitlines()[-1].endswith(" passed, 0 failed"), output


HOWS = ["killed", "late", "replay"]


@two_gpus
@pytest.mark.parametrize("how", HOWS)
def test_a_rank_that_waits_on_a_gpu_ends_with_a_message(how):
    start = time.monotonic()
    code, output = run([sys.executable, DYING, "real", how], 90, NCCL_NVLS_ENABLE="0")
    assert code != 0 and "NCCL: all_reduce" in output and "this process ends" in output, output
    assert ("has ended" if how != "late" else "time limit of 5 seconds") in output, output
    assert time.monotonic() - start < 60 and os.path.exists(DYING)


@pytest.mark.parametrize("how", HOWS[:2])
def test_a_rank_that_waits_on_stand_ins_ends_with_a_message(how):
    pytest.importorskip("ml_dtypes")
    code, output = run([sys.executable, DYING, "strict", how], 60)
    assert code != 0 and "NCCL: all_reduce" in output and "this process ends" in output, output
    assert ("has ended" if how != "late" else "time limit of 5 seconds") in output, output
