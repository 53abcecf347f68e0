"""An average of the weights, a batch ramp, the gradient noise scale, µP, and a GPT's switches."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

import tinygrad_llm as tg
from tinygrad_llm.cli import main
from tinygrad_llm.data.batches import EvaluationBatches, TokenBatches
from tinygrad_llm.models import GPT, GPTConfig, save_pretrained
from tinygrad_llm.models.described import describe_decoder
from tinygrad_llm.models.estimate_ranks import Mesh, estimate_ranks
from tinygrad_llm.models.optimizer_numbers import optimizer_numbers
from tinygrad_llm.models.stages import cut_into_stages
from tinygrad_llm.optim.lr_scheduler import WarmupCosineLR, WarmupStableDecayLR
from tinygrad_llm.training import Trainer, find_checkpoint
from tinygrad_llm.training.checkpoint import StorageError, save_checkpoint
from tinygrad_llm.training.memory_needed import state_bytes
from tinygrad_llm.training.noise import NoiseScale, two_unknowns
from tinygrad_llm.training.options import OPTIMIZERS, OptionError
from tinygrad_llm.training.presets import model_config, resolve
from tinygrad_llm.training.runs import check_disk, make_schedule
from tinygrad_llm.training.step import evaluate
from tinygrad_llm.training.weight_decay import make_optimizer

IDS = np.random.default_rng(0).integers(0, 20, 400)
CONFIG = dict(vocab_size=20, context_length=8, emb_dim=8, n_heads=2, n_layers=2, drop_rate=0.1)
IDEAS = dict(ema=0.8, accumulation=3, batch_ramp=0.5, noise_scale=True)


def trainer(steps, folder=None, validation=True, **more):
    tg.manual_seed(1)
    model = GPT(GPTConfig(**CONFIG))
    optimizer = tg.optim.AdamW(model.parameters(), lr=0.01)
    return Trainer(
        model, optimizer, TokenBatches(IDS, 2, 8, seed=3), steps=steps, folder=folder,
        scheduler=WarmupStableDecayLR(optimizer, 2, 9, 4), progress=False, eval_every=2,
        validation=EvaluationBatches(IDS[:60], 2, 8) if validation else None, checkpoint_every=3,
        **more,
    )  # fmt: skip


def weights(model):
    return [p.array.copy() for p in model.parameters()]


def same(a, b):
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


# ----------------------------------------------------------------------------- averaged weights
def test_the_average_is_measured_and_saved_and_training_goes_on_without_it(tmp_path, monkeypatch):
    monkeypatch.setattr("tinygrad_llm.training.reporting.Reporter.plot", lambda self: None)
    raw = []
    plain = trainer(9, validation=False)
    for _ in range(9):
        plain._train_step()
        raw.append(weights(plain.model))
    expected = raw[0]
    for new in raw[1:]:
        pairs = zip(expected, new, strict=True)
        expected = [tg.from_numpy(a).lerp(tg.from_numpy(b), 1 - 0.8).numpy() for a, b in pairs]
    run = trainer(9, tmp_path, ema=0.8)
    result = run.run(plan=False)
    for a, b in zip(weights(run.model), expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-8)
    assert result.val_loss == evaluate(run.model, run.validation)[0]
    assert same(weights(find_checkpoint(tmp_path).build_model()), weights(run.model))
    run.setup.at_gradients()
    assert same(weights(run.model), raw[-1])  # what is trained never saw the average


def test_a_resumed_run_is_equal_to_the_last_bit(tmp_path, monkeypatch):
    monkeypatch.setattr("tinygrad_llm.training.reporting.Reporter.plot", lambda self: None)
    straight = trainer(9, tmp_path / "straight", **IDEAS)
    result = straight.run(plan=False)
    first = trainer(9, tmp_path / "halves", **IDEAS)
    first.options.steps = 5  # stopped after 5 of 9: the ramp is that of 9
    first._set_ramp = lambda: setattr(first.setup, "ramp", straight.setup.ramp)
    first.run(plan=False)
    second = trainer(9, tmp_path / "halves", **IDEAS)
    assert second.run(resume=True, plan=True).val_loss == result.val_loss
    assert second.tokens == straight.tokens
    assert same(weights(straight.model), weights(second.model))
    for run in (straight, second):
        run.setup.at_gradients()
    assert same(weights(straight.model), weights(second.model))
    assert straight.setup.noise.state_dict() == second.setup.noise.state_dict()
    second.setup.noise.load_state_dict({"steps": 1, "signal": 0.5, "noise": 50.0})
    second.reporter.validate()
    last = (tmp_path / "halves" / "metrics.jsonl").read_text().splitlines()[-1]
    assert json.loads(last)["noise_scale"] == 100.0


def test_a_checkpoint_with_an_average_needs_the_option(tmp_path, monkeypatch):
    monkeypatch.setattr("tinygrad_llm.training.reporting.Reporter.plot", lambda self: None)
    trainer(4, tmp_path, ema=0.8).run(plan=False)
    for more, message in (({}, "had an average"), ({"ema": 0.9}, "its decay is 0.8, not 0.9")):
        with pytest.raises(StorageError, match=message):
            trainer(6, tmp_path, **more).run(resume=True)
    run = trainer(6, tmp_path, ema=0.8)
    state = find_checkpoint(tmp_path).state()["average"]
    state["weights"]["1"].array[0, 0] = np.nan
    with pytest.raises(ValueError, match="a weight is infinite or not a number"):
        run.setup.average.check(state)
    for wrong in (None, {}, {**state, "steps": -1}, {**state, "weights": {}}):
        with pytest.raises(ValueError, match="average"):
            run.setup.average.check(wrong)


def test_tied_weights_are_averaged_once():
    run = trainer(3, ema=0.5)
    assert run.model.out_head.weight is run.model.tok_emb.weight
    run.run()
    average = run.setup.average.average.module
    assert average.out_head.weight is average.tok_emb.weight
    assert run.model.out_head.weight is run.model.tok_emb.weight


# ----------------------------------------------------------------------------------- the batch ramp
def test_a_ramp_rises_from_one_batch_to_all():
    run = trainer(20, accumulation=4, batch_ramp=0.5)
    plan = run.plan()
    counts = [run.setup.batches_of(step) for step in range(1, 21)]
    assert counts == [1, 1, 1, 2, 2, 3, 3, 3, 4, 4] + [4] * 10
    assert plan.tokens == sum(counts) * 2 * 8
    assert run.run(plan=False).tokens == plan.tokens
    assert trainer(20, accumulation=4).setup.batches_of(1) == 4


# --------------------------------------------------------------------------- the noise of gradients
def test_the_noise_scale_of_known_gradients():
    """Gradients that are drawn from normal(G, σ²): |G|² = 4·0.5², tr(Σ) = 4·σ²."""
    rng = np.random.default_rng(0)
    g = 0.5 + 3.0 * rng.standard_normal((4000, 8, 4))  # steps, targets, numbers
    small, big = ((g[:, :n].mean(1) ** 2).sum(1).mean() for n in (2, 8))
    signal, noise = two_unknowns(small, big, 2, 8)
    assert abs(signal - 1.0) < 0.15 and abs(noise - 36.0) < 1.5


def test_the_noise_scale_sees_the_gradients_of_the_first_batch():
    run = trainer(5, accumulation=3, noise_scale=True, clip=0.01, validation=False)
    seen, noise = [], run.setup.noise
    noise.step = lambda norm, targets: seen.append((noise._first, norm, targets))
    batches = run.setup.take()
    run.model.eval()  # the same numbers again, without dropout
    run.setup.gradients(batches)
    run.model.zero_grad()
    run.model.loss(*batches[0]).backward()
    squared = sum((p.grad.numpy() ** 2).sum() for p in run.model.parameters())
    assert noise._first[1] == 16 and noise._first[0] == pytest.approx(squared, rel=1e-5)
    run._train_step()
    (_, norm, targets) = seen[0]
    assert targets == 48 and norm > 0.01  # before clipping


def test_a_noise_scale_that_says_nothing_is_none():
    scale = NoiseScale()
    assert scale.value is None
    scale._first = (1.0, 8)
    scale.step(2.0, 8)  # the step had one batch
    assert scale.steps == 0
    scale.step(float("nan"), 16)
    assert scale.steps == 0
    scale.step(0.1, 16)  # |G|² would be negative
    assert scale.steps == 1 and scale.value is None
    for wrong in ([], {"steps": 1}, {"steps": 1, "signal": float("nan"), "noise": 1.0}):
        with pytest.raises(ValueError, match="noise scale is"):
            scale.load_state_dict(wrong)


# --------------------------------------------------------------------------------------------- µP
def changes(width, mup, steps=4):
    """How much a few steps of AdamW change the last block's output and the logits."""
    base = 16 if mup else None
    tg.manual_seed(0)
    model = GPT(GPTConfig(20, 8, width, width // 8, 2, drop_rate=0.0, mup_base=base))
    made = make_optimizer("adamw", model, "none", lr=0.02, betas=(0.9, 0.99), weight_decay=0.0)
    x = tg.from_numpy(IDS[:160].reshape(20, 8))
    y = tg.from_numpy(IDS[1:161].reshape(20, 8))

    def outputs():
        with tg.no_grad():
            hidden = model.hidden_states(x)
            return hidden.numpy() * model.width_multiplier, model(x).numpy()

    before = outputs()
    for _ in range(steps):
        made.zero_grad()
        model.loss(x, y).backward()
        made.step()
    pairs = zip(outputs(), before, strict=True)
    return [float(np.sqrt(((a - b) ** 2).mean())) for a, b in pairs]


def test_coordinate_check():
    """From 32 to 128 channels: with µP a step changes the logits as much, without it more."""
    with_mup = np.array([changes(width, True) for width in (32, 128)])
    without = np.array([changes(width, False) for width in (32, 128)])
    assert (0.5 < with_mup[1] / with_mup[0]).all() and (with_mup[1] / with_mup[0] < 1.5).all()
    assert without[1, 1] / without[0, 1] > 1.8


def test_mup_groups_and_their_schedules():
    model = GPT(GPTConfig(**{**CONFIG, "emb_dim": 32, "n_heads": 8}, mup_base=8))
    assert model.width_multiplier == 4.0
    made = make_optimizer("adamw", model, "none", lr=0.2, betas=(0.9, 0.99), weight_decay=0.1)
    hidden = {id(p) for p in made.param_groups[-1]["params"]}
    names = {name for name, p in model.named_parameters() if id(p) in hidden}
    assert names == {n for n, p in model.named_parameters() if p.ndim == 2 and "emb" not in n}
    assert [(g["lr"], g["weight_decay"]) for g in made.param_groups] == [
        (0.2, 0.1), (0.2, 0.0), (0.05, 0.4)
    ]  # fmt: skip
    for schedule in ("cosine", "wsd"):
        given = {"lr": 0.2, "steps": 10, "schedule": schedule, "min_lr": 0.04}
        course = make_schedule(made, resolve(given, {}))
        for _ in range(10):
            made._opt_called = True
            course.step()
        np.testing.assert_allclose([g["lr"] for g in made.param_groups], [0.04, 0.04, 0.01])
    with pytest.raises(ValueError, match="mup_base needs adamw or lion, got muon"):
        make_optimizer("muon", model, "none", lr=0.2, betas=(0.9, 0.99), weight_decay=0.1)


def test_the_search_for_a_rate_keeps_the_groups_of_mup():
    tg.manual_seed(1)
    model = GPT(GPTConfig(**{**CONFIG, "emb_dim": 32, "n_heads": 8}, mup_base=8))
    made = make_optimizer("adamw", model, "none", lr=0.2, betas=(0.9, 0.99), weight_decay=0.1)
    run = Trainer(model, made, TokenBatches(IDS, 2, 8), steps=1, progress=False)
    seen, step = [], made.step
    made.step = lambda: (seen.append([g["lr"] for g in made.param_groups]), step())
    run.find_learning_rate(steps=10, highest=1e-3)
    assert len(seen) == 10 and all(a == b == 4 * c for a, b, c in seen)
    assert [g["lr"] for g in made.param_groups] == [0.2, 0.2, 0.05]


def test_mup_at_the_base_is_the_usual_model():
    tg.manual_seed(2)
    plain = GPT(GPTConfig(**CONFIG))
    tg.manual_seed(2)
    base = GPT(GPTConfig(**CONFIG, mup_base=8))
    assert same(weights(plain), weights(base))
    wide = GPT(GPTConfig(**{**CONFIG, "emb_dim": 512, "n_heads": 128}, mup_base=8))
    assert wide.trf_blocks[0].att.qkv.weight.array.std() == pytest.approx(0.02 / 8, rel=0.02)
    assert wide.tok_emb.weight.array.std() == pytest.approx(0.02, rel=0.02)


def test_a_list_of_lowest_rates():
    p = [{"params": [tg.nn.Parameter(tg.ones(1))], "lr": lr} for lr in (1.0, 0.5)]
    optimizer = tg.optim.SGD(p, lr=1.0)
    for course in (
        WarmupCosineLR(optimizer, 0, 2, [0.1, 0.2]),
        WarmupStableDecayLR(optimizer, 0, 2, 1, [0.1, 0.2]),
    ):
        optimizer._opt_called = True
        for _ in range(3):
            course.step()
        np.testing.assert_allclose(course.get_last_lr(), [0.1, 0.2])
    with pytest.raises(ValueError, match="min_lr must have the same length"):
        WarmupCosineLR(optimizer, 0, 2, [0.1]).step()


# --------------------------------------------------------------------- what an optimizer keeps
@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_numbers_that_an_optimizer_keeps(kind):
    """The closed form against the state after a step; a checkpoint's, with the average in place."""
    model = GPT(GPTConfig(**CONFIG, tie_weights=False))
    made = make_optimizer(kind, model, "none", lr=0.01, betas=(0.9, 0.99), weight_decay=0.1)
    model.loss(tg.from_numpy(IDS[:8][None]), tg.from_numpy(IDS[1:9][None])).backward()
    made.step()
    for saved in (False, True):
        if saved and hasattr(made, "eval"):
            made.eval()
        kept = sum(
            value.numel() for entry in made.state.values() for name, value in entry.items()
            if name not in type(made).scalars
        )  # fmt: skip
        assert kept == optimizer_numbers(model, kind, saved)
    with pytest.raises(ValueError, match="there is no optimizer sgd"):
        optimizer_numbers(model, "sgd")


def test_the_plan_of_ranks_counts_the_optimizer(capsys):
    config, sizes = GPTConfig(**CONFIG), {}
    P = GPT(config).n_parameters()
    for kind in OPTIMIZERS:
        for dtype, size in (("float32", 4), ("bfloat16", 4)):
            cost = estimate_ranks(config, Mesh(1), batch=1, dtype=dtype, optimizer=kind)[0]
            master = 4 * P if dtype == "bfloat16" else 0
            kept = optimizer_numbers(GPT(config), kind)
            assert cost.optimizer == pytest.approx(master + size * kept)
            sizes[kind] = kept
    assert sizes["lion"] == P < sizes["muon"] < sizes["adamw"] == 2 * P > sizes["adafactor"]
    with pytest.raises(SystemExit):
        main(["estimate", "gpt2", "--ranks", "1", "--optimizer", "lion", "--dtype", "float32"])
    rows = [line.split()[:4] for line in capsys.readouterr().out.splitlines()]
    assert ["DP", "0.50", "0.50", "0.50"] in rows
    with pytest.raises(SystemExit):
        main(["estimate", "gpt2", "--optimizer", "lion"])
    assert "--optimizer needs --ranks" in capsys.readouterr().err


def test_the_disk_and_the_memory_are_asked_for_as_much(tmp_path, monkeypatch):
    model = tg.nn.Linear(10, 10)
    disk = shutil.disk_usage(tmp_path)
    for kind, averaged, numbers in (("lion", False, 2), ("adamw", True, 4), ("adamw", False, 3)):
        free = 2 * numbers * 110 * 4
        monkeypatch.setattr(shutil, "disk_usage", lambda path, free=free: disk._replace(free=free))
        check_disk(tmp_path, 1, model, None, kind, averaged)
        monkeypatch.setattr(
            shutil, "disk_usage", lambda path, free=free: disk._replace(free=free - 1)
        )
        with pytest.raises(OptionError, match="2 checkpoints take"):
            check_disk(tmp_path, 1, model, None, kind, averaged)
    sizes = {kind: state_bytes(resolve({"optimizer": kind}, {})) for kind in OPTIMIZERS}
    assert sizes["adafactor"] < sizes["lion"] < sizes["muon"] < sizes["adamw"]
    assert state_bytes(resolve({"ema": 0.9}, {})) == sizes["adamw"] * 5 // 4


# ------------------------------------------------------------------------------- a GPT's switches
ALL = {
    "norm": "rms", "qk_norm": True, "positions": "rotary", "feed_forward": "relu2", "init": "zero",
    "value_embeddings": True, "logit_softcap": 2.0, "mup_base": 4,
}  # fmt: skip


def test_a_checkpoint_of_all_switches(tmp_path):
    model = GPT(GPTConfig(**CONFIG, **ALL)).eval()
    for p in model.parameters():
        p.array[...] += 0.1
    described = {"model": {"class": "GPT", "config": {**CONFIG, **ALL}}}
    save_checkpoint(tmp_path, 1, model, {}, described)
    other = find_checkpoint(tmp_path).build_model()
    assert other.config == model.config and same(weights(other), weights(model))
    x = tg.from_numpy(IDS[:16].reshape(2, 8))
    assert (other(x).array == model(x).array).all()
    with pytest.raises(ValueError, match="has no place in GPT-2's files"):
        save_pretrained(model, tmp_path / "gpt2")


def test_value_embeddings_with_gradient_checkpointing():
    x, y = (tg.from_numpy(IDS[i : i + 16].reshape(2, 8)) for i in (0, 1))
    gradients = []
    for on in (False, True):
        tg.manual_seed(0)
        model = GPT(GPTConfig(**CONFIG, value_embeddings=True))
        if on:
            model.gradient_checkpointing_enable()
        model.loss(x, y).backward()
        gradients.append([p.grad.numpy() for p in model.parameters()])
    assert same(*gradients)


def test_zero_and_normal_initialisation_differ_from_gpt2s_in_the_projections_alone():
    models = {}
    for init in ("gpt2", "zero", "normal"):
        tg.manual_seed(0)
        models[init] = dict(GPT(GPTConfig(**CONFIG, init=init)).named_parameters())
    for name, p in models["gpt2"].items():
        added = name.endswith(("out_proj.weight", "layers.2.weight"))
        assert (models["zero"][name].array == (0 if added else p.array)).all()
        expected = p.array * (2.0 if added else 1.0)  # √(2·n_layers)
        np.testing.assert_allclose(models["normal"][name].array, expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"norm": "batch"}, "norm must be layer, rms"),
        ({"init": "xavier"}, "init must be gpt2, normal, torch, zero"),
        ({"logit_softcap": 0.0}, "logit_softcap must be positive and finite"),
        ({"attention": "mla", "qk_norm": True}, "does not use qk_norm, got True"),
        ({"attention": "linear", "ratio": 1, "value_embeddings": True}, "does not use value_emb"),
        ({"feed_forward": "moe", "mup_base": 4}, "mup_base is for mha, gqa, mqa, swa without exp"),
        ({"init": "torch", "mup_base": 4}, "exclude each other"),
        ({"mup_base": 0}, "mup_base must be at least 1"),
    ],
)
def test_what_a_config_refuses(fields, message):
    with pytest.raises(ValueError, match=message):
        GPTConfig(**CONFIG, **fields)


def test_what_cannot_be_written_or_cut():
    values = GPT(GPTConfig(**CONFIG, value_embeddings=True))
    with pytest.raises(TypeError, match="value embeddings need the tokens in every block"):
        cut_into_stages(values, 2)
    for fields in ({"value_embeddings": True}, {"logit_softcap": 2.0}, {"mup_base": 4},
                   {"feed_forward": "relu2"}, {"qk_norm": True}):  # fmt: skip
        with pytest.raises(ValueError, match="cannot be written so"):
            describe_decoder(GPT(GPTConfig(**CONFIG, **fields)))
    described = describe_decoder(GPT(GPTConfig(**CONFIG, norm="rms", qk_norm=True)))
    assert described.settings["norm"] == "rms" and described.settings["qk_norm"]
    attention = values.trf_blocks[0].att
    with pytest.raises(ValueError, match="Attention needs values"):
        attention(tg.ones(1, 2, 8))
    with pytest.raises(ValueError, match="takes no values, only with value_gate"):
        GPT(GPTConfig(**CONFIG)).trf_blocks[0].att(tg.ones(1, 2, 8), values=tg.ones(1, 2, 8))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"ema": 1.0}, "`ema` must be more than 0 and less than 1"),
        ({"ema": 0.9, "optimizer": "schedule-free"}, "has an average of the weights already"),
        ({"ema": 0.9, "shard": "fsdp"}, "needs whole weights"),
        ({"ema": 0.9, "shard": "zero2"}, "needs whole weights on each rank, not `shard` zero2"),
        ({"noise_scale": True}, "needs several batches in a step"),
        ({"batch_ramp": 0.5}, "needs several batches in a step"),
        ({"noise_scale": True, "accumulation": 2, "shard": "zero2"}, "needs whole gradients"),
        ({"mup_base": 64, "optimizer": "muon"}, "has a rule for adamw and lion only"),
        ({"norm": "rms", "model": "llama"}, "is a choice of gpt only"),
        ({"init": "x"}, "init must be gpt2, normal"),
    ],
)
def test_what_options_refuse(given, message):
    with pytest.raises(OptionError) as caught:
        resolve({"graph": False, **given}, {})
    assert message in caught.value.message


def test_options_reach_the_config():
    given = {k: v for k, v in ALL.items() if k != "mup_base"}
    config = model_config(resolve({**given, "mup_base": 96}, {}), 50)
    assert {k: getattr(config, k) for k in given} == given and config.mup_base == 96
