"""Named mistakes of attention and of the losses."""

from __future__ import annotations

import math

import numpy as np

from ...arrays.reductions import unbroadcast
from ...arrays.special import sigmoid
from .base import FIRST_COPY, changed, forgets_g, given, negated, no_g, true, wrong


# ----------------------------------------------------------------------------------- attention
def attention(
    q_scale=None, k_scale=None, causal=True, masked=True, dropped=True, softmax=True, d=True,
    swapped=False, v_weights=True, shared="sum", p_for_gp=False,
):  # fmt: skip
    """Attention's backward with all of its L × S weights together, and one piece of it wrong."""

    def backward(op, g):
        q, k, v, mask, keep = given(op, 5)
        scale = op.scale
        group = q.shape[-3] // k.shape[-3] if q.ndim > 2 else 1
        k_all, v_all = (np.repeat(a, group, -3) if a.ndim > 2 else a for a in (k, v))
        s = q @ k_all.swapaxes(-1, -2) * scale  # (..., L, S)
        seen = np.ones(s.shape[-2:], bool)
        if op.band.causal and causal:
            seen = np.tril(seen, op.band.offset)
        if mask is not None and masked:
            if mask.dtype == bool:
                seen = seen & mask
            else:
                s = s + mask
        s = np.where(seen, s, -math.inf)
        top = np.maximum(s.max(-1, keepdims=True), -1e300)
        e = np.exp(s - top)
        p = e / np.maximum(e.sum(-1, keepdims=True), 1e-300)
        kept = 1.0
        if keep is not None and dropped:
            kept = keep * op.keep_scale
        gp = (g @ v_all.swapaxes(-1, -2)) * kept
        gv = ((p * kept) if v_weights else np.broadcast_to(p * 0 + 1.0, p.shape)).swapaxes(
            -1, -2
        ) @ g
        if not softmax:
            gs = gp * p * (1.0 - p)
        elif p_for_gp:
            gs = gp - (gp * p).sum(-1, keepdims=True)
        else:
            gs = p * (gp - ((gp * p).sum(-1, keepdims=True) if d else 0.0))
        gq = gs @ (q if swapped and q.shape == k_all.shape else k_all)
        gk = gs.swapaxes(-1, -2) @ (k_all if swapped and q.shape == k_all.shape else q)
        gq = gq * (scale if q_scale is None else q_scale(scale))
        gk = gk * (scale if k_scale is None else k_scale(scale))
        if k.ndim > 2 and group > 1:
            gk, gv = (_heads(a, group, shared) for a in (gk, gv))
        gm = None
        if mask is not None and mask.dtype != bool:
            gm = unbroadcast(gs, mask.shape)
        return (gq, gk, gv, gm, None)[: len(op.given)]

    return backward


def _heads(a, group, shared):
    """(..., H·R, L, ·) -> (..., H, L, ·)"""
    a = a.reshape(*a.shape[:-3], a.shape[-3] // group, group, *a.shape[-2:])
    return a.sum(-3) if shared == "sum" else a[..., 0, :, :]


wrong(
    "scaled_dot_product_attention",
    ("1/√d forgotten", "∂L/∂q and ∂L/∂k lack the factor scale = 1/√E: s = q·kᵀ·scale.",
     attention(lambda s: 1.0, lambda s: 1.0)),
    ("1/√d forgotten for k", "∂L/∂k lacks the factor scale = 1/√E: it stands in s for both.",
     attention(k_scale=lambda s: 1.0)),
    ("1/√d twice", "∂L/∂q and ∂L/∂k have the factor scale twice: once is enough.",
     attention(lambda s: s * s, lambda s: s * s)),
    ("causal mask forgotten in backward", "The weights p are computed again without the causal "
     "mask: forward had it, so that p is 0 in the future.", attention(causal=False)),
    ("mask forgotten in backward", "The weights p are computed again without the mask that "
     "forward had.", attention(masked=False)),
    ("softmax as if element by element", "∂L/∂s is ∂L/∂p·p·(1 − p) here: a row's weights depend "
     "on all of its scores, subtract d = Σ p·∂L/∂p.", attention(softmax=False)),
    ("d forgotten", "∂L/∂s is p·∂L/∂p here, softmax with its denominator held constant: subtract "
     "d = Σ p·∂L/∂p first.", attention(d=False)),
    ("p in front forgotten", "∂L/∂s is ∂L/∂p − d here: all of it is multiplied by p.",
     attention(p_for_gp=True)),
    ("q and k swapped", "∂L/∂q is made of q and ∂L/∂k of k: each is made of the other.",
     attention(swapped=True)),
    ("p left out of ∂L/∂v", "Every value gets the sum of g: it counts with its weight, pᵀ·g.",
     attention(v_weights=False)),
    ("dropout forgotten in backward", "Backward goes without keep/(1 − dropout_p): dropped "
     "weights let no gradient through.", attention(dropped=False)),
    ("one query head of a group", "k and v get the gradient of the first query head of "
     "their group: all heads that share them add up.", attention(shared="first")),
)  # fmt: skip


# ------------------------------------------------------------------------------- cross-entropy
def logits_gradient(
    x, t, w, g, ignore_index=-100, label_smoothing=0.0, reduction="mean", *, divided="kept",
    ignored=True, one_hot=True, sign=1.0, softmax_twice=False, smoothed=True, weighted=True,
    softmax=True, share="all",
):  # fmt: skip
    """Cross-entropy's ∂L/∂logits, all rows together, and one piece of it wrong."""
    c, n = x.shape[-1], t.size
    x, t = x.reshape(-1, c), t.reshape(-1)  # (N, C), (N)
    kept = t != ignore_index if ignored else np.ones(n, bool)
    # An ignored target's number is not a class: who keeps it indexes modulo C, as -100 does.
    t = np.where(t == ignore_index, 0, t) if ignored else t % c
    w = np.ones(c) if w is None or not weighted else w
    smoothing = label_smoothing if smoothed else 0.0
    q, soft = np.zeros((n, c)), smoothing / c * w
    if share == "others":
        soft = np.broadcast_to(smoothing / (c - 1) * w, q.shape).copy()
        soft[np.arange(n), t] = 0.0
    q[np.arange(n), t] = (1.0 if share == "added" else 1.0 - smoothing) * w[t]
    q = q * kept[:, None] + soft if share == "ignored too" else (q + soft) * kept[:, None]
    e = np.exp(x - x.max(-1, keepdims=True))
    p = e / e.sum(-1, keepdims=True) if softmax else x
    total = q.sum(-1, keepdims=True)
    d = sign * (p * total - (q if one_hot else 0.0))
    if softmax_twice:
        d = d * p * (1.0 - p)
    if reduction == "mean" and divided:
        counts = {"kept": float((w[t] * kept).sum()), "rows": float(n), "twice": 0.0}
        d = d / (counts[divided] or counts["kept"] ** 2)
    return d * g.reshape(-1)[:, None]


def cross_entropy(**broken):
    def backward(op, g):
        x, t, w = given(op, 3)
        return logits_gradient(x, t, w, g, **op.chosen, **broken).reshape(x.shape), None, None

    return backward


def through_linear(**broken):
    """The same for the logits x·Wᵀ + b."""

    def backward(op, g):
        x, w, t, b, class_weight = given(op, 5)
        inputs = x.reshape(-1, x.shape[-1])  # (N, I)
        logits = inputs @ w.T + (0.0 if b is None else b)  # (N, C)
        d = logits_gradient(logits, t, class_weight, g, **op.chosen, **broken)
        return ((d @ w).reshape(x.shape), d.T @ inputs, None, d.sum(0), None)[: len(op.given)]

    return backward


COUNT = (
    "not divided by the number of kept targets",
    "The mean's divisor is missing: divide by the number (or weight) of the targets that count.",
)
ROWS = (
    "divided by all rows",
    "This is divided by the number of all rows: ignored ones do not count, and with class weights "
    "it is the sum of the targets' weights.",
)
IGNORED = (
    "ignored targets kept",
    "Rows with t = ignore_index get a gradient, or are counted: they are not part of the loss.",
)
ONE_HOT = (
    "onehot forgotten",
    "This is the softmax alone: subtract 1 at the target (q, the target as a distribution).",
)
WEIGHTS = ("class weights forgotten", "Backward goes without the class weights that forward had.")
for _op, _make in ("cross_entropy", cross_entropy), ("linear_cross_entropy", through_linear):
    wrong(
        _op,
        (*COUNT, _make(divided=None)),
        (*ROWS, _make(divided="rows")),
        (*IGNORED, _make(ignored=False)),
        (*ONE_HOT, _make(one_hot=False)),
        ("wrong sign", "This is onehot − p: the loss falls as the target's logit grows, so p − "
         "onehot.", _make(sign=-1.0)),
        (*WEIGHTS, _make(weighted=False)),
        ("label smoothing forgotten", "Backward goes without the label smoothing that forward had.",
         _make(smoothed=False)),
        ("smoothing spread over the others", "The target's own class gets nothing of ε, the others "
         "ε/(C − 1): all C classes get ε/C, the target's too.", _make(share="others")),
        ("smoothing added on top", "The target keeps all of its probability, so that q sums to "
         "1 + ε: it is 1 − ε, plus its share ε/C.", _make(share="added")),
        ("ignored rows smoothed", "Rows with t = ignore_index get the spread ε/C: nothing of them "
         "is in the loss.", _make(share="ignored too")),
    )  # fmt: skip
wrong(
    "cross_entropy",
    ("softmax's derivative once more", "(p − onehot) is multiplied by p·(1 − p): it is already the "
     "gradient at the logits.", cross_entropy(softmax_twice=True)),
    ("logits for p", "This is x − onehot: the model's distribution is p = softmax(x).",
     cross_entropy(softmax=False)),
    no_g("p − onehot"),
)  # fmt: skip
wrong(
    "linear_cross_entropy",
    ("g forgotten", "The gradients that forward computed are not multiplied "
     "by g: it is 1 only if this loss is the last step.", forgets_g),
    ("bias forgotten", "b gets nothing here: ∂L/∂b = Σ d over the rows.",
     lambda op, g: tuple(None if i == 3 else a for i, a in enumerate(true(op, g)))),
)  # fmt: skip


def _nll(sign=-1.0, divided="kept", ignored=True, weighted=True, everywhere=False):
    def backward(op, g):
        x, t, w = given(op, 3)
        ignore = op.chosen.get("ignore_index", -100)
        c, n = x.shape[-1], t.size
        flat = t.reshape(-1)
        kept = flat != ignore if ignored else np.ones(n, bool)
        flat = np.where(flat == ignore, 0, flat) if ignored else flat % c
        w = np.ones(c) if w is None or not weighted else w
        each = sign * w[flat] * kept
        if op.chosen.get("reduction", "mean") == "mean" and divided:
            each = each / (float((w[flat] * kept).sum()) if divided == "kept" else float(n))
        each = each * g.reshape(-1)
        gx = np.zeros((n, c))
        if everywhere:
            gx += each[:, None]
        gx[np.arange(n), flat] = each
        return gx.reshape(x.shape), None, None

    return backward


wrong(
    "nll_loss",
    ("sign forgotten", "This has the wrong sign: the loss is minus the target's log-probability.",
     _nll(sign=1.0)),
    (*COUNT, _nll(divided=None)),
    (*ROWS, _nll(divided="rows")),
    (*IGNORED, _nll(ignored=False)),
    (*WEIGHTS, _nll(weighted=False)),
    ("every class", "Every class of a row gets the gradient: only the target's is in the loss.",
     _nll(everywhere=True)),
)  # fmt: skip


# -------------------------------------------------------------------------- element-wise losses
wrong(
    "mse_loss",
    ("factor 2 forgotten", "This is g·(x − t): the square brings down a factor 2.",
     changed(lambda a: 0.5 * a)),
    ("t − x", "The signs are swapped: ∂L/∂x is 2·(x − t), positive where x is too large.", negated),
    ("same sign for t", "t gets x's gradient: it pulls the other way, −∂L/∂x.",
     lambda op, g: (true(op, g)[0], true(op, g)[0])),
    ("the mean's 1/n", "This is divided by the number of elements: here y is still one number per "
     "element, the mean comes afterwards and divides g.",
     lambda op, g: tuple(None if a is None else a / max(g.size, 1) for a in true(op, g))),
    FIRST_COPY,
)  # fmt: skip


def _two(fx, ft=None):
    """∂L/∂x = fx(g, x, t), and ∂L/∂t the true one or ft(g, x, t)."""

    def backward(op, g):
        x, t = op.given[:2]
        grads = true(op, g)
        return (fx(g, x, t) if fx else grads[0], ft(g, x, t) if ft else grads[1], *grads[2:])

    return backward


wrong(
    "binary_cross_entropy",
    ("the logits' gradient", "This is g·(x − t), right for logits: x is a probability here, divide "
     "by x·(1 − x).", _two(lambda g, x, t: g * (x - t))),
    ("half of the divisor", "This is divided by x alone: both logarithms are in, x·(1 − x).",
     _two(lambda g, x, t: g * (x - t) / x)),
    ("second logarithm forgotten", "This is −g·t/x: (1 − t)·log(1 − x) has a gradient too.",
     _two(lambda g, x, t: -g * t / x)),
    ("wrong sign", "This has the wrong sign: the loss falls as x moves towards t.", negated),
    ("sign of the second logarithm", "This is −t/x − (1 − t)/(1 − x): the inner derivative "
     "of 1 − x is −1.", _two(lambda g, x, t: -g * (t / x + (1.0 - t) / (1.0 - x)))),
)  # fmt: skip


wrong(
    "binary_cross_entropy_with_logits",
    ("target forgotten", "This is g·σ(x): subtract the target, σ(x) − t.",
     _two(lambda g, x, t: g * sigmoid(x))),
    ("sigmoid's derivative once more", "(σ(x) − t) is multiplied by σ·(1 − σ): it is already the "
     "gradient at the logits.", lambda op, g: (true(op, g)[0] * (
         sigmoid(op.given[0]) * (1.0 - sigmoid(op.given[0]))), *true(op, g)[1:])),
    ("logit for probability", "This is g·(x − t): the prediction is σ(x).",
     _two(lambda g, x, t: g * (x - t))),
    ("wrong sign", "This is t − σ(x): the loss falls as x moves towards the target.", negated),
    ("pos_weight forgotten", "Backward goes without pos_weight: the positive part is w times as "
     "heavy.", _two(lambda g, x, t: g * (sigmoid(x) - t))),
)  # fmt: skip


def _kl(fx=None, fp=None):
    """∂L/∂x = fx(g, p, x), ∂L/∂p = fp(g, p, log p, x); log_target's factor p is put on."""

    def backward(op, g):
        x, p, log_p = op.saved
        gx, gt = true(op, g)
        gx = fx(g, p, x) if fx else gx
        if fp:
            gt = fp(g, p, log_p, x) * (p if op.log_target else 1.0)
        return gx, gt

    return backward


wrong(
    "kl_div",
    ("sign forgotten", "∂L/∂x is g·p here: x is subtracted, −g·p.", _kl(lambda g, p, x: g * p)),
    ("p forgotten", "∂L/∂x is −g here: every class counts with its probability p.",
     _kl(lambda g, p, x: -g + 0.0 * p)),
    ("softmax taken along", "∂L/∂x is exp(x) − p here, the gradient at logits: x holds "
     "log-probabilities, softmax is another op.", _kl(lambda g, p, x: g * (np.exp(x) - p))),
    ("the + 1 forgotten", "∂L/∂p is g·(log p − x) here: p·log p brings a + 1.",
     _kl(fp=lambda g, p, log_p, x: g * (log_p - x))),
    FIRST_COPY,
)  # fmt: skip
