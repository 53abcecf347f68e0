"""Positions: identities of their formulas, caches with a bias, what Attention refuses, pictures."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest

import tinygrad_llm as tg
from tinygrad_llm import study
from tinygrad_llm.layers.attention import Attention
from tinygrad_llm.layers.positions import Alibi, RelativeBias, SinusoidalPositions, shared_biases
from tinygrad_llm.models import T5, T5Config, t5
from tinygrad_llm.study.draw.position_maps import position_pictures

BIASES = [lambda: Alibi(4), lambda: RelativeBias(4, n_buckets=8, max_distance=10)]


def test_a_shift_turns_every_pair():
    """p(t + n)·p(t) depends on n alone, and p(t + n) is p(t) with each pair turned by n·ω."""
    p = SinusoidalPositions(6, 100.0)(tg.arange(40), tg.float64).numpy()  # (40, 6)
    dots = p @ p.T
    for n in (0, 1, 7):
        np.testing.assert_allclose(np.diag(dots, n), dots[0, n], rtol=1e-12)
    omega = 100.0 ** (-2.0 * np.arange(3) / 6)
    cos, sin = np.cos(5 * omega), np.sin(5 * omega)
    s, c = p[:-5, 0::2], p[:-5, 1::2]
    np.testing.assert_allclose(p[5:, 0::2], s * cos + c * sin, atol=1e-12)
    np.testing.assert_allclose(p[5:, 1::2], c * cos - s * sin, atol=1e-12)
    rows = SinusoidalPositions(6, 100.0)(tg.tensor([[3, 0], [1, 2]]), tg.float64)
    np.testing.assert_array_equal(rows.numpy(), p[[[3, 0], [1, 2]]])
    assert SinusoidalPositions(5)(tg.arange(3)).shape == (3, 5)


@pytest.mark.parametrize("make", BIASES, ids=["alibi", "t5"])
def test_a_bias_depends_on_the_distance_alone(make):
    layer = make()
    near = layer(tg.arange(9), tg.arange(9)).detach().numpy()
    far = layer(tg.arange(500, 509), tg.arange(500, 509)).detach().numpy()
    np.testing.assert_array_equal(near, far)


@pytest.mark.parametrize("window", [None, 3, 5])
@pytest.mark.parametrize("make", BIASES, ids=["alibi", "t5"])
def test_a_text_in_pieces_equals_the_whole(make, window):
    """Over three windows' length, with a cache that is used again, and with padding."""
    tg.manual_seed(0)
    att = Attention(8, 4, n_kv_heads=2, position_bias=make(), window=window)
    x, cache = tg.randn(2, 19, 8), att.new_cache(19)
    with tg.no_grad():
        whole = att(x)
        for pieces in ((1,) * 19, (6, 1, 12)):
            got = tg.cat([att(part, cache=cache) for part in x.split(list(pieces), 1)], 1)
            np.testing.assert_allclose(got.numpy(), whole.numpy(), atol=1e-6)
            cache.truncate(0)
        seen = tg.ones(19, 19).bool().tril()
        np.testing.assert_allclose(att(x, mask=seen).numpy(), whole.numpy(), atol=1e-6)
        added = tg.zeros(19, 19).masked_fill(~seen, float("-inf"))
        np.testing.assert_allclose(att(x, mask=added).numpy(), whole.numpy(), atol=1e-6)


def test_a_bias_is_added_to_the_scores_of_its_dtype():
    for dtype in (tg.float32, tg.float64, tg.bfloat16):
        att = Attention(8, 4, position_bias=Alibi(4), causal=False).to(dtype=dtype)
        assert att(tg.randn(1, 5, 8).to(dtype)).dtype is dtype
    assert "Alibi(4)" in repr(att) and "RelativeBias" in repr(RelativeBias(2))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SinusoidalPositions(0), "dim must be at least 1"),
        (lambda: SinusoidalPositions(4, -1.0), "base positive and finite, got 4 and -1.0"),
        (lambda: Alibi(0), "n_heads must be at least 1, got 0"),
        (lambda: RelativeBias(2, n_buckets=1), "at least 2 in each direction"),
        (lambda: RelativeBias(2, n_buckets=2, bidirectional=True), "at least 2 in each direction"),
        (lambda: RelativeBias(2, n_buckets=32, max_distance=16), "got 32 and 16"),
        (lambda: Attention(8, 4, cross=True, position_bias=Alibi(4)), "need self-attention"),
    ],
)
def test_what_does_not_fit_is_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_pictures(tmp_path):
    made = position_pictures(SinusoidalPositions(32), 50)
    assert made["vectors"].shape == (50, 32) and made["similarity"].shape == (50, 50)
    np.testing.assert_allclose(np.diag(made["similarity"]), 1.0, rtol=1e-6)
    assert list(position_pictures(Alibi(8), 5)) == [f"bias of head {h}" for h in (0, 2, 5, 7)]
    assert position_pictures(RelativeBias(2), 5)["bias of head 1"].shape == (5, 5)
    path = tmp_path / "positions.png"
    assert study.draw_positions(tg.nn.Embedding(20, 4), 20, path) == path
    assert path.read_bytes()[1:4] == b"PNG"
    assert study.draw_positions(Alibi(2), 9).axes


def test_a_stack_computes_its_bias_once(monkeypatch):
    """Loss and gradients are those of biases that every block computes, checkpointed or not."""
    calls = []
    buckets = RelativeBias.buckets
    monkeypatch.setattr(
        RelativeBias, "buckets", lambda self, q, k: calls.append(len(k)) or buckets(self, q, k)
    )
    config = T5Config(vocab_size=9, context_length=16, emb_dim=8, hidden_dim=8, n_layers=3,
                      n_decoder_layers=2, n_heads=2, head_dim=4, drop_rate=0.0)  # fmt: skip
    tg.manual_seed(0)
    model = T5(config).to(tg.float64)
    ids, labels = tg.randint(0, 9, (2, 5)), tg.randint(0, 9, (2, 4))
    results = []
    for shares, checkpointed in ((False, False), (True, False), (True, True)):
        with monkeypatch.context() as patch:
            if not shares:
                patch.setattr(t5, "shared_biases", contextlib.nullcontext)
            model.gradient_checkpointing_enable() if checkpointed else None
            calls.clear()
            model.zero_grad()
            loss = model.loss(ids, labels)
            assert len(calls) == (2 if shares and not checkpointed else 5)
            loss.backward()
            results.append([loss.detach().array, *(p.grad.array for p in model.parameters())])
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            assert abs(a - b).max() <= 1e-12 * abs(a).max()
    bias = RelativeBias(2, n_buckets=8, max_distance=10)
    places = tg.arange(5)
    assert bias(places, places) is not bias(places, places)
    with shared_biases():
        assert bias(places, places) is bias(places, places)
        assert bias(places, places[:3]).shape == (2, 5, 3)
        with tg.no_grad():
            assert not bias(places, places).requires_grad
        assert bias(places, places).requires_grad
