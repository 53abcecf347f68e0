"""Tiny random models of transformers, family by family: logits, every gradient, files both ways.

A family is a row of FAMILIES: the class of its config in transformers, and options that make shapes
odd. transformers computes norms and cosines in float32 in every model; for float64 they are made as
exact as the model (see `exact`).
"""

from __future__ import annotations

import json
import os
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
transformers = pytest.importorskip("transformers")
transformers.utils.logging.disable_progress_bar()
torch.set_num_threads(1)

import tinygrad_llm as tg  # noqa: E402
from tinygrad_llm.generation import generate  # noqa: E402
from tinygrad_llm.layers.moe import collected_router_logits, load_balancing_loss  # noqa: E402
from tinygrad_llm.models import from_pretrained, registry, save_pretrained  # noqa: E402
from tinygrad_llm.weights.families.table import to_huggingface  # noqa: E402

from .test_layers import float64_stays  # noqa: E402

SHAPE = dict(
    vocab_size=29, hidden_size=24, intermediate_size=36, num_hidden_layers=2,
    num_attention_heads=3, num_key_value_heads=1, max_position_embeddings=48, pad_token_id=None,
    eos_token_id=None, bos_token_id=None,
)  # fmt: skip
LLAMA3 = {
    "rope_type": "llama3", "rope_theta": 50.0, "factor": 4.0, "low_freq_factor": 1.0,
    "high_freq_factor": 4.0, "original_max_position_embeddings": 16,
}  # fmt: skip
YARN = {
    "rope_type": "yarn", "rope_theta": 50.0, "factor": 4.0, "original_max_position_embeddings": 12,
}  # fmt: skip
LONGROPE = {
    "rope_type": "longrope", "rope_theta": 50.0, "short_factor": [1.0, 1.5, 2.0, 2.5, 3.0],
    "long_factor": [2.0, 3.0, 5.0, 7.0, 9.0],
}  # fmt: skip
QWEN = {"use_sliding_window": True, "sliding_window": 4, "max_window_layers": 1}
EXPERTS = {
    "head_dim": 10, "num_experts": 6, "num_experts_per_tok": 2, "moe_intermediate_size": 11,
    "norm_topk_prob": True,
}  # fmt: skip
MIXED = {
    "num_hidden_layers": 3, "sliding_window": 4,
    "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
}  # fmt: skip
DELTA = {
    "num_hidden_layers": 3,
    "layer_types": ["linear_attention", "full_attention", "linear_attention"],
    "head_dim": 8, "linear_num_key_heads": 2, "linear_num_value_heads": 4,
    "linear_key_head_dim": 5, "linear_value_head_dim": 6, "initializer_range": 0.05,
}  # fmt: skip
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("Llama", {"head_dim": 10}),
    "llama, heads of keys": ("Llama", {"num_attention_heads": 4, "num_key_value_heads": 2}),
    "llama, linear": ("Llama", {"rope_parameters": {
        "rope_type": "linear", "factor": 2.5, "rope_theta": 100.0}}),
    "llama, llama3": ("Llama", {"head_dim": 16, "rope_parameters": LLAMA3}),
    "llama, yarn": ("Llama", {"head_dim": 16, "rope_parameters": YARN}),
    "llama, yarn with more": ("Llama", {"head_dim": 16, "rope_parameters": {
        **YARN, "beta_fast": 4.0, "beta_slow": 0.5, "attention_factor": 1.25, "truncate": False}}),
    "llama, dynamic": ("Llama", {"max_position_embeddings": 8, "rope_parameters": {
        "rope_type": "dynamic", "factor": 4.0, "rope_theta": 100.0}}),
    "llama, longrope, short": ("Llama", {"head_dim": 10, "rope_parameters": {
        **LONGROPE, "original_max_position_embeddings": 24}}),
    "llama, longrope, long": ("Llama", {"head_dim": 10, "rope_parameters": {
        **LONGROPE, "original_max_position_embeddings": 8, "factor": 3.0}}),
    "mistral": ("Mistral", {"sliding_window": 4}),
    "mistral without a window": ("Mistral", {"sliding_window": None, "head_dim": 6}),
    "qwen2": ("Qwen2", {}),
    "qwen2 with windows": ("Qwen2", QWEN),
    "qwen2, yarn": ("Qwen2", {"rope_parameters": YARN}),
    "qwen3": ("Qwen3", {"head_dim": 10}),
    "qwen3 with windows": ("Qwen3", {"head_dim": 12, "layer_types": [
        "sliding_attention", "full_attention"], "use_sliding_window": True, "sliding_window": 3}),
    "qwen3 with experts": ("Qwen3Moe", EXPERTS),
    "qwen3 with experts, weights of any sum": ("Qwen3Moe", {
        **EXPERTS, "norm_topk_prob": False, "num_experts_per_tok": 4}),
    "qwen3 with experts, dense blocks": ("Qwen3Moe", {
        **EXPERTS, "num_hidden_layers": 5, "mlp_only_layers": [1], "decoder_sparse_step": 2}),
    "gemma3": ("Gemma3Text", {"head_dim": 10, **MIXED, "query_pre_attn_scalar": 7}),
    "gemma3, scaled": ("Gemma3Text", {"head_dim": 6, **MIXED, "rope_parameters": {
        "full_attention": {"rope_type": "linear", "factor": 3.0, "rope_theta": 100.0},
        "sliding_attention": {"rope_type": "default", "rope_theta": 20.0}}}),
    "olmo3": ("Olmo3", {"head_dim": 10, **MIXED, "rope_parameters": {
        "full_attention": YARN, "sliding_attention": {"rope_type": "default", "rope_theta": 50.0},
        }}),
    "olmo3, heads of keys": ("Olmo3", {
        "num_attention_heads": 4, "num_key_value_heads": 2, **MIXED}),
    "cohere2": ("Cohere2", {**MIXED, "logit_scale": 0.3}),
    "cohere2, one size": ("Cohere2", {"num_key_value_heads": 3, **MIXED, "logit_scale": 1.0}),
    "qwen3.5": ("Qwen3_5Text", DELTA),
    "qwen3.5, key heads": ("Qwen3_5Text", {
        **DELTA, "linear_num_key_heads": 4, "linear_conv_kernel_dim": 2, "head_dim": 16,
        "rope_parameters": {"rope_type": "default", "rope_theta": 100.0,
                            "partial_rotary_factor": 0.5}}),
}  # fmt: skip
LOOPS = {"attn_implementation": "sdpa", "experts_implementation": "eager"}  # float64 too
BY_LENGTH = ("llama, dynamic", "llama, longrope, long")  # angles change with the text's length
T = 13
IDS = np.random.default_rng(3).integers(0, 29, (2, T))
some_families = pytest.mark.parametrize("name", [
    "llama, llama3", "mistral", "qwen2 with windows", "qwen3", "qwen3 with experts", "gemma3",
    "olmo3", "cohere2", "qwen3.5", "qwen3.5, key heads",
])  # fmt: skip
every_family = pytest.mark.parametrize("name", FAMILIES)
both_dtypes = pytest.mark.parametrize("dtype", ["float32", "float64"])


def theirs(name, dtype="float32", **changes):
    """A random model of transformers whose biases are not zero and whose norms are not one."""
    kind, options = FAMILIES[name]
    torch.manual_seed(5)
    options = json.loads(json.dumps({**SHAPE, **options, **changes}))  # a copy: it is changed
    config = getattr(transformers, f"{kind}Config")(**options, **LOOPS)
    model = getattr(transformers, f"{kind.removesuffix('Text')}ForCausalLM")(config)
    with torch.no_grad():
        for weight, parameter in model.named_parameters():
            parameter += 0.1 * torch.randn_like(parameter)
            if weight.endswith("A_log"):
                parameter -= 3.0  # a memory that lasts for some tokens
    model = model.to(getattr(torch, dtype)).eval()
    if dtype == "float64":
        exact(model)
    return model


_KIND = torch.Tensor.type  # float64_stays changes it


def exact(model):
    """Norms, softmax and the like in the model's dtype; cosines rounded to float32 once."""
    forward = model.forward
    for module in model.modules():
        if type(module).__name__.endswith("RotaryEmbedding"):
            module.float()  # frequencies

    def exactly(*args, **options):
        with float64_stays(), pytest.MonkeyPatch.context() as patch:
            for name in ("cos", "sin"):
                patch.setattr(torch.Tensor, name, _rounded_once(getattr(torch.Tensor, name)))
            return forward(*args, **options)

    model.forward = exactly


def _rounded_once(function):
    return lambda x: _KIND(function(x.double()), x.dtype)


def ours(model, folder, dtype="float32", **changes):
    model.save_pretrained(folder)
    return from_pretrained(folder, dtype=getattr(tg, dtype), **changes)


def assert_close(a, b, dtype, name="", least=0.0, float32=1e-5):
    """The largest difference, relative to the largest entry."""
    tolerance = {"float32": float32, "float64": 1e-12}[dtype]
    a, b = (x.detach().numpy() if hasattr(x, "detach") else x for x in (a, b))
    assert a.shape == b.shape and a.dtype == b.dtype == dtype, (name, a.dtype, b.dtype)
    assert np.abs(a - b).max() <= tolerance * np.abs(b).max() + least, (name, np.abs(a - b).max())


def gradients(model):
    """Hugging Face's name -> the gradient of one of our models' parameters."""
    named = registry.of(model).names.weights(vars(model.config))
    own = dict(model.named_parameters())
    named = {theirs: weight for theirs, weight in named.items() if weight.name in own}
    return dict(to_huggingface(named, {name: p.grad for name, p in own.items()}))


def by_expert(gradients):
    """transformers has one parameter for all experts in memory, and one for each in files."""
    named = {}
    for name, gradient in gradients.items():
        place, _, kind = name.rpartition(".")
        if not place.endswith(".experts"):
            named[name] = gradient
            continue
        for e, one in enumerate(gradient):
            parts = ("gate", "up") if kind == "gate_up_proj" else ("down",)
            for part, rows in zip(parts, one.chunk(len(parts)), strict=True):
                named[f"{place}.{e}.{part}_proj.weight"] = rows
    return named


@both_dtypes
@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
@every_family
def test_logits_and_every_gradient(tmp_path, name, tied, dtype):
    """Against float64 there: its own float32 differs from that more than this package's does."""
    model = theirs(name, "float64", tie_word_embeddings=tied)
    here = ours(theirs(name, tie_word_embeddings=tied), tmp_path, dtype)
    assert here.config.tie_weights is tied and not here.training
    logits, own_logits = model(torch.tensor(IDS)).logits, here(tg.tensor(IDS))
    assert_close(own_logits, logits.type(getattr(torch, dtype)), dtype)
    upstream = np.random.default_rng(1).standard_normal(logits.shape).astype("float32")
    (logits * torch.tensor(upstream)).sum().backward()
    (own_logits * tg.tensor(upstream.astype(dtype))).sum().backward()
    got = gradients(here)
    expected = by_expert({n: p.grad for n, p in model.named_parameters()})
    assert got.keys() == expected.keys()
    # Through the delta rule's triangular system float32 is up to 8e-6 (transformers) and 1.1e-5
    # (here) away from float64.
    limit = 2e-5 if name.startswith("qwen3.5") else 1e-5
    for weight, gradient in expected.items():
        if ".experts." not in weight:  # some experts nobody chose
            assert np.abs(gradient.numpy()).max() > 1e-4, weight
        gradient = gradient.type(getattr(torch, dtype))
        assert_close(got[weight], gradient, dtype, weight, least=1e-7, float32=limit)


@every_family
def test_the_loss_is_the_mean_cross_entropy(tmp_path, name):
    model = theirs(name)
    loss = model(torch.tensor(IDS), labels=torch.tensor(IDS)).loss  # shifts by one
    own = ours(model, tmp_path).loss(tg.tensor(IDS[:, :-1]), tg.tensor(IDS[:, 1:]))
    if name not in BY_LENGTH:
        assert own.item() == pytest.approx(loss.item(), rel=1e-5)
    else:
        assert own.item() == pytest.approx(loss.item(), rel=1e-2)


@every_family
def test_left_padding_changes_nothing(tmp_path, name):
    """A padded row equals itself alone, and transformers with the same mask and positions."""
    model = theirs(name)
    here = ours(model, tmp_path)
    mask = np.ones_like(IDS)
    mask[1, :4] = 0
    positions = np.maximum(mask.cumsum(-1) - 1, 0)
    both = here(tg.tensor(IDS), attention_mask=tg.tensor(mask))
    expected = model(
        torch.tensor(IDS), attention_mask=torch.tensor(mask), position_ids=torch.tensor(positions)
    ).logits
    assert_close(both[0], expected[0], "float32")
    assert_close(both[1, 4:], expected[1, 4:], "float32")
    if name not in BY_LENGTH:
        assert_close(both[1, 4:], here(tg.tensor(IDS[1:, 4:]))[0], "float32")
    assert_close(both[0], here(tg.tensor(IDS[:1]))[0], "float32")


@every_family
def test_right_padding_changes_nothing(tmp_path, name):
    here = ours(theirs(name), tmp_path)
    mask = np.ones_like(IDS)
    mask[0, 9:] = 0
    both = here(tg.tensor(IDS), attention_mask=tg.tensor(mask))
    if name not in BY_LENGTH:
        assert_close(both[0, :9], here(tg.tensor(IDS[:1, :9]))[0], "float32")
    assert_close(both[1], here(tg.tensor(IDS[1:]))[0], "float32")


@pytest.mark.parametrize("parts", [(1,) * T, (5, 1, 1, 6), (7, 6)], ids=str)
@pytest.mark.parametrize("name", [n for n in FAMILIES if n not in BY_LENGTH])
def test_cached_equals_uncached(tmp_path, name, parts):
    here = ours(theirs(name), tmp_path)
    with tg.no_grad():
        whole, cache, start, pieces = here(tg.tensor(IDS)), here.new_cache(), 0, []
        for n in parts:
            pieces.append(here(tg.tensor(IDS[:, start : start + n]), cache=cache))
            start += n
    assert_close(tg.cat(pieces, 1), whole, "float32")


@some_families
def test_padding_with_a_cache(tmp_path, name):
    here = ours(theirs(name), tmp_path)
    mask = np.ones_like(IDS)
    mask[1, :4] = 0
    with tg.no_grad():
        whole, cache = here(tg.tensor(IDS), attention_mask=tg.tensor(mask)), here.new_cache()
        first = here(tg.tensor(IDS[:, :6]), cache=cache, attention_mask=tg.tensor(mask[:, :6]))
        rest = [
            here(tg.tensor(IDS[:, i : i + 1]), cache, attention_mask=tg.tensor(mask[:, : i + 1]))
            for i in range(6, T)
        ]
    joined = tg.cat([first, *rest], 1)
    assert_close(joined[0], whole[0], "float32")
    assert_close(joined[1, 4:], whole[1, 4:], "float32")


@some_families
def test_greedy_text_is_the_same(tmp_path, name):
    """Past three windows, with a cache on both sides."""
    model = theirs(name)
    start = torch.tensor(IDS[:, :5])
    expected = model.generate(
        start, max_new_tokens=20, do_sample=False, eos_token_id=None, pad_token_id=0
    )
    here = ours(model, tmp_path)
    assert generate(here, tg.tensor(IDS[:, :5]), 20).tolist() == expected.tolist()


@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
@pytest.mark.parametrize("shards", [False, True], ids=["one file", "shards"])
@every_family
def test_transformers_reads_what_is_written_here(tmp_path, name, shards, tied):
    first = theirs(name, tie_word_embeddings=tied)
    here = ours(first, tmp_path / "theirs")
    folder = save_pretrained(here, tmp_path / "ours", shard_bytes=9000 if shards else 1 << 30)
    assert (folder / "model.safetensors").exists() is not shards
    back, report = transformers.AutoModelForCausalLM.from_pretrained(
        folder, output_loading_info=True, **LOOPS
    )
    assert not any(report.values()), report
    window = FAMILIES[name][1].get("sliding_window", "none")
    assert type(back) is type(first) or window is None
    assert_close(back.eval()(torch.tensor(IDS)).logits, first(torch.tensor(IDS)).logits, "float32")
    again = from_pretrained(folder)
    assert again.config == here.config
    for a, b in zip(again.parameters(), here.parameters(), strict=True):
        assert np.array_equal(a.array, b.array)


@pytest.mark.parametrize(
    "name", ["llama, llama3", "llama, yarn", "mistral", "qwen3 with windows", "cohere2"]
)
def test_a_config_in_the_spelling_of_transformers_4(tmp_path, name):
    model = theirs(name)
    here = ours(model, tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    rope = config.pop("rope_parameters")
    config["rope_theta"] = rope.pop("rope_theta")
    kind = rope.pop("rope_type")
    config["rope_scaling"] = None if kind == "default" else {"type": kind, **rope}
    config["torch_dtype"] = config.pop("dtype")
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert from_pretrained(tmp_path).config == here.config
    del config["model_type"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert type(from_pretrained(tmp_path)) is type(here)


@pytest.mark.parametrize("stored", ["float16", "bfloat16"])
def test_half_precision_files(tmp_path, stored):
    model = theirs("qwen3").to(getattr(torch, stored))
    here = ours(model, tmp_path)
    assert all(p.dtype is tg.float32 for p in here.parameters())
    wide = type(model).from_pretrained(tmp_path, dtype=torch.float32)
    assert_close(here(tg.tensor(IDS)), wide(torch.tensor(IDS)).logits, "float32")
    kept = from_pretrained(tmp_path, dtype=getattr(tg, stored))
    assert all(p.dtype is getattr(tg, stored) for p in kept.parameters())
    folder = save_pretrained(kept, tmp_path / "again")
    assert json.loads((folder / "config.json").read_text())["dtype"] == stored
    back = transformers.AutoModelForCausalLM.from_pretrained(folder)
    assert all(p.dtype is getattr(torch, stored) for p in back.parameters())
    for a, b in zip(back.parameters(), model.parameters(), strict=True):
        assert torch.equal(a.float(), b)


@pytest.mark.parametrize("masked", [False, True])
def test_the_balance_of_experts_is_transformers(tmp_path, masked):
    """The loss in training, and the gradients that the routers get from it."""
    model = theirs("qwen3 with experts", output_router_logits=True, router_aux_loss_coef=0.25)
    here = ours(model, tmp_path).train()
    assert here.config.router_aux_loss_coef == 0.25
    ids, targets = IDS[:, :-1], IDS[:, 1:]
    if masked:
        mask = np.ones_like(ids)
        mask[1, :4] = 0
        expected = model(torch.tensor(ids), attention_mask=torch.tensor(mask)).aux_loss
        with collected_router_logits() as logits:
            here(tg.tensor(ids), attention_mask=tg.tensor(mask))
        loss = load_balancing_loss(logits, 2, tg.tensor(mask) == 1)
    else:
        out = model(torch.tensor(ids))
        flat = torch.nn.functional.cross_entropy(
            out.logits.flatten(0, 1), torch.tensor(targets).flatten()
        )
        expected, loss = flat + 0.25 * out.aux_loss, here.loss(tg.tensor(ids), tg.tensor(targets))
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    expected.backward()
    loss.backward()
    routers = {n: p.grad for n, p in model.named_parameters() if n.endswith("mlp.gate.weight")}
    got = [p.grad for n, p in here.named_parameters() if n.endswith("ff.router.weight")]
    for (name, gradient), own in zip(routers.items(), got, strict=True):
        assert_close(own, gradient, "float32", name, least=1e-7)


def test_a_qwen3_5_that_sees_pictures_is_read_as_text(tmp_path):
    """Its config has a text_config, its names have language_model, vision and mtp are left out."""
    from safetensors.torch import load_file, save_file

    model = theirs("qwen3.5", tie_word_embeddings=True)
    here = ours(model, tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    named = {n.replace("model.", "model.language_model.", 1): w for n, w in weights.items()}
    named |= {"model.visual.patch_embed.proj.bias": torch.ones(3), "mtp.norm.weight": torch.ones(2)}
    save_file(named, tmp_path / "model.safetensors", {"format": "pt"})
    text = json.loads((tmp_path / "config.json").read_text())
    del text["tie_word_embeddings"]
    text["rope_parameters"] |= {"mrope_section": [1, 0, 0], "mrope_interleaved": True}
    whole = {"model_type": "qwen3_5", "text_config": text, "tie_word_embeddings": True}
    (tmp_path / "config.json").write_text(json.dumps(whole))
    again = from_pretrained(tmp_path)
    assert again.config == here.config
    for a, b in zip(again.parameters(), here.parameters(), strict=True):
        assert np.array_equal(a.array, b.array)


OLD = {  # what transformers 4 wrote in place of layer_types and rope_parameters
    "gemma3, scaled": {"rope_theta": 100.0, "rope_local_base_freq": 20.0,
                       "rope_scaling": {"rope_type": "linear", "factor": 3.0}},
    "olmo3": {"rope_theta": 50.0, "rope_scaling": {n: v for n, v in YARN.items()
                                                   if n != "rope_theta"}},
}  # fmt: skip


@pytest.mark.parametrize("name", OLD)
def test_kinds_of_blocks_in_the_spelling_of_transformers_4(tmp_path, name):
    layers = ["sliding_attention", "full_attention", "sliding_attention", "full_attention"]
    model = theirs(name, num_hidden_layers=4, layer_types=layers)
    here = ours(model, tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    for field in ("rope_parameters", "layer_types"):
        del config[field]
    config |= {**OLD[name], "sliding_window_pattern": 2}
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert from_pretrained(tmp_path).config == here.config


BROKEN = {
    "gemma3": [("final_logit_softcapping", 30.0, "this Gemma 3 has None"),
               ("layer_types", "full", "a list of names"),
               ("sliding_window", "many", "should be an integer")],
    "olmo3": [("rope_parameters", [3], "should be an object"),
              ("rope_parameters", {"full_attention": 3}, "should have objects"),
              ("rope_parameters", {"sliding_attention": {"rope_type": "linear", "factor": 2.0}},
               "only full blocks are scaled"),
              ("layer_types", ["full_attention"], "for each of the 3 blocks, got 1")],
    "cohere2": [("logit_scale", "big", "should be a number"), ("use_qk_norm", True, "has False"),
                ("layer_types", ["linear_attention"] * 3, "must be full_attention or sliding")],
    "qwen3 with experts": [("mlp_only_layers", 1, "should be a list of integers, got 1"),
                           ("mlp_only_layers", ["1"], "should be a list of integers, got a list"),
                           ("num_local_experts", None, "has no num_local_experts"),
                           ("decoder_sparse_step", 0, "should be at least 1, got 0"),
                           ("decoder_sparse_step", "x", "should be an integer, got 'x'")],
    "qwen3.5": [("text_config", 3, "should be an object"),
                ("layer_types", ["sliding_attention"] * 3, "has 'sliding_attention'"),
                ("linear_num_key_heads", 3, "must be a multiple of linear_n_key")],
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_what_a_newer_family_cannot_be(tmp_path, name):
    model = theirs(name)
    model.save_pretrained(tmp_path)
    whole = json.loads((tmp_path / "config.json").read_text())
    for field, value, words in BROKEN[name]:
        (tmp_path / "config.json").write_text(json.dumps({**whole, field: value}))
        with pytest.raises(ValueError, match=words):
            from_pretrained(tmp_path)
