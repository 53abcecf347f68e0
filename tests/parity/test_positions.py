"""Positions against transformers' T5, Bloom and MPT: values and every gradient."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
torch.set_num_threads(1)

from transformers.models.bloom import modeling_bloom as bloom  # noqa: E402
from transformers.models.mpt import modeling_mpt as mpt  # noqa: E402
from transformers.models.t5 import modeling_t5 as t5  # noqa: E402

import tinygrad_llm as tg  # noqa: E402
from tinygrad_llm.layers.attention import Attention  # noqa: E402
from tinygrad_llm.layers.positions import Alibi, RelativeBias  # noqa: E402

from .test_layers import both_dtypes, close, float64_stays  # noqa: E402

B, T, C = 2, 23, 18


def numbers(*shape, dtype, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def taken(ours, weight, bias=None):
    """Our Linear with these weights."""
    ours.weight.data = tg.from_numpy(weight.detach().numpy().copy())
    if bias is not None:
        ours.bias.data = tg.from_numpy(bias.detach().numpy().copy())


@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize(("n", "most"), [(32, 128), (8, 20), (64, 100), (32, 17)])
def test_buckets_are_t5s(n, most, bidirectional):
    layer = RelativeBias(1, n_buckets=n, max_distance=most, bidirectional=bidirectional)
    places = torch.arange(-700, 701)
    expected = t5.T5Attention._relative_position_bucket(places, bidirectional, n, most)
    got = layer.buckets(tg.tensor([0]), tg.arange(-700, 701))[0]
    np.testing.assert_array_equal(got, expected.numpy())


@both_dtypes
@pytest.mark.parametrize("decoder", [False, True])
def test_t5_attention(dtype, decoder):
    """Two layers that share one table: its gradient is the sum over both."""
    H, D = 6, 5
    config = transformers.T5Config(
        d_model=C, d_kv=D, num_heads=H, relative_attention_num_buckets=8,
        relative_attention_max_distance=12, is_decoder=decoder, dropout_rate=0.0,
    )  # fmt: skip
    config._attn_implementation = "eager"
    bias = RelativeBias(H, n_buckets=8, max_distance=12, bidirectional=not decoder)
    ours, theirs = [], []
    for i in range(2):
        layer = t5.T5Attention(config, has_relative_attention_bias=i == 0, layer_idx=i).eval()
        theirs.append(layer.to(getattr(torch, dtype)))
        att = Attention(
            C, H, head_dim=D, bias=False, scale=1.0, causal=decoder, position_bias=bias
        ).to(dtype=getattr(tg, dtype))
        taken(att.qkv, torch.cat([layer.q.weight, layer.k.weight, layer.v.weight]))
        taken(att.out_proj, layer.o.weight)
        ours.append(att)
    taken(bias.table, theirs[0].relative_attention_bias.weight)
    x, g = numbers(B, T, C, dtype=dtype), numbers(B, T, C, dtype=dtype, seed=1)
    a, b = (m.from_numpy(x.copy()).requires_grad_() for m in (tg, torch))
    y = ours[1](ours[0](a) + a)
    mask = None
    if decoder:
        later = torch.ones(T, T, dtype=torch.bool).triu(1)
        mask = torch.zeros(1, 1, T, T, dtype=b.dtype).masked_fill(later, -torch.inf)
    with float64_stays():
        z, shared, _ = theirs[0](b, mask=mask)
        expected = theirs[1](z + b, mask=mask, position_bias=shared)[0]
    close(y, expected, dtype, "values")
    y.backward(tg.from_numpy(g.copy()))
    expected.backward(torch.from_numpy(g))
    close(a.grad, b.grad, dtype, "x", 1e-3)
    table = theirs[0].relative_attention_bias.weight.grad
    close(bias.table.weight.grad, table, dtype, "table", 1e-3)
    for mine, other in zip(ours, theirs, strict=True):
        qkv = torch.cat([other.q.weight.grad, other.k.weight.grad, other.v.weight.grad])
        close(mine.qkv.weight.grad, qkv, dtype, "qkv", 1e-3)
        close(mine.out_proj.weight.grad, other.o.weight.grad, dtype, "out_proj", 1e-3)


@both_dtypes
@pytest.mark.parametrize("H", [2, 3, 6])
def test_bloom_attention(dtype, H):
    config = transformers.BloomConfig(hidden_size=C, n_head=H, hidden_dropout=0.0)
    theirs = bloom.BloomAttention(config, layer_idx=0).to(getattr(torch, dtype)).eval()
    ours = Attention(C, H, position_bias=Alibi(H)).to(dtype=getattr(tg, dtype))
    D = C // H
    w = theirs.query_key_value.weight.view(H, 3, D, C).transpose(0, 1).reshape(3 * C, C)
    b = theirs.query_key_value.bias.view(H, 3, D).transpose(0, 1).reshape(3 * C)
    taken(ours.qkv, w, b)
    taken(ours.out_proj, theirs.dense.weight, theirs.dense.bias)
    x, g = numbers(B, T, C, dtype=dtype), numbers(B, T, C, dtype=dtype, seed=1)
    mine, other = (m.from_numpy(x.copy()).requires_grad_() for m in (tg, torch))
    alibi = bloom.build_alibi_tensor(torch.ones(B, T), H, other.dtype)
    later = torch.ones(T, T, dtype=torch.bool).triu(1)
    mask = torch.zeros(1, 1, T, T, dtype=other.dtype).masked_fill(later, -torch.inf)
    with float64_stays():
        expected = theirs(other, torch.zeros_like(other), alibi, mask)[0]
    y = ours(mine)
    close(y, expected, dtype, "values")
    y.backward(tg.from_numpy(g.copy()))
    expected.backward(torch.from_numpy(g))
    close(mine.grad, other.grad, dtype, "x", 1e-3)
    grad = theirs.query_key_value.weight.grad.view(H, 3, D, C).transpose(0, 1).reshape(3 * C, C)
    close(ours.qkv.weight.grad, grad, dtype, "qkv", 1e-3)


@pytest.mark.parametrize("H", [1, 2, 3, 6, 8, 12, 40, 112])
def test_rates_are_mpts_and_blooms(H):
    last = Alibi(H)(tg.tensor([T - 1]), tg.arange(T)).numpy()  # (H, 1, T)
    np.testing.assert_allclose(last, mpt.build_mpt_alibi_tensor(H, T).numpy(), rtol=1e-6)
    expected = bloom.build_alibi_tensor(torch.ones(1, T), H, torch.float32).numpy()
    np.testing.assert_allclose(last - last[:, :, :1], expected, rtol=1e-5, atol=1e-5)
