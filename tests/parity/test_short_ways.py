"""Functions of a few numbers that nobody records go past the engine: PyTorch's values, strides and
memory, and the same as where a gradient is wanted."""

from __future__ import annotations

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import tinygrad_llm as tg  # noqa: E402

INF, NAN = math.inf, math.nan
NUMBERS = {
    "normal": [0.5, -1.25, 3.0, 0.0, -2.5, 1e-3, 7.0, -0.125, 2.0, 2.0, -4.0, 0.75],
    "equal": [0.1] * 12,
    "large": [1e20, -3e20, 2e20, 1e20, 5e19, 0.0, 1e20, 2e20, -1e20, 3e20, 1e19, 1e20],
    "far away": [1000.125, 1000.25, 1000.0, 1000.5, *[1000.125] * 8],
    "infinite": [1.0, INF, -1.0, 2.0, 0.0, 3.0, -INF, 1.0, 5.0, 1.0, 2.0, 3.0],
    "nan": [1.0, 2.0, NAN, 2.0, 0.0, 3.0, 4.0, 1.0, 5.0, 1.0, NAN, 3.0],
}
CALLS = {
    "max": lambda t, x: x.max(1),
    "max kept": lambda t, x: x.max(0, keepdim=True),
    "min": lambda t, x: x.min(-1),
    "median": lambda t, x: x.median(),
    "nanmedian": lambda t, x: x.nanmedian(),
    "clamp": lambda t, x: x.clamp(-1, 1.5),
    "clamp from below": lambda t, x: x.clamp(min=0),
    "clamp, bounds exchanged": lambda t, x: x.clamp(1, -1),
    "clamp to nan": lambda t, x: x.clamp(NAN, 1.0),
    "tril": lambda t, x: x.tril(),
    "tril above": lambda t, x: t.tril(x, 1),
    "triu": lambda t, x: x.triu(),
    "triu below": lambda t, x: t.triu(x, -2),
    "tril of several": lambda t, x: x.view(2, 2, 3).tril(-1),
    "cumsum": lambda t, x: x.cumsum(0),
    "cumsum of rows": lambda t, x: x.cumsum(1),
    "topk": lambda t, x: x.topk(3).values,
    "smallest": lambda t, x: x.topk(2, 0, largest=False).values,
    "flip": lambda t, x: x.flip(0),
    "flip both": lambda t, x: t.flip(x, (0, 1)),
    "roll": lambda t, x: x.roll(5),
    "roll back": lambda t, x: x.roll(-1, 1),
    "roll two": lambda t, x: x.roll((1, 7), (0, 1)),
    "expand": lambda t, x: x.expand(2, 3, 4),
    "expand a column": lambda t, x: x[:, :1].expand(-1, 5),
    "expand one": lambda t, x: x[1:2].contiguous().expand(4, 4),
    "flatten": lambda t, x: x.flatten(),
    "unsqueeze": lambda t, x: x.unsqueeze(1),
    "squeeze": lambda t, x: x[:1].squeeze(),
    "T": lambda t, x: x.T,
    "permute": lambda t, x: x.view(2, 2, 3).permute(2, 0, 1),
    "columns": lambda t, x: x[:, t.tensor([1, 0, 1])],
    "columns of several": lambda t, x: x.view(2, 2, 3)[:, :, t.tensor([[2, 0]])],
    "nonzero": lambda t, x: x.nonzero(),
    "outer": lambda t, x: t.outer(x[0], x[1]),
    "softmax": lambda t, x: x.softmax(1),
    "layer norm": lambda t, x: t.nn.functional.layer_norm(x, (4,)),
    "layer norm of one row": lambda t, x: t.nn.functional.layer_norm(x.flatten(), (12,)),
    "layer norm, weight": lambda t, x: t.nn.functional.layer_norm(x, (4,), x[0] * 0 + 2),
    "var": lambda t, x: x.var(1),
    "var kept": lambda t, x: x.var(-1, keepdim=True, correction=0),
    "var of all": lambda t, x: x.var(),
    "var of columns": lambda t, x: x.var(0),
    "std": lambda t, x: x.std(1),
    "std of all, kept": lambda t, x: x.std((0, 1), keepdim=True),
    "var without freedom": lambda t, x: x.var(1, correction=4),
    "einsum": lambda t, x: t.einsum("ij,kj->ik", x, x),
    "einsum of three": lambda t, x: t.einsum("ij,kj,k->i", x, x, x[:, 0]),
    "einsum, a diagonal": lambda t, x: t.einsum("ii->i", x[:3, :3]),
}
BIT_EQUAL = ("max", "min", "median", "clamp", "tri", "flip", "roll", "expand", "T", "permute",
             "columns", "nonzero", "flatten", "squeeze", "unsqueeze", "topk", "smallest", "cumsum",
             "einsum, a")  # fmt: skip
VIEWS = ("expand", "flatten", "unsqueeze", "T", "permute")


def parts(result):
    return list(result) if isinstance(result, tuple) else [result]


@pytest.mark.filterwarnings("ignore:.*degrees of freedom")
@pytest.mark.parametrize("numbers", NUMBERS)
@pytest.mark.parametrize("name", CALLS)
def test_a_few_numbers_are_pytorchs(name, numbers):
    for dtype in ("float32", "float64"):
        x = np.array(NUMBERS[numbers], dtype).reshape(3, 4)
        with np.errstate(all="raise"):  # nothing is warned of
            ours = parts(CALLS[name](tg, tg.from_numpy(x.copy())))
        theirs = parts(CALLS[name](torch, torch.from_numpy(x.copy())))
        recorded = parts(CALLS[name](tg, tg.from_numpy(x.copy()).requires_grad_()))
        for a, b, c in zip(ours, theirs, recorded, strict=True):
            b = b.numpy()
            assert a.shape == b.shape and a.array.dtype == b.dtype and not a.requires_grad
            if name.startswith(BIT_EQUAL):
                np.testing.assert_array_equal(a.numpy(), b)
                np.testing.assert_array_equal(c.detach().numpy(), b)
                continue
            if numbers == "equal" and name.startswith(("var", "std")):
                b = b * 0 if np.isfinite(b).all() else b  # PyTorch's own rounding error
            if numbers == "large" and name.startswith("layer") and dtype == "float32":
                continue  # σ² is infinite there: NaN in PyTorch, 0 here
            largest = max(1e-30, np.abs(b[np.isfinite(b)]).max(initial=0.0))
            limit = (1e-5 if dtype == "float32" else 1e-12) * largest
            np.testing.assert_allclose(a.numpy(), b, rtol=0, atol=limit)
            np.testing.assert_allclose(c.detach().numpy(), b, rtol=0, atol=limit)


@pytest.mark.parametrize("name", [n for n in CALLS if n.startswith(VIEWS)])
def test_views_show_the_same_memory(name):
    x = tg.arange(12.0).view(3, 4)
    y = CALLS[name](tg, x)
    z = CALLS[name](torch, torch.arange(12.0).view(3, 4))
    assert y.stride() == z.stride() or y.numel() == 12
    x.fill_(5.0)
    assert bool((y == 5.0).all()) or name in ("expand one",)
    if name.startswith("expand"):
        with pytest.raises(RuntimeError):
            y.add_(1.0)
    else:
        y.fill_(7.0)
        assert bool((x == 7.0).all())


def test_a_view_made_past_the_engine_joins_the_graph_of_its_base():
    for shown in (lambda x: x.T, lambda x: x.flatten(), lambda x: x.unsqueeze(0)):
        x, w = tg.zeros(2, 3), tg.ones(2, 3, requires_grad=True)
        y = shown(x)
        x.add_(w * 2.0)
        y.sum().backward()
        assert w.grad.tolist() == [[2.0] * 3] * 2


@pytest.mark.parametrize("n", [2, 3, 31, 64, 65, 255, 256, 257, 300])
def test_permutations_are_pytorchs_and_so_is_what_follows(n):
    tg.manual_seed(n)
    torch.manual_seed(n)
    assert tg.randperm(n).tolist() == torch.randperm(n).tolist()
    assert tg.rand(3).tolist() == torch.rand(3).tolist()
    assert tg.randperm(n, dtype=tg.int16).array.dtype == np.int16


def test_the_numbers_of_linspace_are_pytorchs_to_the_last_bit():
    rng = np.random.default_rng(0)
    for _ in range(300):
        first, last = (float(v) for v in rng.normal(size=2) * 10.0 ** rng.integers(-3, 6))
        steps = int(rng.integers(1, 40))
        ours, theirs = tg.linspace(first, last, steps), torch.linspace(first, last, steps)
        np.testing.assert_array_equal(ours.numpy(), theirs.numpy())


def test_equal_numbers_vary_by_exactly_nothing():
    for n in range(2, 40):
        for number in (0.1, 1 / 3, 1e-20, 12345.678, 3e37):
            for dtype in (tg.float32, tg.float64):
                rows = tg.full((3, n), number, dtype=dtype)
                assert rows.var(1).tolist() == [0.0] * 3 and rows.std().item() == 0.0


def test_the_layer_norm_of_equal_numbers_is_nothing():
    for n in range(2, 40):
        for number in (0.1, 1 / 3, 1e-20, 12345.678):
            y = tg.nn.functional.layer_norm(tg.full((3, n), number), (n,))
            assert float(y.abs().max()) < 1e-8


def test_half_of_many_numbers_have_a_median():
    x = np.random.default_rng(3).normal(size=1001).astype("float32")
    for n in (1, 2, 63, 64, 65, 1000, 1001):
        assert tg.from_numpy(x[:n]).median().item() == torch.from_numpy(x[:n]).median().item()
    x[500] = NAN
    assert math.isnan(tg.from_numpy(x).median().item())
    assert tg.from_numpy(x).nanmedian().item() == torch.from_numpy(x).nanmedian().item()
    assert tg.tensor([3, 1, 2, 9]).median().item() == 2
    assert math.isnan(tg.tensor([NAN, NAN]).nanmedian().item())


LOGITS = {
    "moderate": [[0.5, -1.0, 2.0], [3.0, 0.0, -2.0]],
    "large": [[15.0, -3.0, 2.0], [3.0, 18.5, -20.0]],
    "very large": [[150.0, -3.0, 2.0], [3.0, 18.5, -200.0]],
    "a target far below": [[20.0, -60.0, 0.0], [1.0, 2.0, 3.0]],
    "certain": [[-INF, 1.0, -40.0], [0.0, 25.0, -25.0]],
    "impossible": [[1.0, -INF, 1.0], [0.0, 1.0, 2.0]],
    "nan": [[NAN, 1.0, 2.0], [0.0, 1.0, 2.0]],
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", LOGITS)
def test_cross_entropy_of_few_logits(name, dtype):
    results = []
    for t in (tg, torch):
        x = t.tensor(LOGITS[name], dtype=getattr(t, dtype), requires_grad=True)
        target = t.tensor([1, 1])
        loss = t.nn.functional.cross_entropy(x, target)
        loss.backward()
        plain = t.nn.functional.cross_entropy(x.detach(), target)
        results.append([loss.item(), plain.item(), *x.grad.flatten().tolist()])
    tolerance = 1e-6 if dtype == "float32" else 1e-14
    np.testing.assert_allclose(*results, rtol=tolerance, atol=tolerance / 10)
