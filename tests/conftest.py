"""What all tests share: the devices they run on, and how many examples Hypothesis tries.

HYPOTHESIS_PROFILE=ci tries ten times as many examples. Small products are slower on two busy
threads than on one, so OPENBLAS_NUM_THREADS=1 makes the suite faster; it is set here before NumPy
is imported.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Iterator

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")

# Hundreds of tests start a process, which would compile all the files that it imports: 0.6 s each.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

import pytest
from hypothesis import HealthCheck, settings

sys.path.insert(0, os.path.dirname(__file__))

import strict_array

from tinygrad_llm import ops
from tinygrad_llm.ops.loops import compiling

sys.dont_write_bytecode = False  # see above
compiling._announced = True  # that it compiles: a line in the output that tests compare
ops.load_all()  # every test module finds all ops in engine.OPS, whichever was imported before

_COMMON = {
    "deadline": None,  # a machine shared with others is sometimes slow
    "derandomize": True,  # the same examples in every run: a failure comes from the change
    "database": None,
    "suppress_health_check": [
        HealthCheck.too_slow,
        HealthCheck.function_scoped_fixture,
        HealthCheck.differing_executors,
    ],
}
settings.register_profile("fast", max_examples=20, **_COMMON)
settings.register_profile("ci", max_examples=200, **{**_COMMON, "derandomize": False})
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fast"))


def real_gpu() -> bool:
    """Whether CuPy works here with a GPU behind it."""
    try:
        import cupy

        return cupy is not strict_array and int((cupy.arange(3) * 2).sum()) == 6
    except Exception:
        return False


DEVICES = ["cpu", "strict"] + (["cuda"] if real_gpu() else [])


def take_signals() -> None:
    """Undo what a shell does to what runs behind it: a run leaves an ignored signal ignored."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)  # Windows has no SIGHUP
        if number is not None and signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(
                number, signal.default_int_handler if name == "SIGINT" else signal.SIG_DFL
            )


def pytest_configure(config: pytest.Config) -> None:
    gc.disable()  # while tests are collected, nothing but what stays is made
    take_signals()
    config.addinivalue_line("markers", "ci: a slow run that CI does too")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the slow runs unless a -m expression asks for them.

    Of a test marked `suite_cases(n)` so many cases, spread evenly, belong to the suite; the others
    are long runs, which CI runs too.
    """
    cases: dict[tuple[str, int], list[pytest.Item]] = {}  # by test and how many of it are kept
    for item in items:
        marker = item.get_closest_marker("suite_cases")
        if marker is not None and not item.get_closest_marker("slow"):
            cases.setdefault((item.nodeid.split("[")[0], marker.args[0]), []).append(item)
    for (_, kept), group in cases.items():
        n = len(group)
        for i in set(range(n)) - {i * n // kept for i in range(kept)}:
            group[i].add_marker(pytest.mark.slow)
            group[i].add_marker(pytest.mark.ci)
    if config.option.markexpr:
        return
    skip = pytest.mark.skip(reason="a long run: ask for it with -m slow")
    for item in items:
        if "slow" in item.keywords:
            item.add_marker(skip)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Modules and tests stay to the end: gc.collect() in a test need not look through them."""
    gc.collect()
    gc.freeze()
    gc.enable()


@pytest.fixture(params=DEVICES[1:])
def other_device(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """As `device`, without the CPU: for what is compared with it."""
    yield _use(request.param, monkeypatch)


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Every test starts from the same random state, whichever test ran before it."""
    from tinygrad_llm import random

    random.manual_seed(123)


@pytest.fixture(params=DEVICES)
def device(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """ "cpu" or "cuda", as .to(device) takes it.

    "cuda" is tried twice: with the strict stand-in for CuPy, which runs everywhere and refuses
    NumPy arrays, and with CuPy itself if there is a GPU. The stand-in cannot compile the optional
    kernels of ops/cuda and runs without them.
    """
    yield _use(request.param, monkeypatch)


def _use(name: str, monkeypatch: pytest.MonkeyPatch) -> str:
    if name == "strict":
        from tinygrad_llm.arrays.twins import twins

        for module, value in strict_array.stand_in().items():
            monkeypatch.setitem(sys.modules, module, value)
        monkeypatch.setattr(twins, "gpu", None)  # set if CuPy itself was used in this process
    return "cpu" if name == "cpu" else "cuda"


@pytest.fixture
def loops(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Compiled loops for arrays of every size, shared among two threads; skipped without Numba.

    All processes that test at the same time use one cache of compiled code.
    """
    from tinygrad_llm import backends
    from tinygrad_llm.arrays import parallel, twins

    if not backends.loops.is_available():
        if os.environ.get("TINYGRAD_LLM_REQUIRE_LOOPS"):
            pytest.fail(f"the compiled loops are required: {twins.large.missing}")
        pytest.skip(str(twins.large.missing))
    from tinygrad_llm.ops.loops import arithmetic, broadcast, compiling, embedding, matmul

    monkeypatch.setattr(twins.large, "least", 0)
    monkeypatch.setattr(compiling, "SHARE", 4)
    monkeypatch.setattr(arithmetic, "WORTH", 0)
    monkeypatch.setattr(embedding, "WORTH", 0)
    monkeypatch.setattr(matmul, "LEAST", 0)
    monkeypatch.setattr(broadcast, "NARROW", 1)
    monkeypatch.setattr(parallel, "_threads", 2)
    yield


@pytest.fixture(params=["numpy", "loops"])
def numpy_or_loops(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Everything on the CPU by NumPy alone, and then by compiled loops wherever there are any."""
    from tinygrad_llm.arrays import twins

    if request.param == "loops":
        request.getfixturevalue("loops")
    else:
        monkeypatch.setattr(twins.large, "least", twins.NEVER)
    return request.param
