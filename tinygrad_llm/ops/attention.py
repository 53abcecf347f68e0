"""Scaled dot-product attention, in blocks of query rows."""

from functools import partial

from ..arrays import attention_blocks
from ..arrays.attention_blocks import Band, by_group, heads_in_cache, merged, unmerged, with_column
from ..arrays.devices import xp_of
from ..arrays.parallel import over_blocks
from ..arrays.reductions import row_dot, unbroadcast
from ..arrays.regions import empty_adjacent
from ..autograd.engine import Op


class ScaledDotProductAttention(Op):
    """y = p·v,   p = softmax(s),   s = q·kᵀ·scale + mask,   scale = 1/√E unless given.

    With dropout p is multiplied by keep/(1 − dropout_p) before the product with v.
    is_causal: query i sees the keys 0 … offset + i only, offset being the number of keys that come
    before the first query's own; blocks wholly in the future are never computed.
    window: of these keys the last `window` only, its own included; older blocks are not computed.
    softcap: c·tanh(q·kᵀ·scale/c) takes the place of q·kᵀ·scale, so scores stay between −c and c.
    mask: boolean, True where a query sees a key, or numbers that are added to s; it broadcasts to
    (..., L, S).
    Grouped queries: q may have R times as many heads as k and v; heads R·j … R·j + R − 1 share k_j.
    A query that sees no key gets y = 0, and no gradient comes from it.
    What is hidden by is_causal takes no part even if it is infinite or NaN: where a result is not
    finite, the work is done again in blocks of one query, or of one key (attention_blocks.mixes).
    In backward a query whose g is 0 adds nothing then, so that a row that a later key has spoilt
    does not reach the gradients of earlier keys unless something was computed from it.

    Backward, with d = Σ g·y over a row:
        ∂L/∂v = pᵀ·g       ∂L/∂p = g·vᵀ       ∂L/∂s = p·(∂L/∂p − d)
        ∂L/∂q = ∂L/∂s·k·scale      ∂L/∂k = ∂L/∂sᵀ·q·scale      ∂L/∂mask = ∂L/∂s
    With a softcap, ∂L/∂s in ∂L/∂q and ∂L/∂k gets the factor 1 − tanh²(q·kᵀ·scale/c).
    Softmax needs d = Σ p·∂L/∂p, which is g·(p·v) = g·y. With dropout, p in ∂L/∂v and all of ∂L/∂p
    get the factor keep/(1 − dropout_p), and d = Σ g·y still holds.
    Saves q, k, v, mask, keep, y and l = log Σ exp(s), one number per row.
    p = exp(s − l) is computed again, block by block, so that all L × S numbers never exist at the
    same time. One more column puts both subtractions into the products:
        [q·scale, −l]·[k, 1]ᵀ = s − l        [g, −d]·[v, 1]ᵀ = ∂L/∂p − d
    Forward goes through blocks of queries, backward through blocks of keys; heads are independent
    of each other and shared among the cores.
    If q, k and v are adjacent in one memory, as the pieces of a split array are, then ∂L/∂q, ∂L/∂k
    and ∂L/∂v are written adjacent too, and Split's backward returns them as one view without a copy
    (arrays/regions.py: empty_adjacent, concatenated). Split finds out by the addresses alone.
    Sources: Vaswani et al. (2017), equation 1; in blocks, Dao et al. (2022), algorithm 4; windows,
    Beltagy et al. (2020); softcap, Gemma Team (2024), "Gemma 2", section 2.
    """

    signature = "q(...,L,E) k(...,S,E) v(...,S,D) mask(...)? keep(...,L,S)? -> y(...,L,D)"
    in_float32 = True

    def forward(
        self, q, k, v, mask=None, keep=None, is_causal=False, scale=None, dropout_p=0.0,
        offset=0, window=None, softcap=None,
    ):  # fmt: skip
        self.prepare(q, k, v, mask, keep, is_causal, scale, dropout_p, offset, window, softcap)
        *arrays, _ = self.saved
        self.all_heads(*arrays)
        return arrays[5].reshape(self.q_shape[:-1] + v.shape[-1:])  # (..., L, D)

    def prepare(
        self, q, k, v, mask=None, keep=None, is_causal=False, scale=None, dropout_p=0.0,
        offset=0, window=None, softcap=None,
    ):  # fmt: skip
        """Save what both passes need; y and l have memory, and no numbers yet."""
        xp = xp_of(q)
        self.band = Band(is_causal, offset, window, q.shape[-2], k.shape[-2])
        self.scale = max(q.shape[-1], 1) ** -0.5 if scale is None else scale
        self.causal, self.softcap = is_causal, softcap
        self.keep_scale = 1.0 / (1.0 - dropout_p) if dropout_p < 1.0 else 0.0
        future = attention_blocks.future_mask(q.dtype, xp) if is_causal else None
        self.q_shape, self.k_shape, self.v_shape = q.shape, k.shape, v.shape
        self.mask_shape = () if mask is None else mask.shape
        mask = attention_blocks.additive_mask(mask, q, k)
        keep = None if keep is None else by_group(keep, k)
        # as PyTorch's, y lies as q does where the heads of a position are side by side
        order = "K" if q.ndim == 4 and q.strides[-1] == q.itemsize else "C"
        q = by_group(q, k)
        k, v = (a if a.ndim > 2 else a[None] for a in (k, v))  # (..., H, S, ·)
        empty = xp.empty_like if k.shape[-2] else xp.zeros_like  # without keys y is 0
        y = empty(q, order=order, shape=q.shape[:-1] + v.shape[-1:])  # (..., H, R, L, D)
        log_sum = empty(q, shape=q.shape[:-1] + (1,))  # (..., H, R, L, 1)
        self.saved = q, k, v, mask, keep, y, log_sum, future

    def backward(self, g):
        q, k, v, mask, keep, y, log_sum, _ = self.saved
        xp = xp_of(g)
        g = by_group(g, k)  # (..., H, R, L, D)
        shapes = self.q_shape, self.k_shape, self.v_shape
        inputs = [a.reshape(n) for a, n in zip((q, k, v), shapes, strict=True)]
        gradients = empty_adjacent(inputs, -3)
        gq, gk, gv = (a.reshape(n.shape) for a, n in zip(gradients, (q, k, v), strict=True))
        needs_mask = len(self.needs) > 3 and self.needs[3]
        gm = xp.zeros(mask.shape, g.dtype) if needs_mask else None  # (..., H, R, L, S)

        self.all_heads_back(q, k, v, mask, keep, y, log_sum, g, gq, gk, gv, gm)
        if gm is not None:
            gm = gm.reshape(*self.q_shape[:-1], self.k_shape[-2])  # (..., L, S)
            gm = unbroadcast(gm, self.mask_shape)
        return *gradients, gm, None

    def all_heads(self, q, k, v, mask, keep, y, log_sum):
        """Write y and l; the heads are shared among the cores."""
        xp = xp_of(q)

        @over_blocks(heads_in_cache(q, k), q, k, v, mask, keep, y, log_sum)
        def some_heads(q, k, v, mask, keep, y, log_sum):
            q_scaled, v = q * self.scale, xp.ascontiguousarray(v)
            arrays = q_scaled, k, v, mask, keep, y, log_sum
            self.attend(*arrays)
            if attention_blocks.mixes(self.band, y):
                self.attend(*arrays, size=1)

    def all_heads_back(self, q, k, v, mask, keep, y, log_sum, g, gq, gk, gv, gm):
        """Write gq, gk, gv and, if it is not None, gm; the heads are shared among the cores."""
        xp = xp_of(g)

        @over_blocks(heads_in_cache(q, k), q, k, v, mask, keep, y, log_sum, g, gq, gk, gv, gm)
        def some_heads(q, k, v, mask, keep, y, log_sum, g, gq, gk, gv, gm):
            q_l = with_column(q, -log_sum, self.scale)  # (h, R, L, E + 1)
            g_d = with_column(g, -row_dot(g, y))  # (h, R, L, D + 1)
            gq_sum = xp.zeros(q.shape, q.dtype)
            arrays = q_l, k, v, mask, keep, log_sum, g_d, gq_sum, gk, gv, gm
            self.attend_back(*arrays)
            if attention_blocks.mixes(self.band, gq_sum, gk, gv):
                gq_sum[...] = 0.0
                if gm is not None:
                    gm[...] = 0.0
                self.attend_back(*arrays, size=1, used=(g != 0).any(-1))
            gq[...] = gq_sum

    def attend(self, q_scaled, k, v, mask, keep, y, log_sum, size=None):
        """y and l of some heads, in blocks of `size` queries (BLOCK_ROWS), in place."""
        xp = xp_of(k)
        for rows in attention_blocks.slices(q_scaled.shape[-2] if k.shape[-2] else 0, size):
            keys = self.band.keys_of(rows)
            if keys.start >= keys.stop:  # these queries may look nowhere
                y[:, :, rows], log_sum[:, :, rows] = 0.0, 0.0
                continue
            q_n = merged(q_scaled[:, :, rows])  # (h, R·n, E)
            scores = partial(self.scores, q_n, k, mask, rows, keys)
            p, total, top = attention_blocks.exp_of_scores(scores, self.half is not None)
            p = self.stored(p)
            if keep is not None:
                p *= merged(keep[:, :, rows, keys])
                p *= self.keep_scale
            part = y[:, :, rows]  # (h, R, n, D)
            out = p @ v[:, keys]  # (h, R·n, m) @ (h, m, D) -> (h, R·n, D)
            xp.divide(unmerged(out, part), unmerged(total, part), out=part)
            log_sum[:, :, rows] = unmerged(xp.log(total) + top, part)

    def attend_back(
        self, q_l, k, v, mask, keep, log_sum, g_d, gq, gk, gv, gm, size=None, used=None
    ):  # fmt: skip
        """The gradients of some heads, in blocks of `size` keys (BLOCK_ROWS), in place.

        q_l is [q·scale, −l] and g_d is [g, −d]; what belongs to gq is added to it. used: which
        queries (h, R, L) take part; None for all.
        """
        xp, k_scaled = xp_of(k), k * self.scale
        k_1, v_1 = with_column(k, 1.0), with_column(v, 1.0)  # (h, S, E + 1), (h, S, D + 1)
        for keys in attention_blocks.slices(k.shape[-2], size):
            rows = self.band.rows_of(keys)
            if rows.start >= rows.stop:  # no query may look at these keys
                gk[:, keys], gv[:, keys] = 0.0, 0.0
                continue
            q_n, g_n = merged(q_l[:, :, rows]), merged(g_d[:, :, rows])
            scores = partial(self.scores, mask=mask, rows=rows, keys=keys)
            linear = self.softcap is None  # in q and k
            p = attention_blocks.weights(scores, q_n, k_1, log_sum, linear)  # (h, R·n, m)
            dropped = self.stored(p)
            if keep is None:
                gs = g_n @ v_1[:, keys].swapaxes(-1, -2)  # ∂L/∂p − d, (h, R·n, m)
            else:
                kept = merged(keep[:, :, rows, keys]) * xp.asarray(self.keep_scale, p.dtype)
                dropped = p * kept
                gs = g_n[..., :-1] @ v[:, keys].swapaxes(-1, -2)
                gs *= kept
                gs += g_n[..., -1:]
            gs *= p  # ∂L/∂s
            idle = None if used is None else ~used[:, :, rows].reshape(len(p), -1)  # (h, R·n)
            for array in () if idle is None else (q_n, g_n, gs, dropped):
                array[idle] = 0.0
            gs = self.stored(gs * self.scale) / self.scale if self.half is not None else gs
            if gm is not None:
                part = gm[:, :, rows, keys]
                part[...] = unmerged(gs, part)
            if self.softcap is not None:
                gs *= self.derivative_of_cap(q_n, k, keys)
            if idle is not None and self.softcap is not None:
                gs[idle] = 0.0
            xp.matmul(dropped.swapaxes(-1, -2), g_n[..., :-1], out=gv[:, keys])
            xp.matmul(gs.swapaxes(-1, -2), q_n[..., :-1], out=gk[:, keys])  # scaled
            part = gq[:, :, rows]  # (h, R, n, E)
            step = unmerged(gs @ k_scaled[:, keys], part)
            part += step if used is None else xp.where(used[:, :, rows, None], step, 0.0)

    def scores(self, q_n, k, mask, rows, keys):
        """q_n·kᵀ of some heads, capped and masked: (h, R·n, ·), (h, S, ·) -> (h, R·n, m)."""
        s = q_n @ k[:, keys].swapaxes(-1, -2)
        if self.softcap is not None:
            s /= self.softcap
            xp_of(s).tanh(s, out=s)
            s *= self.softcap
        group, triangle = self.saved[0].shape[-3], self.saved[-1]
        n, m = rows.stop - rows.start, keys.stop - keys.start
        by_group = s.reshape(len(s), group, n, m)  # (h, R, n, m)
        self.band.mask(by_group, rows, keys, triangle)
        if mask is not None:
            by_group += mask[:, :, rows, keys]
        return s

    def derivative_of_cap(self, q_n, k, keys):
        """1 − tanh²(q·kᵀ·scale/c) of some heads: (h, R·n, E + 1), (h, S, E) -> (h, R·n, m)."""
        t = q_n[..., :-1] @ k[:, keys].swapaxes(-1, -2)
        t /= self.softcap
        xp_of(t).tanh(t, out=t)
        return 1.0 - t * t
