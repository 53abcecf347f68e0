"""--isa of the benchmarks: every process that they start has the older instructions only."""

import json
import os
import subprocess
import sys

import pytest

from benchmarks import machine

CHILD = """
import json
from numpy._core._multiarray_umath import __cpu_dispatch__ as choices, __cpu_features__ as features
from benchmarks import machine
print(json.dumps([[name for name in choices if features[name]], machine.blas(),
                  machine.describe()]))
"""


@pytest.fixture
def environment(monkeypatch):
    """What a benchmark's process gets after --isa avx2, and without it."""
    monkeypatch.setattr(os, "environ", dict(os.environ, OPENBLAS_CORETYPE="Nehalem"))
    without = machine.clean_environment()
    monkeypatch.setattr(machine, "_held", {})
    machine.hold_to_isa("avx2")
    return machine.clean_environment(), without


def test_the_variables_reach_the_processes(environment):
    held, without = environment
    assert machine.AVX2.items() <= held.items() and machine.AVX2.items() <= os.environ.items()
    assert "OPENBLAS_CORETYPE" not in without


def test_numpy_and_openblas_obey(environment):
    held, without = environment

    def child(env):
        done = subprocess.run([sys.executable, "-c", CHILD], env=env, capture_output=True)
        return json.loads(done.stdout)

    features, blas, text = child(held)
    assert not [name for name in features if "AVX512" in name or name == "X86_V4"]
    assert text.endswith("held to AVX2") and not child(without)[2].endswith("held to AVX2")
    if blas["library"] == "openblas" and "X86_V3" in features:
        assert blas["kernel"] == "Haswell"
