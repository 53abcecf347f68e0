"""What all models share: checked configs, padding at the left, and the registry."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_models import Bag, BagConfig, Windowed, WindowedConfig

import tinygrad_llm as tg
from tinygrad_llm import nn
from tinygrad_llm.layers.attention import Attention
from tinygrad_llm.models import (
    GPT,
    GPTClassifier,
    GPTClassifierConfig,
    GPTConfig,
    ModelConfig,
    registry,
    switch,
)
from tinygrad_llm.models.base import context_length_of
from tinygrad_llm.models.costs import flops_per_token
from tinygrad_llm.nn import functional as F

SHAPE = dict(vocab_size=11, context_length=9, emb_dim=12, n_heads=3, n_layers=2, drop_rate=0.0)
CONFIGS = [
    GPTConfig(**SHAPE),
    BagConfig(11, 9),
    WindowedConfig(11, 9),
    GPTClassifierConfig(BagConfig(11, 9), 2, "first", True, 3),
]
FIELDS = [(config, each.name) for config in CONFIGS for each in dataclasses.fields(config)]
INTEGERS = [
    (config, name)
    for config, name in FIELDS
    if isinstance(getattr(config, name), int) and not isinstance(getattr(config, name), bool)
]


def gpt(dtype=tg.float64, **changes):
    tg.manual_seed(0)
    model = GPT({**SHAPE, **changes}).to(dtype)
    for i, p in enumerate(model.parameters()):  # nothing is small or zero, so nothing hides
        p.array[...] += 0.3 * np.random.default_rng(i).standard_normal(p.array.shape)
    return model.eval()


def bag(dtype=tg.float64, **changes):
    tg.manual_seed(0)
    return Bag({"vocab_size": 11, "context_length": 9, **changes}).to(dtype).eval()


def windowed(dtype=tg.float64, **changes):
    tg.manual_seed(0)
    return Windowed({"vocab_size": 11, "context_length": 9, **changes}).to(dtype).eval()


MODELS = [gpt, bag, windowed]


# ------------------------------------------------------------------------------------ configs
@pytest.mark.parametrize("config, name", FIELDS)
def test_every_field_is_checked(config, name):
    for wrong in ("3", None, [2], object(), 1 + 1j):
        if wrong is getattr(config, name) is None:
            continue  # an optional field
        with pytest.raises((TypeError, ValueError), match=f"{type(config).__name__}: {name} must"):
            dataclasses.replace(config, **{name: wrong})


@pytest.mark.parametrize("config, name", INTEGERS)
@given(data=st.data())
@settings(max_examples=20)
def test_integers_are_integers(config, name, data):
    value = getattr(config, name)
    kind = data.draw(st.sampled_from([np.int64, np.int32, np.uint8, np.array]))
    same = dataclasses.replace(config, **{name: kind(value)})
    assert same == config and type(getattr(same, name)) is int
    real = data.draw(st.floats() | st.floats(width=32).map(np.float32) | st.just(float(value)))
    for wrong in (real, True, False, np.True_, np.array([value])):
        with pytest.raises(TypeError, match=f"{name} must be an integer, got "):
            dataclasses.replace(config, **{name: wrong})
    if name != "pad_token_id":
        below = data.draw(st.integers(max_value=-1 if name in ("ratio", "keep_first") else 0))
        with pytest.raises(ValueError, match=rf"{name} must be at least \d, got {below}"):
            dataclasses.replace(config, **{name: below})


@given(st.floats(allow_nan=False) | st.integers() | st.floats(width=32).map(np.float32))
def test_rates_are_fractions(rate):
    if 0 <= rate < 1:
        made = GPTConfig(**{**SHAPE, "drop_rate": rate})
        assert made.drop_rate == rate and type(made.drop_rate) is float
    else:
        with pytest.raises(ValueError, match="drop_rate must be at least 0 and less than 1, got"):
            GPTConfig(**{**SHAPE, "drop_rate": rate})


@pytest.mark.parametrize("wrong", [math.nan, np.float64("nan"), math.inf])
def test_rates_that_are_no_numbers(wrong):
    with pytest.raises(ValueError, match="drop_rate must be at least 0 and less than 1, got"):
        BagConfig(11, 9, drop_rate=wrong)


def test_flags():
    assert GPTConfig(**SHAPE, qkv_bias=np.False_).qkv_bias is False
    for wrong in (0, 1, 1.0, "yes", np.int64(1)):
        with pytest.raises(TypeError, match="GPTConfig: tie_weights must be True or False, got"):
            GPTConfig(**SHAPE, tie_weights=wrong)
    for wrong in (True, False):
        with pytest.raises(TypeError, match=f"drop_rate must be a number, got {wrong}"):
            GPTConfig(**{**SHAPE, "drop_rate": wrong})


def test_a_config_from_numpy_is_written_as_json():
    shape = {k: np.int64(v) if k != "drop_rate" else np.float32(v) for k, v in SHAPE.items()}
    assert json.loads(json.dumps(dataclasses.asdict(GPTConfig(**shape)))) == {
        **switch.switch_defaults(), **SHAPE, "qkv_bias": True, "tie_weights": True,
    }  # fmt: skip


def test_fields_without_a_default_must_be_given():
    with pytest.raises(TypeError, match="vocab_size"):
        ModelConfig(context_length=4, emb_dim=5)
    assert ModelConfig(3, 4, 5) == ModelConfig(vocab_size=3, context_length=4, emb_dim=5)
    with pytest.raises(dataclasses.FrozenInstanceError):
        ModelConfig(3, 4, 5).vocab_size = 5


# ------------------------------------------------------------------------------------ padding
def padded(lengths, seed=0, T=None):
    """Rows of these lengths, the ids (B, T) with other tokens as padding, and the padding (B)."""
    draw = np.random.default_rng(seed)
    T = max(lengths) if T is None else T
    rows = [draw.integers(0, 11, n) for n in lengths]
    ids = draw.integers(0, 11, (len(rows), T))  # what stands in the padding must not matter
    for row, into in zip(rows, ids, strict=True):
        into[T - len(row) :] = row
    return rows, tg.from_numpy(ids), tg.tensor([T - n for n in lengths])


def close(a, b, dtype=tg.float64):
    a, b = (t.detach().numpy() for t in (a, b))
    tolerance = 1e-12 if dtype == tg.float64 else 1e-5
    assert a.shape == b.shape and abs(a - b).max() <= tolerance * abs(b).max()


@pytest.mark.parametrize("make", MODELS)
@pytest.mark.parametrize("dtype", [tg.float32, tg.float64])
@pytest.mark.parametrize("lengths", [(7, 3, 1, 6), (4, 5), (5, 5), (1,), (9, 8)])
def test_each_row_equals_itself_alone(make, lengths, dtype):
    model = make(dtype)
    rows, ids, padding = padded(lengths)
    together = model(ids, padding=padding)
    assert together.dtype == dtype
    for row, logits, n in zip(rows, together, lengths, strict=True):
        close(logits[len(logits) - n :], model(tg.from_numpy(row[None]))[0], dtype)
    for integers in (padding, padding.to(tg.int32), padding.to(tg.uint8)):
        close(model(ids, last_only=True, padding=integers), together[:, -1:], dtype)


def test_positions_and_mask_by_hand():
    model = bag()
    cache = model.new_cache()
    with tg.no_grad():
        model(tg.zeros(2, 2, dtype=tg.int64), cache=cache)
    ids, padding = tg.zeros(2, 3, dtype=tg.int64), tg.tensor([3, 0])
    positions, mask = model.places(ids, cache, None, padding)
    assert positions.dtype == tg.int64 and positions.tolist() == [[0, 0, 1], [2, 3, 4]]
    assert mask.dtype == tg.bool and mask.shape == (2, 1, 3, 5)
    assert mask[:, 0].to(tg.int64).tolist() == [
        [[0, 0, 1, 0, 0], [0, 0, 0, 1, 0], [0, 0, 0, 1, 1]],  # column 2 is padding: itself alone
        [[1, 1, 1, 0, 0], [1, 1, 1, 1, 0], [1, 1, 1, 1, 1]],
    ]
    assert model.places(ids, None, None, None)[0].tolist() == [0, 1, 2]


@pytest.mark.parametrize("make", MODELS)
@pytest.mark.parametrize("pieces", [(7,), (3, 4), (1,) * 7, (5, 1, 1), (1, 6), (2, 3, 2)])
def test_with_a_cache_in_pieces(make, pieces):
    model = make()
    _, ids, padding = padded((7, 3, 1, 6))
    cache, parts, start = model.new_cache(), [], 0
    with tg.no_grad():
        for n in pieces:
            parts.append(model(ids[:, start : start + n], cache=cache, padding=padding))
            start += n
        real = (tg.arange(7) >= padding[:, None])[..., None]  # (B, T, 1)
        close(tg.cat(parts, 1) * real, model(ids, padding=padding) * real)


@pytest.mark.parametrize("make", MODELS)
def test_steps_after_a_cache_that_was_cut_back(make):
    model = make()
    _, ids, padding = padded((6, 2))
    cache = model.new_cache()
    with tg.no_grad():
        model(ids, cache=cache, padding=padding)
        cache.truncate(4)
        again = model(ids[:, 4:], cache=cache, padding=padding)
        close(again, model(ids, padding=padding)[:, 4:])


@pytest.mark.parametrize("make", MODELS)
def test_gradients_of_a_padded_batch_are_the_sum_of_its_rows(make):
    model = make()
    lengths = (7, 3, 1)
    rows, ids, padding = padded(lengths)
    upstream = tg.from_numpy(np.random.default_rng(3).standard_normal((3, 7, 11)))
    upstream = upstream * (tg.arange(7) >= padding[:, None])[..., None]  # (B, T, V), 0 in padding
    (model(ids, padding=padding) * upstream).sum().backward()
    together = {name: p.grad for name, p in model.named_parameters()}
    model.zero_grad()
    for row, g, n in zip(rows, upstream, lengths, strict=True):
        (model(tg.from_numpy(row[None]))[0] * g[7 - n :]).sum().backward()
    for name, p in model.named_parameters():
        limit = 1e-12 * abs(p.grad.numpy()).max() + 1e-12
        assert abs(together[name].numpy() - p.grad.numpy()).max() <= limit, name


@pytest.mark.parametrize("make", [gpt, windowed])
@pytest.mark.parametrize("lengths", [(5, 5), (5, 4), (3, 1, 5)])
def test_gradient_checkpointing_with_padding(make, lengths):
    model = make()
    _, ids, padding = padded(lengths)
    before = model(ids, padding=padding)
    model.gradient_checkpointing_enable()
    after = model.train()(ids, padding=padding)
    assert np.array_equal(before.detach().numpy(), after.detach().numpy())


@pytest.mark.parametrize("make", MODELS)
def test_padding_on_the_gpu(make, other_device):
    model = make(tg.float32)
    _, ids, padding = padded((7, 3, 1, 6))
    expected = model(ids, padding=padding)
    model, ids, padding = (x.to(other_device) for x in (model, ids, padding))
    cache = model.new_cache()
    with tg.no_grad():
        parts = [model(ids[:, i : i + 4], cache=cache, padding=padding) for i in (0, 4)]
    real = (tg.arange(7, device=other_device) >= padding[:, None])[..., None]  # (B, T, 1)
    close((tg.cat(parts, 1) * real).cpu(), expected * real.cpu(), tg.float32)


def test_without_padding_no_mask_is_built(monkeypatch):
    masks = []
    attention = F.scaled_dot_product_attention

    def spy(*args, attn_mask=None, **options):
        masks.append(attn_mask)
        return attention(*args, attn_mask=attn_mask, **options)

    monkeypatch.setattr(F, "scaled_dot_product_attention", spy)
    for make in MODELS:
        model = make()
        _, ids, padding = padded((4, 2))
        model(ids), model.loss(ids, ids)
        assert masks and all(mask is None for mask in masks)
        masks.clear()
        model(ids, padding=padding)
        assert masks and all(tuple(mask.shape) == (2, 1, 4, 4) for mask in masks)
        masks.clear()


@pytest.mark.parametrize("make", MODELS)
def test_wrong_padding(make):
    model = make()
    _, ids, padding = padded((4, 2))
    for wrong, error, message in (
        ([0, 2], TypeError, "padding must be a tensor of integers, one for each row, got list"),
        (tg.tensor([0.0, 2.0]), TypeError, "a tensor of integers, one for each row, got torch.f"),
        (tg.tensor([True, False]), TypeError, "a tensor of integers"),
        (tg.tensor([0]), ValueError, r"one number for each of the 2 rows, got the shape \(1,\)"),
        (tg.tensor([[0], [2]]), ValueError, r"of the 2 rows, got the shape \(2, 1\)"),
        (tg.tensor([0, -1]), ValueError, "padding must be at least 0, got -1"),
    ):
        with pytest.raises(error, match=message):
            model(ids, padding=wrong)
    mask = tg.ones(4, 4, dtype=tg.bool).tril()
    with pytest.raises(ValueError, match="pass a mask or padding, not both"):
        model.hidden_states(ids, mask=mask, padding=padding)
    with pytest.raises(ValueError, match="10 tokens are longer than the context_length of 9"):
        model(tg.zeros(1, 10, dtype=tg.int64), padding=tg.tensor([4]))


# ----------------------------------------------------------------------------------- registry
@pytest.fixture
def known(monkeypatch):
    """Bag is registered, for this test only."""
    monkeypatch.setattr(registry, "_FAMILIES", dict(registry._FAMILIES))
    registry.register(Bag, BagConfig)
    registry.register(Windowed, WindowedConfig)


def test_built_again_from_json(known):
    models = [gpt(), bag(), GPTClassifier(gpt(), 3, "mean", False, 2),
              GPTClassifier(bag(), pad_token_id=0), windowed()]  # fmt: skip
    for model in models:
        described = json.loads(json.dumps(registry.describe(model)))
        again = registry.build(described)
        assert type(again) is type(model) and again.config == model.config
        assert registry.describe(again) == described
        shapes = [{n: p.shape for n, p in m.named_parameters()} for m in (model, again)]
        assert shapes[0] == shapes[1]


def test_what_the_registry_does_not_know(known):
    assert registry.describe(nn.Linear(1, 1)) is None and registry.of(nn.Linear(1, 1)) is None
    with pytest.raises(KeyError, match="a model 'os' is not known here; there are GPT, .*GPTClass"):
        registry.find("os")
    for wrong in ({}, {"class": "GPT"}, 3, "GPT", None):
        with pytest.raises(ValueError, match="a class and a config, got"):
            registry.build(wrong)
    with pytest.raises(ValueError, match="vocab_size must be at least 1, got 0"):
        registry.build({"class": "GPT", "config": {"vocab_size": 0}})
    with pytest.raises(TypeError, match="banana"):
        registry.build({"class": "GPT", "config": {"banana": 0}})


def test_a_name_is_registered_once(known):
    registry.register(Bag, BagConfig)  # the same class again

    class GPT(nn.Module):
        pass

    with pytest.raises(ValueError, match="there is another model called GPT"):
        registry.register(GPT, GPTConfig)

    class Sub(Bag):
        pass

    assert registry.describe(Sub({"vocab_size": 2, "context_length": 2})) is None


def test_a_classifier_of_a_model_that_is_not_registered():
    model = GPTClassifier(bag(), pad_token_id=0)
    assert registry.describe(model) is None and registry.describe(bag()) is None
    with pytest.raises(TypeError, match="BagConfig belongs to no registered model"):
        registry.build_from(model.config)


# -------------------------------------------------------------------------- what models answer
def test_what_every_model_answers():
    V, C, T = 11, 12, 5
    for model, weights, between in (
        (gpt(), 2 * 12 * C * C, 6 * 2 * C * T),  # 12·C² in each of two blocks
        (bag(emb_dim=C), C * C, 0),
    ):
        assert model.context_length == context_length_of(model) == 9
        assert model.n_parameters() == sum(p.numel() for p in model.parameters())
        assert model.flops_per_token(T) == flops_per_token(model, T)
        assert model.flops_per_token(T) == 6 * (weights + V * C) + between
        classifier = GPTClassifier.from_gpt(model, 3, pad_token_id=0)
        assert classifier.model.config == model.config and classifier.model is not model
        assert classifier.context_length == context_length_of(classifier) == 9
        assert classifier.flops_per_token(T) == flops_per_token(classifier, T)
        assert classifier.flops_per_token(T) == 6 * (weights + 3 * C) + between
        frozen = model.requires_grad_(False).flops_per_token(T)
        assert frozen == 4 * (weights + V * C) + between
    assert context_length_of(nn.Linear(1, 1)) is None
    assert flops_per_token(nn.Linear(3, 4), T) == 6 * 12


def test_attention_counts_the_keys_that_a_query_sees():
    T, sizes = 40, {"dim": 12, "n_heads": 3, "n_kv_heads": 1, "head_dim": 5}
    q, k = np.arange(T)[:, None], np.arange(T)
    for options, seen in (
        ({}, k <= q), ({"window": 7}, (k <= q) & (k > q - 7)), ({"window": 99}, k <= q),
        ({"causal": False}, np.ones((T, T))),
    ):  # fmt: skip
        attention = Attention(**sizes, **options)
        exact = 12 * 3 * 5 * seen.sum() / T
        assert attention.flops_per_token(T) == pytest.approx(exact, abs=12 * 3 * 5 / 2)


def test_checkpointing_of_the_model_in_a_classifier():
    classifier = GPTClassifier(gpt(), pad_token_id=0)
    classifier.gradient_checkpointing_enable()
    assert classifier.model.gradient_checkpointing
    classifier.gradient_checkpointing_disable()
    assert not classifier.model.gradient_checkpointing


def test_changed_is_a_copy():
    for model in (gpt(), gpt(tie_weights=False), bag(tg.float32)):
        other = model.changed(drop_rate=0.5)
        assert other.config == dataclasses.replace(model.config, drop_rate=0.5)
        for (name, p), (same, q) in zip(
            model.named_parameters(), other.named_parameters(), strict=True
        ):
            assert name == same and p is not q and p.dtype == q.dtype
            assert np.array_equal(p.array, q.array)
        with pytest.raises(TypeError, match="banana"):
            model.changed(banana=3)


def test_a_family_that_forgets_a_method_is_named():
    from tinygrad_llm.models import LanguageModel

    class Half(LanguageModel):
        pass

    half = Half(ModelConfig(3, 4, 5))
    with pytest.raises(NotImplementedError, match="Half must define hidden_states"):
        half(tg.tensor([[1]]))
    with pytest.raises(NotImplementedError, match="Half must define new_cache"):
        half.new_cache()


def test_no_field_of_a_config_is_guessed():
    """What a LanguageModel answers is asked of it: no getattr on a config, or for one."""
    guess = re.compile(r"""(get|has)attr\([\w.]*config\b|(get|has)attr\([\w.]+, "config\"""")
    for text in ('getattr(config, "n"', 'hasattr(model.config, "n"', 'getattr(m, "config", None'):
        assert guess.search(text)
    seen = {
        f"{path}: {line.strip()}"
        for path in Path(tg.__file__).parent.rglob("*.py")
        for line in path.read_text("utf-8").splitlines()
        if guess.search(line)
    }
    allowed = {"getattr(config, each.name)"}  # every field of a dataclass, in models/
    assert not {line for line in seen if not any(text in line for text in allowed)}
