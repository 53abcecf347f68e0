"""The compiled loops of attention beside the NumPy class: values and gradients for every option."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinygrad_llm as torch
from tinygrad_llm.arrays import parallel, twins
from tinygrad_llm.nn import functional as F
from tinygrad_llm.ops.attention import ScaledDotProductAttention

BOUNDS = {"float32": (1e-5, 1e-7), "float64": (1e-12, 1e-15)}


def attention(arrays, g, loops=True, mask=None, keep=None, **options):
    """y and the gradients of q, k, v, and the op that ran; keep: a mask of dropout's."""
    before = twins.large.least
    twins.large.least = 0 if loops else twins.NEVER
    try:
        q, k, v = (torch.from_numpy(a).requires_grad_() for a in arrays)
        p = 0.25 if keep is not None else 0.0
        y = ScaledDotProductAttention.apply(
            q,
            k,
            v,
            None if mask is None else torch.from_numpy(mask),
            None if keep is None else torch.from_numpy(keep),
            dropout_p=p,
            **options,
        )
        op = y._op
        y.backward(torch.from_numpy(g))
    finally:
        twins.large.least = before
    return [a.detach().numpy() for a in (y, q.grad, k.grad, v.grad)], op


def assert_equal(got, expected, dtype):
    relative, absolute = BOUNDS[dtype]
    for a, b in zip(got, expected, strict=True):
        assert a.dtype == b.dtype == dtype and a.shape == b.shape
        assert abs(a - b).max() <= relative * abs(b).max() + absolute


@settings(deadline=None)
@given(
    dtype=st.sampled_from(["float32", "float64"]),
    batch=st.integers(1, 2),
    heads=st.integers(1, 3),
    group=st.integers(1, 2),
    n_queries=st.integers(1, 150),
    past=st.integers(0, 90),
    channels=st.tuples(st.integers(1, 20), st.integers(1, 20)),
    kind=st.sampled_from(["plain", "causal", "window", "bool", "added", "row of the mask"]),
    window=st.integers(1, 200),
    drop=st.booleans(),
    in_projection=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_values_and_gradients(
    loops, dtype, batch, heads, group, n_queries, past, channels, kind, window, drop, in_projection,
    seed,
):  # fmt: skip
    rng = np.random.default_rng(seed)
    n_keys, (E, D) = n_queries + past, channels

    def draw(*shape):
        """(B, H, T, C), or the transpose of (B, T, H, C), as a projection's heads lie."""
        if in_projection:
            b, h, t, c = shape
            return rng.standard_normal((b, t, h, c)).astype(dtype).transpose(0, 2, 1, 3)
        return rng.standard_normal(shape).astype(dtype)

    q = draw(batch, heads * group, n_queries, E)
    k, v = draw(batch, heads, n_keys, E), draw(batch, heads, n_keys, D)
    g = draw(batch, heads * group, n_queries, D)
    shape = (batch, heads * group, n_queries, n_keys)
    options = {}
    if kind in ("causal", "window"):
        options = {"is_causal": True, "offset": past}
        if kind == "window":
            options["window"] = window
    elif kind == "bool":
        options = {"mask": rng.random((n_queries, n_keys)) < 0.7}  # a row may see nothing
    elif kind == "added":
        options = {"mask": np.where(rng.random(shape) < 0.3, -np.inf, rng.standard_normal(shape))}
    elif kind == "row of the mask":
        options = {"mask": rng.standard_normal((batch, 1, 1, n_keys))}
    if options.get("mask") is not None and options["mask"].dtype != bool:
        options["mask"] = options["mask"].astype(dtype)
    if drop:
        options["keep"] = rng.random(shape) < 0.75
    got, op = attention((q, k, v), g, **options)
    expected, plain = attention((q, k, v), g, loops=False, **options)
    assert type(op).__module__.endswith("loops.attention") and type(plain) is not type(op)
    assert_equal(got, expected, dtype)


def ran(monkeypatch) -> list[bool]:
    """What the loops return at each call: whether a result was NaN or infinite."""
    from tinygrad_llm.ops.loops.attention import LoopAttention

    results: list[bool] = []
    run = LoopAttention.run

    def watched(self, *args):
        results.append(run(self, *args))
        return results[-1]

    monkeypatch.setattr(LoopAttention, "run", watched)
    return results


def test_the_loops_serve_what_training_uses(loops, monkeypatch):
    """Heads of one projection, causal, with dropout; and the gradient that comes from a reshape."""
    results = ran(monkeypatch)
    x = torch.randn(2, 70, 3 * 4 * 8, requires_grad=True)
    q, k, v = (a.view(2, 70, 4, 8).transpose(1, 2) for a in x.split(32, -1))
    y = F.scaled_dot_product_attention(q, k, v, is_causal=True, dropout_p=0.1)
    y = y.transpose(1, 2).reshape(2, 70, 32)
    (y * torch.randn(2, 70, 32)).sum().backward()
    assert results == [False, False]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", ["k", "v"])
def test_what_comes_later_takes_no_part(loops, monkeypatch, bad, where):
    """NaN and infinities in a later key reach no earlier row, forward or backward."""
    results = ran(monkeypatch)
    rng = np.random.default_rng(3)
    q, k, v, g = (rng.standard_normal((1, 2, 100, 8)).astype("float32") for _ in range(4))
    (k if where == "k" else v)[:, :, 70] = bad
    got, _ = attention((q, k, v), g, is_causal=True)
    expected, _ = attention((q, k, v), g, loops=False, is_causal=True)
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_array_equal(np.isfinite(a), np.isfinite(b))
    assert np.isfinite(got[0][:, :, :70]).all() and results[0]


@pytest.mark.parametrize("scale", [1e-3, 1.0, 30.0, 1e4])
def test_large_scores(loops, scale):
    rng = np.random.default_rng(4)
    q, k, v, g = (rng.standard_normal((2, 2, 80, 8)).astype("float32") for _ in range(4))
    got, _ = attention((q * scale, k, v), g, is_causal=True)
    expected, _ = attention((q * scale, k, v), g, loops=False, is_causal=True)
    for a, b in zip(got, expected, strict=True):  # scores are rounded to 1e-7 of their size
        assert abs(a - b).max() <= max(1e-5, 1e-6 * scale) * abs(b).max()


def test_what_is_left_to_numpy(loops, monkeypatch):
    """A gradient of the mask, a softcap, overlapping rows: the same numbers, without a loop."""
    results = ran(monkeypatch)
    rng = np.random.default_rng(5)
    q, k, v, g = (rng.standard_normal((2, 2, 9, 4)) for _ in range(4))
    got, op = attention((q, k, v), g, softcap=3.0, is_causal=True)
    expected, _ = attention((q, k, v), g, loops=False, softcap=3.0, is_causal=True)
    assert_equal(got, expected, "float64")
    flat = rng.standard_normal(200)
    overlapping = np.lib.stride_tricks.as_strided(flat, (2, 2, 9, 4), (320, 160, 16, 8))
    got, _ = attention((overlapping, k, v), g)
    expected, _ = attention((overlapping.copy(), k, v), g, loops=False)
    assert_equal(got, expected, "float64")
    assert len(results) <= 1  # backward of the second may run: its gradients do not overlap
    mask = torch.from_numpy(rng.standard_normal((9, 9))).requires_grad_()
    y = F.scaled_dot_product_attention(*map(torch.from_numpy, (q, k, v)), attn_mask=mask)
    y.backward(torch.from_numpy(g))
    monkeypatch.setattr(twins.large, "least", twins.NEVER)
    again = mask.detach().clone().requires_grad_()
    y = F.scaled_dot_product_attention(*map(torch.from_numpy, (q, k, v)), attn_mask=again)
    y.backward(torch.from_numpy(g))
    assert_equal([mask.grad.numpy()], [again.grad.numpy()], "float64")


def test_the_number_of_threads_changes_nothing(loops, monkeypatch):
    rng = np.random.default_rng(6)
    q, k, v, g = (rng.standard_normal((3, 5, 90, 8)).astype("float32") for _ in range(4))
    results = []
    for n in (1, 2, 3):
        monkeypatch.setattr(parallel, "_threads", n)
        results.append(attention((q, k, v), g, is_causal=True)[0])
    for others in results[1:]:
        for a, b in zip(results[0], others, strict=True):
            np.testing.assert_array_equal(a, b)


def test_without_openblas_numpy_runs(loops, monkeypatch):
    from tinygrad_llm.arrays import blas

    monkeypatch.setattr(blas, "product", lambda dtype: None)
    rng = np.random.default_rng(7)
    q, k, v, g = (rng.standard_normal((1, 1, 9, 4)) for _ in range(4))
    _, op = attention((q, k, v), g)
    assert type(op) is ScaledDotProductAttention


def test_no_scores_of_all_keys_exist(loops):
    """Peak memory grows with the keys, not with queries times keys."""
    import tracemalloc

    q = torch.zeros(1, 1, 2048, 8)
    F.scaled_dot_product_attention(q, q, q, is_causal=True)
    tracemalloc.start()
    F.scaled_dot_product_attention(q, q, q, is_causal=True)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2048 * 2048 * 4 / 8
