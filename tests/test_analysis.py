"""Closed forms against what a trace counts, the rate finder, schedules, perplexity."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_llm as torch
from tinygrad_llm import random, study
from tinygrad_llm.layers import lora
from tinygrad_llm.models import GPT, GPTConfig
from tinygrad_llm.optim import SGD, AdamW
from tinygrad_llm.optim.lr_scheduler import CosineAnnealingLR, WarmupCosineLR
from tinygrad_llm.study.memory.bill import memory_bill
from tinygrad_llm.training import (
    ExampleBatches,
    TokenBatches,
    Trainer,
    evaluate_perplexity,
    find_learning_rate,
    flops_per_token,
    flops_utilization,
    gpt_flops,
    gpt_memory,
    gpt_parameters,
    peak_flops,
    perplexity,
    plot_fonts,
    plot_losses,
    plot_schedule,
    schedule_rates,
)
from tinygrad_llm.training.plots import new_figure, save_figure

TOKENS = np.random.RandomState(0).randint(0, 13, 2000)


@st.composite
def configs(draw, **fixed):
    heads = draw(st.integers(1, 3))
    shape = {
        "vocab_size": draw(st.integers(2, 40)), "context_length": draw(st.integers(1, 20)),
        "emb_dim": 2 * heads * draw(st.integers(1, 4)), "n_heads": heads,
        "n_layers": draw(st.integers(1, 3)), "drop_rate": 0.0, "qkv_bias": draw(st.booleans()),
        "tie_weights": draw(st.booleans()),
    }  # fmt: skip
    return GPTConfig(**{**shape, **fixed})


@given(configs())
def test_parameters(config):
    model, counted = GPT(config), gpt_parameters(config)
    assert counted["total"] == model.n_parameters() == sum(counted.values()) / 2
    assert counted["attention"] == sum(b.att.qkv.weight.numel() + b.att.out_proj.weight.numel() + (
        b.att.out_proj.bias.numel()) + (b.att.qkv.bias.numel() if config.qkv_bias else 0)
        for b in model.trf_blocks)  # fmt: skip
    assert counted["feed_forward"] == sum(
        p.numel() for b in model.trf_blocks for p in b.ff.parameters()
    )


def test_the_published_sizes():
    for make, millions in (
        (GPTConfig.gpt2_small, 124.4), (GPTConfig.gpt2_medium, 354.8),
        (GPTConfig.gpt2_large, 774.0), (GPTConfig.gpt2_xl, 1557.6),
    ):  # fmt: skip
        assert gpt_parameters(make())["total"] / 1e6 == pytest.approx(millions, abs=0.05)
    assert gpt_parameters(GPTConfig(tie_weights=False, qkv_bias=False))["total"] == 163_009_536


@given(configs(), st.integers(1, 3), st.data())
def test_flops_are_those_that_a_trace_counts(config, B, data):
    T = data.draw(st.integers(2, max(2, config.context_length)))
    if config.context_length < T:
        return
    model = GPT(config)
    ids = torch.randint(0, config.vocab_size, (B, T))
    counted = gpt_flops(config, B, T)
    for run in (lambda: model.loss(ids, ids), lambda: model(ids)):
        with study.trace(model) as trace:
            run()
        assert trace.flops == counted["forward"]
    assert counted["total"] == 3 * counted["forward"]
    by_name = {}
    for op in trace.ops:
        by_name[op.name] = by_name.get(op.name, 0) + op.flops
    assert by_name["scaled_dot_product_attention"] == counted["attention_scores"]
    assert by_name["linear"] == sum(
        counted[k] for k in ("attention_projections", "feed_forward", "output")
    )
    assert gpt_flops(config, B, T, causal=False)["attention_scores"] == pytest.approx(
        counted["attention_scores"] * 2 * T / (T + 1)
    )


def test_the_bill_of_a_token_is_that_of_the_products():
    config = GPTConfig(vocab_size=50, context_length=64, emb_dim=12, n_heads=2, n_layers=3)
    counted = gpt_flops(config, 2)
    # flops_per_token takes T/2 for the (T + 1)/2 positions that a token sees
    expected = counted["total"] - 3 * 4 * 3 * 12 * 2 * 64 / 2
    assert flops_per_token(GPT(config), 64) * 2 * 64 == pytest.approx(expected)


def test_products_of_other_ops():
    with study.trace() as trace:
        torch.randn(3, 4) @ torch.randn(4, 5)
        torch.randn(2, 3, 4) @ torch.randn(2, 4, 5)
        torch.randn(3).exp()
    assert [op.flops for op in trace.ops][:2] == [2 * 3 * 4 * 5, 2 * 2 * 3 * 4 * 5]
    assert trace.flops == 120 + 240


@pytest.mark.parametrize("drop_rate", [0.0, 0.1])
@pytest.mark.parametrize("shape", [(2, 256, 64, 2, 2), (4, 128, 128, 4, 3)])
def test_memory_is_what_a_trace_sees(shape, drop_rate):
    B, T, C, H, L = shape
    config = GPTConfig(vocab_size=300, context_length=T, emb_dim=C, n_heads=H, n_layers=L,
                       drop_rate=drop_rate)  # fmt: skip
    model = GPT(config)
    ids = torch.randint(0, 300, (B, T))
    with study.trace(model) as trace:
        model.loss(ids, ids).backward()
    counted = gpt_memory(config, B)
    assert counted["activations"] == pytest.approx(trace.peak, rel=0.02)
    assert counted["weights"] == sum(p.nbytes for p in model.parameters())
    assert counted["gradients"] == sum(p.grad.nbytes for p in model.parameters())
    optimizer = AdamW(model.parameters())
    optimizer.step()
    states = [v for s in optimizer.state.values() for v in s.values() if hasattr(v, "nbytes")]
    moments = sum(v.nbytes for v in states if v.numel() > 1)
    assert counted["optimizer"] == pytest.approx(moments, rel=0.01)
    assert counted["total"] == sum(v for k, v in counted.items() if k != "total")
    assert gpt_memory(config, B, moments=0)["optimizer"] == 0


@given(configs(), st.integers(1, 3), st.sampled_from([0.0, 0.1]))
def test_memory_in_all_is_the_sum_of_the_bill(config, B, drop_rate):
    config = dataclasses.replace(config, drop_rate=drop_rate)
    bill = memory_bill(config, B, config.context_length)
    mask = sum(item.total for item in bill.block if "mask of a block" in item.what)
    counted = gpt_memory(config, B)
    assert counted["activations"] == bill.held - config.n_layers * mask
    assert counted["weights"] + counted["gradients"] + counted["optimizer"] == sum(
        item.total for item in bill.state
    )


def small_gpt(**changes):
    shape = dict(vocab_size=13, context_length=8, emb_dim=16, n_heads=2, n_layers=1)
    return GPT(GPTConfig(**{**shape, "drop_rate": 0.1, **changes}))


def test_a_frozen_matrix_costs_less():
    model = small_gpt()
    whole = flops_per_token(model, 8)
    lora.add(model, rank=2, names=["qkv"])
    matrices = 12 * 16**2 + 13 * 16
    added = 2 * 16 + 2 * 48
    attention = 6 * 16 * 8
    assert whole == 6 * matrices + attention
    assert flops_per_token(model, 8) == 4 * matrices + 6 * added + attention


def test_utilization():
    model = small_gpt()
    assert flops_utilization(model, 100.0, 1e6, 8) == 100 * flops_per_token(model, 8) / 1e6
    assert flops_utilization(model, 1.0, 1e6) == flops_utilization(model, 1.0, 1e6, 8)
    with pytest.raises(ValueError, match="peak must be more than 0"):
        flops_utilization(model, 1.0, 0.0)
    assert peak_flops(64, 0.01) > 1e6


# --------------------------------------------------------------------------------- perplexity
def test_perplexity():
    assert perplexity(0.0) == 1.0 and perplexity(math.log(50257)) == pytest.approx(50257)
    assert perplexity(1e4) == math.inf
    with pytest.raises(ValueError, match="0 or more, got -1"):
        perplexity(-1)
    model = small_gpt()
    with torch.no_grad():
        for p in model.parameters():
            p.zero_()
    batch = torch.randint(0, 13, (2, 8)), torch.randint(0, 13, (2, 8))
    assert evaluate_perplexity(model, [batch]) == pytest.approx(13.0, rel=1e-5)
    assert math.isnan(evaluate_perplexity(model, []))


# ----------------------------------------------------------------------------- the rate finder
def finder(**options):
    random.manual_seed(1)
    model = small_gpt()
    optimizer = options.pop("optimizer", AdamW)(model.parameters(), lr=0.123)
    batches = options.pop("batches", None) or TokenBatches(TOKENS, 4, 8)
    return (
        model,
        optimizer,
        batches,
        lambda: find_learning_rate(model, optimizer, batches, **{"steps": 60, **options}),
    )


def test_the_finder_puts_everything_back():
    for train in (True, False):
        model, optimizer, batches, find = finder()
        model.train(train)
        before = [p.array.copy() for p in model.parameters()]
        state, place = random.get_rng_state(), batches.state_dict()
        result = find()
        assert all(
            np.array_equal(a, p.array) for a, p in zip(before, model.parameters(), strict=True)
        )
        assert np.array_equal(random.get_rng_state(), state) and batches.state_dict() == place
        assert optimizer.param_groups[0]["lr"] == 0.123 and not optimizer.state
        assert model.training == train
        again = find()
        assert again.losses == result.losses


def test_the_finder_finds_a_rate_that_trains():
    """Tokens that alternate are easy: the suggestion must be better than tiny and huge rates."""
    tokens = np.tile([3, 7, 1], 600)
    model, optimizer, _, find = finder(batches=TokenBatches(tokens, 4, 8), highest=10.0)
    result = find()
    assert result.diverged and 1e-4 < result.suggestion < 0.3, result
    assert result.rates[0] == 1e-6 and result.rates == sorted(result.rates)
    assert "learning rate" in str(result) and "ran away" in str(result)

    def train(lr):
        random.manual_seed(1)
        model = small_gpt()
        trainer = Trainer(
            model, AdamW(model.parameters(), lr=lr), TokenBatches(tokens, 4, 8), steps=25,
            progress=False,
        )  # fmt: skip
        return trainer.run(plan=False).loss

    good = train(result.suggestion)
    assert good < train(1e-5) and good < train(10.0)


def test_the_finders_picture(tmp_path):
    *_, find = finder()
    assert find().plot(tmp_path / "lr.png", "a title").read_bytes().startswith(b"\x89PNG")


def test_a_loss_that_never_falls_suggests_nothing():
    model = torch.nn.Linear(1, 1)
    loss = lambda model, batch: (model(batch).sum() * 0.0) + 1.0  # noqa: E731
    result = find_learning_rate(
        model, SGD(model.parameters(), lr=1.0), [torch.ones(2, 1)], steps=10, loss=loss,
        count=lambda batch: 2,
    )  # fmt: skip
    assert result.suggestion is None and "never fell" in str(result)


def test_a_search_that_meets_infinity_ends():
    model = torch.nn.Linear(1, 1)
    result = find_learning_rate(
        model, SGD(model.parameters(), lr=1.0), [torch.ones(2, 1) * 1e3], highest=1e30, steps=40,
        loss=lambda model, batch: (model(batch) ** 2).mean(), count=lambda batch: 2,
    )  # fmt: skip
    assert result.diverged and math.isfinite(result.losses[-1])


@pytest.mark.parametrize(
    "options, message",
    [
        ({"lowest": 0.0}, "expected 0 < lowest < highest"),
        ({"lowest": 1.0, "highest": 0.1}, "expected 0 < lowest < highest"),
        ({"steps": 3}, "steps must be at least 10, got 3"),
        ({"smoothing": 1.0}, "smoothing must be"),
    ],
)
def test_wrong_searches(options, message):
    with pytest.raises(ValueError, match=message):
        finder(**options)[-1]()


def test_the_trainers_own_search():
    random.manual_seed(1)
    model = small_gpt()
    trainer = Trainer(
        model, AdamW(model.parameters()), TokenBatches(TOKENS, 4, 8), steps=5, progress=False
    )
    result = trainer.find_learning_rate(steps=12)
    assert len(result.rates) <= 12
    first = trainer.run(plan=False)
    random.manual_seed(1)
    model = small_gpt()
    other = Trainer(
        model, AdamW(model.parameters()), TokenBatches(TOKENS, 4, 8), steps=5, progress=False
    )
    assert other.run(plan=False).loss == first.loss


# ---------------------------------------------------------------------------------- schedules
def test_schedule_rates(tmp_path):
    rates = schedule_rates(lambda o: WarmupCosineLR(o, 4, 20, 0.01), 0.1, 25)
    assert rates[0] == pytest.approx(0.02) and max(rates) == rates[4] == 0.1
    assert rates[20:] == pytest.approx([0.01] * 5)
    cosine = schedule_rates(lambda o: CosineAnnealingLR(o, 20), 0.1, 25)
    assert cosine[0] == 0.1 and cosine[20] == pytest.approx(0.0, abs=1e-9)
    for drawn in (rates, {"warm-up": rates, "cosine": cosine}, []):
        path = plot_schedule(drawn, tmp_path / "schedule.png", "schedules")
        assert path.read_bytes().startswith(b"\x89PNG")
        path.unlink()


def test_loss_plots_with_epochs_and_accuracies(tmp_path):
    lines = [{"step": 0, "tokens": 0, "val_loss": 2.0, "val_accuracy": 0.5, "train_accuracy": 0.5}]
    lines += [{"step": i, "tokens": 16 * i, "loss": 2.0 / i, "lr": 0.1} for i in range(1, 90)]
    lines += [{"step": 89, "tokens": 1424, "val_loss": 0.1, "val_accuracy": 0.9, "val_margin": 2.0}]
    path = plot_losses(lines, tmp_path / "x.png", "title", unit="text", steps_per_epoch=30.5)
    assert path.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("second", [None, "STIXGeneral"])
def test_letters_that_the_font_lacks(tmp_path, monkeypatch, second):
    from matplotlib.text import Text

    monkeypatch.setattr(plot_fonts, "EAST_ASIAN", ("No Such Font", *([second] if second else [])))
    figure = new_figure()
    axes = figure.subplots()
    axes.set_xticks([0, 1], ["猫", "cat"])
    axes.set_title("plain")
    save_figure(figure, tmp_path / "x.png")
    labels = {text.get_text(): text.get_fontfamily() for text in figure.findobj(Text)}
    assert (second in labels["猫"]) == (second is not None)
    assert labels["plain"] == labels["cat"] and second not in labels["plain"]
    assert any("no installed font has these letters" in text for text in labels) == (second is None)
    figure = new_figure()  # nothing is lacking: no line
    figure.subplots().set_title("plain")
    save_figure(figure, tmp_path / "y.png")
    assert not any("installed" in text.get_text() for text in figure.findobj(Text))


# ------------------------------------------------------------------------- batches of examples
@given(st.integers(1, 70), st.integers(1, 9), st.booleans(), st.integers(0, 5))
def test_every_example_once_an_epoch(n, batch_size, by_length, seed):
    lengths = [(7 * i) % 11 + 1 for i in range(n)] if by_length else None
    batches = ExampleBatches(range(n), batch_size, list, seed=seed, lengths=lengths)
    stream = iter(batches)
    epochs = []
    for _ in range(2):
        epoch = [next(stream) for _ in range(len(batches))]
        assert sorted(sum(epoch, [])) == list(range(n))
        assert all(len(b) <= batch_size for b in epoch)
        epochs.append(epoch)
    if n > 20:
        assert epochs[0] != epochs[1]
    half = batches.state_dict()
    following = [next(stream) for _ in range(3)]
    other = ExampleBatches(range(n), batch_size, list, seed=99, lengths=lengths)
    other.load_state_dict(half)
    again = iter(other)
    assert [next(again) for _ in range(3)] == following


def test_examples_of_one_batch_have_about_one_length():
    lengths = np.random.RandomState(0).randint(1, 100, 640).tolist()
    spread = {}
    for given_lengths in (None, lengths):
        batches = ExampleBatches(lengths, 8, list, lengths=given_lengths)
        stream = iter(batches)
        result = [next(stream) for _ in range(len(batches))]
        spread[given_lengths is None] = np.mean([max(b) - min(b) for b in result])
    assert spread[False] < spread[True] / 5


def test_wrong_example_batches():
    with pytest.raises(ValueError, match="has no examples"):
        ExampleBatches([], 2, list)
    with pytest.raises(ValueError, match="3 lengths for 2 examples"):
        ExampleBatches([1, 2], 2, list, lengths=[1, 2, 3])
    batches = ExampleBatches([1, 2], 2, list)
    with pytest.raises(ValueError, match="examples=3 and are now examples=2"):
        batches.load_state_dict({"examples": 3, "batch_size": 2, "seed": 0, "position": 0})
