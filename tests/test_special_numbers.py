"""Masks that select, integers that wrap, gradients that may be set, attention that hides: with
infinities and NaN, where arithmetic alone would let them through."""

from __future__ import annotations

import functools
import itertools
import math
import warnings

import numpy as np
import pytest

import tinygrad_llm as torch
import tinygrad_llm.nn.functional as F
from tinygrad_llm import nn
from tinygrad_llm.arrays import twins
from tinygrad_llm.arrays.masks import selected

inf, nan = math.inf, math.nan
X = [-3.0, -1.0, -0.5, 0.0, 0.25, 0.75, 2.0, 4.0]


# ---------------------------------------------------------------------------- masks select
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_selected(dtype):
    a = np.array([[inf, -inf, nan, -0.0], [1.5, -2.5, 65504.0, 6e-8]], dtype)
    for mask in (a == a, np.zeros(4, bool), np.array([[True], [False]]), np.ones((), bool)):
        got = selected(a, mask)
        assert got.dtype == a.dtype and got.base is None
        np.testing.assert_array_equal(got, np.where(mask, a, 0))
        assert not np.signbit(got[np.broadcast_to(~mask, a.shape)]).any()


def x_and_y():
    y = torch.tensor([1.0, -2.0, -0.5, 0.5, 0.0, 0.75, 3.0, 1.0])
    return torch.tensor(X, requires_grad=True), y


# Functions that take one of several values, and where x's is not the one.
SELECTIONS = {
    "relu": (lambda x, y: F.relu(x), lambda x, y: x <= 0),
    "relu6": (lambda x, y: F.relu6(x), lambda x, y: x <= 0),
    "hardtanh": (lambda x, y: F.hardtanh(x, -1.0, 1.0), lambda x, y: abs(x) >= 1),
    "hardsigmoid": (lambda x, y: F.hardsigmoid(x), lambda x, y: x <= -3),
    "hardswish": (lambda x, y: F.hardswish(x), lambda x, y: x <= -3),
    "clamp": (lambda x, y: x.clamp(-0.6, 1.0), lambda x, y: (x < -0.6) | (x > 1)),
    "clamp_": (lambda x, y: (x * 1.0).clamp_(-0.6, 1.0), lambda x, y: (x < -0.6) | (x > 1)),
    "clamp_min": (lambda x, y: x.clamp(min=0.1), lambda x, y: x < 0.1),
    "clamp_max": (lambda x, y: x.clamp_max(0.1), lambda x, y: x > 0.1),
    "clamp_tensor": (lambda x, y: x.clamp(min=y), lambda x, y: x < y),
    "clamp_tensors": (lambda x, y: x.clamp(y, y + 0.1), lambda x, y: (x < y) | (x > y + 0.1)),
    "maximum": (lambda x, y: torch.maximum(x, y), lambda x, y: x < y),
    "minimum": (lambda x, y: torch.minimum(x, y), lambda x, y: x > y),
    "where": (lambda x, y: torch.where(y > 0, x, y), lambda x, y: y <= 0),
    "where_number": (lambda x, y: torch.where(y > 0, 1.0, x), lambda x, y: y > 0),
    "masked_fill": (lambda x, y: x.masked_fill(y > 0, 7.0), lambda x, y: y > 0),
    "masked_fill_": (lambda x, y: (x * 1.0).masked_fill_(y > 0, 7.0), lambda x, y: y > 0),
    "nansum": (lambda x, y: torch.where(y > 0, nan, x).nansum(), lambda x, y: y > 0),
    "tril": (lambda x, y: x.reshape(2, 4).tril(), lambda x, y: torch.tensor(
        [False, True, True, True, False, False, True, True])),
    "topk": (lambda x, y: x.topk(3).values, lambda x, y: x < 0.75),
    "sort": (lambda x, y: x.sort().values[:3], lambda x, y: x > -0.5),
    "max": (lambda x, y: x.max(), lambda x, y: x < 4),
    "min": (lambda x, y: x.min(0).values, lambda x, y: x > -3),
    "amax": (lambda x, y: x.reshape(2, 4).amax(1), lambda x, y: (x != 4) & (x != 0)),
    "median": (lambda x, y: x.median(), lambda x, y: x != 0),
    "index": (lambda x, y: x[y > 0], lambda x, y: y <= 0),
    "setitem": (lambda x, y: put(x, y), lambda x, y: y > 0),
    "narrow": (lambda x, y: x[2:4], lambda x, y: (x < -0.5) | (x > 0)),
    "pow_0": (lambda x, y: x**0, lambda x, y: x == x),
    "floor": (lambda x, y: x.floor(), lambda x, y: x == x),
    "sign": (lambda x, y: x.sign(), lambda x, y: x == x),
    "div_floor": (lambda x, y: x.div(0.3, rounding_mode="floor"), lambda x, y: x == x),
    "nan_to_num": (lambda x, y: torch.where(y > 0, x, x.detach()), lambda x, y: y <= 0),
    "logit": (lambda x, y: x.logit(0.3), lambda x, y: (x < 0.3) | (x > 0.7)),
    "norm_at_0": (lambda x, y: (x * 0.0).norm(), lambda x, y: x == x),
    "masked_log_p": (lambda x, y: x.log_softmax(0).masked_fill(y < 9, 0.0), lambda x, y: x == x),
}  # fmt: skip


def put(x, y):
    z = x * 1.0
    z[y > 0] = 3.0
    return z


@pytest.mark.parametrize("name", SELECTIONS)
@pytest.mark.parametrize("g", [inf, -inf, nan, 2.0])
def test_what_was_not_selected_gets_exactly_zero(name, g):
    function, unselected = SELECTIONS[name]
    x, y = x_and_y()
    z = function(x, y)
    z.backward(torch.full_like(z, g))
    nothing = unselected(x.detach(), y).numpy()
    assert nothing.any()
    assert (x.grad.numpy()[nothing] == 0.0).all(), x.grad
    if not nothing.all() and g == 2.0:
        assert (x.grad.numpy()[~nothing] != 0.0).any(), x.grad


@pytest.mark.parametrize("p", [0, 0.5, 1, 1.5, 2, 3, 4.5, inf, -inf, -1])
def test_norm_at_zero_has_a_finite_gradient(p):
    x = torch.tensor([[0.0, 0.0, 0.0], [0.0, 3.0, 0.0]], requires_grad=True)
    y = x.norm(p, 1)
    y.sum().backward()
    assert x.grad.isfinite().all() and (x.grad[0] == 0).all(), (p, x.grad)


def test_a_masked_row_poisons_no_parameter():
    layer = nn.Linear(3, 4)
    mask = torch.tensor([[True] * 4, [True, False, False, True]])
    p = layer(torch.ones(2, 3)).masked_fill(mask, -inf).softmax(-1).masked_fill(mask, 0.0)
    (p * torch.arange(4.0)).sum().backward()
    assert all(q.grad.isfinite().all() for q in layer.parameters())


def test_ignored_targets_take_no_part():
    x = torch.randn(3, 4, requires_grad=True)
    t = torch.tensor([1, -100, 2])
    for loss in (F.cross_entropy(x, t, reduction="none"),
                 F.nll_loss(x, t, reduction="none")):  # fmt: skip
        x.grad = None
        loss.backward(torch.tensor([1.0, inf, nan]))
        assert (x.grad[1] == 0).all() and x.grad[0].isfinite().all()


# ------------------------------------------------------------------------------ NaN in order
@pytest.mark.parametrize("n", [5, 40, 300])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_nan_is_the_largest(n, dtype):
    x = torch.arange(n, dtype=getattr(torch, dtype))
    x[3] = nan
    for k in (1, 2, n // 3 + 1, n):
        values, indices = x.topk(k)
        assert indices[0].item() == 3 and math.isnan(values[0].item())
        assert indices[1:].tolist() == [i for i in range(n - 1, -1, -1) if i != 3][: k - 1]
        assert 3 not in x.topk(k, largest=False).indices.tolist()[: n - 1]
    assert x.argmax().item() == 3 == x.max(0).indices.item() == x.sort().indices[-1].item()
    assert x.argmin().item() == 3 and math.isnan(x.min().item())
    assert x.sort(descending=True).indices[0].item() == 3
    assert math.isnan(x.median().item()) and x.median(0).indices.item() == 3


# ------------------------------------------------------------------- integers of few bits
INTEGERS = {"uint8": 8, "int8": 8, "int16": 16, "int32": 32, "int64": 64}


@pytest.mark.parametrize("dtype", INTEGERS)
def test_arithmetic_wraps_around(dtype):
    bits, signed = INTEGERS[dtype], dtype != "uint8"

    def wrap(v):
        v %= 2**bits
        return v - 2**bits if signed and v >= 2 ** (bits - 1) else v

    x = torch.tensor([5, 100], dtype=getattr(torch, dtype))
    for n in (-1, -6, 200, 256, 300, -300, 2**15, 2**31, 2**40, 2**62, -(2**63), 2**63):
        assert (x + n).tolist() == [wrap(5 + n), wrap(100 + n)], n
        assert (n + x).tolist() == (x + n).tolist()
        assert (x - n).tolist() == [wrap(5 - n), wrap(100 - n)], n
        assert (n - x).tolist() == [wrap(n - 5), wrap(n - 100)], n
        assert (x * n).tolist() == [wrap(5 * n), wrap(100 * n)], n
        assert x.clone().add_(n).tolist() == (x + n).tolist()
        assert (x & n).tolist() == [wrap(5 & n), wrap(100 & n)], n
        cut = wrap(n)  # a comparison cuts the number to the dtype's bits as well
        assert (x < n).tolist() == [cut > 5, cut > 100] and (x == n).tolist() == [cut == 5, False]
        assert (n >= x).tolist() == (x <= n).tolist() == [cut >= 5, cut >= 100]
    assert bits == 64 or 2**bits + 5 in x
    for n in (2**64, -(2**63) - 1):
        with pytest.raises(OverflowError, match="int too big"):
            x + n


@pytest.mark.parametrize("dtype", INTEGERS)
def test_what_is_stored_must_fit(dtype):
    limits = torch.iinfo(getattr(torch, dtype))
    x = torch.tensor([5, 100], dtype=getattr(torch, dtype))
    stores = {
        "fill_": lambda n: x.clone().fill_(n),
        "where": lambda n: torch.where(x > 9, x, n),
        "masked_fill": lambda n: x.masked_fill(x > 9, n),
        "clamp": lambda n: x.clamp(max=n),
        "full": lambda n: torch.full((2,), n, dtype=x.dtype),
    }
    for name, store in stores.items():
        assert store(limits.max).dtype is x.dtype, name
        with pytest.raises(RuntimeError, match="without overflow"):
            store(limits.max + 1)
        if dtype == "uint8":
            assert 255 in store(-1).tolist() or name == "clamp", name
    assert x.clone().fill_(1.5).tolist() == [1, 1]
    for n in (inf, nan):
        with pytest.raises(RuntimeError, match="without overflow"):
            x.clone().fill_(n)


def test_whole_quotients():
    """Of floats as Python's, of integers as C's where they are rounded towards 0."""
    for a, b in itertools.product((1.0, -1.0, 10.0, 0.3, -7.5, 1e9), (0.1, -0.1, 0.3, 3.0, -2.5)):
        got = torch.div(torch.tensor(a, dtype=torch.float64), b, rounding_mode="floor").item()
        assert got == a // b, (a, b)
    for a, b in itertools.product((7, -7, 0, 2**62 + 1, -9), (2, -2, 3, -3)):
        x = torch.tensor(a)
        assert x.div(b, rounding_mode="floor").item() == a // b == (x // b).item()
        assert x.div(b, rounding_mode="trunc").item() == (abs(a) // abs(b)) * (
            -1 if (a < 0) != (b < 0) else 1)  # fmt: skip
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        torch.tensor([1, 2]).div(0, rounding_mode="trunc")


def test_in():
    x = torch.tensor([1, 2, 5])
    assert 2 in x and 5.0 in x and np.int64(1) in x and torch.tensor(5) in x and True in x
    assert 3 not in x and nan not in torch.tensor([nan]) and 1 not in torch.tensor([])
    for wrong in (None, "a", [1, 2], np.ones(2)):
        with pytest.raises(RuntimeError, match="only supports Tensor or scalar"):
            wrong in x  # noqa: B015


def test_spread_of_equal_and_of_large_numbers():
    for value, n in itertools.product((0.1, 3.7, 1e-5, 123.456), (3, 7, 1000)):
        x = torch.full((2, n), value)
        assert x.std(1).tolist() == [0.0, 0.0] and x.var().item() == 0.0
    big = torch.tensor([1e25, 0.0, -1e25])
    assert big.std().item() == pytest.approx(1e25, rel=1e-6)
    x = torch.tensor([1.0, 2.0, 4.0])
    for c in (3, 4, 100):
        assert x.var(correction=c).item() == inf == x.std(correction=c).item()
    assert math.isnan(torch.tensor([1.0]).var().item())


FAR = [
    *[((20,), None), ((10,), None), ((3, 5), 1), ((200, 7), 1), ((64, 30), -1), ((300, 40), 0)],
    *[((7, 30, 50), (0, 2)), ((70_000,), 0)],
]


def far_variances_agree(device, kind, mean):
    """var and std of numbers far from 0 for their spread, and the gradient of var, as float64's."""
    rng = np.random.default_rng(0)
    bound = 1e-6 if kind == "float32" else 1e-14
    for shape, dims in FAR:
        values = (rng.standard_normal(shape) + mean).astype(kind)
        x = torch.tensor(values, device=device, requires_grad=True)
        exact = values.astype("float64") - mean  # without rounding: they are near mean
        expected = exact.var(dims, ddof=1, keepdims=True)
        assert_near = functools.partial(np.testing.assert_allclose, atol=0)
        for y in (x.var(dims, keepdim=True), torch.var_mean(x, dims, keepdim=True)[0]):
            assert_near(y.detach().cpu().numpy(), expected, rtol=bound)
        std = x.std(dims, keepdim=True).detach().cpu().numpy()
        assert_near(std, np.sqrt(expected), rtol=bound)
        x.var(dims).sum().backward()
        n = values.size // expected.size
        rate = 2.0 * (exact - exact.mean(dims, keepdims=True)) / (n - 1)
        np.testing.assert_allclose(x.grad.cpu().numpy(), rate, rtol=0, atol=10 * bound / n)


@pytest.mark.parametrize(("kind", "mean"), [("float32", 1e4), ("float32", 1e6), ("float64", 1e15)])
def test_spread_of_numbers_far_from_0(kind, mean):
    far_variances_agree("cpu", kind, mean)


def test_spread_of_numbers_far_from_0_in_loops(loops):
    far_variances_agree("cpu", "float32", 1e6)


@pytest.mark.parametrize("kind", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(3,), (3, 40), (3000, 2)])
def test_spread_of_infinite_numbers(device, kind, shape):
    """As in PyTorch: an infinite deviation stays infinite, and equal infinities are not equal."""
    values = np.ones(shape, kind)
    values[0] = np.inf
    x = torch.tensor(values, device=device, requires_grad=True)
    y = x.var(0)
    y.sum().backward()
    assert np.isnan(y.detach().cpu().numpy()).all()
    assert np.isnan(x.grad.cpu().numpy()[0]).all() and (x.grad.cpu().numpy()[1:] == -np.inf).all()
    equal = torch.tensor(np.full(shape, np.inf, kind), device=device)
    assert np.isnan(equal.var(0).cpu().numpy()).all()
    assert np.isnan(equal.std().item())


@pytest.mark.parametrize("mean", [1e6, 1e12])
@pytest.mark.parametrize("shape", [(10,), (3, 5), (1, 12), (200, 7)])
def test_spread_of_a_few_numbers_far_from_0(mean, shape):
    rng = np.random.default_rng(0)
    for _ in range(30):
        values = rng.standard_normal(shape) + mean
        expected = (values - mean).var(-1, ddof=1)  # without rounding: they are near mean
        np.testing.assert_allclose(torch.tensor(values).var(-1).numpy(), expected, rtol=1e-14)


def test_the_derivative_of_a_variance_of_numbers_far_from_0():
    x = torch.tensor(np.random.default_rng(0).standard_normal((3, 5)) + 1e6, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: x.var(1), x, eps=1e-3, atol=1e-6)


def test_ends_of_lerp():
    a, b = torch.tensor([1e8, -3.0, 0.1]), torch.tensor([1.0, 1e7, 0.7])
    for one in (1, 1.0, torch.tensor(1.0), torch.ones(3)):
        assert torch.lerp(a, b, one).tolist() == b.tolist()
        assert a.clone().lerp_(b, one).tolist() == b.tolist()
        assert torch.lerp(a, b, one * 0).tolist() == a.tolist()


# ------------------------------------------------------------------------------------- .grad
def test_grad_is_checked_when_it_is_set():
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    for wrong in (1.0, 2, [1.0, 2.0], np.ones(2), "a", True):
        with pytest.raises(TypeError, match="assigned grad expected to be a Tensor or None"):
            x.grad = wrong
    for shape in ((1,), (), (1, 2), (2, 1), (3,)):
        with pytest.raises(RuntimeError, match="attempting to assign a gradient of size"):
            x.grad = torch.ones(shape)
    for dtype in (torch.float64, torch.float16, torch.int64, torch.bool):
        with pytest.raises(RuntimeError, match="attempting to assign a gradient with dtype"):
            x.grad = torch.ones(2).to(dtype)
    with pytest.raises(RuntimeError, match="as its own grad"):
        x.grad = x
    assert x.grad is None
    x.grad = torch.tensor([3.0, 4.0])
    x.sum().backward()
    assert x.grad.tolist() == [4.0, 5.0]
    x.grad *= 2.0
    assert x.grad.tolist() == [8.0, 10.0]
    del x.grad
    assert x.grad is None
    x.grad = None
    p = nn.Parameter(torch.zeros(2))
    p.grad = nn.Parameter(torch.ones(2))
    assert p.grad.tolist() == [1.0, 1.0]


# ------------------------------------------------------------------------- causal attention
@pytest.mark.parametrize("length", [2, 5, 64, 65, 130])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("window", "offset"), [(None, 0), (3, 0), (70, 0), (None, 4), (5, 4)])
def test_nothing_later_reaches_an_earlier_row(length, dtype, window, offset):
    rng = np.random.default_rng(length)
    shapes = {"q": length, "k": length + offset, "v": length + offset, "g": length}
    clean = {c: rng.standard_normal((2, 2, n, 4)).astype(dtype) for c, n in shapes.items()}

    def run(arrays):
        q, k, v = (torch.tensor(arrays[c], requires_grad=True) for c in "qkv")
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True, window=window, offset=offset)
        y.backward(torch.tensor(arrays["g"]))
        return [a.detach().numpy() for a in (y, q.grad, k.grad, v.grad)]

    expected = run(clean)
    for which, value in itertools.product("qkvg", (nan, inf, -inf)):
        at = int(rng.integers(1, length))  # the query at which something is wrong, or its key
        dirty = {c: a.copy() for c, a in clean.items()}
        dirty[which][0, 0, at + (offset if which in "kv" else 0), 1] = value
        got = run(dirty)
        for a, b in zip(got[:2], expected[:2], strict=True):
            np.testing.assert_allclose(a[0, 0, :at], b[0, 0, :at], 1e-3, 1e-5)
        for a, b in zip(got, expected, strict=True):  # other heads and batches
            np.testing.assert_allclose(a[1], b[1], 1e-3, 1e-5)
            np.testing.assert_allclose(a[0, 1], b[0, 1], 1e-3, 1e-5)
        if which in "qg":  # a query has no part in the keys after it
            for a, b in zip(got[2:], expected[2:], strict=True):
                later = slice(at + offset + 1, None)
                np.testing.assert_allclose(a[0, 0, later], b[0, 0, later], 1e-3, 1e-5)
        elif which == "k" and value is nan:
            last = length if window is None else min(length, at + window)
            assert np.isnan(got[0][0, 0, at:last]).all()


FORMS = {
    "plain": {}, "window": {"window": 3}, "offset": {"offset": 4}, "softcap": {"softcap": 5.0},
    "scale": {"scale": 0.7}, "grouped": {"enable_gqa": True},
    "window and offset": {"window": 5, "offset": 4, "enable_gqa": True},
}  # fmt: skip


@pytest.mark.parametrize("loops", [False, True])
@pytest.mark.parametrize("form", FORMS)
def test_a_spoilt_row_without_a_gradient_spoils_nothing(form, loops, monkeypatch):
    """What is computed from earlier rows has their gradients, also if a later key is NaN."""
    if loops:
        pytest.importorskip("numba")
    monkeypatch.setattr(twins.large, "least", 0 if loops else twins.NEVER)
    options = FORMS[form]
    heads = 4 if "enable_gqa" in options else 2
    for length, dtype in ((5, "float32"), (67, "float64")):
        rng, at = np.random.default_rng(length), length - 2
        n = length + options.get("offset", 0)
        shapes = {"q": (heads, length), "k": (2, n), "v": (2, n)}
        clean = {c: rng.standard_normal((2, *s, 4)).astype(dtype) for c, s in shapes.items()}
        g = rng.standard_normal((2, heads, length, 4)).astype(dtype)
        g[:, :, at:] = 0.0

        def run(arrays, used, g=g, at=at):
            q, k, v = (torch.tensor(arrays[c], requires_grad=True) for c in "qkv")
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True, **options)
            if used == "a slice":
                y[:, :, :at].backward(torch.tensor(g[:, :, :at]))
            else:
                y.backward(torch.tensor(g))
            return [t.grad.numpy() for t in (q, k, v)]

        for used, which, value in (
            *(("a slice", which, value) for which in "kv" for value in (nan, inf, -inf)),
            *(("all", which, nan) for which in "qkv"),
        ):
            dirty = {c: a.copy() for c, a in clean.items()}
            dirty[which][0, 0, at + (options.get("offset", 0) if which in "kv" else 0)] = value
            for a, b in zip(run(dirty, used), run(clean, used), strict=True):
                np.testing.assert_allclose(a, b, 1e-3, 1e-5)


# ------------------------------------------------------------------------ certain predictions
CERTAIN = [[-inf, 1.0], [-200.0, 1.0], [3.0, -inf, -inf], [-30.0, 7.3, -40.0], [0.3, -18.0, -25.0],
           [88.0, -inf], [-inf, -95.0], [1e4, -inf, 0.0], [-0.7, -20.0, -19.0], [5.1, -inf, -30.0],
           [-inf, -inf, 0.9], [1.7, -17.0]]  # fmt: skip


@pytest.mark.parametrize("loops", [False, True])
@pytest.mark.parametrize("n", [1, 700])
def test_a_certain_prediction_has_the_loss_0(n, loops, monkeypatch):
    """Not the rounding error of its logit, which may even be below 0: log p ≤ 0."""
    if loops:
        pytest.importorskip("numba")
    monkeypatch.setattr(twins.large, "least", 0 if loops else twins.NEVER)
    for row in CERTAIN:
        best = int(np.argmax(row))
        x, t = torch.tensor([row] * n), torch.tensor([best] * n)
        w = torch.full((len(row),), 2.0)
        head = nn.Parameter(torch.eye(len(row)).nan_to_num())
        finite = x.nan_to_num(neginf=-1e30)
        losses = {
            "mean": F.cross_entropy(x, t), "sum": F.cross_entropy(x, t, reduction="sum"),
            "none": F.cross_entropy(x, t, reduction="none"),
            "weights": F.cross_entropy(x, t, weight=w),
            "log_softmax": -F.log_softmax(x, -1)[:, best],
            "dim 0": -F.log_softmax(x.t().contiguous(), 0)[best],
            "nll": F.nll_loss(F.log_softmax(x, 1), t),
            "head": F.linear_cross_entropy(finite, head, t),
            "ignored": F.cross_entropy(torch.cat([x, x]), torch.cat([t, t * 0 - 100])),
        }  # fmt: skip
        for name, loss in losses.items():
            assert (loss == 0.0).all(), (row, name, loss)
    x = torch.tensor([[0.3, -14.0, -13.5]] * n, dtype=torch.float64)
    loss = F.cross_entropy(x, torch.zeros(n, dtype=torch.int64))
    assert abs(loss.item() - math.log1p(math.exp(-14.3) + math.exp(-13.8))) < 1e-15


# --------------------------------------------------------------------------------- warnings
def test_the_callers_own_settings_stay():
    x = torch.tensor([3e38, inf])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _ = x * x - x
        with pytest.raises(RuntimeWarning):
            np.float32(3e38) * np.array([3e38], np.float32)
    with np.errstate(all="raise"):
        assert (x * x).tolist() == [inf, inf]
        assert np.geterr()["over"] == "raise"
    nn.Parameter(x * x).sum().backward()


def test_warnings_of_training_are_silent():
    p = nn.Parameter(torch.full((3,), 1e38))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name in (
            "SGD", "Adam", "AdamW", "Adagrad", "RMSprop", "Adafactor", "Lion", "SGDScheduleFree",
            "AdamWScheduleFree",
        ):  # fmt: skip
            p.grad = torch.full((3,), 3e38)
            getattr(torch.optim, name)([p], lr=1e3).step()
        (p * p).sum().backward()
