"""Attention's other forms against transformers and PyTorch: values and every gradient."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
torch.set_num_threads(1)

from transformers.models.deepseek_v3 import modeling_deepseek_v3 as deepseek_v3  # noqa: E402
from transformers.models.deepseek_v32 import modeling_deepseek_v32 as deepseek_v32  # noqa: E402
from transformers.models.gpt_oss import modeling_gpt_oss as gpt_oss  # noqa: E402

import tinygrad_llm as tg  # noqa: E402
from tinygrad_llm.layers.attention import Attention  # noqa: E402
from tinygrad_llm.layers.indexer import Indexer  # noqa: E402
from tinygrad_llm.layers.latent_attention import LatentAttention  # noqa: E402
from tinygrad_llm.layers.rotary import Rotary  # noqa: E402

from .test_layers import (  # noqa: E402
    B,
    C,
    T,
    agree,
    angles,
    both_dtypes,
    causal_mask,
    fill,
    float64_stays,
    options,
    table,
)

H, R, Q, D, P, W = 3, 11, 13, 5, 6, 7  # heads, kv_rank, q_rank, channels of keys and values


def deepseek(config, **more):
    return config(
        hidden_size=C, num_attention_heads=H, num_key_value_heads=H, kv_lora_rank=R,
        qk_nope_head_dim=D, qk_rope_head_dim=P, v_head_dim=W, attn_implementation="eager",
        num_hidden_layers=2, max_position_embeddings=64, **more,
    )  # fmt: skip


def latent_names(q_rank, bias):
    names = {
        "kv_down.weight": ["kv_a_proj_with_mqa.weight"], "out_proj.weight": ["o_proj.weight"],
        "kv_norm.weight": ["kv_a_layernorm.weight"], "kv_up.weight": ["kv_b_proj.weight"],
    }  # fmt: skip
    if q_rank is None:
        names["q.weight"] = ["q_proj.weight"]
    else:
        names |= {
            "q_down.weight": ["q_a_proj.weight"], "q_norm.weight": ["q_a_layernorm.weight"],
            "q_up.weight": ["q_b_proj.weight"],
        }  # fmt: skip
    if bias:
        names |= {"kv_down.bias": ["kv_a_proj_with_mqa.bias"], "out_proj.bias": ["o_proj.bias"]}
    if bias and q_rank is not None:
        names["q_down.bias"] = ["q_a_proj.bias"]
    return names


@both_dtypes
@pytest.mark.parametrize("absorb", [False, True])
@pytest.mark.parametrize("q_rank, bias, interleaved", [(Q, True, True), (None, False, False)])
def test_deepseek_v3_attention(dtype, absorb, q_rank, bias, interleaved):
    """In both forms, with the rotary layout of DeepSeek's files and with the other one."""
    config = deepseek(
        transformers.DeepseekV3Config, q_lora_rank=q_rank, attention_bias=bias,
        rope_interleave=interleaved,
    )  # fmt: skip
    theirs = fill(deepseek_v3.DeepseekV3Attention(config, 0), dtype)
    ours = LatentAttention(
        C, H, kv_rank=R, q_rank=q_rank, head_dim=D, value_head_dim=W, bias=bias, absorb=absorb,
        rotary=Rotary(P, interleaved=interleaved),
    )  # fmt: skip
    run_latent(ours, theirs, latent_names(q_rank, bias), dtype)


def run_latent(ours, theirs, names, dtype):
    def run_theirs(module, x):
        turned = angles(ours.rotary, tg.arange(T), dtype)
        return module(x, position_embeddings=turned, attention_mask=causal_mask(T, dtype))[0]

    agree(ours, theirs, names, lambda m, x: m(x), run_theirs, [(B, T, C)], dtype)


@both_dtypes
def test_latent_attention_with_yarn_has_deepseeks_scale(dtype):
    """DeepSeek multiplies the scores' scale by the square of YaRN's factor: `scale` takes it."""
    scaling = {
        "rope_type": "yarn", "factor": 8.0, "original_max_position_embeddings": 16, "mscale": 1.0,
        "mscale_all_dim": 0.7,
    }  # fmt: skip
    config = deepseek(
        transformers.DeepseekV3Config, q_lora_rank=Q,
        rope_parameters={**scaling, "rope_theta": 500.0},
    )  # fmt: skip
    theirs = fill(deepseek_v3.DeepseekV3Attention(config, 0), dtype)
    factor = 0.1 * 0.7 * np.log(8.0) + 1.0
    ours = LatentAttention(
        C, H, kv_rank=R, q_rank=Q, head_dim=D, value_head_dim=W,
        rotary=Rotary(P, 500.0, scaling=scaling, interleaved=True),
        scale=float((D + P) ** -0.5 * factor**2),
    )  # fmt: skip
    run_latent(ours, theirs, latent_names(Q, False), dtype)


def test_a_layer_with_deepseeks_cache_writes_the_same_tokens():
    """transformers' cached decoding and ours, over three windows of eight tokens."""
    config = deepseek(transformers.DeepseekV3Config, q_lora_rank=Q)
    theirs = fill(deepseek_v3.DeepseekV3Attention(config, 0), "float64")
    ours = LatentAttention(C, H, kv_rank=R, q_rank=Q, head_dim=D, value_head_dim=W,
                           rotary=Rotary(P, interleaved=True)).double()  # fmt: skip
    state = theirs.state_dict()
    ours.load_state_dict({a: state[b[0]].numpy() for a, b in latent_names(Q, False).items()})
    x, past = np.random.default_rng(2).standard_normal((B, 24, C)), transformers.DynamicCache()
    cache = ours.new_cache(24)
    with torch.no_grad(), tg.no_grad(), float64_stays():
        for t in range(24):
            turned = angles(ours.rotary, tg.arange(t, t + 1), "float64")
            one = np.ascontiguousarray(x[:, t : t + 1])
            expected = theirs(torch.from_numpy(one), position_embeddings=turned,
                              attention_mask=None, cache=past)[0].numpy()  # fmt: skip
            got = ours(tg.from_numpy(one), cache=cache).numpy()
            np.testing.assert_allclose(got, expected, rtol=0, atol=1e-12 * abs(expected).max())


@both_dtypes
@pytest.mark.parametrize("absorb", [False, True])
def test_deepseek_v32_sparse_attention(dtype, absorb):
    """Values and gradients with the keys that the indexer chose; the indexer gets no gradient.

    It has many heads, so that no two keys have the score 0, between which any choice is right.
    """
    config = deepseek(
        transformers.DeepseekV32Config, q_lora_rank=Q, index_n_heads=9, index_head_dim=8,
        index_topk=3,
    )  # fmt: skip
    theirs = fill(deepseek_v32.DeepseekV32Attention(config, 0), dtype)
    indexer = Indexer(C, 9, 8, top_k=3, q_dim=Q, rotary=Rotary(8, partial=P / 8))
    indexer.rotary.frequencies = Rotary(P).frequencies
    ours = LatentAttention(
        C, H, kv_rank=R, q_rank=Q, head_dim=D, value_head_dim=W, absorb=absorb,
        rotary=Rotary(P, interleaved=True), indexer=indexer,
    )  # fmt: skip
    of_indexer = {
        "q.weight": "wq_b.weight", "k.weight": "wk.weight", "k_norm.weight": "k_norm.weight",
        "k_norm.bias": "k_norm.bias", "weights.weight": "weights_proj.weight",
    }  # fmt: skip
    names = {f"indexer.{a}": [f"indexer.{b}"] for a, b in of_indexer.items()}
    for p in theirs.indexer.parameters():
        p.requires_grad_(False)
        p.grad = torch.zeros_like(p)
    for p in ours.to(getattr(tg, dtype)).indexer.parameters():
        p.requires_grad = False
        p.grad = tg.zeros(*p.shape, dtype=getattr(tg, dtype))
    run_latent(ours, theirs, {**latent_names(Q, False), **names}, dtype)


@both_dtypes
@pytest.mark.parametrize("window", [None, 3])
def test_gpt_oss_attention_with_sinks(dtype, window):
    kind = "full_attention" if window is None else "sliding_attention"
    config = transformers.GptOssConfig(**options(
        attention_bias=True, sliding_window=window or 9, layer_types=[kind] * 2
    ))  # fmt: skip
    ours = Attention(C, 6, n_kv_heads=3, head_dim=10, rotary=Rotary(10), window=window, sinks=True)
    names = {**table(bias=True), "sinks": ["sinks"]}
    theirs = fill(gpt_oss.GptOssAttention(config, 0), dtype)

    def run_theirs(module, x):
        turned = tuple(a[..., :5] for a in angles(ours.rotary, tg.arange(T), dtype))
        return module(x, position_embeddings=turned,
                      attention_mask=causal_mask(T, dtype, window))[0]  # fmt: skip

    agree(ours, theirs, names, lambda m, x: m(x), run_theirs, [(B, T, C)], dtype)
