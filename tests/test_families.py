"""Families of decoders: sizes, files that are wrong, Meta's files, training, LoRA, the commands."""

from __future__ import annotations

import json
import re
import sys

import numpy as np
import pytest
from data import data_file

import tinygrad_llm as tg
from tinygrad_llm.cli import main
from tinygrad_llm.generation import generate
from tinygrad_llm.layers import lora
from tinygrad_llm.layers.rotary import Rotary
from tinygrad_llm.models import (
    GPT,
    Decoder,
    GPTConfig,
    LlamaConfig,
    from_pretrained,
    registry,
    save_pretrained,
)
from tinygrad_llm.training import find_checkpoint
from tinygrad_llm.weights.families.llama_meta import half_split
from tinygrad_llm.weights.formats.safetensors import load_file, save_file

DECODERS = {f.name: f for f in registry.families() if issubclass(f.model, Decoder)}
PRESETS = [(f.name, name) for f in DECODERS.values() for name in f.presets]
every_decoder = pytest.mark.parametrize("family", DECODERS)
PUBLISHED = {
    "llama2-7b": 6_738_415_616,
    "llama2-13b": 13_015_864_320,
    "llama3-8b": 8_030_261_248,
    "llama3.1-8b": 8_030_261_248,
    "llama3.2-1b": 1_235_814_400,
    "llama3.2-3b": 3_212_749_824,
    "smollm2-135m": 134_515_008,
    "smollm2-360m": 361_821_120,
    "smollm2-1.7b": 1_711_376_384,
    "mistral-7b": 7_241_732_096,
    "qwen2.5-0.5b": 494_032_768,
    "qwen2.5-1.5b": 1_543_714_304,
    "qwen2.5-3b": 3_085_938_688,
    "qwen2.5-7b": 7_615_616_512,
    "qwen3-0.6b": 596_049_920,
    "qwen3-1.7b": 1_720_574_976,
    "qwen3-4b": 4_022_468_096,
    "qwen3-8b": 8_190_735_360,
}
UNTIED = {"llama3.2-1b": 1_498_482_688, "qwen3-0.6b": 751_632_384}
SMALL = dict(
    vocab_size=19, context_length=32, emb_dim=12, hidden_dim=20, n_layers=2, n_heads=3,
    n_kv_heads=1, head_dim=6,
)  # fmt: skip

OWN = {
    "Qwen35": dict(
        partial_rotary=0.67, linear_n_heads=4, linear_n_key_heads=2, linear_head_dim=5,
        linear_key_head_dim=3,
    ),
    "Qwen3Moe": dict(n_experts=4, n_experts_per_token=2),
}  # fmt: skip


def on_meta(config):
    """A model of this shape without numbers."""
    with tg.device("meta"):
        return registry.build_from(config)


def closed_form(c):
    """Parameters of a Llama, a Qwen2 or a Qwen3, from their config alone."""
    C, Q, K = c.emb_dim, c.n_heads * c.head_dim, c.n_kv_heads * c.head_dim
    block = 2 * C + C * (Q + 2 * K) + Q * C + 3 * C * c.hidden_dim
    kind = type(c).__name__
    block += {"Qwen2Config": Q + 2 * K, "Qwen3Config": 2 * c.head_dim}.get(kind, 0)
    return c.vocab_size * C * (1 if c.tie_weights else 2) + C + c.n_layers * block


def tiny(family="Llama", **changes):
    """A small model in evaluation mode whose norms are not one and whose biases are not zero."""
    config = DECODERS[family].config(**{**SMALL, **OWN.get(family, {}), **changes})
    tg.manual_seed(5)
    model = registry.build_from(config).eval()
    for parameter in model.parameters():
        parameter.data = parameter.data + 0.1 * tg.randn(*parameter.shape)
    return model


def logits(model, ids=((3, 1, 7, 2, 18, 0, 5),)):
    with tg.no_grad():
        return model(tg.tensor(list(ids))).array


# --------------------------------------------------------------------------------- sizes
@pytest.mark.parametrize(("family", "name"), [p for p in PRESETS if p[1] in PUBLISHED])
def test_published_sizes(family, name):
    config = DECODERS[family].presets[name]
    model = on_meta(config)
    assert model.n_parameters() == PUBLISHED[name] == closed_form(config)
    names = DECODERS[family].names.weights(vars(config))
    stored = sum(int(np.prod(w.shape)) for n, w in names.items())
    untied = PUBLISHED[name] + config.vocab_size * config.emb_dim * config.tie_weights
    assert stored == untied == UNTIED.get(name, untied)
    assert config.least_parameters() <= PUBLISHED[name]
    C, Q = config.emb_dim, config.n_heads * config.head_dim
    vectors = model.n_parameters() - sum(p.numel() for p in model.parameters() if p.ndim > 1)
    looked_up = 0 if config.tie_weights else config.vocab_size * C
    per_token = 6 * (PUBLISHED[name] - vectors - looked_up) + 12 * config.n_layers * Q * 64
    assert model.flops_per_token(128) == pytest.approx(per_token, rel=1e-12)


def test_every_published_size_is_a_preset():
    assert set(PUBLISHED) <= {name for _, name in PRESETS}


@pytest.mark.parametrize(("family", "name"), PRESETS)
def test_a_preset_is_described_and_written_and_read(family, name):
    config = DECODERS[family].presets[name]
    names = DECODERS[family].names
    described = json.loads(json.dumps(registry._described(config)))
    assert registry.config_from(described) == config
    written = json.loads(json.dumps(names.write_config(vars(config))))
    assert DECODERS[family].config(**names.read_config(written, "here")) == config
    assert written["model_type"] in names.MODEL_TYPES
    assert set(written["architectures"]) <= set(names.ARCHITECTURES)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"n_heads": 4, "n_kv_heads": 3},
            "n_heads must be a multiple of n_kv_heads, got n_heads=4",
        ),
        (
            {"emb_dim": 13, "head_dim": None},
            "must be a multiple of n_heads unless head_dim",
        ),
        ({"head_dim": 5}, "dim is 5, must be even"),
        ({"norm_eps": 0.0}, "norm_eps must be positive and finite, got 0.0"),
        ({"rope_base": "big"}, "rope_base must be a number, got 'big'"),
        ({"rope_scaling": {"rope_type": "long"}}, "rope_type must be default, linear"),
        ({"rope_scaling": [1]}, "rope_scaling must be a dict with names as keys"),
        ({"window": 0}, "window must be at least 1, got 0"),
        ({"n_layers": 1 << 15, "emb_dim": 1 << 24}, "which fit no memory"),
    ],
)
def test_configs_that_cannot_be(change, message):
    with pytest.raises((ValueError, TypeError), match=message):
        LlamaConfig(**{**SMALL, **change})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layer_types": ["full_attention"]}, "one type for each of the 2 blocks, got 1"),
        ({"layer_types": ["sliding_attention"] * 2}, "sliding_attention needs a window"),
        ({"layer_types": ["full_attention", "x"]}, "must be a list of full_attention, sliding"),
    ],
)
def test_layer_types_that_cannot_be(change, message):
    with pytest.raises((ValueError, TypeError), match=message):
        DECODERS["Qwen3"].config(**{**SMALL, **change})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dense_layers": [0]}, "need a dense_hidden_dim, got [0] and None"),
        ({"dense_layers": [2], "dense_hidden_dim": 8}, "must be from 0 to 1, and"),
        ({"dense_layers": [0, 0]}, "must be a list of different integers, each at least 0"),
        ({"dense_layers": [-1]}, "must be a list of different integers, each at least 0"),
        ({"dense_layers": [True]}, "must be a list of different integers, each at least 0"),
        ({"dense_layers": [0.5]}, "must be a list of integers, got [0.5]"),
        ({"dense_layers": 1}, "must be a list of integers, got 1"),
        ({"n_experts_per_token": 5}, "must be at most n_experts, got 5 and 4"),
    ],
)
def test_experts_that_cannot_be(change, message):
    with pytest.raises((ValueError, TypeError), match=re.escape(message)):
        DECODERS["Qwen3Moe"].config(**{**SMALL, **OWN["Qwen3Moe"], **change})


def test_a_mixture_without_experts_is_dense():
    """Each block dense: the loss in training has no balance, and the sizes are those of Qwen3."""
    dense = tiny("Qwen3Moe", dense_layers=[1, 0], dense_hidden_dim=20).train()
    assert dense.config.dense_layers == (0, 1)
    like = registry.build_from(DECODERS["Qwen3"].config(**SMALL)).train()
    like.load_state_dict(dense.state_dict())
    ids = tg.tensor([[3, 1, 7, 2]])
    assert dense.loss(ids, ids).item() == like.loss(ids, ids).item()
    assert dense.config.resized(n_layers=1).dense_layers == ()


# ------------------------------------------------------------------------------ rotary scalings
def test_dynamic_scaling_begins_where_the_context_ends():
    plain = Rotary(8, 100.0)
    scaling = {"rope_type": "dynamic", "factor": 3.0, "original_max_position_embeddings": 10}
    rotary = Rotary(8, 100.0, scaling=scaling)
    short, long = tg.arange(10), tg.arange(11)
    for a, b in zip(plain.angles(short), rotary.angles(short), strict=True):
        assert np.array_equal(a.array, b.array)
    base = 100.0 * (3.0 * 11 / 10 - 2.0) ** (8 / 6)
    for a, b in zip(Rotary(8, base).angles(long), rotary.angles(long), strict=True):
        assert np.array_equal(a.array, b.array)


@pytest.mark.parametrize(
    ("scaling", "message"),
    [
        ({"rope_type": "dynamic", "factor": 2.0}, "missing: original_max_position_embeddings"),
        ({"rope_type": "dynamic", "factor": 2.0, "original_max_position_embeddings": 8,
          "length": 9}, "unknown: length"),
        ({"rope_type": "longrope", "short_factor": [1.0], "long_factor": [1.0, 2.0],
          "original_max_position_embeddings": 8}, "short_factor must be 2 numbers, one for"),
        ({"rope_type": "longrope", "short_factor": [1.0, -1.0], "long_factor": [1.0, 2.0],
          "original_max_position_embeddings": 8}, "must be a positive number, .*got -1.0"),
    ],
)  # fmt: skip
def test_scalings_that_cannot_be(scaling, message):
    with pytest.raises(ValueError, match=message):
        Rotary(4, scaling=scaling)


def test_dynamic_scaling_needs_four_channels():
    scaling = {"rope_type": "dynamic", "factor": 2.0, "original_max_position_embeddings": 8}
    with pytest.raises(ValueError, match="needs at least 4 turned channels, got 2"):
        Rotary(2, scaling=scaling)


# ------------------------------------------------------------------------------- attention_mask
def test_attention_mask_is_padding():
    model = tiny()
    ids = tg.tensor([[3, 1, 7, 2], [9, 4, 1, 2]])
    mask = tg.tensor([[0, 0, 1, 1], [1, 1, 1, 1]])
    by_mask = model(ids, attention_mask=mask).array
    assert np.array_equal(by_mask, model(ids, padding=tg.tensor([2, 0])).array)
    assert np.array_equal(by_mask, model(ids, attention_mask=mask.bool()).array)
    ones = tg.ones(2, 4, dtype=tg.int64)
    assert np.array_equal(model(ids, attention_mask=ones).array, model(ids).array)
    nothing = model(ids, attention_mask=mask * tg.tensor([[0], [1]])).array  # a row of padding
    assert np.isfinite(nothing).all() and np.allclose(nothing[1], by_mask[1], atol=1e-6)


@pytest.mark.parametrize(
    ("mask", "kind", "message"),
    [
        ([[1, 0, 1]], ValueError, "zeros at the left or the right of each row, not between ones"),
        ([[0, 1, 0, 1]], ValueError, r"the shape \(1, 3\), got \(1, 4\)"),
        ([[1, 2, 1]], ValueError, "must hold 0 for padding and 1 for tokens only"),
        ([[1.0, 1.0, 1.0]], TypeError, "tensor of integers or bools, got torch.float32"),
    ],
)
def test_attention_masks_that_cannot_be(mask, kind, message):
    with pytest.raises(kind, match=message):
        tiny()(tg.tensor([[1, 2, 3]]), attention_mask=tg.tensor(mask))


def test_attention_mask_or_padding():
    ids = tg.tensor([[1, 2, 3]])
    with pytest.raises(ValueError, match="an attention_mask or padding, not both"):
        tiny()(ids, attention_mask=tg.ones_like(ids), padding=tg.tensor([0]))
    with pytest.raises(TypeError, match="integers or bools, got list"):
        tiny()(ids, attention_mask=[[1, 1, 1]])


# ------------------------------------------------------------------------------------- files
@pytest.fixture
def folder(tmp_path):
    return save_pretrained(tiny("Qwen3"), tmp_path / "model")


@pytest.fixture
def sharded(tmp_path):
    return save_pretrained(tiny("Qwen3"), tmp_path / "model", shard_bytes=3000)


def edit(folder, **changes):
    path = folder / "config.json"
    config = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({n: v for n, v in config.items() if v is not ...}))


def weights_of(folder, change):
    arrays = load_file(folder / "model.safetensors")
    change(arrays)
    save_file(arrays, folder / "model.safetensors")


@every_decoder
def test_a_folder_comes_back_to_the_bit(tmp_path, family):
    model = DECODERS[family].model(DECODERS[family].presets["tiny"]).eval()
    for shard_bytes in (1 << 30, 100_000, 1 << 30):  # what was there before does not come back
        save_pretrained(model, tmp_path, shard_bytes)
        back = from_pretrained(tmp_path)
        assert back.config == model.config and not back.training
        assert np.array_equal(logits(back), logits(model))
    names = sorted(path.name for path in tmp_path.iterdir())
    assert "model.safetensors.index.json" not in names and "model.safetensors" in names
    assert not [name for name in names if name.startswith("model-")]


def test_dtype_and_changes(folder):
    model = from_pretrained(folder, dtype=tg.float64, context_length=7, drop_rate=0.25)
    assert model.context_length == 7 and model.config.drop_rate == 0.25
    assert {p.dtype for p in model.parameters()} == {tg.float64}
    assert tg.get_default_dtype() is tg.float32
    untied = from_pretrained(folder, tie_weights=False)
    assert untied.out_head.weight is not untied.tok_emb.weight
    assert np.array_equal(logits(untied), logits(from_pretrained(folder)))


def test_an_output_layer_that_equals_the_embedding(tmp_path):
    model = tiny("Llama", tie_weights=True)
    folder = save_pretrained(model, tmp_path)
    name = "model.embed_tokens.weight"
    weights_of(folder, lambda a: a.update({"lm_head.weight": a[name]}))
    assert from_pretrained(folder).config.tie_weights
    weights_of(folder, lambda a: a.update({"lm_head.weight": a[name] + 1}))
    assert not from_pretrained(folder).config.tie_weights
    with pytest.raises(ValueError, match="lm_head.weight is not model.embed_tokens.weight"):
        from_pretrained(folder, tie_weights=True)


def test_a_base_model_without_prefix_and_stored_frequencies(tmp_path):
    model = tiny("Llama", tie_weights=True)
    folder = save_pretrained(model, tmp_path)

    def change(arrays):
        for name in list(arrays):
            arrays[name.removeprefix("model.")] = arrays.pop(name)
        arrays["layers.0.self_attn.rotary_emb.inv_freq"] = np.ones(3, np.float32)

    weights_of(folder, change)
    assert np.array_equal(logits(from_pretrained(folder)), logits(model))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "gpt_neox"}, "model_type is 'gpt_neox'; the models that can be"),
        ({"model_type": ..., "architectures": ["XLNetModel"]}, "model_type is 'XLNetModel'"),
        ({"model_type": 3}, "model_type is 3"),
        ({"architectures": ["LlamaForCausalLM"]},
         "model_type is 'qwen3', a Qwen3, but architectures names 'LlamaForCausalLM', a Llama"),
        ({"hidden_size": ...}, "config.json has no hidden_size"),
        ({"hidden_size": "big"}, "hidden_size should be an integer, got 'big'"),
        ({"hidden_size": True}, "hidden_size should be an integer, got True"),
        ({"num_hidden_layers": 3}, "missing: model.layers.2.input_layernorm.weight, .* and 5 more"),
        ({"num_hidden_layers": 1}, "unexpected: model.layers.1."),
        ({"vocab_size": 20}, r"embed_tokens.weight has shape \(19, 12\), expected \(20, 12\)"),
        ({"head_dim": 8}, r"q_proj.weight has shape \(18, 12\), expected \(24, 12\)"),
        ({"hidden_act": "gelu"}, "hidden_act is 'gelu', but this Qwen3 has 'silu' or 'swish'"),
        ({"attention_bias": True}, "attention_bias is True, but this Qwen3 has False"),
        ({"rope_parameters": {"rope_type": "proportional"}}, "rope_type is 'proportional'; those"),
        ({"rope_parameters": {"rope_type": "yarn"}}, "missing: factor"),
        ({"rope_parameters": [1]}, "rope_scaling should be an object, got a list of 1"),
        ({"rope_parameters": {"rope_theta": "x"}}, "rope_theta should be a number, got 'x'"),
        ({"rope_parameters": {"partial_rotary_factor": 0.5}}, "but this model turns all"),
        ({"tie_word_embeddings": "yes"}, "tie_word_embeddings should be true or false, got 'yes'"),
        ({"num_key_value_heads": 2}, "describes no model: .*n_heads must be a multiple"),
        ({"num_attention_heads": 0}, "describes no model: .*n_heads must be at least 1"),
        ({"layer_types": "full"}, "layer_types should be a list of names, got 'full'"),
        ({"quantization_config": {"quant_method": "gptq", "bits": 4}},
         r"quantization_config .*\(quant_method 'gptq'\), which is not read here: take"),
        ({"quantization_config": {"load_in_4bit": True}}, r"quant_method 'unnamed'\)"),
        ({"quantization_config": 4}, r"quant_method 4\)"),
    ],
)  # fmt: skip
def test_a_config_that_does_not_fit(folder, change, message):
    edit(folder, **change)
    with pytest.raises(ValueError, match=message) as error:
        from_pretrained(folder)
    assert "safetensors" not in str(error.value)
    assert str(folder) in str(error.value)


def test_no_quantization_config_is_no_error(folder):
    edit(folder, quantization_config=None)
    assert from_pretrained(folder).config.n_layers == 2


@pytest.mark.parametrize(
    ("text", "message"), [("{", "is not JSON"), ("[]", "should hold one JSON object")]
)
@pytest.mark.parametrize("file", ["config.json", "model.safetensors.index.json"])
def test_broken_json(sharded, file, text, message):
    (sharded / file).write_text(text)
    with pytest.raises(ValueError, match=f"{re.escape(file)}.*{message}"):
        from_pretrained(sharded)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a.pop("model.norm.weight"), "is not the Qwen3 expected:\n  missing: model.norm"),
        (lambda a: a.update(extra=a["model.norm.weight"]), "unexpected: extra$"),
        (lambda a: a.update({"model.norm.weight": np.ones(3, np.float32)}),
         r"model.norm.weight has shape \(3,\), expected \(12,\)"),
    ],
)  # fmt: skip
def test_weights_that_do_not_fit(folder, change, message):
    weights_of(folder, change)
    with pytest.raises(ValueError, match=message):
        from_pretrained(folder)


def test_weights_of_integers(folder):
    weights_of(folder, lambda a: a.update({"model.norm.weight": np.ones(12, np.int32)}))
    with pytest.raises(TypeError, match=r"model\.norm\.weight is int32, but weights are float16"):
        from_pretrained(folder)


def test_shards_that_do_not_fit(sharded):
    index = sharded / "model.safetensors.index.json"
    good = json.loads(index.read_text())
    files = sorted(set(good["weight_map"].values()))
    assert len(files) > 2
    bad = {
        "is not the name of a file beside it": {"model.norm.weight": "../model.safetensors"},
        "names the file gone.safetensors, which is missing": {"x": "gone.safetensors"},
        f"{files[0]} does not hold 'x'": {"x": files[0]},
    }
    for message, more in bad.items():
        index.write_text(json.dumps({"weight_map": {**good["weight_map"], **more}}))
        with pytest.raises((ValueError, FileNotFoundError), match=message):
            from_pretrained(sharded)
    less = {n: f for n, f in good["weight_map"].items() if n != "model.norm.weight"}
    index.write_text(json.dumps({"weight_map": less}))
    with pytest.raises(ValueError, match="also holds 'model.norm.weight'"):
        from_pretrained(sharded)
    index.write_text(json.dumps({"weight_map": [1]}))
    with pytest.raises(ValueError, match="weight_map should map names to files, got a list of 1"):
        from_pretrained(sharded)


@pytest.mark.parametrize("cut", [4, 100, -1])
def test_a_shard_cut_short(sharded, cut):
    path = sorted(sharded.glob("model-*.safetensors"))[1]
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(ValueError, match=rf"{path.name}.*(cut short|are not a safetensors|header)"):
        from_pretrained(sharded)


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        ({"vocab_size": 20}, ValueError, "vocab_size is 19 in the weights and cannot be 20"),
        ({"n_layers": 1}, ValueError, "n_layers is 2 in the weights and cannot be 1"),
        ({"n_kv_heads": 3}, ValueError, "n_kv_heads is 1 in the weights and cannot be 3"),
        ({"heads": 3}, TypeError, "Qwen3Config has no 'heads'; it has vocab_size, "),
    ],
)
def test_changes_that_cannot_be(folder, change, kind, message):
    with pytest.raises(kind, match=message):
        from_pretrained(folder, **change)


def test_weights_without_a_config(folder):
    (folder / "config.json").unlink()
    message = "there is no config.json beside .*not a GPT-2; there are: lm_head.weight, model.embed"
    with pytest.raises(ValueError, match=message):
        from_pretrained(folder)


def test_the_ids_of_special_tokens_are_kept(folder, tmp_path):
    assert json.loads((folder / "config.json").read_text())["eos_token_id"] is None
    edit(folder, eos_token_id=[3, 7], bos_token_id=1)
    again = save_pretrained(from_pretrained(folder).changed(drop_rate=0.1), tmp_path / "again")
    config = json.loads((again / "config.json").read_text())
    assert (config["eos_token_id"], config["bos_token_id"], config["pad_token_id"]) == (
        [3, 7],
        1,
        None,
    )


def test_an_empty_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match="neither model.safetensors nor pytorch_model.bin"):
        from_pretrained(tmp_path)


def test_the_context_of_a_gpt2_is_cropped(tmp_path):
    model = GPT(GPTConfig(19, 16, 12, 3, 2, drop_rate=0.0)).eval()
    folder = save_pretrained(model, tmp_path, shard_bytes=3000)
    assert len(list(folder.glob("model-*.safetensors"))) > 1
    short = from_pretrained(folder, context_length=7)
    assert short.context_length == 7 and np.array_equal(logits(short), logits(model))
    assert {p.dtype for p in from_pretrained(folder, dtype=tg.float64).parameters()} == {tg.float64}


# ------------------------------------------------------------------------------- Meta's files
def meta_state(model):
    """Meta's names -> our arrays as they are: queries and keys in interleaved order, by claim."""
    C, H, KV, D = 12, 3, 1, 4
    own = {name: value.array for name, value in model.state_dict().items()}
    state = {
        "tok_embeddings.weight": own["tok_emb.weight"],
        "norm.weight": own["final_norm.weight"],
        "output.weight": own["out_head.weight"],
        "rope.freqs": np.ones(2, np.float32),
    }
    for i in range(2):
        q, k, v = np.split(own[f"trf_blocks.{i}.att.qkv.weight"], [H * D, (H + KV) * D])
        w1, w3 = np.split(own[f"trf_blocks.{i}.ff.gate_up.weight"], 2)
        block = {
            "attention.wq": q, "attention.wk": k, "attention.wv": v, "feed_forward.w1": w1,
            "attention.wo": own[f"trf_blocks.{i}.att.out_proj.weight"], "feed_forward.w3": w3,
            "feed_forward.w2": own[f"trf_blocks.{i}.ff.down.weight"],
            "attention_norm": own[f"trf_blocks.{i}.norm1.weight"],
            "ffn_norm": own[f"trf_blocks.{i}.norm2.weight"],
        }  # fmt: skip
        state |= {f"layers.{i}.{name}.weight": array for name, array in block.items()}
    assert C == len(own["final_norm.weight"])
    return state


def meta_folder(tmp_path, state, parts=1, **params):
    params = {"dim": 12, "n_heads": 3, "n_kv_heads": 1, "n_layers": 2, "norm_eps": 1e-5,
              "multiple_of": 4, "vocab_size": -1, **params}  # fmt: skip
    (tmp_path / "params.json").write_text(json.dumps(params))
    for i in range(parts):
        part = {name: tg.tensor(np.ascontiguousarray(a)) for name, a in state[i].items()}
        tg.save(part, tmp_path / f"consolidated.{i:02}.pth")
    return tmp_path


def interleaved_model():
    """A Llama with heads of 4 channels, whose rotary pairs are neighbours."""
    model = tiny("Llama", norm_eps=1e-5, context_length=4096, head_dim=4)
    rotary = Rotary(4, interleaved=True)
    for block in model.trf_blocks:
        block.att.rotary = rotary
    return model


@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.parametrize("rows", [0, 1], ids=["embedding by rows", "by channels"])
def test_metas_files(tmp_path, parts, rows):
    model = interleaved_model()
    state = meta_state(model)
    axes = {
        "tok_embeddings": rows,
        "wo": 1,
        "w2": 1,
        "output": 0,
        "wq": 0,
        "wv": 0,
        "w1": 0,
        "w3": 0,
    }

    def part_of(name, array, i):
        if name.endswith("wk.weight"):
            return np.split(array, parts, 0)[i]
        axis = next((a for n, a in axes.items() if n in name), None)
        return array if axis is None else np.array_split(array, parts, axis)[i]

    states = [{n: part_of(n, a, i) for n, a in state.items()} for i in range(parts)]
    loaded = from_pretrained(meta_folder(tmp_path, states, parts))
    assert loaded.config == model.config and not loaded.trf_blocks[0].att.rotary.interleaved
    assert np.abs(logits(loaded) - logits(model)).max() < 1e-6


def test_rows_of_a_head_half_split():
    rows = np.arange(12)[:, None]  # two heads of six channels
    assert half_split(rows, 2)[:, 0].tolist() == [0, 2, 4, 1, 3, 5, 6, 8, 10, 7, 9, 11]


def test_metas_params_of_llama_3(tmp_path):
    state = meta_state(interleaved_model())
    folder = meta_folder(tmp_path, [state], rope_theta=500000.0, use_scaled_rope=True)
    config = from_pretrained(folder).config
    assert (config.rope_base, config.context_length) == (500000.0, 131072)
    assert config.rope_scaling["factor"] == 32.0 and not config.tie_weights
    state["output.weight"] = state["tok_embeddings.weight"]
    assert from_pretrained(meta_folder(tmp_path, [state], use_scaled_rope=True)).config.tie_weights
    folder = meta_folder(tmp_path, [state], use_scaled_rope=True, rope_scaling_factor=8)
    assert from_pretrained(folder).config.rope_scaling["factor"] == 8.0
    assert from_pretrained(meta_folder(tmp_path, [state])).config.context_length == 4096
    assert from_pretrained(meta_folder(tmp_path, [state], rope_theta=5e5)).context_length == 8192


def test_metas_files_that_are_wrong(tmp_path):
    state = meta_state(interleaved_model())
    folder = meta_folder(tmp_path, [state], dim="big")
    with pytest.raises(ValueError, match=r"params\.json: dim should be an integer, got 'big'"):
        from_pretrained(folder)
    with pytest.raises(ValueError, match=r"params\.json has no dim"):
        from_pretrained(meta_folder(tmp_path, [state], dim=None))
    with pytest.raises(ValueError, match="missing: model.layers.2"):
        from_pretrained(meta_folder(tmp_path, [state], n_layers=3))
    less = {n: a for n, a in state.items() if n != "tok_embeddings.weight"}
    with pytest.raises(ValueError, match="embed_tokens.weight is missing, or not a matrix"):
        from_pretrained(meta_folder(tmp_path, [less]))
    with pytest.raises(ValueError, match="tok_embeddings.weight is in one of them only"):
        from_pretrained(meta_folder(tmp_path, [state, less], 2))
    for path in folder.glob("*.pth"):
        path.unlink()
    with pytest.raises(FileNotFoundError, match=r"but no consolidated\.00\.pth"):
        from_pretrained(folder)


# ---------------------------------------------------------------------- what works with all of them
@every_decoder
@pytest.mark.suite_cases(3)
def test_generation_with_and_without_a_cache(family):
    model = DECODERS[family].model(DECODERS[family].presets["tiny"]).double().eval()
    prompt = tg.tensor([[3, 5, 7], [80, 1, 4]])
    greedy = generate(model, prompt, 70)  # past the context
    assert greedy.tolist() == generate(model, prompt, 70, use_cache=False).tolist()


@every_decoder
def test_lora(tmp_path, family):
    make = DECODERS[family].model
    tg.manual_seed(3)
    model = make(DECODERS[family].presets["tiny"]).double().eval()
    before = logits(model)
    lora.add(model, rank=2)
    assert np.array_equal(logits(model), before)
    for p in lora.parameters(model):
        tg.nn.init.normal_(p, 0.0, 0.2)
    adapted = logits(model)
    assert np.abs(adapted - before).max() > 1e-3
    lora.save(model, tmp_path)
    tg.manual_seed(3)
    fresh = make(DECODERS[family].presets["tiny"]).double().eval()
    lora.load(fresh, tmp_path)
    assert np.array_equal(logits(fresh), adapted)
    lora.merge(model)
    assert np.abs(logits(model) - adapted).max() <= 1e-11 * np.abs(adapted).max()


@every_decoder
def test_gradient_checkpointing_changes_nothing(family):
    tg.manual_seed(3)
    model = DECODERS[family].model(DECODERS[family].presets["tiny"])
    ids = tg.tensor([[1, 2, 3, 4, 5]])
    grads = []
    for switch in (model.gradient_checkpointing_disable, model.gradient_checkpointing_enable):
        switch()
        model.zero_grad()
        model.loss(ids[:, :-1], ids[:, 1:]).backward()
        grads.append([p.grad.array.copy() for p in model.parameters()])
    for a, b in zip(*grads, strict=True):
        assert np.array_equal(a, b)


# --------------------------------------------------------------------------------- the commands
def run(*words):
    """The exit code of a command."""
    with pytest.raises(SystemExit) as end:
        main([str(word) for word in words])
    return end.value.code or 0


def pretrain(*options):
    words = [
        "pretrain",
        data_file("the-verdict.txt"),
        "--preset",
        "tiny",
        "--vocab-size",
        "300",
        "--plain",
    ]
    return run(*words, "--sample-tokens", "4", *options)


@every_decoder
@pytest.mark.suite_cases(1)
def test_pretraining_is_stopped_resumed_and_generates(tmp_path, monkeypatch, capsys, family):
    monkeypatch.chdir(tmp_path)
    options = ["--model", family.lower(), "--context-length", "16", "--batch-size", "4"]
    options += [
        "--emb-dim",
        "32",
        "--checkpoint-every",
        "4",
        "--eval-every",
        "4",
        "--drop-rate",
        "0.1",
    ]
    assert pretrain(*options, "--steps", "8", "--out", "whole") == 0
    assert pretrain(*options, "--steps", "4", "--out", "part") == 0
    assert run("pretrain", "--resume", "part", "--steps", "8", "--plain") == 0
    whole, part = (find_checkpoint(tmp_path / name).build_model() for name in ("whole", "part"))
    assert type(whole).__name__ == family and whole.config == part.config
    assert whole.config.emb_dim == 32 and whole.config.vocab_size == 300
    capsys.readouterr()
    assert run("generate", "part", "--tokens", "5", "--seed", "1", "--prompt", "He") == 0
    assert capsys.readouterr().out.startswith("He")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--model", "lama"], "there is no model lama (did you mean llama?)"),
        (["--model", "mistral"], "there is no model mistral; known: gpt, llama"),
        (["--model", "llama", "--emb-dim", "20", "--n-heads", "4"], "must be an even number"),
        (["--model", "qwen3", "--qkv-bias"], "--qkv-bias is a choice of gpt only"),
    ],
)
def test_models_that_cannot_be_pretrained(tmp_path, monkeypatch, capsys, options, message):
    monkeypatch.chdir(tmp_path)
    assert pretrain(*options, "--steps", "4") != 0
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_sizes_that_are_not_named_follow():
    config = DECODERS["Llama"].presets["tiny"].resized(emb_dim=96, n_heads=6, n_layers=3)
    assert (config.head_dim, config.n_kv_heads, config.hidden_dim) == (16, 3, 264)
    assert config.resized(n_heads=3, emb_dim=6, hidden_dim=10).n_kv_heads == 1
    shape = dict(vocab_size=19, context_length=8, emb_dim=12, n_heads=3, n_layers=1)
    assert registry.find("GPT").presets["tiny"].resized(**shape) == GPTConfig(**shape)


DYNAMIC = {"rope_type": "dynamic", "factor": 4.0, "original_max_position_embeddings": 5}


@pytest.mark.parametrize("scaling", [None, DYNAMIC], ids=["plain", "dynamic"])
@every_decoder
def test_on_every_device(device, family, scaling):
    model = tiny(family, rope_scaling=scaling)
    there = tiny(family, rope_scaling=scaling).to(device)
    ids = tg.tensor([[3, 1, 7, 2, 8, 4, 0], [9, 4, 1, 2, 3, 5, 18]])
    mask = tg.tensor([[0, 0, 1, 1, 1, 1, 1], [1] * 7])
    grads = []
    for one, place in ((model, "cpu"), (there, device)):
        result = one(ids.to(place), attention_mask=mask.to(place))
        result[:, 2:].square().mean().backward()
        grads.append([p.grad.cpu().array for p in one.parameters()])
        grads[-1].append(result[:, 2:].detach().cpu().array)
    for a, b in zip(*grads, strict=True):
        assert np.abs(a - b).max() <= 2e-5 * np.abs(a).max() + 1e-7
    assert generate(there, ids.to(device), 4).shape == (2, 11)


LETTERS = "abcdefghijklmnopqrstuvwxyzĠ."


@pytest.fixture
def published(tmp_path):
    """A folder with a model and a tokenizer of letters, as Hugging Face has them."""
    vocabulary = {letter: i for i, letter in enumerate(LETTERS)}
    description = {
        "added_tokens": [
            {"id": 28, "content": "<s>", "special": True},
            {"id": 29, "content": "</s>", "special": True},
        ],
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False},
        "decoder": {"type": "ByteLevel"},
        "model": {"type": "BPE", "vocab": vocabulary, "merges": []},
    }
    folder = save_pretrained(tiny("Llama", vocab_size=30), tmp_path / "model")
    (folder / "tokenizer.json").write_text(json.dumps(description))
    names = {"eos_token": "</s>", "chat_template": "<s>{{ messages[0].content }}."}
    (folder / "tokenizer_config.json").write_text(json.dumps(names))
    return folder


def test_a_published_folder_generates(published, capsys):
    greedy = ["--tokens", 6, "--temperature", 0]
    assert run("generate", published, "--prompt", "to be", *greedy) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("to be") and len(shown) > len("to be\n")
    model, ids = from_pretrained(published), [LETTERS.index(c) for c in "to"]
    new = generate(model, tg.tensor([[*ids, 26, *[LETTERS.index(c) for c in "be"]]]), 6)[0, 5:]
    kept = [i for i in new.tolist() if i < 28]
    if len(kept) == 6:
        assert shown == "to be" + "".join(LETTERS[i] for i in kept).replace("Ġ", " ") + "\n"
    pytest.importorskip("jinja2")
    assert run("generate", published, "--prompt", "to", "--chat", *greedy) == 0
    answer = capsys.readouterr().out
    new = generate(model, tg.tensor([[28, *ids, 27]]), 6)[0, 4:].tolist()
    new = new[: new.index(29)] if 29 in new else new
    assert answer == "".join(LETTERS[i] for i in new if i < 28).replace("Ġ", " ") + "\n"


def test_a_chat_without_the_package_for_templates(published, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "jinja2", None)  # as if it were not installed
    assert run("generate", published, "--prompt", "to", "--chat") == 2
    assert 'pip install "tinygrad_llm[chat]"' in capsys.readouterr().err


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_a_folder_generates_with_its_matrices_in_half(published, capsys, dtype):
    assert run("generate", published, "--prompt", "to be", "--tokens", 6, "--temperature", 0,
               "--dtype", dtype) == 0  # fmt: skip
    assert capsys.readouterr().out.startswith("to be")


def test_an_end_in_config_json_ends_a_text(published, capsys):
    new = generate(from_pretrained(published), tg.tensor([[19, 14]]), 6)[0, 2:].tolist()
    edit(published, eos_token_id=[new[2]])
    greedy = ["--prompt", "to", "--tokens", 6, "--temperature", 0]
    assert run("generate", published, *greedy) == 0
    kept = new[: new.index(new[2])]
    expected = "to" + "".join(LETTERS[i] for i in kept if i < 28).replace("Ġ", " ") + "\n"
    assert capsys.readouterr().out == expected


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nothing", "nothing does not exist"),
        ("model", "CHECKPOINT: "),
        ("model/config.json", "CHECKPOINT: "),
    ],
)
def test_models_that_cannot_generate(published, monkeypatch, capsys, name, message):
    monkeypatch.chdir(published.parent)
    (published / "tokenizer.json").unlink()
    assert run("generate", name) != 0
    assert message in capsys.readouterr().err


def test_a_run_has_no_chat_template(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    options = ["--context-length", "16", "--emb-dim", "32", "--batch-size", "4"]
    assert pretrain(*options, "--steps", "2", "--out", "made") == 0
    assert run("generate", "made", "--chat", "--prompt", "to") != 0
    assert "has no chat template: leave --chat" in capsys.readouterr().err


@every_decoder
def test_a_classifier_of_any_family(family):
    from tinygrad_llm.models import GPTClassifier

    model = tiny(family)
    for causal in (True, False)[: 1 if family == "Qwen35" else 2]:  # a DeltaNet is causal
        classifier = GPTClassifier.from_gpt(
            model, 3, pool="mean", causal=causal, pad_token_id=0, drop_rate=0.1
        )
        assert classifier.model.config.drop_rate == 0.1
        texts = tg.tensor([[3, 1, 7, 2, 0, 0], [9, 4, 1, 2, 3, 5]])
        classifier.loss(texts, tg.tensor([2, 0])).backward()
        assert all(p.grad is not None for p in classifier.parameters())
        classifier.eval()
        assert np.allclose(
            classifier(texts).array[0], classifier(texts[:1, :4]).array[0], atol=1e-5
        )
    assert np.array_equal(logits(model), logits(tiny(family)))
