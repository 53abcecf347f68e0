"""The memory of a step of pretraining: estimated from the options, and measured on real steps."""

import dataclasses
import tracemalloc

import numpy as np
import pytest

import tinygrad_llm as torch
from tinygrad_llm.arrays import parallel
from tinygrad_llm.arrays.twins import without_loops
from tinygrad_llm.backends import loops
from tinygrad_llm.cli import main
from tinygrad_llm.models import registry
from tinygrad_llm.training import memory_needed
from tinygrad_llm.training.memory_needed import check_batch, kept_per_token
from tinygrad_llm.training.options import OptionError
from tinygrad_llm.training.presets import PretrainOptions, model_config, resolve

SMALL = dict(emb_dim=128, n_heads=4, context_length=128, n_layers=4, batch_size=8, drop_rate=0.0)
FAMILIES = sorted({**registry.trainable(), **registry.masked()})
SWITCHES = [
    {"attention": "gqa"}, {"attention": "mla"}, {"attention": "swa"}, {"attention": "deltanet"},
    {"feed_forward": "relu2"}, {"feed_forward": "swiglu"}, {"feed_forward": "moe"},
    {"positions": "rotary"}, {"qk_norm": True},
    {"value_embeddings": True}, {"gradient_checkpointing": True, "batch_size": 32}, {"n_layers": 1},
    {"drop_rate": 0.1}, {"drop_rate": 0.1, "context_length": 256}, {"batch_size": 16},
    {"emb_dim": 256, "n_heads": 8},
]  # fmt: skip


def measured(o):
    """The most bytes that forward and backward of a batch take beyond the model's own."""
    model = registry.build_from(model_config(o, o.vocab_size))
    model.train()
    if o.gradient_checkpointing:
        model.gradient_checkpointing_enable()
    ids = np.random.default_rng(0).integers(5, 500, (2, o.batch_size, o.context_length))

    def step():
        model.loss(torch.tensor(ids[0]), torch.tensor(ids[1])).backward()
        model.zero_grad()

    step()  # what is made once
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        step()
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


def ratio(compiled, **options):
    o = PretrainOptions(**{**SMALL, **options})
    tokens = o.batch_size * o.context_length
    return tokens * kept_per_token(o, o.gradient_checkpointing, compiled) / measured(o)


@pytest.mark.parametrize("model", FAMILIES)
@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.suite_cases(6)
def test_the_estimate_of_each_family(model, compiled):
    if compiled and not loops.is_available():
        pytest.skip("needs Numba")
    if compiled:
        assert 0.9 < ratio(True, model=model) < 1.2
    else:
        with without_loops():
            assert 0.9 < ratio(False, model=model) < 1.2


@pytest.mark.parametrize("options", SWITCHES, ids=str)
@pytest.mark.suite_cases(4)
def test_the_estimate_of_the_switches_of_gpt(options):
    with without_loops():
        assert 0.85 < ratio(False, **options) < 1.25


@pytest.mark.parametrize("compiled", [True, False])
def test_a_batch_that_does_not_fit_is_refused_with_what_fits(compiled, monkeypatch):
    monkeypatch.setattr(memory_needed, "free_memory", lambda: 21 << 30)
    monkeypatch.setattr(memory_needed, "machine_memory", lambda: 23 << 30)
    monkeypatch.setattr(loops, "is_available", lambda: compiled)
    given = {"preset": "packages", "data": "shards"}
    with pytest.raises(OptionError) as error:
        check_batch(resolve(given, {}))
    message = str(error.value)
    assert "batch_size 64 windows of context_length 1,024" in message and "\n" not in message
    assert "21.0 GiB free of 23.0 GiB" in message
    assert "batch_size 32 and accumulation 2" in message and "gradient_checkpointing" in message
    smaller = resolve({**given, "batch_size": 32, "accumulation": 2}, {})
    assert smaller.batch_size * smaller.accumulation == 64
    check_batch(smaller)
    check_batch(resolve({**given, "gradient_checkpointing": True}, {}))


def test_what_does_not_fit_with_one_window_either(monkeypatch):
    monkeypatch.setattr(memory_needed, "free_memory", lambda: 1 << 30)
    options = PretrainOptions(context_length=1 << 16, batch_size=8)
    with pytest.raises(OptionError, match="take a shorter context_length, or fewer n_layers$"):
        check_batch(options)
    with pytest.raises(OptionError, match="take batch_size 7 and accumulation 10007 "):
        check_batch(dataclasses.replace(options, context_length=256, batch_size=7 * 10_007))


def test_a_batch_that_does_not_fit_allocates_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(memory_needed, "free_memory", lambda: 21 << 30)
    (tmp_path / "text.txt").write_text("a few words of text\n" * 2000)
    tracemalloc.start()
    try:
        with pytest.raises(SystemExit) as ended:
            main(["pretrain", "text.txt", "--tokenizer", "char", "--batch-size", "9000",
                  "--context-length", "512", "--plan"])  # fmt: skip
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    error = capsys.readouterr().err
    assert ended.value.code == 2 and error.count("\n") == 1
    assert "take --batch-size" in error and "--accumulation" in error
    assert peak < 32e6


def test_free_memory_is_at_most_the_machines_with_swap(monkeypatch):
    free, total = parallel.free_memory(), parallel.machine_memory()
    assert free is not None and 0 < free
    monkeypatch.setattr("builtins.open", lambda *a, **k: (_ for _ in ()).throw(OSError("no")))
    assert parallel.free_memory() == total
