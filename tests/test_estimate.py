"""What a model costs in closed form: known figures, real models, real caches, and traces."""

from __future__ import annotations

import json

import numpy as np
import pytest

import tinygrad_llm as tg
from tinygrad_llm import study
from tinygrad_llm.cli import main
from tinygrad_llm.layers.cache import AttentionCache, RecurrentCache
from tinygrad_llm.layers.latent_cache import LatentCache
from tinygrad_llm.models import GPT, GPTConfig, Llama, registry
from tinygrad_llm.models.costs import gpt_flops, gpt_memory, gpt_parameters
from tinygrad_llm.models.estimate import COSTS, estimate, find_config, layer_cost
from tinygrad_llm.models.llama import PRESETS as LLAMAS

TINY = dict(vocab_size=11, context_length=24, emb_dim=12, n_heads=6, n_layers=4, drop_rate=0.0)
KINDS = [
    {},
    {"attention": "gqa", "n_kv_heads": 2},
    {"attention": "mqa", "head_dim": 4, "qkv_bias": False},
    {"attention": "swa", "window": 5, "ratio": 3},
    {"attention": "swa", "window": 40, "n_kv_heads": 3},
    {"attention": "deltanet", "ratio": 1},
    {"feed_forward": "moe", "n_experts": 5, "expert_dim": 7},
    {"positions": "t5", "tie_weights": False},
    {"positions": "rotary"},
    {"attention": "mla", "latent_dim": 5},
    {"attention": "mla", "latent_dim": 5, "positions": "rotary", "rope_dim": 4},
]
MAMBA = {"attention": "mamba", "state_dim": 3}
MEMORIES = [
    {"attention": "sparse", "latent_dim": 5, "window": 6},
    {"attention": "linear", "ratio": 3},
    MAMBA,
    {"attention": "swa", "window": 5, "dilation": 2, "sinks": True},
    {"attention": "swa", "window": 5, "dilation": 3, "keep_first": 2},
]


# -------------------------------------------------------------------------------- known figures
@pytest.mark.parametrize(
    ("fields", "gigabytes"),
    [
        ({}, 17.18),
        ({"attention": "gqa", "n_kv_heads": 8}, 4.29),
        ({"attention": "swa", "window": 1024, "ratio": 5}, 3.14),  # 27 windows in 32 layers
        ({"attention": "swa", "window": 1024, "ratio": 5, "n_kv_heads": 8}, 0.78),
        ({"context_length": 8192, "emb_dim": 2064, "n_heads": 24, "n_layers": 48}, 3.25),
        (
            {
                "context_length": 8192,
                "emb_dim": 2064,
                "n_heads": 24,
                "n_layers": 48,
                "attention": "mla",
                "latent_dim": 1024,
            },
            0.81,
        ),
    ],
)
def test_cache_of_known_sizes(fields, gigabytes, capsys):
    sizes = {"context_length": 32768, "emb_dim": 4096, "n_heads": 32, "n_layers": 32, **fields}
    made = estimate(GPTConfig(**sizes), dtype="bfloat16")
    assert round(made.cache_bytes / 1e9, 2) == gigabytes
    sizes["ratio"] = f"{sizes['ratio']}:1" if "ratio" in sizes else "0"
    flags = [part for name, n in sizes.items() for part in ("--" + name.replace("_", "-"), n)]
    code, out, _ = run(capsys, *flags, "--dtype", "bfloat16")
    cache = next(line for line in out.splitlines() if line.startswith("cache"))
    assert code == 0 and cache.endswith(f"bytes   {gigabytes:.2f} GB"), out


def test_operations_of_gpt2():
    made = estimate(GPTConfig())
    assert made.forward_flops == 291_648_307_200
    assert made.training_flops == 874_944_921_600
    assert made.parameters == made.active_parameters == 124_439_808
    assert made.forward_flops == gpt_flops(GPTConfig(), causal=False)["forward"]


# --------------------------------------------------------------------------- against the real thing
def held_bytes(cache, length):
    """The bytes that a cache needs for its tokens, read from its arrays."""
    total = 0
    for part in cache.layers:
        if isinstance(part, AttentionCache):
            used = length if part.window is None else min(length, part.window)
            total += sum(a[:, :, :used].nbytes for a in (part._keys, part._values))
            total += sum(a.nbytes for a in getattr(part, "_kept", ()))  # of a StreamingCache
        elif isinstance(part, LatentCache):
            total += sum(a[:, :length].nbytes for a in part._parts)
        else:
            assert isinstance(part, RecurrentCache)
            kept = part.conv_size - 1
            total += part._state.nbytes + (part._inputs[:, :, :kept].nbytes if kept else 0)
    return total


@pytest.mark.parametrize("fields", KINDS + MEMORIES, ids=str)
def test_weights_and_cache_are_those_of_a_model(fields):
    config, B = GPTConfig(**{**TINY, **fields}), 3
    model = GPT(config).eval()
    made = estimate(config, batch=B)
    assert made.parameters == model.n_parameters()
    assert made.weight_bytes == sum(p.nbytes for p in model.parameters())
    cache, T = model.new_cache(), config.context_length
    with tg.no_grad():
        model(tg.zeros(B, T, dtype=tg.int64), cache)
    assert made.cache_bytes == held_bytes(cache, T)
    half = estimate(config, batch=B, dtype="bfloat16")
    assert half.weight_bytes * 2 == made.weight_bytes


@pytest.mark.parametrize("fields", [*KINDS, MAMBA], ids=str)
def test_operations_are_those_that_a_trace_counts(fields):
    config, B = GPTConfig(**{**TINY, **fields}), 2
    model, T = GPT(config), config.context_length
    made = estimate(config, batch=B)
    ids = tg.from_numpy(np.random.default_rng(0).integers(0, 11, (B, T)))
    with study.trace(model) as trace:
        model.loss(ids, ids).backward()
    rest = sum(op.convention * 3 for op in trace.ops if op.name == "matmul")  # weights of experts
    # a convolution computes the taps − 1 places behind the text too, which are cut off
    taps = [(op.inputs[1][-1], 3 * op.convention) for op in trace.ops if op.name == "conv1d"]
    rest += sum(n * (t - 1) // (T + t - 1) for t, n in taps)
    assert trace.convention - rest == made.training_flops
    assert sum(op.convention for op in trace.ops) - rest / 3 == made.forward_flops


@pytest.mark.parametrize("fields", [m for m in MEMORIES if m is not MAMBA], ids=str)
def test_products_with_weights_are_those_that_a_trace_counts(fields):
    """Of layers whose work between tokens is done in other forms than the closed form's."""
    config = GPTConfig(**{**TINY, **fields})
    model, made = GPT(config).eval(), estimate(config)
    with study.trace(model) as trace, tg.no_grad():
        model(tg.zeros(1, config.context_length, dtype=tg.int64))
    weights = sum(op.convention for op in trace.ops if op.name == "linear")
    assert weights == made.forward_flops - sum(row.forward_flops for row in made.rows)


def test_llamas_are_counted_too():
    model = Llama(LLAMAS["tiny"])
    made = estimate(LLAMAS["tiny"], context_length=16)
    ids = tg.zeros(1, 16, dtype=tg.int64)
    with study.trace(model) as trace:
        model.loss(ids, ids).backward()
    assert trace.convention == made.training_flops
    assert made.parameters == model.n_parameters()


@pytest.mark.parametrize("name", [f.name for f in registry.families() if "tiny" in f.presets])
def test_every_family_has_an_estimate(name):
    config = registry.find(name).presets["tiny"]
    made = estimate(config)
    assert made.cache_bytes > 0 and made.rows and made.parameters > 0
    if name != "Transformer":  # its encoder attends too, and its decoder twice
        assert sum(row.layers for row in made.rows) == config.n_layers
    assert made.training_flops == 3 * made.forward_flops


def test_average_and_convention_of_attention():
    """The layer's own figure counts what is seen on average, T/2 keys; the convention all T."""
    att = GPT(GPTConfig(**TINY)).trf_blocks[0].att
    assert 3 * layer_cost(att, 50).scores == 2 * att.flops_per_token(50)
    assert layer_cost(tg.nn.Linear(2, 2), 50) is None
    assert all(isinstance(kind, type) for kind in COSTS)


# ------------------------------------------------------------------------------- what was executed
def test_executed_operations_of_attention():
    """Less: blocks in the future are skipped. More: backward computes the scores again."""
    F, (B, H, T, D) = tg.nn.functional, (2, 3, 200, 8)
    q, k, v = (tg.randn(B, H, T, D, requires_grad=True) for _ in range(3))
    with study.trace() as trace:
        F.scaled_dot_product_attention(q, k, v, is_causal=True).backward(tg.randn(B, H, T, D))
    op = trace.ops[0]
    assert op.convention == 2 * B * H * T * T * 2 * D
    assert op.flops == B * H * T * (T + 1) * 2 * D
    seen = 64 * 64 + 64 * 128 + 64 * 192 + 8 * 200  # pairs in blocks of 64 queries
    back = 64 * 200 + 64 * 136 + 64 * 72 + 8 * 8  # in blocks of 64 keys
    assert op.executed - op.executed_back == 2 * B * H * seen * 2 * D
    assert op.executed_back == 2 * B * H * back * 5 * D
    assert op.executed < 3 * op.convention
    with study.trace() as trace:
        F.scaled_dot_product_attention(q, k, v).backward(tg.randn(B, H, T, D))
    assert (
        trace.executed == 2 * B * H * T * T * 7 * D and trace.convention == trace.executed * 6 // 7
    )
    text = str(trace.table("flops"))
    assert f"{trace.executed:,}" in text and f"{trace.convention:,}" in text and "1.17" in text


def test_executed_operations_of_linear_layers():
    """A gradient that nobody needs is not computed; the head computes its own in forward."""
    layer, x = tg.nn.Linear(4, 5), tg.randn(3, 4)
    with study.trace() as trace:
        layer(x).sum().backward()
    assert trace.ops[0].convention == trace.ops[0].flops == 120
    assert trace.ops[0].executed == 2 * 120 and trace.convention == 3 * 120
    with study.trace() as trace, tg.no_grad():
        layer(x)
    assert trace.convention == trace.executed == 120
    h, w = tg.randn(3, 4, requires_grad=True), tg.randn(7, 4, requires_grad=True)
    with study.trace() as trace:
        loss = tg.nn.functional.linear_cross_entropy(h, w, tg.tensor([1, 2, 3]))
    assert trace.executed == 3 * 2 * 3 * 4 * 7
    loss.backward()


# ------------------------------------------------------------------------------------- the command
def run(capsys, *arguments):
    with pytest.raises(SystemExit) as stop:
        main(["estimate", *map(str, arguments)])
    printed = capsys.readouterr()
    return stop.value.code or 0, printed.out, printed.err


def test_command(capsys, tmp_path):
    code, out, _ = run(capsys, "--context-length", 1024, "--dtype", "float32")
    assert code == 0 and "291,648,307,200 FLOPs" in out and "874,944,921,600 FLOPs" in out
    code, out, _ = run(capsys, "--n-heads", 24, "--head-dim", 86, "--n-layers", 48,
                       "--context-length", 8192)  # fmt: skip
    assert code == 0 and "3.25 GB" in out
    code, out, _ = run(capsys, "llama-3.2-1b", "--context-length", 8192, "--batch", 4, "--json")
    made = json.loads(out)["llama-3.2-1b"]
    assert made["parameters"] == 1_235_814_400 and made["cache_bytes"] == 4 * 8192 * 16 * 2048
    code, out, _ = run(capsys, "gpt2-124m")
    assert code == 0 and "124,439,808" in out
    path = tmp_path / "memory.png"
    code, out, _ = run(capsys, "--attention", "mha,gqa,moe", "--n-kv-heads", 2, "--plot", path)
    assert code == 0 and out.endswith(f"wrote {path}\n") and path.read_bytes()[1:4] == b"PNG"
    assert [line.split()[0] for line in out.splitlines()[-4:-1]] == ["mha", "gqa", "moe"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("gtp2",), "there is no model 'gtp2'; there are gpt2,"),
        (("--attention", "gqq"), "attention must be mha, gqa"),
        (("--ratio", "5:2"), "--ratio is K:1, such as 5:1, got 5:2"),
        (("--window", 4), "does not use window, got 4"),
        (("--batch", 0), "batch and context_length must be at least 1, got 0 and 1024"),
        (("--dtype", "int8"), "dtype must be float32, bfloat16"),
        (("llama3-8b", "--latent-dim", 4), "llama3-8b (LlamaConfig) does not have latent_dim"),
        (("llama3-8b", "--attention", "mha,gqa"), "llama3-8b has one attention"),
        (("--n-heads", 5), "multiple of n_heads, got emb_dim=768 and n_heads=5"),
    ],
)
def test_command_refuses(capsys, arguments, message):
    code, out, err = run(capsys, *arguments)
    assert code == 2 and out == "" and message in err, err


def test_names_of_sizes():
    assert find_config("Llama-3.2-1B") is find_config("llama3.2-1b")
    with pytest.raises(ValueError, match="there is no model 'llama'"):
        find_config("llama")


@pytest.mark.parametrize("form", [gpt_parameters, gpt_flops, gpt_memory])
def test_gpt2s_formulas_refuse_other_parts(form):
    with pytest.raises(ValueError, match="this formula is GPT-2's"):
        form(GPTConfig(**TINY, attention="gqa"))
