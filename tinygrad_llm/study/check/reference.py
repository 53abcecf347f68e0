"""The slow twin of each fused op: the same numbers out of primitives, by the definition.

A twin takes an op's inputs and options, as tensors, and defines no backward: its derivative comes
from the chain rule alone, over exp, log, sum, matmul and the like. So its gradient is what the
fused op's formula must compute, and reading both shows what was fused.
`TWINS` maps an op's name to its twin.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from ...functions.creation.filled import ones_like
from ...functions.embedding import one_hot
from ...functions.selection import where
from ...functions.shape.join import cat, stack
from ...tensor import Tensor, wrap
from ...tensor.dtypes import bool_

TWINS: dict[str, Callable[..., Tensor]] = {}


def twin(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Enter a twin in TWINS under its name, which is the op's name."""
    TWINS[function.__name__] = function
    return function


def _tensor(value: Any) -> Any:
    return value if value is None or isinstance(value, Tensor) else wrap(value)


# -------------------------------------------------------------------------------- activations
@twin
def relu(x: Tensor) -> Tensor:
    return where(x > 0, x, x * 0)


@twin
def leaky_relu(x: Tensor, negative_slope: float = 0.01) -> Tensor:
    return where(x > 0, x, x * negative_slope)


@twin
def elu(x: Tensor, alpha: float = 1.0) -> Tensor:
    return where(x > 0, x, (x.clamp(max=0.0).exp() - 1.0) * alpha)


@twin
def gelu(x: Tensor, approximate: str = "none") -> Tensor:
    if approximate == "tanh":
        u = (x + x * x * x * 0.044715) * math.sqrt(2.0 / math.pi)
        return x * (u.tanh() + 1.0) * 0.5
    return x * ((x * math.sqrt(0.5)).erf() + 1.0) * 0.5


@twin
def silu(x: Tensor) -> Tensor:
    return x / ((-x).exp() + 1.0)


@twin
def gated_activation(x: Tensor, activation: str = "silu") -> Tensor:
    """The gate and the other factor apart, as two tensors."""
    n = x.shape[-1] // 2
    gate, up = x[..., :n], x[..., n:]  # (..., F) each
    if activation == "silu":
        return silu(gate) * up
    return gelu(gate, "tanh" if activation == "gelu_tanh" else "none") * up


@twin
def softplus(x: Tensor, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    z = x * beta
    curved = (z.clamp(max=threshold).exp() + 1.0).log() / beta
    return where(z > threshold, x, curved)


@twin
def logsigmoid(x: Tensor) -> Tensor:
    return -((-x).exp() + 1.0).log()


# ------------------------------------------------------------------------------------ softmax
@twin
def softmax(x: Tensor, dim: int = -1) -> Tensor:
    e = (x - x.detach().amax(dim, keepdim=True)).exp()
    return e / e.sum(dim, keepdim=True)


@twin
def log_softmax(x: Tensor, dim: int = -1) -> Tensor:
    return x - logsumexp(x, dim, keepdim=True)


@twin
def logsumexp(x: Tensor, dim: Any = -1, keepdim: bool = False) -> Tensor:
    m = x.detach().amax(dim, keepdim=True)
    y = (x - m).exp().sum(dim, keepdim=True).log() + m
    return y if keepdim else y.squeeze(dim)


# --------------------------------------------------------------------------------- the layers
@twin
def layer_norm(
    x: Tensor, w: Tensor | None = None, b: Tensor | None = None, eps: float = 1e-5
) -> Tensor:
    mean = x.mean(-1, keepdim=True)
    variance = ((x - mean) ** 2).mean(-1, keepdim=True)
    y = (x - mean) / (variance + eps).sqrt()
    y = y if w is None else y * w
    return y if b is None else y + b


@twin
def rms_norm(x: Tensor, w: Tensor | None = None, eps: float = 1e-6) -> Tensor:
    y = x / ((x**2).mean(-1, keepdim=True) + eps).sqrt()
    return y if w is None else y * w


@twin
def linear(x: Tensor, w: Tensor, b: Tensor | None = None) -> Tensor:
    y = x @ w.transpose(0, 1)
    return y if b is None else y + b


@twin
def linear_gelu_linear(
    x: Tensor, w: Tensor, b: Tensor | None, v: Tensor, c: Tensor | None, approximate: str = "none"
) -> Tensor:
    return linear(gelu(linear(x, w, b), approximate), v, c)


@twin
def embedding(
    w: Tensor, ids: Any, padding_idx: int | None = None, scale_grad_by_freq: bool = False
) -> Tensor:
    """One-hot rows times the table. The two options change only the gradient."""
    ids = _tensor(ids).long()
    rows = one_hot(ids, w.shape[0]).to(w.dtype)  # (..., V)
    flow = w
    if padding_idx is not None:  # the row's value without its history
        lost = one_hot(wrap(ids.array * 0 + padding_idx).reshape(-1)[:1], w.shape[0]).reshape(-1, 1)
        flow = w - w * lost.to(w.dtype) + (w * lost.to(w.dtype)).detach()
    if scale_grad_by_freq:  # value w, gradient divided by the count
        count = rows.reshape(-1, w.shape[0]).sum(0).clamp(min=1.0).reshape(-1, 1)
        flow = flow / count + (flow - flow / count).detach()
    return rows @ flow


@twin
def conv1d(
    x: Tensor, w: Tensor, b: Tensor | None = None, stride: int = 1, padding: int = 0,
    dilation: int = 1, groups: int = 1,
) -> Tensor:  # fmt: skip
    """Each output is the sum of products of a filter with the part of x that it sees."""
    outputs, inputs, taps = w.shape
    zeros = x[..., :1].detach() * 0.0
    x = cat([*[zeros] * padding, x, *[zeros] * padding], -1)  # (B, C, T + 2p)
    rows = []
    for o in range(outputs):
        first = o // (outputs // groups) * inputs
        channels = x[:, first : first + inputs]  # (B, I, T + 2p)
        parts = []
        for t in range(0, x.shape[-1] - dilation * (taps - 1), stride):
            seen = channels[..., t : t + dilation * (taps - 1) + 1 : dilation]  # (B, I, K)
            parts.append((seen * w[o]).sum((-2, -1)))  # (B)
        row = stack(parts, -1)  # (B, S)
        rows.append(row if b is None else row + b[o])
    return stack(rows, 1)  # (B, O, S)


@twin
def grouped_mm(x: Tensor, w: Tensor, offs: Any) -> Tensor:
    """Row by row: each times its group's matrix."""
    ends = _tensor(offs).tolist()
    group = [sum(end <= n for end in ends) for n in range(x.shape[0])]
    if not group:
        return x @ w[0]
    return stack([(x[n].unsqueeze(-1) * w[e]).sum(0) for n, e in enumerate(group)])


@twin
def gated_delta_rule(
    q: Tensor, k: Tensor, v: Tensor, g: Tensor, beta: Tensor, chunk: int = 64
) -> Tensor:
    """One token after the other; the chunk changes nothing."""
    state = k[:, :, 0].unsqueeze(-1) * v[:, :, 0].unsqueeze(-2) * 0.0  # (B, H, K, D)
    rows = []
    for t in range(k.shape[2]):
        now = k[:, :, t].unsqueeze(-1)  # (B, H, K, 1)
        state = state * g[:, :, t].exp().unsqueeze(-1).unsqueeze(-1)
        missing = v[:, :, t] - (state * now).sum(-2)  # (B, H, D)
        state = state + now * (missing * beta[:, :, t].unsqueeze(-1)).unsqueeze(-2)
        rows.append((state * q[:, :, t].unsqueeze(-1)).sum(-2))
    return stack(rows, 2)  # (B, H, T, D)


@twin
def selective_scan(
    x: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor, chunk: int = 16,
    parallel: bool = False,
) -> Tensor:  # fmt: skip
    """One token after the other; chunk and parallel change nothing."""
    h = x[:, :, :1] * a * 0.0  # (B, D, N)
    rows = []
    for t in range(x.shape[2]):
        step = delta[:, :, t].unsqueeze(-1)  # (B, D, 1)
        new = step * x[:, :, t].unsqueeze(-1) * b[:, :, t].unsqueeze(1)
        h = (step * a).exp() * h + new
        rows.append((h * c[:, :, t].unsqueeze(1)).sum(-1))
    return stack(rows, 2)  # (B, D, T)


@twin
def crf_log_partition(
    emissions: Tensor, transitions: Tensor, start: Tensor, end: Tensor, mask: Any = None
) -> Tensor:
    """The forward algorithm: α of one token after the other, summed over the tag before."""
    seen, alpha = _tensor(mask), start + emissions[:, 0] + transitions[0] * 0.0  # (B, K)
    for t in range(1, emissions.shape[1]):
        through = alpha.unsqueeze(2) + transitions  # (B, K, K)
        longer = logsumexp(through, 1) + emissions[:, t]
        alpha = longer if seen is None else where(seen[:, t : t + 1], longer, alpha)
    return logsumexp(alpha + end, -1)  # (B, K) -> (B)


@twin
def dropout(x: Tensor, keep: Any, p: float = 0.5) -> Tensor:
    return x * _tensor(keep).to(x.dtype) / (1.0 - p) if p < 1.0 else x * 0.0


@twin
def rope(x: Tensor, cos: Any, sin: Any, interleaved: bool = False) -> Tensor:
    cos, sin = _tensor(cos), _tensor(sin)
    n = cos.shape[-1]
    unpaired = x[..., 2 * n :]
    if interleaved:
        a, b = x[..., 0 : 2 * n : 2], x[..., 1 : 2 * n : 2]
        turned = stack([a * cos - b * sin, b * cos + a * sin], -1).flatten(-2)
    else:
        a, b = x[..., :n], x[..., n : 2 * n]
        turned = cat([a * cos - b * sin, b * cos + a * sin], -1)
    return cat([turned, unpaired], -1)


@twin
def scaled_dot_product_attention(
    q: Tensor, k: Tensor, v: Tensor, mask: Any = None, keep: Any = None, is_causal: bool = False,
    scale: float | None = None, dropout_p: float = 0.0,
) -> Tensor:  # fmt: skip
    """All L × S weights together. A row that may look at no key gets 0, as in the op."""
    if q.ndim > 2 and q.shape[-3] != k.shape[-3]:
        group = q.shape[-3] // k.shape[-3]
        k, v = k.repeat_interleave(group, -3), v.repeat_interleave(group, -3)
    scores = q @ k.transpose(-2, -1) * (q.shape[-1] ** -0.5 if scale is None else scale)
    mask = _tensor(mask)
    if mask is not None:
        scores = where(mask, scores, -math.inf) if mask.array.dtype == bool else scores + mask
    if is_causal:
        scores = where(ones_like(scores, dtype=bool_).tril(), scores, -math.inf)
    some = (scores > -math.inf).any(-1, keepdim=True)
    weights = where(some, softmax(where(some, scores, 0.0), -1), 0.0)
    if keep is not None:
        weights = dropout(weights, keep, dropout_p)
    return weights @ v


# ------------------------------------------------------------------------------------- losses
def _reduced(losses: Tensor, reduction: str, divisor: Any) -> Tensor:
    if reduction == "none":
        return losses
    return losses.sum() / divisor if reduction == "mean" else losses.sum()


def _onehot(x: Tensor, t: Any, w: Any, ignore_index: int) -> tuple[Tensor, Tensor]:
    """w_t·onehot(t), zero in ignored rows, and a column that is 1 in the others."""
    t, w = _tensor(t).long(), _tensor(w)
    kept = (t != ignore_index).to(x.dtype).unsqueeze(-1)  # (..., 1)
    q = one_hot(where(t != ignore_index, t, t * 0), x.shape[-1]).to(x.dtype) * kept  # (..., C)
    return q if w is None else q * w, kept


@twin
def cross_entropy(
    x: Tensor, t: Any, w: Any = None, ignore_index: int = -100, label_smoothing: float = 0.0,
    reduction: str = "mean",
) -> Tensor:  # fmt: skip
    hard, kept = _onehot(x, t, w, ignore_index)
    spread = kept if w is None else kept * _tensor(w)
    q = hard * (1.0 - label_smoothing) + spread * (label_smoothing / x.shape[-1])
    losses = -(q * log_softmax(x, -1)).sum(-1)
    return _reduced(losses, reduction, hard.sum())


@twin
def linear_cross_entropy(
    x: Tensor, w: Tensor, t: Any, b: Tensor | None = None, class_weight: Any = None,
    **options: Any,
) -> Tensor:  # fmt: skip
    return cross_entropy(linear(x, w, b), t, class_weight, **options)


@twin
def nll_loss(
    x: Tensor, t: Any, w: Any = None, ignore_index: int = -100, reduction: str = "mean"
) -> Tensor:
    hard, _ = _onehot(x, t, w, ignore_index)
    return _reduced(-(hard * x).sum(-1), reduction, hard.sum())


@twin
def mse_loss(x: Tensor, t: Tensor) -> Tensor:
    return (x - t) ** 2


@twin
def binary_cross_entropy(x: Tensor, t: Tensor) -> Tensor:
    tiny = math.exp(-100.0)
    return -(t * x.clamp(min=tiny).log() + (1.0 - t) * (1.0 - x).clamp(min=tiny).log())


@twin
def binary_cross_entropy_with_logits(x: Tensor, t: Tensor, w: Any = 1.0) -> Tensor:
    p = x.sigmoid()
    return -(t * p.log() * (_tensor(w) if hasattr(w, "shape") else w) + (1.0 - t) * (1.0 - p).log())


@twin
def kl_div(x: Tensor, t: Tensor, log_target: bool = False) -> Tensor:
    if log_target:
        return t.exp() * (t - x)
    return t * (where(t > 0, t, 1.0).log() - x)
