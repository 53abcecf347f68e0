"""Threads, blocks and kept memory change how fast a step is, never what it computes."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_llm as tg
from tinygrad_llm.arrays import allocator, attention_blocks, blas, matmul, parallel
from tinygrad_llm.models.gpt import GPT, GPTConfig
from tinygrad_llm.ops import loss as loss_op
from tinygrad_llm.optim import AdamW

# The losses of steps 1, 11, 21, 31, 41 and 50 below, before products were shared among the cores.
BEFORE = [4.2015276, 2.94443083, 2.1533289, 1.38947809, 0.78405809, 0.45307058]


def curve(steps: int = 50) -> list[float]:
    """The losses of a small GPT that learns one batch by heart."""
    tg.manual_seed(0)
    model = GPT(
        GPTConfig(
            vocab_size=65, context_length=96, emb_dim=96, n_heads=3, n_layers=2, drop_rate=0.0
        )
    )
    optimizer = AdamW(model.parameters(), lr=1e-3)
    tokens = np.random.default_rng(0).integers(0, 65, (4, 97))
    idx, targets = tg.from_numpy(tokens[:, :-1].copy()), tg.from_numpy(tokens[:, 1:].copy())
    losses = []
    for _ in range(steps):
        loss = model.loss(idx, targets)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses


def test_loss_curve_is_the_same_as_before():
    np.testing.assert_allclose(curve()[::10] + curve()[-1:], BEFORE, rtol=1e-5)


def test_loss_curve_is_the_same_twice():
    assert curve(10) == curve(10)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_loss_curve_in_many_small_pieces(monkeypatch, threads):
    expected = curve(10)
    monkeypatch.setattr(parallel, "_threads", threads)
    monkeypatch.setattr(parallel, "BLOCK_BYTES", 4096)
    monkeypatch.setattr(matmul, "MIN_SHARED", 1000)
    monkeypatch.setattr(attention_blocks, "BLOCK_BYTES", 1 << 12)
    monkeypatch.setattr(loss_op, "LOGITS_BYTES", 1 << 14)
    np.testing.assert_allclose(curve(10), expected, rtol=1e-5)


def test_products_of_many_shapes(monkeypatch):
    monkeypatch.setattr(matmul, "MIN_SHARED", 1)
    rng = np.random.default_rng(0)
    for n, k, m in [(1, 1, 1), (5, 3, 4), (4, 3, 5), (0, 3, 4), (4, 0, 3), (3, 4, 0), (7, 2, 1)]:
        a, b, bias = rng.random((n, k)), rng.random((k, m)), rng.random(m)
        np.testing.assert_allclose(matmul.product(a, b, bias), a @ b + bias)
        total = np.ones((n, m))
        first, last = matmul.concurrent_products(None, (a, b), add_to=total)
        assert first is None and last is total
        np.testing.assert_allclose(total, 1 + a @ b)
        pair = matmul.concurrent_products((a, b), (b.T, a.T))
        np.testing.assert_allclose(pair[0], a @ b)
        np.testing.assert_allclose(pair[1], b.T @ a.T)
    for left, right in [((2, 3, 4), (2, 4, 5)), ((1, 6, 3, 4), (6, 4, 2)), ((3, 4), (2, 4, 5)),
                        ((0, 2, 3), (0, 3, 4)), ((2, 1, 3, 4), (3, 4, 2))]:  # fmt: skip
        a, b = rng.random(left), rng.random(right)
        np.testing.assert_allclose(matmul.products(a, b), a @ b)
    np.testing.assert_allclose(matmul.products(rng.random(3) * 0 + 1, np.eye(3)), np.ones(3))


def test_blas_gets_its_threads_back():
    if not blas.can_hold():
        pytest.skip("NumPy's matrix product is not OpenBLAS")
    get, set_ = blas._controls()
    before = get()
    try:
        set_(2)
        with pytest.raises(ZeroDivisionError), blas.one_thread:
            assert get() == 1
            with blas.one_thread:
                assert get() == 1
            assert get() == 1
            raise ZeroDivisionError
        assert get() == 2
        a = np.ones((300, 300), np.float32)
        matmul.product(a, a)
        assert get() == 2
    finally:
        set_(before)


def test_memory_is_not_kept_where_somebody_decided(monkeypatch):
    for name in ("TINYGRAD_LLM_KEEP_MEMORY", "MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES"):
        monkeypatch.setenv(name, "0")
        assert allocator.keep_memory.__wrapped__() is False
        monkeypatch.delenv(name)
