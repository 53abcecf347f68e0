"""Where NumPy's large arrays begin while loops are in use: at the beginning of a page."""

import contextvars
import os
import subprocess
import sys
import threading

import numpy as np
import pytest

import tinygrad_llm as tg
from tinygrad_llm.arrays import silence
from tinygrad_llm.arrays.memory import address
from tinygrad_llm.nn import functional as F

LARGE, PAGE = 1 << 15, 4096  # float32 numbers of a large array; bytes

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="on Linux only")


@pytest.fixture(autouse=True)
def placed(loops):
    """Loops are in use, and this context has the handler."""
    tg.ones(1 << 18) + tg.ones(1 << 18)
    assert silence.places.begin is not None
    silence.place_arrays()


def in_page(array):
    return address(array) % PAGE


def test_results_and_gradients_begin_where_a_page_does():
    x = tg.randn(300, 384, requires_grad=True)
    w = tg.ones(384, requires_grad=True)
    for _ in range(3):
        x.grad = None
        y = F.layer_norm(x, (384,), w)
        (y * y).backward(tg.ones(300, 384))
        assert in_page(y.array) == in_page(x.grad.array) == 0


@pytest.mark.parametrize("make", [np.empty, np.zeros, np.ones])
def test_large_arrays_and_only_these(make):
    assert all(in_page(make(n, np.float32)) == 0 for n in (LARGE, LARGE + 1, 10 * LARGE))
    small = [make(n % 5000 + 1, np.float32) for n in range(0, 300_000, 37)]
    # a free place that begins where a page does may be offered again and again
    assert sum(in_page(a) != 0 for a in small) > 0.5 * len(small)


def test_arrays_of_all_sizes_keep_their_numbers():
    """Taken and given back in any order, small ones that begin where a page does among them."""
    rng, kept = np.random.default_rng(0), {}
    for i in range(6000):
        n = int(rng.choice([7, 500, 508, 1020, 4092, 20_000, LARGE, LARGE + 9]))
        kept[i] = np.full(n, i, np.float32)
        for k in rng.choice(list(kept), min(3, len(kept)), replace=False):
            if len(kept) > 60:
                assert np.all(kept.pop(k) == k)
    zeros = [np.zeros(n, np.float32) for n in (1020, 4092, LARGE)]
    assert not any(a.any() for a in zeros)


def test_an_array_that_grows_and_shrinks_keeps_its_numbers():
    a = np.arange(100, dtype=np.float32)
    for n in (200, LARGE, 5 * LARGE, LARGE, 3000, 50, 2 * LARGE):
        before = a.copy()
        a.resize(n, refcheck=False)
        m = min(n, len(before))
        assert np.array_equal(a[:m], before[:m]) and not a[m:].any()
    assert in_page(a) == 0


def test_no_memory_is_kept_back():
    """What is given back is taken again: the process does not grow."""
    code = """
import numpy as np, resource, tinygrad_llm as tg
tg.ones(1 << 18) + tg.ones(1 << 18)
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
sizes = np.random.default_rng(0).integers(1, 1 << 19, 400)
def turns(n):
    for _ in range(n):
        for size in sizes: np.empty(size, np.float32).fill(1)
turns(3); before = peak(); turns(30)
assert np._core.multiarray.get_handler_name() == "tinygrad_llm_pages"
assert peak() < before + 20_000, (before, peak())
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_array_outlives_its_thread():
    made = []

    def work():
        tg.ones(1 << 18) + tg.ones(1 << 18)
        made.append(F.gelu(tg.ones(1 << 18)).array)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert in_page(made[0]) == 0 and len(np.unique(made.pop())) == 1


def test_what_is_not_called_from_here_is_as_before():
    name = getattr(np._core.multiarray, "get_handler_name", None)
    if name is None:
        pytest.skip("this NumPy does not say")
    names = []
    thread = threading.Thread(target=lambda: names.append(name()))
    thread.start()
    thread.join()
    assert names == ["default_allocator"]
    assert contextvars.copy_context().run(name) == "tinygrad_llm_pages"


def test_it_can_be_switched_off():
    code = """
import numpy as np, tinygrad_llm as tg
from tinygrad_llm.arrays import silence
tg.ones(1 << 18) + tg.ones(1 << 18)
assert silence.places.begin is None
"""
    env = {**os.environ, "TINYGRAD_LLM_KEEP_MEMORY": "0"}
    subprocess.run([sys.executable, "-c", code], check=True, env=env)
