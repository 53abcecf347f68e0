"""Scaled dot-product attention, in blocks of query rows."""

from __future__ import annotations

import itertools
import math

from ..backend import max_along, row_dot, sum_along, unbroadcast, xp_of
from ..engine import Op

ROWS = 64  # query rows of a block: the heads' weights, 64 × keys each, should fit the cache


class ScaledDotProductAttention(Op):
    """y = p·v,   p = softmax(s),   s = q·kᵀ·scale + mask,   scale = 1/√E unless given.

    With dropout p is multiplied by keep/(1 − dropout_p) before it meets v.
    is_causal: query i sees the keys 0 … i alone; blocks wholly in the future are never computed.
    mask: boolean, True where a query may look, or added to s; it broadcasts to (..., L, S).
    Grouped queries: q may have R times as many heads as k and v; heads R·j … R·j + R − 1 share k_j.
    A query that may look nowhere gets y = 0, and no gradient comes from it.

    Backward, with d = Σ g·y over a row:
        ∂L/∂v = pᵀ·g       ∂L/∂p = g·vᵀ       ∂L/∂s = p·(∂L/∂p − d)
        ∂L/∂q = ∂L/∂s·k·scale      ∂L/∂k = ∂L/∂sᵀ·q·scale      ∂L/∂mask = ∂L/∂s
    Softmax asks for d = Σ p·∂L/∂p, which is g·(p·v) = g·y. With dropout, p in ∂L/∂v and the whole
    of ∂L/∂p get the factor keep/(1 − dropout_p), and d = Σ g·y still holds.
    Saves q, k, v, mask, keep, y and l = log Σ exp(s), one number a row. p = exp(s − l) is worked
    out again, block by block, so that L × S numbers never exist at once.
    Sources: Vaswani et al. (2017), equation 1; in blocks, Dao et al. (2022), algorithm 4.
    """

    signature = "q(...,L,E) k(...,S,E) v(...,S,D) mask(...)? keep(...,L,S)? -> y(...,L,D)"

    def forward(
        self, q, k, v, mask=None, keep=None, is_causal=False, scale=None, dropout_p=0.0
    ):  # fmt: skip
        xp = xp_of(q)
        self.causal, self.scale = is_causal, q.shape[-1] ** -0.5 if scale is None else scale
        self.keep_scale = 1.0 / (1.0 - dropout_p) if dropout_p < 1.0 else 0.0
        future = xp.triu(xp.full((ROWS, ROWS), -math.inf, q.dtype), 1) if is_causal else None
        self.q_shape, self.k_shape, self.v_shape = q.shape, k.shape, v.shape
        self.mask_shape = () if mask is None else mask.shape
        if mask is not None:
            if mask.dtype == bool:
                allowed, mask = mask, xp.zeros(mask.shape, q.dtype)
                mask[~allowed] = -math.inf
            mask = self.by_group(xp.broadcast_to(mask, (*q.shape[:-1], k.shape[-2])))
        keep = None if keep is None else self.by_group(keep)
        q = self.by_group(q)
        k, v = (a if a.ndim > 2 else a[None] for a in (k, v))  # (..., H, S, ·)
        y = xp.zeros_like(q, shape=q.shape[:-1] + v.shape[-1:])  # (..., H, R, L, D)
        log_sum = xp.zeros(q.shape[:-1] + (1,), q.dtype)  # (..., H, R, L, 1)
        self.saved = q, k, v, mask, keep, y, log_sum, future
        lowest = float(xp.finfo(q.dtype).min)
        for i, rows, keys in self.blocks():
            _, p = self.scores(i, rows, keys)  # (H, R·n, m)
            top = xp.maximum(max_along(p), lowest)  # finite even if all are −∞
            p -= top
            xp.exp(p, out=p)
            total = xp.maximum(sum_along(p), 1.0)  # less only if all are −∞
            put(log_sum, i, rows, top + xp.log(total))
            if keep is not None:
                p *= take(keep, i, rows)[..., keys]
                p *= self.keep_scale
            out = p @ v[i][:, keys]  # (H, R·n, D)
            out /= total
            put(y, i, rows, out)
        return y.reshape(self.q_shape[:-1] + v.shape[-1:])  # (..., L, D)

    def backward(self, g):
        q, k, v, mask, keep, y, log_sum, _ = self.saved
        xp = xp_of(g)
        g = self.by_group(g)  # (..., H, R, L, D)
        d = row_dot(g, y)  # (..., H, R, L, 1)
        gq, gk, gv = xp.zeros_like(q), xp.zeros_like(k), xp.zeros_like(v)
        gm = None
        if len(self.needs) > 3 and self.needs[3]:
            gm = xp.zeros(mask.shape, g.dtype)  # (..., H, R, L, S)
        for i, rows, keys in self.blocks():
            q_n, p = self.scores(i, rows, keys)  # (H, R·n, E), (H, R·n, m)
            g_n = take(g, i, rows)  # (H, R·n, D)
            p -= take(log_sum, i, rows)
            xp.exp(p, out=p)
            gp = g_n @ v[i][:, keys].swapaxes(-1, -2)  # (H, R·n, m)
            dropped = p
            if keep is not None:
                kept = take(keep, i, rows)[..., keys] * xp.asarray(self.keep_scale, p.dtype)
                gp *= kept
                dropped = p * kept
            gv[i][:, keys] += dropped.swapaxes(-1, -2) @ g_n
            gp -= take(d, i, rows)
            gp *= p  # ∂L/∂s
            if gm is not None:
                put(gm[..., keys], i, rows, gp)
            gk[i][:, keys] += gp.swapaxes(-1, -2) @ q_n  # q_n carries the scale
            gq_n = gp @ k[i][:, keys]  # (H, R·n, E)
            gq_n *= self.scale
            put(gq, i, rows, gq_n)
        if gm is not None:
            gm = gm.reshape(*self.q_shape[:-1], self.k_shape[-2])  # (..., L, S)
            gm = unbroadcast(gm, self.mask_shape)
        shapes = self.q_shape, self.k_shape, self.v_shape
        return *(a.reshape(n) for a, n in zip((gq, gk, gv), shapes, strict=True)), gm, None

    def by_group(self, a):
        """(..., H·R, L, ·) -> (..., H, R, L, ·): the R query heads of each key head."""
        heads = self.k_shape[-3] if len(self.k_shape) > 2 else 1
        group = a.shape[-3] // heads if a.ndim > 2 and heads else 1
        return a.reshape(*a.shape[:-3], heads, group, *a.shape[-2:])

    def blocks(self):
        """Where to work next: a leading index, n query rows, and the m keys that they may see."""
        q, k = self.saved[:2]
        n_rows, n_keys = q.shape[-2], k.shape[-2]
        for i in itertools.product(*map(range, q.shape[:-4])):
            for start in range(0, n_rows if n_keys else 0, ROWS):
                stop = min(start + ROWS, n_rows)
                yield i, slice(start, stop), slice(0, min(stop, n_keys) if self.causal else n_keys)

    def scores(self, i, rows, keys):
        """q·scale and s of one block: (H, R·n, E), (H, R·n, m)."""
        q, k, _, mask = self.saved[:4]
        q_n = take(q, i, rows) * self.scale
        s = q_n @ k[i][:, keys].swapaxes(-1, -2)
        n = rows.stop - rows.start
        by_group = s.reshape(len(s), s.shape[1] // n, n, keys.stop)  # (H, R, n, m)
        if self.causal and keys.stop > rows.start:
            ahead = by_group[..., rows.start :]
            ahead += self.saved[-1][: ahead.shape[-2], : ahead.shape[-1]]
        if mask is not None:
            by_group += mask[i][:, :, rows, keys]
        return q_n, s


def take(a, i, rows):
    """n rows of every head: (..., H, R, L, ·) -> (H, R·n, ·), one matrix for each key head."""
    part = a[i][:, :, rows]
    return part.reshape(len(part), part.shape[1] * part.shape[2], part.shape[-1])


def put(a, i, rows, values):
    """The way back: write (H, R·n, ·) into n rows of (..., H, R, L, ·)."""
    part = a[i][:, :, rows]
    part[...] = values.reshape(part.shape)
