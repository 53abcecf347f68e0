"""Gated DeltaNet and Mamba against transformers' layers: values and every gradient."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from transformers.models.mamba import modeling_mamba as mamba  # noqa: E402
from transformers.models.qwen3_5 import modeling_qwen3_5 as qwen3_5  # noqa: E402
from transformers.models.qwen3_next import modeling_qwen3_next as qwen3_next  # noqa: E402

import tinygrad_llm as tg  # noqa: E402
from tinygrad_llm.layers.delta_net import GatedDeltaNet  # noqa: E402
from tinygrad_llm.layers.mamba import Mamba  # noqa: E402

from .test_layers import agree, fill, float64_stays  # noqa: E402

both_dtypes = pytest.mark.parametrize("dtype", ["float32", "float64"])
C, H, G, K, D = 30, 6, 3, 11, 4  # two heads of values share one of keys
# With few channels some keys have almost no length: dividing by it magnifies the rounding.
# wide=True for the delta rule: theirs subtracts sums of decays over a chunk, which in float32 costs
# more digits than the comparison allows.


def qwen_config(kind, heads, keys):
    return kind(
        hidden_size=C, linear_num_value_heads=heads, linear_num_key_heads=keys,
        linear_key_head_dim=K, linear_value_head_dim=D, linear_conv_kernel_dim=4,
        num_hidden_layers=1, layer_types=["linear_attention"], rms_norm_eps=1e-5,
    )  # fmt: skip


def delta_net(heads, keys):
    return GatedDeltaNet(C, heads, n_key_heads=keys, head_dim=D, key_head_dim=K, norm_eps=1e-5)


REST = {n: [n] for n in ("conv1d.weight", "dt_bias", "A_log", "norm.weight", "out_proj.weight")}


def rows_by_head(heads, keys):
    """Where our rows of in_proj stand in Qwen3-Next's, which lie together for each key head.

    Theirs of a key head: q (K), k (K), v (heads/keys·D), z (heads/keys·D); then, in the second
    matrix, b (heads/keys) and a (heads/keys). Ours: all q, all k, all v, all z, all b, all a.
    """
    group = heads // keys
    wide, narrow = 2 * K + 2 * group * D, 2 * group
    whole = np.arange(keys * wide).reshape(keys, wide)
    parts = np.split(whole, np.cumsum([K, K, group * D]), axis=1)
    second = keys * wide + np.arange(keys * narrow).reshape(keys, narrow)
    parts += np.split(second, 2, axis=1)
    return torch.from_numpy(np.concatenate([part.ravel() for part in parts]))


def masked(T):
    """(mask, ours; mask, theirs): the second row is padded at its left."""
    seen = np.arange(T) >= np.array([0, 3])[:, None]
    return tg.from_numpy(seen), torch.from_numpy(seen.astype("int64"))


@both_dtypes
@pytest.mark.parametrize("T", [1, 7, 70])  # more than a chunk of 64
@pytest.mark.parametrize(("heads", "keys"), [(H, G), (4, 4)])
def test_qwen3_next_delta_net(heads, keys, T, dtype):
    config = qwen_config(transformers.Qwen3NextConfig, heads, keys)
    theirs = fill(qwen3_next.Qwen3NextGatedDeltaNet(config, 0), dtype)
    names = REST | {"in_proj.weight": ["in_proj_qkvz.weight", "in_proj_ba.weight"]}
    agree(delta_net(heads, keys), theirs, names, lambda m, x: m(x), lambda m, x: m(x),
          [(2, T, C)], dtype, {"in_proj.weight": rows_by_head(heads, keys)}, wide=True)  # fmt: skip


@both_dtypes
def test_qwen3_next_delta_net_with_left_padding(dtype):
    config, (ours, other) = qwen_config(transformers.Qwen3NextConfig, H, G), masked(9)
    theirs = fill(qwen3_next.Qwen3NextGatedDeltaNet(config, 0), dtype)
    names = REST | {"in_proj.weight": ["in_proj_qkvz.weight", "in_proj_ba.weight"]}
    agree(delta_net(H, G), theirs, names, lambda m, x: m(x, mask=ours),
          lambda m, x: m(x, attention_mask=other), [(2, 9, C)], dtype,
          {"in_proj.weight": rows_by_head(H, G)})  # fmt: skip


@both_dtypes
def test_qwen3_5_delta_net(dtype):
    config = qwen_config(transformers.Qwen3_5TextConfig, H, G)
    theirs = fill(qwen3_5.Qwen3_5GatedDeltaNet(config, 0), dtype)
    parts = ("in_proj_qkv", "in_proj_z", "in_proj_b", "in_proj_a")
    names = REST | {"in_proj.weight": [f"{n}.weight" for n in parts]}
    agree(delta_net(H, G), theirs, names, lambda m, x: m(x), lambda m, x: m(x), [(2, 70, C)],
          dtype, wide=True)  # fmt: skip


# ----------------------------------------------------------------------------------------- Mamba
def mixer(dtype, bias=False, conv_bias=True):
    config = transformers.MambaConfig(
        hidden_size=12, intermediate_size=20, state_size=5, time_step_rank=3, conv_kernel=4,
        num_hidden_layers=1, use_bias=bias, use_conv_bias=conv_bias,
    )  # fmt: skip
    theirs = fill(mamba.MambaMixer(config, 0), dtype)
    names = {n: [n] for n, _ in theirs.named_parameters()}
    ours = Mamba(12, inner_dim=20, state_dim=5, dt_rank=3, bias=bias, conv_bias=conv_bias)
    return ours, theirs, names


@both_dtypes
@pytest.mark.parametrize("T", [1, 7, 50])  # several chunks of 16
@pytest.mark.parametrize("bias", [False, True])
def test_mamba_mixer(bias, T, dtype):
    ours, theirs, names = mixer(dtype, bias=bias, conv_bias=not bias)
    agree(ours, theirs, names, lambda m, x: m(x), lambda m, x: m(x), [(2, T, 12)], dtype)


@both_dtypes
def test_mamba_mixer_with_left_padding(dtype):
    (ours, theirs, names), (mask, other) = mixer(dtype), masked(9)
    agree(ours, theirs, names, lambda m, x: m(x, mask=mask),
          lambda m, x: m(x, attention_mask=other), [(2, 9, 12)], dtype)  # fmt: skip


def test_mamba_decodes_as_transformers_does():
    """One prompt, then token by token, each with its own cache."""
    ours, theirs, names = mixer("float64")
    ours.double().load_state_dict({n: p.detach().numpy() for n, p in theirs.named_parameters()})
    x = np.random.default_rng(0).standard_normal((2, 40, 12))
    config = theirs.config
    cache, theirs_cache = ours.new_cache(40), transformers.DynamicCache(config=config)
    with torch.no_grad(), tg.no_grad(), float64_stays():
        for a, b in [(0, 17), *((t, t + 1) for t in range(17, 40))]:
            y = ours(tg.from_numpy(x[:, a:b].copy()), cache=cache)
            expected = theirs(torch.from_numpy(x[:, a:b].copy()), cache=theirs_cache)
            np.testing.assert_allclose(y.numpy(), expected.numpy(), rtol=0, atol=1e-12)


def test_a_new_mamba_is_as_transformers_begins():
    """A, D and the ranges of Δ; the numbers drawn differ."""
    config = transformers.MambaConfig(hidden_size=32, num_hidden_layers=1)
    theirs, ours = mamba.MambaMixer(config, 0), Mamba(32)
    own = dict(ours.named_parameters())
    for name, p in theirs.named_parameters():
        assert tuple(own[name].shape) == tuple(p.shape), name
    np.testing.assert_allclose(ours.A_log.detach().numpy(), theirs.A_log.detach(), atol=1e-6)
    assert (theirs.D == 1).all()
    for layer, F in ((ours, tg.nn.functional), (theirs, torch.nn.functional)):
        step = F.softplus(layer.dt_proj.bias.detach())
        assert 0.0009 < float(step.min()) < 0.01 < float(step.max()) < 0.11
