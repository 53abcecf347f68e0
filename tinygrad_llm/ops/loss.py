"""Losses. Cross-entropy is fused; the others work element by element and are reduced afterwards."""

from __future__ import annotations

import math
from typing import Any

from ..arrays.devices import on_gpu, xp_of
from ..arrays.ids import all_within, id_ranges, ids_in_range, seen_within
from ..arrays.indexing import row_starts
from ..arrays.masks import selected
from ..arrays.matmul import concurrent_products, product
from ..arrays.parallel import over_row_blocks, row_blocks
from ..arrays.reductions import (
    bounded,
    exp_of_few,
    exp_of_large,
    exp_total,
    is_few,
    max_along,
    sum_along,
    sum_of_few,
    total_of,
)
from ..arrays.special import sigmoid
from ..autograd.engine import Op
from .matmul import rows as as_rows

LOGITS_BYTES = 1 << 28  # of the logits that exist at one time: more rows, faster products


class Targets:
    """Class indices as a distribution per row: q = hard·onehot(t) + soft·w.

    hard = (1 − ε)·w_t and soft = ε/C, both 0 where t = ignore_index; w is 1 without class weights.
    reduction: "sum" is Σ Lᵢ, "mean" is Σ Lᵢ / Σ w_tᵢ over the targets that count, "none" is L.
    targets[a:b] are the targets of some rows. Below, n rows of N.
    Mostly each target counts once, without weights and smoothing: q = onehot(t). once: it is known
    that it does.
    """

    once = False  # whether q = onehot(t) in every row
    hard: Any = 1.0
    soft: Any = None
    weight: Any = 1.0  # Σ q
    scale = 1.0

    def __init__(
        self, name, dtype, n_classes, t, w, ignore_index, reduction, smoothing=0.0, once=False
    ):  # fmt: skip
        self.shape, self.reduction, self.w = t.shape, reduction, w
        known = id_ranges and ids_in_range(t, n_classes, ignore_index)  # without asking a GPU
        self.t = t = t if t.ndim == 1 else t.reshape(-1)  # (...) -> (N)
        if once or (w is None and not smoothing and _all_count(t, n_classes, ignore_index)):
            self.once = True
            if reduction == "mean":
                self.scale = 1.0 / len(t)
            return
        kept, wrong = t != ignore_index, (t < 0) | (t >= n_classes)
        if not known and wrong.any() and (wrong := wrong & kept).any():
            raise IndexError(
                f"{name}: Target {int(t[wrong][0])} is out of bounds: "
                f"expected 0 <= target < {n_classes}, or ignore_index={ignore_index}"
            )
        self.t, self.ignored = t * kept, ~kept
        of_target = kept.astype(dtype) if w is None else w[self.t] * kept
        self.sum_w = n_classes if w is None else float(w.sum())
        self.hard = of_target * (1.0 - smoothing)
        self.soft = kept * (of_target * 0.0 + smoothing / n_classes) if smoothing else None
        self.weight = self.hard if self.soft is None else self.hard + self.soft * self.sum_w
        if reduction == "mean":
            total = float(of_target.sum())
            self.scale = 1.0 / total if total else math.nan

    def reduce(self, losses: Any) -> Any:
        """(N) -> (), or the targets' shape for "none". The mean is NaN if no target counts."""
        if self.reduction == "none":
            return losses.reshape(self.shape)
        return total_of(losses) * self.scale

    def arriving(self, g: Any) -> Any:
        """∂L/∂Lᵢ of every row, (N, 1): 0 if no target counts."""
        g = g.reshape(-1) * (0.0 if self.scale != self.scale else self.scale)
        return (g if self.reduction == "none" else g.repeat(self.t.size))[:, None]

    def __getitem__(self, rows: slice) -> Targets:
        if rows.start == 0 and rows.stop >= len(self.t):
            return self
        some = object.__new__(Targets)
        some.__dict__.update(self.__dict__)
        some.t = self.t[rows]
        if self.once:
            return some
        some.hard, some.weight, some.ignored = (
            self.hard[rows],
            self.weight[rows],
            self.ignored[rows],
        )
        some.soft = None if self.soft is None else self.soft[rows]
        return some

    def positions(self, z: Any) -> Any:
        """Where the targets stand in z (n, C), counted through all of its elements: (n)."""
        return row_starts(z) + self.t

    def scores(self, x: Any) -> Any:
        """Σ q·x, over the classes: (n, C) -> (n)."""
        of_target = x.take(self.positions(x))
        if self.once:
            return of_target
        of_target = self.hard * of_target
        if self.soft is None:
            return of_target
        return of_target + self.soft * (x.sum(-1) if self.w is None else x @ self.w)

    def losses(self, scores: Any, log_total: Any) -> Any:
        """−Σ q·log p = Σ q·log Σ exp(x) − Σ q·x: (n), (n) -> (n)."""
        if self.once:
            return log_total - scores
        return self.counting(self.weight * log_total - scores)  # 0·∞ among the others

    def certain(self, losses: Any, z: Any, total: Any) -> Any:
        """−Σ q·log p again, as q·log(total/z_t), where total/z_t < 1.1: (n) -> (n), in place.

        log total − x_t has the rounding error of x_t there, which may be more than the loss, and
        of either sign. z = exp(x − m) (n, C), or exp(x), and total = Σ z (n).
        """
        if on_gpu([z]) or self.soft is not None:
            return losses
        ratio = total / z.take(self.positions(z))  # 1/p_t, (n)
        if ratio.size and not ratio.item(ratio.argmin()) >= 1.1:
            weight, xp = 1.0 if self.once else self.hard, xp_of(z)
            xp.copyto(losses, weight * xp.log(ratio), where=ratio < 1.1)
        return losses

    def counting(self, values: Any) -> Any:
        """The values of rows whose target counts, and 0 in the others: (n) -> (n)."""
        return values if self.once else selected(values, ~self.ignored)

    def gradient(self, z: Any, total: Any, g: Any) -> Any:
        """The factor f and, in place of z, a matrix with f·z = g·(p·Σ q − q), where p = z/total.

        z (n, C), total and g (n, 1) -> f (n, 1). Since f is one number per row, it need not be
        multiplied with the matrix: f·z·W is f·(z·W).
        """
        if self.once:  # f = g/Σ z, and f·z = g·(p − onehot(t))
            z.reshape(-1)[self.positions(z)] -= total[:, 0]
            return g / total
        weight = self.weight[:, None]  # (n, 1)
        share = total / (weight + (weight == 0))  # where Σ q is 0, f is 0 and z does not matter
        if self.soft is not None:
            soft = self.soft[:, None] * share
            z -= soft if self.w is None else soft * self.w
        z.reshape(-1)[self.positions(z)] -= self.hard * share[:, 0]
        return selected(weight * g, ~self.ignored[:, None]) / total


def _all_count(t: Any, n_classes: int, ignore_index: int) -> bool:
    """Whether all targets are classes that are not ignored. On a GPU it is not known."""
    ignored = 0 <= ignore_index < n_classes
    return not ignored and t.size > 0 and seen_within(t, n_classes)


def _joined(blocks: list) -> tuple:
    """What was computed for blocks of rows, for all rows: a list of tuples -> a tuple of arrays."""
    if len(blocks) == 1:
        return blocks[0]
    return tuple([xp_of(parts[0]).concatenate(parts) for parts in zip(*blocks, strict=True)])


class CrossEntropy(Op):
    """Lᵢ = −Σ_c q_ic·log p_ic,   p = softmax(x),   then the mean, sum or none (see Targets).

    q is the target as a distribution: onehot(t); with class weights w_t·onehot(t); with label
    smoothing ε (1 − ε)·w_t·onehot(t) + ε/C·w; and 0 where t = ignore_index.
    With l = log Σ exp(x),   log p = x − l.
    Backward: every logit reaches L through l too, so ∂Lᵢ/∂x_ic = p_ic·Σ q − q_ic. Without weights
    and smoothing that is p − onehot(t): the predicted minus the true distribution.
    Saves z = exp(x − m), Σ z (one number per row), t and w: p = z/Σ z, and x is not needed.
    """

    signature = "x(...,C) t(...) w(C)? -> y()"
    in_rows = True
    in_float32 = True
    options = (-100, "mean", 0.0)  # ignore_index, reduction, label_smoothing
    few, moderate = False, True  # whether `of_few` computed it, and without subtracting maxima

    def forward(self, x, t, w=None, ignore_index=-100, label_smoothing=0.0, reduction="mean"):
        if w is None and not label_smoothing and reduction == "mean" and is_few(x) and x.ndim == 2:
            loss = self.of_few(x, t, ignore_index)
            if loss is not None:
                return loss
        xp, self.options = xp_of(x), (ignore_index, reduction, label_smoothing)
        targets = Targets(self.name, x.dtype, x.shape[-1], t, w, *self.options)
        z = xp.empty(x.shape, x.dtype)

        @over_row_blocks(as_rows(z), as_rows(x), targets, as_rows(z))  # (..., C) -> (N, C)
        def blocks(x, targets, z):
            shifted, total = exp_total(x, z, largest=1e5)  # x − m; z = exp(x − m)
            losses = targets.losses(targets.scores(shifted), xp.log(total[:, 0]))
            return total, targets.certain(losses, z, total[:, 0])

        total, losses = _joined(blocks)  # (N, 1), (N)
        self.saved, self.once = (z, total, t, w), targets.once
        return targets.reduce(losses)

    def of_few(self, x, t, ignore_index=-100):
        """The mean of a few rows (N, C) whose targets all count once; None for other rows."""
        n, n_classes = x.shape
        if 0 <= ignore_index < n_classes or not all_within(t, n_classes):
            return None
        xp, at, add_up = xp_of(x), row_starts(x) + t, sum_of_few
        z, total = exp_of_few(x, largest=30.0)  # z = exp(x) (N, C), (N)
        of_target: Any = None if z is None else z.take(at)
        if z is not None and of_target.item(of_target.argmin()) > 1e-12:
            losses = xp.log(total / of_target)  # exact also where p_t is nearly 1
        else:
            self.moderate, add_up = False, total_of
            shifted, z, total = exp_of_large(x, 1e5)  # x − m, exp(x − m), (N)
            losses = xp.log(total)
            losses -= shifted.take(at)
            if not losses.item(losses.argmin()) >= 0.1:  # log total − x_t is rounded as x_t is
                ratio = total / z.take(at)
                xp.copyto(losses, xp.log(ratio), where=ratio < 1.1)
        self.saved, self.few = (z, total, t, None), True
        return add_up(losses) * (1.0 / n)

    def backward_of_few(self, g):
        """∂L/∂x = g/N·(p − onehot(t)) = (z − Σ z·onehot(t))·g/(N·Σ z), as `of_few` computed L."""
        z, total, t, _ = self.saved
        gx, at = z.copy(), row_starts(z) + t  # (N, C), (N)
        gx.put(at, gx.take(at) - total)
        mean = g.item() / len(t) if self.moderate else g * (1.0 / len(t))
        gx *= (mean / total)[:, None]
        return gx, None, None

    def backward(self, g):
        if self.few:
            return self.backward_of_few(g)
        z, total, t, w = self.saved
        targets = Targets(self.name, z.dtype, z.shape[-1], t, w, *self.options, self.once)
        xp, g = xp_of(g), targets.arriving(g)
        gx = xp.array(z)
        rows = as_rows(gx)  # (..., C) -> (N, C)

        @over_row_blocks(rows, rows, targets, total, g)
        def some_rows(z, targets, total, g):
            z *= targets.gradient(z, total, g)

        return gx, None, None


class LinearCrossEntropy(Op):
    """cross_entropy(x·Wᵀ + b, t), in blocks of rows: never more than LOGITS_BYTES of logits.

    Backward, with d = ∂L/∂logits = (p·Σ q − q)·(1/Σ w_t for the mean) = f·z (see Targets.gradient):
        ∂L/∂x = d·W = f·(z·W)        ∂L/∂W = dᵀ·x = zᵀ·(f·x)        ∂L/∂b = Σ d = zᵀ·f
    These are computed in forward, while the logits of the rows exist; L is a scalar, so backward
    only multiplies them by g. Reduction "none" is not supported: its g differs from row to row.
    Saves ∂L/∂x, ∂L/∂W and ∂L/∂b, those that are needed.
    """

    signature = "x(...,I) w(C,I) t(...) b(C)? class_weight(C)? -> y()"
    in_float32 = True

    def forward(
        self, x, w, t, b=None, class_weight=None, ignore_index=-100, label_smoothing=0.0,
        reduction="mean",
    ):  # fmt: skip
        xp, needs = xp_of(x), [*self.needs, False, False]
        gx: Any
        gw: Any
        options = ignore_index, reduction, label_smoothing
        targets = Targets(self.name, x.dtype, len(w), t, class_weight, *options)
        inputs = as_rows(x)  # (..., I) -> (N, I)
        gx = xp.empty(inputs.shape, x.dtype) if needs[0] else None
        gw = None if len(inputs) or not needs[1] else xp.zeros(w.shape, w.dtype)
        gb = xp.zeros(len(w), w.dtype) if needs[3] else None
        losses, g = xp.empty(len(inputs), x.dtype), targets.arriving(xp.ones(1, x.dtype))
        f = xp.empty((len(inputs), 1), x.dtype)
        in_range = b is None and bounded(inputs, w, 1.0)
        blocks = row_blocks(xp.broadcast_to(f, (len(f), len(w))), LOGITS_BYTES)  # all logits' shape
        memory = xp.empty((blocks[0].stop if blocks else 0, len(w)), x.dtype)
        for rows in blocks:
            z = product(inputs[rows], w.T, b, memory[: rows.stop - rows.start])  # (n, C)

            @over_row_blocks(z, z, targets[rows], g[rows], losses[rows], f[rows])
            def some_rows(z, targets, g, losses, f):
                if not in_range:
                    z -= max_along(z)
                scores = targets.scores(z)
                xp.exp(z, out=z)
                total = sum_along(z)  # (n, 1)
                losses[...] = targets.losses(scores, xp.log(total[:, 0]))
                targets.certain(losses, z, total[:, 0])
                if True in needs:
                    f[...] = targets.gradient(z, total, g)

            zw, gw = concurrent_products(
                (z, w) if needs[0] else None,  # (n, I)
                (z.T, inputs[rows] * f[rows]) if needs[1] else None,  # (C, I)
                add_to=gw,
            )
            if needs[0]:
                xp.multiply(zw, f[rows], out=gx[rows])
            if needs[3]:
                gb += product(z.T, f[rows])[:, 0]  # (C)
        self.saved = None if gx is None else gx.reshape(x.shape), gw, gb
        return targets.reduce(losses)

    def backward(self, g):
        gx, gw, gb = (None if a is None else a * g for a in self.saved)
        return gx, gw, None, gb, None


class NllLoss(Op):
    """Lᵢ = −w_tᵢ·x_itᵢ for log-probabilities x, 0 where t = ignore_index; the mean, sum or none.

    Backward: ∂Lᵢ/∂x_ic = −w_tᵢ where c = tᵢ, else 0.   Saves t and w.
    """

    signature = "x(...,C) t(...) w(C)? -> y()"
    in_rows = True
    in_float32 = True

    def forward(self, x, t, w=None, ignore_index=-100, reduction="mean"):
        self.saved, self.options, self.shape = (t, w), (ignore_index, reduction), x.shape
        targets = Targets(self.name, x.dtype, x.shape[-1], t, w, *self.options)
        losses = as_rows(x)[xp_of(x).arange(len(targets.t)), targets.t] * -targets.hard
        if not targets.once:
            losses[targets.ignored] = 0.0
        if self.half is not None and reduction != "none" and not on_gpu([x]):
            return self.reduce_in_half(self.stored(losses), targets)
        return targets.reduce(losses)

    def reduce_in_half(self, losses, targets):
        """Σ Lᵢ, or Σ Lᵢ / Σ w_tᵢ, of which PyTorch rounds each sum."""
        kept = xp_of(losses).ones(losses.shape, bool) if targets.once else ~targets.ignored
        total = self.rounded_sum(losses, kept)
        if targets.reduction == "sum":
            return total
        weighted = self.saved[1] is not None
        self.n = float(self.rounded_sum(targets.hard, kept) if weighted else kept.sum())
        return total / self.n if self.n else total * math.nan

    def rounded_sum(self, values, kept):
        """Σ of the kept values in half precision: 16 at a time, then 16 of these sums at a time.

        PyTorch's cascade: an element at a position that 16 divides closes a group of its level.
        """
        xp, i = xp_of(values), xp_of(values).flatnonzero(kept)
        values, total = values[i], values[:0].sum()
        for level in range(8):
            ends = xp.flatnonzero(i % 16 == 0) if level < 7 else i[:0]
            groups = xp.split(values, ends + 1)
            matrix = xp.zeros((max(map(len, groups)), len(groups)), values.dtype)  # (n, groups)
            for k, group in enumerate(groups):
                matrix[: len(group), k] = group
            sums = matrix[:0].sum(0)  # (groups)
            for row in matrix:
                sums = self.stored(sums + row)
            total = self.stored(total + sums[-1])
            values, i = sums[:-1], i[ends] // 16
        return total

    def backward(self, g):
        xp, (t, w) = xp_of(g), self.saved
        targets = Targets(self.name, g.dtype, self.shape[-1], t, w, *self.options)
        gx = xp.zeros(self.shape, g.dtype)
        arriving = targets.arriving(g)[:, 0]
        if self.half is not None and targets.reduction == "mean" and not on_gpu([g]):
            arriving = self.stored(g / self.n) if self.n else arriving
        gt = targets.hard * -arriving
        if not targets.once:
            gt = selected(gt, ~targets.ignored)
        as_rows(gx)[xp.arange(len(targets.t)), targets.t] = gt
        return gx, None, None


class MseLoss(Op):
    """y = (x − t)².   Backward: ∂L/∂x = g·2(x − t),   ∂L/∂t = −∂L/∂x.   Saves x − t."""

    signature = "x(...) t(...) -> y(...)"
    broadcasts = True
    in_float32 = True

    def forward(self, x, t):
        d = self.stored(x - t)
        self.saved = (d,)
        return d * d

    def backward(self, g):
        gx = self.saved[0] * 2.0
        gx *= g
        return gx, -gx if self.needs[1] else None


class BinaryCrossEntropy(Op):
    """y = −t·log x − (1 − t)·log(1 − x) for probabilities x; each logarithm is at least −100.

    Backward: ∂L/∂x = g·(x − t)/(x·(1 − x)), the divisor at least 1e−12,
              ∂L/∂t = g·(log(1 − x) − log x).
    Saves x, t and the difference of the logarithms.
    """

    signature = "x(...) t(...) -> y(...)"
    in_float32 = True

    def forward(self, x, t):
        xp = xp_of(x)
        logs = (xp.log(xp.maximum(p, 1e-45)) for p in (x, 1.0 - x))
        log_x, log_not_x = (self.stored(xp.maximum(p, -100.0)) for p in logs)
        self.saved = x, t, log_not_x - log_x if self.half is None else None
        other = self.stored(self.stored(t - 1.0) * log_not_x)
        return other - self.stored(t * log_x)

    def backward(self, g):
        x, t, difference = self.saved
        if difference is None:
            difference = -self.stored(xp_of(x).log(self.stored(x / self.stored(1.0 - x))))
        gx = self.stored(g * self.stored(x - t))
        gx = gx / xp_of(x).maximum(self.stored(x * self.stored(1.0 - x)), 1e-12)
        return gx, g * difference if self.needs[1] else None


class BinaryCrossEntropyWithLogits(Op):
    """y = −w·t·log σ(x) − (1 − t)·log(1 − σ(x)) = (1 − t)·x + n·s,   n = 1 + (w − 1)·t,

    with s = −log σ(x) = log(1 + exp(−|x|)) − min(x, 0), which never overflows; w = pos_weight or 1.
    Backward: s′ = −σ(−x), so that
        ∂L/∂x = g·(1 − t − n·σ(−x))      (σ(x) − t if w = 1)
        ∂L/∂t = g·((w − 1)·s − x)
    Saves x, t, w and s.
    """

    signature = "x(...) t(...) w(...)? -> y(...)"
    broadcasts = True
    in_float32 = True

    def forward(self, x, t, w=1.0):
        xp = xp_of(x)
        s = xp.log1p(xp.exp(-abs(x))) - xp.minimum(x, 0.0)
        self.saved = x, t, w, s
        if self.half is None:
            return (1.0 - t) * x + (1.0 + (w - 1.0) * t) * s
        stored = self.stored
        n = 1.0 if isinstance(w, float) else stored(1.0 + stored(stored(w - 1.0) * t))
        return stored(stored(1.0 - t) * x) + stored(n * stored(s))

    def backward(self, g):
        x, t, w, s = self.saved
        if self.half is None:
            gx = g * (1.0 - t - (1.0 + (w - 1.0) * t) * sigmoid(-x))
        else:
            stored, s_x = self.stored, self.stored(sigmoid(x))
            wt = t if isinstance(w, float) else stored(w * t)
            n = 1.0 if isinstance(w, float) else stored(stored(wt + 1.0) - t)
            gx = g * stored(stored(n * s_x) - wt)
        if self.half is None or isinstance(w, float):
            gt = g * ((w - 1.0) * s - x) if self.needs[1] else None
        else:
            gt = g * stored(stored(-s - x) + stored(stored(s) * w))
        return gx, gt, None


class KlDiv(Op):
    """y = p·(log p − x) for log-probabilities x and probabilities p = t, 0·log 0 taken as 0.

    log_target: t holds logarithms too, p = exp(t).
    Computed as p·log p − p·x, so that p = ∞ gives NaN, or with log_target as p·(t − x).
    Backward: ∂L/∂x = −g·p,   ∂L/∂p = g·(log p + 1 − x),   ∂L/∂t = ∂L/∂p·p if log_target.
    ∂L/∂p is the sum of its three terms, g·log p, g·p/p and −g·x: at p = 0 it is NaN (0/0), as in
    PyTorch; the derivative of p·log p is −∞ there.
    Saves x, p and log p.
    """

    signature = "x(...) t(...) -> y(...)"
    broadcasts = True
    in_float32 = True

    def forward(self, x, t, log_target=False):
        xp, self.log_target = xp_of(t), log_target
        p, log_p = (xp.exp(t), t) if log_target else (t, xp.log(t + (t == 0)))
        self.saved = x, p, log_p
        if log_target:
            return p * self.stored(log_p - x)
        return self.stored(p * self.stored(log_p)) - self.stored(p * x)

    def backward(self, g):
        x, p, log_p = self.saved
        if not self.needs[1]:
            return -g * p, None
        if self.log_target:
            return -g * p, g * p * (log_p - x) + g * p
        entropy = xp_of(g).where((g == 0) & (p == p), 0.0, g * log_p)
        return -g * p, entropy + g * p / p - g * x
