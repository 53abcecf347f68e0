"""Attention with a past, a window and a softcap, against attention with an explicit mask."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinygrad_llm as torch
from tinygrad_llm.arrays import attention_blocks
from tinygrad_llm.nn import functional as F


def allowed(n_queries: int, n_keys: int, offset: int, window: int | None) -> np.ndarray:
    """Which keys each query may look at, (L, S), from the definition."""
    i, j = np.arange(n_queries)[:, None] + offset, np.arange(n_keys)[None]
    return (j <= i) & (j > i - window if window else True)


def by_the_definition(q, k, v, offset, window, softcap):
    """The same out of primitives: (B, H·R, L, E), (B, H, S, E), (B, H, S, D) -> (B, H·R, L, D)."""
    group = q.shape[1] // k.shape[1]
    k, v = (a.repeat_interleave(group, dim=1) for a in (k, v))
    s = q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5  # (B, H·R, L, S)
    if softcap:
        s = softcap * (s / softcap).tanh()
    mask = torch.from_numpy(allowed(q.shape[2], k.shape[2], offset, window))
    p = s.masked_fill(~mask, -1e30).softmax(-1) * mask
    return p @ v


@settings(max_examples=60, deadline=None)
@given(
    block=st.sampled_from([2, 5, 64]),
    n_queries=st.integers(1, 13),
    n_keys=st.integers(1, 20),
    offset=st.integers(0, 12),
    window=st.none() | st.integers(1, 30),
    softcap=st.sampled_from([None, 2.0]),
    seed=st.integers(0, 100),
)
def test_values_and_gradients(block, n_queries, n_keys, offset, window, softcap, seed):
    rng = np.random.default_rng(seed)

    def leaf(*shape: int):
        return torch.tensor(rng.standard_normal(shape), requires_grad=True)

    inputs = leaf(2, 4, n_queries, 3), leaf(2, 2, n_keys, 3), leaf(2, 2, n_keys, 5)
    before, attention_blocks.BLOCK_ROWS = attention_blocks.BLOCK_ROWS, block
    try:
        y = F.scaled_dot_product_attention(
            *inputs, is_causal=True, enable_gqa=True, offset=offset, window=window, softcap=softcap
        )
        upstream = torch.tensor(rng.standard_normal(tuple(y.shape)))
        gradients = torch.autograd.grad((y * upstream).sum(), inputs)
    finally:
        attention_blocks.BLOCK_ROWS = before
    expected = by_the_definition(*inputs, offset, window, softcap)
    gradients_expected = torch.autograd.grad((expected * upstream).sum(), inputs)
    for a, b in zip((y, *gradients), (expected, *gradients_expected), strict=True):
        np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), atol=1e-12)


def test_a_window_builds_no_mask():
    """Peak memory grows with the number of keys, not with queries × keys."""

    def peak(n: int) -> int:
        q, k, v = (torch.randn(1, 2, n, 16, requires_grad=True) for _ in range(3))
        tracemalloc.start()
        F.scaled_dot_product_attention(q, k, v, is_causal=True, window=100).sum().backward()
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    peak(2048)  # once, so that nothing is compiled or imported later
    assert peak(4096) < 3 * peak(2048) < 2048 * 2048 * 4 * 3


@pytest.mark.parametrize(
    "options, text",
    [
        ({"offset": 3}, "need is_causal"),
        ({"window": 3}, "need is_causal"),
        ({"is_causal": True, "offset": -1}, "offset must be an integer of at least 0, got -1"),
        ({"is_causal": True, "window": 0}, "window must be an integer of at least 1, got 0"),
        ({"is_causal": True, "window": 2.0}, "window must be an integer of at least 1, got 2.0"),
        ({"softcap": 0.0}, "softcap must be positive and finite, got 0.0"),
        ({"softcap": float("inf")}, "softcap must be positive and finite, got inf"),
    ],
)
def test_bad_options(options, text):
    x = torch.ones(1, 2, 3, 4)
    with pytest.raises(ValueError, match=text):
        F.scaled_dot_product_attention(x, x, x, **options)


def test_half_precision_and_empty_keys():
    x = torch.randn(1, 2, 5, 4).bfloat16()
    y = F.scaled_dot_product_attention(x, x, x, is_causal=True, window=2, softcap=5.0)
    assert y.dtype is torch.bfloat16
    none = F.scaled_dot_product_attention(x, x[:, :, :0], x[:, :, :0], is_causal=True, window=2)
    assert (none == 0).all()
