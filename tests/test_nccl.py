"""Groups over NCCL: on stand-ins between processes, and on two real GPUs where there are."""

from __future__ import annotations

import os
import sys
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import real_gpu
from ranks import ROOT, run

from tinygrad_llm import cuda
from tinygrad_llm.cuda import graphs
from tinygrad_llm.training import find_checkpoint
from tinygrad_llm.weights.formats.safetensors import load_file


def read_weights(run_folder):
    """{name: array} of a run's last checkpoint."""
    return load_file(find_checkpoint(run_folder).path / "model.safetensors")


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


SHORT = [
    "check_async_in_any_order", "check_messages", "check_messages_on_all_ranks_together",
    "check_no_sync",
]  # fmt: skip
SLOW = [pytest.mark.slow, pytest.mark.ci]


@pytest.mark.parametrize("names", [SHORT, pytest.param([], marks=SLOW)], ids=["short", "all"])
def test_checks_on_stand_ins(names):
    pytest.importorskip("ml_dtypes")
    code, output = run([sys.executable, PROGRAM, "2", "strict", *names], 100)
    assert code == 0 and output.splitlines()[-1].endswith(" passed, 0 failed"), output


@pytest.mark.slow
@pytest.mark.ci
def test_checks_of_one_rank_name_those_that_need_two():
    pytest.importorskip("ml_dtypes")
    code, output = run([sys.executable, PROGRAM, "1", "strict"], 100)
    assert code == 0 and output.splitlines()[-1].endswith(" passed, 0 failed, 5 left out"), output
    assert "left out, needs two ranks: check_messages\n" in output


SMALL = [
    "--n-layers", "1", "--n-heads", "2", "--emb-dim", "16", "--context-length", "16",
    "--batch-size", "4", "--steps", "4", "--tokenizer", "char", "--drop-rate", "0",
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.ci
def test_pretrain_over_nccl_is_pretrain_in_one_process(tmp_path):
    pytest.importorskip("ml_dtypes")
    (tmp_path / "sitecustomize.py").write_text("import nccl_stand_in\nnccl_stand_in.install(2)\n")
    (tmp_path / "text.txt").write_text("the quick brown fox jumps over the lazy dog. " * 200)
    made = [sys.executable, "-m", "tinygrad_llm", "pretrain", str(tmp_path / "text.txt"), *SMALL]
    code, output = run([*made, "--out", str(tmp_path / "one")], 100)
    assert code == 0, output
    paths = os.pathsep.join(map(str, (tmp_path, ROOT, ROOT / "tests")))
    ranks = ["--device", "cuda", "--ranks", "2", "--out", str(tmp_path / "two")]
    code, output = run([*made, *ranks], 100, PYTHONPATH=paths)
    assert code == 0, output
    one, two = (read_weights(tmp_path / name) for name in ("one", "two"))
    assert one.keys() == two.keys()
    assert max(np.abs(one[name] - two[name]).max() for name in one) < 1e-5


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


@pytest.mark.parametrize("how", ["killed", pytest.param("late", marks=SLOW)])
def test_a_rank_that_waits_on_stand_ins_ends_with_a_message(how):
    pytest.importorskip("ml_dtypes")
    code, output = run([sys.executable, DYING, "strict", how], 60)
    assert code != 0 and "NCCL: all_reduce" in output and "this process ends" in output, output
    assert ("has ended" if how != "late" else "time limit of 5 seconds") in output, output


class Stuck:
    """An event about which CUDA does not answer before it has come."""

    def __init__(self):
        self.come, self.asked = threading.Event(), threading.Event()

    @property
    def done(self):
        self.asked.set()
        return self.come.wait(60)


def test_the_watchdog_ends_a_process_whose_cuda_does_not_answer(monkeypatch):
    from tinygrad_llm.distributed import nccl_watch

    monkeypatch.setattr(nccl_watch, "use_gpu", lambda gpu: None)
    monkeypatch.setattr(nccl_watch, "INTERVAL", 0.01)
    monkeypatch.setattr(nccl_watch, "GRACE", 0.05)
    dog, ended, messages, event = nccl_watch.Watchdog(), threading.Event(), [], Stuck()
    dog.say, dog.end = messages.append, lambda code: ended.set()
    transport = SimpleNamespace(gpu=0, check=lambda: "")
    lost = []
    group = SimpleNamespace(
        ranks=[4, 7], timeout=1000, rank=lambda: 0, size=lambda: 2, broken=None,
        transport=SimpleNamespace(lost=lambda ranks: lost),
    )  # fmt: skip
    group = type("Group", (), vars(group))  # a weak reference to it can be made
    dog.add(transport, group)
    dog.watch(transport, event, "all_reduce")
    assert event.asked.wait(60) and not ended.wait(0.1)
    lost.append(1)
    assert ended.wait(60)
    event.come.set()
    assert messages == ["rank 4: NCCL: all_reduce waits for rank 7, which has ended"]
    assert group.broken == messages[0]


class Communicator:
    """A communicator whose end does not come while a graph holds it."""

    def __init__(self, graph):
        self.graph, self.called = graph, []

    def destroy(self):
        self.called.append("destroy")
        while self.graph._graph is not None:
            time.sleep(0.01)

    abort = destroy


def transport_with(monkeypatch, communicator):
    from tinygrad_llm.arrays.capture import Capture
    from tinygrad_llm.distributed import nccl

    stream = SimpleNamespace(synchronize=lambda: None)
    cuda = SimpleNamespace(get_current_stream=lambda: stream)
    monkeypatch.setattr(nccl, "cupy", lambda: SimpleNamespace(cuda=cuda))
    monkeypatch.setattr(nccl, "use_gpu", lambda gpu: None)
    monkeypatch.setattr(nccl, "END_LIMIT", 0.3)
    made = nccl.NCCLTransport.__new__(nccl.NCCLTransport)
    made.rank, made.gpu, made.comm, made.stream = 0, 0, communicator, stream
    made._captures = {Capture.__new__(Capture)}
    return made, next(iter(made._captures))


@pytest.mark.parametrize("how", ["close", "abort"])
def test_graphs_are_emptied_before_their_communicator_ends(monkeypatch, how):
    graph = cuda.CUDAGraph()
    communicator = Communicator(graph)
    transport, capture = transport_with(monkeypatch, communicator)
    graph._graph = object()
    capture.give_up = lambda why: graphs._give_up(lambda: graph, why)
    start = time.monotonic()
    getattr(transport, how)()
    assert communicator.called == ["destroy"] and time.monotonic() - start < 4.0
    with pytest.raises(RuntimeError, match="process group of its collectives was destroyed"):
        graph.replay()
    assert transport.comm is None and transport.check() == ""
    getattr(transport, how)()
    graph.reset()
    with pytest.raises(RuntimeError, match="is empty"):
        graph.replay()


def test_a_communicator_that_does_not_end_is_left_alone(monkeypatch, capfd):
    graph = cuda.CUDAGraph()
    transport, capture = transport_with(monkeypatch, Communicator(graph))
    graph._graph, capture.give_up = object(), lambda why: None
    transport.close()
    graph._graph = None  # so that the thread ends
    assert "NCCL has not given back a communicator in 0.3 s" in capfd.readouterr().err
