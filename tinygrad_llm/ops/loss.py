"""Losses. Cross-entropy is fused; the others work element by element and are reduced afterwards."""

from __future__ import annotations

import math
from typing import Any

from ..backend import IN_MEMORY, add_product, row_blocks, row_sum, xp_of
from ..engine import Op
from .activation import sigmoid
from .matmul import rows as as_rows


class Targets:
    """Class indices as a distribution for each row: q = hard·onehot(t) + soft·w.

    hard = (1 − ε)·w_t and soft = ε/C, both 0 in rows whose target is ignored; w is all ones if
    there are no class weights. `total` is Σ w_t, the divisor of reduction="mean".
    """

    def __init__(self, name, x, t, w, ignore_index, label_smoothing, reduction):
        n_classes = x.shape[-1]
        self.shape, self.reduction = t.shape, reduction
        t = t.reshape(-1)  # (...) -> (N)
        kept = t != ignore_index
        wrong = kept & ((t < 0) | (t >= n_classes))
        if wrong.any():
            raise IndexError(
                f"{name}: Target {int(t[wrong][0])} is out of bounds: "
                f"wants 0 <= target < {n_classes}, or ignore_index={ignore_index}"
            )
        self.t, self.ignored, self.w = t * kept, ~kept, w
        self.hard = kept.astype(x.dtype)
        self.soft = self.hard * (label_smoothing / n_classes) if label_smoothing else None
        if w is not None:
            self.hard *= w[self.t]
        self.total = float(self.hard.sum())
        self.sum_w = n_classes if w is None else float(w.sum())
        if label_smoothing:
            self.hard *= 1.0 - label_smoothing

    def reduce(self, losses: Any) -> Any:
        """(N) -> () or the targets' shape. The mean over no target at all is NaN."""
        if self.reduction == "none":
            return losses.reshape(self.shape)
        mean = 1.0 / self.total if self.total else math.nan
        return losses.sum() * (mean if self.reduction == "mean" else 1.0)

    def arriving(self, g: Any) -> Any:
        """∂L/∂lossᵢ for every row: (N) or (). 0 where there is no target at all."""
        if self.reduction == "mean":
            return g * (1.0 / self.total if self.total else 0.0)
        return g.reshape(-1) if self.reduction == "none" else g

    def losses(self, part: slice, x: Any, out: Any = None) -> tuple[Any, Any, Any, Any]:
        """Row losses −Σ q·log softmax(x); z = exp(x − m) and Σ z; and log Σ exp(x)."""
        xp = xp_of(x)
        top = x.max(-1, keepdims=True)
        z = xp.subtract(x, top, out=out)
        picked = z[xp.arange(len(z)), self.t[part]]
        if self.soft is not None:
            mixed = z.sum(-1) if self.w is None else z @ self.w
        xp.exp(z, out=z)
        total = z.sum(-1, keepdims=True)
        log_total = xp.log(total)
        loss = self.hard[part] * (log_total[:, 0] - picked)
        if self.soft is not None:
            loss += self.soft[part] * (self.sum_w * log_total[:, 0] - mixed)
        loss[self.ignored[part]] = 0.0  # 0·∞ among them
        return loss, z, total, top + log_total

    def gradient_(self, part: slice, p: Any, g: Any) -> None:
        """p -> g·(p·Σ q − q), in place, for rows of probabilities p."""
        g = g if g.ndim == 0 else g[part]
        hard = self.hard[part] * g
        if self.soft is None:
            p *= hard[:, None]
        else:
            soft = self.soft[part] * g
            p *= (hard + soft * self.sum_w)[:, None]
            p -= soft[:, None] if self.w is None else soft[:, None] * self.w
        p[xp_of(p).arange(len(p)), self.t[part]] -= hard


class CrossEntropy(Op):
    """Lᵢ = −Σ_c q_ic·log p_ic,   log p = x − l,   l = log Σ exp(x)   (p = softmax(x)).

    q is the target as a distribution: onehot(t), with class weights w_t·onehot(t), with label
    smoothing ε: (1 − ε)·w_t·onehot(t) + ε/C·w, and 0 where t = ignore_index.
    reduction: "sum" is Σ Lᵢ, "mean" is Σ Lᵢ / Σ w_tᵢ over the targets that count, "none" is L.

    Backward: l is the road from every logit, so ∂Lᵢ/∂x_ic = p_ic·Σ q − q_ic. Without weights and
    smoothing that is p − onehot(t): what the model says minus what is true.
    Saves x and l (one number a row): p = exp(x − l) is worked out again.
    """

    signature = "x(...,C) t(...) w(C)? -> y()"

    def forward(
        self, x, t, w=None, ignore_index=-100, label_smoothing=0.0, reduction="mean"
    ):  # fmt: skip
        xp = xp_of(x)
        self.options = ignore_index, label_smoothing, reduction
        targets = Targets(self.name, x, t, w, *self.options)
        logits = as_rows(x)  # (..., C) -> (N, C)
        losses, log_sum = xp.empty(len(logits), x.dtype), xp.empty((len(logits), 1), x.dtype)
        for part in row_blocks(logits):
            losses[part], _, _, log_sum[part] = targets.losses(part, logits[part])
        self.saved = x, log_sum, t, w
        return targets.reduce(losses)

    def backward(self, g):
        x, log_sum, t, w = self.saved
        xp = xp_of(g)
        targets = Targets(self.name, x, t, w, *self.options)
        g = targets.arriving(g)
        gx = xp.empty(x.shape, x.dtype)
        logits, out = as_rows(x), as_rows(gx)  # (..., C) -> (N, C)
        for part in row_blocks(out):
            p = xp.subtract(logits[part], log_sum[part], out=out[part])
            xp.exp(p, out=p)
            targets.gradient_(part, p, g)
        return gx, None, None


class LinearCrossEntropy(Op):
    """cross_entropy(x·Wᵀ + b, t), some rows at a time, so that all logits never exist at once.

    Backward, with d = ∂L/∂logits = (p·Σ q − q)·(1/Σ w_t for the mean):
        ∂L/∂x = d·W        ∂L/∂W = dᵀ·x        ∂L/∂b = Σ d
    These are worked out in forward, while the rows' logits are there; L is a scalar, so backward
    has but to multiply them by g. Reduction "none" is not offered: its g differs from row to row.
    Saves ∂L/∂x, ∂L/∂W and ∂L/∂b, as far as they are wanted.
    """

    signature = "x(...,I) w(C,I) t(...) b(C)? class_weight(C)? -> y()"

    def forward(
        self, x, w, t, b=None, class_weight=None, ignore_index=-100, label_smoothing=0.0,
        reduction="mean",
    ):  # fmt: skip
        xp = xp_of(x)
        of_rows = xp.broadcast_to(x[..., :1], (*x.shape[:-1], len(w)))  # logits' shape, no memory
        targets = Targets(
            self.name, of_rows, t, class_weight, ignore_index, label_smoothing, reduction
        )
        needs = [*self.needs, False, False]
        gx = xp.empty(x.shape, x.dtype) if needs[0] else None
        gw = xp.zeros(w.shape, w.dtype) if needs[1] else None
        gb = xp.zeros(len(w), w.dtype) if needs[3] else None
        inputs, outputs = as_rows(x), None if gx is None else as_rows(gx)  # (N, I)
        losses = xp.empty(len(inputs), x.dtype)
        one = targets.arriving(xp.ones((), x.dtype))
        for part in row_blocks(as_rows(of_rows), IN_MEMORY):
            logits = inputs[part] @ w.T  # (n, C)
            if b is not None:
                logits += b
            for some in row_blocks(logits):
                here = slice(part.start + some.start, part.start + some.stop)
                d = logits[some]
                losses[here], _, total, _ = targets.losses(here, d, out=d)
                d /= total
                targets.gradient_(here, d, one)
            if gx is not None:
                outputs[part] = logits @ w  # (n, I)
            if gw is not None:
                add_product(gw, logits.T, inputs[part])  # (C, n) @ (n, I)
            if gb is not None:
                gb += row_sum(logits)
        self.saved = gx, gw, gb
        return targets.reduce(losses)

    def backward(self, g):
        gx, gw, gb = (None if a is None else a * g for a in self.saved)
        return gx, gw, None, gb, None


class NllLoss(Op):
    """Lᵢ = −w_tᵢ·x_itᵢ for log-probabilities x, 0 where t = ignore_index.

    reduction: "sum" is Σ Lᵢ, "mean" is Σ Lᵢ / Σ w_tᵢ over the targets that count, "none" is L.
    Backward: ∂Lᵢ/∂x_ic = −w_tᵢ where c = tᵢ, else 0.
    """

    signature = "x(...,C) t(...) w(C)? -> y()"

    def forward(self, x, t, w=None, ignore_index=-100, reduction="mean"):
        self.shape, self.options, self.saved = x.shape, (ignore_index, 0.0, reduction), (t, w)
        targets = Targets(self.name, x, t, w, *self.options)
        n = xp_of(x).arange(len(targets.t))
        losses = as_rows(x)[n, targets.t] * -targets.hard
        losses[targets.ignored] = 0.0
        return targets.reduce(losses)

    def backward(self, g):
        xp = xp_of(g)
        gx = xp.zeros(self.shape, g.dtype)
        targets = Targets(self.name, gx, *self.saved, *self.options)
        n = xp.arange(len(targets.t))
        as_rows(gx)[n, targets.t] = targets.hard * -targets.arriving(g)
        return gx, None, None


class MseLoss(Op):
    """y = (x − t)².   Backward: ∂L/∂x = g·2(x − t),   ∂L/∂t = −∂L/∂x.   Saves x − t."""

    signature = "x(...) t(...) -> y(...)"
    broadcasts = True

    def forward(self, x, t):
        d = x - t
        self.saved = (d,)
        return d * d

    def backward(self, g):
        gx = self.saved[0] * 2.0
        gx *= g
        return gx, -gx if self.needs[1] else None


class BinaryCrossEntropy(Op):
    """y = −t·log x − (1 − t)·log(1 − x) for probabilities x; a logarithm stops at −100.

    Backward: ∂L/∂x = g·(x − t)/(x·(1 − x)), the divisor at least 1e−12,
              ∂L/∂t = g·(log(1 − x) − log x).
    Saves x and t.
    """

    signature = "x(...) t(...) -> y(...)"

    def logs(self, x):
        xp = xp_of(x)
        return [xp.maximum(xp.log(xp.maximum(p, 1e-45)), -100.0) for p in (x, 1.0 - x)]

    def forward(self, x, t):
        self.saved = x, t
        log_x, log_rest = self.logs(x)
        return (t - 1.0) * log_rest - t * log_x

    def backward(self, g):
        x, t = self.saved
        gx = g * (x - t) / xp_of(x).maximum(x * (1.0 - x), 1e-12)
        if not self.needs[1]:
            return gx, None
        log_x, log_rest = self.logs(x)
        return gx, g * (log_rest - log_x)


class BinaryCrossEntropyWithLogits(Op):
    """y = −w·t·log σ(x) − (1 − t)·log(1 − σ(x)) = (1 − t)·x + n·s,   n = 1 + (w − 1)·t,

    with s = −log σ(x) = log(1 + exp(−|x|)) − min(x, 0), which never overflows; w = pos_weight or 1.
    Backward: s′ = −σ(−x), so that
        ∂L/∂x = g·(1 − t − n·σ(−x))      (σ(x) − t if w = 1)
        ∂L/∂t = g·((w − 1)·s − x)
    Saves x, t and w.
    """

    signature = "x(...) t(...) w(...)? -> y(...)"
    broadcasts = True

    def minus_log_sigmoid(self, x):
        xp = xp_of(x)
        return xp.log1p(xp.exp(-abs(x))) - xp.minimum(x, 0.0)

    def forward(self, x, t, w=1.0):
        self.saved = x, t, w
        return (1.0 - t) * x + (1.0 + (w - 1.0) * t) * self.minus_log_sigmoid(x)

    def backward(self, g):
        x, t, w = self.saved
        gx = g * (1.0 - t - (1.0 + (w - 1.0) * t) * sigmoid(-x))
        gt = g * ((w - 1.0) * self.minus_log_sigmoid(x) - x) if self.needs[1] else None
        return gx, gt, None


class KlDiv(Op):
    """y = t·(log t − x) for log-probabilities x and probabilities t, 0·log 0 taken as 0.

    log_target: t holds logarithms as well, and y = exp(t)·(t − x).
    Backward: ∂L/∂x = −g·t,        ∂L/∂t = g·(log t + 1 − x),
    log_target: ∂L/∂x = −g·exp(t),  ∂L/∂t = g·exp(t)·(t + 1 − x).
    Saves x and t.
    """

    signature = "x(...) t(...) -> y(...)"
    broadcasts = True

    def forward(self, x, t, log_target=False):
        self.saved, self.log_target = (x, t), log_target
        p, log_p = self.both(t)
        return p * (log_p - x)

    def backward(self, g):
        x, t = self.saved
        p, log_p = self.both(t)
        gt = None
        if self.needs[1]:
            gt = g * (log_p + 1.0 - x) * (p if self.log_target else 1.0)
        return -g * p, gt

    def both(self, t):
        """Probabilities and their logarithms; log 0 is given as 0."""
        xp = xp_of(t)
        return (xp.exp(t), t) if self.log_target else (t, xp.log(t + (t == 0)))
