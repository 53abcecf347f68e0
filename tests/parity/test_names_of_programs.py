"""Functions that programs use now and then, and modules that they import at the top."""

from __future__ import annotations

import importlib
import math

import numpy as np
import pytest

from .compared import agree

torch = pytest.importorskip("torch")

import tinygrad_llm as tg  # noqa: E402

inf, nan = math.inf, math.nan
A = np.array([[0.3, -1.2, 0.5, 2.0], [-0.5, 0.1, -3.0, 0.7], [1.1, -0.3, 0.0, 0.9]])
B = np.array([[0.4, -1.2, 0.1, 3.0], [-0.6, 0.2, 1.0, 0.7], [-1.1, 0.3, 0.5, -0.9]])
HOLES = np.array([[nan, 1.0, 3.0, 2.0], [nan, nan, nan, nan], [4.0, nan, -1.0, 0.5]])

CALLS = {
    "threshold": lambda t, x, y: t.nn.functional.threshold(x, 0.1, 20.0),
    "threshold in place": lambda t, x, y: t.nn.Threshold(0.1, -1.0, inplace=True)(x * 2),
    "hardshrink": lambda t, x, y: t.nn.Hardshrink()(x),
    "softshrink": lambda t, x, y: t.nn.Softshrink(0.3)(x),
    "softshrink of a negative bound": lambda t, x, y: t.nn.functional.softshrink(x, -1.0),
    "fmax": lambda t, x, y: t.fmax(x, y),
    "fmin": lambda t, x, y: x.fmin(y[0]),
    "kthvalue": lambda t, x, y: list(x.kthvalue(2)),
    "kthvalue kept": lambda t, x, y: list(t.kthvalue(x, 3, 0, keepdim=True)),
    "kthvalue 0": lambda t, x, y: t.kthvalue(x, 0),
    "kthvalue past the end": lambda t, x, y: t.kthvalue(x, 5),
    "msort": lambda t, x, y: t.msort(x),
    "nanmedian": lambda t, x, y: x.nanmedian(),
    "nanmedian dim": lambda t, x, y: list(t.nanmedian(x, 1)),
    "aminmax": lambda t, x, y: list(x.aminmax()),
    "aminmax dim": lambda t, x, y: list(t.aminmax(x, dim=1, keepdim=True)),
    "dist": lambda t, x, y: t.dist(x, y),
    "dist 1": lambda t, x, y: x.dist(y, 1),
    "narrow_copy": lambda t, x, y: t.narrow_copy(x, 1, 1, 2),
    "unfold": lambda t, x, y: x.unfold(1, 3, 1),
    "unfold apart": lambda t, x, y: x.unfold(-1, 1, 3),
    "unfold first": lambda t, x, y: x.unfold(0, 2, 1),
    "unfold too large": lambda t, x, y: x.unfold(0, 4, 1),
    "unfold without a step": lambda t, x, y: x.unfold(0, 2, 0),
    "rsub": lambda t, x, y: t.rsub(x, 2, alpha=0.5),
    "rsub of two": lambda t, x, y: t.rsub(x, y),
    "logcumsumexp": lambda t, x, y: x.logcumsumexp(1),
    "logcumsumexp 0": lambda t, x, y: t.logcumsumexp(x, 0),
    "mode": lambda t, x, y: list(x.round().mode(1)),
    "mode kept": lambda t, x, y: list(t.mode(x.sign(), 0, keepdim=True)),
    "nanquantile": lambda t, x, y: t.where(x > 1, math.nan, x).nanquantile(0.3, 1),
    "nanquantile of all": lambda t, x, y: t.where(y > 0, math.nan, x).nanquantile(0.6),
    "angle": lambda t, x, y: x.angle(),
    "cov": lambda t, x, y: x.cov(),
    "cov without correction": lambda t, x, y: t.cov(x, correction=0),
    "cov with weights": lambda t, x, y: x.cov(fweights=t.tensor([1, 2, 1, 3])),
    "cov of one": lambda t, x, y: x[0].cov(),
    "corrcoef": lambda t, x, y: x.corrcoef(),
    "isreal": lambda t, x, y: x.isreal(),
    "H": lambda t, x, y: x.H,
    "mH": lambda t, x, y: x.mH,
    "transpose_": lambda t, x, y: (x * 1).transpose_(0, 1),
    "swapaxes_": lambda t, x, y: (x * 1).swapaxes_(0, -1),
    "diag_embed": lambda t, x, y: x.diag_embed(1),
    "diagflat": lambda t, x, y: x[0].diagflat(),
    "addr": lambda t, x, y: t.addr(x, y[:, 0], y[0], alpha=2),
    "hinge": lambda t, x, y: t.nn.functional.hinge_embedding_loss(x, t.tensor([1, -1, 1, -1])),
    "hinge layer": lambda t, x, y: t.nn.HingeEmbeddingLoss(0.5, reduction="sum")(x, y.sign()),
    "rrelu": lambda t, x, y: t.nn.functional.rrelu(x),
    "rrelu drawn": lambda t, x, y: (t.manual_seed(3), t.nn.RReLU(0.1, 0.4)(x))[1],
    "cosh_": lambda t, x, y: (x * 1).cosh_(),
    "atan2_": lambda t, x, y: (x * 1).atan2_(y),
    "exp_": lambda t, x, y: t.exp_(x * 1),
    "cumsum_": lambda t, x, y: (x * 1).cumsum_(1),
    "put": lambda t, x, y: x.put(t.tensor([1]), y[0, :1]),
    "mode of none": lambda t, x, y: x[:, :0].mode(),
    "cov of a cube": lambda t, x, y: x[None].cov(),
    "expit": lambda t, x, y: t.special.expit(x),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", CALLS)
def test_functions(name, dtype):
    importlib.import_module("torch.special")
    agree(torch, CALLS[name], A.astype(dtype), B.astype(dtype))


@pytest.mark.parametrize("name", ["fmax", "fmin", "nanmedian", "nanmedian dim", "msort", "unfold"])
def test_functions_of_nan(name):
    if name != "nanmedian dim":  # which of the NaN in a row of them it names is not defined
        agree(torch, CALLS[name], HOLES, B)
        agree(torch, CALLS[name], B, HOLES)
    agree(torch, CALLS[name], HOLES[[0, 2]], B[:2])


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize(
    "name", "threshold hardshrink softshrink fmax fmin kthvalue msort unfold".split()
)
def test_functions_in_half_precision(name, dtype):
    values = []
    for t in (tg, torch):
        x, y = (t.from_numpy(v).to(getattr(t, dtype)).requires_grad_() for v in (A, B))
        result = CALLS[name](t, x, y)
        result = result[0] if isinstance(result, list) else result
        result.backward(result.detach() * 0.3)
        grads = [0.0 if v.grad is None else v.grad.float().tolist() for v in (x, y)]
        values.append((str(result.dtype), result.float().tolist(), grads))
    assert values[0] == values[1]


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("name", "threshold mish hardsigmoid hardswish selu celu silu".split())
def test_in_place_in_half_precision(name, dtype):
    values = []
    for t in (tg, torch):
        leaf = t.tensor([-1.0, 0.25, 2.0, 5.0]).to(getattr(t, dtype)).requires_grad_()
        x = leaf * 1
        options = (0.5, 4.0) if name == "threshold" else ()
        y = getattr(t.nn.functional, name)(x, *options, inplace=True)
        assert y is x
        y.backward(t.ones(4).to(y.dtype))
        values.append((x.float().tolist(), leaf.grad.float().tolist()))
    np.testing.assert_allclose(*[v[0] for v in values])
    np.testing.assert_allclose(*[v[1] for v in values], rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("integers", [np.arange(12).reshape(3, 4) % 5, np.array(3)])
def test_functions_of_integers(integers):
    for name in ("fmax", "kthvalue", "msort", "aminmax", "unfold apart", "nanmedian"):
        if integers.ndim or name not in ("kthvalue", "unfold apart"):
            agree(
                torch, CALLS[name], integers, integers[::-1].copy() if integers.ndim else integers
            )


def test_unfold_is_a_view_where_nothing_is_recorded():
    for t in (tg, torch):
        x = t.arange(14.0).view(2, 7)
        for source in (x, x.t(), x[:, ::2]):
            windows = source.unfold(1, 2, 1)
            assert windows.stride() == (*source.stride(), source.stride()[1])
        x.unfold(1, 3, 2)[0, 1] = -1.0
        assert x[0].tolist() == [0.0, 1.0, -1.0, -1.0, -1.0, 5.0, 6.0]
        assert t.tensor(2.0).unfold(0, 1, 1).tolist() == [2.0]


@pytest.mark.parametrize("g", [[1.0, 1.0, 1.0, 1.0], [1.0, inf, 1.0, 2.0], [0.5, 1.0, -inf, inf]])
@pytest.mark.parametrize("x", [[1.0, 0.0, 2.0, 3.0], [0.0, 2.0, 3.0, 4.0], [2.0, 3.0, 0.0, inf],
                               [0.0, inf, 3.0, 1.0], [1.0, 2.0, 3.0, 0.0]])  # fmt: skip
def test_a_zero_ends_the_gradient_of_cumprod(x, g):
    grads = []
    for t in (tg, torch):
        v = t.tensor(x, requires_grad=True)
        v.cumprod(0).backward(t.tensor(g))
        grads.append(v.grad.numpy())
    np.testing.assert_allclose(*grads)


HINGES = {
    "margin": lambda F, a, b, y: F.margin_ranking_loss(a[:, 0], b[:, 0], y),
    "margin 1": lambda F, a, b, y: F.margin_ranking_loss(a[:, 0] + y, b[:, 0], y, margin=1.0),
    "triplet": lambda F, a, b, y: F.triplet_margin_loss(a, a + b, a + b, margin=1e-30),
    "cosine": lambda F, a, b, y: F.cosine_embedding_loss(a, b.flip(1) * 0, -abs(y)),
}


@pytest.mark.parametrize("name", HINGES)
def test_the_corner_of_a_hinge_has_a_gradient(name):
    """At exactly 0 a loss max(0, z) passes the gradient on, as PyTorch's clamp_min does."""
    grads = []
    for t in (tg, torch):
        a = t.ones(3, 2, dtype=t.float64, requires_grad=True)
        b = t.ones(3, 2, dtype=t.float64, requires_grad=True)
        y = t.tensor([1.0, -1.0, 1.0], dtype=t.float64)
        HINGES[name](t.nn.functional, a, b, y).backward()
        grads.append(np.concatenate([a.grad.numpy(), b.grad.numpy()]))
    np.testing.assert_allclose(*grads, rtol=1e-12, atol=1e-15)
    if name.startswith("margin"):
        assert grads[0].any()


# --------------------------------------------------------------------------------------- modules
@pytest.mark.parametrize("module,names", [
    ("nn.modules", "Module Linear LayerNorm CrossEntropyLoss"),
    ("nn.modules.module", "Module"), ("nn.modules.linear", "Linear Identity"),
    ("nn.modules.loss", "CrossEntropyLoss MSELoss"), ("nn.modules.normalization", "LayerNorm"),
    ("nn.modules.container", "ModuleList Sequential"), ("nn.modules.sparse", "Embedding"),
    ("nn.modules.activation", "GELU SiLU"), ("nn.modules.dropout", "Dropout"),
    ("types", "Device Number _dtype _size"), ("special", "expit logsumexp xlogy"),
    ("jit", "script ignore unused export is_scripting trace load save Final"),
    ("profiler", "profile record_function ProfilerActivity schedule"), ("autograd", "Variable"),
])  # fmt: skip
def test_modules(module, names):
    ours, theirs = (importlib.import_module(f"{top}.{module}") for top in ("tinygrad_llm", "torch"))
    for name in names.split():
        assert hasattr(ours, name) and hasattr(theirs, name), name
    assert importlib.import_module("tinygrad_llm.nn.modules").Linear is tg.nn.Linear


def test_old_variables():
    for t in (tg, torch):
        x = t.autograd.Variable(t.ones(2), requires_grad=True)
        assert x.requires_grad and isinstance(x, t.Tensor)
        assert isinstance(t.ones(1), t.autograd.Variable)
        assert not isinstance(3, t.autograd.Variable)
        assert not t.autograd.Variable(t.ones(2)).requires_grad


def test_scripts_stay_functions():
    @tg.jit.script
    def doubled(x):
        return x * 2

    @tg.jit.ignore
    def one():
        return 1

    @tg.jit.ignore(drop=True)
    def two():
        return 2

    assert doubled(tg.ones(1)).item() == 2.0 and (one(), two()) == (1, 2)
    assert not tg.jit.is_scripting() and not tg.jit.is_tracing()
    for refused in (lambda: tg.jit.trace(doubled, tg.ones(1)), lambda: tg.jit.save(doubled, "f"),
                    lambda: tg.jit.load("f"), lambda: tg.profiler.profile()):  # fmt: skip
        with pytest.raises(NotImplementedError, match="there (are|is) no"):
            refused()
    with tg.profiler.record_function("block"):
        pass
    with pytest.raises(AttributeError, match="nearest is expit"):
        tg.special.expitt  # noqa: B018
