"""Attention by cuDNN, with a stand-in for its front end: when it is called, and with what.

tests/test_cuda_kernels.py has the tests with cuDNN itself, on a GPU.
"""

from __future__ import annotations

import os
from importlib.machinery import ModuleSpec
from types import SimpleNamespace

import numpy as np
import pytest
from gpu_arrays import GpuArray

import tinygrad_llm as tg
from tinygrad_llm.arrays.capture import capturing
from tinygrad_llm.arrays.devices import settings
from tinygrad_llm.nn.attention import SDPBackend, sdpa_kernel
from tinygrad_llm.ops.cuda import cudnn_attention as library
from tinygrad_llm.ops.cuda import launch

ml_dtypes = pytest.importorskip("ml_dtypes")


def array(*shape, dtype=ml_dtypes.bfloat16):
    return np.zeros(shape, dtype).view(GpuArray)


class Tensor:
    def __init__(self, **facts):
        self.facts = facts

    def __getattr__(self, name):
        return lambda value: self.facts.update({name.removeprefix("set_"): value}) or self


class Graph:
    """Records what is asked of a graph; `broken` names the method that fails."""

    made: list = []
    streams: list = []  # that the handle was given
    broken = ""

    def __init__(self, **options):
        assert Graph.streams[-1] == 7  # not one of an earlier call, which may be gone
        self.tensors, self.executed = [], []
        Graph.made.append(self)

    def tensor(self, **facts):
        self.tensors.append(Tensor(**facts))
        return self.tensors[-1]

    def _results(self, count):
        self.results = [Tensor() for _ in range(count)]
        return self.results

    def sdpa(self, q, k, v, **options):
        self.options = options
        return self._results(2)

    def sdpa_backward(self, q, k, v, o, dO, stats, **options):  # noqa: N803  cuDNN's name
        self.options = options
        return self._results(3)

    def build(self, modes):
        if Graph.broken == "build":
            raise ValueError("no plan")

    def get_workspace_size(self):
        return 64

    def execute(self, pointers, workspace, handle):
        if Graph.broken == "execute":
            raise ValueError("not executed")
        self.executed.append(pointers)


def front_end(version="1.28.0", backend=91900):
    return SimpleNamespace(
        __version__=version, backend_version=lambda: backend,
        backend_version_string=lambda: "9.x", pygraph=Graph,
        create_handle=lambda: "handle",
        set_stream=lambda handle, stream: Graph.streams.append(stream),
        data_type=SimpleNamespace(BFLOAT16="bfloat16", FLOAT="float"),
        heur_mode=SimpleNamespace(A="A", FALLBACK="FALLBACK"),
    )  # fmt: skip


@pytest.fixture
def cudnn(monkeypatch):
    """cuDNN on a Hopper GPU: `cudnn(module)` installs another stand-in."""

    def clear():
        library._loaded.cache_clear()
        library._capability.cache_clear()
        library._handle.cache_clear()
        library._plans.clear()

    def install(module):
        clear()
        monkeypatch.setattr(library, "importlib", SimpleNamespace(import_module=lambda _: module))

    cuda = SimpleNamespace(
        runtime=SimpleNamespace(runtimeGetVersion=lambda: 13000),
        Device=lambda gpu: SimpleNamespace(compute_capability=install.capability),
        get_current_stream=lambda: SimpleNamespace(ptr=7),
    )
    install.capability, Graph.made, Graph.streams, Graph.broken = "90", [], [0], ""
    spec = {"cudnn": ModuleSpec("cudnn", None)}
    monkeypatch.setattr(library, "find_spec", spec.get)
    monkeypatch.setattr(library, "sys", SimpleNamespace(platform="linux"))
    monkeypatch.setattr(library, "load", lambda name: None)
    get_version = lambda: 13000  # noqa: E731
    loaded = SimpleNamespace(cudnnGetCudartVersion=get_version)
    monkeypatch.setattr(library, "_open", lambda name: loaded)
    monkeypatch.setattr(launch, "xp", SimpleNamespace(cuda=cuda))
    monkeypatch.setattr(launch, "several", False)
    monkeypatch.setattr(launch, "empty", lambda shape, dtype: array(shape, dtype=dtype))
    monkeypatch.setattr(launch, "contiguous", lambda x: np.ascontiguousarray(x).view(GpuArray))
    monkeypatch.setattr(settings, "cudnn", True)
    monkeypatch.setattr(settings, "cudnn_deterministic", True)
    install(front_end())
    yield install
    clear()


def forward(B=2, H=4, K=4, L=128, S=None, D=64, causal=True, dtype=ml_dtypes.bfloat16, scale=0.125):  # noqa: N803
    S = S or L
    q, k, v = (array(B, n, t, D, dtype=dtype) for n, t in ((H, L), (K, S), (K, S)))
    y, log_sum = array(B, H, L, D, dtype=dtype), array(B, H, L, dtype=np.float32)
    return library.forward(q, k, v, y, log_sum, causal, scale)


def backward(causal=True):
    q, k, v, y, g = (array(2, 4, 128, 64) for _ in range(5))
    every = array(2, 128, 12, 64).transpose(0, 2, 1, 3)
    grads = every[:, :4], every[:, 4:8], every[:, 8:]
    log_sum = array(2, 4, 128, dtype=np.float32)
    return library.backward(q, k, v, y, g, log_sum, grads, causal, 0.125)


def test_a_plan_is_made_once(cudnn):
    assert library.why_not() == "" and library.version() == 91900
    assert forward() and forward()
    (graph,) = Graph.made
    assert graph.options == {"attn_scale": 0.125, "use_causal_mask": True, "generate_stats": True}
    assert [t.facts["dim"] for t in graph.tensors] == [(2, 4, 128, 64)] * 3
    assert [t.facts["uid"] for t in graph.tensors + graph.results] == [1, 2, 3, 4, 5]
    stats = graph.results[1].facts
    assert stats["dim"] == [2, 4, 128, 1] and stats["stride"] == [512, 128, 1, 1]
    assert stats["data_type"] == "float" and graph.results[0].facts["data_type"] == "bfloat16"
    assert [sorted(pointers) for pointers in graph.executed] == [[1, 2, 3, 4, 5]] * 2
    assert forward(causal=False) and len(Graph.made) == 2


def test_backward_writes_into_adjacent_memory(cudnn):
    assert backward()
    (graph,) = Graph.made
    assert graph.options["use_deterministic_algorithm"] is True
    assert [t.facts["uid"] for t in graph.tensors + graph.results] == list(range(1, 10))
    assert [t.facts["data_type"] for t in graph.tensors] == ["bfloat16"] * 5 + ["float"]
    for result in graph.results:
        assert result.facts["stride"] == [128 * 12 * 64, 64, 12 * 64, 1]
    assert len(set(graph.executed[0].values())) == 9
    settings.cudnn_deterministic = False
    assert backward() and Graph.made[1].options["use_deterministic_algorithm"] is False
    tg.use_deterministic_algorithms(True)
    try:
        assert backward() and len(Graph.made) == 2
    finally:
        tg.use_deterministic_algorithms(False)
    assert len(Graph.made[0].executed) == 2


@pytest.mark.parametrize(
    "call",
    [{"L": 100}, {"L": 128, "S": 256}, {"L": 256, "S": 100, "causal": False}, {"dtype": np.float32},
     {"dtype": np.float16}, {"scale": -0.125}, {"scale": 0.0}],
    ids=str,
)  # fmt: skip
def test_what_is_left_to_the_own_kernels(cudnn, call):
    assert not forward(**call) and not Graph.made


def test_other_lengths_and_fewer_heads_of_keys(cudnn):
    assert forward(L=128, S=256, causal=False) and forward(H=8, K=2) and forward(D=8)


def test_an_older_gpu(cudnn):
    cudnn.capability = "89"
    assert not forward() and not Graph.made


def test_an_expanded_array_is_copied(cudnn):
    q = array(1, 4, 128, 64)
    wide = np.broadcast_to(q, (3, 4, 128, 64)).view(GpuArray)
    y, log_sum = array(3, 4, 128, 64), array(3, 4, 128, dtype=np.float32)
    assert library.forward(wide, wide, wide, y, log_sum, True, 1.0)
    assert Graph.made[0].tensors[0].facts["stride"] == (4 * 128 * 64, 128 * 64, 64, 1)


def test_one_batch_that_was_added(cudnn):
    q, k, v = (array(4, 128, 64)[None].view(GpuArray) for _ in range(3))
    y, log_sum = array(1, 128, 4, 64).transpose(0, 2, 1, 3), array(1, 4, 128, dtype=np.float32)
    assert q.strides[0] == 0 and library.forward(q, k, v, y, log_sum, True, 1.0)
    assert Graph.made[0].tensors[0].facts["stride"] == (4 * 128 * 64, 128 * 64, 64, 1)
    assert Graph.made[0].results[1].facts["stride"] == [512, 128, 1, 1]


@pytest.mark.parametrize(
    ("module", "why"),
    [(front_end(version="1.26.0"), "older than 1.27"),
     (front_end(backend=91500), "older than 9.15.1"),
     (SimpleNamespace(), "backend_version|__version__")],
)  # fmt: skip
def test_a_library_that_does_not_fit(cudnn, module, why):
    cudnn(module)
    assert not forward() and library.version() is None
    assert any(part in library.why_not() for part in why.split("|"))


def test_not_installed(cudnn, monkeypatch):
    monkeypatch.setattr(library, "find_spec", lambda name: None)
    assert not forward() and "nvidia-cudnn-frontend is not installed" == library.why_not()


def test_an_import_that_fails_in_any_way(cudnn, monkeypatch):
    def fail(name):
        raise AssertionError("Found 2 libcudnn.so.x")

    monkeypatch.setattr(library, "importlib", SimpleNamespace(import_module=fail))
    assert not forward() and library.why_not() == "Found 2 libcudnn.so.x"


@pytest.mark.skipif(not hasattr(os, "RTLD_NOLOAD"), reason="Windows loads libraries otherwise")
def test_where_a_library_is_looked_for(monkeypatch, tmp_path):
    there = tmp_path / "cu13" / "lib" / "libcudart.so.13"
    there.parent.mkdir(parents=True)
    there.touch()
    spec = ModuleSpec("nvidia", None, is_package=True)
    spec.submodule_search_locations = [str(tmp_path)]
    asked = []

    def load(name, mode=0):
        asked.append(name)
        if mode:
            raise OSError("not loaded")
        return name

    monkeypatch.setattr(library, "find_spec", lambda name: spec)
    monkeypatch.setattr(library.ctypes, "CDLL", load)
    assert library._open("libcudart.so.13") == str(there)
    assert library._open("libnvrtc.so.13") == "libnvrtc.so.13"
    assert asked == ["libcudart.so.13", str(there), *["libnvrtc.so.13"] * 2]


def test_another_cuda_than_cupys(cudnn):
    launch.xp.cuda.runtime.runtimeGetVersion = lambda: 12090
    assert not forward() and library.why_not() == "cuDNN is for CUDA 13, and CuPy for CUDA 12"


@pytest.mark.parametrize("broken", ["build", "execute"])
def test_a_plan_that_fails_is_not_tried_again(cudnn, broken):
    Graph.broken = broken
    assert not forward() and not forward() and len(Graph.made) == 1
    Graph.broken = ""
    assert not forward() and forward(L=256)


def test_a_workspace_that_is_too_large(cudnn, monkeypatch):
    monkeypatch.setattr(library, "MOST_MEMORY", 63)
    assert not forward()


def test_a_plan_is_kept_where_its_workspace_has_no_room_now(cudnn, monkeypatch):
    memory = launch.empty

    def full(shape, dtype):
        if dtype == "uint8":
            raise MemoryError("Out of memory allocating 64 bytes")
        return memory(shape, dtype)

    monkeypatch.setattr(launch, "empty", full)
    assert not forward() and not forward() and len(Graph.made) == 1
    monkeypatch.setattr(launch, "empty", memory)
    assert forward() and len(Graph.made) == 1


def test_few_plans_are_kept(cudnn, monkeypatch):
    monkeypatch.setattr(library, "MOST_PLANS", 2)
    assert forward(L=128) and forward(L=256) and forward(L=128) and forward(L=384)
    assert len(library._plans) == 2 and len(Graph.made) == 3
    assert forward(L=128) and len(Graph.made) == 3  # used last, so kept
    assert forward(L=256) and len(Graph.made) == 4


def test_the_switches(cudnn):
    with tg.backends.cudnn.flags(enabled=False):
        assert not forward()
    with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
        assert not forward()
    with sdpa_kernel([SDPBackend.FLASH_ATTENTION, SDPBackend.CUDNN_ATTENTION]):
        assert forward()
    tg.backends.cuda.enable_cudnn_sdp(False)
    try:
        assert not forward()
    finally:
        tg.backends.cuda.enable_cudnn_sdp(True)
    assert forward()


def test_nothing_is_planned_in_a_capture(cudnn, monkeypatch):
    graph = SimpleNamespace(keep=[])
    monkeypatch.setattr(capturing, "graph", graph)
    assert not forward() and not library._loaded.cache_info().currsize
    monkeypatch.setattr(capturing, "graph", None)
    assert forward()
    monkeypatch.setattr(capturing, "graph", graph)
    assert forward() and graph.keep == list(library._plans.values())  # its kernels stay loaded
    assert not forward(L=256) and len(Graph.made) == 1
    monkeypatch.setattr(capturing, "graph", None)
    assert forward(L=256)
