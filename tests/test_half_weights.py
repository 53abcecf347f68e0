"""Matrices kept in a half precision while everything else is computed in float32."""

from __future__ import annotations

import copy

import numpy as np
import pytest

import tinygrad_llm as tg
from tinygrad_llm.arrays.stages import Linear
from tinygrad_llm.generation import generate
from tinygrad_llm.layers import lora, step
from tinygrad_llm.layers.cache import Cache
from tinygrad_llm.layers.half_weights import HalfEmbedding, HalfLinear, keep_in_half
from tinygrad_llm.layers.stages_of import Reader
from tinygrad_llm.models import GPT, GPTConfig, registry

FAMILIES = {
    f.name: f for f in registry.families() if "tiny" in f.presets and hasattr(f.model, "new_cache")
}
HALVES = {"bfloat16": tg.bfloat16, "float16": tg.float16}


def rounded(model, dtype):
    """A copy in float32 whose matrices hold numbers of the half precision."""
    made = copy.deepcopy(model)
    for module in made.modules():
        if type(module) in (tg.nn.Linear, tg.nn.Embedding):
            module.weight.data = module.weight.data.to(dtype).to(tg.float32)
    return made


def logits(model, ids):
    with tg.no_grad():
        return model(ids).numpy()


@pytest.mark.parametrize(
    ("name", "dtype"), [*((name, "bfloat16") for name in FAMILIES), ("Llama", "float16")]
)
def test_logits_and_text_are_those_of_rounded_matrices(name, dtype):
    tg.manual_seed(5)
    model = FAMILIES[name].model(FAMILIES[name].presets["tiny"]).eval()
    expected = rounded(model, HALVES[dtype])
    ids = tg.tensor([[3, 5, 7, 1, 2], [80, 1, 4, 9, 60]])
    keep_in_half(model, HALVES[dtype])
    ours, right = logits(model, ids), logits(expected, ids)
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, right, rtol=0, atol=1e-5 * np.abs(right).max())
    assert generate(model, ids, 4).tolist() == generate(expected, ids, 4).tolist()
    assert not any(p.requires_grad for p in model.parameters())


@pytest.mark.parametrize("rows", [1, 3, 30])
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_the_gradient_of_the_input_passes_through(rows, dtype):
    linear = tg.nn.Linear(7, 5)
    holder = tg.nn.Sequential(linear)
    keep_in_half(holder, HALVES[dtype])
    x = tg.randn(rows, 2, 7, requires_grad=True)
    same = x.detach().clone().requires_grad_()
    weight = tg.randn(rows, 2, 5)
    (holder(x) * weight).sum().backward()
    (tg.nn.functional.linear(same, holder[0].weight, linear.bias) * weight).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), same.grad.numpy(), rtol=0, atol=1e-6)


def test_an_input_of_another_width_is_an_error():
    holder = tg.nn.Sequential(tg.nn.Linear(6, 4))
    keep_in_half(holder, tg.bfloat16)
    with pytest.raises(RuntimeError, match="3.*6|6.*3"):
        holder(tg.zeros(4, 3))


@pytest.mark.parametrize("B, T", [(1, 1), (2, 3), (9, 1)])
def test_loops_decode_from_bfloat16(B, T, loops):
    """A few new tokens by the compiled decoder: what the layers themselves compute."""
    tg.manual_seed(2)
    model = FAMILIES["Llama"].model(FAMILIES["Llama"].presets["tiny"]).eval()
    keep_in_half(model, tg.bfloat16)
    blocks = list(model.trf_blocks)
    C = model.config.emb_dim
    stages = [s for s in Reader(blocks, B, T, np.dtype("float32")).stages if isinstance(s, Linear)]
    assert stages and {s.weights.kind for s in stages} == {"bfloat16"}
    caches = [Cache([b.new_cache(30) for b in blocks], 30) for _ in range(2)]
    with tg.no_grad():
        for _ in range(3):
            x = tg.randn(B, T, C)
            ours, right = step.through(blocks, x, caches[0], {}), x
            for block, part in zip(blocks, caches[1].layers, strict=True):
                right = block(right, cache=part)
            assert ours is not None
            bound = 1e-5 * np.abs(right.numpy()).max()
            np.testing.assert_allclose(ours.numpy(), right.numpy(), rtol=0, atol=bound)


def test_the_decoder_leaves_float16_to_the_layers(loops):
    model = FAMILIES["Llama"].model(FAMILIES["Llama"].presets["tiny"]).eval()
    keep_in_half(model, tg.float16)
    cache = model.new_cache()
    with tg.no_grad():
        assert (
            step.through(model.trf_blocks, tg.ones(1, 1, model.config.emb_dim), cache, {}) is None
        )


def test_a_tied_weight_is_kept_once_and_moves_with_the_model():
    model = GPT(GPTConfig(vocab_size=50, context_length=8, emb_dim=8, n_heads=2, n_layers=1,
                          tie_weights=True))  # fmt: skip
    total = sum(p.nbytes for p in model.parameters())
    keep_in_half(model, tg.bfloat16)
    assert isinstance(model.tok_emb, HalfEmbedding) and isinstance(model.out_head, HalfLinear)
    assert model.tok_emb.half_weight is model.out_head.half_weight
    assert sum(p.nbytes for p in model.parameters()) < 0.6 * total
    assert model.out_head.weight.dtype == model.tok_emb.weight.dtype == tg.float32
    assert model.tok_emb.weight.shape == (50, 8)
    model.to("meta")
    assert model.tok_emb.half_weight.device.type == "meta"


def test_adapters_stay_and_are_float32():
    model = GPT(GPTConfig(vocab_size=50, context_length=8, emb_dim=8, n_heads=2, n_layers=1))
    lora.add(model, rank=2)
    for p in lora.parameters(model):
        tg.nn.init.normal_(p, 0.0, 0.2)
    expected = rounded(model.eval(), tg.bfloat16)
    keep_in_half(model, tg.bfloat16)
    ids = tg.tensor([[1, 2, 3]])
    np.testing.assert_allclose(logits(model, ids), logits(expected, ids), rtol=0, atol=1e-5)
    assert all(p.dtype == tg.float32 for p in lora.parameters(model))


@pytest.mark.parametrize("dtype", [tg.float32, tg.float64, None, "bfloat16"])
def test_another_dtype_is_an_error(dtype):
    with pytest.raises(ValueError, match="bfloat16 or float16"):
        keep_in_half(GPT(GPTConfig(vocab_size=9, context_length=4, emb_dim=4, n_heads=1,
                                   n_layers=1)), dtype)  # fmt: skip
