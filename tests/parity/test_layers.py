"""The layers of models against those of PyTorch and transformers: values and every gradient."""

from __future__ import annotations

import contextlib
from functools import partial

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
torch.set_num_threads(1)

from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS  # noqa: E402
from transformers.models.gemma2 import modeling_gemma2 as gemma2  # noqa: E402
from transformers.models.gemma3 import modeling_gemma3 as gemma3  # noqa: E402
from transformers.models.gpt2 import modeling_gpt2 as gpt2  # noqa: E402
from transformers.models.llama import modeling_llama as llama  # noqa: E402
from transformers.models.qwen3 import modeling_qwen3 as qwen3  # noqa: E402

import tinygrad_llm as tg  # noqa: E402
from tinygrad_llm import nn  # noqa: E402
from tinygrad_llm.layers.attention import Attention  # noqa: E402
from tinygrad_llm.layers.block import Block  # noqa: E402
from tinygrad_llm.layers.feed_forward import ACTIVATIONS, FeedForward, GatedFeedForward  # noqa: E402
from tinygrad_llm.layers.norm import OffsetRMSNorm  # noqa: E402
from tinygrad_llm.layers.rotary import Rotary  # noqa: E402

TOLERANCE = {"float32": 1e-5, "float64": 1e-12}
both_dtypes = pytest.mark.parametrize("dtype", ["float32", "float64"])
B, T, C, H, KV, D = 2, 7, 30, 6, 3, 10  # D is not C/H


@contextlib.contextmanager
def float64_stays():
    """transformers computes norms and softmax in float32; within this, float64 stays float64."""
    to, kind, cast = torch.Tensor.to, torch.Tensor.type, torch.Tensor.float
    softmax = torch.nn.functional.softmax

    def is_wide(x):
        return x.dtype is torch.float64

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.Tensor, "float", lambda x: x if is_wide(x) else cast(x))
        for name, convert in (("to", to), ("type", kind)):
            patch.setattr(
                torch.Tensor, name,
                lambda x, *a, convert=convert, **k: (
                    x if is_wide(x) and torch.float32 in a else convert(x, *a, **k)
                ),
            )  # fmt: skip
        patch.setattr(
            torch.nn.functional, "softmax",
            lambda x, dim, dtype=None: softmax(x, dim, dtype=x.dtype if is_wide(x) else dtype),
        )  # fmt: skip
        yield


def close(ours, theirs, dtype, what, floor=0.0):
    a, b = (np.asarray(t.detach().numpy(), dtype=np.float64) for t in (ours, theirs))
    assert str(ours.dtype) == str(theirs.dtype) == f"torch.{dtype}", what
    bound = TOLERANCE[dtype] * max(np.abs(b).max(), floor)
    np.testing.assert_allclose(a, b, rtol=0, atol=bound + (1e-7 if floor else 0), err_msg=what)


def fill(module, dtype, seed=3):
    """Weights that are neither small nor zero, drawn here, in their dtype."""
    module.to(getattr(torch, dtype))
    rng = np.random.default_rng(seed)
    for p in module.parameters():
        p.data = torch.from_numpy(0.5 * rng.standard_normal(tuple(p.shape)).astype(dtype))
    return module.eval()


def agree(ours, theirs, tables, run_ours, run_theirs, shapes, dtype, orders=None, wide=False):
    """Copy theirs into ours by `tables`, run both with one input and upstream, compare everything.

    tables: our parameter -> names of theirs, whose rows stand below each other ("name.T" for a
    transposed one). run_*: (module, *inputs) -> output. orders: our parameter -> which of these
    rows are its rows, in order. wide: theirs computes in float64, from the same numbers.
    """

    def joined(own, get):
        parts = [get(n.removesuffix(".T")).detach() for n in tables[own]]
        parts = [p.T if n.endswith(".T") else p for p, n in zip(parts, tables[own], strict=True)]
        rows = torch.cat(parts)
        return (rows if orders is None or own not in orders else rows[orders[own]]).numpy()

    ours.to(getattr(tg, dtype)).eval()
    named = dict(theirs.named_parameters())
    assert {n for n, _ in ours.named_parameters()} == set(tables)
    state = {own: joined(own, named.get) for own in tables}
    ours.load_state_dict(ours.state_dict() | state)
    rng = np.random.default_rng(1)
    arrays = [rng.standard_normal(shape).astype(dtype) for shape in shapes]
    mine = [tg.tensor(a, requires_grad=True) for a in arrays]
    kind = torch.float64 if wide else getattr(torch, dtype)
    theirs.to(kind)
    other = [torch.tensor(a, dtype=kind, requires_grad=True) for a in arrays]
    y = run_ours(ours, *mine)
    with float64_stays():
        expected = run_theirs(theirs, *other)
        upstream = rng.standard_normal(tuple(expected.shape)).astype(dtype)
        expected.backward(torch.from_numpy(upstream).to(kind))
    y.backward(tg.from_numpy(upstream))
    close(y, expected.to(getattr(torch, dtype)), dtype, "output")
    for i, (a, b) in enumerate(zip(mine, other, strict=True)):
        close(a.grad, b.grad.to(getattr(torch, dtype)), dtype, f"gradient of input {i}", 1e-30)
    for own in tables:
        grad = dict(ours.named_parameters())[own].grad
        merged = torch.from_numpy(joined(own, lambda n: named[n].grad).astype(dtype))
        close(grad, merged, dtype, f"gradient of {own}", 1e-30)


def angles(rotary, positions, dtype):
    """(cos, sin) as transformers passes them, (1, T, D) each: ours, so that they are the same."""
    cos, sin = (torch.from_numpy(a.numpy()) for a in rotary.angles(positions, getattr(tg, dtype)))
    return tuple(torch.cat([a, a], -1)[None] for a in (cos, sin))


def causal_mask(n, dtype, window=None):
    i, j = np.arange(n)[:, None], np.arange(n)
    seen = (j <= i) & (j > i - (window or n))
    return torch.from_numpy(np.where(seen, 0.0, -np.inf).astype(dtype))[None, None]


QKV = {"qkv": ["q_proj", "k_proj", "v_proj"], "out_proj": ["o_proj"]}


def table(norms=False, bias=False):
    kinds = ["weight", "bias"] if bias else ["weight"]
    names = {
        f"{own}.{k}": [f"{t}.{k}" for t in theirs] for own, theirs in QKV.items() for k in kinds
    }
    return names | ({f"{n}.weight": [f"{n}.weight"] for n in ("q_norm", "k_norm")} if norms else {})


def options(**more):
    return {
        "hidden_size": C, "num_attention_heads": H, "num_key_value_heads": KV, "head_dim": D,
        "intermediate_size": 44, "rms_norm_eps": 1e-5, "num_hidden_layers": 2,
        "attn_implementation": "eager", **more,
    }  # fmt: skip


def check_attention(ours, theirs, names, dtype, window=None):
    theirs = fill(theirs, dtype)
    position = tg.arange(T)

    def run_theirs(module, x):
        turned = angles(ours.rotary, position, dtype)
        return module(x, position_embeddings=turned,
                      attention_mask=causal_mask(T, dtype, window))[0]  # fmt: skip

    agree(ours, theirs, names, lambda m, x: m(x), run_theirs, [(B, T, C)], dtype)


@both_dtypes
@pytest.mark.parametrize("bias", [True, False])
def test_llama_attention(dtype, bias):
    config = transformers.LlamaConfig(**options(attention_bias=bias))
    ours = Attention(C, H, n_kv_heads=KV, head_dim=D, bias=bias, rotary=Rotary(D, 500.0))
    check_attention(ours, llama.LlamaAttention(config, 0), table(bias=bias), dtype)


@both_dtypes
def test_qwen3_attention(dtype):
    config = transformers.Qwen3Config(**options())
    ours = Attention(C, H, n_kv_heads=KV, head_dim=D, bias=False, rotary=Rotary(D),
                     qk_norm=partial(nn.RMSNorm, eps=1e-5))  # fmt: skip
    check_attention(ours, qwen3.Qwen3Attention(config, 0), table(norms=True), dtype)


@both_dtypes
@pytest.mark.parametrize("window", [None, 3])
def test_gemma2_attention(dtype, window):
    kind = "full_attention" if window is None else "sliding_attention"
    config = transformers.Gemma2Config(**options(
        query_pre_attn_scalar=7, attn_logit_softcapping=2.0, sliding_window=window or 9,
        layer_types=[kind] * 2,
    ))  # fmt: skip
    ours = Attention(C, H, n_kv_heads=KV, head_dim=D, bias=False, rotary=Rotary(D), scale=7**-0.5,
                     softcap=2.0, window=window)  # fmt: skip
    check_attention(ours, gemma2.Gemma2Attention(config, 0), table(), dtype, window)


@both_dtypes
def test_gemma3_attention(dtype):
    config = transformers.Gemma3TextConfig(**options(
        query_pre_attn_scalar=11, sliding_window=4, layer_types=["sliding_attention"] * 2
    ))  # fmt: skip
    ours = Attention(C, H, n_kv_heads=KV, head_dim=D, bias=False, rotary=Rotary(D), scale=11**-0.5,
                     window=4, qk_norm=partial(OffsetRMSNorm, eps=1e-5))  # fmt: skip
    check_attention(ours, gemma3.Gemma3Attention(config, 0), table(norms=True), dtype, 4)


@both_dtypes
def test_gpt2_attention(dtype):
    config = transformers.GPT2Config(n_embd=C, n_head=H, attn_implementation="eager")
    theirs = fill(gpt2.GPT2Attention(config, layer_idx=0), dtype)
    names = {
        "qkv.weight": ["c_attn.weight.T"], "qkv.bias": ["c_attn.bias"],
        "out_proj.weight": ["c_proj.weight.T"], "out_proj.bias": ["c_proj.bias"],
    }  # fmt: skip
    mask = causal_mask(T, dtype)
    agree(Attention(C, H), theirs, names, lambda m, x: m(x),
          lambda m, x: m(x, attention_mask=mask)[0], [(B, T, C)], dtype)  # fmt: skip


@both_dtypes
@pytest.mark.parametrize("masked", [False, True])
def test_cross_attention_is_pytorchs(dtype, masked):
    S = 5
    theirs = fill(torch.nn.MultiheadAttention(C, H, batch_first=True), dtype)
    rows = {f"in_proj_{k}": getattr(theirs, f"in_proj_{k}").detach() for k in ("weight", "bias")}
    halves = torch.nn.Module()  # PyTorch keeps three matrices in one, and its gradients too
    for k, whole in rows.items():
        halves.register_parameter(f"q_{k[8:]}", torch.nn.Parameter(whole[:C].clone()))
        halves.register_parameter(f"kv_{k[8:]}", torch.nn.Parameter(whole[C:].clone()))
    halves.out_proj = theirs.out_proj
    names = {f"{n}.{k}": [f"{n}_{k}"] for n in ("q", "kv") for k in ("weight", "bias")}
    names |= {f"out_proj.{k}": [f"out_proj.{k}"] for k in ("weight", "bias")}
    seen = np.random.default_rng(0).random((T, S)) < 0.6
    seen[:, 0] = True

    def run_theirs(m, x, memory):
        W, b = (
            torch.cat([getattr(m, f"q_{k}"), getattr(m, f"kv_{k}")]) for k in ("weight", "bias")
        )
        y, _ = torch.nn.functional.multi_head_attention_forward(
            x.transpose(0, 1), memory.transpose(0, 1), memory.transpose(0, 1), C, H, W, b, None,
            None, False, 0.0, m.out_proj.weight, m.out_proj.bias,
            attn_mask=torch.from_numpy(~seen) if masked else None,
        )  # fmt: skip
        return y.transpose(0, 1)

    mask = tg.from_numpy(seen) if masked else None
    agree(Attention(C, H, cross=True), halves, names, lambda m, x, y: m(x, memory=y, mask=mask),
          run_theirs, [(B, T, C), (B, S, C)], dtype)  # fmt: skip


@both_dtypes
def test_attention_that_sees_all(dtype):
    theirs = fill(torch.nn.TransformerEncoderLayer(C, H, 44, 0.0, "gelu", batch_first=True), dtype)
    ours = Block(Attention(C, H, causal=False), FeedForward(C, 44, activation="gelu"),
                 partial(nn.LayerNorm, C), norm_place="post")  # fmt: skip
    parts = {
        "att.out_proj": "self_attn.out_proj", "ff.layers.0": "linear1", "ff.layers.2": "linear2",
        "norm1": "norm1", "norm2": "norm2",
    }  # fmt: skip
    names = {f"{a}.{k}": [f"{b}.{k}"] for a, b in parts.items() for k in ("weight", "bias")}
    names |= {f"att.qkv.{k}": [f"self_attn.in_proj_{k}"] for k in ("weight", "bias")}
    theirs.train()  # eval takes a fused path without gradients; there is no dropout
    agree(ours, theirs, names, lambda m, x: m(x), lambda m, x: m(x), [(B, T, C)], dtype)


@both_dtypes
@pytest.mark.parametrize("place", ["pre", "post"])
def test_decoder_block_with_cross_attention(dtype, place):
    theirs = fill(torch.nn.TransformerDecoderLayer(
        C, H, 44, 0.0, batch_first=True, norm_first=place == "pre"), dtype)  # fmt: skip
    ours = Block(Attention(C, H), FeedForward(C, 44, activation="relu"), partial(nn.LayerNorm, C),
                 cross=Attention(C, H, cross=True), norm_place=place)  # fmt: skip
    state = {n: p.detach().clone() for n, p in theirs.state_dict().items()}
    parts = {
        "att.out_proj": "self_attn.out_proj", "cross.out_proj": "multihead_attn.out_proj",
        "ff.layers.0": "linear1", "ff.layers.2": "linear2", "norm1": "norm1",
        "norm_cross": "norm2", "norm2": "norm3",
    }  # fmt: skip
    kinds = ("weight", "bias")
    weights = {f"{a}.{k}": state[f"{b}.{k}"] for a, b in parts.items() for k in kinds}
    for k in kinds:
        weights[f"att.qkv.{k}"] = state[f"self_attn.in_proj_{k}"]
        weights[f"cross.q.{k}"] = state[f"multihead_attn.in_proj_{k}"][:C]
        weights[f"cross.kv.{k}"] = state[f"multihead_attn.in_proj_{k}"][C:]
    ours.to(getattr(tg, dtype))
    ours.load_state_dict({n: p.numpy() for n, p in weights.items()})
    rng = np.random.default_rng(5)
    arrays = [rng.standard_normal((B, n, C)).astype(dtype) for n in (T, 5)]
    mine, other = ([lib.tensor(a, requires_grad=True) for a in arrays] for lib in (tg, torch))
    theirs.train()
    mask = torch.nn.Transformer.generate_square_subsequent_mask(T, dtype=getattr(torch, dtype))
    expected = theirs(*other, tgt_mask=mask)
    upstream = rng.standard_normal(tuple(expected.shape)).astype(dtype)
    expected.backward(torch.from_numpy(upstream))
    y = ours(mine[0], memory=mine[1])
    y.backward(tg.from_numpy(upstream))
    close(y, expected, dtype, "output")
    for a, b in zip(mine, other, strict=True):
        close(a.grad, b.grad, dtype, "gradient", 1e-30)
    grads = {n: p.grad for n, p in theirs.named_parameters()}
    for n, p in ours.named_parameters():
        part, _, k = n.rpartition(".")
        if part in parts:
            close(p.grad, grads[f"{parts[part]}.{k}"], dtype, n, 1e-30)
    for k in kinds:
        named, whole = dict(ours.named_parameters()), grads[f"multihead_attn.in_proj_{k}"]
        close(named[f"cross.q.{k}"].grad, whole[:C], dtype, k, 1e-30)
        close(named[f"cross.kv.{k}"].grad, whole[C:], dtype, k, 1e-30)


@both_dtypes
def test_gemma2_block_and_gated_feed_forward(dtype):
    config = transformers.Gemma2Config(**options(
        attn_logit_softcapping=3.0, query_pre_attn_scalar=10, layer_types=["full_attention"] * 2
    ))  # fmt: skip
    theirs = fill(gemma2.Gemma2DecoderLayer(config, 0), dtype)
    rotary = Rotary(D)
    ours = Block(
        Attention(C, H, n_kv_heads=KV, head_dim=D, bias=False, rotary=rotary, softcap=3.0),
        GatedFeedForward(C, 44, activation="gelu_pytorch_tanh"),
        partial(OffsetRMSNorm, C, eps=1e-5), norm_place="sandwich",
    )  # fmt: skip
    names = {
        "norm1.weight": ["input_layernorm.weight"],
        "norm1_after.weight": ["post_attention_layernorm.weight"],
        "norm2.weight": ["pre_feedforward_layernorm.weight"],
        "norm2_after.weight": ["post_feedforward_layernorm.weight"],
        "att.qkv.weight": [f"self_attn.{n}_proj.weight" for n in "qkv"],
        "att.out_proj.weight": ["self_attn.o_proj.weight"],
        "ff.gate_up.weight": ["mlp.gate_proj.weight", "mlp.up_proj.weight"],
        "ff.down.weight": ["mlp.down_proj.weight"],
    }
    turned = angles(rotary, tg.arange(T), dtype)
    agree(ours, theirs, names, lambda m, x: m(x),
          lambda m, x: m(x, position_embeddings=turned, attention_mask=causal_mask(T, dtype)),
          [(B, T, C)], dtype)  # fmt: skip


@both_dtypes
def test_llama_feed_forward_with_biases(dtype):
    theirs = fill(llama.LlamaMLP(transformers.LlamaConfig(**options(mlp_bias=True))), dtype)
    kinds = ("weight", "bias")
    names = {f"gate_up.{k}": [f"gate_proj.{k}", f"up_proj.{k}"] for k in kinds}
    names |= {f"down.{k}": [f"down_proj.{k}"] for k in kinds}
    agree(GatedFeedForward(C, 44, bias=True), theirs, names, lambda m, x: m(x), lambda m, x: m(x),
          [(B, T, C)], dtype)  # fmt: skip


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_are_transformers(name):
    x = np.random.default_rng(0).standard_normal((3, 50))
    ours, theirs = tg.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    y, expected = ACTIVATIONS[name]()(ours), transformers.activations.ACT2FN[name](theirs)
    upstream = np.random.default_rng(1).standard_normal(x.shape)
    y.backward(tg.from_numpy(upstream))
    expected.backward(torch.from_numpy(upstream))
    close(y, expected, "float64", name)
    close(ours.grad, theirs.grad, "float64", name, 1e-30)


SCALED = [
    {"rope_type": "linear", "factor": 4.0},
    {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
     "original_max_position_embeddings": 128},
    {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64},
    {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64,
     "attention_factor": 0.7, "beta_fast": 20.0, "beta_slow": 2.0},
    {"rope_type": "yarn", "factor": 40.0, "original_max_position_embeddings": 96, "mscale": 0.8,
     "mscale_all_dim": 0.5, "truncate": False},
]  # fmt: skip


@pytest.mark.parametrize("scaling", SCALED)
@pytest.mark.parametrize(
    ("base", "dim", "partial_"), [(1e4, 16, 1.0), (5e5, 64, 1.0), (1e4, 32, 0.25)]
)
def test_scaled_frequencies_are_transformers(scaling, base, dim, partial_):
    config = transformers.LlamaConfig(
        hidden_size=2 * dim, num_attention_heads=2, head_dim=dim, max_position_embeddings=2048,
        rope_parameters={**scaling, "rope_theta": base, "partial_rotary_factor": partial_},
    )  # fmt: skip
    expected, factor = ROPE_INIT_FUNCTIONS[scaling["rope_type"]](config, "cpu")
    rotary = Rotary(dim, base, partial=partial_, scaling=scaling)
    assert rotary.attention_factor == factor
    assert rotary.frequencies.dtype == np.float32
    np.testing.assert_array_max_ulp(rotary.frequencies, expected.numpy(), 2)


@pytest.mark.parametrize("scaling", [None, *SCALED])
def test_angles_are_transformers(scaling):
    config = transformers.LlamaConfig(
        hidden_size=64, num_attention_heads=2, head_dim=32, max_position_embeddings=256,
        rope_parameters={"rope_type": "default", **(scaling or {}), "rope_theta": 1e4},
    )  # fmt: skip
    x = torch.zeros(1, 1, 200, 32)
    expected = llama.LlamaRotaryEmbedding(config)(x, torch.arange(200)[None])
    got = Rotary(32, scaling=scaling).angles(tg.arange(200))
    for ours, theirs in zip(got, expected, strict=True):
        close(ours, theirs[0, :, :16], "float32", "angles")


@both_dtypes
@pytest.mark.parametrize("positions", ["T", "BT"])
def test_turning_is_transformers_and_metas(dtype, positions):
    """Half-split pairs against transformers; neighbours are the same numbers in another order."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((B, H, T, 16)).astype(dtype)
    where = np.arange(T) + 3 if positions == "T" else rng.integers(0, 90, (B, T))
    rotary = Rotary(16, 100.0)
    cos, sin = angles(rotary, tg.from_numpy(where), dtype)
    cos, sin = (a[0] if positions == "BT" else a for a in (cos, sin))
    expected, _ = llama.apply_rotary_pos_emb(torch.tensor(x), torch.tensor(x), cos, sin)
    (y,) = rotary(tg.from_numpy(x), positions=tg.from_numpy(where))
    close(y, expected, dtype, "half-split")
    order = np.arange(16).reshape(2, 8).T.ravel()  # 0, 8, 1, 9, …: pair j next to each other
    (z,) = Rotary(16, 100.0, interleaved=True)(
        tg.from_numpy(x[..., order]), positions=tg.from_numpy(where)
    )
    np.testing.assert_array_equal(z.numpy(), y.numpy()[..., order])


def test_partial_rotary_leaves_the_rest():
    x = np.random.default_rng(0).standard_normal((B, H, T, 16)).astype("float32")
    (y,) = Rotary(16, partial=0.5)(tg.from_numpy(x), positions=tg.arange(T))
    (z,) = Rotary(8)(tg.from_numpy(x[..., :8]), positions=tg.arange(T))
    np.testing.assert_array_equal(y.numpy()[..., 8:], x[..., 8:])
    np.testing.assert_array_equal(y.numpy()[..., :8], z.numpy())


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_offset_rms_norm_in_half_precision_rounds_where_gemma_does(dtype):
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((40, C)).astype("float32"), 0.1 * rng.standard_normal(C)
    results = []
    for lib, layer in ((tg, OffsetRMSNorm(C)), (torch, gemma3.Gemma3RMSNorm(C))):
        half = getattr(lib, dtype)
        layer.weight.data = lib.tensor(w).to(half)
        y = layer(lib.tensor(x).to(half))
        assert y.dtype is half
        results.append(y.float().detach().numpy())
    ours, theirs = results
    step = {"float16": 2.0**-10, "bfloat16": 2.0**-7}[dtype]  # one unit of the last place, relative
    assert (np.abs(ours - theirs) <= step * np.abs(theirs)).all()
    assert (ours != theirs).mean() < 1e-3


@both_dtypes
def test_offset_rms_norm_is_gemmas(dtype):
    theirs = fill(gemma3.Gemma3RMSNorm(C, eps=1e-5), dtype)
    agree(OffsetRMSNorm(C, eps=1e-5), theirs, {"weight": ["weight"]}, lambda m, x: m(x),
          lambda m, x: m(x), [(B, T, C)], dtype)  # fmt: skip
