"""pretrain's --optimizer and --schedule: what they make and refuse, and runs that are resumed."""

from __future__ import annotations

import json

import numpy as np
import pytest

import tinygrad_llm as tg
from tinygrad_llm import optim
from tinygrad_llm.data.batches import EvaluationBatches, TokenBatches
from tinygrad_llm.models import GPT, GPTConfig
from tinygrad_llm.optim.lr_scheduler import WarmupCosineLR, WarmupStableDecayLR
from tinygrad_llm.training import Trainer
from tinygrad_llm.training.options import OPTIMIZERS, OptionError
from tinygrad_llm.training.presets import resolve
from tinygrad_llm.training.pretraining import Pretraining
from tinygrad_llm.training.runs import make_schedule
from tinygrad_llm.training.weight_decay import make_optimizer

IDS = np.random.default_rng(0).integers(0, 20, 300)
CONFIG = dict(vocab_size=20, context_length=8, emb_dim=8, n_heads=2, n_layers=2, drop_rate=0.1)
KINDS = {
    "adamw": optim.AdamW,
    "muon": optim.MuonWithAdamW,
    "lion": optim.Lion,
    "adafactor": optim.Adafactor,
    "schedule-free": optim.AdamWScheduleFree,
}


def trainer(kind, steps, folder):
    tg.manual_seed(1)
    model = GPT(GPTConfig(**CONFIG))
    optimizer = make_optimizer(kind, model, "none", lr=0.01, betas=(0.9, 0.99), weight_decay=0.1)
    return Trainer(
        model, optimizer, TokenBatches(IDS, 2, 8, seed=3), steps=steps, folder=folder,
        scheduler=WarmupStableDecayLR(optimizer, 2, 9, 4), progress=False, eval_every=2,
        validation=EvaluationBatches(IDS[:60], 2, 8), checkpoint_every=3,
    )  # fmt: skip


@pytest.mark.parametrize("kind", OPTIMIZERS)
@pytest.mark.suite_cases(1)
def test_a_resumed_run_is_equal_to_the_last_bit(kind, tmp_path):
    straight = trainer(kind, 9, tmp_path / "straight")
    result = straight.run(plan=False)
    trainer(kind, 5, tmp_path / "halves").run(plan=False)
    second = trainer(kind, 9, tmp_path / "halves")
    assert second.run(resume=True, plan=True).val_loss == result.val_loss
    for p, q in zip(straight.model.parameters(), second.model.parameters(), strict=True):
        np.testing.assert_array_equal(p.array, q.array)
    assert type(straight.optimizer) is KINDS[kind]


def test_checkpoints_of_schedule_free_hold_the_average(tmp_path):
    run = trainer("schedule-free", 6, tmp_path)
    run.run(plan=False)
    p = next(iter(run.model.parameters()))
    average = p.array.copy()
    run.optimizer.train()
    assert (p.array != average).any()
    fresh = trainer("schedule-free", 6, tmp_path)
    fresh.run(resume=True)
    np.testing.assert_array_equal(next(iter(fresh.model.parameters())).array, average)


def test_muon_takes_the_matrices_of_hidden_layers():
    model = GPT(GPTConfig(**CONFIG, tie_weights=False))
    made = make_optimizer("muon", model, "none", lr=0.01, betas=(0.9, 0.99), weight_decay=0.1)
    groups = {g["use_muon"]: g for g in made.param_groups if g["weight_decay"]}
    muon = {id(p) for p in groups[True]["params"]}
    names = {name for name, p in model.named_parameters() if id(p) in muon}
    matrices = {name for name, p in model.named_parameters() if p.ndim == 2}
    assert len(matrices - names) == 3  # two embeddings and the output layer
    assert all("emb" in name or "head" in name for name in matrices - names)
    assert sum(len(g["params"]) for g in made.param_groups) == len(list(model.parameters()))
    with pytest.raises(ValueError, match="there is no optimizer x"):
        make_optimizer("x", model, "none", lr=0.01, betas=(0.9, 0.99), weight_decay=0.1)


def test_the_schedule_of_the_options():
    p = [tg.nn.Parameter(tg.ones(1))]

    def made(**given):
        return make_schedule(optim.SGD(p, lr=0.1), resolve({"steps": 100, "lr": 0.1, **given}, {}))

    assert isinstance(made(), WarmupCosineLR)
    wsd = made(schedule="wsd", decay=0.3, min_lr=0.02)
    assert (wsd.warmup_steps, wsd.decay_steps, wsd.min_lr) == (10, 30, 0.02)
    assert made(schedule="constant").decay_steps == 0
    assert made(optimizer="schedule-free").decay_steps == 0


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"optimizer": "sgd"}, "adamw, muon, lion, adafactor, schedule-free"),
        ({"schedule": "line"}, "cosine, wsd, constant"),
        ({"decay": 1.0}, "less than 1"),
        ({"optimizer": "schedule-free", "shard": "zero1"}, "leave it out"),
        ({"optimizer": "muon", "shard": "fsdp"}, "needs them whole"),
        ({"optimizer": "adafactor", "shard": "zero2"}, "needs them whole"),
        ({"optimizer": "schedule-free", "schedule": "wsd"}, "takes the place"),
        ({"optimizer": "schedule-free", "beta1": 0.0}, "above 0"),
    ],
)
def test_what_is_refused(given, message):
    with pytest.raises(OptionError, match=message):
        resolve(given, {})


def test_pretrain_with_muon_and_wsd(tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("the quick brown fox jumps over the lazy dog. " * 40)
    given = dict(
        corpus=str(text), preset="tiny", tokenizer="char", optimizer="muon", schedule="wsd",
        steps=10, context_length=16, emb_dim=16, n_heads=2, sample_tokens=5, batch_size=4,
    )  # fmt: skip
    run = Pretraining(resolve({**given, "folder": tmp_path / "run"}, {}), progress=False)
    result = run.run()
    assert isinstance(run.optimizer, optim.MuonWithAdamW) and result.step == 10
    assert isinstance(run.trainer.scheduler, WarmupStableDecayLR)
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    rates = [json.loads(line)["lr"] for line in lines if "lr" in json.loads(line)]
    assert rates[-1] < rates[2] == 3e-3
