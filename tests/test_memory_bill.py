"""The closed form of a step's memory against what study.trace counts, array by array."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinygrad_llm as torch
from tinygrad_llm.models import GPT, GPTConfig
from tinygrad_llm.study.memory.bill import memory_bill
from tinygrad_llm.study.trace import trace

CONFIGS = {
    "char": (65, 384, 6, 6, 8),
    "mini": (50257, 256, 4, 8, 8),
    "gpt2": (50257, 768, 12, 12, 4),
}


def batch_of(config, batch, time):
    idx = torch.randint(0, config.vocab_size, (batch, time))
    return idx, torch.randint(0, config.vocab_size, (batch, time))


def counted(model, idx, targets):
    """(bytes that the ops save in forward, the largest number held), as a trace counts them."""
    with trace(model) as t:
        loss = model.loss(idx, targets)
        held = sum(op.new for op in t.ops)
        loss.backward()
    return held, t.peak


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 3), st.integers(2, 80), st.integers(1, 3), st.sampled_from([1, 2, 4]),
       st.integers(2, 40), st.sampled_from([0.0, 0.2]), st.booleans(), st.booleans())  # fmt: skip
def test_the_bill_is_what_the_ops_keep(B, T, layers, heads, vocab, drop, tied, bias):
    config = GPTConfig(vocab, 80, 8 * heads, heads, layers, drop, bias, tied)
    model = GPT(config)
    bill = memory_bill(config, B, T)
    held, peak = counted(model, *batch_of(config, B, T))
    assert held == bill.held
    assert bill.held <= peak <= 1.05 * bill.held + 4 * config.vocab_size * config.emb_dim
    assert bill.state[0].bytes == sum(p.nbytes for p in model.parameters())
    model.gradient_checkpointing_enable()
    less = memory_bill(config, B, T, checkpointing=True)
    inputs = sum(item.total for item in less.inputs)  # held by the calls, not saved by an op
    _, peak = counted(model, *batch_of(config, B, T))
    assert abs(peak - (less.peak - inputs)) <= 0.02 * peak + 4 * config.vocab_size * config.emb_dim


@pytest.mark.parametrize("name", CONFIGS)
def test_the_benchmarks_configurations(name):
    """Their bills, on the real shapes: weights and per-block terms scale as the formulas say."""
    vocab, c, heads, layers, batch = CONFIGS[name]
    config = GPTConfig(vocab, 256, c, heads, layers, drop_rate=0.0)
    plain, less = (memory_bill(config, batch, 256, c, loops=False) for c in (False, True))
    assert plain.state[2].bytes == 2 * plain.state[0].bytes
    assert less.peak < 0.5 * plain.peak
    n = batch * 256
    assert plain.one_block == 4 * (16 * n * c + 2 * n + n * heads + 64 * 64)
    text = str(plain)
    assert f"{plain.total:,}" in text and "N·C" in text
    assert memory_bill(config, batch, 256, loops=True).one_block == plain.one_block + 4 * 2 * n


@pytest.mark.parametrize("drop", [0.0, 0.2])
@pytest.mark.parametrize("shape", [(2, 72, 24, 2, 2), (1, 5, 8, 1, 1), (3, 33, 16, 4, 3)])
def test_the_bill_with_loops_and_without(shape, drop, numpy_or_loops):
    """A loop of layer norm keeps x, and two numbers of every row."""
    B, T, C, heads, layers = shape
    config = GPTConfig(29, 80, C, heads, layers, drop)
    bill, less = memory_bill(config, B, T), memory_bill(config, B, T, checkpointing=True)
    loops = numpy_or_loops == "loops"
    assert bill.loops == less.loops == loops
    assert any("x, μ and r" in item.what for item in bill.block) == loops
    model = GPT(config)
    held, _ = counted(model, *batch_of(config, B, T))
    assert held == bill.held
    model.gradient_checkpointing_enable()
    _, peak = counted(model, *batch_of(config, B, T))
    slack = 0.02 * peak + 4 * config.vocab_size * C
    assert abs(peak - less.peak + held_by_calls(less)) <= slack


def held_by_calls(bill):
    """Bytes of the blocks' inputs, which no op saves except a loop of layer norm."""
    return 0 if bill.loops else sum(item.total for item in bill.inputs)


@pytest.mark.slow
@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("name", CONFIGS)
def test_the_benchmarks_configurations_counted(name, checkpointing):
    vocab, c, heads, layers, batch = CONFIGS[name]
    config = GPTConfig(vocab, 256, c, heads, layers, drop_rate=0.0)
    model = GPT(config)
    model.gradient_checkpointing = checkpointing
    bill = memory_bill(config, batch, 256, checkpointing)
    held, peak = counted(model, *batch_of(config, batch, 256))
    if checkpointing:
        assert peak == bill.peak - held_by_calls(bill)
    else:
        assert held == peak == bill.held


def test_bad_arguments():
    config = GPTConfig(10, 8, 4, 1, 1)
    with pytest.raises(ValueError, match="exceeds the context length"):
        memory_bill(config, 1, 9)
    with pytest.raises(ValueError, match="at least 1"):
        memory_bill(config, 0, 4)
