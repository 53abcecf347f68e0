"""Muon, Adafactor, Lion and Schedule-Free against their papers' rules; saving, modes, errors."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest

import tinygrad_llm as tg
from tinygrad_llm import nn, optim
from tinygrad_llm.optim.lr_scheduler import WarmupStableDecayLR
from tinygrad_llm.optim.muon import newton_schulz


def run(kind, start, gradients, **options):
    """(parameter, optimizer) after a step along each gradient."""
    p = nn.Parameter(tg.from_numpy(start.copy()))
    optimizer = kind([p], **options)
    for g in gradients:
        p.grad = tg.from_numpy(g.copy())
        optimizer.step()
    return p, optimizer


def drawn(shape, n, seed=0, dtype=np.float64):
    rng = np.random.default_rng(seed)
    return [np.asarray(rng.standard_normal(shape).astype(dtype)) for _ in range(n + 1)]


# ------------------------------------------------------------------------------------------ Lion
def test_lion_by_hand():
    """lr 0.1, β 0.5 and 0.75, decay 0.5: each line computed on paper from algorithm 2."""
    p = nn.Parameter(tg.tensor([2.0, -1.0], dtype=tg.float64))
    optimizer = optim.Lion([p], lr=0.1, betas=(0.5, 0.75), weight_decay=0.5)
    p.grad = tg.tensor([1.0, -2.0], dtype=tg.float64)
    optimizer.step()  # u = sign(g) = (1, −1): p = (2 − 0.1·(1 + 1), −1 − 0.1·(−1 − 0.5))
    np.testing.assert_allclose(p.tolist(), [1.8, -0.85], rtol=1e-14)
    np.testing.assert_allclose(optimizer.state[p]["exp_avg"].tolist(), [0.25, -0.5], rtol=1e-14)
    p.grad = tg.tensor([-0.125, 0.75], dtype=tg.float64)
    optimizer.step()  # u = sign(0.0625, 0.125) = (1, 1)
    np.testing.assert_allclose(p.tolist(), [1.8 - 0.19, -0.85 - 0.0575], rtol=1e-14)
    np.testing.assert_allclose(optimizer.state[p]["exp_avg"].tolist(), [0.15625, -0.1875])
    p.grad = tg.tensor([-0.15625, -0.5], dtype=tg.float64)
    optimizer.step()  # u = sign(0, −0.34375) = (0, −1)
    expected = [1.61 * 0.95, -0.9075 * 0.95 + 0.1]
    np.testing.assert_allclose(p.tolist(), expected, rtol=1e-14)


# --------------------------------------------------------------------------------- Schedule-Free
def slow_schedule_free(start, gradients, lr, beta, decay, warmup, adam=None, r=0.0, power=2.0):
    """x and y of the authors' algorithm, each as a separate array; adam: (β₂, eps)."""
    z, x, v, total = start.copy(), start.copy(), np.zeros_like(start), 0.0
    for t, g in enumerate(gradients, 1):
        y = (1 - beta) * z + beta * x
        rate = lr * min(1.0, t / warmup if warmup else 1.0)
        if adam:
            v = adam[0] * v + (1 - adam[0]) * g * g
            g = g / (np.sqrt(v / (1 - adam[0] ** t)) + adam[1])
        z = z - rate * g - rate * decay * y
        weight = t**r * rate**power  # the rate never falls here, so it is the largest so far
        total += weight
        x = (1 - weight / total) * x + weight / total * z
    return x, (1 - beta) * z + beta * x


@pytest.mark.parametrize("warmup", [0, 4])
@pytest.mark.parametrize(
    ("decay", "r", "power"), [(0.0, 0.0, 2.0), (0.3, 0.0, 2.0), (0.3, 1.5, 1.0)]
)
def test_schedule_free_is_the_authors(warmup, decay, r, power):
    for shape in ((), (5,), (3, 4), (0, 2)):
        start, *gradients = drawn(shape, 9)
        for kind, options, adam in (
            (optim.SGDScheduleFree, {"lr": 0.3, "momentum": 0.8}, None),
            (optim.AdamWScheduleFree, {"lr": 0.03, "betas": (0.8, 0.9), "eps": 1e-3}, (0.9, 1e-3)),
        ):  # fmt: skip
            lr = options["lr"]
            x, y = slow_schedule_free(start, gradients, lr, 0.8, decay, warmup, adam, r, power)
            options |= {"weight_decay": decay, "warmup_steps": warmup}
            options |= {"r": r, "weight_lr_power": power}
            p, optimizer = run(kind, start, gradients, **options)
            np.testing.assert_allclose(p.detach().numpy(), y, rtol=1e-12, atol=1e-14)
            before = p.detach().numpy().copy()
            optimizer.eval()
            np.testing.assert_allclose(p.detach().numpy(), x, rtol=1e-12, atol=1e-14)
            optimizer.eval()  # a second call changes nothing
            np.testing.assert_allclose(p.detach().numpy(), x, rtol=1e-12, atol=1e-14)
            with pytest.raises(RuntimeError, match=r"optimizer.train\(\)"):
                optimizer.step()
            optimizer.train()
            np.testing.assert_array_equal(p.detach().numpy(), before)
            climbed, _ = run(
                kind, start, [np.asarray(-g) for g in gradients], maximize=True, **options
            )
            np.testing.assert_array_equal(climbed.detach().numpy(), before)


def test_schedule_free_of_a_constant_rate_averages_all_iterates():
    start, *gradients = drawn((3,), 6)
    z = start - 0.1 * np.cumsum(gradients, axis=0)
    p, optimizer = run(optim.SGDScheduleFree, start, gradients, lr=0.1)
    optimizer.eval()
    np.testing.assert_allclose(p.detach().numpy(), z.mean(0), rtol=1e-12)


def test_adamw_schedule_free_by_hand():
    """lr 0.5, β 0.5 and 0.75: the first step is lr·sign(g), the second computed on paper."""
    start = np.array([2.0, -1.0])
    options = {"lr": 0.5, "betas": (0.5, 0.75), "eps": 0.0}
    p, optimizer = run(optim.AdamWScheduleFree, start, [np.array([4.0, -8.0])], **options)
    np.testing.assert_allclose(p.tolist(), [1.5, -0.5], rtol=1e-14)  # x = z = y
    p.grad = tg.tensor([3.0, 1.0], dtype=tg.float64)
    optimizer.step()  # v = 0.75·(4, 16) + 0.25·(9, 1), over 1 − 0.75² = 0.4375
    u = np.array([3.0, 1.0]) / np.sqrt(np.array([5.25, 12.25]) / 0.4375)
    optimizer.eval()  # c = 1/2: the mean of both z
    np.testing.assert_allclose(p.tolist(), [1.5, -0.5] - 0.25 * u, rtol=1e-14)


@pytest.mark.parametrize("name", ["SGDScheduleFree", "AdamWScheduleFree"])
def test_schedule_free_takes_states_without_newer_entries(name):
    start, *gradients = drawn((3,), 4)
    p, old = run(getattr(optim, name), start, gradients[:2], lr=0.1)
    state = copy.deepcopy(old.state_dict())
    for group in state["param_groups"]:
        del group["r"], group["weight_lr_power"]
    for entry in state["state"].values():
        del entry["lr_max"]
    q = nn.Parameter(tg.from_numpy(p.array.copy()))
    resumed = getattr(optim, name)([q], lr=0.1)
    resumed.load_state_dict(state)
    for g in gradients[2:]:
        for each, optimizer in ((p, old), (q, resumed)):
            each.grad = tg.from_numpy(g.copy())
            optimizer.step()
    np.testing.assert_array_equal(p.array, q.array)


# ------------------------------------------------------------------------------------------ Muon
@pytest.mark.parametrize("shape", [(6, 6), (4, 9), (9, 4), (1, 5), (5, 1)])
def test_newton_schulz_brings_singular_values_near_1(shape):
    g = drawn(shape, 0)[0]
    x = newton_schulz(g)
    assert x.dtype == np.float32 and x.shape == shape
    assert (abs(np.linalg.svd(x)[1] - 1) < 0.4).all()
    u, s, v = np.linalg.svd(g, full_matrices=False)
    s = s / np.linalg.norm(s)
    for _ in range(5):  # the same polynomial on the singular values alone
        s = 3.4445 * s - 4.775 * s**3 + 2.0315 * s**5
    np.testing.assert_allclose(x, (u * s) @ v, atol=0.03)


# What σ ← 3.4445·σ − 4.7750·σ³ + 2.0315·σ⁵ makes of a singular value in 1 to 5 steps
STEPS_OF_JORDAN = {
    1.0: (0.7010, 1.1136, 0.7207, 1.0900, 0.6964),
    0.5: (1.1889, 0.8962, 0.8244, 0.9379, 0.7654),
    0.1: (0.3397, 0.9921, 0.7071, 1.1066, 0.7121),
    0.03: (0.1032, 0.3503, 1.0120, 0.6932, 1.1223),
    0.01: (0.0344, 0.1184, 0.4001, 1.0931, 0.6989),
}


@pytest.mark.parametrize("tall", [False, True])
@pytest.mark.parametrize("value", STEPS_OF_JORDAN)
def test_newton_schulz_moves_singular_values_step_by_step(value, tall):
    """Each step alone, on a matrix whose two singular values are known."""
    rng = np.random.default_rng(1)
    u, v = (np.linalg.qr(rng.standard_normal((n, 2)))[0] for n in (6, 9))
    other = np.sqrt(1.0 - value**2)  # the matrix has norm 1, and dividing by it changes nothing
    g = ((u * [value, other]) @ v.T).astype(np.float32)
    for n, expected in enumerate(STEPS_OF_JORDAN[value], 1):
        x = newton_schulz(g.T if tall else g, steps=n)
        x = x.T if tall else x
        assert abs(u[:, 0] @ x @ v[:, 0] - expected) < 0.02 * max(0.1, expected), n
        assert abs(u[:, 1] @ x @ v[:, 0]) < 0.02, n  # the vectors stay


def test_muon_with_adamw_is_each_of_them():
    start, *gradients = drawn((5, 3), 5, dtype=np.float32)
    options = {"lr": 0.02, "weight_decay": 0.1}
    alone, _ = run(optim.Muon, start, gradients, adjust_lr_fn="match_rms_adamw", **options)
    adamw, _ = run(optim.AdamW, start, gradients, **options)
    a, b = (nn.Parameter(tg.from_numpy(start.copy())) for _ in range(2))
    both = optim.MuonWithAdamW([{"params": [a], "use_muon": True}, {"params": [b]}], **options)
    for g in gradients:
        a.grad, b.grad = tg.from_numpy(g), tg.from_numpy(g)
        both.step()
    np.testing.assert_array_equal(a.array, alone.array)
    np.testing.assert_array_equal(b.array, adamw.array)
    assert set(both.state[a]) == {"momentum_buffer"}


# ------------------------------------------------------------------------- warm-up, stable, decay
def test_warmup_stable_decay():
    def rates(**options):
        optimizer = optim.SGD([nn.Parameter(tg.ones(1))], lr=2.0)
        schedule = WarmupStableDecayLR(optimizer, 3, 10, **options)
        seen = []
        for _ in range(12):
            seen.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            schedule.step()
        return seen

    rise, stable = [0.5, 1.0, 1.5], [2.0, 2.0, 2.0, 2.0]
    linear = rates(decay_steps=4, shape="linear", min_lr=0.4)
    assert linear == pytest.approx([*rise, *stable, 1.6, 1.2, 0.8, 0.4, 0.4])
    root = rates(decay_steps=4)
    falls = [2 * (1 - math.sqrt(u)) for u in (0.25, 0.5, 0.75, 1.0, 1.0)]
    assert root == pytest.approx([*rise, *stable, *falls])
    assert rates(decay_steps=0) == [*rise, *[2.0] * 9]
    for bad in ({"decay_steps": 8}, {"decay_steps": -1}, {"decay_steps": 2, "shape": "x"}):
        with pytest.raises(ValueError, match="must be"):
            rates(**bad)


# ----------------------------------------------------------------------------------- all of them
NEWER = {
    "Muon": {"lr": 0.02},
    "MuonWithAdamW": {"lr": 0.1, "use_muon": True},
    "Adafactor": {"lr": 0.05},
    "Lion": {"lr": 0.01},
    "SGDScheduleFree": {"lr": 0.5},
    "AdamWScheduleFree": {"lr": 0.02},
}


def made(name, params):
    options = dict(NEWER[name])
    group = {"params": params}
    if options.pop("use_muon", False):
        group["use_muon"] = True
    return getattr(optim, name)([group], **options)


@pytest.mark.parametrize("in_eval", [False, True])
@pytest.mark.parametrize("name", NEWER)
def test_state_dict_goes_on_bit_for_bit(name, in_eval):
    start, *gradients = drawn((4, 3), 6, dtype=np.float32)

    def steps(p, optimizer, some):
        for g in some:
            p.grad = tg.from_numpy(g.copy())
            optimizer.step()

    p = nn.Parameter(tg.from_numpy(start.copy()))
    optimizer = made(name, [p])
    steps(p, optimizer, gradients[:3])
    modes = in_eval and hasattr(optimizer, "eval")
    if modes:
        optimizer.eval()
    state, weights = copy.deepcopy(optimizer.state_dict()), p.array.copy()
    q = nn.Parameter(tg.from_numpy(weights))
    resumed = made(name, [q])
    resumed.load_state_dict(state)
    for each in (optimizer, resumed):
        if modes:
            each.train()
    steps(p, optimizer, gradients[3:])
    steps(q, resumed, gradients[3:])
    np.testing.assert_array_equal(p.array, q.array)
    entry = next(iter(state["state"].values()))
    wrong = next(k for k in entry if k not in optimizer.scalars)
    entry[wrong] = tg.zeros(7, 2)
    with pytest.raises(ValueError, match=f"{wrong} of parameter 0 has shape"):
        resumed.load_state_dict(state)


@pytest.mark.parametrize("name", NEWER)
def test_a_loss_falls(name):
    tg.manual_seed(0)
    x = tg.from_numpy(drawn((32, 3), 0, dtype=np.float32)[0])
    target = x @ tg.tensor([[1.0, -2.0], [0.5, 1.0], [2.0, 0.0]])
    layer = nn.Linear(3, 2, bias=False)
    optimizer = made(name, [layer.weight])
    losses = []
    for _ in range(80):
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(layer(x), target)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


BAD = [
    ("Muon", {"lr": -1}, "Learning rate should be >= 0"),
    ("Muon", {"momentum": -1}, "momentum should be >= 0"),
    ("Muon", {"adjust_lr_fn": "x"}, "function x is not supported"),
    ("MuonWithAdamW", {"adjust_lr_fn": "x"}, "function x is not supported"),
    ("Adafactor", {"d": 0.5}, "Clipping threshold d should be >= 1"),
    ("Adafactor", {"beta2_decay": 0.1}, "beta2_decay should be <= 0"),
    ("Adafactor", {"eps": (-1.0, 1e-3)}, "epsilon1 should be >= 0"),
    ("Lion", {"betas": (0.9, 1.0)}, "beta parameter at index 1: 1.0"),
    ("SGDScheduleFree", {"momentum": 0.0}, "Invalid momentum value: 0"),
    ("AdamWScheduleFree", {"betas": (0.0, 0.9)}, "index 0: 0"),
    ("AdamWScheduleFree", {"warmup_steps": -1}, "Invalid warmup_steps"),
    ("AdamWScheduleFree", {"r": -1}, "Invalid r value"),
    ("SGDScheduleFree", {"weight_lr_power": -1}, "Invalid weight_lr_power value"),
]


@pytest.mark.parametrize(("name", "options", "message"), BAD)
def test_bad_hyperparameters(name, options, message):
    with pytest.raises(ValueError, match=message):
        getattr(optim, name)([nn.Parameter(tg.ones(1, 1))], **options)


def test_muon_takes_matrices_only():
    p = nn.Parameter(tg.ones(3))
    with pytest.raises(ValueError, match="only supports 2D parameters"):
        optim.Muon([p])
    with pytest.raises(ValueError, match="only supports 2D parameters"):
        optim.MuonWithAdamW([{"params": [p], "use_muon": True}])
    for bad in ({"steps": 100}, {"coefficients": (1.0, 2.0)}):
        with pytest.raises(ValueError, match="less than 100|exactly 3 values"):
            newton_schulz(np.ones((2, 2)), **bad)


@pytest.mark.parametrize("name", NEWER)
def test_where_the_parameters_are(name, device):
    start, *gradients = drawn((5, 3), 3, dtype=np.float32)
    results = []
    for place in ("cpu", device):
        p = nn.Parameter(tg.from_numpy(start.copy()).to(place))
        optimizer = made(name, [p])
        for g in gradients:
            p.grad = tg.from_numpy(g.copy()).to(place)
            optimizer.step()
        results.append(p.detach().cpu().numpy())
    np.testing.assert_allclose(results[1], results[0], rtol=1e-4, atol=1e-4)
