"""Muon and Adafactor against PyTorch, Schedule-Free against its authors: steps, shapes, states."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

torch = pytest.importorskip("torch")
torch.set_num_threads(1)

import tinygrad_llm as tg  # noqa: E402

CASES = [
    ("Muon", {"lr": 0.02}),
    ("Muon", {"lr": 0.02, "nesterov": False, "weight_decay": 0.0}),
    ("Muon", {"lr": 0.02, "adjust_lr_fn": "match_rms_adamw", "momentum": 0.8}),
    ("Muon", {"lr": 0.02, "ns_steps": 3, "ns_coefficients": (3.0, -3.2, 1.2), "eps": 1e-3}),
    ("Adafactor", {}),
    ("Adafactor", {"lr": 0.5, "weight_decay": 0.1, "d": 2.0, "maximize": True}),
    ("Adafactor", {"eps": (1e-3, 1e-2), "beta2_decay": -0.5}),
]
MATRICES = [(7, 5), (5, 13), (1, 4), (33, 40)]
SHAPES = {"Muon": MATRICES, "Adafactor": [*MATRICES, (5,), (), (3, 4, 5)]}
# Newton-Schulz rounds to bfloat16: a float32 sum in another order moves a number to its neighbour
VALUES = {"Muon": {"float32": 2e-4, "float64": 2e-4, "bfloat16": 8e-3},
          "Adafactor": {"float32": 1e-5, "float64": 1e-12, "bfloat16": 1.6e-2}}  # fmt: skip
STATES = {"float32": 1e-5, "float64": 1e-12, "bfloat16": 8e-3}


def ten_steps(lib, name, options, shape, dtype):
    rng = np.random.default_rng(3)
    to = getattr(lib, dtype)
    p = lib.nn.Parameter(lib.from_numpy(np.asarray(rng.standard_normal(shape))).to(to))
    optimizer = getattr(lib.optim, name)([p], **options)
    for _ in range(10):
        p.grad = lib.from_numpy(np.asarray(rng.standard_normal(shape))).to(to)
        optimizer.step()
    return p, optimizer


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
@pytest.mark.parametrize(("name", "options"), CASES, ids=str)
def test_ten_steps(name, options, dtype):
    if dtype == "bfloat16" and options.get("nesterov") is False:
        pytest.skip("PyTorch normalizes its momentum buffer in place there")
    for shape in SHAPES[name]:
        (p, ours), (q, theirs) = (
            ten_steps(lib, name, options, shape, dtype) for lib in (tg, torch)
        )
        pairs = [(p, q, VALUES[name][dtype])]
        assert list(ours.state[p]) == list(theirs.state[q])
        for key, value in theirs.state[q].items():
            assert tuple(ours.state[p][key].shape) == tuple(value.shape)
            assert str(ours.state[p][key].dtype) == str(value.dtype)
            pairs.append((ours.state[p][key], value, STATES[dtype]))
        for a, b, close in pairs:
            a, b = a.detach().double().numpy(), b.detach().double().numpy()
            assert np.abs(a - b).max() <= close * np.abs(b).max(), (shape, close)
        assert repr(ours) == repr(theirs)


@pytest.mark.parametrize("shape", [(12, 12), (7, 20), (20, 7), (64, 64)])
def test_each_step_of_newton_schulz(shape):
    """PyTorch's function, after 1 to 6 steps: the same up to two roundings to bfloat16."""
    from torch.optim._muon import _zeropower_via_newtonschulz

    from tinygrad_llm.optim.muon import newton_schulz

    g = np.random.default_rng(5).standard_normal(shape).astype(np.float32)
    for n in range(1, 7):
        coefficients = (3.4445, -4.7750, 2.0315)
        theirs = _zeropower_via_newtonschulz(torch.from_numpy(g), coefficients, n, 1e-7)
        ours = newton_schulz(g, coefficients, n, 1e-7)
        assert np.abs(ours - theirs.float().numpy()).max() <= 2**-6 * np.abs(ours).max(), n


def test_defaults_are_pytorchs():
    for name in ("Muon", "Adafactor"):
        ours, theirs = (
            getattr(lib.optim, name)([lib.nn.Parameter(lib.ones(1, 1))]) for lib in (tg, torch)
        )
        assert ours.defaults == theirs.defaults


@pytest.mark.parametrize("name", ["Muon", "Adafactor"])
def test_a_state_dict_of_pytorch_is_loaded(name):
    q, theirs = ten_steps(torch, name, {"lr": 0.02}, (7, 5), "float32")
    state = theirs.state_dict()
    state["state"] = {
        key: {k: tg.from_numpy(np.array(v.numpy())) for k, v in entry.items()}
        for key, entry in state["state"].items()
    }
    p = tg.nn.Parameter(tg.from_numpy(q.detach().numpy().copy()))
    ours = getattr(tg.optim, name)([p])
    ours.load_state_dict(state)
    for seed in range(5):
        g = np.random.default_rng(seed).standard_normal((7, 5)).astype("float32")
        p.grad, q.grad = tg.from_numpy(g), torch.from_numpy(g.copy())
        ours.step()
        theirs.step()
    close = VALUES[name]["float32"] * q.abs().max().item()
    np.testing.assert_allclose(p.detach().numpy(), q.detach().numpy(), atol=close)


# --------------------------------------------------------------------------------- Schedule-Free
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("kind", ["SGDScheduleFree", "AdamWScheduleFree"])
def test_schedule_free_is_its_authors_package_s(kind, dtype):
    """Every option of schedulefree 1.4.1, modes in between and a rate that falls."""
    authors = pytest.importorskip("schedulefree")
    rng = np.random.default_rng(0)
    near = 1e-13 if dtype == np.float64 else 2e-6
    for decay, warmup, r, power, falls in itertools.product(
        (0.0, 0.1), (0, 4), (0.0, 1.5), (2.0, 0.0), (False, True)
    ):
        start, *gradients = (rng.standard_normal((3, 5)).astype(dtype) for _ in range(11))
        p = tg.nn.Parameter(tg.from_numpy(start.copy()))
        q = torch.nn.Parameter(torch.from_numpy(start.copy()))
        options = {"lr": 0.03, "weight_decay": decay, "warmup_steps": warmup, "r": r,
                   "weight_lr_power": power}  # fmt: skip
        ours = getattr(tg.optim, kind)([p], **options)
        theirs = getattr(authors, kind)([q], **options)
        theirs.train()
        for i, g in enumerate(gradients):
            if falls and i == 6:
                ours.param_groups[0]["lr"] = theirs.param_groups[0]["lr"] = 0.01
            p.grad, q.grad = tg.from_numpy(g.copy()), torch.from_numpy(g.copy())
            ours.step()
            theirs.step()
            np.testing.assert_allclose(p.array, q.detach().numpy(), rtol=near, atol=near)
            if i in (4, 9):
                ours.eval()
                theirs.eval()
                np.testing.assert_allclose(p.array, q.detach().numpy(), rtol=near, atol=near)
                ours.train()
                theirs.train()
