"""Attention's other forms against transformers and PyTorch: values and every gradient."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
torch.set_num_threads(1)

from transformers.models.deepseek_v3 import modeling_deepseek_v3 as deepseek_v3  # noqa: E402

import tinygrad_llm as tg  # noqa: E402
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
