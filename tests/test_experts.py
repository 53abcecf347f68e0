"""Mixtures of experts: who computes, balance, statistics, and the functions below them."""

from __future__ import annotations

import copy

import numpy as np
import pytest

import tinygrad_llm as torch
from tinygrad_llm import study
from tinygrad_llm.layers.delta_net import GatedDeltaNet
from tinygrad_llm.layers.moe import MixtureOfExperts, collected_router_logits, load_balancing_loss
from tinygrad_llm.models import Qwen3Moe, registry
from tinygrad_llm.models.qwen3_moe import PRESETS
from tinygrad_llm.nn import functional as F


def mixture(**options):
    torch.manual_seed(0)
    return MixtureOfExperts(6, 5, 8, 2, **options).double()


def test_experts_that_nobody_chose_do_not_compute():
    """Weights that are not numbers reach nothing, and get a gradient of zero."""
    layer = mixture()
    x = torch.randn(1, 2, 6).double()
    layer(x)
    counts = layer.tokens_per_expert.tolist()
    idle = [e for e, n in enumerate(counts) if n == 0]
    assert sum(counts) == 4 and idle
    for weight in layer.experts.parameters():
        weight.array[idle] = np.nan
    y = layer(x)
    y.sum().backward()
    assert np.isfinite(y.detach().numpy()).all()
    for weight in layer.experts.parameters():
        assert not weight.grad.numpy()[idle].any() and weight.grad.abs().sum().item() > 0


def test_a_token_does_not_depend_on_the_others():
    layer, x = mixture(), torch.randn(3, 5, 6).double()
    alone = torch.stack([torch.stack([layer(token[None])[0] for token in row]) for row in x])
    np.testing.assert_allclose(layer(x).detach().numpy(), alone.detach().numpy(), atol=1e-14)


def test_equal_shares_cost_k_and_one_expert_alone_costs_more():
    assert load_balancing_loss([torch.zeros(8, 4)], 2).item() == pytest.approx(2.0)
    one = torch.zeros(8, 4)
    one[:, 0] = 50.0
    assert load_balancing_loss([one], 1).item() == pytest.approx(4.0)
    with pytest.raises(ValueError, match="at least one layer"):
        load_balancing_loss([], 2)


def test_only_the_innermost_list_collects():
    layer, x = mixture(), torch.randn(1, 3, 6).double()
    with collected_router_logits() as outer:
        layer(x)
        with collected_router_logits() as inner:
            layer(x)
        layer(x)
    layer(x)
    assert len(outer) == 2 and len(inner) == 1
    assert inner[0].shape == (3, 8) and inner[0].requires_grad
    copy.deepcopy(layer)  # nothing of the graph stays in the layer


def test_the_loss_in_training_has_the_balance_in_it():
    torch.manual_seed(0)
    model = Qwen3Moe(PRESETS["tiny"])
    ids = torch.randint(0, 512, (2, 9))
    plain = model.eval().loss(ids[:, :-1], ids[:, 1:]).item()
    with collected_router_logits() as logits:
        model(ids[:, :-1])
    share = load_balancing_loss(logits, 2).item()
    assert model.train().loss(ids[:, :-1], ids[:, 1:]).item() == pytest.approx(
        plain + 0.001 * share, rel=1e-6
    )
    off = model.changed(router_aux_loss_coef=0.0).train()
    assert off.loss(ids[:, :-1], ids[:, 1:]).item() == pytest.approx(plain, rel=1e-6)


def test_a_trace_shows_the_routers(tmp_path):
    torch.manual_seed(0)
    model = Qwen3Moe(PRESETS["tiny"])
    ids = torch.randint(0, 512, (2, 9))
    with study.trace(model) as t:
        model.loss(ids[:, :-1], ids[:, 1:]).backward()
        model(ids)
    counts = {m.path: m.tokens_per_expert for m in t.modules.values() if m.tokens_per_expert}
    assert set(counts) == {"trf_blocks.0.ff", "trf_blocks.1.ff"}
    assert {sum(n) for n in counts.values()} == {2 * 2 * (8 + 9)}
    text = str(t.table("module", 160))
    assert "trf_blocks.1.ff: busiest expert" in text and "without a token" in text
    assert "<h2>Routers</h2>" in t.html()
    shown = [m["tokens_per_expert"] for m in t.as_dict()["modules"]]
    assert [n for n in shown if n] == list(counts.values())


def test_work_counts_the_experts_that_a_token_meets():
    tiny = PRESETS["tiny"]
    model, C, hidden = Qwen3Moe(tiny), tiny.emb_dim, tiny.hidden_dim
    experts = tiny.n_layers * 6.0 * 2 * 3 * C * hidden
    dense = sum(
        6.0 * p.numel() for n, p in model.named_parameters() if p.dim() == 2
    )  # the embedding is the output layer too
    between = model.flops_between_tokens(10)
    assert model.flops_per_token(10) == pytest.approx(experts + dense + between)


def test_the_delta_nets_work_does_not_grow_with_the_text():
    layer = GatedDeltaNet(6, 4, n_key_heads=2, head_dim=3, key_head_dim=5)
    assert layer.flops_per_token(10) == layer.flops_per_token(10_000) == 18.0 * 4 * 5 * 3


SIZES = {
    "Cohere2": {"tiny-aya": 3_349_227_520, "command-r7b": 8_028_033_024},
    "Gemma3": {"gemma3-270m": 268_098_176, "gemma3-1b": 999_885_952},
    "Olmo3": {"olmo3-7b": 7_298_011_136, "olmo3-32b": 32_233_522_176},
    "Qwen35": {"qwen3.5-0.8b": 752_393_024, "qwen3.5-9b": 8_953_803_264},
    "Qwen3Moe": {"qwen3-30b-a3b": 30_532_122_624, "qwen3-235b-a22b": 235_093_634_560},
}


def counted(family, config):
    """Parameters by the table of published weights; a tied output layer counts once."""
    return sum(
        int(np.prod(weight.shape))
        for weight in family.names.weights(vars(config)).values()
        if not (config.tie_weights and weight.name == "out_head.weight")
    )


@pytest.mark.parametrize("name", SIZES)
def test_published_sizes(name):
    family = registry.find(name)
    assert set(family.presets) == {"tiny", *SIZES[name]}
    for preset, size in SIZES[name].items():
        assert counted(family, family.presets[preset]) == size, preset
    tiny = family.presets["tiny"]
    assert family.model.from_config(tiny).n_parameters() == counted(family, tiny)


@pytest.mark.parametrize("name", SIZES)
@pytest.mark.suite_cases(2)
def test_tiny_models_learn(name):
    """Every parameter gets a gradient that is not zero, and the loss falls."""
    torch.manual_seed(0)
    family = registry.find(name)
    model = family.model.from_config(family.presets["tiny"])
    ids = torch.randint(0, 40, (8, 17))
    optimizer, losses = torch.optim.AdamW(model.parameters(), lr=3e-3), []
    for _ in range(12):
        loss = model.loss(ids[:, :-1], ids[:, 1:])
        optimizer.zero_grad()
        loss.backward()
        losses.append(loss.item())
        missing = [n for n, p in model.named_parameters() if not p.grad.abs().sum().item() > 0]
        assert missing == []
        optimizer.step()
    assert losses[0] == pytest.approx(np.log(512), abs=0.2) and losses[-1] < 0.8 * losses[0]


@pytest.mark.parametrize("name", SIZES)
def test_half_precision_stays_half_and_close(name):
    torch.manual_seed(0)
    family = registry.find(name)
    model, ids = family.model.from_config(family.presets["tiny"]).eval(), torch.arange(20)[None]
    with torch.no_grad():
        expected = model(ids)
        half = model.to(torch.bfloat16)(ids)
    assert half.dtype is torch.bfloat16
    assert (half.float() - expected).abs().max().item() < 0.1 * expected.abs().max().item()


# ------------------------------------------------------------------------------------ functions
def test_grouped_mm_says_what_does_not_fit():
    a, b, ends = torch.randn(5, 3), torch.randn(4, 3, 2), torch.tensor([1, 1, 4, 5])
    assert F.grouped_mm(a, b, offs=ends).shape == (5, 2)
    for wrong, words in (
        (
            (a, b[:, :2], ends),
            r"mat_b \(E, K, M\), got \[5, 3\] and \[4, 2, 2\]",
        ),
        ((a, b, None), "the end of each group, got None"),
        ((a, b, ends[:3]), r"of the shape \(4\), the end of each group, got torch.int64 \[3\]"),
        ((a, b, torch.tensor([1, 0, 4, 5])), r"rise from 0 to the 5 rows"),
        ((a, b, torch.tensor([1, 1, 4, 4])), r"rise from 0 to the 5 rows"),
        ((a, b, torch.tensor([-1, 1, 4, 5])), r"rise from 0 to the 5 rows"),
        ((a, b.double(), ends), "dtype"),
    ):
        with pytest.raises(RuntimeError, match=words):
            F.grouped_mm(*wrong[:2], offs=wrong[2])


def test_the_delta_rule_says_what_does_not_fit():
    q, v, g = torch.randn(2, 3, 5, 4), torch.randn(2, 3, 5, 6), torch.zeros(2, 3, 5)
    assert F.gated_delta_rule(q, q, v, g, g).shape == (2, 3, 5, 6)
    for wrong in ((q[..., :2], q, v, g, g), (q, q, v[:, :, :4], g, g), (q, q, v, g[:, :2], g)):
        with pytest.raises(RuntimeError, match="expected query and key"):
            F.gated_delta_rule(*wrong)
    with pytest.raises(RuntimeError, match="dtype"):
        F.gated_delta_rule(q, q, v, g.double(), g)


@pytest.mark.parametrize("T", [1, 3, 63, 64, 65, 200])
def test_chunks_of_any_length_equal_the_steps(T):
    from tinygrad_llm.ops import delta_rule

    rng = np.random.default_rng(T)
    q, k = rng.standard_normal((2, 2, 3, T, 5)) * 0.4
    v, g, beta = rng.standard_normal((2, 3, T, 4)), -rng.random((2, 3, T)), rng.random((2, 3, T))
    y, state, _ = delta_rule.in_chunks(q, k, v, g, beta, None)
    expected = np.zeros((2, 3, 5, 4))
    for t in range(T):
        row, expected = delta_rule.step(
            q[:, :, t], k[:, :, t], v[:, :, t], g[:, :, t], beta[:, :, t], expected
        )
        np.testing.assert_allclose(y[:, :, t], row, atol=1e-12)
    np.testing.assert_allclose(state, expected, atol=1e-12)


# ---------------------------------------------------------------------------- recurrent caches
def test_a_recurrent_cache_goes_back_within_the_last_call_only():
    torch.manual_seed(0)
    layer = GatedDeltaNet(6, 4, n_key_heads=2, head_dim=3, key_head_dim=5).double()
    x = torch.randn(2, 20, 6).double()
    with torch.no_grad():
        whole, cache = layer(x), layer.new_cache(20)
        layer(x[:, :7], cache=cache)
        layer(torch.ones(2, 6, 6).double(), cache=cache)
        assert cache.can_truncate(7) and not cache.can_truncate(6)
        with pytest.raises(ValueError, match="can't go back to 6 tokens.* from token 7 on"):
            cache.truncate(6)
        cache.truncate(7)
        got = [layer(x[:, 7:13], cache=cache)]
        cache.truncate(10)
        cache.truncate(9)
        got = [got[0][:, :2], layer(x[:, 9:10], cache=cache), layer(x[:, 10:], cache=cache)]
        np.testing.assert_allclose(torch.cat(got, 1).numpy(), whole[:, 7:].numpy(), atol=1e-12)
        with pytest.raises(ValueError, match="holds 20 tokens, not 21"):
            layer(x[:, :1], cache=cache)
        with pytest.raises(ValueError, match="holds 20 tokens, it can't keep 21"):
            cache.truncate(21)
        cache.truncate(0)
        np.testing.assert_allclose(layer(x, cache=cache).numpy(), whole.numpy(), atol=1e-12)
        with pytest.raises(IndexError, match="rows of the cache"):
            cache.reorder([2])
    with pytest.raises(RuntimeError, match=r"no_grad\(\)"):
        layer(x[:, :1], cache=layer.new_cache(3))
