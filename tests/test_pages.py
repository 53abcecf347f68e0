"""Where NumPy's large arrays begin while loops are in use: at the beginning of a page."""

import contextvars
import ctypes
import importlib
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
from tinygrad_llm.ops.loops import crew, pages

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
def test_large_arrays_begin_where_a_page_does(make):
    assert all(in_page(make(n, np.float32)) == 0 for n in (LARGE, LARGE + 1, 10 * LARGE))


def test_a_small_array_needs_little_more_than_its_numbers():
    """Also where the place that malloc offers next begins where a page does."""
    code = """
import ctypes, numpy as np, sys, tinygrad_llm as tg
tg.ones(1 << 18) + tg.ones(1 << 18)
assert np._core.multiarray.get_handler_name() == "tinygrad_llm_pages"
malloc, free = ctypes.CDLL(None).malloc, ctypes.CDLL(None).free
malloc.restype, malloc.argtypes, free.argtypes = ctypes.c_void_p, [ctypes.c_long], [ctypes.c_void_p]
def offer_a_page(size):
    for _ in range(5000):
        p = malloc(size)
        if p % 4096 == 0: return free(p)
def resident(): return int(open("/proc/self/statm").read().split()[1]) * 4096
n, kept = 5000, []
for size in (40, 72, 100, 200, 1000):
    offer_a_page(size), offer_a_page(size + 16)
    before = resident()
    arrays = [np.empty(size, np.uint8) for _ in range(n)]
    for a in arrays: a.fill(1)
    kept.append(arrays)
    needed = n * (size + sys.getsizeof(np.empty(0)) + 64) + 5_000_000  # and two huge pages
    assert resident() - before < needed, (size, resident() - before, needed)
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_arrays_of_all_sizes_keep_their_numbers():
    """Taken and given back in any order."""
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


HUGE_PAGES = """
import numpy as np, tinygrad_llm as tg
from tinygrad_llm.arrays.memory import address
tg.ones(1 << 18) + tg.ones(1 << 18)
for make in (np.empty, np.zeros):
    a = make(1 << 24, np.float32)
    middle, inside = address(a) + a.nbytes // 2, False
    for line in open("/proc/self/smaps"):
        first = line.split()[0]
        if "-" in first:
            start, end = (int(x, 16) for x in first.split("-"))
            inside = start <= middle < end
        elif inside and first == "VmFlags:":
            print("hg" in line.split())
"""


@pytest.mark.parametrize("asked", ["1", "0"])
def test_arrays_from_4_mib_on_are_in_huge_pages_as_with_numpy(asked):
    """With a variable of malloc's the heap is not marked for huge pages beforehand."""
    has_them = os.path.exists("/sys/kernel/mm/transparent_hugepage/enabled")
    if not has_them or os.sysconf("SC_PAGE_SIZE") != PAGE:
        pytest.skip("this system has no huge pages, or is not asked in pages of 4,096 bytes")
    env = {
        **os.environ, "MALLOC_TRIM_THRESHOLD_": "1000000", "NUMPY_MADVISE_HUGEPAGE": asked,
    }  # fmt: skip
    run = subprocess.run(
        [sys.executable, "-c", HUGE_PAGES], check=True, env=env, capture_output=True, text=True
    )
    if not run.stdout:
        pytest.skip("this system does not say what is marked for huge pages")
    assert run.stdout.split() == [str(asked == "1")] * 2


def test_somebody_elses_handler_stays():
    """NumPy's own functions under another name."""
    core = importlib.import_module("numpy._core._multiarray_umath")
    content = pages._of_python(
        "PyCapsule_GetPointer", ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p
    )
    new = pages._of_python("PyCapsule_New", ctypes.py_object, *[ctypes.c_void_p] * 3)
    table = ctypes.cast(content(core._ARRAY_API, None), ctypes.POINTER(ctypes.c_void_p))
    default = ctypes.cast(table[pages.DEFAULT_HANDLER], ctypes.POINTER(ctypes.py_object))[0]
    other = pages._Handler.from_buffer_copy(
        (ctypes.c_char * ctypes.sizeof(pages._Handler)).from_address(
            content(default, b"mem_handler")
        )
    )
    other.name, name = b"somebody_elses", ctypes.create_string_buffer(b"mem_handler")
    capsule = new(ctypes.addressof(other), ctypes.addressof(name), None)
    set_handler = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.py_object)(table[pages.SET_HANDLER])

    def names():
        before = core.get_handler_name()
        set_handler(capsule)
        silence.place_arrays()
        return before, core.get_handler_name()

    assert contextvars.Context().run(names) == ("default_allocator", "somebody_elses")


def test_arrays_outlive_the_modules():
    """As at the end of a process, which clears modules before the last arrays are freed."""
    code = """
import gc, numpy as np, sys, tinygrad_llm as tg
from tinygrad_llm.arrays.silence import places
tg.ones(1 << 18) + tg.ones(1 << 18)
x, name = np.ones(1 << 20), np._core.multiarray.get_handler_name
places.begin = None
for module in ("pages", "crew"):
    sys.modules["tinygrad_llm.ops.loops." + module].__dict__.clear()
gc.collect()
assert name(x) == "tinygrad_llm_pages"
del x
assert name() == "tinygrad_llm_pages"
"""
    env = {**os.environ, "PYTHONMALLOC": "debug"}  # what is freed is overwritten
    subprocess.run([sys.executable, "-c", code], check=True, env=env)


def test_without_what_it_needs_arrays_are_placed_by_numpy(monkeypatch):
    monkeypatch.setattr(pages, "CODE", "what LLVM does not read")
    assert pages.handler(crew._crew.engine) is None
    monkeypatch.undo()
    monkeypatch.setattr(pages, "OF_C", {"no_such_function": "void ()"})
    assert pages.handler(crew._crew.engine) is None
