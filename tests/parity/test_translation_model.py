"""models.Transformer against PyTorch's nn.Transformer with the same weights."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest

torch = pytest.importorskip("torch")
torch.set_num_threads(1)

import tinygrad_llm as tg  # noqa: E402
from tinygrad_llm.generation import generate  # noqa: E402
from tinygrad_llm.models import Transformer, TransformerConfig, registry  # noqa: E402

from .test_encoders import TOLERANCE, close  # noqa: E402

V, W, B, S, T = 29, 23, 3, 9, 6
RNG = np.random.default_rng(0)
IDS, TARGETS = RNG.integers(3, W, (B, S)), RNG.integers(3, V, (B, T))
MASK = np.ones((B, S), np.int64)
MASK[1, 5:] = MASK[2, 7:] = 0
CONFIGS = {
    "paper": {},
    "norms first": {"norm_first": True},
    "gelu": {"activation": "gelu", "n_decoder_layers": 1},
    "shared": {"source_vocab_size": None, "tie_weights": False},
}
every_config = pytest.mark.parametrize("name", CONFIGS)
both_dtypes = pytest.mark.parametrize("dtype", TOLERANCE)


def make(name, dtype="float64", **changes):
    options = {
        "vocab_size": V, "source_vocab_size": W, "context_length": 40, "emb_dim": 12,
        "hidden_dim": 10, "n_layers": 2, "n_decoder_layers": 3, "n_heads": 3, "drop_rate": 0.0,
        **CONFIGS[name], **changes,
    }  # fmt: skip
    tg.manual_seed(0)
    model = Transformer(TransformerConfig(**options)).to(getattr(tg, dtype))
    with tg.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * tg.randn(*parameter.shape, dtype=parameter.dtype)
    return model


def theirs(model):
    """(PyTorch's nn.Transformer, its embeddings and output layer) with the model's weights."""
    c = model.config
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        other = torch.nn.Transformer(
            c.emb_dim, c.n_heads, c.n_layers, c.n_decoder_layers, c.hidden_dim, 0.0, c.activation,
            layer_norm_eps=c.norm_eps, batch_first=True, norm_first=c.norm_first,
        ).double()  # fmt: skip
    state = {n: torch.from_numpy(p.detach().double().numpy().copy())
             for n, p in model.state_dict().items()}  # fmt: skip
    named = {}
    for side, layer in (("encoder", "encoder"), ("decoder", "decoder")):
        for i in range(c.n_layers if side == "encoder" else c.n_decoder_layers):
            a, b = f"{side}.trf_blocks.{i}.", f"{layer}.layers.{i}."
            norms = {"norm1": "norm1", "norm2": "norm2" if side == "encoder" else "norm3"}
            if side == "decoder":
                norms["norm_cross"] = "norm2"
            for w in ("weight", "bias"):
                named[f"{b}self_attn.in_proj_{w}"] = state[f"{a}att.qkv.{w}"]
                named[f"{b}self_attn.out_proj.{w}"] = state[f"{a}att.out_proj.{w}"]
                named[f"{b}linear1.{w}"] = state[f"{a}ff.layers.0.{w}"]
                named[f"{b}linear2.{w}"] = state[f"{a}ff.layers.2.{w}"]
                for ours, norm in norms.items():
                    named[f"{b}{norm}.{w}"] = state[f"{a}{ours}.{w}"]
                if side == "decoder":
                    both = [state[f"{a}cross.q.{w}"], state[f"{a}cross.kv.{w}"]]
                    named[f"{b}multihead_attn.in_proj_{w}"] = torch.cat(both)
                    named[f"{b}multihead_attn.out_proj.{w}"] = state[f"{a}cross.out_proj.{w}"]
        for w in ("weight", "bias"):
            named[f"{side}.norm.{w}"] = state[f"{side}.final_norm.{w}"]
    other.load_state_dict(named)
    tables = {n: state[n].requires_grad_() for n in state if "emb" in n or "out_head" in n}
    return other, tables


def run(other, tables, config):
    """PyTorch's logits of the whole model."""

    def embedded(table, ids):
        C = config.emb_dim
        t = torch.arange(ids.shape[1], dtype=torch.float64)[:, None]
        angle = t * torch.exp(torch.arange(0, C, 2, dtype=torch.float64) * (-math.log(1e4) / C))
        places = torch.stack([angle.sin(), angle.cos()], -1).flatten(1)
        return table[torch.from_numpy(ids)] * math.sqrt(C) + places

    source = tables.get("source_emb.weight", tables["tok_emb.weight"])
    head = tables["tok_emb.weight"] if config.tie_weights else tables["out_head.weight"]
    hidden = torch.from_numpy(MASK == 0)
    y = other(
        embedded(source, IDS), embedded(tables["tok_emb.weight"], TARGETS),
        tgt_mask=torch.ones(T, T, dtype=torch.bool).triu(1), src_key_padding_mask=hidden,
        memory_key_padding_mask=hidden,
    )  # fmt: skip
    return y @ head.T


@both_dtypes
@every_config
def test_logits_and_gradients(name, dtype):
    model = make(name, dtype)
    other, tables = theirs(model)
    logits = run(other, tables, model.config)
    own = model(tg.from_numpy(IDS), tg.from_numpy(TARGETS), tg.from_numpy(MASK))
    close(own, logits, dtype)
    g = np.random.default_rng(1).standard_normal(logits.shape)
    logits.backward(torch.from_numpy(g))
    own.backward(tg.from_numpy(g.astype(dtype)))
    expected = {n: p.grad.numpy() for n, p in other.named_parameters()}
    largest = max(np.abs(p).max() for p in expected.values())
    for layer, count in (
        ("encoder", model.config.n_layers),
        ("decoder", model.config.n_decoder_layers),
    ):
        for i in range(count):
            block = getattr(model, layer).trf_blocks[i]
            there = f"{layer}.layers.{i}."
            pairs = {
                "self_attn.in_proj_weight": block.att.qkv.weight.grad,
                "self_attn.in_proj_bias": block.att.qkv.bias.grad,
                "self_attn.out_proj.weight": block.att.out_proj.weight.grad,
                "linear1.weight": block.ff.layers[0].weight.grad,
                "linear2.bias": block.ff.layers[2].bias.grad,
                "norm1.weight": block.norm1.weight.grad,
            }
            if layer == "decoder":
                pairs["multihead_attn.in_proj_weight"] = tg.cat(
                    [block.cross.q.weight.grad, block.cross.kv.weight.grad]
                )
                pairs["norm2.bias"] = block.norm_cross.bias.grad
            for weight, gradient in pairs.items():
                close(gradient, expected[there + weight], dtype, there + weight, 1e-7 * largest)
    for weight, table in tables.items():
        if table.grad is not None:
            own_grad = dict(model.named_parameters())[weight].grad
            close(own_grad, table.grad, dtype, weight, 1e-7 * largest)


@every_config
def test_cached_equals_uncached_and_beams_do_not_depend_on_it(name):
    model = make(name).eval()
    given = model.given(tg.from_numpy(IDS), tg.from_numpy(MASK))
    with tg.no_grad():
        whole = given(tg.from_numpy(TARGETS)).numpy()
        cache = given.new_cache()
        parts = [given(tg.from_numpy(TARGETS[:, i : i + 1]), cache).numpy() for i in range(T)]
    close(np.concatenate(parts, 1), whole, "float64")
    start = [[model.config.start_token_id]] * B
    for beams in (1, 4):
        texts = [generate(given, start, 12, num_beams=beams, use_cache=cached, stop_tokens=[1])
                 for cached in (True, False)]  # fmt: skip
        assert texts[0].tolist() == texts[1].tolist()


@pytest.mark.slow
@pytest.mark.ci
def test_it_learns_to_copy_and_to_turn_round():
    """A tiny model learns to write its source backwards in a few hundred steps."""
    tg.manual_seed(0)
    model = Transformer(TransformerConfig(
        vocab_size=12, context_length=16, emb_dim=32, hidden_dim=64, n_layers=1,
        n_decoder_layers=1, n_heads=4, drop_rate=0.0, norm_first=True))  # fmt: skip
    optimizer = tg.optim.AdamW(model.parameters(), lr=3e-3)
    rng = np.random.default_rng(0)
    for _ in range(250):
        ids = rng.integers(3, 12, (32, 6))
        labels = np.concatenate([ids[:, ::-1], np.ones((32, 1), int)], 1)
        optimizer.zero_grad()
        loss = model.loss(tg.from_numpy(ids), tg.from_numpy(labels.copy()))
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.3
    ids = rng.integers(3, 12, (8, 6))
    written = generate(model.eval().given(tg.from_numpy(ids)), [[2]] * 8, 7).numpy()[:, 1:]
    assert (written[:, :6] == ids[:, ::-1]).mean() > 0.9
    assert (written[:, 6] == 1).mean() > 0.9


def test_counts_and_checkpoints():
    base = registry.find("Transformer").presets["transformer-base"]
    model = make("paper")
    built = registry.build(registry.describe(model))
    assert built.config == model.config
    assert base.least_parameters() == 62_984_192
    with pytest.raises(ValueError, match="start_token_id must be a token"):
        TransformerConfig(vocab_size=2, start_token_id=2)
    with pytest.raises(ValueError, match="multiple of n_heads unless head_dim"):
        TransformerConfig(emb_dim=10, n_heads=3)
    wide = make("paper", head_dim=12)  # heads as wide as the model
    assert wide.encoder.trf_blocks[0].att.qkv.weight.shape == (3 * 3 * 12, 12)


def test_checkpointing_gives_the_same_gradients():
    """Both stacks run their blocks twice, and the model says that it does."""
    model, sides = make("paper", drop_rate=0.2).train(), []
    for on in (False, True, False):
        (model.gradient_checkpointing_enable if on else model.gradient_checkpointing_disable)()
        stacks = (model, model.encoder, model.decoder)
        assert [part.gradient_checkpointing for part in stacks] == [on] * 3
        model.zero_grad()
        tg.manual_seed(0)
        model.loss(tg.from_numpy(IDS), tg.from_numpy(TARGETS), tg.from_numpy(MASK)).backward()
        sides.append({n: p.grad.numpy().copy() for n, p in model.named_parameters()})
    for side in sides[1:]:
        for name, gradient in sides[0].items():
            np.testing.assert_array_equal(gradient, side[name], name)
