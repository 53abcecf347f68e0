"""Ring attention: a long text divided among ranks; keys and values travel round the ring.

Each rank has the queries, keys and values of its part of the text. In R turns every rank sees the
keys and values of all: while it computes with those that it has, it sends them to the next rank
and receives those of the rank before. No rank ever holds more than two parts.

With a causal mask, a rank with the first part of the text would be ready long before the others. So
the text is cut into 2R chunks, and rank r has chunks r and 2R − 1 − r: one from the front and one
from the back, which together see equally many keys on every rank ("zigzag", head and tail).

Shapes: L this rank's positions, T those of all ranks, H heads, E and D channels.
Source: Liu et al. 2023, "Ring Attention with Blockwise Transformers for Near-Infinite Context".
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Any

import numpy as np

from ...arrays.attention_blocks import by_group
from ...arrays.devices import xp_of
from ...arrays.twins import cpu_op
from ...autograd.engine import Op
from ...ops.attention import ScaledDotProductAttention
from ...tensor import Tensor, wrap
from .. import groups
from ..messages import P2POp, batch_isend_irecv, irecv, isend
from ..steps import all_gathered, divided

__all__ = ["RingAttention", "chunks_of_rank", "own_positions", "ring_attention"]

KEYS, GRADIENTS = 2**19 + 16, 2**19 + 17  # tags of messages


# ---------------------------------------------------------------------- who has which positions
def chunks_of_rank(length: int, ranks: int, rank: int, balanced: bool = True) -> list[range]:
    """The positions that a rank has of a text of `length` tokens, as ranges in order.

    balanced: chunks r and 2R − 1 − r of 2R, so that a causal mask leaves all ranks equally much;
    otherwise the r-th of R parts. Where the number of parts does not divide the length, some are
    one position longer.
    """
    n = 2 * ranks if balanced else ranks
    ends = list(accumulate(divided(length, n), initial=0))
    own = (rank, n - 1 - rank) if balanced else (rank,)
    return [range(ends[i], ends[i + 1]) for i in own]


def own_positions(length: int, ranks: int, rank: int, balanced: bool = True) -> np.ndarray:
    """The positions (L,) that a rank has, in the order in which it has them."""
    chunks = chunks_of_rank(length, ranks, rank, balanced)
    return np.concatenate([np.arange(c.start, c.stop) for c in chunks])


def _slices(chunks: Sequence[range]) -> list[slice]:
    """Where each chunk is among the positions of its rank."""
    ends = list(accumulate(map(len, chunks), initial=0))
    return [slice(a, b) for a, b in zip(ends, ends[1:], strict=False)]


# ----------------------------------------------------------------------------------------- the op
class RingAttention(Op, listed=False):
    """y_r = softmax(q_r·[k_0; k_1; ...]ᵀ·scale)·[v_0; v_1; ...], the keys of all ranks.

    What a block b of keys contributes is y_b and l_b = log Σ exp(s) over its keys; from all blocks
        l = log Σ_b exp(l_b)        y = Σ_b exp(l_b − l)·y_b
    which is added up block by block as they arrive (the online softmax).

    Backward, with g_r = ∂L/∂y_r, d_r = Σ g_r·y_r over a row, p = exp(s − l) with the l of all keys:
        ∂L/∂v_b = Σ_r pᵀ·g_r                 (every rank has used v_b)
        ∂L/∂s = p·(g_r·v_bᵀ − d_r)
        ∂L/∂q_r = Σ_b ∂L/∂s·k_b·scale        ∂L/∂k_b = Σ_r (∂L/∂s)ᵀ·q_r·scale
    Each product is that of ScaledDotProductAttention for one pair of chunks, with l and y of all
    keys in the place of the chunk's. In a second turn round the ring the gradients of k_b and v_b
    travel behind k_b and v_b, each rank adds its part, and after R steps they are where they
    belong. The sums begin at the rank that has the keys, so a run repeated has the same bits.
    Saves q, k, v, y of this rank and l, one number per row; the other ranks' keys are not kept.

    own: the positions of the queries, a range for each chunk; everyones: those of each rank's keys.
    """

    in_float32 = True

    def forward(
        self, q: Any, k: Any, v: Any, *, group: Any, own: Any, everyones: Any, is_causal: bool,
        scale: float | None, window: int | None, softcap: float | None,
    ) -> Any:  # fmt: skip
        self.group, self.own, self.everyones = group, own, everyones
        self.is_causal, self.window = is_causal, window
        self.options = {"scale": scale, "softcap": softcap}
        xp = xp_of(q)
        y = xp.zeros((*q.shape[:-1], v.shape[-1]), q.dtype)  # (..., H, L, D)
        log_sum = xp.full((*q.shape[:-1], 1), -np.inf, q.dtype)  # (..., H, L, 1)
        for owner, k_b, v_b in self._round_the_ring(k, v):
            for rows, keys, options in self._pairs(owner):
                block = _Block(q[..., rows, :], k_b[..., keys, :], v_b[..., keys, :], options)
                _add_block(y[..., rows, :], log_sum[..., rows, :], *block.attend())
        self.saved = q, k, v, y, log_sum
        return y

    def backward(self, g: Any) -> Any:
        q, k, v, y, log_sum = self.saved
        xp = xp_of(g)
        coming: Any = None  # what the ranks before have added for the keys that are here next
        gq = xp.zeros_like(q)
        for owner, k_b, v_b in self._round_the_ring(k, v):
            gk, gv = xp.zeros_like(k_b), xp.zeros_like(v_b)
            for rows, keys, options in self._pairs(owner):
                block = _Block(q[..., rows, :], k_b[..., keys, :], v_b[..., keys, :], options)
                grads = block.attend_back(*(a[..., rows, :] for a in (y, log_sum, g)))
                for total, at, part in zip((gq, gk, gv), (rows, keys, keys), grads, strict=True):
                    total[..., at, :] += part
            if coming is not None:
                sums = coming()
                gk, gv = sums[0] + gk, sums[1] + gv
            coming = self._exchange(gk, gv, self._length_before(owner), GRADIENTS)
        gk, gv = coming()  # the keys of the rank after the last owner are this rank's
        return gq, gk, gv

    def _pairs(self, owner: int) -> Iterator[tuple[slice, slice, dict[str, Any]]]:
        """(queries, keys, options of their attention) of the chunks that see something of the
        owner's; what every query sees as a whole needs no mask.
        """
        theirs = self.everyones[owner]
        for a, rows in zip(self.own, _slices(self.own), strict=True):
            for b, keys in zip(theirs, _slices(theirs), strict=True):
                options: dict[str, Any] = {"is_causal": False, **self.options}
                if not len(a) or not len(b):
                    continue
                if self.is_causal:
                    if b.start >= a.stop:
                        continue  # all of these keys come later
                    if self.window is not None and a.start - b.stop + 1 >= self.window:
                        continue  # all of them are too far back
                    if self.window is not None or b.stop > a.start:
                        more = {"offset": a.start - b.start, "window": self.window}
                        options.update(is_causal=True, **more)
                yield rows, keys, options

    # ------------------------------------------------------------------------------ round the ring
    def _round_the_ring(self, k: Any, v: Any) -> Iterator[tuple[int, Any, Any]]:
        """(owner, its keys, its values) of all ranks: first this one's, then those before it.

        What is here is sent to the next rank while the caller computes with it.
        """
        size, rank = self.group.size(), self.group.rank()
        for step in range(size):
            owner = (rank - step) % size
            last = step == size - 1
            if not last:
                coming = self._exchange(k, v, self._length_before(owner), KEYS)
            yield owner, k, v
            if not last:
                k, v = coming()

    def _length_before(self, owner: int) -> int:
        """How many keys the rank before the owner has."""
        return sum(map(len, self.everyones[(owner - 1) % self.group.size()]))

    def _exchange(self, k: Any, v: Any, length: int, tag: int) -> Any:
        """Begin to send k and v to the next rank, as one message, and to receive such arrays with
        `length` keys from the rank before; call the result for them.

        Both begin together: over NCCL, ranks that all sent first would wait for each other.
        """
        group, xp = self.group, xp_of(k)
        if group.size() == 1:
            return lambda: (k, v)
        out = xp.concatenate([k.reshape(-1), v.reshape(-1)])  # (...), (...) -> (n,)
        shapes = [(*a.shape[:-2], length, a.shape[-1]) for a in (k, v)]
        n, both = (int(np.prod(shapes[0])), sum(int(np.prod(shape)) for shape in shapes))
        flat = xp.empty(both, k.dtype)
        after, before = (group.ranks[(group.rank() + i) % group.size()] for i in (1, -1))
        works = batch_isend_irecv(
            [
                P2POp(isend, wrap(out), after, group, tag),
                P2POp(irecv, wrap(flat), before, group, tag),
            ]
        )

        def arrived() -> tuple[Any, Any]:
            for work in works:
                work.wait()
            return flat[:n].reshape(shapes[0]), flat[n:].reshape(shapes[1])  # (n,) -> (..., S, ·)

        return arrived


class _Block:
    """ScaledDotProductAttention of one chunk of queries with one chunk of keys."""

    def __init__(self, q: Any, k: Any, v: Any, options: dict[str, Any]) -> None:
        self.arrays, self.options = (q, k, v), options
        self.op: Any = cpu_op(ScaledDotProductAttention, self.arrays, options)
        self.op.needs = [True, True, True]

    def attend(self) -> tuple[Any, Any]:
        """y_b (..., H, n, D) and l_b (..., H, n, 1), −∞ where a query sees no key."""
        q, k, _ = self.arrays
        y = self.op.forward(*self.arrays, **self.options)
        log_sum = self.op.saved[6].reshape(*q.shape[:-1], 1)  # (..., H, R, n, 1) -> (..., H, n, 1)
        window = self.options.get("window")
        if window is not None:
            xp = xp_of(q)
            oldest = xp.arange(q.shape[-2])[:, None] + (self.options["offset"] - window + 1)
            log_sum = xp.where(oldest < k.shape[-2], log_sum, -np.inf)
        return y, log_sum

    def attend_back(self, y: Any, log_sum: Any, g: Any) -> tuple[Any, Any, Any]:
        """∂L/∂q, ∂L/∂k, ∂L/∂v through this block, with the y and l of all keys."""
        self.op.prepare(*self.arrays, **self.options)
        q, k, v, mask, keep, _, _, future = self.op.saved
        y, log_sum = (xp_of(y).ascontiguousarray(by_group(a, k)) for a in (y, log_sum))
        self.op.saved = q, k, v, mask, keep, y, log_sum, future
        return self.op.backward(g)[:3]


def _add_block(y: Any, log_sum: Any, y_b: Any, l_b: Any) -> None:
    """Add a block to y (..., n, D) and l (..., n, 1), in place."""
    xp = xp_of(y)
    total = xp.logaddexp(log_sum, l_b)
    finite = xp.where(total == -np.inf, 0.0, total)  # a query that has seen no key yet
    y *= xp.exp(log_sum - finite)
    y += xp.exp(l_b - finite) * y_b
    log_sum[...] = total


# --------------------------------------------------------------------------------- the function
def ring_attention(
    query: Tensor, key: Tensor, value: Tensor, is_causal: bool = False,
    scale: float | None = None, enable_gqa: bool = False, *, window: int | None = None,
    softcap: float | None = None, balanced: bool = True, group: Any = None,
) -> Tensor:  # fmt: skip
    """scaled_dot_product_attention of a text that is divided among the ranks of a group.

    query (..., Hq, L, E), key (..., H, S, E), value (..., H, S, D): this rank's part; the ranks may
    have different numbers of positions. With is_causal each rank has those that
    own_positions(T, ranks, rank, balanced) says, and L = S; otherwise any.
    enable_gqa, scale, window and softcap are as in scaled_dot_product_attention.
    Returns (..., Hq, L, D).
    The loss is the sum of what the ranks call their loss, as for all_gather: a mean over all tokens
    is the sum over this rank's tokens divided by the number of all.
    Raises: RuntimeError if shapes do not fit; ValueError if the ranks' parts are not the division
    that a causal mask needs, or for a window without is_causal; DistError if the ranks differ.
    """
    chosen = groups.member_group(group, "ring_attention")
    if chosen is None:
        raise ValueError(f"ring_attention: rank {groups.get_rank()} is not in the group")
    _check(query, key, value, is_causal, enable_gqa, window)
    heads = f"{list(query.shape[:-2])} {list(key.shape[:-2])} {key.shape[-1]} {value.shape[-1]}"
    options = f"{is_causal}, {window}, {softcap}, {balanced}"
    what = f"ring_attention({options}) of {query.dtype.name} {heads}"
    here = np.array([query.shape[-2], key.shape[-2]], np.int64)
    everyones = groups.run(chosen, what, all_gathered(chosen, here)).reshape(-1, 2)  # (R, 2)
    lengths = everyones.tolist()
    if is_causal:
        total = int(everyones[:, 1].sum())
        chunks = [chunks_of_rank(total, chosen.size(), r, balanced) for r in range(chosen.size())]
        sizes = [[sum(map(len, of_rank))] * 2 for of_rank in chunks]
        if sizes != lengths:
            raise ValueError(
                f"ring_attention: of {total} positions the ranks must have "
                f"{[n for n, _ in sizes]} queries and keys (see own_positions), got {lengths}"
            )
        own = chunks[chosen.rank()]
    else:
        chunks = [[range(n)] for _, n in lengths]
        own = [range(int(here[0]))]
    return RingAttention.apply(
        query, key, value, group=chosen, own=own, everyones=chunks, is_causal=is_causal,
        scale=scale, window=window, softcap=softcap,
    )  # fmt: skip


def _check(
    query: Tensor, key: Tensor, value: Tensor, is_causal: bool, enable_gqa: bool, window: Any
) -> None:
    """Raises: RuntimeError or ValueError, see ring_attention."""
    q, k, v = (tuple(t.shape) for t in (query, key, value))
    grouped = enable_gqa and len(q) > 2 and len(k) > 2 and k[-3] and q[-3] % k[-3] == 0
    heads_fit = q[:-3] == k[:-3] if grouped else q[:-2] == k[:-2]
    if min(len(q), len(k), len(v)) < 3 or not heads_fit or k[:-1] != v[:-1] or q[-1] != k[-1]:
        raise RuntimeError(
            "ring_attention: expected query (..., Hq, L, E), key (..., H, S, E) and value "
            f"(..., H, S, D), Hq equal to H or a multiple with enable_gqa, got {list(q)}, "
            f"{list(k)} and {list(v)}"
        )
    if not query.dtype is key.dtype is value.dtype:
        raise RuntimeError("ring_attention: query, key and value must have one dtype")
    if window is not None and (not is_causal or window < 1):
        raise ValueError(f"ring_attention: window={window} needs is_causal, and at least 1")
