"""The parts that a GPT's config chooses: defaults as ever, caches, padding, gradients, files."""

from __future__ import annotations

import copy
import dataclasses

import numpy as np
import pytest

import tinygrad_llm as tg
from tinygrad_llm.autograd.finite_differences import gradcheck
from tinygrad_llm.generation import generate
from tinygrad_llm.layers.moe import collected_router_logits, router_z_loss
from tinygrad_llm.models import (
    GPT,
    GPTConfig,
    from_pretrained,
    registry,
    save_pretrained,
    switch,
)
from tinygrad_llm.training.options import OptionError
from tinygrad_llm.training.presets import PretrainOptions, model_config

BASE = dict(vocab_size=11, context_length=24, emb_dim=12, n_heads=6, n_layers=3, drop_rate=0.0)
KINDS = {
    "mha": {},
    "gqa": {"attention": "gqa", "positions": "rotary"},
    "mqa": {"attention": "mqa", "head_dim": 4, "positions": "alibi"},
    "window": {"attention": "swa", "window": 3, "ratio": 2, "positions": "rotary"},
    "grouped window": {"attention": "swa", "window": 4, "n_kv_heads": 2, "positions": "t5"},
    "deltanet": {"attention": "deltanet", "positions": "none"},
    "hybrid": {"attention": "deltanet", "ratio": 2, "n_kv_heads": 3, "positions": "rotary"},
    "moe": {"feed_forward": "moe", "n_experts": 5, "expert_dim": 7, "positions": "sinusoidal"},
    "none": {"positions": "none"},
    "mla": {"attention": "mla", "latent_dim": 5, "positions": "rotary", "rope_dim": 4},
    "sparse": {"attention": "sparse", "latent_dim": 5, "window": 4, "positions": "rotary"},
    "linear": {"attention": "linear", "positions": "none"},
    "mamba": {"attention": "mamba", "state_dim": 4, "ratio": 2},
    "sinks": {"sinks": True},
    "sinks, window": {"attention": "swa", "window": 4, "sinks": True, "positions": "alibi"},
    "dilated": {"attention": "swa", "window": 3, "dilation": 2, "ratio": 2},
    "first keys": {"attention": "swa", "window": 4, "keep_first": 2, "positions": "rotary"},
    "relu2": {
        "feed_forward": "relu2",
        "norm": "rms",
        "attention": "gqa",
        "qk_norm": True,
        "init": "normal",
        "mup_base": 4,
        "logit_softcap": 5.0,
    },
    "swiglu": {"feed_forward": "swiglu", "value_embeddings": True, "positions": "rotary"},
    "z-loss": {"feed_forward": "moe", "n_experts": 4, "expert_dim": 5, "z_loss": 0.1},
}
every_kind = pytest.mark.parametrize("fields", KINDS.values(), ids=KINDS)


def model_of(fields, **more):
    tg.manual_seed(0)
    return GPT(GPTConfig(**{**BASE, **fields, **more}))


def ids(*shape, seed=0):
    return tg.from_numpy(np.random.default_rng(seed).integers(0, 11, shape))


def assert_close(a, b, tolerance=1e-5):
    a, b = (x.detach().numpy().astype(float) for x in (a, b))
    np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * abs(b).max())


def test_every_choice_has_a_row():
    """With a text of 24 tokens, which is three windows or more where there is one."""
    rows = [GPTConfig(**{**BASE, **fields}) for fields in KINDS.values()]
    for name, table in (("attention", switch.ATTENTION), ("feed_forward", switch.FEED_FORWARD),
                        ("positions", switch.POSITIONS)):  # fmt: skip
        assert {getattr(row, name) for row in rows} == set(table)
    used = {name for fields in KINDS.values() for name in fields}
    assert set(switch.switch_defaults()) - used == {"n_experts_per_token", "balance"}
    assert all(3 * row.seen <= 24 for row in rows if row.attention in ("swa", "sparse"))


@every_kind
def test_cached_equals_uncached_and_a_cache_is_used_again(fields):
    model, x = model_of(fields).eval(), ids(2, 24)
    with tg.no_grad():
        full, cache = model(x), model.new_cache()
        for _ in range(2):
            parts = [model(x[:, :7], cache)]
            parts += [model(x[:, t : t + 1], cache) for t in range(7, 20)]
            parts.append(model(x[:, 20:], cache))
            assert_close(tg.cat(parts, 1), full)
            cache.truncate(0)  # nothing of the text is left
        other = ids(2, 9, seed=1)
        assert_close(model(other, cache), model(other))
        assert (
            model(other, model.new_cache()).numpy() == model(other, model.new_cache()).numpy()
        ).all()


@every_kind
def test_the_future_is_hidden(fields):
    model, x = model_of(fields).eval(), ids(1, 24)
    y = x.clone()
    y[0, 13:] = (y[0, 13:] + 1) % 11
    with tg.no_grad():
        assert_close(model(x)[:, :13], model(y)[:, :13])
        assert abs((model(x)[:, 13] - model(y)[:, 13]).numpy()).max() > 1e-4


@every_kind
def test_a_padded_row_equals_itself_alone(fields):
    model, x = model_of(fields).eval(), ids(2, 9)
    with tg.no_grad():
        cache = model.new_cache()
        padding = tg.tensor([0, 4])
        if fields.get("keep_first"):
            with pytest.raises(ValueError, match="keep_first=2 keeps the first columns"):
                model(x, padding=padding)
            return
        y = tg.cat(
            [model(x[:, :6], cache, padding=padding), model(x[:, 6:], cache, padding=padding)], 1
        )
        assert_close(y[0], model(x[:1])[0])
        assert_close(y[1, 4:], model(x[1:, 4:])[0])


@pytest.mark.parametrize("kind", [k for k in KINDS if k not in ("relu2", "swiglu")])
def test_gradients_by_finite_differences(kind):
    """Along ten random directions of each weight: element by element it took minutes.

    Those of the two that are left out are compared with PyTorch's in test_training_ideas.
    """
    fields = KINDS[kind]
    model = model_of(fields, n_layers=2 if not fields.get("ratio") else 3).double()
    x, targets = ids(1, 5), ids(1, 5, seed=1)
    if fields.get("feed_forward") == "moe" or fields.get("attention") == "sparse":
        model.eval()  # what training adds has jumps, or parts whose gradient is cut off
    rng = np.random.default_rng(0)
    parameters = dict(model.named_parameters())
    for p in parameters.values():
        p.array[...] += 0.05 * rng.standard_normal(p.shape)
    picked = [n for n in parameters if "trf_blocks.1" in n or "pos" in n]
    picked = {n: parameters[n] for n in picked}
    gradcheck(lambda: model.loss(x, targets), parameters=picked, directions=10)


@every_kind
@pytest.mark.suite_cases(5)
def test_every_parameter_learns_and_a_text_is_learnt(fields):
    model = model_of(fields, n_layers=2 if not fields.get("ratio") else 3)
    x = ids(4, 13)
    optimizer = tg.optim.AdamW(model.parameters(), lr=1e-2)
    before = {n: p.array.copy() for n, p in model.named_parameters()}
    first = None
    for _ in range(40):
        optimizer.zero_grad()
        loss = model.loss(x[:, :-1], x[:, 1:])
        loss.backward()
        optimizer.step()
        first = loss.item() if first is None else first
    assert loss.item() < 0.7 * first
    assert [n for n, p in model.named_parameters() if (p.array == before[n]).all()] == []


@every_kind
def test_description_generation_and_checkpointing(fields):
    model = model_of(fields)
    again = registry.build(registry.describe(model))
    assert again.config == model.config
    again.load_state_dict(model.state_dict())
    x = ids(1, 5)
    a = generate(model.eval(), x, max_new_tokens=6, temperature=0.0)
    b = generate(again.eval(), x, max_new_tokens=6, temperature=0.0)
    assert a.tolist() == b.tolist() and tuple(a.shape) == (1, 11)
    losses, gradients = [], []
    for on in (False, True):
        model.train()
        model.gradient_checkpointing = on
        model.zero_grad()
        if on and fields.get("attention") == "sparse":
            with pytest.raises(RuntimeError, match="gradient_checkpointing_disable"):
                model.loss(x, x)
            return
        loss = model.loss(x, x)
        loss.backward()
        losses.append(loss.item())
        gradients.append(np.concatenate([p.grad.numpy().ravel() for p in model.parameters()]))
    assert losses[0] == losses[1]
    np.testing.assert_allclose(gradients[0], gradients[1], atol=1e-7)


# -------------------------------------------------------------------------------------- the config
def test_an_old_description_is_gpt2():
    old = dict(vocab_size=11, context_length=8, emb_dim=12, n_heads=3, n_layers=2, drop_rate=0.0,
               qkv_bias=True, tie_weights=True)  # fmt: skip
    model = registry.build({"class": "GPT", "config": old})
    assert model.config == GPTConfig(**old) and not model.config.is_switched
    assert list(model.state_dict())[:2] == ["tok_emb.weight", "pos_emb.weight"]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"attention": "gq"}, "attention must be mha, gqa, mqa"),
        ({"positions": "rope"}, "positions must be learned, sinusoidal, rotary, alibi, t5, none"),
        ({"n_kv_heads": 2}, "attention='mha' with feed_forward='dense' does not use n_kv_heads"),
        ({"n_experts": 4}, "does not use n_experts, got 4"),
        ({"attention": "mqa", "window": 4}, "does not use window, got 4"),
        ({"attention": "gqa", "ratio": 1}, "does not use ratio, got 1"),
        ({"attention": "swa", "window": 0}, "window must be at least 1, got 0"),
        ({"feed_forward": "moe", "n_experts_per_token": 9}, "must be at most n_experts"),
        ({"attention": "mla", "sinks": True}, "does not use sinks, got True"),
        ({"keep_first": 2}, "does not use keep_first, got 2"),
        ({"z_loss": 0.1}, "does not use z_loss, got 0.1"),
        ({"attention": "swa", "keep_first": 2, "positions": "t5"}, "no places for keep_first"),
        ({"attention": "deltanet", "positions": "rotary"}, "all blocks are deltanet"),
        ({"attention": "gqa", "n_kv_heads": 4}, "n_heads must be a multiple of n_kv_heads"),
    ],
)
def test_what_does_not_fit_is_named(fields, message):
    with pytest.raises(ValueError, match=message):
        GPT(GPTConfig(**{**BASE, **fields}))


def test_defaults_of_what_is_not_given():
    config = GPTConfig(**BASE, attention="gqa")
    assert config.key_heads == 3 and config.head_width == 2 and config.seen == 6
    kinds = GPTConfig(**{**BASE, "n_layers": 32}, attention="swa", ratio=5)
    assert [kinds.kind_of(i) for i in range(32)].count("swa") == 27
    assert switch.switch_defaults().keys() <= {f.name for f in dataclasses.fields(GPTConfig)}


def test_blocks_share_one_table_and_one_rotary():
    model = model_of({"positions": "t5"})
    tables = {id(block.att.position_bias) for block in model.trf_blocks}
    assert len(tables) == 1
    assert sum(p.numel() for n, p in model.named_parameters() if "position_bias" in n) == 32 * 6
    rotary = model_of({"positions": "rotary"})
    assert len({id(block.att.rotary) for block in rotary.trf_blocks}) == 1


def test_positions_without_a_longest_text_go_beyond_training():
    for name in ("sinusoidal", "rotary", "alibi", "t5", "none"):
        longer = model_of({"positions": name}).changed(context_length=60)
        assert longer(ids(1, 60)).shape == (1, 60, 11)


def test_a_memory_takes_no_mask_and_gpt2s_files_no_other_parts(tmp_path):
    model = model_of({"attention": "deltanet", "positions": "none"})
    with pytest.raises(ValueError, match="pass padding, not a mask"):
        model.hidden_states(ids(1, 4), mask=tg.ones(4, 4).bool())
    with pytest.raises(ValueError, match="attention='deltanet' has no place in GPT-2's files"):
        save_pretrained(model, tmp_path)
    assert model.published_modules() == {}
    save_pretrained(model_of({}), tmp_path)
    for fields in ({"attention": "gqa"}, {"positions": "none"}, {"head_dim": 4}, {"sinks": True}):
        with pytest.raises(ValueError, match="has no place in GPT-2's files"):
            from_pretrained(tmp_path, **fields)


def test_options_of_pretraining():
    chosen = {"attention": "swa", "window": 8, "ratio": 3, "positions": "rotary"}
    config = model_config(PretrainOptions(n_layers=4, **chosen), 100)
    assert [config.kind_of(i) for i in range(4)] == ["swa", "swa", "swa", "mha"]
    assert config.window == 8 and config.positions == "rotary"
    config = model_config(PretrainOptions(feed_forward="moe", z_loss=0.01, sinks=True), 100)
    assert config.sinks and config.z_loss == 0.01
    assert not model_config(PretrainOptions(), 100).is_switched
    with pytest.raises(OptionError, match="attention must be mha, gqa"):
        model_config(PretrainOptions(attention="gq"), 100)
    with pytest.raises(OptionError, match="attention is a choice of gpt only, model is llama"):
        model_config(PretrainOptions(attention="gqa", model="llama"), 100)
    with pytest.raises(OptionError, match="does not use window"):
        PretrainOptions(window=4).check()


def test_experts_add_their_balance_in_training_only():
    model, x = model_of(KINDS["moe"]), ids(2, 8)
    trained, plain = model.loss(x, x).item(), model.eval().loss(x, x).item()
    assert 0.01 < trained - plain < 0.05  # 0.01·load_balancing_loss, which is 2 if balanced
    small = model_of({**KINDS["moe"], "balance": 0.0, "z_loss": 0.5})
    with collected_router_logits() as logits:
        plain = small.eval().loss(x, x).item()
    added = small.train().loss(x, x).item() - plain
    assert added == pytest.approx(0.5 * router_z_loss(logits).item(), rel=1e-5)


@every_kind
def test_the_same_on_the_other_device(fields, other_device):
    model, x = model_of(fields), ids(2, 12)
    there = copy.deepcopy(model).to(other_device)
    losses = [model.loss(x, x), there.loss(x.to(other_device), x.to(other_device))]
    for loss in losses:
        loss.backward()
    assert losses[0].item() == pytest.approx(losses[1].item(), rel=1e-5)
    for (name, p), q in zip(model.named_parameters(), there.parameters(), strict=True):
        a, b = p.grad.numpy(), q.grad.cpu().numpy()
        np.testing.assert_allclose(b, a, rtol=0, atol=1e-5 * abs(a).max() + 1e-7, err_msg=name)
    model.eval(), there.eval()
    with tg.no_grad():
        cache, y = there.new_cache(), x.to(other_device)
        parts = [there(y[:, :5], cache), *(there(y[:, t : t + 1], cache) for t in range(5, 12))]
        assert_close(tg.cat(parts, 1).cpu(), model(x))
