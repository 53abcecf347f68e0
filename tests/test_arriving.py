"""Arriving gradients: read by several threads, after an error, and before a CUDA graph begins."""

from __future__ import annotations

import contextlib
import threading
from types import SimpleNamespace

import numpy as np
import pytest

import tinygrad_llm as torch
from tinygrad_llm import cuda
from tinygrad_llm.arrays.twins import twins
from tinygrad_llm.cuda import graphs
from tinygrad_llm.tensor.arriving import Arriving, wait_for_all


def test_two_threads_read_one_gradient():
    waits, goes_on, read, calls = threading.Event(), threading.Event(), [], []

    def wait():
        calls.append(1)
        waits.set()
        assert goes_on.wait(60)

    gradient = Arriving(np.ones(3, np.float32), wait)
    threads = [threading.Thread(target=lambda: read.append(gradient.tolist())) for _ in range(2)]
    threads[0].start()
    assert waits.wait(60)
    threads[1].start()
    threads[1].join(0.2)
    assert not read
    goes_on.set()
    for thread in threads:
        thread.join(60)
    assert read == [[1.0] * 3] * 2 and calls == [1] and type(gradient) is torch.Tensor


def test_after_an_error_the_next_read_waits_again():
    errors = [RuntimeError("rank 1 has ended")]

    def wait():
        if errors:
            raise errors.pop()

    gradient = Arriving(np.ones(3, np.float32), wait)
    with pytest.raises(RuntimeError, match="rank 1 has ended"):
        gradient.sum()
    assert gradient.sum().item() == 3.0


def test_a_gradient_whose_memory_is_replaced_is_not_waited_for():
    gradient = Arriving(np.ones(3, np.float32), lambda: pytest.fail("it waited"))
    gradient.data = torch.zeros(2)
    assert gradient.tolist() == [0.0, 0.0] and vars(gradient).keys() == {"array"}


def test_waiting_for_all():
    gradients = [Arriving(np.ones(3, np.float32), lambda i=i: order.append(i)) for i in range(3)]
    order = []
    gradients[1].tolist()
    del gradients[2]
    wait_for_all()
    assert order == [1, 0] and all(type(g) is torch.Tensor for g in gradients)


def test_a_graph_begins_when_the_gradients_are_there(monkeypatch):
    """Within its capture nothing can wait for work outside of it."""
    gradient = Arriving(np.ones(3, np.float32), lambda: None)

    def synchronize():
        assert type(gradient) is torch.Tensor
        raise InterruptedError

    device = SimpleNamespace(synchronize=synchronize)
    fake = SimpleNamespace(cuda=SimpleNamespace(Device=lambda: device))
    monkeypatch.setattr(graphs.devices, "cupy", lambda: fake)
    monkeypatch.setattr(graphs.devices, "use_gpu", lambda gpu: None)
    monkeypatch.setattr(twins, "gpu", SimpleNamespace())
    with pytest.raises(InterruptedError):
        cuda.CUDAGraph().capture_begin()


def test_a_capture_ends_also_when_a_gradient_cannot_be_waited_for():
    ended, graph = [], cuda.CUDAGraph()

    def fails():
        raise RuntimeError("no exchange")

    graph._contexts = contextlib.ExitStack()
    graph._capture = SimpleNamespace(before_end=[fails])
    graph._stream = SimpleNamespace(end_capture=lambda: ended.append(1))
    with pytest.raises(RuntimeError, match="no exchange"):
        graph.capture_end()
    assert ended == [1] and graph._stream is None
