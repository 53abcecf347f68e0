"""optim against PyTorch: 50 steps to 1e-6, state dicts in one format, schedules float by float."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

torch = pytest.importorskip("torch")
torch.set_num_threads(1)

import tinygrad_llm as tg  # noqa: E402

seeds = st.integers(0, 2**32 - 1)
flag = st.booleans()
decay = st.sampled_from([0.0, 0.01, 0.5])
OPTIONS = {
    "SGD": st.one_of(
        st.fixed_dictionaries(
            {
                "momentum": st.sampled_from([0.0, 0.5, 0.9]),
                "dampening": st.sampled_from([0.0, 0.5]),
                "weight_decay": decay,
                "maximize": flag,
            }
        ),
        st.fixed_dictionaries(
            {"momentum": st.just(0.9), "nesterov": st.just(True), "weight_decay": decay}
        ),
    ),
    "Adam": st.fixed_dictionaries(
        {
            "betas": st.sampled_from([(0.9, 0.999), (0.5, 0.9), (0.0, 0.99), (0.9, 0.95)]),
            "eps": st.sampled_from([1e-8, 1e-3]),
            "weight_decay": decay,
            "amsgrad": flag,
            "maximize": flag,
        }
    ),
    "RMSprop": st.fixed_dictionaries(
        {
            "alpha": st.sampled_from([0.99, 0.5]),
            "weight_decay": decay,
            "momentum": st.sampled_from([0.0, 0.9]),
            "centered": flag,
            "maximize": flag,
        }
    ),
    "Adagrad": st.fixed_dictionaries(
        {
            "lr_decay": st.sampled_from([0.0, 0.1]),
            "weight_decay": decay,
            "initial_accumulator_value": st.sampled_from([0.0, 0.1]),
            "maximize": flag,
        }
    ),
}
OPTIONS["AdamW"] = OPTIONS["Adam"]


def steps(lib, name, options, seed, n=50, dtype=np.float32):
    """n steps on two parameters in two groups with gradients drawn from the seed."""
    rng = np.random.default_rng(seed)
    start = [rng.standard_normal(shape).astype(dtype) for shape in ((7, 5), (3,))]
    params = [lib.nn.Parameter(lib.from_numpy(a)) for a in start]
    groups = [{"params": params[:1]}, {"params": params[1:], "lr": 0.003, "weight_decay": 0.1}]
    optimizer = getattr(lib.optim, name)(groups, lr=0.01, **options)
    for _ in range(n):
        for p in params:
            p.grad = lib.from_numpy(rng.standard_normal(tuple(p.shape)).astype(dtype))
        optimizer.step()
    return params, optimizer


def agree(a, b, rtol=1e-6, atol=1e-6):
    assert tuple(a.shape) == tuple(b.shape) and str(a.dtype) == str(b.dtype)
    a, b = a.detach().numpy(), b.detach().numpy()
    np.testing.assert_allclose(a, b, rtol=rtol, atol=atol * max(1.0, np.abs(b).max()))


@pytest.mark.parametrize("name", OPTIONS)
@given(st.data(), seeds)
def test_fifty_steps(name, data, seed):
    options = data.draw(OPTIONS[name])
    (ours, mine), (theirs, yours) = (steps(lib, name, options, seed) for lib in (tg, torch))
    # √v where v, the variance of RMSprop, is nearly zero loses digits in both
    loose = 1e-4 if options.get("centered") else 1e-6
    for a, b in zip(ours, theirs, strict=True):
        agree(a, b, loose, loose)
    a, b = mine.state_dict(), yours.state_dict()
    assert list(a) == list(b)
    assert a["param_groups"] == b["param_groups"]
    assert list(a["state"]) == list(b["state"])
    for key in a["state"]:
        assert sorted(a["state"][key]) == sorted(b["state"][key])
        for entry in a["state"][key]:
            agree(a["state"][key][entry], b["state"][key][entry])
    assert repr(mine) == repr(yours)


@pytest.mark.parametrize("name", OPTIONS)
def test_in_float64_and_half(name):
    for dtype, tolerance in ((np.float64, 1e-12), (np.float16, 0.02)):
        (ours, _), (theirs, _) = (steps(lib, name, {}, 3, 20, dtype) for lib in (tg, torch))
        for a, b in zip(ours, theirs, strict=True):
            agree(a, b, tolerance, tolerance)


IN_HALF = [
    ("SGD", {"lr": 0.1}),
    ("SGD", {"lr": 0.1, "momentum": 0.9}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.1}),
    ("SGD", {"lr": 0.03, "momentum": 0.8, "dampening": 0.3, "maximize": True}),
    ("Adam", {"lr": 0.01}),
    ("Adam", {"lr": 0.01, "amsgrad": True, "weight_decay": 0.1}),
    ("Adam", {"lr": 1e-3, "betas": (0.8, 0.95), "maximize": True}),
    ("Adam", {"lr": 0.01, "betas": (0.4, 0.9)}),
    ("AdamW", {"lr": 0.01}),
    ("AdamW", {"lr": 0.01, "amsgrad": True, "weight_decay": 0.2}),
    ("Adagrad", {"lr": 0.1}),
    ("Adagrad", {"lr": 0.1, "lr_decay": 0.1, "weight_decay": 0.1}),
    ("Adagrad", {"lr": 0.1, "initial_accumulator_value": 0.5, "maximize": True}),
    ("RMSprop", {"lr": 0.01}),
    ("RMSprop", {"lr": 0.01, "momentum": 0.9}),
    ("RMSprop", {"lr": 0.01, "centered": True, "weight_decay": 0.1}),
    ("RMSprop", {"lr": 0.01, "centered": True, "momentum": 0.5, "maximize": True}),
]


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize(("name", "options"), IN_HALF, ids=lambda v: str(v))
def test_half_precision_is_equal_to_the_last_bit(name, options, dtype):
    """Ten steps: parameters, and the state. 2048 numbers: see tests/CLOSENESS.md about others."""
    results = []
    for lib in (tg, torch):
        rng = np.random.default_rng(5)
        to = getattr(lib, dtype)
        start = rng.standard_normal((32, 64)).astype("float32")
        p = lib.nn.Parameter(lib.from_numpy(start).to(to))
        optimizer = getattr(lib.optim, name)([p], **options)
        values = []
        for _ in range(10):
            g = rng.standard_normal((32, 64)) * 10.0 ** rng.integers(-4, 1)
            p.grad = lib.from_numpy(g.astype("float32")).to(to)
            optimizer.step()
            values.append(p.detach().float().numpy())
        state = optimizer.state[p]
        assert all(v.dtype in (to, lib.float32) for v in state.values() if v is not None)
        values += [state[k].float().numpy() for k in sorted(state) if state[k] is not None]
        results.append(values)
    for ours, theirs in zip(*results, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("name", OPTIONS)
def test_a_state_dict_of_pytorch_is_loaded(name):
    """PyTorch takes 10 steps, then both continue from its state for 10 more."""
    options = {"momentum": 0.9} if name in ("SGD", "RMSprop") else {}
    theirs, optimizer = steps(torch, name, options, 1, 10)
    state = optimizer.state_dict()
    converted = {
        "param_groups": state["param_groups"],
        "state": {
            key: {k: tg.from_numpy(np.array(v.numpy())) for k, v in entry.items()}
            for key, entry in state["state"].items()
        },
    }
    params = [tg.nn.Parameter(tg.from_numpy(p.detach().numpy().copy())) for p in theirs]
    ours = getattr(tg.optim, name)([{"params": params[:1]}, {"params": params[1:]}])
    ours.load_state_dict(converted)
    rng = np.random.default_rng(2)
    for _ in range(10):
        for p, q in zip(params, theirs, strict=True):
            g = rng.standard_normal(tuple(p.shape)).astype(np.float32)
            p.grad, q.grad = tg.from_numpy(g), torch.from_numpy(g.copy())
        ours.step()
        optimizer.step()
    for p, q in zip(params, theirs, strict=True):
        agree(p, q)


def test_defaults_are_pytorchs():
    for name in OPTIONS:
        ours, theirs = (
            getattr(lib.optim, name)([lib.nn.Parameter(lib.ones(1))]) for lib in (tg, torch)
        )
        assert ours.defaults == theirs.defaults
        assert repr(ours) == repr(theirs)


# ---------------------------------------------------------------------------------- schedules
small = st.integers(1, 9)
factor = st.sampled_from([0.1, 0.5, 0.9, 1.0])


def made(lib, kind, arguments, optimizer):
    schedules = lib.optim.lr_scheduler
    if kind == "SequentialLR":
        inner = [made(lib, k, a, optimizer) for k, a in arguments["parts"]]
        return schedules.SequentialLR(optimizer, inner, arguments["milestones"])
    if kind == "ChainedScheduler":
        return schedules.ChainedScheduler([made(lib, k, a, optimizer) for k, a in arguments])
    return getattr(schedules, kind)(optimizer, **arguments)


SIMPLE = {
    "LambdaLR": st.just({"lr_lambda": lambda s: 1 / (1 + s)}),
    "MultiplicativeLR": st.just({"lr_lambda": lambda s: 0.95}),
    "StepLR": st.fixed_dictionaries({"step_size": small, "gamma": factor}),
    "MultiStepLR": st.fixed_dictionaries(
        {"milestones": st.lists(st.integers(0, 20), min_size=1, max_size=4), "gamma": factor}
    ),
    "ConstantLR": st.fixed_dictionaries({"factor": factor, "total_iters": small}),
    "LinearLR": st.fixed_dictionaries(
        {"start_factor": factor, "end_factor": factor, "total_iters": small}
    ),
    "ExponentialLR": st.fixed_dictionaries({"gamma": factor}),
    "PolynomialLR": st.fixed_dictionaries(
        {"total_iters": small, "power": st.sampled_from([1.0, 2.0, 0.5])}
    ),
    "CosineAnnealingLR": st.fixed_dictionaries(
        {"T_max": small, "eta_min": st.sampled_from([0.0, 0.01])}
    ),
    "CosineAnnealingWarmRestarts": st.fixed_dictionaries(
        {"T_0": small, "T_mult": st.integers(1, 3), "eta_min": st.sampled_from([0.0, 0.01])}
    ),
}
one_cycle = st.fixed_dictionaries(
    {
        "max_lr": st.sampled_from([1.0, [0.5, 2.0]]),
        "total_steps": st.just(31),
        "pct_start": st.sampled_from([0.1, 0.3, 0.45]),
        "anneal_strategy": st.sampled_from(["cos", "linear"]),
        "cycle_momentum": flag,
        "div_factor": st.sampled_from([25.0, 4.0]),
        "three_phase": flag,
    }
)
simple = st.one_of(*[st.tuples(st.just(name), options) for name, options in SIMPLE.items()])


@st.composite
def schedule(draw):
    kind = draw(st.sampled_from(["simple", "simple", "sequential", "chained", "one cycle"]))
    if kind == "simple":
        return draw(simple)
    if kind == "one cycle":
        return "OneCycleLR", draw(one_cycle)
    parts = draw(st.lists(simple, min_size=1, max_size=3))
    if kind == "chained":
        return "ChainedScheduler", parts
    stones = draw(
        st.lists(st.integers(1, 20), min_size=len(parts) - 1, max_size=len(parts) - 1, unique=True)
    )
    return "SequentialLR", {"parts": parts, "milestones": sorted(stones)}


def course(lib, kind, arguments, n=30):
    optimizer = lib.optim.AdamW(
        [
            {"params": [lib.nn.Parameter(lib.ones(1))]},
            {"params": [lib.nn.Parameter(lib.ones(1))], "lr": 0.3},
        ],
        lr=1.0,
    )
    scheduler = made(lib, kind, arguments, optimizer)
    seen = []
    for _ in range(n):
        seen.append([(g["lr"], g["betas"]) for g in optimizer.param_groups])
        assert scheduler.get_last_lr() == [g["lr"] for g in optimizer.param_groups]
        optimizer.step()
        scheduler.step()
    return seen


@given(schedule())
def test_schedules_go_the_same_way(drawn):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ours, theirs = (course(lib, *drawn) for lib in (tg, torch))
    for step, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        for (lr, betas), (lr2, betas2) in zip(a, b, strict=True):
            assert lr == pytest.approx(lr2, rel=1e-9, abs=1e-15), (step, drawn)
            assert betas == pytest.approx(betas2, rel=1e-12)


@pytest.mark.parametrize("name", SIMPLE)
@given(st.data())
def test_simple_schedules_go_the_same_way(name, data):
    arguments = data.draw(SIMPLE[name])
    ours, theirs = (course(lib, name, arguments, 25) for lib in (tg, torch))
    if name == "CosineAnnealingWarmRestarts":
        np.testing.assert_allclose([s[0][0] for s in ours], [s[0][0] for s in theirs], rtol=1e-12)
    else:
        assert ours == theirs  # exactly the same floats


@given(
    st.lists(st.floats(-3, 3, width=32), min_size=1, max_size=40),
    st.fixed_dictionaries(
        {
            "mode": st.sampled_from(["min", "max"]),
            "factor": st.sampled_from([0.1, 0.5]),
            "patience": st.integers(0, 3),
            "threshold": st.sampled_from([1e-4, 0.5]),
            "threshold_mode": st.sampled_from(["rel", "abs"]),
            "cooldown": st.integers(0, 2),
            "min_lr": st.sampled_from([0.0, 0.2]),
        }
    ),
)
def test_plateau_goes_the_same_way(metrics, options):
    seen = []
    for lib in (tg, torch):
        optimizer = lib.optim.SGD([lib.nn.Parameter(lib.ones(1))], lr=1.0)
        scheduler = lib.optim.lr_scheduler.ReduceLROnPlateau(optimizer, **options)
        rates = []
        for metric in metrics:
            scheduler.step(metric)
            rates.append(optimizer.param_groups[0]["lr"])
        seen.append(rates)
    assert seen[0] == seen[1]


@pytest.mark.parametrize("name", sorted(set(SIMPLE) - {"MultiplicativeLR"}))
def test_a_step_to_an_epoch_uses_the_closed_form(name):
    arguments = {
        "LambdaLR": {"lr_lambda": lambda s: 0.9**s}, "StepLR": {"step_size": 3},
        "MultiStepLR": {"milestones": [2, 5]}, "ExponentialLR": {"gamma": 0.9},
        "CosineAnnealingLR": {"T_max": 9}, "CosineAnnealingWarmRestarts": {"T_0": 3, "T_mult": 2},
    }.get(name, {})  # fmt: skip
    rates = []
    for lib in (tg, torch):
        optimizer = lib.optim.SGD([lib.nn.Parameter(lib.ones(1))], lr=1.0)
        scheduler = getattr(lib.optim.lr_scheduler, name)(optimizer, **arguments)
        optimizer.step()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for epoch in (4, 7, 2):
                scheduler.step(epoch)
                rates.append(optimizer.param_groups[0]["lr"])
    np.testing.assert_allclose(rates[:3], rates[3:], rtol=1e-12)
