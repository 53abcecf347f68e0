"""lock_saved(): writes into what backward needs are caught, where they happen or by name."""

from __future__ import annotations

import gc

import numpy as np
import pytest

import tinygrad_llm
from tinygrad_llm import nn
from tinygrad_llm.autograd.debug import lock_saved
from tinygrad_llm.autograd.engine import backward_observers, observers
from tinygrad_llm.tensor import wrap


def leaf(value):
    x = wrap(np.array(value, "float64"))
    x.requires_grad = True
    return x


def test_a_direct_write_raises_at_the_write():
    x = leaf([1.0, 2.0])
    with lock_saved():
        y = x * 2.0
        z = (y * y).sum()
        with pytest.raises(ValueError, match="read-only"):
            y.detach().numpy()[0] = 9.0
        with pytest.raises(ValueError, match="read-only"):
            y.array += 1.0
        z.backward()
    assert x.grad.tolist() == [8.0, 16.0]


def test_in_place_methods_raise_at_the_write():
    x = leaf([1.0, 2.0])
    with lock_saved():
        y = x * 2.0
        z = y.exp().sum() + (y * y).sum()
        with pytest.raises(RuntimeError, match="add_: this tensor's memory is read-only"):
            y.add_(1.0)
        z.backward()
    y.add_(1.0)


def test_an_older_view_is_caught_by_the_checksum():
    x = leaf([1.0, 2.0, 3.0])
    with lock_saved():
        y = x * 2.0
        window = y.detach().numpy()[1:]  # a view that NumPy leaves writeable
        z = (y * y).sum()
        window[0] = 100.0
        with pytest.raises(RuntimeError, match=r"mul: saved\[0\], shape \(3,\), float64, was ch"):
            z.backward()


def test_without_it_such_a_write_passes():
    x = leaf([1.0, 2.0])
    y = x * 2.0
    z = (y * y).sum()
    y.detach().numpy()[0] = 9.0
    z.backward()
    assert x.grad.tolist() != [8.0, 16.0]


def test_memory_is_unlocked_as_the_walk_passes():
    x, w = leaf([1.0, 2.0]), leaf([3.0, 4.0])
    with lock_saved():
        for _ in range(3):
            loss = ((x * w).exp() * 0.1).sum()
            assert not x.array.flags.writeable and not w.array.flags.writeable
            loss.backward()
            assert x.array.flags.writeable and w.array.flags.writeable
            with tinygrad_llm.no_grad():
                w -= 0.1 * w.grad
            w.grad = None


def test_memory_that_two_ops_need_stays_locked():
    x = leaf([1.0, 2.0])
    with lock_saved():
        a, b = (x * x).sum(), x.sin().sum()
        a.backward()
        assert not x.array.flags.writeable
        b.backward()
        assert x.array.flags.writeable


def test_a_dropped_graph_unlocks():
    x = leaf([1.0, 2.0])
    with lock_saved():
        loss = (x * x).sum()
        assert not x.array.flags.writeable
        del loss
        gc.collect()
        assert x.array.flags.writeable


def test_the_end_unlocks_and_leaves_nothing_behind():
    x, before = leaf([1.0, 2.0]), (len(observers), len(backward_observers))
    frozen = np.ones(2)
    frozen.flags.writeable = False
    with pytest.raises(KeyError), lock_saved():
        loss = (x * x).sum() + (wrap(frozen) * x).sum()
        raise KeyError
    assert x.array.flags.writeable and not frozen.flags.writeable
    assert (len(observers), len(backward_observers)) == before
    loss.backward()


def test_views_and_their_base_are_locked_together():
    base = wrap(np.arange(6.0))
    w = leaf([1.0, 2.0, 3.0])
    with lock_saved():
        z = (base[:3] * w).sum()
        with pytest.raises(ValueError, match="read-only"):
            base.array[0] = 5.0
        z.backward()
    base.array[0] = 5.0


def test_retained_graphs_are_checked_again():
    x = leaf([1.0, 2.0])
    with lock_saved():
        y = x * 2.0
        z = (y * y).sum()
        z.backward(retain_graph=True)
        y.detach().numpy()[0] = 50.0  # unlocked by the first walk
        with pytest.raises(RuntimeError, match="changed between forward and backward"):
            z.backward()


def test_what_needs_no_gradient_is_not_locked():
    x = wrap(np.ones(2))
    with lock_saved():
        y = x.exp()
        x.array[0] = 2.0
        y.array[0] = 2.0
        with tinygrad_llm.no_grad():
            leaf([1.0, 2.0]).exp().array[0] = 1.0


def test_a_training_run_is_unchanged():
    def train(guard):
        tinygrad_llm.manual_seed(0)
        net = nn.Sequential(
            nn.Embedding(5, 4), nn.LayerNorm(4), nn.Linear(4, 8), nn.GELU(), nn.Linear(8, 5)
        )
        optimizer = tinygrad_llm.optim.AdamW(net.parameters(), lr=0.1)
        ids = tinygrad_llm.tensor([0, 1, 2, 3, 4, 0])
        losses = []
        for _ in range(5):
            with guard():
                loss = nn.functional.cross_entropy(net(ids), (ids + 1) % 5)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            losses.append(loss.item())
        return losses

    import contextlib

    assert train(lock_saved) == train(contextlib.nullcontext)


def test_on_every_device(device):
    x = wrap(np.array([1.0, 2.0])).to(device).requires_grad_()
    with lock_saved():
        y = x * 2.0
        z = (y * y).sum()
        z.backward()
        assert x.grad.tolist() == [8.0, 16.0]
        y = x * 2.0
        z = (y * y).sum()
        if device == "cuda":  # such arrays can't be locked: the checksum sees the write
            y.array[0] = 7.0
            with pytest.raises(RuntimeError, match="was changed"):
                z.backward()
