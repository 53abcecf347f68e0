"""bfloat16 and float16 round where PyTorch rounds: every op, forward and backward, on a CPU.

The classes are those of tests/CLOSENESS.md. `EXACT`: element-wise arithmetic and everything that
moves numbers, equal to the last bit. `CURVED`: transcendental functions, one unit of the half
precision in at most 1 of 10,000 numbers (GELU 2: 1.6 in float16 on an Intel Xeon; asin 10:
7.4 in float16 on an AMD EPYC without AVX-512). `SUMMED`: products and reductions, within one unit
of the result. `STORED`: as SUMMED, where PyTorch keeps intermediate products in half precision, so
that one of them may be off by a unit: within one unit of the result's largest entry. A gradient may
be off by two units in at most 1 of 10,000 numbers, where the result that it is computed from is off
by one.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
ml_dtypes = pytest.importorskip("ml_dtypes")

import torch.nn.functional as torch_F  # noqa: E402
from cases import CASES  # noqa: E402

import tinygrad_llm as tg  # noqa: E402
import tinygrad_llm.nn.functional as tg_F  # noqa: E402

EXACT, CURVED, SUMMED, STORED = "exact", "curved", "summed", "stored"
HALVES = ("bfloat16", "float16")
N = (200, 128)  # 25,600 numbers, and whole vectors: PyTorch's scalar code for the rest differs


@dataclass
class Row:
    """One comparison: f(L, F, *tensors) in both libraries. L is torch, F its nn.functional."""

    op: str  # the op's name in the table of tests/cases.py; "" for a function of several ops
    kind: str
    f: Callable[..., Any]
    shapes: tuple = (N,)
    domain: str = "normal"
    backward: str = ""  # the class of the gradients, if it is another; "none": not compared
    label: str = ""
    differing: float = 1e-4  # the most numbers of a CURVED result that differ, as a share

    @property
    def id(self) -> str:
        return "-".join(filter(None, (self.op, self.label)))


ROWS: list[Row] = []


def row(op: str, kind: str, f: Any, *shapes: Any, label: str = "", **more: Any) -> None:
    ROWS.append(Row(op, kind, f, shapes or (N,), label=label, **more))


# ------------------------------------------------------------------------ element-wise arithmetic
row("add", EXACT, lambda L, F, x, y: x + y, N, N)
row("add", EXACT, lambda L, F, x: x + 0.3, label="number")
row("add", EXACT, lambda L, F, x, y: L.add(x, y, alpha=0.3), N, N, label="alpha")
row("sub", EXACT, lambda L, F, x, y: x - y, N, N)
row("sub", EXACT, lambda L, F, x: 0.3 - x, label="number")
row("sub", EXACT, lambda L, F, x, y: L.sub(x, y, alpha=0.3), N, N, label="alpha")
row("mul", EXACT, lambda L, F, x, y: x * y, N, N)
row("mul", EXACT, lambda L, F, x: x * 0.3, label="number")
row("mul", EXACT, lambda L, F, x: x * L.tensor(0.3), label="0-d")
row("mul", SUMMED, lambda L, F, x, b: x * b + b, N, N[1:], label="broadcast")
row("div", EXACT, lambda L, F, x, y: x / y, N, N)
row("div", EXACT, lambda L, F, x: x / 24**0.5, label="number")
row("div", EXACT, lambda L, F, x: x / L.tensor(0.3), label="0-d")
row("neg", EXACT, lambda L, F, x: -x)
row("reciprocal", EXACT, lambda L, F, x: x.reciprocal())
row("reciprocal", EXACT, lambda L, F, x: 0.3 / x, label="number / x")
row("abs", EXACT, lambda L, F, x: x.abs())
row("sqrt", EXACT, lambda L, F, x: x.sqrt(), domain="positive")
row("rsqrt", CURVED, lambda L, F, x: x.rsqrt(), domain="positive")
row("clone", EXACT, lambda L, F, x: x.clone())
row("step", EXACT, lambda L, F, x: (x * 3).floor() + x.round() + x.sign())
row("cast", EXACT, lambda L, F, x: (x.float() * 0.3).to(x.dtype))
row("move", EXACT, lambda L, F, x: x.to("cpu") * 2)
row("clamp", EXACT, lambda L, F, x: x.clamp(-0.3, 0.7))
row("maximum", EXACT, lambda L, F, x, y: L.maximum(x, y), N, N)
row("minimum", EXACT, lambda L, F, x, y: L.minimum(x, y), N, N)
row("where", EXACT, lambda L, F, x, y: L.where(x > y, x, y), N, N)
row("masked_fill", EXACT, lambda L, F, x: x.masked_fill(x > 0.3, 0.3))
row("remainder", EXACT, lambda L, F, x, y: L.remainder(x, y), N, N, backward=CURVED)
row("remainder", EXACT, lambda L, F, x, y: L.fmod(x, y), N, N, label="fmod", backward=CURVED)
row("pow", EXACT, lambda L, F, x: x**2, label="2")
row("pow", EXACT, lambda L, F, x: x**3, label="3")
row("pow", EXACT, lambda L, F, x: x**-2, label="-2", backward=CURVED)
row("pow", CURVED, lambda L, F, x: x**0.5, domain="positive", label="1/2")
row("pow", CURVED, lambda L, F, x: x**-0.5, domain="positive", label="-1/2")
row("pow", CURVED, lambda L, F, x: x**0.3, domain="positive", label="number")
row("pow", CURVED, lambda L, F, x, y: x**y, N, N, domain="positive")
row("pow", CURVED, lambda L, F, x: 1.7**x, label="base")

# ------------------------------------------------------------------------ transcendental functions
for _name in ("exp", "expm1", "tanh", "sigmoid", "sin", "cos", "erf"):
    row(_name, CURVED, lambda L, F, x, _name=_name: getattr(x, _name)())
for _name in ("log", "log1p", "log2", "log10"):
    row(_name, CURVED, lambda L, F, x, _name=_name: getattr(x, _name)(), domain="positive")
row("relu", EXACT, lambda L, F, x: x.relu())
row("leaky_relu", EXACT, lambda L, F, x: F.leaky_relu(x, 0.01))
row("elu", CURVED, lambda L, F, x: F.elu(x, 1.3))
row("gelu", CURVED, lambda L, F, x: F.gelu(x), differing=2e-4)  # 1.6 of 10,000 on an Intel Xeon
row("gelu", CURVED, lambda L, F, x: F.gelu(x, approximate="tanh"), label="tanh")
row("silu", CURVED, lambda L, F, x: F.silu(x))
row("gated_activation", CURVED, lambda L, F, x: _gated(L, F, x, "silu"))
row("gated_activation", CURVED, lambda L, F, x: _gated(L, F, x, "gelu"), label="gelu")
row("gated_activation", CURVED, lambda L, F, x: _gated(L, F, x, "gelu_tanh"), label="gelu tanh")
row("softplus", CURVED, lambda L, F, x: F.softplus(x, beta=2.0, threshold=3.0))
row("logsigmoid", CURVED, lambda L, F, x: F.logsigmoid(x))


def _gated(L: Any, F: Any, x: Any, activation: str) -> Any:
    """PyTorch has its two steps."""
    if L is tg:
        return F.gated_activation(x, activation)
    a, b = x.chunk(2, -1)  # (N, 2F) -> (N, F) twice
    if activation == "silu":
        return F.silu(a) * b
    return F.gelu(a, approximate="tanh" if activation == "gelu_tanh" else "none") * b


# ------------------------------------------------------------------------------------ arrangement
def _dropped(L: Any, F: Any, x: Any) -> Any:
    L.manual_seed(0)
    return F.dropout(x, 0.3)


def _written(L: Any, F: Any, x: Any, v: Any) -> Any:
    y = x * 1.0
    y[3:7] = v
    return y


def _read(L: Any, F: Any, x: Any) -> Any:
    y = x * 1.0
    view = y[3:7]
    y.mul_(0.3)
    return view * 2


def _classes(L: Any) -> Any:
    return L.arange(200) % 128


row("dropout", EXACT, _dropped)
row("write_view", EXACT, _written, N, (4, 128))
row("read_view", EXACT, _read)
row("reshape", EXACT, lambda L, F, x: x.reshape(-1, 64))
row("permute", EXACT, lambda L, F, x: x.permute(1, 0))
row("expand", SUMMED, lambda L, F, x: x.unsqueeze(0).expand(3, *N))
row("cat", EXACT, lambda L, F, x, y: L.cat([x, y], 1), N, N)
row("split", EXACT, lambda L, F, x: x.split(50, 1)[1])
row("flip", EXACT, lambda L, F, x: x.flip(0))
row("roll", EXACT, lambda L, F, x: x.roll(3, 1))
row("tril", EXACT, lambda L, F, x: x.tril())
row("triu", EXACT, lambda L, F, x: x.triu(2))
row("pad", EXACT, lambda L, F, x: F.pad(x, (1, 2)))
row("index", EXACT, lambda L, F, x: x[[1, 1, 1, 2, 5]])
row("index_put", EXACT, lambda L, F, x: x.scatter(1, L.tensor([[1, 3], [4, 5]]), 0.3))
row("gather", EXACT, lambda L, F, x: x.gather(1, (L.arange(5000) * 7 % 128).view(200, 25)))
row("scatter_add", SUMMED, lambda L, F, x: (x.detach() * 0)[:, :7].scatter_add(
    1, (L.arange(25600) % 7).view(N), x))  # fmt: skip
row("scatter_reduce", EXACT, lambda L, F, x, y: x[:, :7].scatter_reduce(
    1, (L.arange(25600) % 7).view(N), y, "amax"), N, N, backward=SUMMED)  # fmt: skip
row("scatter_reduce", SUMMED, lambda L, F, x, y: x[:, :60].scatter_reduce(
    1, (L.arange(25600) % 128 // 4).view(N), y, "prod"), N, N, label="prod")  # fmt: skip
row("diagonal", EXACT, lambda L, F, x: x.diagonal(3) * 0.3)
row("embedding", EXACT, lambda L, F, w: F.embedding(L.arange(300) * 7 % 50, w), (50, 30))
row("rope", EXACT, lambda L, F, x: _rotated(L, x), (2, 3, 40, 16), backward=SUMMED)


def _rotated(L: Any, x: Any) -> Any:
    """rotate_half as model code writes it, which both libraries compose of the same ops."""
    angle = L.arange(40.0)[:, None] * L.arange(1.0, 9.0)[None, :]  # (T, R)
    cos, sin = (f(L.cat([angle, angle], 1)).to(x.dtype) for f in (L.cos, L.sin))
    a, b = x[..., :8], x[..., 8:]
    return x * cos + L.cat([-b, a], -1) * sin


# ------------------------------------------------------------------------ products and reductions
row("sum", SUMMED, lambda L, F, x: x.sum(1))
row("sum", SUMMED, lambda L, F, x: x.sum(), label="all")
row("mean", SUMMED, lambda L, F, x: x.mean(1))
row("mean", SUMMED, lambda L, F, x: x.mean(), label="all")
row("var", SUMMED, lambda L, F, x: x.var(1))
row("std", SUMMED, lambda L, F, x: x.std(1))
row("norm", SUMMED, lambda L, F, x: x.norm(dim=1))
row("extreme", EXACT, lambda L, F, x: x.amax(1), backward=SUMMED)
row("prod", SUMMED, lambda L, F, x: x[:, :7].prod(1))
row("cumsum", SUMMED, lambda L, F, x: x.cumsum(1))
# PyTorch's gradient divides sums that were rounded to half precision by x: far from the true one
row("cumprod", SUMMED, lambda L, F, x: x[:, :7].cumprod(1), backward="none")
row("softmax", SUMMED, lambda L, F, x: F.softmax(x, -1))
row("softmax", SUMMED, lambda L, F, x: F.softmax(x, 0), label="dim 0")
row("log_softmax", SUMMED, lambda L, F, x: F.log_softmax(x, -1))
row("log_softmax", SUMMED, lambda L, F, x: F.log_softmax(x, 0), label="dim 0")
row("logsumexp", SUMMED, lambda L, F, x: L.logsumexp(x, -1))
row("layer_norm", SUMMED, lambda L, F, x: F.layer_norm(x, N[1:]))
row("rms_norm", SUMMED, lambda L, F, x, w: F.rms_norm(x, N[1:], w, 1e-6), N, N[1:])
row("rms_norm", SUMMED, lambda L, F, x: F.rms_norm(x, N[1:]), label="default eps")
row("matmul", SUMMED, lambda L, F, a, b: a @ b, (64, 300), (300, 50))
row("matmul", SUMMED, lambda L, F, a, b: a @ b, (3, 64, 30), (3, 30, 50), label="batch")
row("einsum", SUMMED, lambda L, F, a, b: L.einsum("bij,bjk->bik", a, b), (3, 64, 30), (3, 30, 50))
row("conv1d", SUMMED, lambda L, F, x, w, b: F.conv1d(x, w, b, padding=2, dilation=2),
    (3, 6, 40), (10, 6, 3), (10,), backward=STORED)  # fmt: skip
row("conv1d", SUMMED, lambda L, F, x, w: F.conv1d(x, w, padding=3, groups=30),
    (3, 30, 40), (30, 1, 4), label="depthwise", backward=STORED)  # fmt: skip


def _grouped(L: Any, F: Any, x: Any, w: Any) -> Any:
    ends = L.tensor([7, 7, 64], dtype=L.int32)
    if L is tg:
        return F.grouped_mm(x, w, offs=ends)
    return L.cat([x[:7] @ w[0], x[7:] @ w[2]])  # PyTorch's own sums in bfloat16 on some CPUs


def _delta_rule(L: Any, F: Any, q: Any, k: Any, v: Any, g: Any, beta: Any) -> Any:
    """In float32 and rounded once; PyTorch has the steps only."""
    g, beta = -g.abs(), beta.sigmoid()
    if L is tg:
        return F.gated_delta_rule(q, k * 0.25, v, g, beta)
    dtype = v.dtype
    q, k, v, g, beta = (x.float() for x in (q, k * 0.25, v, g, beta))
    state, rows = L.zeros(2, 3, 8, 4), []
    for t in range(v.shape[2]):
        state = state * g[:, :, t, None, None].exp()
        missing = v[:, :, t] - (state * k[:, :, t, :, None]).sum(-2)
        state = state + k[:, :, t, :, None] * (missing * beta[:, :, t, None])[:, :, None]
        rows.append((state * q[:, :, t, :, None]).sum(-2))
    return L.stack(rows, 2).to(dtype)


row("grouped_mm", SUMMED, _grouped, (64, 30), (3, 30, 50))
row("gated_delta_rule", SUMMED, _delta_rule, (2, 3, 20, 8), (2, 3, 20, 8), (2, 3, 20, 4),
    (2, 3, 20), (2, 3, 20))  # fmt: skip


def _scan(L: Any, F: Any, x: Any, delta: Any, a: Any, b: Any, c: Any) -> Any:
    """In float32 and rounded once; PyTorch has the steps only."""
    delta, a = delta.abs(), -a.abs()
    if L is tg:
        return F.selective_scan(x, delta, a, b, c)
    dtype = x.dtype
    x, delta, a, b, c = (v.float() for v in (x, delta, a, b, c))
    h, rows = L.zeros(2, 6, 4), []
    for t in range(x.shape[2]):
        step = delta[:, :, t, None]
        h = (step * a).exp() * h + step * x[:, :, t, None] * b[:, None, :, t]
        rows.append((h * c[:, None, :, t]).sum(-1))
    return L.stack(rows, 2).to(dtype)


row("selective_scan", SUMMED, _scan, (2, 6, 20), (2, 6, 20), (6, 4), (2, 4, 20), (2, 4, 20))


def _chain(L: Any, F: Any, emissions: Any, transitions: Any, start: Any, end: Any) -> Any:
    """In float32 and rounded once; PyTorch has the steps only."""
    if L is tg:
        return F.crf_log_partition(emissions, transitions, start, end)
    dtype = emissions.dtype
    emissions, transitions, start, end = (v.float() for v in (emissions, transitions, start, end))
    alpha = start + emissions[:, 0]
    for t in range(1, emissions.shape[1]):
        alpha = L.logsumexp(alpha[:, :, None] + transitions, 1) + emissions[:, t]
    return L.logsumexp(alpha + end, 1).to(dtype)


row("crf_log_partition", SUMMED, _chain, (5, 20, 6), (6, 6), (6,), (6,))
row("linear", SUMMED, lambda L, F, x, w, b: F.linear(x, w, b), (4, 33, 300), (50, 300), (50,))
# PyTorch has no such function: its three round h and gelu(h), which is rounded once here
row("linear_gelu_linear", STORED, lambda L, F, x, w, b, v, c: F.linear(F.gelu(F.linear(
    x, w, b), approximate="tanh"), v, c) if L is torch else F.linear_gelu_linear(
    x, w, b, v, c, "tanh"), (50, 30), (64, 30), (64,), (40, 64), (40,))  # fmt: skip
row("scaled_dot_product_attention", STORED, lambda L, F, q, k, v: F.scaled_dot_product_attention(
    q, k, v), *[(2, 3, 40, 16)] * 3)  # fmt: skip
row("scaled_dot_product_attention", STORED, lambda L, F, q, k, v: F.scaled_dot_product_attention(
    q, k, v, is_causal=True), *[(2, 3, 40, 16)] * 3, label="causal")  # fmt: skip
for _reduction in ("mean", "sum", "none"):
    row("cross_entropy", SUMMED, lambda L, F, x, r=_reduction: F.cross_entropy(
        x, _classes(L), reduction=r), label=_reduction)  # fmt: skip
    row("nll_loss", SUMMED, lambda L, F, x, r=_reduction: F.nll_loss(
        x, _classes(L), reduction=r), label=_reduction)  # fmt: skip
row("cross_entropy", SUMMED, lambda L, F, x: F.cross_entropy(
    x, _classes(L), label_smoothing=0.1, ignore_index=3), label="smoothing")  # fmt: skip
row("nll_loss", SUMMED, lambda L, F, x: F.nll_loss(
    x, _classes(L), (L.arange(128) * 0.01).to(x.dtype)), label="weights")  # fmt: skip
# PyTorch has no such function: there the logits' gradient, which is never formed here, is rounded
row("linear_cross_entropy", STORED, lambda L, F, x, w: F.cross_entropy(
    F.linear(x, w), _classes(L)) if L is torch else F.linear_cross_entropy(
    x, w, _classes(L)), (200, 30), (128, 30), backward="none")  # fmt: skip
row("mse_loss", EXACT, lambda L, F, x, t: F.mse_loss(x, t, reduction="none"), N, N)
row("binary_cross_entropy", CURVED, lambda L, F, x, t: F.binary_cross_entropy(
    x, t, reduction="none"), N, N, domain="unit")  # fmt: skip
row("binary_cross_entropy_with_logits", CURVED, lambda L, F, x, t:
    F.binary_cross_entropy_with_logits(x, t, reduction="none"), N, N, domain="unit")  # fmt: skip
row("kl_div", STORED, lambda L, F, x: F.kl_div(x, F.softmax(
    x.detach(), -1), reduction="none"))  # fmt: skip

# ------------------------------------------------------- functions of several ops, rounded once
row("", CURVED, lambda L, F, x: x.tan(), label="tan")
row("", CURVED, lambda L, F, x: x.exp2(), label="exp2")
row("", CURVED, lambda L, F, x: x.sinh(), label="sinh")
row("", CURVED, lambda L, F, x: x.cosh(), label="cosh")
for _name in ("asin", "acos", "atan", "asinh", "atanh"):
    row("", CURVED, lambda L, F, x, f=_name: getattr(L, f)(x * 0.2), label=_name,
        differing=1e-3 if _name == "asin" else 1e-4)  # fmt: skip
for _name in ("lgamma", "digamma", "sinc", "ndtr", "entr"):
    row("", SUMMED if _name in ("ndtr", "entr") else CURVED,
        lambda L, F, x, f=_name: getattr(L.special, f.replace("lgamma", "gammaln"))(
            x.abs() + 2.5 if "gamma" in f else x.abs() if f == "entr" else x),
        label=_name, backward=STORED if _name == "ndtr" else "")  # fmt: skip
row("", CURVED, lambda L, F, x: L.erfinv(x * 0.2), label="erfinv")
row("", CURVED, lambda L, F, x: L.polygamma(2, x.abs() + 2.5), label="polygamma")
row("", CURVED, lambda L, F, x: L.mvlgamma(x.abs() + 2.5, 2), label="mvlgamma")
row("", SUMMED, lambda L, F, x, y: L.special.xlog1py(x, y.abs()), N, N,
    label="xlog1py")  # fmt: skip
row("", CURVED, lambda L, F, x: L.acosh(x * x + 1.0), label="acosh")
row("", SUMMED, lambda L, F, x, y: L.atan2(x, y), N, N, label="atan2")
row("", EXACT, lambda L, F, x, y: L.copysign(x, y), N, N, label="copysign")
row("", SUMMED, lambda L, F, x, y: L.logaddexp2(x, y), N, N, label="logaddexp2")
row("", CURVED, lambda L, F, x: F.hardswish(x), label="hardswish")
row("", CURVED, lambda L, F, x: F.selu(x), label="selu")
row("", SUMMED, lambda L, F, x: F.mish(x), label="mish")
row("", SUMMED, lambda L, F, x: F.glu(x), label="glu")
row("", SUMMED, lambda L, F, x: x.norm(3, dim=1), label="norm 3")
row("", SUMMED, lambda L, F, x, y: L.lerp(x, y, 0.3), N, N, label="lerp")
row("", SUMMED, lambda L, F, x, y: L.addcmul(x, x, y, value=0.3), N, N,
    label="addcmul")  # fmt: skip
row("", SUMMED, lambda L, F, x, y: L.addcdiv(x, x, y, value=0.3), N, N,
    label="addcdiv")  # fmt: skip
row("", SUMMED, lambda L, F, x, y: L.hypot(x, y), N, N, label="hypot")
row("", SUMMED, lambda L, F, x, y: L.logaddexp(x, y), N, N, label="logaddexp")
for _name, _shape in (("addmm", (64, 50)), ("addmm", (50,)), ("addmm", (64, 1)), ("addmm", ())):
    row("", SUMMED, lambda L, F, c, a, b: L.addmm(c, a, b, beta=0.3, alpha=0.7), _shape, (64, 300),
        (300, 50), label=f"addmm {_shape}", backward=STORED)  # fmt: skip
row("", SUMMED, lambda L, F, c, a, b: L.baddbmm(c, a, b, beta=0.3, alpha=0.7), (3, 64, 50),
    (3, 64, 30), (3, 30, 50), label="baddbmm", backward=STORED)  # fmt: skip
row("", SUMMED, lambda L, F, c, a, b: L.addmm(c, a, b), (50,), (64, 300), (300, 50),
    label="addmm bias")  # fmt: skip
for _width in (1.0, 0.3, 1.7):
    for _reduction in ("none", "mean", "sum"):
        row("", EXACT if _reduction == "none" else SUMMED, lambda L, F, x, t, w=_width,
            r=_reduction: F.huber_loss(x, t, r, w), N, N,
            label=f"huber {_width} {_reduction}")  # fmt: skip
        row("", CURVED if _reduction == "none" else SUMMED, lambda L, F, x, t, w=_width,
            r=_reduction: F.smooth_l1_loss(x, t, reduction=r, beta=w), N, N,
            label=f"smooth_l1 {_width} {_reduction}")  # fmt: skip
for _reduction in ("mean", "sum"):
    row("mse_loss", SUMMED, lambda L, F, x, t, r=_reduction: F.mse_loss(x, t, reduction=r), N, N,
        label=_reduction)  # fmt: skip
    row("", SUMMED, lambda L, F, x, t, r=_reduction: F.l1_loss(x, t, reduction=r), N, N,
        label=f"l1 {_reduction}")  # fmt: skip
row("", CURVED, lambda L, F, x, y: L.xlogy(x, y), N, N, domain="positive", label="xlogy")
row("", CURVED, lambda L, F, x, y: L.xlogy(x, y), N, N[1:], domain="positive",
    label="xlogy broadcast", backward=STORED)  # fmt: skip
row("", CURVED, lambda L, F, x: L.xlogy(2.3, x), domain="positive", label="xlogy number")
row("", CURVED, lambda L, F, x: L.xlogy(x, 2.3), label="xlogy of a number")
row("", CURVED, lambda L, F, x: x.atan(), label="atan far")
row("", CURVED, lambda L, F, x: x.erfc(), label="erfc")
row("", CURVED, lambda L, F, x: x.logit(), domain="unit", label="logit")
for _eps in (0.2, 1e-3, 0.0):
    row("", CURVED, lambda L, F, x, e=_eps: x.logit(e), domain="unit", label=f"logit {_eps}")
row("", CURVED, lambda L, F, x: L.special.entr(x), domain="positive", label="entr near 0")
row("", CURVED, lambda L, F, x: L.polygamma(3, x.abs() + 2.5), label="polygamma 3")
row("", CURVED, lambda L, F, x: F.glu(x, 0), label="glu 0")
for _p in (0.5, 1, 1.5, 2.5, math.inf):
    row("", SUMMED, lambda L, F, x, p=_p: x.norm(p, dim=1), label=f"norm {_p}")


# ------------------------------------------------------------------------------------- comparison
def drawn(shape: tuple, domain: str, rng: Any) -> Any:
    x = rng.standard_normal(shape)
    if domain == "positive":
        x = abs(x) + 0.01
    if domain == "unit":
        x = 1.0 / (1.0 + np.exp(-x))
    return x.astype(np.float32)


def numbers(t: Any) -> Any:
    """A tensor of either library as a float32 array of at least one dimension."""
    return np.atleast_1d(np.asarray(t.detach().float().numpy()))


def unit(x: Any, dtype: str) -> Any:
    """The distance from |x| to the next number of a half precision."""
    digits, least = (7, -133) if dtype == "bfloat16" else (10, -24)
    exponent = np.frexp(np.abs(x))[1] - 1.0
    return 2.0 ** np.maximum(exponent - digits, least)


def check(
    kind: str, ours: Any, theirs: Any, what: str, gradient: bool = False, most: float = 1e-4
) -> None:
    """The class's bound; NaN and infinities stand at the same places."""
    assert str(ours.dtype) == str(theirs.dtype), what
    dtype = str(theirs.dtype).removeprefix("torch.")
    a, b = numbers(ours), numbers(theirs)
    assert a.shape == b.shape, what
    finite = np.isfinite(b)
    np.testing.assert_array_equal(a[~finite], b[~finite], what)
    a, b = a[finite].astype(float), b[finite].astype(float)
    off = np.abs(a - b)
    if kind == EXACT:
        assert not off.any(), f"{what}: {(off > 0).mean():.2%} differ"
        return
    largest = np.abs(b).max(initial=0.0)
    step = unit(np.maximum(np.abs(a), np.abs(b)), dtype)
    if kind == STORED:
        step = unit(np.full_like(b, largest), dtype)
    wrong = off > np.maximum(step * 1.01, 1e-5 * largest)
    few = gradient and wrong.mean() <= 1e-4 and (off[wrong] <= 2.02 * step[wrong]).all()
    assert few or not wrong.any(), f"{what}: {(off / step)[wrong].max()} units in {wrong.mean():%}"
    if kind == CURVED:
        differing = (off > 1e-6 * largest).mean()
        assert differing <= most, f"{what}: {differing * 1e4:.1f} of 10,000 differ"


def results(f: Any, dtype: str, arrays: list, L: Any, F: Any) -> list:
    """The value and the gradients, with a random upstream gradient."""
    tensors = [L.tensor(x).to(getattr(L, dtype)).requires_grad_() for x in arrays]
    y = f(L, F, *tensors)
    g = np.random.default_rng(2).standard_normal(tuple(y.shape)).astype(np.float32)
    y.backward(L.tensor(g).to(y.dtype))
    return [y, *[t.grad for t in tensors]]


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("case", ROWS, ids=lambda r: r.id)
def test_rounds_where_pytorch_rounds(case, dtype):
    rng = np.random.default_rng(1)
    arrays = [drawn(s, case.domain, rng) for s in case.shapes]
    ours = results(case.f, dtype, arrays, tg, tg_F)
    theirs = results(case.f, dtype, arrays, torch, torch_F)
    check(case.kind, ours[0], theirs[0], "forward", most=case.differing)
    if case.backward != "none":
        for i, (a, b) in enumerate(zip(ours[1:], theirs[1:], strict=True)):
            check(case.backward or case.kind, a, b, f"gradient {i}", True, case.differing)


def test_every_op_has_a_class():
    """An op of the table without a row here would be an op whose rounding nobody compared."""
    not_in_half = {"solve", "logabsdet"}  # PyTorch refuses them in half precisions, and so do we
    assert {c.op.name for c in CASES} - not_in_half == {r.op for r in ROWS if r.op}


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("name", ["solve", "inv", "det", "slogdet"])
def test_matrices_are_not_solved_in_half_precision(name, dtype):
    for library in (tg, torch):
        x = library.eye(2).to(getattr(library, dtype))
        with pytest.raises((RuntimeError, NotImplementedError)):
            getattr(library.linalg, name)(*[x] * (2 if name == "solve" else 1))


@pytest.mark.parametrize("dtype", HALVES)
def test_layer_norm_weights(dtype):
    """PyTorch's CPU adds the rows of these two gradients in half precision, thread by thread; ours
    are those of its float32, rounded once."""
    rng = np.random.default_rng(1)
    arrays = [drawn(s, "normal", rng) for s in (N, N[1:], N[1:])]
    arrays = [x.astype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype).astype(np.float32)
              for x in arrays]  # fmt: skip

    def f(L, F, x, w, b):
        return F.layer_norm(x, N[1:], w, b)

    ours, theirs = results(f, dtype, arrays, tg, tg_F), results(f, dtype, arrays, torch, torch_F)
    exact = results(f, "float32", arrays, torch, torch_F)
    for i in (0, 1):
        check(SUMMED, ours[i], theirs[i], str(i))
    for i in (2, 3):
        step = unit(numbers(exact[i]).max(), dtype)
        assert np.abs(numbers(ours[i]) - numbers(exact[i])).max() <= 2 * step


# ----------------------------------------------------- numbers and 0-d tensors beside a half tensor
NUMBERS = (0.1, -3, 257, 1e-3, 7 / 3, 1000.5, -0.7, 3.0e38, math.inf, math.nan)
OPERATORS = {
    "x + n": lambda x, n: x + n, "n + x": lambda x, n: n + x, "x - n": lambda x, n: x - n,
    "n - x": lambda x, n: n - x, "x * n": lambda x, n: x * n, "n * x": lambda x, n: n * x,
    "x / n": lambda x, n: x / n, "n / x": lambda x, n: n / x, "x % n": lambda x, n: x % n,
    "x.mul_": lambda x, n: x.clone().mul_(n), "x.add_": lambda x, n: x.clone().add_(n),
    "x.div_": lambda x, n: x.clone().div_(n), "x.sub_": lambda x, n: x.clone().sub_(n),
}  # fmt: skip


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_numbers_and_0d_tensors(operator, dtype):
    """The rounding of the number, in every operator, as a Python number and as a 0-d tensor."""
    array = np.random.default_rng(3).standard_normal(512).astype(np.float32)
    kinds = [lambda L, n: n, lambda L, n: L.tensor(float(n)),
             lambda L, n: L.tensor(n, dtype=L.float64), lambda L, n: L.tensor(n).to(
                 getattr(L, dtype))]  # fmt: skip
    for n in NUMBERS:
        for i, kind in enumerate(kinds):
            ours, theirs = (
                OPERATORS[operator](L.tensor(array).to(getattr(L, dtype)), kind(L, n))
                for L in (tg, torch)
            )
            check(EXACT, ours, theirs, f"{operator} with {n}, {i}")


@pytest.mark.parametrize("dtype", HALVES)
def test_gradient_of_a_0d_factor(dtype):
    """∂L/∂s of a float32 number s beside a half tensor is float32, from rounded products."""
    grads = []
    for L in (tg, torch):
        x = L.tensor(np.linspace(-2, 3, 256).astype(np.float32)).to(getattr(L, dtype))
        s = L.tensor(0.3, requires_grad=True)
        (x * s).float().pow(2).sum().backward()
        grads.append(s.grad)
    assert str(grads[0].dtype) == "torch.float32"
    check(SUMMED, *[g.to(getattr(L, dtype)) for g, L in zip(grads, (tg, torch), strict=True)], "s")


@pytest.mark.parametrize("dtype", HALVES)
def test_two_0d_tensors_promote(dtype):
    """Beside a 0-d half tensor a 0-d float32 tensor is not a number: the result is float32."""
    for L in (tg, torch):
        x = L.tensor(3.0).to(getattr(L, dtype))
        assert str((x * L.tensor(0.3)).dtype) == "torch.float32"
        assert str((x * 0.3).dtype) == f"torch.{dtype}"


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("shape", [(16,), (17, 33), (100, 7), (257, 5), (1000, 11)])
def test_cross_entropy_of_more_shapes(shape, dtype):
    """The sums of nll_loss in groups of 16, ignored targets among them."""
    for ignored in (-100, 2):
        for reduction in ("mean", "sum", "none"):
            values = []
            for L, F in ((tg, tg_F), (torch, torch_F)):
                L.manual_seed(0)
                x = L.randn(*shape).to(getattr(L, dtype))
                t = L.arange(shape[0]) % shape[1] if len(shape) > 1 else L.tensor(3)
                values.append(F.cross_entropy(x, t, ignore_index=ignored, reduction=reduction))
            check(SUMMED, *values, f"{ignored} {reduction}")


@pytest.mark.parametrize("dtype", HALVES)
def test_an_op_saves_half_precision(dtype):
    """What backward needs of inputs and outputs is kept in two bytes per element."""
    x = tg.randn(8, 16).to(getattr(tg, dtype)).requires_grad_()
    for y in (x * x, x.exp(), x.tanh(), x / x, tg_F.softmax(x, -1)):
        assert {a.dtype.itemsize for a in y._op.saved if a is not None} == {2}, y
