"""Optimizers against their formulas in float64, their state, and the schedules' closed forms."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_llm as tg
from tinygrad_llm import nn, optim
from tinygrad_llm.optim import lr_scheduler as schedules
from tinygrad_llm.optim.optimizer import BLOCK, SHARED


def sgd(p, gs, lr=0.1, momentum=0.0, dampening=0.0, weight_decay=0.0, nesterov=False):
    b = None
    for g in gs:
        g = g + weight_decay * p
        if momentum:
            b = g if b is None else momentum * b + (1 - dampening) * g
            g = g + momentum * b if nesterov else b
        p = p - lr * g
    return p


def adam(p, gs, lr=1e-2, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, decoupled=False,
         amsgrad=False):  # fmt: skip
    m = v = largest = np.zeros_like(p)
    for t, g in enumerate(gs, 1):
        if decoupled:
            p = p - lr * weight_decay * p
        else:
            g = g + weight_decay * p
        m = betas[0] * m + (1 - betas[0]) * g
        v = betas[1] * v + (1 - betas[1]) * g * g
        largest = np.maximum(largest, v)
        used = largest if amsgrad else v
        p = p - lr * (m / (1 - betas[0] ** t)) / (np.sqrt(used / (1 - betas[1] ** t)) + eps)
    return p


def rmsprop(p, gs, lr=0.01, alpha=0.99, eps=1e-8, weight_decay=0.0, momentum=0.0, centered=False):
    v = mean = b = np.zeros_like(p)
    for g in gs:
        g = g + weight_decay * p
        v = alpha * v + (1 - alpha) * g * g
        mean = alpha * mean + (1 - alpha) * g
        b = momentum * b + g / (np.sqrt(v - mean * mean if centered else v) + eps)
        p = p - lr * b
    return p


def adagrad(p, gs, lr=0.01, lr_decay=0.0, weight_decay=0.0, eps=1e-10):
    total = np.zeros_like(p)
    for t, g in enumerate(gs):
        g = g + weight_decay * p
        total = total + g * g
        p = p - lr / (1 + t * lr_decay) * g / (np.sqrt(total) + eps)
    return p


CASES = [
    (optim.SGD, sgd, dict(lr=0.1)),
    (optim.SGD, sgd, dict(lr=0.1, momentum=0.9, weight_decay=0.1)),
    (optim.SGD, sgd, dict(lr=0.1, momentum=0.9, dampening=0.5)),
    (optim.SGD, sgd, dict(lr=0.1, momentum=0.9, nesterov=True)),
    (optim.Adam, adam, dict(lr=1e-2)),
    (optim.Adam, adam, dict(lr=1e-2, betas=(0.5, 0.9), eps=1e-3, weight_decay=0.1)),
    (optim.Adam, adam, dict(lr=1e-2, amsgrad=True)),
    (optim.AdamW, adam, dict(lr=1e-2, weight_decay=0.1)),
    (optim.RMSprop, rmsprop, dict(lr=1e-2)),
    (optim.RMSprop, rmsprop, dict(lr=1e-2, momentum=0.5, centered=True, weight_decay=0.1)),
    (optim.Adagrad, adagrad, dict(lr=1e-2, lr_decay=0.1, weight_decay=0.1)),
]
ids = [f"{c.__name__}-{'-'.join(o)}" for c, _, o in CASES]


def run(kind, options, start, gradients, device="cpu"):
    p = nn.Parameter(tg.from_numpy(start.copy()).to(device))
    optimizer = kind([p], **options)
    for g in gradients:
        p.grad = tg.from_numpy(g).to(device)
        optimizer.step()
    return p.detach().cpu().array, optimizer


@pytest.mark.parametrize(("kind", "formula", "options"), CASES, ids=ids)
def test_formulas(kind, formula, options, device):
    rng = np.random.default_rng(0)
    for shape in ((), (1,), (3, 5), (0, 2)):
        start = np.asarray(rng.standard_normal(shape))
        gradients = [np.asarray(rng.standard_normal(shape)) for _ in range(20)]
        decoupled = {"decoupled": True} if kind is optim.AdamW else {}
        expected = formula(start, gradients, **options, **decoupled)
        got, _ = run(kind, options, start, gradients, device)
        np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-14)
        minus = [np.asarray(-g) for g in gradients]
        climbed, _ = run(kind, {**options, "maximize": True}, start, minus, device)
        np.testing.assert_allclose(climbed, expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(("kind", "formula", "options"), CASES, ids=ids)
def test_pieces_change_nothing(kind, formula, options, numpy_or_loops):
    """Large, transposed and half-precision parameters take other branches: the same numbers."""
    rng = np.random.default_rng(1)
    n = SHARED + 3 * BLOCK + 7
    start = rng.standard_normal(n).astype(np.float32)
    gradients = [rng.standard_normal(n).astype(np.float32) for _ in range(2)]
    keep = [g.copy() for g in gradients]
    whole, optimizer = run(kind, options, start, gradients)
    assert all((a == b).all() for a, b in zip(gradients, keep, strict=True))
    assert whole.dtype == np.float32
    tail = slice(n - 20, n)
    few, _ = run(kind, options, start[tail], [g[tail] for g in gradients])
    np.testing.assert_array_equal(whole[tail], few)
    for entry in optimizer.state_dict()["state"].values():
        assert all(v.dtype == tg.float32 for v in entry.values())

    table = rng.standard_normal((300, 400)).astype(np.float32)
    g = rng.standard_normal((300, 400)).astype(np.float32)
    straight, _ = run(kind, options, table, [g, g])
    p = nn.Parameter(tg.from_numpy(table.copy()))
    crooked = kind([p], **options)
    for _ in range(2):
        p.grad = tg.from_numpy(np.asfortranarray(g))
        crooked.step()
    np.testing.assert_array_equal(p.array, straight)

    # Away from 0: the square of a small gradient is 0 in float16, and so is Adam's eps.
    few = [np.copysign(np.abs(g[:50]) + 0.2, g[:50]).astype(np.float16) for g in gradients]
    half, optimizer = run(kind, options, start[:50].astype(np.float16), few)
    wide, _ = run(kind, options, start[:50], [g.astype(np.float32) for g in few])
    assert half.dtype == np.float16
    np.testing.assert_allclose(half, wide, atol=1e-2)


def test_parameters_without_gradient_stay():
    a, b = nn.Parameter(tg.ones(2)), nn.Parameter(tg.ones(2))
    optimizer = optim.AdamW([a, b], lr=0.1)
    a.grad = tg.ones(2)
    optimizer.step()
    assert b.tolist() == [1.0, 1.0] and a.tolist() != [1.0, 1.0]
    assert b not in optimizer.state
    optimizer.zero_grad(set_to_none=False)
    assert a.grad.tolist() == [0.0, 0.0] and b.grad is None
    optimizer.zero_grad()
    assert a.grad is None


def test_groups_have_their_own_hyperparameters():
    a, b, c = (nn.Parameter(tg.ones(1)) for _ in range(3))
    optimizer = optim.SGD([{"params": a}, {"params": [b], "lr": 0.5}], lr=0.1)
    optimizer.add_param_group({"params": c, "weight_decay": 1.0})
    for p in (a, b, c):
        p.grad = tg.ones(1)
    optimizer.step()
    np.testing.assert_allclose([a.item(), b.item(), c.item()], [0.9, 0.5, 0.8], rtol=1e-6)
    assert [g["lr"] for g in optimizer.param_groups] == [0.1, 0.5, 0.1]
    text = repr(optimizer)
    assert text.startswith("SGD (\nParameter Group 0\n    dampening: 0\n") and text.endswith(")")


def test_named_parameters():
    layer = nn.Linear(1, 1)
    optimizer = optim.AdamW(layer.named_parameters())
    assert optimizer.state_dict()["param_groups"][0]["param_names"] == ["weight", "bias"]
    with pytest.raises(ValueError, match="Some param names are missing"):
        optim.SGD([("a", nn.Parameter(tg.ones(1))), nn.Parameter(tg.ones(1))])
    with pytest.raises(ValueError, match="with/without names"):
        optimizer.add_param_group({"params": [nn.Parameter(tg.ones(1))]})


def test_closure():
    p = nn.Parameter(tg.tensor([3.0]))
    optimizer = optim.SGD([p], lr=0.5)

    def closure():
        optimizer.zero_grad()
        loss = (p * p).sum()
        loss.backward()
        return loss

    with tg.no_grad():
        assert optimizer.step(closure).item() == 9.0
    assert p.item() == 0.0


@pytest.mark.parametrize("kind", [optim.SGD, optim.Adam, optim.AdamW, optim.RMSprop, optim.Adagrad])
def test_bad_arguments(kind):
    p = nn.Parameter(tg.ones(1))
    with pytest.raises(TypeError, match="iterable of Tensors or dicts"):
        kind(p)
    with pytest.raises(ValueError, match="empty parameter list"):
        kind([])
    with pytest.raises(TypeError, match="can only optimize Tensors"):
        kind([3])
    with pytest.raises(ValueError, match="non-leaf"):
        kind([p * 2])
    with pytest.raises(ValueError, match="more than one parameter group"):
        kind([{"params": [p]}, {"params": [p]}])
    with pytest.raises(TypeError, match="ordered collections"):
        kind([{"params": {p}}])
    with pytest.raises(ValueError, match="Invalid learning rate: -1"):
        kind([p], lr=-1)
    with pytest.raises(ValueError, match="Invalid weight_decay value: -1"):
        kind([p], weight_decay=-1)
    with pytest.raises(TypeError, match="param_group must be a dict"):
        kind([p]).add_param_group([p])
    with pytest.warns(UserWarning, match="duplicates"):
        kind([p, p])


def test_bad_hyperparameters():
    p = [nn.Parameter(tg.ones(1))]
    with pytest.raises(ValueError, match="Nesterov"):
        optim.SGD(p, nesterov=True)
    with pytest.raises(ValueError, match="Invalid momentum"):
        optim.SGD(p, momentum=-1)
    with pytest.raises(ValueError, match="Invalid beta parameter at index 1: 1.0"):
        optim.AdamW(p, betas=(0.9, 1.0))
    with pytest.raises(ValueError, match="Invalid epsilon"):
        optim.Adam(p, eps=-1e-8)
    with pytest.raises(TypeError, match="neither update"):
        bare = optim.Optimizer(p, {})
        p[0].grad = tg.ones(1)
        bare.step()


@pytest.mark.parametrize(("kind", "formula", "options"), CASES, ids=ids)
def test_state_dict_goes_on_bit_for_bit(kind, formula, options):
    rng = np.random.default_rng(2)
    gradients = [rng.standard_normal((4, 3)).astype(np.float32) for _ in range(6)]
    start = rng.standard_normal((4, 3)).astype(np.float32)
    straight, _ = run(kind, options, start, gradients)
    half_way, optimizer = run(kind, options, start, gradients[:3])
    state = copy.deepcopy(optimizer.state_dict())

    p = nn.Parameter(tg.from_numpy(half_way.copy()))
    resumed = kind([p], lr=123.0)
    resumed.load_state_dict(state)
    assert resumed.param_groups[0]["lr"] == options["lr"]
    for g in gradients[3:]:
        p.grad = tg.from_numpy(g)
        resumed.step()
    np.testing.assert_array_equal(p.array, straight)
    now = resumed.state_dict()["state"]
    assert list(now) == list(state["state"])
    for key, old in state["state"].items():
        for name, tensor in old.items():  # what was loaded is a copy
            assert now[key][name].array is not tensor.array


def test_state_dict_format_and_its_errors():
    layer = nn.Linear(2, 1)
    optimizer = optim.AdamW(layer.parameters())
    assert optimizer.state_dict()["state"] == {}
    layer(tg.ones(1, 2)).sum().backward()
    optimizer.step()
    state = optimizer.state_dict()
    assert list(state) == ["state", "param_groups"]
    assert list(state["state"]) == [0, 1]
    assert list(state["state"][0]) == ["step", "exp_avg", "exp_avg_sq"]
    step = state["state"][0]["step"]
    assert step.shape == () and step.dtype == tg.float32 and step.item() == 1.0
    assert state["param_groups"][0]["params"] == [0, 1]

    before = copy.deepcopy(state)
    with pytest.raises(ValueError, match="different number of parameter groups"):
        optimizer.load_state_dict({**state, "param_groups": []})
    groups = [{**state["param_groups"][0], "params": [0]}]
    with pytest.raises(ValueError, match="group 0 has 1 parameters there and 2 here"):
        optimizer.load_state_dict({**state, "param_groups": groups})
    wrong = copy.deepcopy(state)
    wrong["state"][1]["exp_avg"] = tg.zeros(7)
    with pytest.raises(ValueError, match="exp_avg of parameter 1 has shape"):
        optimizer.load_state_dict(wrong)
    after = optimizer.state_dict()
    assert after["state"][1]["exp_avg"].tolist() == before["state"][1]["exp_avg"].tolist()

    doubled = nn.Linear(2, 1).double()
    other = optim.AdamW(doubled.parameters())
    other.load_state_dict(state)
    assert other.state[doubled.weight]["exp_avg"].dtype == tg.float64


def test_a_backward_through_weights_that_a_step_changed_is_an_error():
    layer = nn.Linear(2, 2)
    optimizer = optim.AdamW(layer.parameters())
    x = tg.ones(1, 2).requires_grad_()
    first = layer(x).sum()
    layer(x).sum().backward()
    optimizer.step()
    with pytest.raises(RuntimeError, match=r"AdamW.step\(\) changed it"):
        first.backward()


def test_every_optimizer_brings_a_loss_down():
    x = tg.from_numpy(np.random.default_rng(0).standard_normal((64, 3)).astype(np.float32))
    y = 2 * x[:, :1] - x[:, 1:2]
    for kind in (optim.SGD, optim.Adam, optim.AdamW, optim.RMSprop, optim.Adagrad):
        model = nn.Sequential(nn.Linear(3, 16), nn.Tanh(), nn.Linear(16, 1))
        optimizer = kind(model.parameters(), lr=0.05)
        losses = []
        for _ in range(60):
            optimizer.zero_grad()
            loss = nn.functional.mse_loss(model(x), y)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        assert losses[-1] < 0.5 * losses[0], kind


# ---------------------------------------------------------------------------------- schedules
def rates(make, steps, lr=1.0, kind=optim.SGD, **options):
    optimizer = kind([nn.Parameter(tg.ones(1))], lr=lr, **options)
    scheduler = make(optimizer)
    seen = []
    for _ in range(steps):
        seen.append(optimizer.param_groups[0]["lr"])
        assert scheduler.get_last_lr() == [seen[-1]]
        optimizer.step()
        scheduler.step()
    return seen


def close(got, expected):
    np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-12)


def test_factors():
    n = range(12)
    close(
        rates(lambda o: schedules.LambdaLR(o, lambda s: 1 / (1 + s)), 12), [1 / (1 + s) for s in n]
    )
    close(rates(lambda o: schedules.MultiplicativeLR(o, lambda s: 0.9), 12), [0.9**s for s in n])
    close(rates(lambda o: schedules.StepLR(o, 3, 0.5), 12), [0.5 ** (s // 3) for s in n])
    close(
        rates(lambda o: schedules.MultiStepLR(o, [2, 5, 5], 0.5), 12),
        [0.5 ** ((s >= 2) + 2 * (s >= 5)) for s in n],
    )
    close(rates(lambda o: schedules.ExponentialLR(o, 0.8), 12), [0.8**s for s in n])
    close(rates(lambda o: schedules.ConstantLR(o, 0.25, 4), 12), [0.25 if s < 4 else 1 for s in n])
    close(rates(lambda o: schedules.ConstantLR(o, 0.0, 4), 12), [0 if s < 4 else 1 for s in n])
    close(
        rates(lambda o: schedules.LinearLR(o, 0.1, 0.9, 8), 12),
        [0.1 + 0.8 * min(s, 8) / 8 for s in n],
    )
    close(
        rates(lambda o: schedules.PolynomialLR(o, 8, 2.0), 12),
        [(1 - min(s, 8) / 8) ** 2 for s in n],
    )


def test_cosines():
    close(
        rates(lambda o: schedules.CosineAnnealingLR(o, 5, 0.1), 17),
        [0.1 + 0.9 * (1 + math.cos(math.pi * s / 5)) / 2 for s in range(17)],
    )
    cosine = lambda part: 0.1 + 0.9 * (1 + math.cos(math.pi * part)) / 2  # noqa: E731
    close(
        rates(lambda o: schedules.CosineAnnealingWarmRestarts(o, 3, 2, 0.1), 12),
        [cosine(s / 3) for s in range(3)] + [cosine(s / 6) for s in range(6)]
        + [cosine(s / 12) for s in range(3)],
    )  # fmt: skip
    got = rates(lambda o: schedules.WarmupCosineLR(o, 4, 10, 0.1), 14)
    close(got[:5], [0.2, 0.4, 0.6, 0.8, 1.0])
    close(got[4:11], [cosine(s / 6) for s in range(7)])
    close(got[10:], [0.1] * 4)
    close(rates(lambda o: schedules.WarmupCosineLR(o, 0, 2), 3), [1.0, 0.5, 0.0])
    with pytest.raises(ValueError, match="less than total_steps"):
        rates(lambda o: schedules.WarmupCosineLR(o, 5, 5), 1)
    for bad in ({"T_0": 0}, {"T_0": 2, "T_mult": 0}):
        with pytest.raises(ValueError, match="T_"):
            rates(lambda o, bad=bad: schedules.CosineAnnealingWarmRestarts(o, **bad), 1)


@pytest.mark.parametrize("three_phase", [False, True])
@pytest.mark.parametrize("strategy", ["cos", "linear"])
def test_one_cycle(three_phase, strategy):
    def make(o):
        return schedules.OneCycleLR(
            o, 1.0, total_steps=21, pct_start=0.3, anneal_strategy=strategy, div_factor=10,
            final_div_factor=100, three_phase=three_phase,
        )  # fmt: skip

    got = rates(make, 21, kind=optim.SGD, momentum=0.5)
    assert got[0] == pytest.approx(0.1) and got[-1] == pytest.approx(0.001)
    top = int(np.argmax(got))
    assert 0 < top < 8 and got[: top + 1] == sorted(got[: top + 1])
    assert got[top:] == sorted(got[top:], reverse=True)
    optimizer = optim.AdamW([nn.Parameter(tg.ones(1))])
    scheduler = make(optimizer)
    assert optimizer.param_groups[0]["betas"][0] == pytest.approx(0.95)
    for _ in range(top):
        optimizer.step()
        scheduler.step()
    assert optimizer.param_groups[0]["betas"][0] < 0.9


def test_one_cycle_refuses():
    optimizer = optim.Adagrad([nn.Parameter(tg.ones(1))])
    one = lambda **k: schedules.OneCycleLR(optimizer, 0.1, **k)  # noqa: E731
    with pytest.raises(ValueError, match="either total_steps OR"):
        one()
    with pytest.raises(ValueError, match="positive integer epochs"):
        one(epochs=0, steps_per_epoch=1)
    with pytest.raises(ValueError, match="momentum or beta1"):
        one(total_steps=5)
    with pytest.raises(ValueError, match="pct_start"):
        one(total_steps=5, pct_start=1.5)
    with pytest.raises(ValueError, match="'cos' or 'linear'"):
        one(total_steps=5, anneal_strategy="square")
    scheduler = one(epochs=1, steps_per_epoch=2, cycle_momentum=False)
    for _ in range(2):
        optimizer.step()
        scheduler.step()
    with pytest.raises(ValueError, match="Tried to step 3 times"):
        scheduler.step()


def test_sequential_and_chained():
    def sequence(o):
        warm = schedules.LinearLR(o, 0.1, 1.0, 4)
        return schedules.SequentialLR(o, [warm, schedules.ExponentialLR(o, 0.9)], [4])

    close(
        rates(sequence, 9),
        [0.1 + 0.9 * s / 4 for s in range(4)] + [0.9**s for s in range(5)],
    )
    close(
        rates(
            lambda o: schedules.ChainedScheduler(
                [schedules.ConstantLR(o, 0.1, 2), schedules.ExponentialLR(o, 0.9)]
            ),
            5,
        ),
        [0.1, 0.09, 0.81, 0.9**3, 0.9**4],
    )
    optimizer = optim.SGD([nn.Parameter(tg.ones(1))])
    one = schedules.StepLR(optimizer, 2)
    with pytest.raises(ValueError, match="one more than"):
        schedules.SequentialLR(optimizer, [one], [1])
    with pytest.raises(ValueError, match="at least one"):
        schedules.SequentialLR(optimizer, [], [])
    with pytest.raises(ValueError, match="same optimizer"):
        other = optim.SGD([nn.Parameter(tg.ones(1))])
        schedules.SequentialLR(other, [one], [])
    with pytest.raises(ValueError, match="ReduceLROnPlateau"):
        schedules.ChainedScheduler([schedules.ReduceLROnPlateau(optimizer)])


def test_plateau():
    optimizer = optim.SGD([nn.Parameter(tg.ones(1))], lr=1.0)
    scheduler = schedules.ReduceLROnPlateau(
        optimizer, factor=0.5, patience=1, min_lr=0.2, cooldown=1
    )
    seen = []
    for metric in [3, 2, 2, 2, 2, 2, 2, 2, 2, 1, 1, 1]:
        scheduler.step(tg.tensor(float(metric)))
        seen.append(optimizer.param_groups[0]["lr"])
    assert seen == [1, 1, 1, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25, 0.25, 0.25, 0.2]
    up = schedules.ReduceLROnPlateau(optimizer, "max", threshold_mode="abs", patience=0)
    up.step(1.0)
    up.step(1.00005)  # not better by the threshold of 1e-4
    assert up.get_last_lr()[0] == pytest.approx(0.02)
    for bad in ({"factor": 1.0}, {"mode": "best"}, {"threshold_mode": "x"}):
        with pytest.raises(ValueError):
            schedules.ReduceLROnPlateau(optimizer, **bad)


MAKERS = {
    "lambda": lambda o: schedules.LambdaLR(o, lambda s: 0.9**s),
    "step": lambda o: schedules.StepLR(o, 3, 0.5),
    "cosine": lambda o: schedules.CosineAnnealingLR(o, 7),
    "restarts": lambda o: schedules.CosineAnnealingWarmRestarts(o, 3, 2),
    "warmup": lambda o: schedules.WarmupCosineLR(o, 3, 12),
    "stable": lambda o: schedules.WarmupStableDecayLR(o, 2, 10, 4),
    "one cycle": lambda o: schedules.OneCycleLR(o, 1.0, total_steps=12),
    "sequence": lambda o: schedules.SequentialLR(
        o, [schedules.LinearLR(o, total_iters=4), schedules.StepLR(o, 2)], [4]
    ),
    "chain": lambda o: schedules.ChainedScheduler(
        [schedules.ConstantLR(o), schedules.ExponentialLR(o, 0.9)]
    ),
}


@given(st.sampled_from(sorted(MAKERS)), st.integers(1, 9))
def test_schedules_go_on_from_their_state(name, stop):
    straight = rates(MAKERS[name], 10, kind=optim.AdamW)
    optimizer = optim.AdamW([nn.Parameter(tg.ones(1))], lr=1.0)
    scheduler = MAKERS[name](optimizer)
    for _ in range(stop):
        optimizer.step()
        scheduler.step()
    saved = copy.deepcopy((optimizer.state_dict(), scheduler.state_dict()))
    optimizer = optim.AdamW([nn.Parameter(tg.ones(1))], lr=1.0)
    scheduler = MAKERS[name](optimizer)
    scheduler.load_state_dict(saved[1])
    optimizer.load_state_dict(saved[0])
    got = []
    for _ in range(stop, 10):
        got.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert got == straight[stop:]


def test_schedules_warn_and_refuse():
    optimizer = optim.SGD([nn.Parameter(tg.ones(1))], lr=1.0)
    scheduler = schedules.StepLR(optimizer, 1)
    with pytest.warns(UserWarning, match="before `optimizer.step"):
        scheduler.step()
    for kind in (schedules.StepLR, schedules.ReduceLROnPlateau):
        with pytest.raises(TypeError, match="is not an Optimizer"):
            kind(3, 1)
    fresh = optim.SGD([nn.Parameter(tg.ones(1))], lr=1.0)
    with pytest.raises(KeyError, match="initial_lr"):
        schedules.StepLR(fresh, 1, last_epoch=3)
    with pytest.raises(ValueError, match="Expected 1 lr_lambdas, but got 2"):
        schedules.LambdaLR(fresh, [abs, abs])
    for bad in ({"start_factor": 0.0}, {"end_factor": 1.5}):
        with pytest.raises(ValueError, match="factor expected"):
            schedules.LinearLR(fresh, **bad)
    with pytest.raises(ValueError, match="between 0 and 1"):
        schedules.ConstantLR(fresh, 2.0)
    with pytest.raises(ValueError, match="same length"):
        schedules.OneCycleLR(fresh, [0.1, 0.2], total_steps=3, cycle_momentum=False)
    going_on = schedules.ExponentialLR(optimizer, 0.5, last_epoch=1)
    assert going_on.last_epoch == 2


def test_each_group_has_its_own_rate():
    a, b = nn.Parameter(tg.ones(1)), nn.Parameter(tg.ones(1))
    optimizer = optim.SGD([{"params": [a], "lr": 1.0}, {"params": [b], "lr": 0.1}])
    scheduler = schedules.WarmupCosineLR(optimizer, 1, 3)
    assert scheduler.get_last_lr() == [0.5, 0.05]
    optimizer.step()
    scheduler.step()
    assert scheduler.get_last_lr() == [1.0, 0.1]
    assert [g["lr"] for g in optimizer.param_groups] == [1.0, 0.1]


# States of older PyTorch versions: what each optimizer's groups and states may lack.
OLDER = {
    optim.AdamW: (
        "decoupled_weight_decay",
        "maximize",
        "amsgrad",
        "foreach",
        "capturable",
        "fused",
    ),
    optim.Adam: ("decoupled_weight_decay", "maximize", "amsgrad", "foreach", "differentiable"),
    optim.SGD: ("nesterov", "maximize", "foreach", "differentiable", "fused"),
    optim.RMSprop: ("momentum", "centered", "maximize", "foreach", "capturable"),
    optim.Adagrad: ("maximize", "foreach", "differentiable", "fused"),
}


@pytest.mark.parametrize("step_as", [float, int, None])
@pytest.mark.parametrize("kind", OLDER, ids=lambda kind: kind.__name__)
def test_states_of_older_versions(kind, step_as):
    """They continue as the state that lacks nothing does, for any options of the new optimizer."""

    def after(change):
        p = nn.Parameter(tg.tensor([1.0, 2.0]))
        first = kind([p], lr=0.1, weight_decay=0.5)
        for g in (1.0, -2.0):
            p.grad = tg.full((2,), g)
            first.step()
        state = copy.deepcopy(first.state_dict())
        if change:
            for name in OLDER[kind]:
                state["param_groups"][0].pop(name, None)
            for entry in state["state"].values():
                if step_as is not None and "step" in entry:
                    entry["step"] = step_as(entry["step"].item())
        q = nn.Parameter(p.detach().clone())
        second = kind([q], lr=0.7, maximize=True)
        second.load_state_dict(state)
        for g in (0.5, 0.25):
            q.grad = tg.full((2,), g)
            second.step()
        for entry in second.state_dict()["state"].values():
            assert "step" not in entry or entry["step"].dtype == tg.float32
        return q.tolist()

    assert after(change=True) == after(change=False)


def test_adamw_stays_adamw():
    p = nn.Parameter(tg.ones(2))
    p.grad = tg.ones(2)
    adam = optim.Adam([p], lr=0.1, weight_decay=0.5)
    adam.step()
    adamw = optim.AdamW([p], lr=0.1)
    adamw.load_state_dict(adam.state_dict())
    assert adamw.param_groups[0]["decoupled_weight_decay"] is True
